"""Does the sender owe TLS, a certificate or an address, and has it paid?

Specification 2.3 (Partner connectors) as the amendments read it. Restrictions never give rights; they only refuse.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from lockgate.decision.certificate import Proof, prove
from lockgate.decision.stage import Depth, RecipientStage, refuse, told
from lockgate.mail import replies
from lockgate.mail.facts import Facts, Point
from lockgate.mail.reply import Reply
from lockgate.mail.ruling import Direction, Hit, Ruling, Standing, Step, Verdict

if TYPE_CHECKING:
    from lockgate.policy.objects.connectors import InboundConnector
    from lockgate.policy.policy import OrganisationPolicy, Policy

_NAME = "secure"
_EXACT = 1000


def secure(policy: Policy, facts: Facts, ruling: Ruling, verdict: Verdict, depth: Depth) -> Verdict:
    """Hold the sender to what the partner connector that covers it demands; own servers and logins owe nothing."""
    standing = verdict.standing
    sender_domain = facts.envelope.sender_domain if facts.envelope is not None else ""
    if sender_domain and ruling.candidates:
        stranger = _sender_of_another(policy, ruling, sender_domain)
        if stranger:
            return refuse(_NAME, verdict, replies.ATTRIBUTION_DENIED, "the sender's domain", stranger)
    if not standing.accepted_domain:
        return verdict
    if standing.direction is Direction.ORIGINATING:
        return told(verdict, _exempt(verdict)) if depth is Depth.FULL else verdict
    mine = policy.of(standing.organisation)
    choice = _choose(mine, facts, standing, sender_domain)
    if choice is not None:
        verdict = _enforce(facts, verdict, choice)
        if verdict.disposition is not None:
            return verdict
    vouched = choice is not None and (choice.certified or choice.at_address)
    if standing.own_domain and not vouched and mine.organisation.reject_direct_send:
        because = f"{sender_domain} is a domain of this organisation, and no connector or login vouches for the session"
        return refuse(_NAME, verdict, replies.DIRECT_SEND_REFUSED, "direct send", because)
    if choice is None and depth is Depth.FULL:
        because = f"none covers the sender domain {sender_domain or '<> (null sender)'}"
        return told(verdict, Step(_NAME, "partner connectors", Hit.NO, because, "", verdict.recipient.original.text))
    return verdict


def _sender_of_another(policy: Policy, ruling: Ruling, sender_domain: str) -> str:
    """Why the envelope sender is not for the organisation whose server sends; "" if it is (amendments)."""
    home = policy.accepted(sender_domain)
    if home is None or any(candidate.organisation == home.organisation for candidate in ruling.candidates):
        return ""
    return f"{sender_domain} belongs to another organisation than the server that sends"


def _exempt(verdict: Verdict) -> Step:
    because = "own servers and logged-in sessions are exempt"
    return Step(_NAME, "partner connectors", Hit.NO, because, "", verdict.recipient.original.text)


class _Choice(NamedTuple):
    """A partner connector that covers the sender, and what the session shows of what it asks."""

    connector: InboundConnector
    rank: int
    at_address: bool
    proof: Proof | None

    @property
    def restricts(self) -> bool:
        return self.connector.restrict_domains_to_certificate or self.connector.restrict_domains_to_ip_addresses

    @property
    def certified(self) -> bool:
        return self.proof is not None and self.proof.good


def _choose(mine: OrganisationPolicy, facts: Facts, standing: Standing, sender_domain: str) -> _Choice | None:
    """The one connector that counts: a restricting one before one that only names the domain (2.3 rule 3), then the
    most specific sender domain (rule 2), then the one found by certificate, then by address (order 3), then by name."""
    partners = mine.partners
    named = tuple(_named(partners.by_sender.every(sender_domain))) if sender_domain else ()
    if not named and not partners.any_sender:
        return None
    at_address = {c.name for group in partners.by_address.every(facts.connection.packed) for c in group}
    choices = [
        choice
        for connector in dict.fromkeys((*named, *partners.any_sender))
        if (choice := _consider(connector, facts, standing, sender_domain, at_address)) is not None
    ]
    if not choices:
        return None
    return min(
        choices, key=lambda c: (not c.restricts, -c.rank, not c.certified, not c.at_address, c.connector.name)
    )


def _named(groups: Iterable[tuple[InboundConnector, ...]]) -> Iterator[InboundConnector]:
    for group in groups:
        yield from group


def _consider(
    connector: InboundConnector, facts: Facts, standing: Standing, sender_domain: str, addresses: set[str]
) -> _Choice | None:
    """Whether the connector is about this session and recipient at all."""
    scope = connector.associated_accepted_domains
    if scope and standing.accepted_domain not in scope:
        return None
    at_address = connector.name in addresses
    if connector.sender_ip_addresses and not connector.restrict_domains_to_ip_addresses and not at_address:
        return None  # addresses without the restriction identify: others are not bound (2.3 rule 6)
    rank = _specificity(connector.sender_domains, sender_domain)
    if rank < 0:
        return None
    named = connector.tls_sender_certificate_name or connector.pinned_keys
    proof = prove(connector, facts.connection.tls) if named else None
    return _Choice(connector, rank, at_address, proof)


def _specificity(patterns: Iterable[str], domain: str) -> int:
    """How exactly the patterns name the domain: exact, longest wildcard, `*`; -1 if they do not.

    A sender wildcard `*.x` covers x too (specification 1.1); `*` alone covers the null sender.
    """
    best = -1
    for pattern in patterns:
        if pattern == "*":
            best = max(best, 0)
        elif pattern == domain:
            return _EXACT
        elif domain and pattern.startswith("*.") and (domain == pattern[2:] or domain.endswith(pattern[1:])):
            best = max(best, pattern.count("."))
    return best


def _enforce(facts: Facts, verdict: Verdict, choice: _Choice) -> Verdict:
    connector = choice.connector
    old = verdict.standing
    verdict = told(
        verdict,
        standing=Standing(
            old.organisation, old.direction, "", connector.name, old.accepted_domain, old.own_domain
        ),
    )
    broken = _broken(facts, choice)
    subject = f"partner connector {connector.name}"
    if broken is not None:
        reply, because = broken
        return refuse(_NAME, verdict, reply, subject, because)
    if choice.proof is not None and choice.certified:
        because = choice.proof.because
    elif choice.at_address:
        because = f"{facts.connection.peer} is one of its addresses"
    else:
        because = "it covers the sender's domain"
    return told(verdict, Step(_NAME, subject, Hit.YES, because, "its demands are met", verdict.recipient.original.text))


def _broken(facts: Facts, choice: _Choice) -> tuple[Reply, str] | None:
    """The demand that is not met, as the reply and the reason; both restrictions must hold where both are set."""
    connector = choice.connector
    if connector.require_tls and facts.connection.tls is None:
        return replies.tls_required(connector.name), "TLS is required and the session is in plain text"
    if connector.restrict_domains_to_ip_addresses and not choice.at_address:
        because = f"the address {facts.connection.peer} is none of the connector's"
        return replies.partner_restricted(because), because
    if connector.restrict_domains_to_certificate and not choice.certified:
        because = choice.proof.because if choice.proof is not None else "the connector names no certificate"
        return replies.partner_restricted(because), because
    return None


STAGE = RecipientStage(_NAME, Point.RCPT, secure)
