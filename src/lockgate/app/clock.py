"""The time of day: the only place where the wall clock is read."""

from __future__ import annotations

import time


class SystemClock:
    """seams.Clock over the machine's clocks."""

    __slots__ = ()

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps."""
        return time.monotonic()
