"""When to try again, as a pure function (specification 1.21, DESIGN 4)."""

from __future__ import annotations

import msgspec


class Schedule(msgspec.Struct, frozen=True):
    """Waiting times in seconds, all settings of the running service.

    `steps` are the pauses after the first, second, ... failed attempt for one recipient (the last one repeats);
    `life` is how long a message may wait in all, `delay_notice` after how long its sender is told (0: never).
    """

    steps: tuple[float, ...] = (300.0, 600.0, 900.0, 1800.0, 3600.0)
    life: float = 86400.0
    delay_notice: float = 14400.0


def next_due(schedule: Schedule, now: float, attempts: int) -> float:
    """When the next attempt is due after `attempts` attempts have failed (at least one)."""
    return now + schedule.steps[min(max(attempts, 1), len(schedule.steps)) - 1]


def notice_is_due(schedule: Schedule, now: float, received: float, *, warned: bool) -> bool:
    """Whether the sender is to be told now that the message is late."""
    return not warned and schedule.delay_notice > 0 and now - received >= schedule.delay_notice
