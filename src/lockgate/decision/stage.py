"""What a stage is: its point, its judgement, and the questions it may have."""

from __future__ import annotations

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

from lockgate.mail.facts import Facts, Point
from lockgate.mail.findings import Question
from lockgate.mail.ruling import Ruling, Verdict

if TYPE_CHECKING:
    from lockgate.policy.policy import Policy

class Depth(enum.IntEnum):
    """How many steps are kept: LIVE keeps those that decided, FULL everything that was looked at. Same decisions."""

    LIVE = 0
    FULL = 1


MessageJudgement = Callable[["Policy", Facts, Ruling, Depth], Ruling | tuple[Question, ...]]
"""Judges what concerns everybody; returns the ruling, or the questions it cannot go on without."""

RecipientJudgement = Callable[["Policy", Facts, Ruling, Verdict, Depth], Verdict | tuple[Question, ...]]
"""Judges one recipient on top of the message's prefix; returns the verdict, or questions."""


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
