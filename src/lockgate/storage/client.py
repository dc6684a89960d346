"""The queue as one worker sees it: bodies into its own segment, everything else through the keeper's socket."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from lockgate.mail.discreet import refusal_as_wished, result_as_wished
from lockgate.mail.events import Happening
from lockgate.mail.message import BodyRef
from lockgate.mail.redaction import Discretion, nothing_hidden
from lockgate.mail.task import Assigned, Finished, NewMessage, Refusal
from lockgate.seams import Accepted, Clock, Journal, Unavailable
from lockgate.storage import frames
from lockgate.storage.completions import CompletionLog
from lockgate.storage.frames import Ask, AssignedRow, Done, FrameReader, Hello, What, frame
from lockgate.storage.outbox import Outbox
from lockgate.storage.packing import pack_result, pack_task, pack_together, whats_of
from lockgate.storage.refusals import Full, Tally
from lockgate.storage.segments import Body, SegmentFolder, SegmentWriter, read_body

_ENCODE = msgspec.msgpack.Encoder().encode
_WHAT = msgspec.msgpack.Decoder(What)
_ROWS = msgspec.msgpack.Decoder(list[AssignedRow])
_ACCEPTED = msgspec.msgpack.Decoder(tuple[int, tuple[tuple[int, bool], ...]])
_FAILED = msgspec.msgpack.Decoder(tuple[int, str])
_ANSWER = msgspec.msgpack.Decoder(tuple[int, Any])
_NUMBER = msgspec.msgpack.Decoder(int)
_STORIES = msgspec.msgpack.Decoder(list[tuple[str, bytes]])

_MIB = 1024 * 1024
_FILES = 17
"""Files that the file system must have room for, or new mail is put off."""

FULL_ROWS = 50
"""Full refusal rows per peer network, reason and hour (DESIGN 4)."""


class SpoolSettings(msgspec.Struct, frozen=True):
    """One worker's part of the queue; times in seconds, sizes in octets.

    `patience` is how long an accept waits for the keeper before the sender is told to try again; `memory` bounds the
    bodies of own tasks that stay in memory; below `low_space` free octets no body is begun. While many sessions
    are served, a message waits `gather_delay` for others, or until `gather_most` go to the keeper together.
    """

    state: Path
    slot: int = 0
    patience: float = 20.0
    memory: int = 64 * 1024 * 1024
    low_space: int = 256 * 1024 * 1024
    segment_size: int = 64 * 1024 * 1024
    finish_delay: float = 0.005
    gather_delay: float = 0.001
    gather_most: int = 16


class _Held(msgspec.Struct, gc=False):
    """What the worker remembers of a task it holds, to say in full what became of it."""

    what: What
    left: set[int]
    organisation: str
    size: int = 0
    over: int = 0  # sequence of the record that ended it; kept until the keeper has applied it


class _Wire(asyncio.Protocol):
    """One connection to the keeper."""

    def __init__(self, spool: KeeperSpool) -> None:
        self._spool = spool
        self._reader = FrameReader()
        self.transport: asyncio.Transport | None = None
        self.lost = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The keeper is there."""
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        """Cut into frames."""
        for kind, payload in self._reader.feed(data):
            self._spool.heard(self, kind, payload)

    def connection_lost(self, error: Exception | None) -> None:
        """The keeper is gone."""
        self.lost = True
        self._spool.parted(self)


class KeeperSpool:
    """seams.Spool over the keeper's socket; one per worker process."""

    def __init__(
        self, settings: SpoolSettings, clock: Clock, journal: Journal, discretion: Discretion = nothing_hidden
    ) -> None:
        self._settings, self._clock, self._journal = settings, clock, journal
        self._discretion = discretion
        self._incarnation = secrets.randbits(62) | 1
        self._folder = SegmentFolder(settings.state / "queue")
        self._take: Callable[[Sequence[Assigned]], None] = lambda tasks: None
        self._wire: _Wire | None = None
        self._welcomed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop
        self._out: Outbox
        self._request = 0
        self._waiting: dict[int, tuple[asyncio.Future[Any], bytes, str]] = {}
        self._unsure: dict[int, tuple[asyncio.Future[Any], bytes, str]] = {}
        self._deadlines: deque[tuple[float, asyncio.Future[Any]]] = deque()
        self._given_up: set[int] = set()
        self._withdrawn: set[str] = set()
        self._held: dict[int, _Held] = {}
        self._unapplied: dict[int, bytes] = {}
        self._over: dict[int, int] = {}
        self._bodies: dict[BodyRef, Body] = {}
        self._memory = 0
        self._looked_at_space = float("-inf")
        self._space = True
        self._tally = Tally(FULL_ROWS)
        self._closing = False
        self._runner: asyncio.Task[None] | None = None

    # -- life ------------------------------------------------------------------------------------------------------

    async def open(self) -> None:
        """Make the log and the first segment, and connect; waits for the keeper as long as `patience`."""
        self._folder.make()
        self._log = CompletionLog(self._settings.state / "queue" / "completions", self._incarnation)
        self._writer = SegmentWriter(self._folder, self._incarnation, self._seal, size=self._settings.segment_size)
        self._welcomed = asyncio.Event()
        settings = self._settings
        # Kept, because asking asyncio for it costs a system call each time, and a message would ask six times.
        self._loop = asyncio.get_running_loop()
        self._out = Outbox(self._loop, self._write, delay=settings.gather_delay, most=settings.gather_most)
        self._runner = asyncio.ensure_future(self._stay_connected())
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._settings.patience):
                await self._welcomed.wait()

    @property
    def _connected(self) -> bool:
        return self._wire is not None and self._welcomed.is_set()

    def stop_taking(self) -> None:
        """Have no more tasks assigned; the beginning of a graceful end."""
        self._closing = True
        self._send(frame(frames.STOP, b""))

    async def close(self) -> None:
        """Say everything that is left to say, then hang up. What was not applied stays in the completion log."""
        self._closing = True
        loop = self._loop
        end = loop.time() + 5.0
        while (self._unapplied or self._waiting) and self._connected and loop.time() < end:
            self._out.flush()
            await asyncio.sleep(0.005)
        if self._runner is not None:
            self._runner.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._runner
        self._writer.close()
        self._out.flush()
        if self._wire is not None and self._wire.transport is not None:
            self._wire.transport.close()
        await asyncio.sleep(0)
        self._log.close(remove=False)

    async def _stay_connected(self) -> None:
        path = str(self._settings.state / "run" / "keeper.sock")
        loop = self._loop
        pause = 0.01
        while True:
            if self._wire is None:
                try:
                    _, wire = await loop.create_unix_connection(lambda: _Wire(self), path)
                except OSError:
                    await asyncio.sleep(pause)
                    pause = min(pause * 1.5, 0.2)
                    self._look_at_deadlines()
                    continue
                if wire.lost:  # it went before we could greet it, so nobody else will tell us
                    await asyncio.sleep(pause)
                    continue
                pause = 0.01
                self._greet(wire)
            await asyncio.sleep(0.05)
            self._tell_refusals()
            self._look_at_deadlines()

    def _look_at_deadlines(self) -> None:
        now = self._loop.time()
        while self._deadlines and (self._deadlines[0][0] <= now or self._deadlines[0][1].done()):
            answer = self._deadlines.popleft()[1]
            if not answer.done():
                answer.set_exception(Unavailable("the keeper of the queue did not answer in time"))

    def _greet(self, wire: _Wire) -> None:
        """Name ourselves and what we hold; only then anything else."""
        self._wire = wire
        self._welcomed.clear()
        hello = Hello(self._incarnation, self._settings.slot, tuple(self._held), tuple(self._withdrawn))
        if wire.transport is None:
            return
        out = [frame(frames.HELLO, _ENCODE(hello))]
        out += [frame(frames.FINISH, s.to_bytes(8, "little") + payload) for s, payload in self._unapplied.items()]
        for request, (_, payload, message) in self._unsure.items():
            out.append(payload or frame(frames.ASK, _ENCODE(Ask(request, "found", (message,)))))
        if self._closing:
            out.append(frame(frames.STOP, b""))
        wire.transport.write(b"".join(out))

    def parted(self, wire: _Wire) -> None:
        """The keeper is gone: what was asked is unsure until it has come back."""
        if self._wire is not wire:
            return
        self._wire = None
        # What was gathered and not sent is unsure like the rest: the next keeper is asked, and has not found it.
        self._out.forget()
        for request, (answer, payload, message) in self._waiting.items():
            # An accept is never sent twice: the keeper may have it already. Other questions are simply asked again.
            self._unsure[request] = (answer, b"" if message else payload, message)
        self._waiting.clear()

    # -- sending ---------------------------------------------------------------------------------------------------

    def _send(self, data: bytes, *, within: float = 0.0) -> None:
        """Have a frame leave within so many seconds; without a keeper it is dropped."""
        if self._wire is not None:
            self._out.put(data, within=within)

    def _write(self, data: bytes) -> None:
        if self._wire is not None and self._wire.transport is not None:
            self._wire.transport.write(data)

    async def _ask(self, kind: str, *words: str) -> Any:
        """A question that may be asked twice. Raises Unavailable after `patience`."""
        self._request += 1
        payload = frame(frames.ASK, _ENCODE(Ask(self._request, kind, words)))
        return await self._answer_to(self._request, payload, "")

    async def _answer_to(self, request: int, payload: bytes, message: str, unwanted: Sequence[str] = ()) -> Any:
        answer: asyncio.Future[Any] = self._loop.create_future()
        if self._connected:
            self._waiting[request] = (answer, payload, message)
            if message:
                self._out.put_accept(payload, len(self._waiting))
            else:
                self._send(payload)
        elif message:
            raise Unavailable("the keeper of the queue is away")
        else:
            self._unsure[request] = (answer, payload, message)
        # One timer looks after all deadlines: one per request would cost more than the request.
        self._deadlines.append((self._loop.time() + self._settings.patience, answer))
        try:
            return await answer
        finally:
            given_up = self._waiting.pop(request, None) or self._unsure.pop(request, None)
            if given_up is not None and message:
                self._give_up(request, unwanted)

    def _give_up(self, request: int, unwanted: Sequence[str]) -> None:
        """The sender is told to try again although the outcome is unknown: this copy must not go out."""
        self._given_up.add(request)
        for message in unwanted:
            self._withdrawn.add(message)
            self._send(frame(frames.WITHDRAW, message.encode()))

    # -- hearing ---------------------------------------------------------------------------------------------------

    def heard(self, wire: _Wire, kind: int, payload: memoryview) -> None:
        """One frame of the keeper."""
        if wire is not self._wire:
            return
        match kind:
            case frames.ACCEPTED:
                request, tasks = _ACCEPTED.decode(payload)
                self._answer(request, tasks)
            case frames.APPLIED:
                self._applied(_NUMBER.decode(payload))
            case frames.ASSIGNED:
                self._assigned(_ROWS.decode(payload))
            case frames.FAILED:
                self._failed(*_FAILED.decode(payload))
            case frames.ANSWER:
                self._answered(*_ANSWER.decode(payload))
            case frames.WELCOME:
                self._withdrawn.clear()
                self._given_up.clear()
                self._applied(_NUMBER.decode(payload))
                self._welcomed.set()

    def _answer(self, request: int, value: Any) -> None:
        entry = self._waiting.pop(request, None) or self._unsure.pop(request, None)
        if entry is not None and not entry[0].done():
            entry[0].set_result(value)

    def _answered(self, request: int, value: Any) -> None:
        entry = self._unsure.get(request)
        if entry is None or not entry[2]:
            self._answer(request, value)
        elif value is None:
            self._unsure.pop(request)
            entry[0].set_exception(Unavailable("the keeper of the queue went away before it had kept the message"))
        else:
            # Kept by the keeper that is gone: durable, and its tasks are assigned like any that wait.
            self._answer(request, tuple((task, False) for task in value))

    def _failed(self, request: int, segment: str) -> None:
        entry = self._waiting.pop(request, None)
        if segment and segment == self._writer.name:
            self._writer.abandon()
        if entry is not None and not entry[0].done():
            entry[0].set_exception(Unavailable("the message could not be made durable"))

    def _applied(self, sequence: int) -> None:
        self._log.applied(sequence)
        for number in list(self._unapplied):
            if number > sequence:
                break
            del self._unapplied[number]
            task = self._over.pop(number, None)
            if task is not None and (held := self._held.get(task)) is not None and held.over == number:
                del self._held[task]

    def _assigned(self, rows: list[AssignedRow]) -> None:
        tasks = []
        for row in rows:
            try:
                what = _WHAT.decode(row.what)
            except msgspec.MsgspecError as trouble:
                self._put_away(row.task, trouble)
                continue
            organisation = row.lane.partition("/")[0]
            self._held[row.task] = _Held(what, set(range(len(what.recipients))), organisation)
            tasks.append(Assigned(
                row.task, what.id, row.lane, what.route, what.envelope,
                BodyRef(row.segment, row.offset, row.length, row.crc), what.size, what.recipients, row.received,
                row.expires, row.attempts, row.warned, row.expired, row.last_reply, row.lane_down, None, what.stamp,
            ))  # fmt: skip
        self._take(tasks)

    def _put_away(self, task: int, trouble: Exception) -> None:
        """A task row that cannot be read comes back in a day; a person is told, the others go on."""
        self._journal.alarm("a task cannot be read", task=task, because=str(trouble))
        record = _ENCODE(Done(task, (), due=self._clock.now() + 86400.0))
        sequence = self._note(record)
        self._send(frame(frames.FINISH, sequence.to_bytes(8, "little") + record), within=self._settings.finish_delay)

    # -- the seam --------------------------------------------------------------------------------------------------

    def begin(self, prefix: bytes) -> Body:
        """Start a body (seams.Spool). Raises Unavailable when space is low or the keeper is away."""
        if not self._connected:
            raise Unavailable("the keeper of the queue is away")
        now = self._clock.monotonic()
        if not 0 <= now - self._looked_at_space < 1.0:
            self._looked_at_space = now
            self._look_at_space()
        if not self._space:
            raise Unavailable(f"there is too little room left for new mail ({self._reserve} have to stay free)")
        return Body(self._folder, self._writer, prefix, self._may_keep, self._bodies.__setitem__)

    def _look_at_space(self) -> None:
        there = os.statvfs(self._folder.flow)
        room = there.f_bavail * there.f_frsize >= self._settings.low_space
        space = room and (there.f_files == 0 or there.f_favail >= _FILES)
        if space != self._space:
            if space:
                self._journal.note("there is room for mail again")
            else:
                self._journal.alarm(
                    "new mail is put off because there is too little room",
                    folder=self._folder.flow,
                    free=f"{there.f_bavail * there.f_frsize // _MIB} MiB",
                    files=there.f_favail,
                    needed=self._reserve,
                )
        self._space = space

    @property
    def _reserve(self) -> str:
        return f"{self._settings.low_space // _MIB} MiB and {_FILES} files"

    def _may_keep(self, size: int) -> bool:
        return self._memory + size <= self._settings.memory

    async def accept(self, new: NewMessage, letters: Sequence[NewMessage] = ()) -> Accepted:
        """Return once body and rows are durable (seams.Spool). Raises Unavailable, and then nothing of it remains."""
        body = self._bodies.pop(new.body, None)
        found = (body, *[self._bodies.pop(letter.body, None) for letter in letters])
        bodies = [one for one in found if one is not None]
        self._request += 1
        request, whats = self._request, whats_of(new)
        try:
            row = pack_together(request, new, letters, whats, self._discretion)
            tasks = await self._answer_to(request, frame(frames.ACCEPT, _ENCODE(row)), new.id, row.ids)
        except BaseException:
            for one in bodies:
                if request in self._given_up:
                    one.settled()
                else:
                    one.abort()
            raise
        for one in bodies:
            one.settled()
        keeps = body.size if body is not None and body.content() is not None else 0
        for what, planned, (task, owned) in zip(whats, new.tasks, tasks, strict=False):
            if owned:
                organisation = planned.lane.partition("/")[0]
                self._held[task] = _Held(what, set(range(len(what.recipients))), organisation, keeps)
                self._memory += keeps
        if len(tasks) < len(new.tasks):
            # Looked up after the keeper's death: some tasks may be done already; none is ours.
            tasks = tuple((task, False) for task, _ in tasks) + ((0, False),) * (len(new.tasks) - len(tasks))
        return Accepted(tasks)

    def finish(self, done: Finished) -> None:
        """Note the end of an attempt (seams.Spool)."""
        held = self._held.get(done.task)
        if held is None or held.over:
            return
        before = len(held.left)
        redactor = self._discretion(held.organisation)
        results = tuple([
            pack_result(held.what.recipients[r.recipient], result_as_wished(r, redactor) if redactor else r)
            for r in done.results
        ])  # fmt: skip
        reached = False
        for r in done.results:
            if r.done:
                held.left.discard(r.recipient)
            reached = reached or r.event.kind is Happening.SEND or bool(r.event.host)
        gone = not held.left and not done.replace
        rest = None
        if not gone and not done.replace and len(held.left) < before:
            left = tuple([r for n, r in enumerate(held.what.recipients) if n in held.left])
            rest = _ENCODE(msgspec.structs.replace(held.what, recipients=left))
        replace = tuple([pack_task(task, held.what) for task in done.replace])
        record = _ENCODE(Done(done.task, results, gone, done.keep, rest, done.due, done.lane_down, done.warned,
                              reached and not done.lane_down, replace))  # fmt: skip
        sequence = self._note(record)
        if gone or replace or not done.keep:
            held.over = sequence
            self._over[sequence] = done.task
            self._memory -= held.size
        self._send(frame(frames.FINISH, sequence.to_bytes(8, "little") + record), within=self._settings.finish_delay)

    def _note(self, record: bytes) -> int:
        try:
            sequence = self._log.note(record)
        except Unavailable as trouble:
            # No room even for this: the keeper is told all the same, only a kill in this instant would repeat it.
            self._journal.alarm("the completion log cannot be written", because=str(trouble))
            sequence = self._log.sequence
        self._unapplied[sequence] = record
        return sequence

    def receive_with(self, take: Callable[[Sequence[Assigned]], None]) -> None:
        """Have assigned tasks handed to `take` (seams.Spool)."""
        self._take = take

    async def read(self, body: BodyRef) -> bytes:
        """The octets, their CRC checked (seams.Spool). Raises FileNotFoundError or ValueError."""
        if body.length > 256 * 1024:
            return await asyncio.to_thread(read_body, self._folder, body)
        return read_body(self._folder, body)

    async def story(self, message: str, organisation: str) -> bytes | None:
        """The recorded facts and ruling of a waiting message (seams.Spool). Raises Unavailable."""
        packed = await self._ask("story", message)
        if packed is None:
            return None
        return next((data for name, data in _STORIES.decode(packed) if name == organisation), None)

    def refused(self, row: Refusal, story: Callable[[], bytes] | None = None) -> None:
        """Note a refusal (seams.Spool): bounded, never synced, never blocks, never raises."""
        with contextlib.suppress(Exception):
            row = refusal_as_wished(row, self._discretion)
            if self._tally.full(row):
                if story is not None:
                    row = msgspec.structs.replace(row, story=story())
                self._send(frame(frames.REFUSE, _ENCODE(Full(row))), within=self._settings.finish_delay)

    def _tell_refusals(self) -> None:
        for counted in self._tally.take():
            self._send(frame(frames.REFUSE, _ENCODE(counted)), within=self._settings.finish_delay)

    def _seal(self, name: str) -> None:
        self._send(frame(frames.SEAL, name.encode()))
