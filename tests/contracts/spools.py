"""The queue under test: the one in memory and the real one, driven alike by a clock that tests move by hand."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import msgspec

from lockgate.mail.address import Address
from lockgate.mail.envelope import Envelope
from lockgate.mail.events import Event, Happening, Status
from lockgate.mail.identity import network_id
from lockgate.mail.message import BodyRef
from lockgate.mail.recipient import RecipientId
from lockgate.mail.redaction import Discretion, nothing_hidden
from lockgate.mail.ruling import Route, Via
from lockgate.mail.task import Assigned, Finished, NewMessage, NewTask, NewTrace, Result, TaskRecipient
from lockgate.storage.client import KeeperSpool, SpoolSettings
from lockgate.storage.keeper import Keeper, KeeperSettings
from lockgate.storage.keeping import KeeperKeeping
from lockgate.storage.kept import Lives
from lockgate.storage.lanes import Pace
from lockgate.storage.links import Link
from lockgate.testing.memory import MemorySpool

START = 1_800_000_000.0
SENDER = Address("ann", "example.net")
HQ = Route(Via.CONNECTOR, "contoso", "HQ")
PACE = Pace(steps=(10.0, 20.0), window=20, most=200, delay_notice=400.0)
_entropy = itertools.count(1)


class HandClock:
    """Time that stands still until a test moves it."""

    def __init__(self) -> None:
        self.at = START

    def now(self) -> float:
        return self.at

    def monotonic(self) -> float:
        return self.at


class ListJournal:
    """What was told."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, dict[str, object]]] = []
        self.alarms: list[tuple[str, dict[str, object]]] = []

    def note(self, happening: str, **details: object) -> None:
        self.notes.append((happening, details))

    def alarm(self, happening: str, **details: object) -> None:
        self.alarms.append((happening, details))


class Scene:
    """A queue, its desk side and its clock; `taken` is what was handed to the worker."""

    def __init__(self) -> None:
        self.clock = HandClock()
        self.taken: list[Assigned] = []

    def take(self, tasks: Sequence[Assigned]) -> None:
        self.taken += tasks

    async def settle(self) -> None:
        """Let everything happen that is due now."""

    async def advance(self, seconds: float) -> None:
        self.clock.at += seconds
        await self.settle()

    async def accept(
        self, *names: str, route: Route | None = HQ, lane: str = "", body: bytes = b"Subject: x\r\n\r\nhello\r\n",
        held: str = "", due: float = 0.0, life: float = 86400.0, sender: Address | None = SENDER, name: str = "",
    ) -> tuple[NewMessage, tuple[tuple[int, bool], ...]]:  # fmt: skip
        """One message with one task for `names` at contoso.com."""
        writer = self.spool.begin(b"Received: here\r\n")
        writer.write(body)
        new = message(self.clock.now(), writer.finish(), writer.size, names or ("bob",), route, lane, held, due, life,
                      sender, name)  # fmt: skip
        accepted = await self.spool.accept(new)
        return new, accepted.tasks

    def deliver(self, task: int, *recipients: int, keep: bool = False) -> None:
        self.spool.finish(Finished(task, tuple(delivered(n, self.clock.now()) for n in recipients or (0,)), keep=keep))


def message(
    now: float, body: BodyRef, size: int, names: Sequence[str], route: Route | None, lane: str = "", held: str = "",
    due: float = 0.0, life: float = 86400.0, sender: Address | None = SENDER, name: str = "",
) -> NewMessage:  # fmt: skip
    people = [Address(local, "contoso.com") for local in names]
    recipients = tuple(TaskRecipient(RecipientId(person), person, n) for n, person in enumerate(people))
    task = NewTask(lane or (route.lane if route else "contoso/hold"), route, recipients, due or now, held)
    status = Status.HELD if held else Status.PENDING
    traces = tuple(
        NewTrace(n, "contoso", person.text, status, (Event(now, Happening.RECEIVE, "from 192.0.2.1 (x)"),),
                 "Partner", "HQ")
        for n, person in enumerate(people)
    )  # fmt: skip
    number = next(_entropy)
    return NewMessage(
        name or network_id(os.urandom(10), now + number / 1000), now, now + life, Envelope(sender), body, size, (task,),
        traces, (("contoso", b"story"),), "Quarterly numbers", f"<m{number}@example.net>", "192.0.2.1", "TLSv1.3 AES",
        7, "CONN0001",
    )  # fmt: skip


def delivered(recipient: int, now: float) -> Result:
    event = Event(now, Happening.SEND, "", "250 2.0.0 taken", "mx.contoso.com[192.0.2.25]:25", "TLSv1.3 AES")
    return Result(recipient, True, Status.DELIVERED, event)


def deferred(recipient: int, now: float, *, host: str = "mx.contoso.com[192.0.2.25]:25") -> Result:
    return Result(recipient, False, None, Event(now, Happening.DEFER, "", "450 4.2.1 later", host))


def unreachable(task: int, now: float) -> Finished:
    event = Event(now, Happening.DEFER, "", "451 4.4.1 no connection")
    return Finished(task, (Result(0, False, None, event),), lane_down="451 4.4.1 no connection")


class MemoryScene(Scene):
    def __init__(self, discretion: Discretion = nothing_hidden, key: bytes = b"") -> None:
        super().__init__()
        self.spool = MemorySpool(
            self.clock, lane_pause=PACE.steps[0], delay_notice=PACE.delay_notice, discretion=discretion, key=key
        )
        self.spool.receive_with(self.take)
        self.keeping = self.spool

    async def settle(self) -> None:
        self.spool.assign()


class RealScene(Scene):
    """The real keeper and its client in one loop, over a real socket and a real database."""

    def __init__(
        self, state: Path, discretion: Discretion = nothing_hidden, key: bytes = b"", lives: Lives | None = None
    ) -> None:
        super().__init__()
        self.state = state
        self.discretion = discretion
        self.lives = lives
        self.journal = ListJournal()
        self.settings = KeeperSettings(state, PACE, idle_delay=0.001)
        self.keeping = KeeperKeeping(state, discretion=discretion, key=key)
        self.keeper: Keeper | None = None

    async def start_keeper(self) -> None:
        self.keeper = keeper = Keeper(self.settings, self.clock, self.journal, self.lives)
        keeper.start()
        path = self.state / "run" / "keeper.sock"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        self._server = await asyncio.get_running_loop().create_unix_server(lambda: Link(keeper), str(path))

    async def stop_keeper(self, *, kill: bool = False) -> None:
        """With `kill` nothing that was gathered is written any more."""
        self._server.close()
        keeper, self.keeper = self.keeper, None
        if kill:
            keeper._batch.clear()
        keeper.close()
        await asyncio.sleep(0)

    def new_spool(self, slot: int = 0, **settings: object) -> KeeperSpool:
        made = msgspec.structs.replace(
            SpoolSettings(self.state, slot, segment_size=256 * 1024, low_space=0, finish_delay=0.0), **settings
        )
        return KeeperSpool(made, self.clock, self.journal, self.discretion)

    async def start(self) -> None:
        await self.start_keeper()
        self.spool = self.new_spool()
        self.spool.receive_with(self.take)
        await self.spool.open()

    async def settle(self) -> None:
        for _ in range(3):
            await asyncio.sleep(0.005)
            if self.keeper is not None:
                self.keeper.turn()
        await asyncio.sleep(0.01)

    async def stop(self) -> None:
        await self.spool.close()
        if self.keeper is not None:
            await self.stop_keeper()


@contextlib.asynccontextmanager
async def scene(
    kind: str, state: Path, discretion: Discretion = nothing_hidden, key: bytes = b""
) -> AsyncIterator[MemoryScene | RealScene]:
    if kind == "memory":
        yield MemoryScene(discretion, key)
        return
    real = RealScene(state, discretion, key)
    await real.start()
    try:
        yield real
    finally:
        await real.stop()
