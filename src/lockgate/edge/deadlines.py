"""One timer for all connections: a wheel of buckets, so that moving a deadline costs an assignment."""

from __future__ import annotations

from typing import Protocol

NEVER = float("inf")
"""The deadline of what waits for us, not for a peer."""

GONE = -1.0
"""The deadline of what is no longer to be watched."""


class Timed(Protocol):
    """Something with a deadline (monotonic seconds). It may move at any time, but see Wheel for how early it fires."""

    deadline: float
    bucket: int

    def expired(self, now: float) -> None:
        """The deadline has passed; set another one, or end."""


class Wheel:
    """Calls `expired` on whoever is past its deadline, at most one tick late.

    Everything is looked at once per `horizon` at least. So a deadline may be moved closer without telling the wheel,
    as long as it then lies at least `horizon` ahead: true if `horizon` is no longer than the shortest time-out.
    """

    __slots__ = ("_buckets", "_horizon", "_tick", "_turned", "now")

    def __init__(self, now: float, *, tick: float, horizon: float) -> None:
        self.now = now
        self._tick = tick
        self._horizon = horizon
        self._buckets: dict[int, set[Timed]] = {}
        self._turned = int(now / tick)

    def add(self, thing: Timed) -> None:
        """Begin to watch."""
        due = min(thing.deadline, self.now + self._horizon)
        bucket = thing.bucket = max(int(due / self._tick) + 1, self._turned + 1)
        self._buckets.setdefault(bucket, set()).add(thing)

    def remove(self, thing: Timed) -> None:
        """Watch no longer."""
        things = self._buckets.get(thing.bucket)
        if things is not None:
            things.discard(thing)

    def turn(self, now: float) -> None:
        """Time has come to `now`."""
        self.now = now
        reached = int(now / self._tick)
        if reached - self._turned > len(self._buckets):
            due = sorted(bucket for bucket in self._buckets if bucket <= reached)
        else:
            due = list(range(self._turned + 1, reached + 1))
        self._turned = max(reached, self._turned)
        for bucket in due:
            for thing in self._buckets.pop(bucket, ()):
                thing.bucket = -1
                if thing.deadline <= now:
                    thing.expired(now)
                if thing.deadline != GONE:
                    self.add(thing)
