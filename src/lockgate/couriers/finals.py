"""Answers to ends of data, read before anything else: what the next hop has taken and is not noted, a kill repeats.

A loop that has much to do comes round to a socket after ten milliseconds and more, and many answers may lie there by
then. So the connections on which one is due are watched on their own, and `look` is called between pieces of work.
"""

from __future__ import annotations

import contextlib
import os
import select
import time
from collections.abc import Callable

_ROOM = 64 * 1024
_MANY = 64
"""Answers that are due at once: what the next hop may have taken and a kill would repeat."""

_PAUSE = 0.00015
"""Seconds between two looks: far below a turn of a busy loop, and far above what a look costs."""


class Watched:
    """One connection as `Finals` sees it; `due` is True from the end of data to its answer."""

    __slots__ = ("_finals", "due", "fd", "hear")

    def __init__(self, finals: Finals, fd: int, hear: Callable[[bytes], None]) -> None:
        self._finals = finals
        self.fd = fd
        self.hear = hear
        self.due = False

    def expect(self, *, due: bool) -> None:
        """Whether the answer to an end of data is due now."""
        if due != self.due:
            self.due = due
            self._finals.due += 1 if due else -1

    def end(self) -> None:
        """The connection is gone."""
        self.expect(due=False)
        self._finals.forget(self)


class Finals:
    """All connections of one courier; `due` is how many answers are due. The owner of a connection reads all the rest.

    Linux only (epoll, edge-triggered: one registration for the life of a connection, none for a message).
    """

    __slots__ = ("_looking", "_next", "_poller", "_watched", "due")

    def __init__(self) -> None:
        self.due = 0
        self._poller = select.epoll()
        self._watched: dict[int, Watched] = {}
        self._next = 0.0
        self._looking = False

    def connections(self) -> int:
        """How many connections there are."""
        return len(self._watched)

    def full(self) -> bool:
        """Whether so many answers are due that more contents had better leave a little later."""
        return self.due >= _MANY

    def watch(self, fd: int, hear: Callable[[bytes], None]) -> Watched:
        """From now on; `hear` is given what has been read. Raises OSError."""
        watched = Watched(self, fd, hear)
        self._poller.register(fd, select.EPOLLIN | select.EPOLLET)
        self._watched[fd] = watched
        return watched

    def forget(self, watched: Watched) -> None:
        """Called once, before or after its descriptor is closed (which ends the registration by itself)."""
        # The number may belong to a younger connection by now.
        if self._watched.get(watched.fd) is watched:
            del self._watched[watched.fd]
            with contextlib.suppress(OSError):
                self._poller.unregister(watched.fd)

    def look(self) -> None:
        """Read the answers that have come. Costs next to nothing while none is due, and little more often than that."""
        if not self.due or self._looking:
            return
        now = time.monotonic()
        if now < self._next:
            return
        self._looking = True
        try:
            for fd, _ in self._poller.poll(0):
                watched = self._watched.get(fd)
                if watched is not None and watched.due:
                    self._read(watched)
        finally:
            self._looking = False
            self._next = time.monotonic() + _PAUSE

    def _read(self, watched: Watched) -> None:
        try:
            data = os.read(watched.fd, _ROOM)
        except OSError:
            return  # nothing there, or a broken connection: its owner will hear of it
        if data:
            watched.hear(data)
