"""The keeper process: the only one that writes the queue. Gathers, syncs, commits, and only then answers.

A batch is everything that has arrived while the one before was being made durable: it costs two syncs, however many
messages are in it. The sockets' own buffers do the gathering, so no thread and no lock are needed.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from lockgate.mail.redaction import Kept
from lockgate.seams import Clock, Journal
from lockgate.storage import completions, frames
from lockgate.storage.edits import Edit, Misuse, Order, carry_out
from lockgate.storage.frames import Ask, Done, Hello, frame
from lockgate.storage.kept import Everybody, Lives
from lockgate.storage.lanes import Pace
from lockgate.storage.ledger import Ledger
from lockgate.storage.links import Link
from lockgate.storage.reclaim import Live
from lockgate.storage.refusals import RefusalBook
from lockgate.storage.salvage import is_damage, salvage
from lockgate.storage.segments import SegmentFolder
from lockgate.storage.together import accept_together
from lockgate.storage.upkeep import Upkeep

_DONE = msgspec.msgpack.Decoder(Done)
_ENCODE = msgspec.msgpack.Encoder().encode


class KeeperSettings(msgspec.Struct, frozen=True):
    """What the keeper needs to know; times in seconds, sizes in octets.

    `idle_delay`: outcomes alone wait this long for company before they are committed. `patience`: how long a live
    worker may stay away after a restart before a person is told (its tasks stay its own). `settle`: how long a
    finished message's trace stays in the queue database before it moves to its day's file. `trace_life`: how long
    traces are kept.
    """

    state: Path
    pace: Pace = Pace()
    idle_delay: float = 0.02
    patience: float = 60.0
    settle: float = 60.0
    trace_life: float = 90 * 86400.0
    refusal_rows: int = 50
    refusal_size: int = 256 * 1024 * 1024
    upkeep_every: float = 30.0
    sparse: float = 0.2


_REFUSALS_WAIT = 0.3
"""Seconds until a refusal is looked at."""


_LONGEST_PIN = 120.0
"""Seconds for which a backup may have segment files kept; then the disk matters more."""


class AlreadyKept(Exception):
    """Another keeper has this state directory."""


class Keeper:
    """Owns the queue while it runs."""

    def __init__(
        self,
        settings: KeeperSettings,
        clock: Clock,
        journal: Journal,
        lives: Lives | None = None,
        took: Callable[[float], None] | None = None,
    ) -> None:
        """`took` is told the seconds of each batch, sync and commit together."""
        self.lives = lives or Everybody(Kept(settings.trace_life))
        self.settings, self.clock, self.journal, self._took = settings, clock, journal, took
        queue = settings.state / "queue"
        self._completions = queue / "completions"
        self._completions.mkdir(parents=True, exist_ok=True)
        folder = SegmentFolder(queue)
        folder.make()
        self.links: set[Link] = set()
        self.live = Live(folder)
        self._database = queue / "keeper.sqlite"
        self._aside: Path | None = None
        self.ledger = self._open_ledger()
        self._trace = settings.state / "trace"
        self.refusals = RefusalBook(self._trace, settings.refusal_rows, settings.refusal_size)
        self.upkeep = Upkeep(self.ledger, folder, self._trace, journal, self.lives)
        self._batch: list[tuple[Link, int, Any]] = []
        self._edits: list[tuple[Link, int, Edit]] = []
        self._absent: dict[int, float] = {}
        self._broken = False
        self._damage: Exception | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = float("inf")
        self._soon = False
        self._closed = False
        self._pinned_until = 0.0

    def _open_ledger(self) -> Ledger:
        """The ledger; a damaged database gives way to what can be read of it."""
        try:
            return Ledger(self._database, self.live, self.settings.pace)
        except sqlite3.DatabaseError as trouble:
            if not is_damage(trouble):
                raise
            self._salvage(trouble)
            return Ledger(self._database, self.live, self.settings.pace)

    def _salvage(self, trouble: Exception) -> None:
        """Raises sqlite3.Error, OSError."""
        aside, rescued, gaps = salvage(self._database)
        self._aside = self._database.parent / "damaged"
        self.journal.alarm(
            "the queue database was damaged; it was set aside, and what could be read goes on",
            because=str(trouble),
            aside=aside.name,
            gaps=gaps,
            **rescued,
        )

    # -- start -----------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Apply the logs of dead workers, give their tasks back, remove orphans. Raises sqlite3.Error, OSError."""
        now = self.clock.now()
        self.ledger.begin(now)
        for incarnation in {*completions.incarnations(self._completions), *self.ledger.roster.workers}:
            if completions.is_alive(self._completions, incarnation):
                self._absent[incarnation] = now + self.settings.patience
            else:
                self._bury(incarnation)
        self.ledger.commit()
        self._forget_logs()
        self.live.sweep(self._living(), self._aside)

    def _living(self) -> set[int]:
        linked = {link.worker.incarnation for link in self.links if link.worker is not None}
        return {self.upkeep.incarnation, *self._absent, *linked}

    def _bury(self, incarnation: int) -> None:
        """Apply what a dead worker has noted, then give its tasks to others."""
        for sequence, payload in completions.read_log(self._completions, incarnation):
            try:
                done = _DONE.decode(payload)
            except msgspec.MsgspecError as trouble:
                self.journal.alarm("a completion log holds an unreadable record", because=str(trouble))
                break
            self.ledger.finish(incarnation, sequence, done)
        self.ledger.died(incarnation)

    def _forget_logs(self) -> None:
        for incarnation in completions.incarnations(self._completions):
            if incarnation not in self.ledger.roster.workers and not completions.is_alive(
                self._completions, incarnation
            ):
                completions.forget(self._completions, incarnation)

    # -- gathering -------------------------------------------------------------------------------------------------

    def gather(self, link: Link, kind: int, item: Any) -> None:
        """Note a request; outcomes alone wait a little for company."""
        if link.lost:
            return
        self._batch.append((link, kind, item))
        if self._soon:
            return
        if kind == frames.REFUSE:
            # Unhurried, for nobody waits for it; yet whoever is told an id looks for it at once.
            self._at(self.clock.now() + _REFUSALS_WAIT)
        elif kind == frames.FINISH:
            self._at(self.clock.now() + self.settings.idle_delay)
        else:
            self._soon = True
            asyncio.get_running_loop().call_soon(self.turn)

    def left(self, link: Link) -> None:
        """A connection is gone; if its process is, its tasks go to others."""
        if link.worker is None:
            return
        worker, link.worker = link.worker, None
        worker.connected = False
        self._absent[worker.incarnation] = self.clock.now() + self.settings.patience
        self._at(self.clock.now())

    def _at(self, when: float) -> None:
        """See to a turn at this time (seconds since the epoch)."""
        if when >= self._timer_at or self._closed:
            return
        if self._timer is not None:
            self._timer.cancel()
        self._timer_at = when
        delay = min(max(0.0, when - self.clock.now()), 3600.0)
        self._timer = asyncio.get_running_loop().call_later(delay, self.turn)

    # -- one batch -------------------------------------------------------------------------------------------------

    def turn(self) -> None:
        """Make everything durable that has been gathered, and answer it."""
        if self._closed:
            return  # it was due before the end
        self._soon = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer, self._timer_at = None, float("inf")
        batch, self._batch = self._batch, []
        now = self.clock.now()
        if self._broken and not self._mend(now):
            self._turn_away([entry for entry in batch if entry[1] == frames.ACCEPT])
            self._hang_up()
            self._at(now + 1.0)
            return
        began = self.clock.monotonic()
        lost = self.live.sync({name for _, kind, item in batch if kind == frames.ACCEPT for name in item.segments})
        if lost:
            self.journal.alarm("a segment could not be made durable and is given up", segments=", ".join(sorted(lost)))
        try:
            self.ledger.begin(now)
            for link, kind, item in batch:
                self._one(link, kind, item, lost)
            self._see_to_the_absent(now)
            self._proceed_edits(now)
            given = self.ledger.assign(now)
            self.ledger.commit()
        except Exception as trouble:
            # Whatever it was, nothing of the batch is known to be durable, and nothing of it may stay in memory.
            self._fail(batch, trouble)
            return
        if self._took is not None and batch:
            self._took(self.clock.monotonic() - began)
        self._tell(batch, given)
        if self.live.pinned and now >= self._pinned_until:
            self._pin(())
        self.live.unlink_dead()
        self._forget_buried()
        self.refusals.flush(now)
        if self.refusals.waiting:
            self._at(now + _REFUSALS_WAIT)
        if self.upkeep.is_due(now, self.settings.upkeep_every):
            self._keep_up(now)
        # Work that is left (a long edit, hungry lanes) goes on after whatever has arrived meanwhile.
        self._at(now if self._edits else max(self.ledger.next_wake(), now + 0.001))
        self._at(now + (0.02 if self.upkeep.more else self.settings.upkeep_every))

    def _one(self, link: Link, kind: int, item: Any, lost: set[str]) -> None:
        worker = link.worker
        match kind:
            case frames.FINISH if worker is not None:
                self.ledger.finish(worker.incarnation, *item)
            case _ if link.lost:
                pass
            case frames.ACCEPT if gone := item.segments & lost:
                link.out.append(frame(frames.FAILED, _ENCODE((item.request, min(gone)))))
            case frames.ACCEPT if worker is not None:
                tasks = accept_together(self.ledger, worker.incarnation, item, self._trace)
                link.out.append(frame(frames.ACCEPTED, _ENCODE((item.request, tasks))))
            case frames.STOP if worker is not None:
                worker.taking = False
            case _:
                self._rarer(link, kind, item)

    def _rarer(self, link: Link, kind: int, item: Any) -> None:
        match kind:
            case frames.REFUSE:
                self.refusals.take(item)
            case frames.SEAL:
                self.live.seal(item)
            case frames.WITHDRAW:
                self.ledger.flush()
                self.ledger.withdraw(item)
            case frames.HELLO:
                self._welcome(link, item)
            case frames.ASK:
                self._asked(link, item)

    def _welcome(self, link: Link, hello: Hello) -> None:
        for other in self.links:
            if other is not link and other.worker is not None and other.worker.incarnation == hello.incarnation:
                other.worker = None
                other.close()
        self.ledger.flush()
        for message in hello.withdrawn:
            self.ledger.withdraw(message)
        link.worker = self.ledger.joined(hello.incarnation, hello.slot, set(hello.held))
        self._absent.pop(hello.incarnation, None)
        link.out.append(frame(frames.WELCOME, _ENCODE(self.ledger.applied[hello.incarnation])))

    def _asked(self, link: Link, ask: Ask) -> None:
        self.ledger.flush()
        match ask.kind:
            case "found":
                found = self.ledger.find(ask.words[0])
                link.out.append(frame(frames.ANSWER, _ENCODE((ask.request, found))))
            case "story":
                row = self.ledger.db.execute("SELECT stories FROM message WHERE id=?", ask.words[:1]).fetchone()
                link.out.append(frame(frames.ANSWER, _ENCODE((ask.request, row[0] if row else None))))
            case "changes":
                told = (*self.ledger.changes.since(*ask.words[:2]), self.clock.now())
                link.out.append(frame(frames.ANSWER, _ENCODE((ask.request, told))))
            case "pin":
                link.out.append(frame(frames.ANSWER, _ENCODE((ask.request, self._pin(ask.words)))))
            case "edit":
                try:
                    order = msgspec.json.decode(ask.words[0], type=Order)
                    self._edits.append((link, ask.request, Edit(order.action, order.filters, order.by)))
                except (Misuse, msgspec.MsgspecError, IndexError) as trouble:
                    link.out.append(frame(frames.ANSWER, _ENCODE((ask.request, str(trouble)))))
            case other:
                link.out.append(frame(frames.ANSWER, _ENCODE((ask.request, f"the keeper does not know {other!r}"))))

    def _pin(self, words: tuple[str, ...]) -> int:
        """Keep all segment files for `words` seconds ("0": not any more); whether they were kept until now."""
        kept = self.live.pinned
        seconds = min(float(words[0]), _LONGEST_PIN) if words else 0.0
        self.live.pinned = seconds > 0
        self._pinned_until = self.clock.now() + seconds
        if kept and not self.live.pinned:
            self.upkeep.buried = True  # what was not swept meanwhile
        self._at(self._pinned_until)
        return int(kept)

    def _proceed_edits(self, now: float) -> None:
        if self.ledger.standing.back:
            carry_out(self.ledger, now)
        if self._edits and self._edits[0][2].proceed(self.ledger, now):
            link, request, edit = self._edits.pop(0)
            link.out.append(frame(frames.ANSWER, _ENCODE((request, edit.count))))

    def _see_to_the_absent(self, now: float) -> None:
        """Workers that are not connected: the dead are buried, the living waited for."""
        for incarnation, until in list(self._absent.items()):
            if not completions.is_alive(self._completions, incarnation):
                del self._absent[incarnation]
                self.ledger.flush()
                self._bury(incarnation)
                self.upkeep.buried = True
            elif until <= now:
                self._absent[incarnation] = now + self.settings.patience
                self.journal.alarm("a worker is alive and does not speak to the keeper", worker=f"{incarnation:x}")
        if self._absent:
            self._at(now + 0.2)

    def _forget_buried(self) -> None:
        if self.upkeep.buried:
            self.upkeep.buried = False
            self._forget_logs()
            self.live.sweep(self._living(), self._aside)

    def _tell(self, batch: list[tuple[Link, int, Any]], given: dict[int, list[frames.AssignedRow]]) -> None:
        applied = self.ledger.applied
        for link in {entry[0] for entry in batch if entry[1] == frames.FINISH}:
            if link.worker is not None:
                link.out.append(frame(frames.APPLIED, _ENCODE(applied.get(link.worker.incarnation, 0))))
        for link in self.links:
            if link.worker is not None and (rows := given.get(link.worker.incarnation)):
                link.out.append(frame(frames.ASSIGNED, _ENCODE(rows)))
            link.send()

    # -- trouble ---------------------------------------------------------------------------------------------------

    def _fail(self, batch: list[tuple[Link, int, Any]], trouble: Exception) -> None:
        """Nothing of this batch counts: say so, and begin anew from what the disk holds."""
        self.journal.alarm("the queue database could not be written", because=f"{type(trouble).__name__}: {trouble}")
        self._broken = True
        self._damage = trouble if is_damage(trouble) else None
        accepts = [entry for entry in batch if entry[1] == frames.ACCEPT]
        self.ledger.unwanted += [name for _, _, item in accepts for name in item.ids]
        self._turn_away(accepts)
        self._hang_up()
        self._at(self.clock.now() + 0.2)

    def _turn_away(self, accepts: list[tuple[Link, int, Any]]) -> None:
        for link in self.links:
            link.out = []
        for link, _, item in accepts:
            link.out.append(frame(frames.FAILED, _ENCODE((item.request, ""))))

    def _hang_up(self) -> None:
        for link in list(self.links):
            link.send()
            link.close()

    def _mend(self, now: float) -> bool:
        try:
            if self._damage is not None:
                self.ledger.db.close()
                self._salvage(self._damage)
                self._damage = None
            self.ledger.reopen(now)
            self.live.sweep({*self._living(), *self.ledger.roster.workers}, self._aside)
        except (sqlite3.Error, OSError) as trouble:
            self.journal.alarm("the queue database cannot be opened", because=str(trouble))
            self._damage = trouble if is_damage(trouble) else self._damage
            return False
        self._broken = False
        for incarnation in self.ledger.roster.workers:
            self._absent.setdefault(incarnation, now + self.settings.patience)
        self.journal.note("the queue database is in use again")
        return True

    def _keep_up(self, now: float) -> None:
        try:
            self.upkeep.run(now, self.settings.settle, self.settings.sparse)
            self.refusals.forget(now, self.lives)
        except Exception as trouble:
            self.upkeep.more = False
            self.journal.alarm("the keeper's upkeep failed", because=str(trouble))
            if not isinstance(trouble, OSError):
                self._fail([], trouble)

    def close(self) -> None:
        """Commit what has been gathered and end."""
        if self._batch and not self._broken:
            self.turn()
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()
        for link in list(self.links):
            link.close()
        self.refusals.close()
        self.upkeep.close()
        with contextlib.suppress(sqlite3.Error):
            self.ledger.db.close()


def lock_queue(state: Path) -> int:
    """The lock that makes this the only keeper; held as long as the descriptor is open. Raises AlreadyKept."""
    queue = state / "queue"
    queue.mkdir(parents=True, exist_ok=True)
    fd = os.open(queue / "keeper.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        raise AlreadyKept(
            f"Another keeper already uses {state}. Stop it first, or give this one a state directory of its own."
        ) from None
    return fd


async def serve(
    settings: KeeperSettings,
    clock: Clock,
    journal: Journal,
    stop: asyncio.Event,
    lives: Lives | None = None,
    took: Callable[[float], None] | None = None,
) -> None:
    """Keep the queue until `stop` is set. Raises AlreadyKept, NewerSchema, sqlite3.Error, OSError."""
    lock = lock_queue(settings.state)
    try:
        keeper = Keeper(settings, clock, journal, lives, took)
        keeper.start()
        run_folder = settings.state / "run"
        run_folder.mkdir(parents=True, exist_ok=True)
        path = run_folder / "keeper.sock"
        path.unlink(missing_ok=True)
        server = await asyncio.get_running_loop().create_unix_server(lambda: Link(keeper), str(path))
        path.chmod(0o600)
        keeper.turn()
        journal.note("the keeper is ready", state=str(settings.state))
        await stop.wait()
        server.close()
        keeper.close()
    finally:
        os.close(lock)


def run(settings: KeeperSettings, clock: Clock, journal: Journal) -> None:
    """The keeper process: serves until SIGTERM or SIGINT."""

    async def main() -> None:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stop.set)
        await serve(settings, clock, journal, stop)

    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        runner.run(main())


def _loop_factory() -> Any:
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop
    return uvloop.new_event_loop
