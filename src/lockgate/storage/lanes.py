"""Who carries which waiting task next: lanes, their back-off, and the workers, all in memory and without SQL.

A lane that is idle and healthy costs nothing: its fresh tasks are born owned. A lane that was down is given to one
worker in windows, oldest first, so that its mail leaves in order of arrival (specification 1.21, T-EOP-4).
"""

from __future__ import annotations

import heapq
from collections import deque

import msgspec


class Pace(msgspec.Struct, frozen=True):
    """Bounds and waiting times; seconds and counts, all settings of the running service.

    `steps` are the pauses of a lane after its first, second, ... failure to connect (the last one repeats).
    `window` bounds the tasks of one lane at a worker, `most` all tasks at a worker, `at_once` the tasks of a lane
    that is down and whose notice or last word is due.
    """

    steps: tuple[float, ...] = (60.0, 120.0, 300.0, 600.0, 900.0, 1800.0)
    window: int = 100
    most: int = 2000
    at_once: int = 20
    delay_notice: float = 14400.0


class Lane:
    """One next hop. `waiting` counts tasks that could leave now, `out` those that workers hold."""

    __slots__ = ("attention_at", "catching", "drained", "fails", "holder", "last_reply", "marker", "name", "next_at",
                 "out", "waiting")  # fmt: skip

    def __init__(self, name: str) -> None:
        self.name = name
        self.next_at = 0.0
        self.fails = 0
        self.last_reply = ""
        self.waiting = 0
        self.out = 0
        # The backlog: while tasks up to `marker` wait or are out (`catching`), `holder` alone carries them.
        self.holder = 0
        self.marker = 0
        self.catching: set[int] = set()
        self.drained = True
        self.attention_at = 0.0


class Worker:
    """One worker process as the keeper sees it; `owned` holds its task ids."""

    __slots__ = ("connected", "incarnation", "owned", "paused_until", "slot", "taking")

    def __init__(self, incarnation: int, slot: int) -> None:
        self.incarnation = incarnation
        self.slot = slot
        self.owned: set[int] = set()
        self.connected = False
        self.taking = True
        self.paused_until = 0.0


class Owned(msgspec.Struct, frozen=True, gc=False):
    """What the keeper remembers of a task that a worker holds."""

    worker: int
    lane: Lane
    segment: str
    length: int
    received: float
    expires: float
    warned: bool


class Roster:
    """Lanes and workers, and which lane is to be looked at when."""

    def __init__(self, pace: Pace) -> None:
        self.pace = pace
        self.lanes: dict[str, Lane] = {}
        self.workers: dict[int, Worker] = {}
        self.owned: dict[int, Owned] = {}
        self._hungry: deque[Lane] = deque()
        self._is_hungry: set[Lane] = set()
        self._blocked: set[Lane] = set()
        self._wakes: list[tuple[float, int, Lane]] = []
        self._ticket = 0
        self.pause_ends = float("inf")

    def lane(self, name: str) -> Lane:
        """The lane of this name, made if need be."""
        lane = self.lanes.get(name)
        if lane is None:
            lane = self.lanes[name] = Lane(name)
        return lane

    def may_be_born_owned(self, worker: Worker, lane: Lane) -> bool:
        """Whether a fresh task can go to the worker that accepted it without overtaking anything."""
        return (
            not lane.fails
            and not lane.waiting
            and lane.holder in (0, worker.incarnation)
            and lane.out < self.pace.window
            and worker.taking
            and len(worker.owned) < self.pace.most
        )

    def own(self, task: int, owned: Owned, *, from_waiting: bool) -> None:
        """The task is the worker's from now on."""
        lane = owned.lane
        self.owned[task] = owned
        self.workers[owned.worker].owned.add(task)
        lane.out += 1
        if from_waiting and task <= lane.marker:
            lane.holder = owned.worker
            lane.catching.add(task)

    def disown(self, task: int) -> Owned | None:
        """The worker has done with the task, or died."""
        owned = self.owned.pop(task, None)
        if owned is None:
            return None
        worker, lane = self.workers[owned.worker], owned.lane
        worker.owned.discard(task)
        lane.out -= 1
        lane.catching.discard(task)
        self._look_at(lane)
        if self._blocked and len(worker.owned) <= self.pace.most * 3 // 4:
            self.unblock()
        return owned

    def _look_at(self, lane: Lane) -> None:
        """After a change: the backlog may be over, the window may have room, the lane may be idle."""
        if lane.drained and lane.marker and not lane.catching:
            lane.holder = lane.marker = 0
        if lane.waiting:
            if lane.out <= self.pace.window // 2:
                self.feed(lane)
        elif not lane.out and not lane.fails and lane not in self._is_hungry:
            self.lanes.pop(lane.name, None)

    def arrived(self, lane: Lane, attention: float) -> None:
        """One more task of this lane could leave now."""
        self.lanes[lane.name] = lane
        lane.waiting += 1
        if lane.fails:
            if not lane.attention_at or attention < lane.attention_at:
                self.wake(lane, min(attention, lane.next_at))
        elif lane.out <= self.pace.window // 2:
            self.feed(lane)

    def departed(self, lane: Lane, count: int) -> None:
        """Waiting tasks were taken away (assigned, held, deleted)."""
        lane.waiting = max(0, lane.waiting - count)
        if not lane.waiting:
            lane.drained = True
            self._look_at(lane)

    def down(self, lane: Lane, reply: str, now: float, newest: int) -> bool:
        """No connection could be had. Counts once until the pause is over; True if it counted."""
        if lane.next_at > now:
            return False
        self.lanes[lane.name] = lane
        lane.fails += 1
        lane.next_at = now + self.pace.steps[min(lane.fails, len(self.pace.steps)) - 1]
        lane.last_reply = reply
        lane.marker, lane.drained = newest, False
        lane.attention_at = lane.next_at
        self.wake(lane, lane.next_at)
        return True

    def up(self, lane: Lane, newest: int) -> None:
        """The next hop has spoken to us: everything that waited goes, in order, through one worker."""
        lane.fails, lane.next_at, lane.last_reply = 0, 0.0, ""
        lane.marker, lane.drained = newest, not lane.waiting
        if lane.waiting:
            self.feed(lane)

    def retry(self, lane: Lane, now: float) -> None:
        """Somebody wants this lane tried at once."""
        if lane.fails:
            lane.next_at = now
        if lane.waiting:
            self.feed(lane)

    def wake(self, lane: Lane, when: float) -> None:
        """Look at the lane again at this time."""
        self._ticket += 1
        lane.attention_at = min(lane.attention_at, when) if lane.attention_at else when
        heapq.heappush(self._wakes, (when, self._ticket, lane))

    def feed(self, lane: Lane) -> None:
        """The lane wants tasks assigned."""
        if lane not in self._is_hungry:
            self._is_hungry.add(lane)
            self._hungry.append(lane)

    def block(self, lane: Lane) -> None:
        """Nobody can take tasks of this lane now."""
        self._blocked.add(lane)

    def pause(self, worker: Worker, until: float) -> None:
        """Give this worker nothing until then."""
        worker.paused_until = until
        self.pause_ends = min(self.pause_ends, until)

    def unblock(self) -> None:
        """A worker has come or has room: look at the blocked lanes again."""
        blocked, self._blocked = self._blocked, set()
        for lane in blocked:
            self.feed(lane)

    def next_hungry(self) -> Lane | None:
        """A lane that wants tasks, or None."""
        if not self._hungry:
            return None
        lane = self._hungry.popleft()
        self._is_hungry.discard(lane)
        return lane

    def woken(self, now: float) -> list[Lane]:
        """The lanes whose time has come."""
        if self.pause_ends <= now:
            self.pause_ends = float("inf")
            self.unblock()
        found = []
        while self._wakes and self._wakes[0][0] <= now:
            lane = heapq.heappop(self._wakes)[2]
            lane.attention_at = 0.0
            found.append(lane)
        return found

    def next_wake(self) -> float:
        """When to look again; infinity if nothing is planned."""
        return min(self.pause_ends, self._wakes[0][0] if self._wakes else float("inf"))

    @property
    def has_hungry(self) -> bool:
        """Whether some lane could be given tasks at once."""
        return bool(self._hungry)

    def choose(self, lane: Lane, now: float) -> Worker | None:
        """The worker for this lane's next window, or None if none can take one now."""
        if lane.holder:
            holder = self.workers.get(lane.holder)
            if holder is not None and (lane.catching or self._fit(holder, now)):
                return holder if self._fit(holder, now) else None
            lane.holder = 0
        fit = [worker for worker in self.workers.values() if self._fit(worker, now)]
        return min(fit, key=lambda worker: len(worker.owned)) if fit else None

    def _fit(self, worker: Worker, now: float) -> bool:
        return (
            worker.connected
            and worker.taking
            and worker.paused_until <= now
            and len(worker.owned) < self.pace.most
        )

    def room(self, lane: Lane, worker: Worker, now: float) -> int:
        """How many tasks of this lane the worker may get now; a lane that was down is tried with one."""
        if lane.next_at > now:
            return 0
        if lane.fails:
            return 1 if not lane.out else 0
        return max(0, min(self.pace.window - lane.out, self.pace.most - len(worker.owned)))

    def attention(self, received: float, expires: float, now: float, *, warned: bool) -> float:
        """When a waiting task has to be looked at although its lane is down: notice or end of life."""
        notice = received + self.pace.delay_notice
        due = expires if warned or self.pace.delay_notice <= 0 else min(expires, notice)
        return due if due > now else now + 60.0
