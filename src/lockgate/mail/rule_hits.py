"""How often mail flow rules were hit, as it is counted: by rule, and apart for rules that act and rules on audit."""

from __future__ import annotations

import enum

import msgspec

MOST_SAMPLES = 10
"""Messages that are remembered of each rule, the last ones."""


class RuleMode(enum.StrEnum):
    """Whether what a rule asks for was done, or only told of."""

    ENFORCED = "enforced"
    AUDIT = "audit"


class RuleHits(msgspec.Struct):
    """What was counted of one rule in one mode; changes in place while it is counted.

    `messages` were hit for at least one recipient, `recipients` for how many; `unknown` counts recipients for whom it
    could not be told whether the rule applies. `last` is the time of the last hit (seconds since the epoch, 0: none),
    `samples` the ids of the last messages with the time. `timed` evaluations for one recipient took `nanoseconds`.
    """

    organisation: str
    rule: str
    mode: RuleMode
    messages: int = 0
    recipients: int = 0
    unknown: int = 0
    first: float = 0.0
    last: float = 0.0
    timed: int = 0
    nanoseconds: int = 0
    samples: list[tuple[float, str]] = []


class RuleBatch(msgspec.Struct, frozen=True):
    """What one worker has counted since it last told."""

    rules: tuple[RuleHits, ...] = ()


def joined(kept: list[tuple[float, str]], more: list[tuple[float, str]]) -> list[tuple[float, str]]:
    """The last of both, each message once, oldest first."""
    latest: dict[str, float] = {}
    for at, message in (*kept, *more):
        latest[message] = max(at, latest.get(message, 0.0))
    return sorted((at, message) for message, at in latest.items())[-MOST_SAMPLES:]
