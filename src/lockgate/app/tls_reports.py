"""Our TLS reports in the desk's process: sent when a day is over, or when somebody says so."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

from lockgate.app.config import OperatorFile
from lockgate.couriers.post import NotPosted, post
from lockgate.couriers.reach import Reach
from lockgate.flow.own_mail import OwnMail
from lockgate.flow.sending_reports import NotNow, put_off, shown
from lockgate.flow.sending_tls_reports import TlsReportSender, Upload, tls_report_of
from lockgate.mail.reports.counted import Period
from lockgate.mail.reports.letter import packed_tls_report
from lockgate.mail.reports.tls import TlsReport
from lockgate.policy.policy import Policy
from lockgate.probes.trust.tls_report_destinations import TlsReportDestinations
from lockgate.seams import Clock, Journal, Resolver, Unavailable
from lockgate.storage.own_file import OwnFile
from lockgate.storage.report_schema import NOT_KEPT
from lockgate.storage.tls_reporting import TlsReporting

GIVE_UP = 86400
"""So long after the end of its day a report is tried (RFC 8460 5.3 speaks of a day)."""

TIMEOUT = 30.0
_TYPE = "application/tlsrpt+gzip"

_T = TypeVar("_T")


class TlsReportOffice:
    """One part of app/reports.py, which says when."""

    def __init__(
        self, file: OwnFile, policy: Callable[[], Policy], clock: Clock, journal: Journal, resolver: Resolver,
        upload: Upload,
    ) -> None:  # fmt: skip
        self._policy = policy
        self._clock = clock
        self._book = TlsReporting(file)
        self._sender = TlsReportSender(TlsReportDestinations(resolver), upload, clock, journal)

    async def due(self, ready_at: Callable[[Period], float], most: int) -> Sequence[Period]:
        """What goes out by itself now. Raises Unavailable."""
        now = self._clock.now()
        found = [one for one in await self._ask(self._book.due, now, 10_000) if ready_at(one) <= now]
        return [one for one in found if one.report or self._wanted(one)][:most]

    async def find(self, organisation: str, domain: str, day: int | None, limit: int) -> Sequence[Period]:
        """Reports that were or will be made. Raises Unavailable."""
        return await self._ask(self._book.find, organisation, domain, day, limit)

    async def one(self, report: str) -> tuple[Period, TlsReport] | None:
        """The report with this id. Raises Unavailable."""
        period = await self._ask(self._book.named, report)
        return None if period is None else (period, await self._made(self._policy(), period))

    async def supposed(self, period: Period) -> dict[str, Any]:
        """What sending it would come to. Raises Unavailable."""
        row: dict[str, Any] = {**shown(period), "told": 0}
        if period.done:
            return row
        try:
            wanted = await self._sender.destinations(period.domain)
        except NotNow as trouble:
            return {**row, "outcome": [f"not yet: {trouble}"]}
        report = await self._made(self._policy(), period)
        return {**row, "outcome": list(wanted), "octets": len(packed_tls_report(report))}

    async def send(self, period: Period, mail: OwnMail) -> dict[str, Any]:
        """Make it a report and send it; what became of it as a row. Raises Unavailable."""
        now, policy = self._clock.now(), self._policy()
        if not period.report:
            period = await self._ask(self._book.close, period, f"{period.day}.{secrets.token_hex(12)}", now)
        try:
            sent = await self._sender.send(policy, period, await self._made(policy, period), mail)
        except (NotNow, Unavailable) as trouble:
            return await self._put_off(period, str(trouble), now)
        await self._ask(self._book.finished, period, now, sent.outcome)
        return {**shown(period), "state": "done", "outcome": list(sent.outcome), "told": sent.told}

    async def _put_off(self, period: Period, why: str, now: float) -> dict[str, Any]:
        again, outcome = put_off(period, why, now, GIVE_UP)
        if again is None:
            await self._ask(self._book.finished, period, now, outcome)
        else:
            await self._ask(self._book.tried, period, again, outcome)
        state = "done" if again is None else "waiting"
        return {**shown(period), "state": state, "outcome": list(outcome), "told": 0}

    def _wanted(self, period: Period) -> bool:
        mine = self._policy().organisations.get(period.organisation)
        return mine is not None and mine.organisation.send_tls_reports

    async def _made(self, policy: Policy, period: Period) -> TlsReport:
        rows = await self._ask(self._book.rows, period)
        return tls_report_of(policy, period, rows, await self._ask(self._book.published, period))

    async def _ask(self, work: Callable[..., _T], *given: Any) -> _T:
        try:
            return await asyncio.to_thread(work, *given)
        except NOT_KEPT as trouble:
            raise Unavailable(f"the reports cannot be read or written: {trouble}") from None


def uploader(config: OperatorFile, own: Sequence[str]) -> Upload:
    """Posts a report to where a domain wants it; never to an address that the operator's file does not allow."""
    reach = Reach(config.outgoing.allow, own)

    def upload(url: str, packed: bytes) -> Awaitable[str]:
        return asyncio.to_thread(_posted, url, packed, reach)

    return upload


def _posted(url: str, packed: bytes, reach: Reach) -> str:
    """Any certificate will do: what is said is no secret, and TLS may be what is out of order (RFC 8460 5.4)."""
    try:
        post(url, packed, {"Content-Type": _TYPE}, reach=reach, timeout=TIMEOUT, any_certificate=True)
    except NotPosted as trouble:
        return str(trouble)
    return ""
