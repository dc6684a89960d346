"""The keeper's book: one SQLite transaction per batch, one statement per table and batch, lanes kept in memory.

Everything here runs between `begin` and `commit`; whoever calls it does so from one thread. After a failed commit
the memory is thrown away and read again from the database.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import msgspec

from lockgate.mail.events import Event, Happening, Status
from lockgate.storage.changes import Changes
from lockgate.storage.frames import NEVER, Accept, AssignedRow, Done, TaskRow, What, pack_event
from lockgate.storage.lanes import Lane, Owned, Pace, Roster, Worker
from lockgate.storage.reclaim import Live
from lockgate.storage.standing import Standing
from lockgate.storage.tables import open_tables

SHIFT = 20
"""Task and trace numbers are the message's sequence number, shifted, plus a number within the message."""

_MASK = (1 << SHIFT) - 1
_DAY = 86400

# Columns are named everywhere, so that one version back works on tables that have got more of them since.
_MESSAGE = (
    "INSERT INTO message(seq,bucket,id,received,sender,subject,size,message_id,from_ip,tls,revision,connection,tasks,"
    "stories,network_id) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
)
_TRACE = "INSERT INTO trace(number,organisation,recipient,status,inbound,outbound,events,rules) VALUES(?,?,?,?,?,?,?,?)"
_TASK = (
    "INSERT INTO task(id,bucket,lane,owner,due,attention,received,expires,held,segment,at,length,crc,what,held_at,"
    "held_until) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
)
_RESULT = (
    "UPDATE trace SET status=iif(?2='',status,?2), events=CAST(events||?3 AS BLOB), to_ip=iif(?4='',to_ip,?4),"
    " tls=iif(?5='',tls,?5), reply=iif(?6='',reply,?6), pool=iif(?7='',pool,?7),"
    " outbound=iif(?8='',outbound,?8) WHERE number=?1"
)
_BACK = (
    "UPDATE task SET owner=0, due=?2, attention=?3, attempts=attempts+?4, warned=max(warned,?5),"
    " last_reply=iif(?6='',last_reply,?6), what=coalesce(?7,what) WHERE id=?1"
)
_DUE = "SELECT id, lane, attention FROM task WHERE owner=0 AND due>0 AND due<=? ORDER BY due LIMIT 500"
_WORK = (
    "SELECT id,lane,what,segment,at,length,crc,received,expires,attempts,warned,last_reply,due FROM task WHERE lane=?"
)
_READY = _WORK + " AND owner=0 AND due=0 ORDER BY id LIMIT ?"
_ATTENTION = _WORK + " AND owner=0 AND attention<=? ORDER BY attention LIMIT ?"
_EVENTS = msgspec.msgpack.Encoder()
_WHAT = msgspec.msgpack.Decoder(What)


def event_bytes(event: Event) -> bytes:
    """One event as it lies in the events column."""
    return pack_event(_EVENTS.encode(event))


class Ledger:
    """The queue's database and what follows from it in memory."""

    def __init__(self, path: Path, live: Live, pace: Pace) -> None:
        self._path = path
        self.live = live
        self.pace = pace
        self.roster = Roster(pace)
        self.db = open_tables(path)
        self.applied: dict[int, int] = {}
        self.next_due = float("inf")
        self.unwanted: list[str] = []
        """Message ids whose transaction failed: should they be found after all, they are taken back first."""
        self.changes = Changes()
        self.settled: deque[tuple[float, list[int]]] = deque()
        """When which messages (sequence numbers) lost a task; without any left they move to their day's file."""
        self._seq = 0
        self._now = 0.0
        self._clear()
        self._load()

    # -- life ------------------------------------------------------------------------------------------------------

    def reopen(self, now: float) -> None:
        """After a failure: forget the memory and read the database again. Raises sqlite3.Error, OSError."""
        del now
        workers = self.roster.workers
        self.db.close()
        self.db = open_tables(self._path)
        self.roster = Roster(self.pace)
        self.changes.forget()
        self._clear()
        self._load()
        for incarnation, worker in workers.items():
            self.roster.workers.setdefault(incarnation, Worker(incarnation, worker.slot))

    def _clear(self) -> None:
        self._messages: list[tuple[Any, ...]] = []
        self._traces: list[tuple[Any, ...]] = []
        self._tasks: list[tuple[Any, ...]] = []
        self._results: list[tuple[Any, ...]] = []
        self._backs: list[tuple[Any, ...]] = []
        self._gone: list[tuple[int]] = []
        self._rests: list[tuple[bytes, int]] = []
        self._lanes: set[Lane] = set()
        self._touched: set[int] = set()
        self._settled: list[int] = []

    def _load(self) -> None:
        db, roster = self.db, self.roster
        (high,) = db.execute("SELECT max(ifnull((SELECT max(seq) FROM message),0),"
                             " ifnull((SELECT value FROM meta WHERE name='seq'),0))").fetchone()  # fmt: skip
        self._seq = high
        self.applied = dict(db.execute("SELECT incarnation, applied FROM worker"))
        for incarnation, slot in db.execute("SELECT incarnation, slot FROM worker"):
            roster.workers[incarnation] = Worker(incarnation, slot)
        for name, next_at, fails, reply in db.execute("SELECT name, next_at, fails, last_reply FROM lane"):
            lane = roster.lane(name)
            lane.next_at, lane.fails, lane.last_reply = next_at, fails, reply
            roster.wake(lane, next_at)
        query = "SELECT lane, count(*) FROM task WHERE owner=0 AND due=0 GROUP BY lane"
        for name, count in db.execute(query).fetchall():
            lane = roster.lane(name)
            lane.waiting, lane.marker, lane.drained = count, self.newest, False
            if not lane.fails:
                roster.feed(lane)
        query = "SELECT id, lane, owner, segment, length, received, expires, warned FROM task WHERE owner<>0"
        for task, name, owner, segment, length, received, expires, warned in db.execute(query):
            roster.workers.setdefault(owner, Worker(owner, -1))
            lane = roster.lane(name)
            lane.marker, lane.drained = self.newest, lane.drained and not lane.waiting
            owned = Owned(owner, lane, segment, length, received, expires, bool(warned))
            roster.own(task, owned, from_waiting=False)
        self.standing = Standing(db, roster.owned)
        self.live.reset(db.execute("SELECT segment, count(*), sum(length) FROM task GROUP BY segment").fetchall())
        (due,) = db.execute("SELECT min(due) FROM task WHERE owner=0 AND due>0").fetchone()
        self.next_due = float("inf") if due is None else due

    @property
    def newest(self) -> int:
        """The highest number a task can have by now."""
        return self._seq << SHIFT | _MASK

    def begin(self, now: float) -> None:
        """Start the batch's transaction; ids of failed batches are taken back before anything else."""
        self._now = now
        self.db.execute("BEGIN IMMEDIATE")
        for message in self.unwanted:
            self.withdraw(message)

    def commit(self) -> None:
        """Make the batch durable. Raises sqlite3.Error: then nothing of it may be reported as kept."""
        self.flush()
        if self._touched:
            rows = [(self.applied[inc], inc) for inc in self._touched if inc in self.applied]
            self.db.executemany("UPDATE worker SET applied=? WHERE incarnation=?", rows)
        for lane in self._lanes:
            if lane.fails:
                row = (lane.name, lane.next_at, lane.fails, lane.last_reply)
                self.db.execute("INSERT OR REPLACE INTO lane(name,next_at,fails,last_reply) VALUES(?,?,?,?)", row)
            else:
                self.db.execute("DELETE FROM lane WHERE name=?", (lane.name,))
        self.db.execute("COMMIT")
        self.unwanted = []
        self.changes.committed()
        if self._settled:
            self.settled.append((self._now, self._settled))
            self._settled = []
        self._touched.clear()
        self._lanes.clear()

    def flush(self) -> None:
        """Write what has been gathered: one statement per table."""
        many = self.db.executemany
        if self._messages:
            many(_MESSAGE, self._messages)
            many(_TRACE, self._traces)
            self.changes.note([row[0] for row in self._traces])
            self._messages, self._traces = [], []
        if self._results:
            many(_RESULT, self._results)
            self.changes.note([row[0] for row in self._results])
            self._results = []
        if self._rests:
            many("UPDATE task SET what=? WHERE id=?", self._rests)
            self._rests = []
        if self._backs:
            many(_BACK, self._backs)
            self._backs = []
        if self._gone:
            many("DELETE FROM task WHERE id=?", self._gone)
            self._gone = []
        if self._tasks:
            many(_TASK, self._tasks)
            self._tasks = []

    # -- messages --------------------------------------------------------------------------------------------------

    def accept(self, incarnation: int, new: Accept) -> tuple[tuple[int, bool], ...]:
        """Gather a message; returns (task, owned by this worker) per task."""
        self._seq += 1
        seq = self._seq
        base = seq << SHIFT
        self._messages.append((
            seq, int(new.received // _DAY), new.id, new.received, new.sender, new.subject, new.size, new.message_id,
            new.from_ip, new.tls, new.revision, new.connection, len(new.tasks), new.stories,
            new.network_id,
        ))  # fmt: skip
        for t in new.traces:
            number = base | t.number
            row = (number, t.organisation, t.recipient, t.status, t.inbound, t.outbound, t.events, t.rules)
            self._traces.append(row)
        if not new.tasks:
            self._settled.append(seq)
        body = (new.segment, new.offset, new.length, new.crc)
        return tuple([
            (base | n, self._new_task(base | n, task, incarnation, new.received, new.expires, body))
            for n, task in enumerate(new.tasks)
        ])  # fmt: skip

    def _new_task(
        self, number: int, task: TaskRow, incarnation: int, received: float, expires: float,
        body: tuple[str, int, int, int],
    ) -> bool:  # fmt: skip
        """Gather one task row; whether the worker owns it at once (incarnation 0: nobody can)."""
        now, roster = self._now, self.roster
        lane = roster.lane(task.lane)
        owner, due, attention = 0, 0.0, NEVER
        if task.held:
            due = NEVER
        else:
            attention = roster.attention(received, expires, now, warned=False)
            worker = roster.workers.get(incarnation)
            if task.due > now:
                due = task.due
                self.next_due = min(self.next_due, due)
            elif worker is not None and roster.may_be_born_owned(worker, lane):
                owner = incarnation
                owned = Owned(incarnation, lane, body[0], body[2], received, expires, warned=False)
                roster.own(number, owned, from_waiting=False)
            else:
                roster.arrived(lane, attention)
        self.live.add(body[0], body[2])
        self._tasks.append((
            number, int(received // _DAY), task.lane, owner, due, attention, received, expires, task.held, *body,
            task.what, now if task.held else 0.0, task.until,
        ))  # fmt: skip
        return owner != 0

    def find(self, message: str) -> tuple[int, ...] | None:
        """The task numbers of a message that is durable, or None if there is no such message."""
        row = self.db.execute("SELECT seq FROM message WHERE id=?", (message,)).fetchone()
        if row is None:
            return None
        low = row[0] << SHIFT
        found = self.db.execute("SELECT id FROM task WHERE id BETWEEN ? AND ? ORDER BY id", (low, low | _MASK))
        return tuple([task for (task,) in found])

    def withdraw(self, message: str) -> bool:
        """The sender has been told to try again: this copy must not go out."""
        tasks = self.find(message)
        if tasks is None:
            return False
        for task in tasks:
            self.remove_task(task)
        (seq,) = self.db.execute("SELECT seq FROM message WHERE id=?", (message,)).fetchone()
        why = "the storage did not answer in time, and the sender was told to try again"
        low = seq << SHIFT
        event = event_bytes(Event(self._now, Happening.FAIL, why))
        self.db.execute(
            "UPDATE trace SET status=?, events=CAST(events||? AS BLOB) WHERE number BETWEEN ? AND ?",
            (Status.FAILED, event, low, low | _MASK),
        )
        numbers = self.db.execute("SELECT number FROM trace WHERE number BETWEEN ? AND ?", (low, low | _MASK))
        self.changes.note(number for (number,) in numbers)
        return True

    def remove_task(self, task: int) -> None:
        """Take a task away for good, whoever has it."""
        row = self.db.execute("SELECT lane, owner, due, segment, length FROM task WHERE id=?", (task,)).fetchone()
        if row is None:
            return
        name, owner, due, segment, length = row
        if owner:
            self.roster.disown(task)
        elif due == 0:
            self.roster.departed(self.roster.lane(name), 1)
        self.live.remove(segment, length)
        self.standing.forget(task)
        self._settled.append(task >> SHIFT)
        self.db.execute("DELETE FROM task WHERE id=?", (task,))

    # -- outcomes --------------------------------------------------------------------------------------------------

    def finish(self, incarnation: int, sequence: int, done: Done) -> None:
        """Gather the end of an attempt; a repeated or fenced-off one changes nothing."""
        if sequence <= self.applied.get(incarnation, 0):
            return
        self.applied[incarnation] = sequence
        self._touched.add(incarnation)
        owned = self.roster.owned.get(done.task)
        if owned is None or owned.worker != incarnation:
            return
        base = done.task & ~_MASK
        for r in done.results:
            self._results.append((base | r.number, r.status, r.event, r.to_ip, r.tls, r.reply, r.pool, r.outbound))
        lane = owned.lane
        if done.reached and lane.fails:
            self.roster.up(lane, self.newest)
            self._lanes.add(lane)
        if done.gone:
            self._gone.append((done.task,))
            self._settled.append(done.task >> SHIFT)
            self.roster.disown(done.task)
            self.live.remove(owned.segment, owned.length)
            self.standing.forget(done.task)
        elif done.replace:
            self._replace(done, owned)
        elif done.keep:
            if done.rest is not None:
                self._rests.append((done.rest, done.task))
        else:
            self._give_back(done, owned)

    def _give_back(self, done: Done, owned: Owned) -> None:
        now, lane, roster = self._now, owned.lane, self.roster
        neutral = not (done.results or done.due or done.lane_down)
        if done.lane_down and roster.down(lane, done.lane_down, now, self.newest):
            self._lanes.add(lane)
        if neutral and lane.next_at <= now:
            # The worker wants no more of this (it is closing): do not hand it back in the same breath.
            roster.pause(roster.workers[owned.worker], now + 1.0)
        warned = owned.warned or done.warned
        attention = roster.attention(owned.received, owned.expires, now, warned=warned)
        reply = done.lane_down or (done.results[-1].reply if done.results else "")
        due = done.due if done.due > now else 0.0
        roster.disown(done.task)
        self._backs.append((done.task, due, attention, int(done.due > 0), int(done.warned), reply, done.rest))
        self.standing.came_back(done.task)
        if due == 0:
            roster.arrived(lane, attention)
        else:
            self.next_due = min(self.next_due, due)

    def _replace(self, done: Done, owned: Owned) -> None:
        self.flush()
        what, *body = self.db.execute(
            "SELECT what, segment, at, length, crc FROM task WHERE id=?", (done.task,)
        ).fetchone()
        self.roster.disown(done.task)
        self._gone.append((done.task,))
        seq = done.task >> SHIFT
        (made,) = self.db.execute(
            "UPDATE message SET tasks=tasks+? WHERE seq=? RETURNING tasks", (len(done.replace), seq)
        ).fetchone()
        first = seq << SHIFT | made - len(done.replace)
        for n, task in enumerate(done.replace):
            self._new_task(first + n, task, 0, owned.received, owned.expires, tuple(body))
        if done.task in self.standing:
            heirs = {first + n: recipients_of(task.what).recipients for n, task in enumerate(done.replace)}
            self.standing.pass_on(done.task, recipients_of(what).recipients, heirs)
        self.live.remove(owned.segment, owned.length)

    def died(self, worker: int) -> None:
        """A worker is dead and its log applied: its tasks wait again, at their old place in line."""
        gone = self.roster.workers.get(worker)
        if gone is not None:
            self.release(worker, set(gone.owned))
            self.roster.workers.pop(worker, None)
        self.flush()
        self.db.execute("DELETE FROM worker WHERE incarnation=?", (worker,))
        self.applied.pop(worker, None)

    def release(self, worker: int, tasks: Iterable[int]) -> None:
        """Let these tasks of a worker wait again."""
        for task in tasks:
            owned = self.roster.owned.get(task)
            if owned is not None and owned.worker == worker:
                self._give_back(Done(task, (), due=0.0), owned)

    def joined(self, incarnation: int, slot: int, held: set[int]) -> Worker:
        """A worker has come (again): it keeps what it says it holds, the rest of its tasks wait again."""
        worker = self.roster.workers.setdefault(incarnation, Worker(incarnation, slot))
        worker.slot, worker.connected, worker.taking = slot, True, True
        self.db.execute("INSERT OR IGNORE INTO worker(incarnation,slot,applied) VALUES(?,?,0)", (incarnation, slot))
        self.applied.setdefault(incarnation, 0)
        self.release(incarnation, worker.owned - held)
        worker.paused_until = 0.0
        self.roster.unblock()
        return worker

    # -- assignment ------------------------------------------------------------------------------------------------

    def assign(self, now: float) -> dict[int, list[AssignedRow]]:
        """Tasks whose time has come, per worker; they are owned once the transaction is committed."""
        self.flush()
        roster, given = self.roster, dict[int, list[AssignedRow]]()
        if self.next_due <= now:
            self._ripen(now)
        for lane in roster.woken(now):
            if lane.next_at <= now and lane.waiting:
                roster.feed(lane)
            elif lane.fails:
                self._surface(lane, now, given)
        for _ in range(200):
            lane_or_none = roster.next_hungry()
            if lane_or_none is None:
                break
            self._serve(lane_or_none, now, given)
        if given:
            rows = [(worker, row.task) for worker, rows in given.items() for row in rows]
            self.db.executemany("UPDATE task SET owner=? WHERE id=?", rows)
        return given

    def _serve(self, lane: Lane, now: float, given: dict[int, list[AssignedRow]]) -> None:
        roster = self.roster
        if not lane.waiting or lane.next_at > now:
            return
        worker = roster.choose(lane, now)
        if worker is None:
            roster.block(lane)
            return
        room = roster.room(lane, worker, now)
        if room <= 0:
            return
        rows = self.db.execute(_READY, (lane.name, room)).fetchall()
        lane.drained = len(rows) < room or rows[-1][0] > lane.marker
        self._give(worker, lane, rows, now, given)
        # Fewer than asked for means that none is left, whatever the counter says.
        roster.departed(lane, len(rows) if len(rows) == room else lane.waiting)

    def _surface(self, lane: Lane, now: float, given: dict[int, list[AssignedRow]]) -> None:
        """Tasks of a lane that is down whose sender is owed a word; few at once, so that reports are paced."""
        room = self.pace.at_once - lane.out
        worker = self.roster.choose(lane, now)
        if room > 0 and worker is not None:
            rows = self.db.execute(_ATTENTION, (lane.name, now, room)).fetchall()
            self._give(worker, lane, rows, now, given)
            self.roster.departed(lane, sum(1 for row in rows if row[-1] == 0))
        (first,) = self.db.execute(
            "SELECT min(attention) FROM task WHERE lane=? AND owner=0", (lane.name,)
        ).fetchone()
        self.roster.wake(lane, min(lane.next_at if lane.next_at > now else now + 1.0, max(first or NEVER, now + 1.0)))

    def _give(
        self, worker: Worker, lane: Lane, rows: list[Any], now: float, given: dict[int, list[AssignedRow]]
    ) -> None:
        out = given.setdefault(worker.incarnation, []) if rows else []
        down = lane.last_reply if lane.next_at > now else ""
        for task, name, what, segment, at, length, crc, received, expires, attempts, warned, reply, _ in rows:
            owned = Owned(worker.incarnation, lane, segment, length, received, expires, bool(warned))
            self.roster.own(task, owned, from_waiting=True)
            out.append(AssignedRow(task, name, what, segment, at, length, crc, received, expires, attempts,
                                   bool(warned), now >= expires, reply or lane.last_reply, down))  # fmt: skip

    def _ripen(self, now: float) -> None:
        """Tasks whose own pause is over are ready."""
        rows = self.db.execute(_DUE, (now,)).fetchall()
        self.db.executemany("UPDATE task SET due=0 WHERE id=?", [(task,) for task, _, _ in rows])
        for _, name, attention in rows:
            self.roster.arrived(self.roster.lane(name), attention)
        (due,) = self.db.execute("SELECT min(due) FROM task WHERE owner=0 AND due>0").fetchone()
        self.next_due = float("inf") if due is None else due

    def next_wake(self) -> float:
        """When `assign` has to be called again although nobody says anything (seconds since the epoch)."""
        if self.roster.has_hungry:
            return 0.0
        return min(self.next_due, self.roster.next_wake())


def recipients_of(what: bytes) -> What:
    """The part of a task row that the ledger otherwise moves about unread."""
    return _WHAT.decode(what)
