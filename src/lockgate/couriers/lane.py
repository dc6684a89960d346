"""The connections of one next hop: kept, counted and shared in order of asking."""

from __future__ import annotations

import asyncio
from collections import deque

from lockgate.couriers.link import Link
from lockgate.mail.hop import NextHop


class Lane:
    """One next hop under one set of settings; `retired` when the settings have changed."""

    __slots__ = ("_due", "_waiters", "dialling", "hop", "idle", "links", "retired")

    def __init__(self, hop: NextHop) -> None:
        self.hop = hop
        self.idle: list[Link] = []
        self.links: set[Link] = set()
        self.dialling = 0
        self.retired = False
        self._waiters: deque[asyncio.Future[None]] = deque()
        self._due = 0.0

    @property
    def unused(self) -> bool:
        """Whether nothing is open, being opened, or waited for."""
        return not (self.links or self.dialling or self._waiters)

    def spare(self) -> Link | None:
        """The connection used last among those that are free: it is the least likely to be dead."""
        while self.idle:
            link = self.idle.pop()
            if link.usable:
                return link
        return None

    def may_dial(self) -> bool:
        """Whether the bound of connections leaves room for one more."""
        return len(self.links) + self.dialling < max(self.hop.concurrency, 1)

    async def turn(self) -> None:
        """Wait until a connection has become free or room for one."""
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        try:
            await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled():
                self.wake()
            raise

    def wake(self) -> None:
        """Something is free: the one who has waited longest may look."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return

    async def pace(self) -> None:
        """Wait for this message's turn under `rate` messages a minute, evenly spread."""
        loop = asyncio.get_running_loop()
        now = loop.time()
        due = max(self._due, now)
        self._due = due + 60.0 / self.hop.rate
        if due > now:
            await asyncio.sleep(due - now)

    def release(self, link: Link, *, keep: bool) -> None:
        """A transaction is over."""
        if keep and link.usable and not self.retired:
            self.idle.append(link)
        else:
            link.quit()
        self.wake()

    def gone(self, link: Link) -> None:
        """A connection has ended."""
        self.links.discard(link)
        if link in self.idle:
            self.idle.remove(link)
        self.wake()

    def retire(self) -> None:
        """The settings have changed: free connections end now, the others after their transaction."""
        self.retired = True
        while self.idle:
            self.idle.pop().quit()
