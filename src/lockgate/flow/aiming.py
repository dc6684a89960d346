"""Is a connector for this recipient, where would it carry the copy, and which way does real mail take?"""

from __future__ import annotations

from typing import Any, NamedTuple

import msgspec

from lockgate.decision import route as routing
from lockgate.decision.signing import signs_letter
from lockgate.decision.stage import Depth
from lockgate.decision.system import system_ruling
from lockgate.flow.settle import Ask
from lockgate.mail.address import Address
from lockgate.mail.connection import OWN_REPORT, Connection
from lockgate.mail.envelope import Envelope
from lockgate.mail.facts import Facts, Point
from lockgate.mail.recipient import RecipientId
from lockgate.mail.ruling import Deliver, Effects, Refuse, Route, Ruling, Verdict, Via
from lockgate.mail.validation import StepName, ValidationStep, failed, passed
from lockgate.policy.objects.connectors import OutboundConnector
from lockgate.policy.policy import OrganisationPolicy, Policy

_RULE = "connector validate"
_NOBODY_JUDGED = Ruling(Point.DATA)


class Aim(NamedTuple):
    """One test recipient on its way by the connector; `target` is where it lives after resolving."""

    recipient: Address
    target: Address
    route: Route
    rewrite: str
    sign: bool


def aimed(
    policy: Policy, ask: Ask, connector: OutboundConnector, recipient: Address, sender: Address | None, now: float
) -> tuple[ValidationStep, Aim | None]:
    """The step, and the way by this connector if the recipient is in its scope."""
    mine = policy.of(connector.organisation)
    facts = Facts(
        at=now,
        connection=Connection(_RULE, "", b"", 0, OWN_REPORT, helo=policy.hostname),
        envelope=Envelope(sender),
        recipients=(RecipientId(recipient),),
    )
    facts, ruling = system_ruling(policy, ask, facts, connector.organisation)
    verdict = ruling.recipients[0]
    domain, said = verdict.target.domain, _real(verdict)
    target, wins = verdict.target, _wins(verdict, connector)
    details: dict[str, Any] = {"domain": domain, "target": target.text, "real_mail": said, "wins": wins}
    ranked = [(one.name, why) for one, why in routing.ranked(policy, mine, domain, central=True)]
    because = next((why for name, why in ranked if name == connector.name), "")
    if connector.is_transport_rule_scoped:
        rules = _rules(mine, connector.name)
        named = f"the rule {', '.join(rules)} names it" if rules else "no enabled rule names it, so nothing uses it"
        because = f"it takes what a mail flow rule sends by it ({named})"
        details["rules"] = rules
    if not because:
        seen = f"the recipient's domain {domain} is not part of the connector {connector.name}; {said}"
        fix = f"Name a recipient in its scope ({_scope(connector)}), or add the domain to its recipient_domains."
        return failed(StepName.SCOPE, seen, fix, recipient=recipient.text, **details), None
    forced = _forced(policy, facts, verdict, connector)
    if forced is None:
        seen = f"{recipient} cannot be sent by {connector.name}: {_last(verdict)}"
        return failed(StepName.SCOPE, seen, "Look at `lockgate what-if` for this recipient.",
                      recipient=recipient.text, **details), None  # fmt: skip
    way, aim_verdict = forced
    other = "" if details["wins"] or connector.is_transport_rule_scoped else f"; but {said}"
    seen = f"{because}{other}"
    aim = Aim(
        recipient, target, way.route, way.rewrite, signs_letter(policy, connector.organisation, aim_verdict)
    )
    return passed(StepName.SCOPE, seen, recipient=recipient.text, **details), aim


def _forced(
    policy: Policy, facts: Facts, verdict: Verdict, connector: OutboundConnector
) -> tuple[Deliver, Verdict] | None:
    """The way that the route stage gives a copy for which a rule names this connector."""
    standing = msgspec.structs.replace(verdict.standing, organisation=connector.organisation)
    bare = Verdict(
        verdict.recipient, verdict.target, standing, Effects(connector=connector.name, rule=_RULE),
        identity=verdict.identity,
    )  # fmt: skip
    routed = routing.route(policy, facts, _NOBODY_JUDGED, bare, Depth.LIVE)
    if not isinstance(routed.disposition, Deliver):
        return None
    return routed.disposition, routed


def _real(verdict: Verdict) -> str:
    """Which way real mail takes."""
    match verdict.disposition:
        case Deliver(route=Route(via=Via.CONNECTOR, connector=name)):
            return f"real mail to it leaves by the connector {name}, because {_last(verdict)}"
        case Deliver(route=Route(via=Via.MX)):
            return f"real mail to it leaves by MX, because {_last(verdict)}"
        case Deliver():
            return f"real mail to it goes into a mailbox here, because {_last(verdict)}"
        case Refuse(reply=reply):
            return f"real mail to it is refused: {reply}"
        case _:
            return "real mail to it takes no way that could be told"


def _wins(verdict: Verdict, connector: OutboundConnector) -> bool:
    way = getattr(verdict.disposition, "route", None)
    return way is not None and (way.organisation, way.connector) == (connector.organisation, connector.name)


def _last(verdict: Verdict) -> str:
    return verdict.steps[-1].because if verdict.steps else "nothing else was found"


def _rules(mine: OrganisationPolicy, name: str) -> list[str]:
    """The enabled rules that send by this connector."""
    return [
        rule.name
        for rule in mine.rules.all
        if rule.enabled and any(change(Effects()).connector == name for change in rule.then)
    ]


def _scope(connector: OutboundConnector) -> str:
    """What a connector is for, in words."""
    named = [*connector.recipient_domains[:5], *(["..."] if len(connector.recipient_domains) > 5 else [])]
    if connector.all_accepted_domains:
        named.append("all accepted domains")
    if connector.route_all_messages_via_on_premises:
        named.append("all mail to the outside")
    return ", ".join(named) or "it has none"
