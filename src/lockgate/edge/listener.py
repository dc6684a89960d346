"""The listening side of one worker: its sockets, its connections, their deadlines, and how they end."""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from lockgate.edge.certificates import Certificates
from lockgate.edge.chance import Chance
from lockgate.edge.company import Company
from lockgate.edge.deadlines import Wheel
from lockgate.edge.settings import DoorSettings
from lockgate.edge.smtp import Talk
from lockgate.mail import replies
from lockgate.mail.connection import Connection, Load
from lockgate.mail.identity import connection_id
from lockgate.seams import Clock, Journal
from lockgate.wire.smtp.manners import manners
from lockgate.wire.voices import Voices

if TYPE_CHECKING:
    from lockgate.flow.intake import Visit

_ID_SIZE = 8


class Counts(Protocol):
    """Open connections over all workers (edge/load.py)."""

    def opened(self, packed: bytes) -> Load:
        """Count one more."""

    def closed(self, packed: bytes) -> None:
        """Count one less."""


class Door:
    """Accepts connections on `sockets` (bound; listening or not) and gives each a visit.

    `welcome` makes the visit of a connection once it is known who it is. Raises ValueError if TLS is implicit and
    there is no certificate, or a network in the settings is none. `between` is called after each piece of work.
    """

    def __init__(
        self,
        sockets: Sequence[socket.socket],
        settings: DoorSettings,
        welcome: Callable[[Connection], Visit],
        certificates: Certificates,
        load: Counts,
        journal: Journal,
        clock: Clock,
        between: Callable[[], None] = lambda: None,
    ) -> None:
        if settings.implicit_tls and certificates.context is None:
            raise ValueError("a listener with implicit TLS needs a certificate")
        if settings.bare_newlines not in ("refuse", "normalise"):
            raise ValueError("bare_newlines is 'refuse' or 'normalise'")
        self.welcome = welcome
        self.certificates = certificates
        self.journal = journal
        self.clock = clock
        self._chance = Chance()
        self.between = between
        self.draining = False
        self.wheel = Wheel(clock.monotonic(), tick=settings.tick, horizon=settings.horizon)
        self.behave(settings)
        self.greeting = replies.greeting(settings.hostname).wire()
        self._sockets = tuple(sockets)
        self._load = load
        self._proxies = tuple(ipaddress.ip_network(text, strict=False) for text in settings.proxies)
        self._talks: set[Talk] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self.voices: Voices
        self._company: Company[Coroutine[object, object, None]]
        self._servers: list[asyncio.Server] = []
        self._stood_in: dict[int, asyncio.Server] = {}
        self._empty = asyncio.Event()
        self._timer: asyncio.TimerHandle | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._name = _fixed_name(self._sockets)
        self._refreshed = self.wheel.now

    def new_id(self) -> str:
        """An unguessable id for a connection or a refusal."""
        return connection_id(self._chance.octets(_ID_SIZE))

    def behave(self, settings: DoorSettings) -> None:
        """From now on new connections are treated so; who is here already keeps the limits it was told."""
        self.settings = settings
        self._has_certificate = self.certificates.context is not None
        self.manners = manners(
            settings.hostname,
            size_limit=settings.size_limit,
            starttls=self._has_certificate and not settings.implicit_tls,
            normalise=settings.bare_newlines == "normalise",
            line_limit=settings.text_line_limit,
            max_errors=settings.max_errors,
            max_refusals=settings.max_refusals,
            max_idle_commands=settings.max_idle_commands,
            max_recipients=settings.max_recipients,
        )

    async def open(self) -> None:
        """Begin to accept. Raises OSError."""
        # Kept, because asking asyncio for it costs a system call each time.
        self._loop = loop = asyncio.get_running_loop()
        settings = self.settings
        self.voices = Voices(loop.call_soon, self._talks.__len__, self.between)
        self._company = Company(
            loop, self._begin, self._talks.__len__, delay=settings.gather_delay, most=settings.gather_most
        )
        for bound in self._sockets:
            bound.settimeout(0)
            server = await loop.create_server(lambda: Talk(self), sock=bound, backlog=self.settings.backlog)
            self._servers.append(server)
        self._timer = loop.call_later(self.settings.tick, self._tick, loop)

    async def stand_in(self, siblings: Mapping[int, socket.socket]) -> None:
        """Accept on these sockets of other workers as well, by slot, and on none that is not named any more.

        The kernel gives connections to every listening socket of a port, whether or not its worker is alive.
        Raises OSError, and is then to be asked again.
        """
        for slot in [slot for slot in self._stood_in if slot not in siblings]:
            self._stood_in.pop(slot).close()
        loop = asyncio.get_running_loop()
        for slot, bound in siblings.items():
            if slot not in self._stood_in and not self.draining:
                # A duplicate: the server closes what it is given, and the next time the socket is needed again.
                server = await loop.create_server(lambda: Talk(self), sock=bound.dup(), backlog=self.settings.backlog)
                self._stood_in[slot] = server

    def shut(self) -> None:
        """Accept nobody any more; whoever is here stays."""
        self.draining = True
        for server in (*self._servers, *self._stood_in.values()):
            server.close()

    async def drain(self, patience: float) -> None:
        """Accept nobody any more; let transactions finish for `patience` seconds, then part with everybody."""
        self.shut()
        for talk in tuple(self._talks):
            talk.drain()
        await self._all_gone(patience)
        for talk in tuple(self._talks):
            talk.cut()
        await self._all_gone(self.settings.linger)
        for talk in tuple(self._talks):
            talk.cut()
        self._company.start_all()
        if self._tasks:
            # Their messages may be half way into the queue: they are given the same time once more.
            await asyncio.wait(tuple(self._tasks), timeout=patience)
        if self._timer is not None:
            self._timer.cancel()

    @property
    def open_connections(self) -> int:
        """How many connections this Door has."""
        return len(self._talks)

    @property
    def full(self) -> bool:
        """Whether this worker has as many connections as it may."""
        return len(self._talks) > self.settings.max_connections

    def turn(self) -> None:
        """Look at deadlines and at changed files now; the timer does it every tick."""
        now = self.clock.monotonic()
        self.wheel.turn(now)
        if now - self._refreshed >= self.settings.refresh:
            self._refreshed = now
            self.certificates.refresh()
            if self._has_certificate != (self.certificates.context is not None):  # the first one has come
                self.behave(self.settings)

    # --- what connections ask ---------------------------------------------------------------------------------------

    def arrived(self, talk: Talk) -> None:
        """A connection begins."""
        self._talks.add(talk)
        self._empty.clear()
        self.between()

    def left(self, talk: Talk, connection: Connection | None) -> None:
        """A connection is gone."""
        self._talks.discard(talk)
        if connection is not None:
            self._load.closed(connection.packed)
        if not self._talks:
            self._empty.set()

    def count(self, packed: bytes) -> Load:
        """The counts with this connection."""
        return self._load.opened(packed)

    def believes(self, packed: bytes) -> bool:
        """Whether this peer is a listed proxy."""
        if not self._proxies:
            return False
        address = ipaddress.ip_address(packed)
        return any(address in network for network in self._proxies if network.version == address.version)

    def listener_of(self, transport: asyncio.BaseTransport) -> str:
        """Address and port at which the connection reached us."""
        if self._name:
            return self._name
        name = transport.get_extra_info("sockname")
        return f"{name[0]}:{name[1]}" if name else ""

    def undertake(self, work: Coroutine[object, object, None]) -> None:
        """Run this to its end, and know of it until then."""
        self._task_of(work).add_done_callback(self._done)

    def take_in(self, work: Coroutine[object, object, None]) -> None:
        """The same for a message that is complete: it may wait a moment for others that are (edge/company.py)."""
        self._company.add(work)

    def _begin(self, work: Coroutine[object, object, None]) -> None:
        self._task_of(work).add_done_callback(self._taken_in)

    def _task_of(self, work: Coroutine[object, object, None]) -> asyncio.Task[None]:
        loop = self._loop or asyncio.get_running_loop()
        task = loop.create_task(work)
        loop.call_soon(self.between)  # after its first step, which judges the message
        self._tasks.add(task)
        return task

    def _taken_in(self, task: asyncio.Task[None]) -> None:
        self._company.over()
        self._done(task)

    def _done(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self.between()

    def _tick(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            self.turn()
        except Exception as trouble:
            self.journal.alarm("unforeseen", at="the timer of a listener", trouble=trouble)
        self._timer = loop.call_later(self.settings.tick, self._tick, loop)

    async def _all_gone(self, patience: float) -> None:
        if not self._talks:
            return
        try:
            await asyncio.wait_for(self._empty.wait(), patience)
        except TimeoutError:
            return


def _fixed_name(sockets: Sequence[socket.socket]) -> str:
    """Address and port of the only socket; "" if there are several, or the connection decides about the address."""
    if len(sockets) != 1:
        return ""
    address, port = sockets[0].getsockname()[:2]
    return "" if address in ("", "0.0.0.0", "::") else f"{address}:{port}"
