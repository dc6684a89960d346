"""The listener for monitoring: three pages, and nothing that a visitor sends does harm."""

from __future__ import annotations

import asyncio

import pytest

from lockgate.app.monitor import Monitor, pages


async def fetched(where, data):
    reader, writer = await asyncio.open_connection(*where)
    writer.write(data)
    answer = await asyncio.wait_for(reader.read(), 30)
    writer.close()
    return answer


@pytest.fixture
async def monitor():
    troubles: list[str] = []

    async def figures():
        return b"lockgate_x 1\n"

    async def why():
        return troubles

    served = Monitor(pages(figures, why))
    where = await served.open("127.0.0.1", 0)
    yield where, troubles
    await served.close()


async def test_three_pages(monitor):
    where, troubles = monitor
    answer = await fetched(where, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n") and answer.endswith(b"\r\n\r\nlockgate_x 1\n")
    assert b"version=0.0.4" in answer
    assert b"200" in await fetched(where, b"GET /healthz HTTP/1.0\r\n\r\n")
    assert (await fetched(where, b"GET /readyz?x HTTP/1.1\r\n\r\n")).endswith(b"ready\n")
    troubles.append("no worker is up")
    answer = await fetched(where, b"GET /readyz HTTP/1.1\r\n\r\n")
    assert b"503" in answer and b"no worker is up" in answer
    assert (await fetched(where, b"HEAD /metrics HTTP/1.1\r\n\r\n")).endswith(b"\r\n\r\n")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"POST /metrics HTTP/1.1\r\n\r\n", b"405"),
        (b"GET /etc/passwd HTTP/1.1\r\n\r\n", b"404"),
        (b"GET /../healthz HTTP/1.1\r\n\r\n", b"404"),
        (b"nonsense\r\n\r\n", b"400"),
        (b"\xff\xfe\r\n\r\n", b"400"),
    ],
)
async def test_what_is_no_proper_request(monitor, data, status):
    where, _ = monitor
    assert status in (await fetched(where, data)).split(b"\r\n")[0]


async def test_a_head_without_end_is_cut_off(monitor):
    where, _ = monitor
    assert await fetched(where, b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 5000) in (b"",)
