"""What many lines have to say in one turn of the loop, said at its end, one right after the other.

Each write wakes a peer. If our own work lies between two of them, a peer on the same machine, or the network card, is
woken and goes to sleep again for every single one, and the kernel's code has left the processor's caches each time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

_CROWD = 3
"""So many lines are worth a turn of the loop more; fewer would only wait for it."""

_AT_ONCE = 32
"""So many speak in a row also when it is full."""

Schedule = Callable[[Callable[[], None]], object]
"""Has a function called later."""


class Speaker(Protocol):
    """A line to one peer."""

    def speak(self) -> None:
        """Write what has been gathered. Must not raise."""


class Voices:
    """Gathers the lines that have something to say.

    `at_end` has a function called when this turn is over; `lines` tells how many lines there are: where they are few,
    each speaks at once. `between` is called after each that speaks at the end: hundreds take milliseconds. While `full`
    says so, a few speak each time that `later` calls.
    """

    __slots__ = ("_armed", "_at_end", "_between", "_full", "_later", "_lines", "_speakers")

    def __init__(
        self,
        at_end: Schedule,
        lines: Callable[[], int],
        between: Callable[[], None] = lambda: None,
        *,
        full: Callable[[], bool] = lambda: False,
        later: Schedule | None = None,
    ) -> None:
        self._at_end, self._later = at_end, later or at_end
        self._lines = lines
        self._between = between
        self._full = full
        self._speakers: list[Speaker] = []
        self._armed = False

    def add(self, speaker: Speaker) -> None:
        """Have it speak when this turn is over; to be called once for all that it says in a turn."""
        if self._lines() < _CROWD:
            speaker.speak()
            return
        self._speakers.append(speaker)
        if not self._armed:
            self._arm()

    def _arm(self) -> None:
        self._armed = True
        when = self._later if self._full() else self._at_end
        when(self._end)

    def _end(self) -> None:
        waiting, self._speakers = self._speakers, []
        spoken = 0
        try:
            for speaker in waiting:
                if spoken >= _AT_ONCE and self._full():
                    break
                spoken += 1
                speaker.speak()
                self._between()
        finally:  # whatever one of them did, the others speak
            self._speakers[:0] = waiting[spoken:]
            self._armed = False
            if self._speakers:
                self._arm()
