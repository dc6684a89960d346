"""Watches what devices and own servers send, message by message, and hands it to what counts it.

Told of a message once its fate is known, and of each refusal. Nothing here changes that fate; mail that no device of
an organisation has sent costs two look-ups.
"""

from __future__ import annotations

import ipaddress
from collections import OrderedDict
from typing import NamedTuple, Protocol

from lockgate.mail.devices import BUCKET, DIRECT, LOGIN, NOT_ALLOWED, Told, Traffic, host_of
from lockgate.mail.facts import Facts
from lockgate.mail.mailboxes import read_mailboxes
from lockgate.mail.redaction import Discretion
from lockgate.mail.replies import BARE_LINE_ENDS
from lockgate.mail.reply import Reply
from lockgate.mail.ruling import Refuse, Ruling, Verdict
from lockgate.policy.policy import Policy
from lockgate.seams import Journal

MOST_KNOWN = 5000
"""Hosts without a connector of which one worker remembers that they send as an own domain."""


_PRIVATE = tuple(
    ipaddress.ip_network(text)
    for text in ("10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16", "169.254.0.0/16", "127.0.0.0/8", "fe80::/10",
                 "fc00::/7", "::1/128")
)  # fmt: skip
"""RFC 1918, RFC 4193, loopback and link-local addresses."""
_BEGIN = frozenset(network.network_address.packed[0] for network in _PRIVATE) | {0xFD}


class Counts(Protocol):
    """Counts in memory, for one worker; nothing waits or raises (storage/device_batches.py)."""

    def device(self, told: Told) -> None:
        """One message, or one refusal."""

    def other(self, organisation: str, host: str, at: float) -> None:
        """A message of a host that is known, from a sender of another domain."""

    def traffic(self, one: Traffic) -> None:
        """One message over an own-server connector."""


class _Whose(NamedTuple):
    organisation: str
    connector: str
    way: str


class DeviceWatch:
    """Wired once by each worker. `discretion` says what an organisation wants hidden, or kept of nobody."""

    def __init__(self, counts: Counts, discretion: Discretion, journal: Journal) -> None:
        self._counts = counts
        self._discretion = discretion
        self._journal = journal
        self._known: OrderedDict[tuple[str, str], None] = OrderedDict()

    def took(self, policy: Policy, facts: Facts, ruling: Ruling) -> None:
        """A message was accepted. Never raises."""
        try:
            whose = self._whose(policy, facts, ruling)
            if whose is not None:
                self._count(policy, facts, ruling, whose)
            elif self._known:
                self._count_stranger(facts, ruling)
        except Exception as trouble:
            self._journal.alarm("unforeseen", at="counting devices", trouble=trouble)

    def refused(self, policy: Policy, facts: Facts, ruling: Ruling, reply: Reply, why: str) -> None:
        """A recipient, or all of the message, was refused; `why` is the step that decided. Never raises."""
        try:
            if not reply.permanent or facts.envelope is None:
                return
            whose = self._whose(policy, facts, ruling) or self._neighbour(policy, facts)
            if whose is not None:
                self._count_refusal(facts, whose, reply, why)
        except Exception as trouble:
            self._journal.alarm("unforeseen", at="counting devices", trouble=trouble)

    def _whose(self, policy: Policy, facts: Facts, ruling: Ruling) -> _Whose | None:
        """The organisation that this host sends for, and how."""
        envelope, connection = facts.envelope, facts.connection
        home = policy.accepted(envelope.sender_domain) if envelope is not None and envelope.sender_domain else None
        mine = home.organisation if home is not None else ""
        if ruling.candidates:
            first = next((one for one in ruling.candidates if one.organisation == mine), ruling.candidates[0])
            return _Whose(first.organisation, first.connector, f"connector {first.connector}")
        if not mine:
            return None
        return _Whose(mine, "", LOGIN if connection.login else DIRECT)

    def _neighbour(self, policy: Policy, facts: Facts) -> _Whose | None:
        """A host with a private address can only be the organisation's own, where there is one organisation."""
        if len(policy.organisations) != 1 or not _is_private(facts.connection.packed):
            return None
        return _Whose(next(iter(policy.organisations)), "", DIRECT)

    def _count(self, policy: Policy, facts: Facts, ruling: Ruling, whose: _Whose) -> None:
        named = [verdict for verdict in ruling.recipients
                 if verdict.recipient.derived_from is None and not isinstance(verdict.disposition, Refuse)]  # fmt: skip
        inside = sum(1 for verdict in named if _is_inside(policy, verdict, whose.organisation))
        outside = len(named) - inside
        if whose.connector:
            self._counts.traffic(traffic_of(policy, facts, whose.organisation, whose.connector, outside))
        redactor = self._discretion(whose.organisation)
        if redactor is not None and not redactor.facts:
            return  # it wants nothing kept of single hosts; how much came over a connector tells of nobody
        connection, envelope = facts.connection, facts.envelope
        domain = envelope.sender_domain if envelope is not None else ""
        home = policy.accepted(domain) if domain else None
        sender = envelope.sender_text if envelope is not None else ""
        host = host_of(connection.peer, connection.packed)
        if not whose.connector:
            self._remember(whose.organisation, host)
        self._counts.device(
            Told(
                whose.organisation, host, whose.way, whose.connector, connection.helo, _tls(facts), facts.at,
                redactor.address(sender) if redactor is not None else sender,
                inside, outside,
                bool(domain) and (home is None or home.organisation != whose.organisation),
                facts.message is not None and facts.message.mended,
            )
        )  # fmt: skip

    def _count_refusal(self, facts: Facts, whose: _Whose, reply: Reply, why: str) -> None:
        redactor = self._discretion(whose.organisation)
        if redactor is not None and not redactor.facts:
            return
        connection, envelope = facts.connection, facts.envelope
        sender = envelope.sender_text if envelope is not None else ""
        told = f"{reply.code} {reply.enhanced} {why}"
        if redactor is not None:
            sender, told = redactor.address(sender), redactor.text(told)
        self._counts.device(
            Told(
                whose.organisation, host_of(connection.peer, connection.packed), NOT_ALLOWED, whose.connector,
                connection.helo, _tls(facts), facts.at, sender, refusal=told[:300], refusal_id=connection.id,
                bare=reply.enhanced == BARE_LINE_ENDS.enhanced,
            )
        )  # fmt: skip

    def _count_stranger(self, facts: Facts, ruling: Ruling) -> None:
        """A host that also sends for others is a mail server, and no device."""
        host = host_of(facts.connection.peer, facts.connection.packed)
        for organisation in dict.fromkeys([verdict.standing.organisation for verdict in ruling.recipients]):
            if (organisation, host) in self._known:
                self._counts.other(organisation, host, facts.at)

    def _remember(self, organisation: str, host: str) -> None:
        self._known[organisation, host] = None
        self._known.move_to_end((organisation, host))
        if len(self._known) > MOST_KNOWN:
            self._known.popitem(last=False)


def traffic_of(policy: Policy, facts: Facts, organisation: str, connector: str, outside: int) -> Traffic:
    """One message as it is counted for its connector."""
    bucket = int(facts.at) // BUCKET * BUCKET
    sender = facts.envelope.sender_domain if facts.envelope is not None else ""
    if not sender:  # the null sender says nothing about who sends
        return Traffic(organisation, connector, bucket, 1, outside)
    author = author_domain(facts, sender)
    strange = any(
        (home := policy.accepted(domain)) is None or home.organisation != organisation
        for domain in {sender, author}
        if domain
    )
    return Traffic(organisation, connector, bucket, 1, outside, int(author != sender), int(strange))


def author_domain(facts: Facts, sender_domain: str) -> str:
    """The domain of the author (From); "" where there is none, or several. Mostly it is the sender's."""
    message = facts.message
    values = [value for name, value in message.fields if name.lower() == "from"] if message is not None else []
    if len(values) != 1:
        return ""
    if values[0].lower().rstrip("> ").endswith(f"@{sender_domain}") and values[0].count("@") == 1:
        return sender_domain
    domains = {one.domain for one in read_mailboxes(values[0]).found}
    return domains.pop() if len(domains) == 1 else ""


def _is_private(packed: bytes) -> bool:
    """Documentation networks are ordinary here (amendments), and so are those for measuring."""
    if packed[0] not in _BEGIN:  # quick, because every refusal of a stranger comes here
        return False
    address = ipaddress.ip_address(packed)
    return any(address in network for network in _PRIVATE if network.version == address.version)


def _is_inside(policy: Policy, verdict: Verdict, organisation: str) -> bool:
    domain = verdict.recipient.original.domain
    if not domain:
        return True  # <postmaster>
    home = policy.accepted(domain)
    return home is not None and home.organisation == organisation


def _tls(facts: Facts) -> str:
    return facts.connection.tls.version if facts.connection.tls is not None else ""
