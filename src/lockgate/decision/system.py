"""Our own reports are resolved and routed, and nothing else: nobody filters, rules or refuses them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from lockgate.decision import resolve, route
from lockgate.decision.stage import Depth, Either, Questions
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
) -> tuple[Facts, Ruling]:
    """Where a message of our own goes that `organisation` answers for; the facts come back richer."""
    verdicts: list[Verdict] = []
    ruling = Ruling(Point.DATA, digest=policy.digest, revision=policy.revision)
    for recipient in facts.recipients:
        home = policy.accepted(recipient.original.domain)
        own = home is not None and home.organisation == organisation
        standing = Standing(
            organisation,
            Direction.ORIGINATING,
            accepted_domain=home.domain_name if home is not None and own else "",
            own_domain=own,
            relay=not own,
        )
        verdict = Verdict(recipient, recipient.original, standing)
        for stage in (resolve.STAGE, route.STAGE):
            outcome = stage.judge(policy, facts, ruling, verdict, Depth.LIVE)
            if isinstance(outcome, Questions):
                facts = facts.learn(ask(outcome.asked))
                outcome = stage.judge(policy, facts, ruling, verdict, Depth.LIVE)
            if isinstance(outcome, Questions | Either):
                raise RuntimeError(f"{stage.name} cannot decide about our own report")
            verdict = outcome
        verdicts.append(verdict)
    return facts, Ruling(
        Point.DATA, recipients=tuple(verdicts), digest=policy.digest, revision=policy.revision, settled=len(verdicts)
    )
