"""Time that moves when told: seams.Clock for tests."""

from __future__ import annotations


class HandClock:
    """Stands still at `at` seconds since the epoch until it is moved; both clocks move together."""

    def __init__(self, at: float = 1_700_000_000.0) -> None:
        self._at = at
        self._began = at

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._at

    def monotonic(self) -> float:
        """Seconds since this clock was made."""
        return self._at - self._began

    def move(self, seconds: float) -> None:
        """Let time pass."""
        if seconds < 0:
            raise ValueError("time does not go back")
        self._at += seconds
