"""The stages in order, and the fold over them: Facts and Policy to a Ruling, or to what must be known first.

Pure and resumable (DESIGN 2): the answers to connect, MAIL, each RCPT and DATA are prefixes of one computation, and
`Wants` carries the state of the fold. At RCPT only the recipients that are new are judged.
"""

from __future__ import annotations

from collections.abc import Container
from typing import TYPE_CHECKING, NamedTuple

from lockgate.decision import (
    adding,
    admit,
    attribute,
    authenticate,
    blocked,
    declared,
    derive,
    dispose,
    entitle,
    expand,
    reach,
    regulate,
    resolve,
    route,
    secure,
)
from lockgate.decision.stage import Depth, Derived, Either, MessageStage, Questions, RecipientStage, doubts_of
from lockgate.mail import replies
from lockgate.mail.facts import Facts, Point
from lockgate.mail.findings import Question
from lockgate.mail.recipient import RecipientId
from lockgate.mail.ruling import Defer, Drop, Hit, Refuse, Resolved, Ruling, Step, Verdict, Wants

if TYPE_CHECKING:
    from lockgate.policy.policy import Policy

STAGES: tuple[MessageStage | RecipientStage, ...] = (
    admit.STAGE,
    attribute.AT_MAIL,
    declared.STAGE,
    attribute.STAGE,
    blocked.STAGE,
    secure.STAGE,
    reach.STAGE,
    resolve.STAGE,
    dispose.MEASURE,
    expand.STAGE,
    entitle.STAGE,
    authenticate.STAGE,
    regulate.STAGE,
    adding.STAGE,
    dispose.STAGE,
    route.STAGE,
)
"""The order of precedence. At each point of the conversation the message is judged first, then each recipient."""

MESSAGE_STAGES = tuple(stage for stage in STAGES if isinstance(stage, MessageStage))
RECIPIENT_STAGES = tuple(stage for stage in STAGES if isinstance(stage, RecipientStage))

_MESSAGE_UNTIL = tuple(sum(stage.point <= point for stage in MESSAGE_STAGES) for point in Point)
_RECIPIENT_UNTIL = tuple(sum(stage.point <= point for stage in RECIPIENT_STAGES) for point in Point)
_EXPAND = expand.HERE
_ADD = RECIPIENT_STAGES.index(adding.STAGE)
_DISPOSE = RECIPIENT_STAGES.index(dispose.STAGE)


def judge(
    policy: Policy,
    facts: Facts,
    until: Point = Point.DATA,
    so_far: Ruling | None = None,
    depth: Depth = Depth.LIVE,
) -> Ruling | Wants:
    """What follows from these facts up to `until`; with `so_far` the fold goes on where it stood.

    `so_far` is a ruling on a prefix of these facts (its recipients are the first of the facts' recipients), or the
    state out of `Wants`. Raises ValueError if the facts do not reach as far as `until`.
    """
    if until is not Point.CONNECT and facts.envelope is None:
        raise ValueError("there is no envelope to judge yet")
    ruling = so_far if so_far is not None else Ruling(Point.CONNECT)
    for point in _POINTS[ruling.point : until + 1]:
        if ruling.refusal is not None:
            break
        if point is ruling.point and point is not until and _is_over(point, facts, ruling):
            continue
        outcome = _judge_at(point, policy, facts, ruling, depth)
        if isinstance(outcome, Wants):
            return outcome
        ruling = outcome
    return ruling


_POINTS = tuple(Point)


def _is_over(point: Point, facts: Facts, ruling: Ruling) -> bool:
    """Whether nothing is left to judge at the point at which the ruling stands."""
    if ruling.stage < _MESSAGE_UNTIL[point]:
        return False
    return not _RECIPIENT_UNTIL[point] or ruling.settled >= len(facts.recipients)


def _judge_at(point: Point, policy: Policy, facts: Facts, ruling: Ruling, depth: Depth) -> Ruling | Wants:
    stage = ruling.stage
    settled = ruling.settled if ruling.point is point else 0
    while stage < _MESSAGE_UNTIL[point]:
        ruling = MESSAGE_STAGES[stage].judge(policy, facts, ruling, depth)
        stage += 1
        if ruling.refusal is not None:
            return _state(policy, ruling, point, stage, settled, ruling.recipients)
    last = _RECIPIENT_UNTIL[point]
    if not last:
        return _state(policy, ruling, point, stage, 0, ruling.recipients)
    verdicts, asked = _judge_recipients(last, settled, policy, facts, ruling, depth)
    if asked:
        return Wants(tuple(asked), _state(policy, ruling, point, stage, settled, verdicts))
    return _state(policy, ruling, point, stage, len(verdicts), verdicts)


def _judge_recipients(
    last: int, settled: int, policy: Policy, facts: Facts, ruling: Ruling, depth: Depth
) -> tuple[tuple[Verdict, ...], dict[Question, None]]:
    """All verdicts, those from `settled` on judged further, and what has to be asked for them."""
    before = ruling.recipients
    recipients, first = facts.recipients, facts.before
    asked: dict[Question, None] = {}
    after: list[Verdict] = []
    grown: dict[int, Derived] = {}
    known, count = len(before), len(recipients)
    for number in range(settled, count if count > known else known):
        verdict = before[number] if number < known else reach.begin(policy, recipients[number], first + number)
        if verdict.disposition is None and verdict.stage < last:
            outcome = _follow(verdict, last, policy, facts, ruling, depth)
            if isinstance(outcome, Verdict):
                verdict = outcome
            elif isinstance(outcome, _Branching):
                verdict, grown[number] = outcome
            else:
                verdict = outcome[0]
                asked.update(dict.fromkeys(outcome[1]))
        after.append(verdict)
    if grown:
        after = [*before[:settled], *after]
        _grow(after, grown, asked, last, policy, facts, ruling, depth)
        settled = 0
    if last > _EXPAND and not asked and (len(after) > 1 or (after and isinstance(after[0].disposition, Resolved))):
        return derive.finished(policy, facts, [*before[:settled], *after]), asked
    return (before[:settled] if settled else ()) + tuple(after), asked


def _grow(
    verdicts: list[Verdict],
    grown: dict[int, Derived],
    asked: dict[Question, None],
    last: int,
    policy: Policy,
    facts: Facts,
    ruling: Ruling,
    depth: Depth,
) -> None:
    """Put derived recipients behind the others and judge them too, level by level.

    A level is complete when everybody else is resolved; until then the groups wait, so that what is derived does not
    depend on which answer came first. Whom rules add comes when nobody is to be expanded or regulated any more.
    """
    while grown:
        expanding = {number: found for number, found in grown.items() if verdicts[number].stage == _EXPAND}
        ready, stage = (expanding, _EXPAND) if expanding else (grown, _ADD)
        if any(
            verdict.disposition is None and verdict.stage <= stage and number not in grown
            for number, verdict in enumerate(verdicts)
        ):
            return
        there, before = list(ready), len(verdicts)
        derive.join(policy, facts, verdicts, ready, stage)
        grown = {number: found for number, found in grown.items() if number not in ready}
        for number in (*there, *range(before, len(verdicts))):
            verdict = verdicts[number]
            if verdict.disposition is None and verdict.stage < last:
                outcome = _follow(verdict, last, policy, facts, ruling, depth)
                if isinstance(outcome, Verdict):
                    verdicts[number] = outcome
                elif isinstance(outcome, _Branching):
                    verdicts[number], grown[number] = outcome
                else:
                    verdicts[number] = outcome[0]
                    asked.update(dict.fromkeys(outcome[1]))


_Waiting = tuple[Verdict, tuple[Question, ...]]
"""A recipient that waits for answers."""


class _Branching(NamedTuple):
    """A recipient that is to be expanded, as it was before, and into whom."""

    verdict: Verdict
    derived: Derived


def _follow(
    verdict: Verdict, last: int, policy: Policy, facts: Facts, ruling: Ruling, depth: Depth
) -> Verdict | _Waiting | _Branching:
    """One recipient through its stages, from where it stands until `last`, a disposition, or its being expanded."""
    stage = verdict.stage
    while stage < last:
        outcome = RECIPIENT_STAGES[stage].judge(policy, facts, ruling, verdict, depth)
        if isinstance(outcome, Verdict):
            stage += 1
            verdict = outcome
            if verdict.disposition is not None:
                break
        elif isinstance(outcome, Questions):
            return _at(verdict, stage), outcome.asked
        elif isinstance(outcome, Derived):
            return _Branching(_at(verdict, stage), outcome)
        else:
            return _try_all(verdict, outcome, stage + 1, last, policy, facts, ruling, depth)
    return _at(verdict, stage)


def _try_all(
    before: Verdict,
    either: Either,
    stage: int,
    last: int,
    policy: Policy,
    facts: Facts,
    ruling: Ruling,
    depth: Depth,
) -> Verdict | _Waiting:
    """Follow every possibility to its end; put off only if the ends differ (DESIGN 2: Unknown)."""
    ends: list[Verdict] = []
    for possible in either.verdicts:
        if possible.disposition is not None:  # an end already; nothing after it may undo it
            ends.append(_at(possible, stage))
            continue
        outcome = _follow(_at(possible, stage), last, policy, facts, ruling, depth)
        if isinstance(outcome, _Branching):
            raise RuntimeError("no stage leaves more than one possibility and derives recipients behind it")
        if not isinstance(outcome, Verdict):
            return _at(before, stage - 1), outcome[1]
        ends.append(outcome)
    first = ends[0]
    whom = before.recipient.original.text
    name = RECIPIENT_STAGES[stage - 1].name
    if all(_ends_alike(first, end) for end in ends):
        step = Step(name, "what is unknown", Hit.UNKNOWN, either.why, "makes no difference", whom)
        return _with(first, (*first.steps, step), first.disposition, first.stage)
    step = Step(name, "what is unknown", Hit.UNKNOWN, either.why, "put off, because it decides", whom)
    steps = either.verdicts[0].steps if depth is Depth.FULL else before.steps
    steps = tuple(dict.fromkeys((*steps, *doubts_of(before, either))))
    return _with(before, (*steps, step), Defer(replies.NOT_FOUND_OUT), stage)


def _ends_alike(one: Verdict, other: Verdict) -> bool:
    """Whether nobody could tell these ends apart: a copy that goes on goes on with the same header."""
    if one.disposition != other.disposition:
        return False
    return isinstance(one.disposition, Refuse | Drop) or one.effects.edits == other.effects.edits


def _at(verdict: Verdict, stage: int) -> Verdict:
    return verdict if verdict.stage == stage else _with(verdict, verdict.steps, verdict.disposition, stage)


def _with(old: Verdict, steps: tuple[Step, ...], disposition: object, stage: int) -> Verdict:
    return Verdict(
        old.recipient,
        old.target,
        old.standing,
        old.effects,
        disposition,  # type: ignore[arg-type]
        steps,
        stage,
        old.identity,
        old.mailbox,
        old.group,
        old.forwarding,
    )


def _state(
    policy: Policy, ruling: Ruling, point: Point, stage: int, settled: int, recipients: tuple[Verdict, ...]
) -> Ruling:
    return Ruling(
        point,
        ruling.refusal,
        ruling.candidates,
        recipients,
        ruling.steps,
        policy.digest,
        policy.revision,
        stage,
        settled,
    )


def _resumes_at(verdict: Verdict) -> int:
    return verdict.stage - isinstance(verdict.disposition, Defer) if verdict.stage else 0


def released(ruling: Ruling, ids: Container[RecipientId], *, older: bool = False) -> Ruling:
    """The state from which recipients that a person released go on: dispose and route only (DESIGN 2).

    The others are left out. What was decided about the message and by the rules stays decided. A recipient that was
    stopped before dispose goes on with the stage after the one that stopped it, and with that very stage if it was
    put off there, because then nothing was decided. What an `older` judge decided goes on with dispose, because the
    stages were others then.
    """
    verdicts = tuple(
        _with(verdict, verdict.steps, None, _DISPOSE if older else min(_resumes_at(verdict), _DISPOSE))
        for verdict in ruling.recipients
        if verdict.recipient in ids
    )
    return Ruling(
        Point.DATA,
        None,
        ruling.candidates,
        verdicts,
        ruling.steps,
        ruling.digest,
        ruling.revision,
        len(MESSAGE_STAGES),
        0,
    )
