"""Why each own-server connector of an organisation is not the one that a session came by (specification 2.2, 2.3).

Only explanations need this: it looks at every connector, while the stage itself asks the tables for those that match.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lockgate.decision.certificate import prove
from lockgate.mail.connection import Connection
from lockgate.mail.facts import Facts
from lockgate.mail.ruling import Candidate, Ruling

if TYPE_CHECKING:
    from lockgate.policy.objects.connectors import InboundConnector
    from lockgate.policy.policy import Policy

MOST = 50
"""So many connectors that do not match are told one by one; the others are counted."""


def in_scope(connector: InboundConnector, accepted_domain: str) -> bool:
    """Whether the connector is for mail to this accepted domain ("": to one that is nobody's here)."""
    scope = connector.associated_accepted_domains
    return not scope or accepted_domain in scope


def lost(
    policy: Policy,
    facts: Facts,
    ruling: Ruling,
    organisation: str,
    winner: Candidate | None,
    sender_domain: str,
    accepted_domain: str,
) -> Iterator[tuple[str, str]]:
    """Subject and reason for every own-server connector of the organisation but the winner; near misses first.

    `sender_domain` is "" for the null sender, `accepted_domain` "" for a recipient outside.
    """
    mine = policy.organisations.get(organisation)
    if mine is None:
        return
    matching = {found.connector: found for found in ruling.candidates if found.organisation == organisation}
    for name, found in matching.items():
        if found == winner:
            continue
        connector = mine.inbound[name]
        if in_scope(connector, accepted_domain):
            yield f"connector {name}", _matched_in_vain(found, winner, sender_domain)
        else:
            scope = ", ".join(connector.associated_accepted_domains[:5])
            yield f"connector {name}", f"it matches the session, but is only for mail to {scope}"
    others = [one for one in mine.inbound.values() if one.on_premises and one.name not in matching]
    for connector in others[:MOST]:
        yield f"connector {connector.name}", _missed(policy, facts.connection, connector)
    if len(others) > MOST:
        yield "other own-server connectors", f"{len(others) - MOST} more do not match the session"


def _matched_in_vain(found: Candidate, winner: Candidate | None, sender_domain: str) -> str:
    if winner is not None:
        how = "by certificate" if winner.by_certificate else "before it"
        return f"it matches the session as well, but {winner.connector} was found {how}"
    if not sender_domain:
        return "it matches the session, but it may not relay mail of the null sender"
    how = "its certificate does not tie back to an accepted domain" if found.certificate_name else "it goes by address"
    return f"it matches the session, but {how}, and {sender_domain} is no accepted domain of {found.organisation}"


def _missed(policy: Policy, connection: Connection, connector: InboundConnector) -> str:
    if not connector.enabled:
        return "it is disabled"
    at_address = policy.is_own_address(connector, connection.packed)
    if connector.tls_sender_certificate_name:
        proof = prove(connector, connection.tls)
        if not proof.good:
            wanted = connector.tls_sender_certificate_name
            return proof.because if wanted in proof.because else f"{proof.because} (it wants {wanted})"
        if connector.sender_ip_addresses and not at_address:
            return f"{proof.because}, but {connection.peer} is none of its addresses"
    return f"{connection.peer} is none of its addresses"
