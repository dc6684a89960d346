"""Where our own reports go: resolved and routed like mail, judged by nobody (specification 1.20, T-RULE-8)."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lockgate.decision import resolve, route
from lockgate.decision.stage import Depth, Questions
from lockgate.mail.facts import Facts, Point
from lockgate.mail.findings import Answer, Question
from lockgate.mail.ruling import Direction, Ruling, Standing, Verdict

if TYPE_CHECKING:
    from lockgate.policy.policy import Policy


def system_ruling(
    policy: Policy,
    ask: Callable[[tuple[Question, ...]], dict[Question, Answer]],
    facts: Facts,
    organisation: str,
    depth: Depth = Depth.LIVE,
) -> tuple[Facts, Ruling]:
    """Facts (with what was asked) and ruling of a message that the installation itself sends for an organisation.

    A recipient in an accepted domain is routed as its owner wants, everybody else as `organisation` does. Whatever
    the directory cannot tell leaves the address as it is: a report is better delivered to an alias than not at all.
    A recipient that the ways out cannot take (too large) keeps the disposition Refuse.
    """
    verdicts: list[Verdict] = []
    for recipient in facts.recipients:
        accepted = policy.accepted(recipient.original.domain)
        owner = accepted.organisation if accepted is not None else organisation
        domain = accepted.domain_name if accepted is not None else ""
        first = Verdict(recipient, recipient.original, Standing(owner, Direction.ORIGINATING, accepted_domain=domain))
        ruling = Ruling(Point.DATA)
        outcome = resolve.resolve(policy, facts, ruling, first, depth)
        while isinstance(outcome, Questions):
            facts = facts.learn(ask(outcome.asked))
            outcome = resolve.resolve(policy, facts, ruling, first, depth)
        resolved = outcome if outcome.disposition is None else first
        verdicts.append(route.route(policy, facts, ruling, resolved, depth))
    return facts, Ruling(
        Point.DATA, recipients=tuple(verdicts), digest=policy.digest, revision=policy.revision, settled=len(verdicts)
    )
