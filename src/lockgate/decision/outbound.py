"""Why each outbound connector is not the one by which a copy leaves (specification 2.4).

Only explanations need this: it looks at every connector, while the stage itself asks the tables for the best one.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lockgate.policy.objects.connectors import OutboundConnector
    from lockgate.policy.policy import OrganisationPolicy

MOST = 50
"""So many connectors that are for other domains are told one by one; the others are counted."""


def lost(
    mine: OrganisationPolicy,
    domain: str,
    ranked: Iterable[tuple[OutboundConnector, str]],
    winner: str,
    because: str,
) -> Iterator[tuple[str, str]]:
    """Name and reason of every connector of the organisation but the winner; those that came near it first.

    `ranked` are those that are for the copy, best first, each with the reason; what stands before the winner was too
    small and has been told. `because` is the winner's reason; no winner is "". Nothing ranked and a winner means that
    a rule named it.
    """
    told = {winner}
    best: OutboundConnector | None = None
    for connector, reason in ranked:
        if best is None and connector.name == winner:
            best = connector
        elif connector.name not in told and best is not None:
            yield connector.name, f"{reason}, but {_better(best, because, connector, reason)}"
        told.add(connector.name)
    near: list[tuple[str, str]] = []
    far: list[OutboundConnector] = []
    for connector in mine.outbound.named.values():
        if connector.name in told:
            continue
        why = _aside(connector, domain, because if winner and best is None else "")
        if why:
            near.append((connector.name, why))
        else:
            far.append(connector)
    yield from near[:MOST]
    yield from ((one.name, f"it is for {_domains(one)}, not for {domain}") for one in far[:MOST])
    rest = max(0, len(near) - MOST) + max(0, len(far) - MOST)
    if rest:
        yield f"(and {rest} more)", f"they are not for {domain}, or not in use"


def _better(best: OutboundConnector, because: str, connector: OutboundConnector, reason: str) -> str:
    if because != reason:
        return f"{best.name} comes before it: {because}"
    if best.cost != connector.cost:
        return f"{best.name} costs less ({best.cost}, not {connector.cost})"
    return f"{best.name} comes first by name"


def _aside(connector: OutboundConnector, domain: str, rule: str) -> str:
    """Why a connector that is not ranked is not used, if it could be thought to be; `rule` if one decided."""
    if not connector.enabled:
        return "it is disabled"
    if connector.is_transport_rule_scoped:
        return "it is only used when a mail flow rule names it"
    if not _is_for(connector, domain):
        return ""
    if rule:
        return f"it is for {_domains(connector)}, but {rule}"
    if connector.all_accepted_domains:
        return f"it is for all accepted domains, and {domain} is none"
    return f"it is for {_domains(connector)}, but this mail came from an own server"


def _is_for(connector: OutboundConnector, domain: str) -> bool:
    return connector.all_accepted_domains or connector.route_all_messages_via_on_premises or any(
        pattern in ("*", domain) or (pattern.startswith("*.") and domain.endswith(pattern[1:]))
        for pattern in connector.recipient_domains
    )


def _domains(connector: OutboundConnector) -> str:
    """What a connector is for, as words."""
    named = [*connector.recipient_domains[:5], *(["..."] if len(connector.recipient_domains) > 5 else [])]
    if connector.all_accepted_domains:
        named.append("all accepted domains")
    if connector.route_all_messages_via_on_premises:
        named.append("all mail to the outside")
    return ", ".join("all domains" if name == "*" else name for name in named) or "no domain"
