"""What a stage is: its point, its judgement, and the questions it may have."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from lockgate.mail.facts import Facts, Point
from lockgate.mail.findings import Question
from lockgate.mail.reply import Reply
from lockgate.mail.ruling import Defer, Disposition, Hit, Refuse, Ruling, Standing, Step, Verdict

if TYPE_CHECKING:
    from lockgate.policy.policy import Policy


class Depth(enum.IntEnum):
    """How many steps are kept: LIVE keeps those that decided, FULL everything that was looked at. Same decisions."""

    LIVE = 0
    FULL = 1


class Questions(NamedTuple):
    """What a stage must know before it can judge; it is asked again from its beginning once there are answers."""

    asked: tuple[Question, ...]


class Either(NamedTuple):
    """What could follow from something that cannot be found out, and why it cannot.

    The judge follows every verdict to its end and puts the recipient off only where the ends differ (DESIGN 2).
    """

    verdicts: tuple[Verdict, ...]
    why: str


def doubts_of(before: Verdict, either: Either) -> tuple[Step, ...]:
    """The steps behind those of `before` that name rules of which it is unknown whether they apply."""
    behind = (step for verdict in either.verdicts for step in verdict.steps[len(before.steps) :])
    return tuple(dict.fromkeys([step for step in behind if step.rule is not None and step.hit is Hit.UNKNOWN]))


class Derived(NamedTuple):
    """The recipient, with or without a disposition, and the verdicts on those derived from it, as far as they are known
    without asking; the judge leaves out who gets the message already.
    """

    verdict: Verdict
    children: tuple[Verdict, ...]


MessageJudgement = Callable[["Policy", Facts, Ruling, Depth], Ruling]
"""Judges what concerns everybody."""

RecipientJudgement = Callable[["Policy", Facts, Ruling, Verdict, Depth], Verdict | Either | Questions | Derived]
"""Judges one recipient on top of the message's prefix; returns the verdict, or questions, or further recipients."""


class MessageStage(NamedTuple):
    """A stage that looks at the whole message."""

    name: str
    point: Point
    judge: MessageJudgement


class RecipientStage(NamedTuple):
    """A stage that looks at one recipient."""

    name: str
    point: Point
    judge: RecipientJudgement


def refused_for_all(ruling: Ruling, reply: Reply, *steps: Step) -> Ruling:
    """The ruling with a reply to everything."""
    return Ruling(
        ruling.point,
        reply,
        ruling.candidates,
        ruling.recipients,
        ruling.steps + steps,
        ruling.digest,
        ruling.revision,
        ruling.stage,
        ruling.settled,
    )


def noted(ruling: Ruling, *steps: Step) -> Ruling:
    """The ruling with more steps that concern everybody; nothing else changes."""
    return Ruling(
        ruling.point,
        None,
        ruling.candidates,
        ruling.recipients,
        ruling.steps + steps,
        ruling.digest,
        ruling.revision,
        ruling.stage,
        ruling.settled,
    )


def decided(verdict: Verdict, disposition: Disposition, *steps: Step) -> Verdict:
    """The verdict with its disposition; nothing after it is judged."""
    return Verdict(
        verdict.recipient,
        verdict.target,
        verdict.standing,
        verdict.effects,
        disposition,
        verdict.steps + steps,
        verdict.stage,
        verdict.identity,
        verdict.mailbox,
        verdict.group,
        verdict.forwarding,
    )


def told(verdict: Verdict, *steps: Step, standing: Standing | None = None) -> Verdict:
    """The verdict with more steps, and with another standing if one is given."""
    return Verdict(
        verdict.recipient,
        verdict.target,
        standing or verdict.standing,
        verdict.effects,
        verdict.disposition,
        verdict.steps + steps,
        verdict.stage,
        verdict.identity,
        verdict.mailbox,
        verdict.group,
        verdict.forwarding,
    )


def refuse(stage: str, verdict: Verdict, reply: Reply, subject: str, because: str, hit: Hit = Hit.YES) -> Verdict:
    """No for this recipient, with the step that says why: 5xx refuses, 4xx puts off."""
    disposition = Refuse(reply) if reply.permanent else Defer(reply)
    effect = "refused" if reply.permanent else "put off"
    return decided(verdict, disposition, Step(stage, subject, hit, because, effect, verdict.recipient.original.text))
