"""Whose mail is this, and which way does it go?

Specification 2.2 and 2.3. At MAIL the own-server connectors that the session matches are found (certificate before
address); for each recipient then organisation, direction and connector.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockgate.decision.certificate import names_of, prove
from lockgate.decision.own_servers import in_scope, lost
from lockgate.decision.stage import Depth, MessageStage, RecipientStage, told
from lockgate.mail.connection import Connection
from lockgate.mail.facts import Facts, Point
from lockgate.mail.ruling import Candidate, Direction, Hit, Ruling, Standing, Step, Verdict

if TYPE_CHECKING:
    from lockgate.policy.objects.connectors import InboundConnector
    from lockgate.policy.objects.domains import AcceptedDomain
    from lockgate.policy.policy import Policy

_NAME = "attribute"
_NAMES_LOOKED_AT = 100
"""So many names of a certificate are looked up; real ones have a handful."""


def find_candidates(policy: Policy, facts: Facts, ruling: Ruling, depth: Depth) -> Ruling:
    """The own-server connectors of this session, certificate matches first, one a connector."""
    connection = facts.connection
    found: dict[tuple[str, str], Candidate] = {}
    steps: list[Step] = []
    if connection.tls is not None and connection.tls.certificate is not None:
        _by_certificate(policy, connection, found, steps, depth)
    for connector in policy.own_by_address.find(connection.packed) or ():
        key = (connector.organisation, connector.name)
        if key in found or connector.tls_sender_certificate_name:
            continue  # where a certificate is named as well, both must hold (amendments)
        right = _null_sender(policy, connector, by_certificate=False)
        found[key] = Candidate(connector.organisation, connector.name, by_certificate=False, null_sender=right)
        because = f"the peer {connection.peer} is one of its addresses"
        steps.append(Step(_NAME, f"connector {connector.name}", Hit.YES, because, "may be an own server"))
    if not found:
        if depth is Depth.FULL:
            steps.append(Step(_NAME, "own servers", Hit.NO, _nothing_matches(connection)))
        if not steps:
            return ruling
    return Ruling(
        ruling.point,
        None,
        tuple(sorted(found.values(), key=lambda candidate: not candidate.by_certificate)),
        ruling.recipients,
        ruling.steps + tuple(steps),
        ruling.digest,
        ruling.revision,
        ruling.stage,
        ruling.settled,
    )


def _nothing_matches(connection: Connection) -> str:
    tls = connection.tls
    if tls is None or tls.certificate is None:
        return f"no connector matches {connection.peer}"
    names = names_of(tls.certificate, common_name=True)
    shown = f"the certificate for {', '.join(names[:5])}" if names else "a certificate without a host name"
    return f"no connector matches {connection.peer}, nor {shown}"


def _by_certificate(
    policy: Policy,
    connection: Connection,
    found: dict[tuple[str, str], Candidate],
    steps: list[Step],
    depth: Depth,
) -> None:
    tls = connection.tls
    if tls is None or tls.certificate is None:
        return
    looked_at: set[tuple[str, str]] = set()
    for name in names_of(tls.certificate, common_name=True)[:_NAMES_LOOKED_AT]:
        for connector in policy.own_servers_named(name):
            key = (connector.organisation, connector.name)
            if key in looked_at:
                continue
            looked_at.add(key)
            proof = prove(connector, tls)
            because, good = proof.because, proof.good
            if good and connector.sender_ip_addresses and not policy.is_own_address(connector, connection.packed):
                good, because = False, f"{connection.peer} is none of its addresses"
            if good:
                # A name that ties back to no accepted domain needs an own sender domain besides (2.3 rule 8).
                alone = policy.proves_alone(connector)
                right = _null_sender(policy, connector, by_certificate=alone)
                found[key] = Candidate(connector.organisation, connector.name, alone, proof.name, right)
            if good or depth is Depth.FULL:
                hit, effect = (Hit.YES, "is an own server") if good else (Hit.NO, "")
                steps.append(Step(_NAME, f"connector {connector.name}", hit, because, effect))


def _null_sender(policy: Policy, connector: InboundConnector, *, by_certificate: bool) -> bool:
    """The right to relay mail of the null sender (DESIGN 2: Exchange gives it to certificates only)."""
    if not connector.relay_null_sender:
        return False
    return by_certificate or not policy.of(connector.organisation).organisation.exchange


def attribute(policy: Policy, facts: Facts, ruling: Ruling, verdict: Verdict, depth: Depth) -> Verdict:
    """Organisation, direction and own-server connector for one recipient (specification 2.2 A and B)."""
    connection, envelope = facts.connection, facts.envelope
    sender_domain = envelope.sender_domain if envelope is not None else ""
    sender_home = policy.accepted(sender_domain) if sender_domain else None
    sender_of = sender_home.organisation if sender_home is not None else ""
    domain = verdict.recipient.original.domain or _postmaster_domain(policy, ruling)
    accepted = policy.accepted(domain)
    owner = accepted.organisation if accepted is not None else ""
    null = envelope is None or envelope.sender is None
    candidate = _entitled(policy, ruling, owner, sender_of, accepted, null=null)
    submitter = _organisation_of_login(policy, connection.login) if connection.login else ""
    organisation = owner or (candidate.organisation if candidate else "") or submitter
    if not organisation:
        organisation = ruling.candidates[0].organisation if ruling.candidates else sender_of
    originating = candidate is not None or (submitter != "" and submitter == organisation)
    standing = Standing(
        organisation,
        Direction.ORIGINATING if originating else Direction.INCOMING,
        candidate.connector if candidate else "",
        "",
        accepted.domain_name if accepted is not None else "",
        sender_of != "" and sender_of == organisation,
    )
    if depth is Depth.LIVE and not originating:
        return told(verdict, standing=standing)
    step = _sentence(verdict, standing, candidate, domain)
    if depth is Depth.FULL:
        to = accepted.domain_name if accepted is not None else ""
        losers = lost(policy, facts, ruling, organisation, candidate, "" if null else sender_domain, to)
        whom = verdict.recipient.original.text
        if accepted is None and (holder := _unproven(policy, domain)):
            because = f"{holder} lists {domain}, but it is not proven by its TXT record and nobody vouches for it"
            verdict = told(verdict, Step(_NAME, "recipient's domain", Hit.NO, because, "receives nothing", whom))
        return told(verdict, *(_loser(name, because, whom) for name, because in losers), step, standing=standing)
    return told(verdict, step, standing=standing)


def _unproven(policy: Policy, domain: str) -> str:
    """The organisation that lists the domain without having proven it, or ""."""
    for name, mine in policy.organisations.items():
        if any(one.domain_name == domain for one in mine.accepted):
            return name
    return ""


def _loser(connector: str, because: str, whom: str) -> Step:
    return Step(_NAME, connector, Hit.NO, because, "", whom)


def _entitled(
    policy: Policy, ruling: Ruling, owner: str, sender_of: str, accepted: AcceptedDomain | None, *, null: bool
) -> Candidate | None:
    """The connector that makes this the organisation's own mail: by certificate alone (A1), or by its address
    together with an own sender domain (A2) or with the right to send for the null sender. One that is only for some
    accepted domains is for nobody else (specification 1.1)."""
    for candidate in ruling.candidates:
        if owner and candidate.organisation != owner:
            continue
        connector = policy.of(candidate.organisation).inbound[candidate.connector]
        if not in_scope(connector, accepted.domain_name if accepted is not None else ""):
            continue
        if candidate.by_certificate or sender_of == candidate.organisation or (null and candidate.null_sender):
            return candidate
    return None


def _organisation_of_login(policy: Policy, login: str) -> str:
    home = policy.accepted(login.rpartition("@")[2].lower())
    return home.organisation if home is not None else ""


def _postmaster_domain(policy: Policy, ruling: Ruling) -> str:
    """Where <postmaster> without a domain belongs (RFC 5321 4.5.1): the session's organisation, else the first."""
    if ruling.candidates:
        organisation = ruling.candidates[0].organisation
    else:
        organisation = next(iter(policy.organisations), "")
    return policy.postmaster(organisation).rpartition("@")[2] if organisation else ""


def _sentence(verdict: Verdict, standing: Standing, candidate: Candidate | None, domain: str) -> Step:
    whose = standing.organisation or "nobody"
    where = f"{domain} is an accepted domain of {whose}" if standing.accepted_domain else f"{domain} is nobody's here"
    if candidate is not None:
        because = f"{where}, and the session came by the own-server connector {candidate.connector}"
    elif standing.direction is Direction.ORIGINATING:
        because = f"{where}, and the session is logged in"
    else:
        mine = f"no own server of {whose} sent it" if standing.organisation else "no own server sent it"
        because = f"{where}, and {mine}"
    effect = f"{standing.direction} mail of {whose}" if standing.organisation else "nobody's mail"
    return Step(_NAME, "organisation", Hit.YES, because, effect, verdict.recipient.original.text)


AT_MAIL = MessageStage(_NAME, Point.MAIL, find_candidates)
STAGE = RecipientStage(_NAME, Point.RCPT, attribute)
