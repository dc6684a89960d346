"""Which partner connector counts for a sender, and why the others do not (specification 2.3 rules 2, 3 and 6)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

from lockgate.decision.certificate import Proof, prove
from lockgate.decision.own_servers import in_scope
from lockgate.mail.facts import Facts
from lockgate.mail.ruling import Standing

if TYPE_CHECKING:
    from lockgate.policy.objects.connectors import InboundConnector
    from lockgate.policy.policy import OrganisationPolicy

_EXACT = 1000
MOST = 50
"""So many connectors that do not cover the sender are told one by one; the others are counted."""


class Choice(NamedTuple):
    """A partner connector that covers the sender, and what the session shows of what it asks.

    `trusted` is the organisation that sent it, if the connector trusts that; then nothing is asked.
    """

    connector: InboundConnector
    rank: int
    at_address: bool
    proof: Proof | None
    trusted: str = ""

    @property
    def restricts(self) -> bool:
        return self.connector.restrict_domains_to_certificate or self.connector.restrict_domains_to_ip_addresses

    @property
    def certified(self) -> bool:
        return self.proof is not None and self.proof.good


def choose(
    mine: OrganisationPolicy, facts: Facts, standing: Standing, sender_domain: str, sent_by: str = ""
) -> Choice | None:
    """The one connector that counts: a restricting one before one that only names the domain (2.3 rule 3), then the
    most specific sender domain (rule 2), then the one found by certificate, then by address (order 3), then by name.

    `sent_by` is the organisation of this installation whose server or login sends; one that trusts it comes before all.
    """
    partners = mine.partners
    for connector in partners.by_organisation.get(sent_by, ()) if sent_by else ():
        if in_scope(connector, standing.accepted_domain):
            return Choice(connector, -1, at_address=False, proof=None, trusted=sent_by)
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
    return min(choices, key=_place)


def _place(choice: Choice) -> tuple[bool, int, bool, bool, str]:
    return not choice.restricts, -choice.rank, not choice.certified, not choice.at_address, choice.connector.name


def lost(
    mine: OrganisationPolicy, facts: Facts, standing: Standing, sender_domain: str, winner: Choice | None
) -> Iterator[tuple[str, str]]:
    """Subject and reason for every partner connector but the winner; those that cover the sender first."""
    covering: list[tuple[str, str]] = []
    others: list[InboundConnector] = []
    for connector in mine.inbound.values():
        if connector.on_premises or (winner is not None and connector is winner.connector):
            continue
        if connector.trusted_organizations or _specificity(connector.sender_domains, sender_domain) < 0:
            others.append(connector)
        else:
            because = _beaten(mine, connector, facts, standing, sender_domain, winner)
            covering.append((f"partner connector {connector.name}", because))
    yield from covering
    for connector in others[:MOST]:
        yield f"partner connector {connector.name}", _about_others(connector, standing, sender_domain)
    if len(others) > MOST:
        yield "other partner connectors", f"{len(others) - MOST} more do not cover the sender"


def _about_others(connector: InboundConnector, standing: Standing, sender_domain: str) -> str:
    """Why a connector is not about this session."""
    if not connector.enabled:
        return "it is disabled"
    if connector.trusted_organizations:
        trusted = ", ".join(connector.trusted_organizations[:5])
        if not in_scope(connector, standing.accepted_domain):
            return f"it is only for mail to {', '.join(connector.associated_accepted_domains[:5])}"
        return f"it trusts {trusted}, and no server or login of theirs sends this"
    named = ", ".join(connector.sender_domains[:5]) or "none"
    return f"its sender domains ({named}) do not cover {sender_domain or '<> (null sender)'}"


def _beaten(
    mine: OrganisationPolicy,
    connector: InboundConnector,
    facts: Facts,
    standing: Standing,
    sender_domain: str,
    winner: Choice | None,
) -> str:
    """Why a connector that covers the sender is not the one that counts."""
    if not connector.enabled:
        return "it covers the sender, but it is disabled"
    if not in_scope(connector, standing.accepted_domain):
        scope = ", ".join(connector.associated_accepted_domains[:5])
        return f"it covers the sender, but only for mail to {scope}"
    addresses = {c.name for group in mine.partners.by_address.every(facts.connection.packed) for c in group}
    choice = _consider(connector, facts, standing, sender_domain, addresses)
    if winner is not None and winner.trusted:
        return f"it covers the sender, but {winner.connector.name} trusts {winner.trusted}, whose server or login sends"
    if choice is None or winner is None:
        return f"it covers the sender, but only from its addresses, and {facts.connection.peer} is none of them"
    better = winner.connector.name
    for mine_, other, because in zip(_place(choice), _place(winner), _BETTER, strict=True):
        if mine_ != other:
            return f"it covers the sender, but {better} {because}"
    return f"it covers the sender, but {better} counts"


_BETTER = (
    "restricts senders, which comes before connectors that only name a domain",
    "names the sender's domain more exactly",
    "has its certificate shown",
    "has the peer among its addresses",
    "comes first by name",
)
"""In the order of `_place`: what makes one connector win over another (specification 2.3)."""


def _named(groups: Iterable[tuple[InboundConnector, ...]]) -> Iterator[InboundConnector]:
    for group in groups:
        yield from group


def _consider(
    connector: InboundConnector, facts: Facts, standing: Standing, sender_domain: str, addresses: set[str]
) -> Choice | None:
    """Whether the connector is about this session and recipient at all."""
    if not in_scope(connector, standing.accepted_domain):
        return None
    at_address = connector.name in addresses
    if connector.sender_ip_addresses and not connector.restrict_domains_to_ip_addresses and not at_address:
        return None  # addresses without the restriction identify: others are not bound (2.3 rule 6)
    rank = _specificity(connector.sender_domains, sender_domain)
    if rank < 0:
        return None
    named = connector.tls_sender_certificate_name or connector.pinned_keys
    proof = prove(connector, facts.connection.tls) if named else None
    return Choice(connector, rank, at_address, proof)


def covering(connector: InboundConnector, sender_domain: str) -> str:
    """The sender domain of the connector by which it covers this one; "" if none does."""
    patterns = [one for one in connector.sender_domains if _specificity((one,), sender_domain) >= 0]
    return max(patterns, key=lambda one: _specificity((one,), sender_domain), default="")


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
