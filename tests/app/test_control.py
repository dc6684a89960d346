"""The control socket: who may ask, what is understood, and what a broken peer can do (nothing)."""

from __future__ import annotations

import asyncio
import os
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from lockgate.app.control import ControlServer
from lockgate.app.roles import Peer
from lockgate.cli.client import NotReachable, ask
from lockgate.flow.asking import Answer, QueueList, StatusAsk, write_frame
from lockgate.testing.journal import ListJournal


async def echo(request, caller):
    return Answer(result={"request": type(request).__name__, "by": caller.name})


async def opened(path: Path, answer=echo, **options):
    server = ControlServer(answer, path, ListJournal(), **options)
    await server.open()
    return server


async def asked(path: Path, request) -> Answer:
    return await asyncio.to_thread(ask, path, request, 10)


async def test_the_kernel_says_who_asks(tmp_path):
    path = tmp_path / "run" / "control.sock"
    server = await opened(path)
    try:
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        answer = await asked(path, QueueList())
        assert answer.result == {"request": "QueueList", "by": Peer(0, os.getuid(), 0).name}
        assert answer.result["by"].startswith(f"{os.getuid()} ")
    finally:
        await server.close()
    assert not path.exists()
    with pytest.raises(NotReachable, match="does not run"):
        ask(path, StatusAsk())


async def test_a_dead_service_leaves_no_obstacle_and_a_living_one_is_kept(tmp_path):
    path = tmp_path / "control.sock"
    stale = socket.socket(socket.AF_UNIX)
    stale.bind(str(path))
    stale.close()
    server = await opened(path)
    try:
        with pytest.raises(OSError, match="another service"):
            await opened(path)
        assert (await asked(path, StatusAsk())).kind == "ok"
    finally:
        await server.close()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
async def test_another_account_is_refused_by_the_desk_even_if_the_file_lets_it_in():
    folder = Path("/tmp") / f"lockgate-control-{os.getpid()}"
    folder.mkdir(mode=0o755)
    path = folder / "c.sock"
    server = await opened(path, mode=0o666)
    script = (
        "import os,socket,sys; os.setgid(65534); os.setuid(65534); s=socket.socket(socket.AF_UNIX);"
        "s.connect(sys.argv[1]); s.sendall(bytes.fromhex(sys.argv[2])); print(s.recv(500))"
    )
    try:
        command = [sys.executable, "-c", script, str(path), write_frame(QueueList()).hex()]
        told = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, timeout=20)
        assert "your account may not use" in told.stdout, told.stderr
    finally:
        await server.close()
        folder.rmdir()


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"\x00\x00\x00\x02[]", b"not understood"),
        (b'\x00\x00\x00\x10{"verb":"sleep"}', b"not understood"),
        (b"\x00\x00\x00\x02\xff\xfe", b"not understood"),
        (b"\xff\xff\xff\xff", b"too long"),
    ],
)
async def test_nonsense_gets_a_sentence(tmp_path, data, says):
    path = tmp_path / "c.sock"
    server = await opened(path)
    try:
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(data)
        writer.write_eof()
        assert says in await asyncio.wait_for(reader.read(), 10)
        writer.close()
    finally:
        await server.close()


async def test_a_face_that_stops_in_the_middle_holds_nobody_up(tmp_path):
    path = tmp_path / "c.sock"
    server = await opened(path)
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b"\x00\x00")
    await writer.drain()
    assert (await asked(path, StatusAsk())).kind == "ok"
    began = time.monotonic()
    await server.close()
    assert time.monotonic() - began < 5
    assert await reader.read() == b""
    writer.close()


async def test_large_answers_arrive_whole(tmp_path):
    async def much(request, by):
        return Answer(result="x" * 3_000_000)

    path = tmp_path / "c.sock"
    server = await opened(path, much)
    try:
        assert len((await asked(path, StatusAsk())).result) == 3_000_000
    finally:
        await server.close()
