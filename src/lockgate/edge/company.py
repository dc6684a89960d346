"""Ends of data on their way to the judge: many in a row while many come, and no lone one waits for others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")

BATCH = 32
"""So many pieces of work in a row are as good as more."""

_ENOUGH = 3
"""So many messages under way at once promise more: fewer would only wait for each other in vain."""


class Company(Generic[T]):
    """Hands pieces of work to `start`, which must not raise.

    While many are under way, one waits at most `delay` seconds for others, and never once `most` are together, or as
    many as could come at all (`everybody` tells how many that is now). The same work done in a row finds its code and
    data in the processor's caches, and so do the answers to it and what the peers say to them; the keeper gets what
    comes of it in one batch, which costs two syncs and both sides a wake-up, however many messages are in it.
    """

    __slots__ = ("_busy", "_delay", "_everybody", "_loop", "_most", "_start", "_timer", "_under_way", "_waiting")

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        start: Callable[[T], None],
        everybody: Callable[[], int],
        *,
        delay: float,
        most: int,
    ) -> None:
        self._loop = loop
        self._start = start
        self._everybody = everybody
        self._delay, self._most = delay, most
        self._waiting: list[T] = []
        self._timer: asyncio.TimerHandle | None = None
        self._under_way = 0
        self._busy = False  # whether those before were many

    def add(self, work: T) -> None:
        """Start this, now or with others. Once it is over, `over` is to be called."""
        self._under_way += 1
        self._waiting.append(work)
        together = len(self._waiting)
        if together >= self._most or together >= self._everybody() or not (self._busy or self._under_way >= _ENOUGH):
            self.start_all()
        elif self._timer is None:
            self._timer = self._loop.call_later(self._delay, self.start_all)

    def over(self) -> None:
        """One piece of work has ended."""
        self._under_way -= 1

    def start_all(self) -> None:
        """Start now whatever waits."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, []
        self._busy = len(waiting) >= _ENOUGH
        for work in waiting:
            self._start(work)
