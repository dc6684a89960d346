"""Sends our TLS reports: once a day to each domain that asks for them (RFC 8460), by mail or by HTTPS.

What is sent is about our own sessions with the domain's servers and names nobody. A report goes to each of the domain's
places; it has arrived if one of them has it.
"""

from __future__ import annotations

import datetime as dt
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence

import msgspec

from lockgate.flow.own_mail import NotSent, OwnMail, Written
from lockgate.flow.sending_reports import Destinations, NotNow, Sent, contact_of, name_of
from lockgate.mail.address import AddressError, parse_address
from lockgate.mail.events import Event, Happening
from lockgate.mail.reports.counted import Period, TlsPublished, TlsSeen
from lockgate.mail.reports.destination import Destination
from lockgate.mail.reports.letter import Address, packed_tls_report, tls_letter
from lockgate.mail.reports.tls import TlsFailure, TlsPolicy, TlsReport
from lockgate.policy.policy import Policy
from lockgate.seams import Clock, DnsTemporary, Journal

SUCCESS = "success"

Upload = Callable[[str, bytes], Awaitable[str]]
"""POST a packed report to an https URL (RFC 8460 5.4); why that cannot be, or ""."""


class TlsReportSender(msgspec.Struct, frozen=True):
    """Wired once by the app. `wanted` finds out who wants reports about a domain."""

    wanted: Destinations
    upload: Upload
    clock: Clock
    journal: Journal

    async def destinations(self, domain: str) -> Sequence[str]:
        """Who would get a report about this domain, a sentence each. Raises NotNow."""
        return [
            f"{one.address}: {f'not sent, because {one.refused}' if one.refused else 'would be sent'}"
            for one in await self._wanted(domain)
        ]

    async def send(self, policy: Policy, period: Period, report: TlsReport, mail: OwnMail) -> Sent:
        """Send it to everybody who wants it. Raises NotNow, Unavailable."""
        places = await self._wanted(period.domain)
        if not places:
            return Sent(0, (f"{period.domain} wants no TLS reports",))
        packed = packed_tls_report(report)
        outcome, told, again = list[str](), 0, ""
        for place in places:
            why = place.refused
            if not why and place.address.lower().startswith("https:"):
                why = await self.upload(place.address, packed)
                again = again or why
            elif not why:
                why = await self._queue(policy, period, place.address, mail, report, packed)
            told += not why
            outcome.append(f"{place.address}: {f'not sent, because {why}' if why else 'sent'}")
        if again and not told:  # a web server may be back tomorrow; the queue has a patience of its own
            raise NotNow("; ".join(outcome))
        self.journal.note(
            "tls report", about=period.domain, organisation=period.organisation, report=period.report,
            sessions=period.messages, sent=told, outcome="; ".join(outcome),
        )  # fmt: skip
        return Sent(told, tuple(outcome))

    async def _wanted(self, domain: str) -> Sequence[Destination]:
        try:
            return await self.wanted(domain)
        except DnsTemporary as trouble:
            raise NotNow(f"it cannot be found out who wants TLS reports about {domain}: {trouble}") from None

    async def _queue(
        self, policy: Policy, period: Period, text: str, mail: OwnMail, report: TlsReport, packed: bytes
    ) -> str:
        """Put it into the queue; why that cannot be, or ""."""
        name, organisation = mail.new_id(), period.organisation
        try:
            to = parse_address(text)
        except AddressError as trouble:
            return f"it is no address: {trouble}"
        address = Address(
            name, report.contact, report.organisation, to.text, policy.hostname, self.clock.now()
        )
        letter = tls_letter(report, packed, address, period.domain, period.messages)
        event = Event(address.now, Happening.RECEIVE, f"TLS report about {period.domain}")
        try:
            await mail.queue(policy, organisation, Written(name, to, letter, event))
        except NotSent as trouble:
            return str(trouble)
        return ""


def tls_report_of(
    policy: Policy, period: Period, rows: Iterable[TlsSeen], published: Iterable[TlsPublished]
) -> TlsReport:
    """The report of a period: a policy for each kind that sessions were under."""
    kinds: Mapping[str, list[TlsSeen]] = defaultdict(list)
    for row in rows:
        kinds[row.kind].append(row)
    texts = {one.kind: one.policy for one in published}
    policies = [_policy(period.domain, kind, rows, texts.get(kind, ())) for kind, rows in sorted(kinds.items())]
    organisation = period.organisation
    return TlsReport(
        name_of(policy, organisation), period.report, contact_of(policy, organisation), _moment(period.begin),
        _moment(period.end), tuple(policies),
    )  # fmt: skip


def _policy(domain: str, kind: str, rows: Sequence[TlsSeen], published: tuple[str, ...]) -> TlsPolicy:
    failures = [
        TlsFailure(row.result, row.count, row.sending_ip, "", row.receiving_mx) for row in rows if row.result != SUCCESS
    ]
    good = sum(row.count for row in rows if row.result == SUCCESS)
    return TlsPolicy(domain, kind, good, sum(one.count for one in failures), tuple(failures), published)


def _moment(at: int) -> str:
    return f"{dt.datetime.fromtimestamp(at, dt.UTC):%Y-%m-%dT%H:%M:%SZ}"
