"""What many lines have to say in one turn of the loop, said at its end, one right after the other.

Each write wakes a peer. If our own work lies between two of them, a peer on the same machine, or the network card, is
woken and goes to sleep again for every single one, and the kernel's code has left the processor's caches each time.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

_CROWD = 3
"""So many lines are worth a turn of the loop more; fewer would only wait for it."""


class Speaker(Protocol):
    """A line to one peer."""

    def speak(self) -> None:
        """Write what has been gathered. Must not raise."""


class Voices:
    """Gathers the lines that have something to say.

    `at_end` has a function called when this turn is over; `lines` tells how many lines there are: where they are few,
    each speaks at once.
    """

    __slots__ = ("_at_end", "_lines", "_speakers")

    def __init__(self, at_end: Callable[[Callable[[], None]], object], lines: Callable[[], int]) -> None:
        self._at_end = at_end
        self._lines = lines
        self._speakers: list[Speaker] = []

    def add(self, speaker: Speaker) -> None:
        """Have it speak when this turn is over; to be called once for all that it says in a turn."""
        if self._lines() < _CROWD:
            speaker.speak()
            return
        if not self._speakers:
            self._at_end(self._end)
        self._speakers.append(speaker)

    def _end(self) -> None:
        speakers, self._speakers = self._speakers, []
        for speaker in speakers:
            speaker.speak()
