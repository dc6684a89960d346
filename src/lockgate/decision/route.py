"""By which door does the copy leave? (specification 2.4)"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from lockgate.decision.stage import Depth, RecipientStage, decided, refuse
from lockgate.mail import replies
from lockgate.mail.facts import Facts, Point
from lockgate.mail.ruling import Deliver, Hit, Route, Ruling, Step, Verdict, Via

if TYPE_CHECKING:
    from lockgate.policy.objects.connectors import OutboundConnector
    from lockgate.policy.policy import OrganisationPolicy, Policy

_NAME = "route"


def route(policy: Policy, facts: Facts, ruling: Ruling, verdict: Verdict, depth: Depth) -> Verdict:
    """Rule, central transport, exact domain, longest wildcard, all accepted domains, `*`, then MX."""
    organisation = verdict.standing.organisation
    mine = policy.organisations.get(organisation)
    domain = verdict.target.domain
    if mine is None:
        return _leave(verdict, Route(Via.MX, organisation, domain=domain), "MX", "nobody's connector is asked")
    if verdict.effects.connector:
        return _by_rule(mine, verdict, domain)
    home = policy.accepted(domain)
    own = home is not None and home.organisation == organisation
    size = facts.message.size if facts.message is not None else 0
    missed: list[Step] = []
    too_small = ""
    for because, connectors in _ranks(mine, domain, own=own):
        for connector in connectors:
            if connector.size_limit and size > connector.size_limit:
                too_small = f"connector {connector.name} takes at most {connector.size_limit} octets"
                missed.append(_step(verdict, f"connector {connector.name}", Hit.NO, too_small))
                continue
            kept = tuple(missed) if depth is Depth.FULL else ()
            return _leave(verdict, _way(connector, domain), f"connector {connector.name}", because, *kept)
    if too_small:
        return refuse(_NAME, verdict, replies.MESSAGE_TOO_LARGE, "size limit", too_small)
    return _leave(verdict, Route(Via.MX, organisation, domain=domain), "MX", f"no connector is about {domain}")


def _ranks(
    mine: OrganisationPolicy, domain: str, *, own: bool
) -> Iterator[tuple[str, tuple[OutboundConnector, ...]]]:
    """Why, and the connectors of that rank, best first."""
    out = mine.outbound
    if out.central and not own:
        yield "all mail to the outside leaves by it", out.central
    if found := out.exact.get(domain):
        yield f"it names {domain}", found
    accepted_first = mine.organisation.wildcard_after_accepted_domains
    if own and accepted_first:
        yield f"{domain} is an accepted domain", out.all_accepted
    for group in out.wildcard.every(domain):
        yield f"{domain} is below a domain that it names", group
    if own and not accepted_first:
        yield f"{domain} is an accepted domain", out.all_accepted
    yield "it is about every domain", out.everything


def _by_rule(mine: OrganisationPolicy, verdict: Verdict, domain: str) -> Verdict:
    """Never another way: a connector that is switched off or gone makes its mail wait (amendments)."""
    name = verdict.effects.connector
    connector = mine.outbound.named.get(name)
    because = f"rule {verdict.effects.rule} names it"
    if connector is not None and connector.enabled:
        return _leave(verdict, _way(connector, domain), f"connector {name}", because)
    what = "is switched off" if connector is not None else "does not exist"
    waits = f"the connector {name}, which rule {verdict.effects.rule} names, {what}"
    way = Route(Via.CONNECTOR, mine.organisation.name, name, domain, waits=waits)
    return _leave(verdict, way, f"connector {name}", f"{because}, and it {what}, so the mail waits")


def _way(connector: OutboundConnector, domain: str) -> Route:
    by_mx = domain if connector.use_mx_record else ""
    return Route(Via.CONNECTOR, connector.organisation, connector.name, by_mx, connector.tls_settings)


def _leave(verdict: Verdict, way: Route, subject: str, because: str, *missed: Step) -> Verdict:
    return decided(verdict, Deliver(way, verdict.target), *missed, _step(verdict, subject, Hit.YES, because, "leaves"))


def _step(verdict: Verdict, subject: str, hit: Hit, because: str, effect: str = "") -> Step:
    return Step(_NAME, subject, hit, because, effect, verdict.recipient.original.text)


STAGE = RecipientStage(_NAME, Point.DATA, route)
