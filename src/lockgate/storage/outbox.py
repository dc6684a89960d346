"""Frames on their way to the keeper: many in one write, and no lone message waits for others."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_COMPANY = 3
"""So many messages under way at once promise more: fewer would only wait for each other in vain."""


class Outbox:
    """What one worker has to say, in order. `write` takes the octets; it may drop them if nobody listens.

    A frame leaves with the others of its turn of the loop, or up to `within` seconds later. While many messages are
    under way, one waits at most `delay` seconds for others, and never once `most` are together: each batch costs the
    keeper two syncs and both sides a wake-up, however many messages are in it.
    """

    __slots__ = ("_accepts", "_at", "_busy", "_delay", "_frames", "_loop", "_most", "_soon", "_timer", "_write")

    def __init__(
        self, loop: asyncio.AbstractEventLoop, write: Callable[[bytes], None], *, delay: float, most: int
    ) -> None:
        self._loop = loop
        self._write = write
        self._delay, self._most = delay, most
        self._frames: list[bytes] = []
        self._soon: asyncio.Handle | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._at = 0.0  # when the timer fires
        self._accepts = 0  # messages among the frames
        self._busy = False  # whether the batch before was one of many

    def put(self, frame: bytes, *, within: float = 0.0) -> None:
        """Say this within so many seconds."""
        self._frames.append(frame)
        if self._soon is not None:
            return
        loop = self._loop
        if within <= 0.0:
            self._soon = loop.call_soon(self.flush)
            return
        at = loop.time() + within
        if self._timer is not None:
            if self._at <= at:
                return
            self._timer.cancel()
        self._at = at
        self._timer = loop.call_later(within, self.flush)

    def put_accept(self, frame: bytes, under_way: int) -> None:
        """Say this message; `under_way` counts those that wait for the keeper's answer, this one included."""
        self._accepts += 1
        wait = self._accepts < self._most and (self._busy or under_way >= _COMPANY)
        self.put(frame, within=self._delay if wait else 0.0)

    def flush(self) -> None:
        """Say everything now."""
        self._disarm()
        if self._accepts:
            self._busy = self._accepts >= _COMPANY
            self._accepts = 0
        if self._frames:
            frames, self._frames = self._frames, []
            self._write(b"".join(frames))

    def forget(self) -> None:
        """The keeper to whom this was to be said is gone."""
        self._disarm()
        self._frames, self._accepts, self._busy = [], 0, False

    def _disarm(self) -> None:
        if self._soon is not None:
            self._soon.cancel()
            self._soon = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
