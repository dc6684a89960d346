"""Reports at the desk: received ones listed, shown, counted and imported, our own ones listed and sent."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import ipaddress
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from lockgate.flow.asking.ask import Answer, Ask, Kind
from lockgate.flow.asking.reports import (
    ReportImport,
    ReportList,
    ReportSend,
    ReportShow,
    ReportSummary,
    ReportTls,
)
from lockgate.flow.desk.rights import Caller, Right
from lockgate.flow.desk.section import Handler, Misuse, Nothing, the_organisation
from lockgate.flow.desk.times import moment_before
from lockgate.mail.reports.carried import LARGEST_MESSAGE
from lockgate.mail.reports.counted import DAY
from lockgate.seams import Audit, Clock

MOST_ROWS = 10_000
"""Rows of one answer."""

_KINDS = ("", "aggregate", "failure", "tls")
_EPOCH = dt.date(1970, 1, 1)

Rows = Sequence[Mapping[str, Any]]


class ReportBooks(Protocol):
    """Where reports are kept, as the desk sees it; rows are JSON-ready. Everything raises Unavailable."""

    async def received(self, organisation: str, kind: str, domain: str, since: float, limit: int) -> Rows:
        """Received reports without their rows, the latest first."""

    async def unread(self, organisation: str, limit: int) -> Rows:
        """What came and could not be read."""

    async def sent(self, organisation: str, domain: str, day: int | None, limit: int) -> Rows:
        """Our own reports: sent, waiting, still being counted."""

    async def sent_tls(self, organisation: str, domain: str, limit: int) -> Rows:
        """The same of TLS reports."""

    async def one(self, report: str, limit: int) -> Mapping[str, Any] | None:
        """A report with at most `limit` rows."""

    async def summary(
        self, organisation: str, domain: str, source: str, result: str, since: float, limit: int
    ) -> Rows:
        """Messages by domain, source and result."""

    async def tls(self, organisation: str, domain: str, since: float, limit: int, *, own: bool) -> Rows:
        """TLS sessions by domain and result."""

    async def take_in(self, organisation: str, name: str, octets: bytes, *, what_if: bool) -> Rows:
        """Read and keep; a row for each report with `why` (not read) or `number` (0: known already)."""

    async def send(self, organisation: str, domain: str, day: int, *, what_if: bool) -> Rows:
        """Send now; a row for each report."""

    async def send_tls(self, organisation: str, domain: str, day: int, *, what_if: bool) -> Rows:
        """The same for TLS reports."""


class ReportDesk(msgspec.Struct, frozen=True):
    """Answers what is asked about reports. `organisations` names those of the policy in force."""

    books: ReportBooks
    audit: Audit
    clock: Clock
    organisations: Callable[[], Sequence[str]]

    def handles(self) -> Mapping[type[Ask], Handler]:
        """See Section."""
        return {
            ReportList: Handler(Right.REPORTS_VIEW, self.list),
            ReportShow: Handler(Right.REPORTS_VIEW, self.show),
            ReportSummary: Handler(Right.REPORTS_VIEW, self.summary),
            ReportTls: Handler(Right.REPORTS_VIEW, self.tls),
            ReportImport: Handler(Right.REPORTS, self.import_file),
            ReportSend: Handler(Right.REPORTS, self.send_now),
        }

    async def list(self, request: ReportList, caller: Caller) -> Answer:
        """Reports without their rows."""
        limit, organisation = _bounded(request.limit), self._meant(request.organisation)
        if request.kind not in _KINDS:
            raise Misuse(f"'{request.kind[:40]}' is no kind of report; there are aggregate, failure and tls")
        if request.unread:
            return Answer(result=list(await self.books.unread(organisation, limit)))
        if request.sent and request.kind == "tls":
            return Answer(result=list(await self.books.sent_tls(organisation, _domain(request.domain), limit)))
        if request.sent:
            return Answer(result=list(await self.books.sent(organisation, _domain(request.domain), None, limit)))
        since = self._since(request.since)
        domain = _domain(request.domain)
        return Answer(result=list(await self.books.received(organisation, request.kind, domain, since, limit)))

    async def show(self, request: ReportShow, caller: Caller) -> Answer:
        """One report."""
        found = await self.books.one(request.report, _bounded(request.limit))
        if found is None:
            raise Nothing(f"there is no report {request.report[:80]}")
        return Answer(result=dict(found))

    async def summary(self, request: ReportSummary, caller: Caller) -> Answer:
        """Messages by domain, source and result."""
        limit, organisation = _bounded(request.limit), self._meant(request.organisation)
        if request.result not in ("", "pass", "fail"):
            raise Misuse("a result is pass or fail")
        source = _source(request.source)
        found = await self.books.summary(
            organisation, _domain(request.domain), source, request.result, self._since(request.since), limit
        )
        return Answer(result=list(found))

    async def tls(self, request: ReportTls, caller: Caller) -> Answer:
        """TLS sessions."""
        limit, organisation = _bounded(request.limit), self._meant(request.organisation)
        since = self._since(request.since)
        found = await self.books.tls(organisation, _domain(request.domain), since, limit, own=request.own)
        return Answer(result=list(found))

    async def import_file(self, request: ReportImport, caller: Caller) -> Answer:
        """Read a file and keep what is in it."""
        organisation = the_organisation(request.organisation, tuple(self.organisations()))
        if len(request.data) > LARGEST_MESSAGE * 4 // 3 + 4:
            raise Misuse(f"a report has at most {LARGEST_MESSAGE // 1024**2} MiB")
        try:
            octets = base64.b64decode(request.data, validate=True)
        except (binascii.Error, ValueError):
            raise Misuse("the file did not come over as base64") from None
        rows = await self.books.take_in(organisation, request.name, octets, what_if=request.what_if)
        kept = [row for row in rows if row.get("number")]
        if kept and not request.what_if:
            told = [f"{row['kind']} {row['reporter']} {row['domain']}" for row in kept]
            self.audit.wrote(caller.name, "report import", after=told, organisation=organisation, file=request.name)
        bad = sum(1 for row in rows if row["why"])
        sentence = f"{bad} of {len(rows)} could not be read" if bad else ""
        return Answer(Kind.OK, {"reports": list(rows), "what_if": request.what_if}, sentence)

    async def send_now(self, request: ReportSend, caller: Caller) -> Answer:
        """Send reports now."""
        organisation = self._meant(request.organisation)
        day = self._day(request.day)
        send = self.books.send_tls if request.tls else self.books.send
        rows = await send(organisation, _domain(request.domain), day, what_if=request.what_if)
        if not rows:
            when = (_EPOCH + dt.timedelta(days=day)).isoformat()
            raise Nothing(f"nothing was counted for a report about {request.domain[:80] or 'any domain'} on {when}")
        if not request.what_if:
            told = [{"domain": row["domain"], "report": row["report_id"], "outcome": row["outcome"]} for row in rows]
            self.audit.wrote(caller.name, "report send", after=told, domain=request.domain, day=day)
        return Answer(result={"reports": list(rows), "what_if": request.what_if})

    def _meant(self, named: str) -> str:
        return the_organisation(named, tuple(self.organisations())) if named else ""

    def _since(self, text: str) -> float:
        return moment_before(text, self.clock.now()) if text else 0.0

    def _day(self, text: str) -> int:
        if not text:
            return int(self.clock.now()) // DAY - 1
        try:
            return (dt.date.fromisoformat(text) - _EPOCH).days
        except ValueError:
            raise Misuse(f"'{text[:40]}' is no day; write 2026-11-24") from None


def _bounded(limit: int) -> int:
    if not 1 <= limit <= MOST_ROWS:
        raise Misuse(f"between 1 and {MOST_ROWS} rows can be asked for")
    return limit


def _domain(text: str) -> str:
    return text.strip().rstrip(".").lower()


def _source(text: str) -> str:
    try:
        return str(ipaddress.ip_address(text)) if text else ""
    except ValueError:
        raise Misuse(f"'{text[:60]}' is no IP address") from None
