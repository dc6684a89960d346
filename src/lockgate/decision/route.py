"""By which door does this copy leave, and which TLS is demanded there?

Specification 2.4 with ruling C-1: rule, central connector, exact domain, longest wildcard, all accepted domains,
`*`, MX. A mailbox of the directory goes to the organisation's store, unless a rule or centralised transport (2.6: all
inbound mail by on-premises) says otherwise; where there is no store it is routed like everybody else. What we send on
for a group or a mailbox leaves with a sender of ours (1.2 sender_rewriting_enabled, mail/srs.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING

from lockgate.decision.outbound import lost
from lockgate.decision.rewriting import sent_on
from lockgate.decision.stage import Depth, RecipientStage, decided, refuse, told
from lockgate.mail import replies
from lockgate.mail.facts import Facts, Point
from lockgate.mail.ruling import Deliver, Direction, Hit, Route, Ruling, Step, TlsLevel, TlsWish, Verdict, Via

if TYPE_CHECKING:
    from lockgate.policy.objects.connectors import OutboundConnector
    from lockgate.policy.policy import OrganisationPolicy, Policy

_NAME = "route"
_FIELD = "tls-required"
_SAID = {
    TlsWish.NONE: "",
    TlsWish.REQUIRED: ", to servers that promise REQUIRETLS and prove their certificate",
    TlsWish.NOT_REQUIRED: ", whatever DANE and MTA-STS ask for, because the message says TLS-Required: No",
}
_Match = tuple["OutboundConnector", str]


def route(policy: Policy, facts: Facts, ruling: Ruling, verdict: Verdict, depth: Depth) -> Verdict:
    """Choose the connector, or MX; a connector that a rule names is used or waited for, never gone around."""
    return sent_on(policy, facts, _chosen(policy, facts, ruling, verdict, depth))


def _chosen(policy: Policy, facts: Facts, ruling: Ruling, verdict: Verdict, depth: Depth) -> Verdict:
    organisation = verdict.standing.organisation
    mine = policy.organisations.get(organisation)
    if mine is None:  # a report about mail of an organisation that is gone
        way = Route(Via.MX, organisation, "", verdict.target.domain)
        return decided(verdict, Deliver(way, verdict.target), _step(verdict, "MX", Hit.YES, "nobody's connector", ""))
    size = facts.message.size if facts.message is not None else 0
    least = _least(facts, verdict)
    domain = verdict.target.domain
    full = depth is Depth.FULL
    if verdict.effects.connector:
        if full:
            because = f"rule {verdict.effects.rule} names {verdict.effects.connector}"
            verdict = _others(verdict, lost(mine, domain, (), verdict.effects.connector, because))
        return _by_rule(mine, facts, verdict, least)
    stored = _stored(policy, mine, ruling, verdict)
    if stored is not None:
        return stored
    steps: list[Step] = []
    too_small = ""
    for connector, because in ranked(policy, mine, domain, central=not verdict.standing.inbound_connector):
        if size <= connector.size_limit or not connector.size_limit:
            if full:
                central = not verdict.standing.inbound_connector
                others = ranked(policy, mine, domain, central=central)
                verdict = _others(told(verdict, *steps), lost(mine, domain, others, connector.name, because))
                steps = []
            return _leave(mine, facts, verdict, connector, because, steps, least)
        too_small = connector.name
        if full:
            said = f"{because}, but it takes {connector.size_limit} octets at most"
            steps.append(_step(verdict, f"connector {connector.name}", Hit.NO, said, ""))
        if connector.route_all_messages_via_on_premises:
            break  # what has to go this way may not go another
    if full and not too_small:
        verdict = _others(verdict, lost(mine, domain, (), "", ""))
    if too_small:
        because = f"the message has {size} octets, more than any connector for {domain} takes"
        return refuse(_NAME, told(verdict, *steps), replies.MESSAGE_TOO_LARGE, f"connector {too_small}", because)
    wish = _wish(facts, domain)
    way = Route(Via.MX, mine.organisation.name, "", domain, least, wish=wish)
    effect = f"goes to the MX of {domain}{_SAID[wish]}"
    steps.append(_step(verdict, "MX", Hit.YES, f"no connector is for {domain}", effect))
    return decided(verdict, Deliver(way, verdict.target), *steps)


def ranked(policy: Policy, mine: OrganisationPolicy, domain: str, *, central: bool) -> Iterator[_Match]:
    """The connectors that are for mail to this domain, best first, each with the reason.

    `central` is False for what an own server sends out by us: it must not be sent back to it (specification 2.6).
    """
    outbound = mine.outbound
    if outbound.central and central:
        yield from ((c, "all messages go by on-premises") for c in outbound.central)
    yield from ((c, f"it is for {domain}") for c in outbound.exact.get(domain, ()))
    for group in outbound.wildcard.every(domain):
        yield from ((c, f"its wildcard covers {domain}") for c in group)
    if outbound.all_accepted:
        home = policy.accepted(domain)
        if home is not None and home.organisation == mine.organisation.name:
            yield from ((c, f"it is for all accepted domains, and {domain} is one") for c in outbound.all_accepted)
    yield from ((c, "it is for all domains") for c in outbound.everything)


def _goes_round(mine: OrganisationPolicy, ruling: Ruling, verdict: Verdict) -> bool:
    """Whether inbound mail goes by on-premises first, which returns what is for mailboxes here (specification 2.6).

    Own servers are known here by their address alone: what they return still bears the sender it had outside.
    """
    if not mine.outbound.central or verdict.standing.direction is not Direction.INCOMING:
        return False
    return not any(candidate.organisation == mine.organisation.name for candidate in ruling.candidates)


def _stored(policy: Policy, mine: OrganisationPolicy, ruling: Ruling, verdict: Verdict) -> Verdict | None:
    """To the organisation's mailbox store, or where the operator keeps mailboxes; None if nobody keeps any here."""
    if not verdict.mailbox or _goes_round(mine, ruling, verdict):
        return None
    name = mine.organisation.name
    because = f"{verdict.target} is a mailbox"
    if mine.store is not None:
        way = Route(Via.MAILBOX, name, store=mine.store.name)
        step = _step(verdict, f"mailbox store {mine.store.name}", Hit.YES, because, "delivered there")
        return decided(verdict, Deliver(way, verdict.target), step)
    if not policy.keeps_mailboxes:
        return None
    step = _step(verdict, "mailbox store", Hit.YES, because, "delivered where the operator keeps mailboxes")
    return decided(verdict, Deliver(Route(Via.MAILBOX, name), verdict.target), step)


def _others(verdict: Verdict, losers: Iterable[tuple[str, str]]) -> Verdict:
    """The verdict with a step for every connector that is not the one."""
    return told(verdict, *(_step(verdict, f"connector {name}", Hit.NO, because, "") for name, because in losers))


def _by_rule(mine: OrganisationPolicy, facts: Facts, verdict: Verdict, least: TlsLevel) -> Verdict:
    size = facts.message.size if facts.message is not None else 0
    name, rule = verdict.effects.connector, verdict.effects.rule
    connector = mine.outbound.named.get(name)
    if connector is None or not connector.enabled:
        state = "does not exist any more" if connector is None else "is disabled"
        waits = f"The connector {name}, which the rule {rule} names, {state}."
        level = _level(connector, least) if connector is not None else TlsLevel.OPPORTUNISTIC
        domain = verdict.target.domain if connector is None or connector.use_mx_record else ""
        way = Route(Via.CONNECTOR, mine.organisation.name, name, domain, level, waits, wish=_wish(facts, domain))
        step = _step(verdict, f"connector {name}", Hit.YES, f"rule {rule} names it, but it {state}", "waits")
        return decided(verdict, Deliver(way, verdict.target), step)
    if connector.size_limit and size > connector.size_limit:
        because = f"rule {rule} names it, but it takes {connector.size_limit} octets at most, and these are {size}"
        return refuse(_NAME, verdict, replies.MESSAGE_TOO_LARGE, f"connector {name}", because)
    return _leave(mine, facts, verdict, connector, f"rule {rule} names it", [], least)


def _leave(
    mine: OrganisationPolicy,
    facts: Facts,
    verdict: Verdict,
    connector: OutboundConnector,
    because: str,
    before: list[Step],
    least: TlsLevel,
) -> Verdict:
    domain = verdict.target.domain if connector.use_mx_record else ""
    level, wish = _level(connector, least), _wish(facts, domain)
    way = Route(Via.CONNECTOR, mine.organisation.name, connector.name, domain, level, wish=wish)
    effect = f"leaves by it, TLS {level}{_SAID[wish]}"
    step = _step(verdict, f"connector {connector.name}", Hit.YES, because, effect)
    return decided(verdict, Deliver(way, verdict.target), *before, step)


_ORDER = tuple(TlsLevel)


def _least(facts: Facts, verdict: Verdict) -> TlsLevel:
    """Both a rule and REQUIRETLS ask for encryption; what REQUIRETLS asks besides is a wish of the message."""
    asked = verdict.effects.require_tls or (facts.envelope is not None and facts.envelope.require_tls)
    return TlsLevel.ENCRYPTION_ONLY if asked else TlsLevel.OPPORTUNISTIC


def _wish(facts: Facts, domain: str) -> TlsWish:
    """What the message says about TLS, for a way by the MX of `domain` ("": smart hosts).

    "TLS-Required: No", once and with that value (RFC 8689 3), says that it had better be delivered than protected;
    smart hosts owe nothing that a message could let them off.
    """
    if facts.envelope is not None and facts.envelope.require_tls:
        return TlsWish.REQUIRED
    if not domain:
        return TlsWish.NONE
    fields = facts.message.fields if facts.message is not None else ()
    found = [value for name, value in fields if len(name) == len(_FIELD) and name.lower() == _FIELD]
    return TlsWish.NOT_REQUIRED if len(found) == 1 and found[0].strip().lower() == "no" else TlsWish.NONE


def _level(connector: OutboundConnector, secure: TlsLevel) -> TlsLevel:
    """The connector's level, or what the message asks for if that is more."""
    level = connector.tls_settings
    return level if secure is TlsLevel.OPPORTUNISTIC else max(level, secure, key=_ORDER.index)


def _step(verdict: Verdict, subject: str, hit: Hit, because: str, effect: str) -> Step:
    return Step(_NAME, subject, hit, because, effect, verdict.recipient.original.text)


STAGE = RecipientStage(_NAME, Point.DATA, route)
