"""A web server over TLS on loopback that serves MTA-STS policies, well or in the ways that web servers fail."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from dataclasses import dataclass, field

GOOD = "version: STSv1\r\nmode: enforce\r\nmx: mx.{domain}\r\nmax_age: 604800\r\n"


@dataclass
class PolicyServer:
    """`context` is what it shows. `texts` maps a host to its policy; a host without one gets status 404.

    `mode` is what happens: "" (as it should), redirect, status-NNN, html, no-type, huge, endless, huge-head, slow (a
    line a second), silent, cut, gzip, chunked, garbage, charset. `asked` has the head of each request, `names` the
    server names of the handshakes; `open` counts connections that are open now.
    """

    context: ssl.SSLContext
    texts: dict[str, str] = field(default_factory=dict)
    mode: str = ""
    delay: float = 0.0
    asked: list[str] = field(default_factory=list)
    names: list[str] = field(default_factory=list)
    connections: int = 0
    host: str = "127.0.0.1"
    port: int = 0
    _server: asyncio.Server | None = None

    async def __aenter__(self) -> PolicyServer:
        self.context.sni_callback = lambda _, name, __: self.names.append(name or "")
        self._server = await asyncio.start_server(self._visit, self.host, self.port, ssl=self.context)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()

    def publish(self, domain: str, text: str = "") -> None:
        """Serve this policy for a domain; none given: one that names mx.DOMAIN and enforces."""
        self.texts[f"mta-sts.{domain}"] = text or GOOD.format(domain=domain)

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
            self.asked.append(head)
            await asyncio.sleep(self.delay)
            async for piece in self._answer(head):
                writer.write(piece)
                await writer.drain()
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(self, head: str):
        host = next((line[6:] for line in head.split("\r\n") if line.lower().startswith("host: ")), "")
        text = self.texts.get(host)
        path = head.split(" ")[1]
        if text is None or path != "/.well-known/mta-sts.txt":
            yield _head(404, "text/plain") + b"no"
            return
        body = text.encode()
        match self.mode:
            case "endless":
                yield _head(200, "text/plain")
                while True:
                    yield b"x: y\r\n" * 1000
            case "slow":
                yield _head(200, "text/plain")
                for line in body.splitlines(keepends=True):
                    await asyncio.sleep(1.0)
                    yield line
            case "silent":
                await asyncio.sleep(60.0)
            case mode if mode.startswith("status-"):
                yield _head(int(mode[7:]), "text/plain") + body
            case mode:
                yield _at_once(mode, host, body)


def _at_once(mode: str, host: str, body: bytes) -> bytes:
    length = f"Content-Length: {len(body)}"
    chunks = b"".join(b"%x\r\n%s\r\n" % (1, body[at : at + 1]) for at in range(len(body))) + b"0\r\n\r\n"
    return {
        "": _head(200, "text/plain", length) + body,
        "charset": _head(200, "Text/Plain; charset=utf-8", "Set-Cookie: a=b") + body,
        "redirect": _head(301, "text/plain", f"Location: https://{host}/elsewhere.txt") + body,
        "html": _head(200, "text/html") + body,
        "no-type": b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + body,
        "huge": _head(200, "text/plain", "Content-Length: 70000") + body + b"x: y\r\n" * 20000,
        "huge-head": b"HTTP/1.1 200 OK\r\n" + b"X-Long: " + b"x" * 1_000_000 + b"\r\n\r\n" + body,
        "cut": _head(200, "text/plain", length) + body[:30],
        "gzip": _head(200, "text/plain", "Content-Encoding: gzip") + body,
        "chunked": _head(200, "text/plain", "Transfer-Encoding: chunked") + chunks,
        "garbage": b"\xff\x00 this is no HTTP\r\n\r\n",
    }[mode]


def _head(status: int, kind: str, *more: str) -> bytes:
    lines = [f"HTTP/1.1 {status} So", f"Content-Type: {kind}", *more, "Connection: close"]
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"


__all__ = ["GOOD", "PolicyServer"]
