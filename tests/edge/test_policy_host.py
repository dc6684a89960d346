"""Our own MTA-STS policies over HTTPS: the one path for the hosts that publish one, and nothing for anybody else."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from lockgate.edge import policy_host
from lockgate.edge.policy_host import PolicyHost
from lockgate.testing.journal import ListJournal
from peers.certificates import Authority, Papers

TEXT = b"version: STSv1\r\nmode: testing\r\nmx: mx.contoso.test\r\nmax_age: 604800\r\n"
GET = "GET /.well-known/mta-sts.txt HTTP/1.1\r\nHost: mta-sts.contoso.test\r\n\r\n"


@dataclass
class Hosted:
    authority: Authority
    host: PolicyHost
    port: int
    texts: dict[str, bytes]
    papers: list[Papers]
    journal: ListJournal
    names: list[str] = field(default_factory=list)

    async def connect(self, name: str = "mta-sts.contoso.test", port: int = 0):
        context = ssl.create_default_context(cafile=str(self.authority.file))
        return await asyncio.open_connection("127.0.0.1", port or self.port, ssl=context, server_hostname=name)

    async def ask(self, request: str | bytes, name: str = "mta-sts.contoso.test") -> bytes:
        reader, writer = await self.connect(name)
        try:
            writer.write(request if isinstance(request, bytes) else request.encode())
            await writer.drain()
            return await asyncio.wait_for(reader.read(), 20)
        except ConnectionError:
            return b""
        finally:
            writer.close()


@contextlib.asynccontextmanager
async def hosted_in(folder: Path) -> AsyncIterator[Hosted]:
    authority = Authority(folder)
    papers = [authority.issue("mx.contoso.test"), authority.issue("mta-sts.contoso.test", "*.fabrikam.test")]
    door = socket.create_server(("127.0.0.1", 0))
    door.setblocking(False)
    texts, journal = {"mta-sts.contoso.test": TEXT}, ListJournal()
    host = PolicyHost(lambda: texts, lambda: [(one.chain, one.key) for one in papers], journal)
    host.open([door])
    try:
        yield Hosted(authority, host, door.getsockname()[1], texts, papers, journal)
    finally:
        await host.close()
        door.close()


@pytest.fixture
async def hosted(tmp_path: Path) -> AsyncIterator[Hosted]:
    async with hosted_in(tmp_path) as found:
        yield found
        assert not found.journal.alarms, found.journal.alarms


async def test_the_policy_is_served(hosted: Hosted) -> None:
    head, _, body = (await hosted.ask(GET)).partition(b"\r\n\r\n")
    lines = head.decode().lower().split("\r\n")
    assert lines[0] == "http/1.1 200 ok" and body == TEXT
    assert "content-type: text/plain; charset=utf-8" in lines and f"content-length: {len(TEXT)}" in lines
    assert "connection: close" in lines and not any("server" in line for line in lines)


async def test_head_has_no_body(hosted: Hosted) -> None:
    head, _, body = (await hosted.ask(GET.replace("GET", "HEAD"))).partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200") and body == b""


@pytest.mark.parametrize(
    "change",
    [
        ("/.well-known/mta-sts.txt", "/"), ("/.well-known/mta-sts.txt", "/.well-known/mta-sts.txt?x"),
        ("/.well-known/mta-sts.txt", "/.well-known/../.well-known/mta-sts.txt"),
        ("/.well-known/mta-sts.txt", "//.well-known/mta-sts.txt"), ("/.well-known", "/%2ewell-known"),
        ("/.well-known/mta-sts.txt", "https://mta-sts.contoso.test/.well-known/mta-sts.txt"),
        ("/.well-known/mta-sts.txt", "/.well-known/acme-challenge/x"), ("GET", "POST"), ("GET", "CONNECT"),
        ("GET", "get"), ("mta-sts.contoso", "contoso"), ("mta-sts.contoso", "mta-sts.fabrikam"),
        ("mta-sts.contoso.test", ""), ("mta-sts.contoso.test", "mta-sts.contoso.test@evil.test"),
    ],
)  # fmt: skip
async def test_everything_else_is_not_found(hosted: Hosted, change: tuple[str, str]) -> None:
    assert (await hosted.ask(GET.replace(*change))).startswith(b"HTTP/1.1 404 ")


@pytest.mark.parametrize("host", ["MTA-STS.Contoso.TEST", "mta-sts.contoso.test:443", "mta-sts.contoso.test."])
async def test_ways_of_writing_the_host(hosted: Hosted, host: str) -> None:
    assert (await hosted.ask(GET.replace("mta-sts.contoso.test", host))).startswith(b"HTTP/1.1 200 ")


@pytest.mark.parametrize(
    "octets",
    [
        b"\x00\x01\x02\r\n\r\n", b"GET /\r\n\r\n", b"EHLO evil.test\r\n\r\n", b"GET / HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", b"GET / HTTP/1.1\r\nHost: a\r\nContent-Length: x\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\n" + b"".join(b"X%d: y\r\n" % n for n in range(5000)) + b"\r\n",
    ],
)  # fmt: skip
async def test_what_is_no_request(hosted: Hosted, octets: bytes) -> None:
    said = await hosted.ask(octets)
    assert said == b"" or said.split(b" ")[1] in (b"400", b"404")
    assert (await hosted.ask(GET)).startswith(b"HTTP/1.1 200 ")


async def test_a_silent_or_slow_visitor_is_shown_out(hosted: Hosted, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(policy_host, "PATIENCE", 1.0)
    silent = await asyncio.open_connection("127.0.0.1", hosted.port)  # no handshake at all
    reader, writer = await hosted.connect()
    began = time.monotonic()

    async def trickle() -> None:
        with contextlib.suppress(OSError):
            for letter in GET[:-2]:
                writer.write(letter.encode())
                await asyncio.sleep(0.05)

    typing = asyncio.ensure_future(trickle())
    assert await asyncio.wait_for(reader.read(), 5) == b""
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(silent[0].read(), 5) == b""
    assert time.monotonic() - began < 4.0
    await typing
    for stream in (writer, silent[1]):
        stream.close()


async def test_one_address_cannot_take_every_place(hosted: Hosted) -> None:
    held = [await asyncio.open_connection("127.0.0.1", hosted.port) for _ in range(policy_host.MOST_OF_ONE)]
    await asyncio.sleep(0.2)
    with pytest.raises((OSError, asyncio.IncompleteReadError)):
        await hosted.connect()
    for _, writer in held:
        writer.close()
    await asyncio.sleep(0.2)
    assert (await hosted.ask(GET)).startswith(b"HTTP/1.1 200 ")


async def test_the_certificate_is_chosen_by_name(hosted: Hosted) -> None:
    for name in ("mta-sts.contoso.test", "mta-sts.fabrikam.test", "mx.contoso.test"):
        assert (await hosted.ask(GET, name)).startswith(b"HTTP/1.1 200 ")
    with pytest.raises(ssl.SSLCertVerificationError):
        await hosted.connect("stranger.test")


async def test_policies_and_certificates_change_while_it_runs(hosted: Hosted) -> None:
    hosted.texts["mta-sts.contoso.test"] = TEXT.replace(b"testing", b"enforce")
    assert b"enforce" in await hosted.ask(GET)
    del hosted.texts["mta-sts.contoso.test"]
    assert (await hosted.ask(GET)).startswith(b"HTTP/1.1 404 ")
    fresh = hosted.authority.issue("mta-sts.contoso.test", "later.test")
    fresh.key.replace(hosted.papers[1].key)
    fresh.chain.replace(hosted.papers[1].chain)
    hosted.host.refresh()
    assert await hosted.ask(GET, "later.test")


async def test_a_broken_certificate_leaves_the_one_before(tmp_path: Path) -> None:
    async with hosted_in(tmp_path) as hosted:
        hosted.papers[1].chain.write_text("nonsense")
        hosted.host.refresh()
        hosted.host.refresh()
        assert (await hosted.ask(GET)).startswith(b"HTTP/1.1 200 ")
        assert [name for name, _ in hosted.journal.alarms] == ["MTA-STS listener: certificate not replaced"]


async def test_old_tls_is_not_spoken(hosted: Hosted) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises((ssl.SSLError, OSError)):
        await asyncio.open_connection("127.0.0.1", hosted.port, ssl=context, server_hostname="mta-sts.contoso.test")


async def test_plain_http_gets_nothing(hosted: Hosted) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", hosted.port)
    writer.write(GET.encode())
    with contextlib.suppress(ConnectionError):
        assert b"STSv1" not in await asyncio.wait_for(reader.read(), 10)
    writer.close()
