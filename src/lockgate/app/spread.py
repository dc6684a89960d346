"""Over how many workers new connections are spread: as few as can serve them in time.

A worker that has many messages under way at once does the same work many times in a row, with code and data still in
the caches of its processor and all of it in few batches of the keeper (edge/company.py): the same load costs a sixth
less processor time in one worker than in two. So the second is asked once the first has as many connections as make a
full batch, or comes late to what is due; then more of them soon, and fewer again slowly.
"""

from __future__ import annotations

from collections.abc import Sequence

from lockgate.edge.company import BATCH
from lockgate.edge.load import Workload

_LATE = 0.02
"""Seconds by which a worker comes late to what is due when it has too much to do."""

_IN_TIME = 0.005
"""Seconds by which one may come late of which there are more than needed."""

_RAMP = 0.5
"""Seconds after which twice as many workers show what they can do."""

_CALM = 10.0
"""Seconds of calm before one worker less is asked."""


class Spread:
    """Which workers take new connections now."""

    __slots__ = ("_busy", "_changed", "_workers", "asked", "takers")

    def __init__(self, workers: int) -> None:
        self._workers = workers
        self._changed = self._busy = float("-inf")
        self.asked = 1
        self.takers: tuple[int, ...] = (0,)

    def look(self, loads: Sequence[Workload], now: float) -> tuple[int, ...]:
        """The slots that take new connections after what each worker has to do at `now` (monotonic seconds).

        Of the first workers that serve, as many as needed, those that have no more than a batch above the emptiest:
        whoever got a hundred connections before anybody else was asked gets no more until the others have as many.
        """
        needed = self._needed(loads, now)
        if needed >= self.asked:
            self._busy = now
        if needed > self.asked:
            self._changed, self.asked = now, needed
        elif now - self._busy >= _CALM:
            self._busy, self.asked = now, self.asked - 1
        asked = self._serving(loads)
        most = min(loads[slot].connections for slot in asked) + BATCH
        self.takers = tuple(slot for slot in asked if loads[slot].connections <= most)
        return self.takers

    def _serving(self, loads: Sequence[Workload]) -> list[int]:
        """The slots that are asked now; where nobody serves yet, whoever comes first will."""
        serving = [slot for slot, load in enumerate(loads) if load.serves] or list(range(len(loads)))
        return serving[: self.asked]

    def _needed(self, loads: Sequence[Workload], now: float) -> int:
        needed = -(-sum(load.connections for load in loads) // BATCH)
        late = max(loads[slot].late for slot in self._serving(loads))
        if late >= _LATE and now - self._changed >= _RAMP:
            needed = max(needed, 2 * self.asked)
        elif late >= _IN_TIME:
            needed = max(needed, self.asked)
        return max(1, min(needed, self._workers))
