"""May this mail reach this recipient?

Specification 1.4, 1.7 (edge blocking), 1.8 (connection filter) and 2.2 C (relay right): all at RCPT, so that nobody has
to be told afterwards. What can be refused without asking the directory is refused before it is asked.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockgate.decision.declared import fits
from lockgate.decision.directory import Found, whose
from lockgate.decision.stage import Depth, Questions, RecipientStage, refuse, told
from lockgate.decision.way_back import lead_back
from lockgate.mail import replies
from lockgate.mail.address import Address
from lockgate.mail.facts import Facts, Point
from lockgate.mail.findings import CallForward, Said, Unknown, Who
from lockgate.mail.recipient import RecipientId
from lockgate.mail.ruling import Defer, Direction, Hit, Ruling, Standing, Step, Verdict

if TYPE_CHECKING:
    from lockgate.policy.objects.domains import AcceptedDomain
    from lockgate.policy.policy import PeerLists, Policy

_NAME = "reach"


def begin(policy: Policy, recipient: RecipientId, number: int) -> Verdict:
    """The verdict on a recipient before the first stage; one too many is put off (specification 1.20: 4.5.3).

    Nobody named a derived one (of another organisation's recipient); those have a limit of their own.
    """
    if number < policy.limits.recipients_per_message or recipient.derived_from is not None:
        return Verdict(recipient, recipient.original)
    because = f"{policy.limits.recipients_per_message} recipients were named already"
    step = Step(_NAME, "recipient limit", Hit.YES, because, "put off", recipient.original.text)
    return Verdict(recipient, recipient.original, disposition=Defer(replies.TOO_MANY_RECIPIENTS), steps=(step,))


def reach(policy: Policy, facts: Facts, ruling: Ruling, verdict: Verdict, depth: Depth) -> Verdict | Questions:
    """Refuse what may not be relayed, what is blocked, and whom nobody knows."""
    standing = verdict.standing
    if standing.organisation:
        verdict = _wanted(policy, facts, verdict, depth)
        if verdict.disposition is not None:
            return verdict
    if standing.own_domain and standing.direction is Direction.ORIGINATING and facts.envelope is not None:
        home = policy.accepted(facts.envelope.sender_domain)
        if home is not None and home.sending_from_domain_disabled:
            because = f"{home.domain_name} is switched off for sending"
            return refuse(_NAME, verdict, replies.SENDING_CLOSED, "sender's domain", because)
    recipient = verdict.recipient.original
    if not standing.accepted_domain:
        verdict = _relay(policy, facts, ruling, verdict, depth)
        return verdict if verdict.disposition is not None else fits(policy, facts, verdict, depth)
    accepted = policy.accepted(recipient.domain or standing.accepted_domain)
    if accepted is None:
        raise RuntimeError(f"the accepted domain {standing.accepted_domain} is gone within one policy")
    if accepted.sending_to_domain_disabled:
        because = f"{accepted.domain_name} is switched off for receiving"
        return refuse(_NAME, verdict, replies.DOMAIN_CLOSED, "recipient's domain", because)
    if accepted.outbound_only and standing.direction is Direction.INCOMING:
        because = f"{accepted.domain_name} only sends by this server and receives elsewhere"
        return refuse(_NAME, verdict, replies.RELAY_DENIED, "recipient's domain", because)
    if depth is Depth.FULL:
        because = f"{accepted.domain_name} is an accepted domain ({accepted.domain_type}) and takes mail"
        verdict = told(verdict, Step(_NAME, "recipient's domain", Hit.YES, because, "", recipient.text))
    back = lead_back(facts, verdict, accepted)
    if back is not None:
        return back
    verdict = fits(policy, facts, verdict, depth)
    return verdict if verdict.disposition is not None else _look_up(policy, facts, verdict, accepted, depth)


def _wanted(policy: Policy, facts: Facts, verdict: Verdict, depth: Depth) -> Verdict:
    """What the recipient's organisation says of the number of recipients, and of the peer."""
    organisation = verdict.standing.organisation
    mine = policy.organisations[organisation]
    limit = mine.organisation.max_recipient_envelope_limit
    if limit is not None and _is_beyond(facts, verdict, limit):
        because = f"{limit} recipients were named already, and {organisation} wants no more"
        return refuse(_NAME, verdict, replies.TOO_MANY_RECIPIENTS, "recipient limit", because)
    if not facts.connection.login:
        return _filter(mine.peers, facts, verdict, depth)
    if depth is Depth.LIVE:
        return verdict
    because = "the session is logged in, so they are not asked"
    return told(verdict, Step(_NAME, "IP lists", Hit.NO, because, "", verdict.recipient.original.text))


def _is_beyond(facts: Facts, verdict: Verdict, limit: int) -> bool:
    """Whether so many were named before this one; derived ones are none (specification 1.22)."""
    if verdict.recipient.derived_from is not None or facts.before + len(facts.recipients) <= limit:
        return False
    return facts.before + facts.recipients.index(verdict.recipient) >= limit


def _look_up(
    policy: Policy, facts: Facts, verdict: Verdict, accepted: AcceptedDomain, depth: Depth
) -> Verdict | Questions:
    """Whom the directory knows, and what becomes of those it does not know."""
    standing, recipient = verdict.standing, verdict.recipient.original
    # <postmaster> is completed with the accepted domain (RFC 5321 4.5.1).
    address = recipient if recipient.domain else Address(recipient.local, standing.accepted_domain)
    found = whose(policy, facts, standing.organisation, accepted, address)
    match found:
        case Questions():
            return found
        case Found():
            if found.who is None:
                return _nobody(facts, verdict, accepted, address, depth)
            return _known(verdict, found.who, found, depth)
        case Unknown(why):
            # Whoever it is decides about acceptance, target and rules, so every answer could end differently.
            because = f"it cannot be asked: {why}"
            return refuse(_NAME, verdict, replies.DIRECTORY_UNAVAILABLE, "directory", because, Hit.UNKNOWN)


def _filter(peers: PeerLists, facts: Facts, verdict: Verdict, depth: Depth) -> Verdict:
    """The organisation's connection filter: allow wins, and only lifts the content verdict later (1.8, amendments)."""
    standing, connection = verdict.standing, facts.connection
    allowed = peers.allow.find(connection.packed)
    whom = verdict.recipient.original.text
    if allowed is not None:
        because = f"it names {connection.peer} ({allowed})"
        step = Step(_NAME, "IP allow list", Hit.YES, because, "content will not be judged", whom)
        return told(verdict, step, standing=_changed(standing, allowed_by_ip=True))
    gateway = peers.gateways.find(connection.packed)
    if gateway is not None:
        because = f"{connection.peer} is one of the organisation's ({gateway})"
        step = Step(_NAME, "perimeter gateways", Hit.YES, because, "content will not be judged", whom)
        return told(verdict, step, standing=_changed(standing, allowed_by_ip=True))
    blocked = peers.block.find(connection.packed)
    if blocked is not None:
        reply = replies.blocked_by_customer(
            connection.peer, verdict.recipient.original.domain or standing.accepted_domain
        )
        return refuse(_NAME, verdict, reply, "IP block list", f"it names {connection.peer} ({blocked})")
    if depth is Depth.FULL:
        because = f"it does not name {connection.peer}"
        return told(
            verdict,
            Step(_NAME, "IP allow list", Hit.NO, because, "", whom),
            Step(_NAME, "IP block list", Hit.NO, because, "", whom),
        )
    return verdict


def _relay(policy: Policy, facts: Facts, ruling: Ruling, verdict: Verdict, depth: Depth) -> Verdict:
    """The right to send to domains that are nobody's here (specification 2.2 C). The header From does not count."""
    standing, envelope = verdict.standing, facts.envelope
    recipient = verdict.recipient.original
    null = envelope is None or envelope.sender is None
    if standing.inbound_connector:
        entitled = next(c for c in ruling.candidates if _is_of(c.organisation, c.connector, standing))
        if null and not entitled.null_sender:
            because = f"the connector {standing.inbound_connector} may not relay mail of the null sender"
            return refuse(_NAME, verdict, replies.attribution_denied(because), "relay right", because)
        because = f"the own-server connector {standing.inbound_connector} gives it"
    elif standing.direction is Direction.ORIGINATING and (null or standing.own_domain):
        because = "the login gives it"
    else:
        return _no_relay(policy, facts, ruling, verdict)
    new = _changed(standing, relay=True)
    if depth is Depth.LIVE:
        return told(verdict, standing=new)
    return told(verdict, Step(_NAME, "relay right", Hit.YES, because, "may be relayed", recipient.text), standing=new)


def _is_of(organisation: str, connector: str, standing: Standing) -> bool:
    return organisation == standing.organisation and connector == standing.inbound_connector


def _no_relay(policy: Policy, facts: Facts, ruling: Ruling, verdict: Verdict) -> Verdict:
    domain = verdict.recipient.original.domain
    envelope = facts.envelope
    sender_domain = envelope.sender_domain if envelope is not None else ""
    if ruling.candidates:
        name, whose = ruling.candidates[0].connector, ruling.candidates[0].organisation
        scope = policy.of(whose).inbound[name].associated_accepted_domains
        because = f"{domain} is no accepted domain, and {name} relays only for sender domains of its organisation"
        if scope:
            because = f"{domain} is no accepted domain, and {name} is only for mail to {', '.join(scope[:5])}"
        return refuse(_NAME, verdict, replies.attribution_denied(because), "relay right", because)
    if verdict.standing.organisation:
        because = f"{domain} is no accepted domain, and no connector vouches that the session is {sender_domain}'s"
        return refuse(_NAME, verdict, replies.attribution_denied(because), "relay right", because)
    return refuse(_NAME, verdict, replies.RELAY_DENIED, "relay right", f"{domain or 'it'} is no accepted domain")


def _known(verdict: Verdict, who: Who, found: Found, depth: Depth) -> Verdict:
    standing = _described(verdict.standing, who)
    if depth is Depth.LIVE and not found.how:
        return told(verdict, standing=standing)
    recipient = verdict.recipient.original
    because = f"it knows {recipient} as {who.kind} {who.primary}"
    if found.how:
        because = f"it does not know {recipient} itself, but {who.kind} {who.primary}: {found.how}"
    return told(verdict, Step(_NAME, "directory", Hit.YES, because, "", recipient.text), standing=standing)


def _nobody(
    facts: Facts, verdict: Verdict, accepted: AcceptedDomain, address: Address, depth: Depth
) -> Verdict | Questions:
    """The directory knows nobody of that address: the next hop may, or it does not matter, or this is the end."""
    recipient = verdict.recipient.original
    if recipient.local.casefold() == "postmaster":
        because = "postmaster is always accepted"  # RFC 5321 4.5.1
    elif accepted.recipient_validation == "call_forward":
        return _called(facts, verdict, accepted, address)
    elif accepted.domain_type == "internal_relay":
        because = f"it does not know {recipient}, but {accepted.domain_name} is an internal relay domain"
        if accepted.edge_blocking != "enforce":
            verdict = told(verdict, standing=_changed(verdict.standing, unlisted=True))
    else:
        because = f"it does not know {recipient}, and {accepted.domain_name} is authoritative"
        return _blocked(verdict, accepted, "directory", because)
    if depth is Depth.LIVE:
        return verdict
    return told(verdict, Step(_NAME, "directory", Hit.NO, because, "goes on", recipient.text))


def _blocked(verdict: Verdict, accepted: AcceptedDomain, subject: str, because: str) -> Verdict:
    """Edge blocking (specification 1.7), as far as the domain has got with it."""
    if accepted.edge_blocking == "enforce":
        # Whoever named it at RCPT is told as a stranger is; of a derived one the sender reads in a report.
        reply = replies.EDGE_BLOCKED if verdict.recipient.derived_from is None else replies.NOT_FOUND
        return refuse(_NAME, verdict, reply, subject, because, Hit.NO)
    effect = f"taken and counted, because edge blocking is at {accepted.edge_blocking}; enforced it would be refused"
    step = Step(_NAME, subject, Hit.NO, because, effect, verdict.recipient.original.text)
    return told(verdict, step, standing=_changed(verdict.standing, unlisted=True))


def _called(facts: Facts, verdict: Verdict, accepted: AcceptedDomain, address: Address) -> Verdict | Questions:
    """What the next hop says of a recipient. Only its own final no refuses; silence puts off (DESIGN 2: Unknown)."""
    question = CallForward(verdict.standing.organisation, address.key)
    said = facts.findings.get(question)
    match said:
        case None:
            return Questions((question,))
        case Said(accepts=True):
            because = f"{said.host} says of {address}: {said.reply}"
            if said.takes_all:
                because += "; but it takes every address, so this says nothing"
            step = Step(_NAME, "next hop", Hit.YES, because + _remembered(said), "", verdict.recipient.original.text)
            return told(verdict, step)
        case Said():
            because = f"{said.host} says of {address}: {said.reply}{_remembered(said)}"
            return _blocked(verdict, accepted, "next hop", because)
        case Unknown(why):
            because = f"it cannot be asked about {address}: {why}"
            return refuse(_NAME, verdict, replies.RECIPIENT_UNVERIFIED, "next hop", because, Hit.UNKNOWN)
        case _:
            raise RuntimeError(f"no answer to a question about {address}")


def _remembered(said: Said) -> str:
    return " (remembered)" if said.remembered else ""


def _described(standing: Standing, who: Who) -> Standing:
    return _changed(standing, kind=str(who.kind), who_attributes=who.attributes)


def _changed(
    old: Standing,
    *,
    relay: bool = False,
    allowed_by_ip: bool = False,
    kind: str = "",
    who_attributes: dict[str, str] | None = None,
    unlisted: bool = False,
) -> Standing:
    return Standing(
        old.organisation,
        old.direction,
        old.inbound_connector,
        old.partner_connector,
        old.accepted_domain,
        old.own_domain,
        old.relay or relay,
        old.allowed_by_ip or allowed_by_ip,
        kind or old.kind,
        old.who_attributes if who_attributes is None else who_attributes,
        old.unlisted or unlisted,
        blocked_connector=old.blocked_connector,
    )


STAGE = RecipientStage(_NAME, Point.RCPT, reach)
