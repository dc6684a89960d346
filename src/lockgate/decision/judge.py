"""The stages in order, folded over policy and facts; and what they still want to know.

The fold goes point by point: first what concerns everybody, then each recipient on top of it. It is resumable: a
ruling says how far it has come (`point`, `stage`, `settled`), so nothing is judged twice.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from lockgate.decision import admit, attribute, dispose, reach, regulate, resolve, route, secure
from lockgate.decision.stage import Depth, Either, Questions, decided
from lockgate.mail import replies
from lockgate.mail.facts import Facts, Point
from lockgate.mail.recipient import RecipientId
from lockgate.mail.reply import Reply
from lockgate.mail.ruling import Candidate, Defer, Hit, Ruling, Step, Verdict, Wants

if TYPE_CHECKING:
    from lockgate.policy.policy import Policy

MESSAGE_STAGES = (admit.STAGE, attribute.AT_MAIL, dispose.AT_DATA)
"""What is asked of the message as a whole, in order."""

RECIPIENT_STAGES = (
    attribute.STAGE,
    secure.STAGE,
    reach.STAGE,
    resolve.STAGE,
    regulate.STAGE,
    dispose.STAGE,
    route.STAGE,
)
"""What is asked for each recipient, in order (DESIGN 2)."""

_ALL = len(RECIPIENT_STAGES)
_RELEASED_AT = RECIPIENT_STAGES.index(dispose.STAGE)
_POINTS = tuple(Point)
_UPTO = {point: sum(1 for stage in RECIPIENT_STAGES if stage.point <= point) for point in Point}
"""How many recipient stages belong to the conversation up to a point."""


def judge(
    policy: Policy,
    facts: Facts,
    until: Point = Point.DATA,
    so_far: Ruling | None = None,
    depth: Depth = Depth.LIVE,
) -> Ruling | Wants:
    """What follows from the policy for this message, up to the point where the conversation stands.

    `so_far` is an earlier ruling of the same policy about the same connection, envelope and first recipients, or the
    state that `Wants` gave back. Pure: no clock, no world.
    """
    ruling = so_far or Ruling(Point.CONNECT, digest=policy.digest, revision=policy.revision)
    for point in _POINTS[ruling.point : until + 1]:
        if ruling.refusal is not None:
            break
        if point != ruling.point:
            ruling = _at(ruling, point, ruling.recipients, 0)
        while ruling.stage < len(MESSAGE_STAGES) and MESSAGE_STAGES[ruling.stage].point == point:
            ruling = _next_stage(MESSAGE_STAGES[ruling.stage].judge(policy, facts, ruling, depth))
            if ruling.refusal is not None:
                return ruling
        if point >= Point.RCPT:
            outcome = _recipients(policy, facts, ruling, point, depth)
            if isinstance(outcome, Wants):
                return outcome
            ruling = outcome
    return ruling


def _recipients(policy: Policy, facts: Facts, ruling: Ruling, point: Point, depth: Depth) -> Ruling | Wants:
    """Fold every recipient that has not come to this point yet."""
    verdicts = list(ruling.recipients)
    for number in range(len(verdicts), len(facts.recipients)):
        verdicts.append(reach.begin(policy, facts.recipients[number], number))
    upto = _UPTO[point]
    for number in range(ruling.settled, len(verdicts)):
        outcome = _fold(policy, facts, ruling, verdicts[number], upto, depth)
        if isinstance(outcome, Questions):
            return Wants(outcome.asked, _at(ruling, point, tuple(verdicts), number))
        verdicts[number] = outcome
    return _at(ruling, point, tuple(verdicts), len(verdicts))


def _fold(
    policy: Policy, facts: Facts, ruling: Ruling, verdict: Verdict, upto: int, depth: Depth
) -> Verdict | Questions:
    """One recipient through its stages; unforeseen questions come back with nothing lost but this recipient's walk."""
    at = verdict.stage
    while at < upto and verdict.disposition is None:
        outcome = RECIPIENT_STAGES[at].judge(policy, facts, ruling, verdict, depth)
        at += 1
        if isinstance(outcome, Questions):
            return outcome
        if isinstance(outcome, Either):
            return _follow(policy, facts, ruling, outcome, at, upto, depth)
        verdict = outcome
    return _counted(verdict, _ALL if verdict.disposition is not None else at)


def _follow(
    policy: Policy, facts: Facts, ruling: Ruling, either: Either, at: int, upto: int, depth: Depth
) -> Verdict | Questions:
    """Something is unknown: where every answer ends alike it does not matter, else the recipient is put off."""
    ends: list[Verdict] = []
    for verdict in either.verdicts:
        end = _fold(policy, facts, ruling, _counted(verdict, at), upto, depth)
        if isinstance(end, Questions):
            return end
        ends.append(end)
    first = ends[0]
    if all(end.disposition == first.disposition and end.effects == first.effects for end in ends[1:]):
        return first
    step = Step("judge", "what is unknown", Hit.UNKNOWN, either.why, "put off", first.recipient.original.text)
    return _counted(decided(first, Defer(replies.NOT_FOUND_OUT), step), _ALL)


def _counted(verdict: Verdict, stage: int) -> Verdict:
    if verdict.stage == stage:
        return verdict
    return Verdict(
        verdict.recipient,
        verdict.target,
        verdict.standing,
        verdict.effects,
        verdict.disposition,
        verdict.steps,
        stage,
        verdict.identity,
    )


def _at(ruling: Ruling, point: Point, recipients: tuple[Verdict, ...], settled: int) -> Ruling:
    return _ruling(point, ruling.refusal, ruling.candidates, recipients, ruling.steps, ruling, ruling.stage, settled)


def _next_stage(ruling: Ruling) -> Ruling:
    return _ruling(
        ruling.point,
        ruling.refusal,
        ruling.candidates,
        ruling.recipients,
        ruling.steps,
        ruling,
        ruling.stage + 1,
        ruling.settled,
    )


def _ruling(
    point: Point,
    refusal: Reply | None,
    candidates: tuple[Candidate, ...],
    recipients: tuple[Verdict, ...],
    steps: tuple[Step, ...],
    old: Ruling,
    stage: int,
    settled: int,
) -> Ruling:
    return Ruling(point, refusal, candidates, recipients, steps, old.digest, old.revision, stage, settled)


def released(ruling: Ruling, ids: Collection[RecipientId]) -> Ruling:
    """The state from which held recipients go on: disposition and route only, never ruled a second time (DESIGN 2)."""
    recipients = tuple(
        Verdict(v.recipient, v.target, v.standing, v.effects, None, v.steps, _RELEASED_AT, v.identity)
        for v in ruling.recipients
        if v.recipient in ids
    )
    return Ruling(
        Point.DATA, None, ruling.candidates, recipients, ruling.steps, ruling.digest, ruling.revision,
        len(MESSAGE_STAGES), 0,
    )  # fmt: skip
