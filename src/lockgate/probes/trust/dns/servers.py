"""Asks recursive resolvers over our own sockets until one has a usable answer (RFC 1035 4.2, 5452, 6840, 9210)."""

from __future__ import annotations

import asyncio
import ipaddress
import secrets
import socket
import struct

import msgspec

from lockgate.probes.trust.dns.message import (
    NOERROR,
    NXDOMAIN,
    SERVFAIL,
    Question,
    Response,
    code_name,
    packed,
    read,
)
from lockgate.seams import Clock, DnsBogus, DnsTemporary

Server = tuple[str, int]

AT_ONCE = 256
"""Questions under way at the same time; each has a socket of its own."""

LONGEST_REST = 60.0
"""Seconds after which a server that was silent is tried first again, at the latest."""

_LONGEST_DATAGRAM = 65535


class _Rest(msgspec.Struct):
    """A server that did not answer: how often in a row, and until when others go first."""

    times: int = 0
    until: float = 0.0


class Servers:
    """`servers` are (address, port); `timeout` seconds for one question in all.

    All servers are asked in turn, `tries` times over; who was silent comes last for a while, unless it is on this
    machine. A slow one is still listened to while the next one is asked. Each question has its own connected socket,
    hence a source port of the kernel's choice and answers from nobody else's address, and a random number.
    """

    def __init__(self, servers: tuple[Server, ...], clock: Clock, timeout: float, tries: int) -> None:
        self._servers = servers
        self._clock = clock
        self._timeout = timeout
        self._tries = tries
        self._resting = {server: _Rest() for server in servers}
        self._places = asyncio.Semaphore(AT_ONCE)

    async def ask(self, question: Question) -> tuple[Response, Server]:
        """The answer (records, none, or no such name) and who gave it. Raises DnsTemporary, DnsBogus."""
        async with self._places:
            race = _Race(question, asyncio.get_running_loop())
            try:
                return await self._raced(race, question)
            finally:
                race.end()

    def order(self) -> list[Server]:
        """Whom to ask first: those that answered last time, as configured, then the others."""
        now = self._clock.monotonic()
        awake = [server for server in self._servers if self._resting[server].until <= now]
        resting = [server for server in self._servers if self._resting[server].until > now]
        return awake + sorted(resting, key=lambda server: self._resting[server].until)

    async def _raced(self, race: _Race, question: Question) -> tuple[Response, Server]:
        order = self.order()
        deadline = race.loop.time() + self._timeout
        step = self._timeout / max(len(order) * self._tries, 1)
        for number in range(self._tries):
            for server in order:
                race.send(server, edns=number == 0)
                while (left := deadline - race.loop.time()) > 0:
                    heard = await race.next(min(step, left))
                    if heard is None:
                        break
                    found = await self._usable(race, heard, question, deadline)
                    if found is not None:
                        return found
                    if not race.waiting(server):
                        break
                if race.waiting(server):
                    self._silent(server)
                    race.troubles[server] = "did not answer in time"
        # All were asked; who is slow may still say something while the time lasts.
        while race.open and (left := deadline - race.loop.time()) > 0:
            heard = await race.next(left)
            found = await self._usable(race, heard, question, deadline) if heard is not None else None
            if found is not None:
                return found
        raise DnsTemporary(f"{question}: {race.told() or 'there is no DNS server to ask'}")

    async def _usable(
        self, race: _Race, heard: _Heard, question: Question, deadline: float
    ) -> tuple[Response, Server] | None:
        """The answer if it is one; else the trouble is noted. Raises DnsBogus."""
        server, response = heard.server, heard.response
        if response is None:
            race.troubles[server] = heard.trouble
            self._silent(server)
            return None
        self._resting[server] = _Rest()
        if response.truncated:
            try:
                async with asyncio.timeout_at(deadline):
                    response = await _by_stream(question, server, edns=heard.edns)
            except (OSError, asyncio.IncompleteReadError) as trouble:
                race.troubles[server] = f"by TCP: {_said(trouble)}"
                return None
            if response is None or response.truncated:
                race.troubles[server] = "answered by TCP what is no answer"
                return None
        if response.rcode in (NOERROR, NXDOMAIN):
            return response, server
        said = f": {response.error}" if response.error else ""
        race.troubles[server] = f"answered {code_name(response.rcode)}{said}"
        if response.rcode == SERVFAIL and (response.forged or await _answers_unchecked(question, server, deadline)):
            # Others are not asked: one that does not validate would serve what was just found to be forged.
            raise DnsBogus(f"{question}: DNSSEC validation failed at {_named(server)}{said}")
        return None

    def _silent(self, server: Server) -> None:
        if on_this_machine(server):
            # One that is gone refuses at once and costs nothing; and names made to be slow must not be a means to have
            # others asked in the place of the one whose word counts.
            return
        rest = self._resting[server]
        rest.times += 1
        rest.until = self._clock.monotonic() + min(float(2**min(rest.times, 6)), LONGEST_REST)


class _Heard(msgspec.Struct, frozen=True):
    """A response, or the trouble instead of one."""

    server: Server
    edns: bool
    response: Response | None = None
    trouble: str = ""


class _Race:
    """One question on its way to one or more servers; what they say comes out of `next` in the order of arrival."""

    def __init__(self, question: Question, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self.troubles: dict[Server, str] = {}
        self._question = question
        self._sockets: dict[socket.socket, Server] = {}
        self._heard: list[_Heard] = []
        self._waiter: asyncio.Future[None] | None = None

    def send(self, server: Server, *, edns: bool, unchecked: bool = False) -> None:
        """Ask this server as well. That it cannot be reached is heard like an answer."""
        number = secrets.randbits(16)
        family = socket.AF_INET6 if ":" in server[0] else socket.AF_INET
        try:
            sock = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC)
        except OSError as trouble:
            self._tell(_Heard(server, edns, trouble=_said(trouble)))
            return
        try:
            sock.connect(server)
            sock.send(packed(self._question, number, edns=edns, unchecked=unchecked))
        except OSError as trouble:
            sock.close()
            self._tell(_Heard(server, edns, trouble=_said(trouble)))
            return
        self._sockets[sock] = server
        self.loop.add_reader(sock.fileno(), self._readable, sock, number, edns)

    @property
    def open(self) -> bool:
        """Whether anybody may still answer."""
        return bool(self._sockets or self._heard)

    def waiting(self, server: Server) -> bool:
        """Whether an answer of this server may still come."""
        return server in self._sockets.values()

    async def next(self, seconds: float) -> _Heard | None:
        """What is heard next; None when the time is over."""
        if not self._heard:
            self._waiter = waiter = self.loop.create_future()
            timer = self.loop.call_later(seconds, _over, waiter)
            try:
                await waiter
            finally:
                timer.cancel()
                self._waiter = None
        return self._heard.pop(0) if self._heard else None

    def told(self) -> str:
        """The troubles of all servers."""
        return "; ".join(f"{_named(server)} {trouble}" for server, trouble in self.troubles.items())

    def end(self) -> None:
        """Listen no longer."""
        for sock in self._sockets:
            self._close(sock)
        self._sockets.clear()

    def _readable(self, sock: socket.socket, number: int, edns: bool) -> None:
        server = self._sockets[sock]
        try:
            data = sock.recv(_LONGEST_DATAGRAM)
        except BlockingIOError:
            return
        except OSError as trouble:
            self._tell(_Heard(server, edns, trouble=_said(trouble)))
        else:
            response = read(data, self._question, number)
            if response is None:
                return  # it does not fit the question: ignored, not believed; the true one may still come
            self._tell(_Heard(server, edns, response))
        del self._sockets[sock]
        self._close(sock)

    def _close(self, sock: socket.socket) -> None:
        self.loop.remove_reader(sock.fileno())
        sock.close()

    def _tell(self, heard: _Heard) -> None:
        self._heard.append(heard)
        if self._waiter is not None:
            _over(self._waiter)


def _over(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)


async def _answers_unchecked(question: Question, server: Server, deadline: float) -> bool:
    """Whether the same server has an answer when it need not validate (CD): then the signatures were at fault."""
    race = _Race(question, asyncio.get_running_loop())
    try:
        race.send(server, edns=True, unchecked=True)
        heard = await race.next(max(deadline - race.loop.time(), 0.0))
    finally:
        race.end()
    return heard is not None and heard.response is not None and heard.response.rcode in (NOERROR, NXDOMAIN)


async def _by_stream(question: Question, server: Server, *, edns: bool) -> Response | None:
    number = secrets.randbits(16)
    reader, writer = await asyncio.open_connection(*server)
    try:
        wire = packed(question, number, edns=edns)
        writer.write(struct.pack("!H", len(wire)) + wire)
        (length,) = struct.unpack("!H", await reader.readexactly(2))
        return read(await reader.readexactly(length), question, number)
    finally:
        writer.close()


def _said(trouble: Exception) -> str:
    match trouble:
        case TimeoutError():
            return "no answer in time"
        case asyncio.IncompleteReadError():
            return "it hung up before its answer was whole"
        case OSError():
            return (trouble.strerror or str(trouble)).lower()
    return str(trouble)


def _named(server: Server) -> str:
    return f"{server[0]} port {server[1]}"


def on_this_machine(server: Server) -> bool:
    """Whether nobody can come between us and this resolver: it is on a loopback address."""
    try:
        return ipaddress.ip_address(server[0].partition("%")[0]).is_loopback
    except ValueError:
        return False


def servers_of(text: str, port: int = 53) -> tuple[Server, ...]:
    """The nameservers of a resolv.conf file's text, at most three, as the system's own resolver takes them."""
    found: list[Server] = []
    for line in text.splitlines():
        match line.split():
            case ["nameserver", address, *_]:
                try:
                    ipaddress.ip_address(address.partition("%")[0])
                except ValueError:
                    continue
                found.append((address, port))
            case _:
                pass
    return tuple(found[:3])
