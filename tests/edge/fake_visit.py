"""A visit that takes mail or refuses it as a test wants, and remembers what it was told."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lockgate.edge.certificates import Certificates
from lockgate.edge.listener import Door
from lockgate.edge.load import LoadTable
from lockgate.edge.settings import DoorSettings
from lockgate.mail import replies
from lockgate.mail.connection import Connection, Tls
from lockgate.mail.envelope import Envelope
from lockgate.mail.message import BodyRef
from lockgate.mail.recipient import RecipientId
from lockgate.mail.reply import Reply
from lockgate.seams import BodyWriter


class HandClock:
    """Time that moves when told."""

    def __init__(self) -> None:
        self.time = 1_000.0

    def now(self) -> float:
        import time

        return time.time()

    def monotonic(self) -> float:
        return self.time


class Notes:
    """A journal that keeps what it is told."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, dict[str, object]]] = []
        self.alarms: list[tuple[str, dict[str, object]]] = []

    def note(self, happening: str, **details: object) -> None:
        self.notes.append((happening, details))

    def alarm(self, happening: str, **details: object) -> None:
        self.alarms.append((happening, details))

    def happened(self, happening: str) -> bool:
        return any(name == happening for name, _ in self.notes + self.alarms)


class Sheet:
    """A body in memory."""

    def __init__(self, breaks: Exception | None = None) -> None:
        self.chunks: list[bytes] = []
        self.breaks = breaks
        self.aborted = False

    @property
    def size(self) -> int:
        return sum(map(len, self.chunks))

    def write(self, chunk: bytes) -> None:
        if self.breaks:
            raise self.breaks
        self.chunks.append(chunk)

    def head(self) -> bytes:
        return b"".join(self.chunks)[: 256 * 1024]

    def finish(self) -> BodyRef:
        return BodyRef("test", 0, self.size, 0)

    def content(self) -> bytes | None:
        return b"".join(self.chunks)

    def octets(self) -> bytes:
        return b"".join(self.chunks)

    def abort(self) -> None:
        self.aborted = True


@dataclass
class Hall:
    """What the visits of one test share: replies to give, and what was said and taken."""

    connect: Reply | None = None
    mail: Callable[[Envelope], Reply] = lambda envelope: replies.SENDER_OK
    rcpt: Callable[[RecipientId], Reply] = lambda recipient: replies.RECIPIENT_OK
    begin: Reply | None = None
    end: Reply | None = None
    normalises: bool = False
    breaks: Exception | None = None  # raised by the body
    raises: dict[str, Exception] = field(default_factory=dict)  # by method, though a visit never raises
    gate: asyncio.Event | None = None  # the end of data waits for it
    told: list[Any] = field(default_factory=list)
    taken: list[bytes] = field(default_factory=list)
    visits: list[FakeVisit] = field(default_factory=list)

    def welcome(self, connection: Connection) -> FakeVisit:
        visit = FakeVisit(self, connection)
        self.visits.append(visit)
        return visit


class FakeVisit:
    def __init__(self, hall: Hall, connection: Connection) -> None:
        self.hall = hall
        self.connection = connection
        self.tls: Tls | None = connection.tls
        self.resets = 0
        self.body: Sheet | None = None

    def _told(self, name: str, *what: Any) -> None:
        self.hall.told.append((name, *what))
        if name in self.hall.raises:
            raise self.hall.raises[name]

    def connected(self) -> Reply | None:
        self._told("connected")
        return self.hall.connect

    def secured(self, tls: Tls) -> None:
        self.tls = tls
        self._told("secured", tls)

    def greeted(self, helo: str, *, extended: bool) -> None:
        self._told("greeted", helo, extended)

    def mail(self, envelope: Envelope) -> Reply:
        self._told("mail", envelope)
        return self.hall.mail(envelope)

    def rcpt(self, recipient: RecipientId) -> Reply:
        self._told("rcpt", recipient)
        return self.hall.rcpt(recipient)

    def begin(self) -> BodyWriter | Reply:
        self._told("begin")
        if self.hall.begin is not None:
            return self.hall.begin
        self.body = Sheet(self.hall.breaks)
        return self.body

    def normalises(self) -> bool:
        return self.hall.normalises

    def mended(self) -> None:
        self._told("mended")

    async def done(self, body: BodyWriter, seen: object = None) -> Reply:
        self._told("done")
        if self.hall.gate is not None:
            await self.hall.gate.wait()
        if self.hall.end is not None:
            return self.hall.end
        self.hall.taken.append(body.content() or b"")
        return replies.queued(str(len(self.hall.taken)))

    def spoiled(self, reply: Reply) -> Reply:
        self._told("spoiled", reply)
        self.reset()
        return reply.with_id(self.connection.id)

    def reset(self) -> None:
        self.resets += 1
        if self.body is not None:
            self.body.aborted = True
        self.hall.told.append(("reset",))


@dataclass
class Opened:
    """An open Door and what it uses."""

    door: Door
    port: int
    hall: Hall
    notes: Notes
    clock: HandClock
    table: LoadTable
    certificates: Certificates

    async def pass_time(self, seconds: float, step: float = 0.5) -> None:
        """Move the clock by hand and let the loop turn."""
        until = self.clock.time + seconds
        while self.clock.time < until:
            self.clock.time = min(self.clock.time + step, until)
            self.door.turn()
            await asyncio.sleep(0)
        await asyncio.sleep(0.01)


@contextlib.asynccontextmanager
async def open_door(
    folder: Path, hall: Hall | None = None, certificates: Any = None, notes: Notes | None = None, **settings: Any
) -> AsyncIterator[Opened]:
    """A Door on a free port of the loopback address."""
    hall, notes, clock = hall or Hall(), notes or Notes(), HandClock()
    bound = socket.socket()
    bound.bind(("127.0.0.1", 0))
    table = LoadTable(folder / "load", 0, 1)
    certificates = certificates or Certificates((), notes)
    door = Door(
        [bound],
        DoorSettings(**{"hostname": "mx.lockgate.test", "linger": 1.0, **settings}),
        hall.welcome,
        certificates,
        table,
        notes,
        clock,
    )
    await door.open()
    try:
        yield Opened(door, bound.getsockname()[1], hall, notes, clock, table, certificates)
    finally:
        await door.drain(0.05)
        bound.close()


class Peer:
    """A client that says exactly what it is told."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    @classmethod
    async def dial(cls, port: int) -> Peer:
        return cls(*await asyncio.open_connection("127.0.0.1", port))

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def line(self) -> str:
        return (await asyncio.wait_for(self.reader.readline(), 5)).decode().rstrip("\r\n")

    async def reply(self) -> str:
        """One reply, the lines of a multi-line reply joined."""
        lines = [await self.line()]
        while lines[-1][3:4] == "-":
            lines.append(await self.line())
        return "\n".join(lines)

    async def ask(self, command: str) -> str:
        self.send(command.encode() + b"\r\n")
        return await self.reply()

    async def rest(self) -> bytes:
        """Everything until the end of the stream."""
        return await asyncio.wait_for(self.reader.read(), 5)

    async def hang_up(self) -> None:
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

    async def envelope(self, recipients: int = 1) -> None:
        """Greeting, EHLO, MAIL and RCPT, all accepted."""
        assert (await self.reply()).startswith("220 ")
        assert (await self.ask("EHLO client.test")).startswith("250")
        assert (await self.ask("MAIL FROM:<a@client.test>")).startswith("250 ")
        for number in range(recipients):
            assert (await self.ask(f"RCPT TO:<b{number}@lockgate.test>")).startswith("250 ")
