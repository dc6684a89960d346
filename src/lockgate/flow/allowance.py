"""The time there is for slow expressions of mail flow rules in the text of one message."""

from __future__ import annotations

import time
from collections.abc import Callable

EACH = 0.04
"""Seconds of processor time for one expression in one text."""

ALL = 0.5
"""And for all of them in one message."""


class Allowance:
    """Processor time of this thread, so that a busy machine changes no answer; see policy/text.py, Patience."""

    __slots__ = ("_end", "_now", "_until")

    def __init__(self, now: Callable[[], float] = time.thread_time) -> None:
        self._now = now
        self._end = now() + ALL
        self._until = self._end

    def begin(self) -> None:
        """Another expression is looked for now."""
        self._until = min(self._now() + EACH, self._end)

    def is_over(self) -> bool:
        """Whether it has had the time that there is for it."""
        return self._now() >= self._until
