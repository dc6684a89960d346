"""Certificates at the desk: which there are, until when and what for; and ordering them from an authority."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Protocol

import msgspec

from lockgate.flow.asking.ask import Answer, Ask
from lockgate.flow.asking.certificates import CertificateList, CertificateOrder, CertificateRenew, CertificateShow
from lockgate.flow.desk.rights import Caller, Right
from lockgate.flow.desk.section import Handler, Misuse, Nothing
from lockgate.flow.renewal import Attempt, Held, Wanted
from lockgate.seams import Audit, Clock

Row = dict[str, Any]


class Orders(Protocol):
    """What the desk needs of whoever orders certificates."""

    def wanted(self, *, rehearsal: bool = False) -> tuple[Wanted, ...]:
        """The certificates there should be; none where there is no authority, unless it is a rehearsal."""

    def held(self, one: Wanted) -> Held | None:
        """What is there."""

    def attempt(self, one: Wanted) -> Attempt:
        """How the last orders of it ended."""

    def due_at(self, one: Wanted) -> float:
        """When it is ordered next, in seconds since the epoch; 0: now."""

    async def place(self, one: Wanted, staging: str = "") -> str:
        """Order it now; why it is not there, or ""."""


class CertificateDesk(msgspec.Struct, frozen=True):
    """Answers what is asked about certificates. `rows` gives everything there is, each as every face shows it."""

    orders: Orders
    rows: Callable[[], Awaitable[Sequence[Row]]]
    audit: Audit
    clock: Clock

    def handles(self) -> Mapping[type[Ask], Handler]:
        """See Section."""
        return {
            CertificateList: Handler(Right.SERVICE_VIEW, self.all),
            CertificateShow: Handler(Right.SERVICE_VIEW, self.show),
            CertificateOrder: Handler(Right.DOMAINS_AND_CONNECTORS, self.order),
            CertificateRenew: Handler(Right.DOMAINS_AND_CONNECTORS, self.renew),
        }

    async def all(self, request: CertificateList, caller: Caller) -> Answer:
        """Everything, and what is wanted and not there yet."""
        rows = [*await self.rows()]
        rows += [_absent(one, self.orders) for one in self.orders.wanted() if self.orders.held(one) is None]
        return Answer(result=rows)

    async def show(self, request: CertificateShow, caller: Caller) -> Answer:
        """Those that go by this name."""
        asked = request.name.lower()
        rows = (await self.all(CertificateList(), caller)).result
        found = [row for row in rows if asked in _called(row)]
        if not found:
            raise Nothing(f"nothing is called '{request.name[:80]}'; see lockgate certificate list")
        plan = {one.name: one for one in self.orders.wanted()}
        return Answer(result=[{**row, **self._plan(plan.get(row["order"]))} for row in found])

    def _plan(self, one: Wanted | None) -> Row:
        if one is None:
            return {}
        attempt = self.orders.attempt(one)
        return {
            "next_attempt": max(self.orders.due_at(one), self.clock.now()),
            "failures": attempt.failures,
            "last_failure": attempt.because,
        }

    async def order(self, request: CertificateOrder, caller: Caller) -> Answer:
        """Those that are missing, or those named."""
        if request.staging and not request.staging.startswith("https://"):
            raise Misuse("--staging takes the https:// address of an ACME directory")
        chosen = self._chosen(request.names, rehearsal=bool(request.staging))
        if not request.names and not request.staging:
            chosen = [one for one in chosen if self.orders.held(one) is None]
        return await self._order(chosen, caller, "certificate order", request.what_if, request.staging)

    async def renew(self, request: CertificateRenew, caller: Caller) -> Answer:
        """Those that are due, or those named."""
        chosen = self._chosen(request.names)
        if not request.names:
            now = self.clock.now()
            chosen = [one for one in chosen if self.orders.due_at(one) <= now or self.orders.attempt(one).failures]
        return await self._order(chosen, caller, "certificate renew", request.what_if)

    async def _order(
        self, chosen: Sequence[Wanted], caller: Caller, did: str, what_if: bool, staging: str = ""
    ) -> Answer:
        done: list[Row] = []
        for one in chosen:
            why = "" if what_if else await self.orders.place(one, staging)
            held = self.orders.held(one)
            end = held.not_after if held is not None and not (why or staging or what_if) else 0.0
            done.append({
                "certificate": one.name, "names": list(one.names), "ordered": not why and not what_if, "because": why,
                "expires": end,
            })  # fmt: skip
        if not what_if:
            failed = [row["certificate"] for row in done if row["because"]]
            after = [row["certificate"] for row in done if row["ordered"]]
            self.audit.wrote(caller.name, did, after=after, failed=failed, staging=staging)
        return Answer(result={"certificates": done, "staging": staging, "what_if": what_if})

    def _chosen(self, names: Sequence[str], *, rehearsal: bool = False) -> list[Wanted]:
        wanted = self.orders.wanted(rehearsal=rehearsal)
        if not wanted:
            raise Misuse("no authority is configured; write [acme] into the operator's file (docs/certificates.md)")
        chosen: list[Wanted] = []
        for name in names:
            found = [one for one in wanted if name.lower() in (one.name, one.names[0])]
            if not found:
                raise Nothing(f"'{name[:80]}' is not ordered; there are {', '.join(one.name for one in wanted)}")
            chosen += [one for one in found if one not in chosen]
        return chosen or list(wanted)


def _called(row: Row) -> set[str]:
    return {str(one).lower() for one in (row["name"], row["file"], row["order"], *row["names"]) if one}


def _absent(one: Wanted, orders: Orders) -> Row:
    """A certificate that is not there yet, as a row."""
    attempt = orders.attempt(one)
    why = attempt.because or "it is ordered at the next look"
    return {
        "kind": "certificate", "name": one.names[0], "file": "", "uses": ["listeners, for its names"],
        "names": list(one.names), "key": one.kind, "issuer": "", "serial": "", "spki": "", "begin": 0.0, "expires": 0.0,
        "days": None, "matched": [], "missing": "", "self_signed": False, "order": one.name, "finding": True,
        "trouble": f"not there yet: {why}", "do": f"lockgate certificate show {one.name}",
    }  # fmt: skip
