"""Our own MTA-STS policies over HTTPS: one path, for the hosts that publish one, and nothing else (RFC 8461 3.3)."""

from __future__ import annotations

import asyncio
import functools
import socket
import ssl
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import h11

from lockgate.edge.peers import plain_address
from lockgate.mail.certificate_names import name_covered
from lockgate.seams import Journal
from lockgate.wire.certificates import leaf_names

PATH = b"/.well-known/mta-sts.txt"
MOST = 256
"""Connections at once."""

MOST_OF_ONE = 16
"""Of these from one address, of IPv6 from one /64."""

LONGEST_HEAD = 8192
HANDSHAKE = 5.0
PATIENCE = 10.0
"""Seconds that a whole connection may take, its handshake included."""

_PAUSE = 0.1
_WORDS = {200: b"OK", 400: b"Bad Request", 404: b"Not Found"}

Shown = Callable[[], Sequence[tuple[Path, Path]]]
"""The certificates we show now: PEM chain and PEM key of each, the first one for names that none of them bears."""


class _Certificates:
    """Contexts by name, made again when a file changes. A file that cannot be used keeps its predecessor."""

    def __init__(self, shown: Shown, journal: Journal) -> None:
        self._shown = shown
        self._journal = journal
        self._stamp: tuple[tuple[int, int], ...] | None = None
        self._contexts: list[tuple[tuple[str, ...], ssl.SSLContext]] = []
        self.refresh()

    @property
    def context(self) -> ssl.SSLContext | None:
        """What connections begin with; None: there is no certificate."""
        return self._contexts[0][1] if self._contexts else None

    def refresh(self) -> None:
        """Read what has changed."""
        files = list(self._shown())
        stamp = tuple([_stamp(file) for pair in files for file in pair])
        if stamp == self._stamp:
            return
        self._stamp = stamp
        try:
            self._contexts = [(leaf_names(chain.read_bytes()), self._context(chain, key)) for chain, key in files]
        except (OSError, ValueError) as trouble:
            self._journal.alarm("MTA-STS listener: certificate not replaced", because=trouble)

    def _context(self, chain: Path, key: Path) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.options |= ssl.OP_NO_RENEGOTIATION
        context.set_alpn_protocols(["http/1.1"])
        context.load_cert_chain(chain, key, password=_no_password)
        context.sni_callback = self._choose
        return context

    def _choose(self, connection: ssl.SSLObject, name: str | None, _: ssl.SSLContext) -> None:
        wanted = (name or "").lower()
        for names, context in self._contexts:
            if name_covered(wanted, names) is not None:
                connection.context = context
                return


class PolicyHost:
    """Serves policies on listening sockets. `policies` gives the texts by host; it is asked for every request."""

    def __init__(self, policies: Callable[[], Mapping[str, bytes]], shown: Shown, journal: Journal) -> None:
        self._policies = policies
        self._certificates = _Certificates(shown, journal)
        self._journal = journal
        self._visits: set[asyncio.Task[None]] = set()
        self._peers: Counter[bytes] = Counter()
        self._doors: list[asyncio.Task[None]] = []

    def open(self, sockets: Sequence[socket.socket]) -> None:
        """Let people in on these sockets, which do not block."""
        self._doors += [asyncio.ensure_future(self._accept(one)) for one in sockets]

    def refresh(self) -> None:
        """Take up certificates that were replaced on disk; cheap."""
        self._certificates.refresh()

    async def close(self) -> None:
        """Everybody out: nothing that is served here is lost by that."""
        tasks = [*self._doors, *self._visits]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _accept(self, door: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                peer, address = await loop.sock_accept(door)
            except OSError as trouble:  # out of descriptors: those that are open end within seconds
                self._journal.note("MTA-STS listener: nobody let in", because=trouble.strerror)
                await asyncio.sleep(_PAUSE)
                continue
            where = _block(str(address[0]))
            context = self._certificates.context
            if context is None or len(self._visits) >= MOST or self._peers[where] >= MOST_OF_ONE:
                peer.close()
                continue
            self._peers[where] += 1
            visit = asyncio.ensure_future(self._visit(peer, context))
            self._visits.add(visit)
            visit.add_done_callback(functools.partial(self._gone, where))

    def _gone(self, where: bytes, visit: asyncio.Task[None]) -> None:
        self._visits.discard(visit)
        self._peers[where] -= 1
        if not self._peers[where]:
            del self._peers[where]
        if not visit.cancelled() and (trouble := visit.exception()) is not None:
            self._journal.alarm("MTA-STS listener: unforeseen", because=repr(trouble))

    async def _visit(self, peer: socket.socket, context: ssl.SSLContext) -> None:
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(limit=LONGEST_HEAD, loop=loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=loop)
        transport: asyncio.Transport | None = None
        try:
            async with asyncio.timeout(PATIENCE):
                peer.settimeout(0)
                transport, _ = await loop.connect_accepted_socket(
                    lambda: protocol, peer, ssl=context, ssl_handshake_timeout=HANDSHAKE, ssl_shutdown_timeout=1.0
                )
                writer = asyncio.StreamWriter(transport, protocol, reader, loop)
                writer.write(await self._answer(reader))
                await writer.drain()
                writer.close()
                await writer.wait_closed()
        except (OSError, TimeoutError, EOFError):
            pass  # the visitor is gone, too slow, or speaks something else
        finally:
            if transport is not None:
                transport.abort()
            peer.close()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        http = h11.Connection(h11.SERVER, max_incomplete_event_size=LONGEST_HEAD)
        try:
            while (event := http.next_event()) is h11.NEED_DATA:
                http.receive_data(await reader.read(LONGEST_HEAD))
        except h11.RemoteProtocolError:
            return _response(http, 400, b"This is no request.\n", bare=False)
        if not isinstance(event, h11.Request):
            return b""
        bare = event.method == b"HEAD"
        text = self._policies().get(_host(event)) if event.method in (b"GET", b"HEAD") else None
        if text is None or event.target != PATH:
            return _response(http, 404, b"There is nothing here.\n", bare=bare)
        return _response(http, 200, text, bare=bare)


def _host(request: h11.Request) -> str:
    """The host that is asked, in lower case without port; "" if it is not said."""
    said = next((value for name, value in request.headers if name == b"host"), b"")
    return said.decode("latin-1").partition(":")[0].lower().removesuffix(".")


def _response(http: h11.Connection, status: int, body: bytes, *, bare: bool) -> bytes:
    headers = [
        (b"Content-Type", b"text/plain; charset=utf-8"), (b"Content-Length", str(len(body)).encode()),
        (b"X-Content-Type-Options", b"nosniff"), (b"Cache-Control", b"no-store"), (b"Connection", b"close"),
    ]  # fmt: skip
    try:
        head = http.send(h11.Response(status_code=status, headers=headers, reason=_WORDS[status]))
    except h11.LocalProtocolError:  # what came was so wrong that there is nothing to answer
        return b""
    return (head or b"") + (b"" if bare else body)


def _block(address: str) -> bytes:
    """Whom a connection counts for: an IPv4 address, of IPv6 the /64."""
    _, packed = plain_address(address)
    return packed if len(packed) == 4 else packed[:8]


def _stamp(file: Path) -> tuple[int, int]:
    try:
        found = file.stat()
    except OSError:
        return 0, 0
    return found.st_mtime_ns, found.st_ino


def _no_password() -> str:
    """A key with a password must not make the service ask for it on the terminal."""
    raise ValueError("the key has a password; a service needs one without")


__all__ = ["LONGEST_HEAD", "MOST", "MOST_OF_ONE", "PATH", "PATIENCE", "PolicyHost"]
