"""Sends our reports: aggregate reports once a day and domain (RFC 9990), failures as they come (RFC 9991).

As our own mail, from the null sender, so that nothing answers it; each to its own address, and only to those that want
it and agree to get it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

import msgspec

from lockgate.flow.own_mail import NotSent, OwnMail, Written
from lockgate.mail.address import AddressError, parse_address
from lockgate.mail.dmarc import read_published
from lockgate.mail.events import Event, Happening
from lockgate.mail.reports.aggregate import AggregateReport, Published, Row
from lockgate.mail.reports.counted import Failed, Period
from lockgate.mail.reports.destination import Destination
from lockgate.mail.reports.letter import Address, aggregate_letter, failure_letter, packed_report
from lockgate.policy.policy import Policy
from lockgate.seams import Clock, DnsTemporary, Journal

GENERATOR = "Lockgate"

_AGAIN = (900.0, 1800.0, 3600.0, 4 * 3600.0)
"""Seconds after the first attempts that failed; the last one stays."""

Destinations = Callable[[str], Awaitable[Sequence[Destination]]]
"""Who wants the reports about this domain. Raises DnsTemporary."""


class NotNow(Exception):
    """The report cannot be sent at the moment; the message says why. Another attempt may do better."""


class Sent(msgspec.Struct, frozen=True):
    """What became of one report: a sentence for each address, and for how many of them it is on its way."""

    told: int
    outcome: tuple[str, ...]


class ReportSender(msgspec.Struct, frozen=True):
    """Wired once by the app. `aggregate` and `failure` find out who wants which reports."""

    aggregate: Destinations
    failure: Destinations
    clock: Clock
    journal: Journal

    async def destinations(self, domain: str) -> tuple[Destination, ...]:
        """Who would get aggregate reports about this domain. Raises NotNow."""
        try:
            return tuple(await self.aggregate(domain))
        except DnsTemporary as trouble:
            raise NotNow(f"it cannot be found out who wants reports about {domain}: {trouble}") from None

    async def send(self, policy: Policy, period: Period, rows: Sequence[Row], mail: OwnMail) -> Sent:
        """Send the report of a closed period to everybody who wants it. Raises NotNow, Unavailable."""
        wanted = await self.destinations(period.domain)
        if not wanted:
            return Sent(0, (f"{period.domain} wants no reports any more",))
        report = report_of(policy, period, rows)
        packed = packed_report(report, GENERATOR)
        outcome, told = list[str](), 0
        for destination in wanted:
            why = destination.refused
            if not why and destination.limit and len(packed) > destination.limit:
                why = f"the report has {len(packed)} octets, and it takes no more than {destination.limit}"
            if not why:
                why = await self._queue(policy, period, destination.address, mail, _aggregate(report, packed, period))
            told += not why
            outcome.append(f"{destination.address}: {f'not sent, because {why}' if why else 'sent'}")
        self.journal.note(
            "aggregate report", about=period.domain, organisation=period.organisation, report=period.report,
            messages=period.messages, sent=told, outcome="; ".join(outcome),
        )  # fmt: skip
        return Sent(told, tuple(outcome))

    async def tell(self, policy: Policy, failed: Failed, mail: OwnMail) -> Sent:
        """Tell of one failure. Raises NotNow, Unavailable."""
        try:
            wanted = await self.failure(failed.domain)
        except DnsTemporary as trouble:
            raise NotNow(f"it cannot be found out who wants failure reports about {failed.domain}: {trouble}") from None
        outcome, told = list[str](), 0
        for destination in wanted:
            why = destination.refused or await self._queue(
                policy, failed, destination.address, mail, lambda address: failure_letter(failed.report, address)
            )
            told += not why
            outcome.append(f"{destination.address}: {f'not sent, because {why}' if why else 'sent'}")
        if outcome:
            self.journal.note(
                "failure report", about=failed.domain, organisation=failed.organisation, sent=told,
                outcome="; ".join(outcome),
            )  # fmt: skip
        return Sent(told, tuple(outcome))

    async def _queue(
        self, policy: Policy, about: Period | Failed, text: str, mail: OwnMail, compose: Callable[[Address], bytes]
    ) -> str:
        """Put it into the queue; why that cannot be, or ""."""
        name, organisation = mail.new_id(), about.organisation
        try:
            to = parse_address(text)
        except AddressError as trouble:
            return f"it is no address: {trouble}"
        address = Address(
            name, contact_of(policy, organisation), name_of(policy, organisation), to.text, policy.hostname,
            self.clock.now(),
        )  # fmt: skip
        what = f"DMARC {'aggregate' if isinstance(about, Period) else 'failure'} report about {about.domain}"
        event = Event(address.now, Happening.RECEIVE, what)
        try:
            await mail.queue(policy, organisation, Written(name, to, compose(address), event))
        except NotSent as trouble:
            return str(trouble)
        return ""


def _aggregate(report: AggregateReport, packed: bytes, period: Period) -> Callable[[Address], bytes]:
    return lambda address: aggregate_letter(report, packed, address, period.messages)


def contact_of(policy: Policy, organisation: str) -> str:
    """The address that this organisation's reports come from."""
    mine = policy.organisations.get(organisation)
    wanted = mine.anti_phishing.report_contact if mine is not None and mine.anti_phishing is not None else None
    return wanted or policy.postmaster(organisation)


def name_of(policy: Policy, organisation: str) -> str:
    """Who reports, in words."""
    mine = policy.organisations.get(organisation)
    if mine is None:
        return organisation
    named = mine.anti_phishing.report_organization_name if mine.anti_phishing is not None else ""
    return named or mine.organisation.display_name or organisation


def report_of(policy: Policy, period: Period, rows: Sequence[Row]) -> AggregateReport:
    """The report of a period."""
    record = read_published(period.published)
    published = Published(
        domain=period.domain,
        policy=record.policy.value,
        subdomains=record.subdomains.value if record.subdomains is not None else "",
        absent=record.absent.value if record.absent is not None else "",
        dkim="s" if record.strict_dkim else "r",
        spf="s" if record.strict_spf else "r",
        testing="y" if record.testing else "n",
        discovery="treewalk",
        options=record.options,
    )
    errors: tuple[str, ...] = ()
    if period.beyond:
        errors = (f"{period.beyond} more messages were seen, too different from each other to be told one by one",)
    contact = contact_of(policy, period.organisation)
    return AggregateReport(
        name_of(policy, period.organisation), contact, period.report, period.begin, period.end, published, tuple(rows),
        errors=errors,
    )  # fmt: skip


def put_off(period: Period, why: str, now: float, give_up: float) -> tuple[float | None, tuple[str, ...]]:
    """When it is tried again, and what is noted; None: not any more, `give_up` seconds after the period's end."""
    if now > period.end + give_up:
        return None, (f"given up: {why}",)
    return now + _AGAIN[min(period.tries, len(_AGAIN) - 1)], (f"not yet: {why}",)


def shown(period: Period) -> dict[str, Any]:
    """A period as a row for people, ready for JSON."""
    return {
        "organisation": period.organisation, "domain": period.domain, "begin": period.begin, "end": period.end,
        "report_id": period.report, "messages": period.messages, "tries": period.tries,
        "state": "done" if period.done else "waiting" if period.report else "counting",
        "outcome": list(period.outcome),
    }  # fmt: skip
