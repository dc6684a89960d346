"""A small HTTP listener, bounded in every direction; for monitoring it has /metrics, /healthz and /readyz."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Mapping

from lockgate.app.exposition import CONTENT_TYPE

LONGEST_HEAD = 8192
PATIENCE = 5.0
MOST = 16
"""Requests answered at the same time; more are turned away."""

Page = Callable[[], Awaitable[tuple[int, str, bytes]]]
"""Status, content type and body."""

_WORDS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}
PLAIN = "text/plain; charset=utf-8"


class Monitor:
    """Serves `pages` by path, and what `find` gives for a path."""

    def __init__(self, pages: Mapping[str, Page], find: Callable[[str], Page | None] | None = None) -> None:
        self._pages = pages
        self._find = find or pages.get
        self._server: asyncio.Server | None = None
        self._busy = 0

    async def open(self, address: str, port: int) -> tuple[str, int]:
        """Listen; the address and the real port. Raises OSError."""
        self._server = await asyncio.start_server(self._visit, address, port, limit=LONGEST_HEAD)
        host, real = self._server.sockets[0].getsockname()[:2]
        return str(host), int(real)

    async def close(self) -> None:
        """Stop listening."""
        if self._server is not None:
            self._server.close()

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._busy += 1
        try:
            async with asyncio.timeout(PATIENCE * 3):
                writer.write(await self._answer(reader))
                await writer.drain()
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # The visitor is gone, silent, or sends what is no request.
        finally:
            self._busy -= 1
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()

    async def _answer(self, reader: asyncio.StreamReader) -> bytes:
        if self._busy > MOST:
            return _response(503, PLAIN, b"too many requests at once\n")
        async with asyncio.timeout(PATIENCE):
            head = await reader.readuntil(b"\r\n\r\n")
        words = head.split(b"\r\n", 1)[0].split(b" ")
        if len(words) != 3 or not words[2].startswith(b"HTTP/1."):
            return _response(400, PLAIN, b"this is no request\n")
        if words[0] not in (b"GET", b"HEAD"):
            return _response(405, PLAIN, b"only GET is answered here\n")
        page = self._find(words[1].partition(b"?")[0].decode("latin-1"))
        if page is None:
            there = f"there are {', '.join(self._pages)}" if self._pages else "there is nothing here"
            return _response(404, PLAIN, f"{there}\n".encode())
        answer = _response(*await page())
        return answer if words[0] == b"GET" else answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n"


def _response(status: int, kind: str, body: bytes) -> bytes:
    head = (
        f"HTTP/1.1 {status} {_WORDS[status]}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
        "Cache-Control: no-store\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body


def pages(
    metrics: Callable[[], Awaitable[bytes]], troubles: Callable[[], Awaitable[list[str]]]
) -> dict[str, Page]:
    """The three pages: figures, whether this process lives, and whether the service can do its work."""

    async def figures() -> tuple[int, str, bytes]:
        return 200, CONTENT_TYPE, await metrics()

    async def alive() -> tuple[int, str, bytes]:
        return 200, PLAIN, b"alive\n"

    async def ready() -> tuple[int, str, bytes]:
        found = await troubles()
        return (503 if found else 200), PLAIN, ("\n".join(found or ["ready"]) + "\n").encode()

    return {"/metrics": figures, "/healthz": alive, "/readyz": ready}
