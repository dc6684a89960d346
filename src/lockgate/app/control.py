"""The control socket: a Unix socket whose peers the kernel names; each request is handed to the desk."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from pathlib import Path

from lockgate.app.roles import Peer, Roles
from lockgate.flow.asking import LONGEST_FRAME, PREFIX, Answer, Kind, NotUnderstood, Request, read_request, write_frame
from lockgate.flow.desk.rights import Caller
from lockgate.seams import Journal

MOST_CONNECTIONS = 32
"""Faces served at the same time; more have to wait in the kernel's queue."""

PATIENCE = 60.0
"""Seconds a face may be silent or take for one request to arrive."""


def peer_of(sock: socket.socket) -> Peer:
    """The process that connected."""
    return Peer(*struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))))


async def _let_finish(reader: asyncio.StreamReader) -> None:
    """Throw away what still comes for a moment: closing at once would break the peer's writing before it can read."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(2.0):
            while await reader.read(65536):
                pass


class ControlServer:
    """Serves the desk on a Unix socket.

    `answer` is `Desk.answer`. `mode` is the socket's file mode, `roles` who may do what (the group that may do
    everything becomes the socket's), `turned_away` is told the name of everybody who may do nothing.
    """

    def __init__(
        self,
        answer: Callable[[Request, Caller], Awaitable[Answer]],
        path: Path,
        journal: Journal,
        *,
        mode: int = 0o600,
        roles: Roles = Roles(),  # noqa: B008  (frozen)
        turned_away: Callable[[str], None] = lambda name: None,
    ) -> None:
        self._answer = answer
        self._path = path
        self._journal = journal
        self._mode = mode
        self._roles = roles
        self._turned_away = turned_away
        self._server: asyncio.Server | None = None
        self._places = asyncio.Semaphore(MOST_CONNECTIONS)
        self._open: set[asyncio.Task[None]] = set()

    async def open(self) -> None:
        """Listen. Raises OSError, also when another service listens there already."""
        self._path.parent.mkdir(parents=True, exist_ok=True)
        await self._forget_stale()
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            # Nobody may connect between bind and chmod.
            before = os.umask(0o177)
            try:
                sock.bind(str(self._path))
            finally:
                os.umask(before)
            if self._roles.group:
                os.chown(self._path, -1, grp.getgrnam(self._roles.group).gr_gid)
            self._path.chmod(self._mode)
        except KeyError:
            sock.close()
            raise OSError(f"there is no group '{self._roles.group}'") from None
        except OSError:
            sock.close()
            raise
        self._server = await asyncio.start_unix_server(self._visit, sock=sock)

    async def close(self) -> None:
        """Stop listening, end open conversations, remove the socket."""
        if self._server is not None:
            self._server.close()
            self._path.unlink(missing_ok=True)
        for task in list(self._open):
            task.cancel()
        if self._open:
            await asyncio.gather(*self._open, return_exceptions=True)

    async def _forget_stale(self) -> None:
        """Remove a socket that nobody listens on; a service that died cannot do so itself."""
        if not self._path.exists():
            return
        try:
            _, writer = await asyncio.open_unix_connection(str(self._path))
        except ConnectionRefusedError:
            self._path.unlink(missing_ok=True)
            return
        writer.close()
        raise OSError(f"another service answers on {self._path}")

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is None:
            return
        self._open.add(task)
        try:
            async with self._places:
                await self._converse(reader, writer)
        except (OSError, asyncio.IncompleteReadError, TimeoutError):
            pass  # The face is gone or silent; nothing of it remains.
        except asyncio.CancelledError:
            pass  # We are closing; asyncio would log the cancellation of a connection as a failure.
        finally:
            self._open.discard(task)
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = peer_of(writer.get_extra_info("socket"))
        rights = self._roles.rights(peer)
        if not rights:
            self._journal.alarm("control refused", by=peer.name, pid=peer.pid)
            self._turned_away(peer.name)
            writer.write(write_frame(Answer(Kind.MISUSE, sentence="your account may not use the control socket")))
            writer.write_eof()
            await _let_finish(reader)
            return
        while True:
            async with asyncio.timeout(PATIENCE):
                head = await reader.read(PREFIX)
                if not head:
                    return
                if len(head) < PREFIX:
                    head += await reader.readexactly(PREFIX - len(head))
                length = int.from_bytes(head, "big")
                if length > LONGEST_FRAME:
                    writer.write(write_frame(Answer(Kind.MISUSE, sentence="the request is too long")))
                    writer.write_eof()
                    await _let_finish(reader)
                    return
                data = await reader.readexactly(length)
            try:
                answer = await self._answer(read_request(data), Caller(peer.name, rights))
            except NotUnderstood as trouble:
                answer = Answer(Kind.MISUSE, sentence=str(trouble))
            writer.write(write_frame(answer))
            await writer.drain()
