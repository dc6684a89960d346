"""Does the sender owe TLS, a certificate or an address, and has it paid?

Specification 2.3 (Partner connectors) as the amendments read it. Restrictions never give rights; they only refuse.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from lockgate.decision.partners import Choice, choose, covering, lost
from lockgate.decision.stage import Depth, RecipientStage, refuse, told
from lockgate.mail import replies
from lockgate.mail.facts import Facts, Point
from lockgate.mail.reply import Reply
from lockgate.mail.ruling import Direction, Hit, Ruling, Standing, Step, Verdict

if TYPE_CHECKING:
    from lockgate.policy.objects.connectors import InboundConnector
    from lockgate.policy.policy import Policy

_NAME = "secure"


def secure(policy: Policy, facts: Facts, ruling: Ruling, verdict: Verdict, depth: Depth) -> Verdict:
    """Hold the sender to what the partner connector that covers it demands; own servers and logins owe nothing."""
    standing = verdict.standing
    sender_domain = facts.envelope.sender_domain if facts.envelope is not None else ""
    if sender_domain and ruling.candidates:
        stranger = _sender_of_another(policy, ruling, sender_domain)
        if stranger:
            return refuse(_NAME, verdict, replies.attribution_denied(stranger), "the sender's domain", stranger)
    if not standing.accepted_domain:
        return verdict
    if standing.direction is Direction.ORIGINATING:
        return told(verdict, _exempt(verdict)) if depth is Depth.FULL else verdict
    mine = policy.of(standing.organisation)
    sent_by = _sent_by(policy, facts, ruling, sender_domain) if mine.partners.by_organisation else ""
    choice = choose(mine, facts, standing, sender_domain, sent_by)
    if depth is Depth.FULL:
        verdict = _others(verdict, lost(mine, facts, standing, sender_domain, choice))
    if choice is not None:
        verdict = _enforce(facts, verdict, choice, depth)
        if verdict.disposition is not None:
            return verdict
    vouched = choice is not None and (choice.certified or choice.at_address or choice.trusted != "")
    vouched = vouched or bool(standing.blocked_connector)  # it still says whose server that is
    if standing.own_domain and not vouched and mine.organisation.reject_direct_send:
        because = f"{sender_domain} is a domain of this organisation, and no connector or login vouches for the session"
        return refuse(_NAME, verdict, replies.DIRECT_SEND_REFUSED, "direct send", because)
    if choice is None and depth is Depth.FULL:
        because = f"none covers the sender domain {sender_domain or '<> (null sender)'}"
        return told(verdict, Step(_NAME, "partner connectors", Hit.NO, because, "", verdict.recipient.original.text))
    return verdict


def _others(verdict: Verdict, losers: Iterable[tuple[str, str]]) -> Verdict:
    whom = verdict.recipient.original.text
    return told(verdict, *(Step(_NAME, name, Hit.NO, because, "", whom) for name, because in losers))


def _sender_of_another(policy: Policy, ruling: Ruling, sender_domain: str) -> str:
    """Why the envelope sender is not for the organisation whose server sends; "" if it is (amendments)."""
    home = policy.accepted(sender_domain)
    if home is None or any(candidate.organisation == home.organisation for candidate in ruling.candidates):
        return ""
    return f"{sender_domain} belongs to another organisation than the server that sends"


def _sent_by(policy: Policy, facts: Facts, ruling: Ruling, sender_domain: str) -> str:
    """The organisation whose own server or login sends this, by the same proof as for its own recipients (2.2); ""."""
    home = policy.accepted(sender_domain) if sender_domain else None
    null = facts.envelope is None or facts.envelope.sender is None
    for candidate in ruling.candidates:
        own = home is not None and home.organisation == candidate.organisation
        if candidate.by_certificate or own or (null and candidate.null_sender):
            return candidate.organisation
    user = facts.connection.login.rpartition("@")[2].lower()
    login = policy.accepted(user) if user else None
    if login is None or home is None or login.organisation != home.organisation:
        return ""
    return login.organisation


def _exempt(verdict: Verdict) -> Step:
    because = "own servers and logged-in sessions are exempt"
    return Step(_NAME, "partner connectors", Hit.NO, because, "", verdict.recipient.original.text)


def _enforce(facts: Facts, verdict: Verdict, choice: Choice, depth: Depth) -> Verdict:
    connector = choice.connector
    old = verdict.standing
    verdict = told(
        verdict,
        standing=Standing(
            old.organisation, old.direction, "", connector.name, old.accepted_domain, old.own_domain,
            blocked_connector=old.blocked_connector,
        ),
    )
    subject = f"partner connector {connector.name}"
    if choice.trusted:
        because = f"it trusts {choice.trusted}, whose server or login sends this"
        whom = verdict.recipient.original.text
        return told(verdict, Step(_NAME, subject, Hit.YES, because, "nothing is demanded", whom))
    if depth is Depth.FULL:
        verdict = told(verdict, _chosen(facts, verdict, choice), *_demands(facts, verdict, choice))
    broken = _broken(facts, choice)
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


def _chosen(facts: Facts, verdict: Verdict, choice: Choice) -> Step:
    """Why this connector is the one that counts."""
    connector, session = choice.connector, facts.connection
    sender = facts.envelope.sender_domain if facts.envelope is not None else ""
    pattern = covering(connector, sender)
    because = f"its sender domain {pattern} covers {sender or '<> (null sender)'}"
    if pattern == sender:
        because = f"it names the sender domain {sender}"
    if connector.sender_ip_addresses and not connector.restrict_domains_to_ip_addresses:
        because += f", and {session.peer} is one of its addresses"
    effect = "its demands hold" if _asks(connector) else "demands nothing"
    return Step(_NAME, f"partner connector {connector.name}", Hit.YES, because, effect, verdict.recipient.original.text)


def _asks(connector: InboundConnector) -> bool:
    return (
        connector.require_tls
        or connector.restrict_domains_to_ip_addresses
        or connector.restrict_domains_to_certificate
    )


def _demands(facts: Facts, verdict: Verdict, choice: Choice) -> Iterator[Step]:
    """Every demand of the connector, and what the session shows of it."""
    connector, session = choice.connector, facts.connection
    whom = verdict.recipient.original.text
    if connector.require_tls:
        seen = f"the session has {session.tls.version}" if session.tls is not None else "the session is in plain text"
        yield _demand(connector.name, "TLS", session.tls is not None, seen, whom)
    if connector.restrict_domains_to_ip_addresses:
        is_one = "is one of them" if choice.at_address else "is none of them"
        yield _demand(connector.name, "one of its addresses", choice.at_address, f"{session.peer} {is_one}", whom)
    if connector.restrict_domains_to_certificate:
        name = connector.tls_sender_certificate_name
        wanted = f"for {name}" if name else "with a pinned key"
        because = choice.proof.because if choice.proof is not None else "the connector names none"
        yield _demand(connector.name, f"a certificate {wanted}", choice.certified, because, whom)


def _demand(connector: str, wanted: str, met: bool, because: str, whom: str) -> Step:
    subject = f"demand of {connector}: {wanted}"
    return Step(_NAME, subject, Hit.YES if met else Hit.NO, because, "met" if met else "not met", whom)


def _broken(facts: Facts, choice: Choice) -> tuple[Reply, str] | None:
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
