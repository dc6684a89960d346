"""Slow, silent and half-open peers are cut off in time; time moves by hand."""

from __future__ import annotations

import asyncio

import pytest

from edge.fake_visit import Hall, Peer, open_door
from edge.test_client_certificates import our_certificates
from lockgate.edge.deadlines import GONE, NEVER, Wheel
from lockgate.mail import replies


async def settle() -> None:
    await asyncio.sleep(0.02)


async def test_a_silent_peer_is_told_and_closed(tmp_path):
    async with open_door(tmp_path, command_timeout=300.0) as opened:
        peer = await Peer.dial(opened.port)
        await peer.reply()
        await opened.pass_time(299)
        assert opened.door.open_connections == 1
        await opened.pass_time(2)
        assert await peer.rest() == replies.TIMED_OUT.wire()


async def test_octets_that_complete_no_command_do_not_prolong_the_deadline(tmp_path):
    async with open_door(tmp_path, command_timeout=300.0) as opened:
        peer = await Peer.dial(opened.port)
        await peer.reply()
        for octet in b"EHLO x":
            peer.send(bytes([octet]))
            await settle()
            await opened.pass_time(50.5)
        assert await peer.rest() == replies.TIMED_OUT.wire()


async def test_a_command_in_time_prolongs_it(tmp_path):
    async with open_door(tmp_path, command_timeout=300.0) as opened:
        peer = await Peer.dial(opened.port)
        await peer.reply()
        for _ in range(5):
            await opened.pass_time(200)
            assert (await peer.ask("NOOP")).startswith("250")
        await peer.hang_up()


async def test_data_that_drips_is_cut_off(tmp_path):
    async with open_door(tmp_path, rate_window=60.0, min_rate=100.0) as opened:
        peer = await Peer.dial(opened.port)
        await peer.envelope()
        await peer.ask("DATA")
        for _ in range(2):
            peer.send(b"x" * 5000 + b"\r\n")
            await settle()
            await opened.pass_time(30)
        assert opened.door.open_connections == 1  # fast enough in the first minute
        for _ in range(4):
            peer.send(b"x")
            await settle()
            await opened.pass_time(16)
        assert await peer.rest() == replies.TOO_SLOW.wire()
        assert opened.hall.visits[0].body.aborted and opened.hall.taken == []


async def test_data_has_an_end_even_if_it_is_fast(tmp_path):
    async with open_door(tmp_path, rate_window=60.0, min_rate=1.0, data_timeout=200.0) as opened:
        peer = await Peer.dial(opened.port)
        await peer.envelope()
        await peer.ask("DATA")
        for _ in range(11):
            peer.send(b"x" * 1000 + b"\r\n")
            await settle()
            await opened.pass_time(20)
        assert await peer.rest() == replies.TOO_LONG.wire()


async def test_a_chunk_that_does_not_come_is_cut_off(tmp_path):
    async with open_door(tmp_path, rate_window=60.0) as opened:
        peer = await Peer.dial(opened.port)
        await peer.envelope()
        peer.send(b"BDAT 3\r\nabc")
        assert (await peer.reply()).startswith("250")
        peer.send(b"BDAT 1000 LAST\r\nx")
        await settle()
        await opened.pass_time(62)
        assert await peer.rest() == replies.TOO_SLOW.wire()


async def test_a_message_in_chunks_has_an_end_too(tmp_path):
    async with open_door(tmp_path, rate_window=60.0, data_timeout=200.0) as opened:
        peer = await Peer.dial(opened.port)
        await peer.envelope()
        for _ in range(9):
            peer.send(b"BDAT 1\r\nx")
            assert (await peer.reply()).startswith("250")
            await opened.pass_time(22)
        await opened.pass_time(3)
        assert await peer.rest() == replies.TOO_LONG.wire()
        assert opened.hall.visits[0].body.aborted and opened.hall.taken == []


async def test_octets_that_drip_chunk_by_chunk_are_too_slow(tmp_path):
    async with open_door(tmp_path, rate_window=60.0, min_rate=1.0) as opened:
        peer = await Peer.dial(opened.port)
        await peer.envelope()
        for _ in range(3):
            peer.send(b"BDAT 2\r\nx")
            await settle()
            await opened.pass_time(16)
            peer.send(b"x")
            assert (await peer.reply()).startswith("250")
        assert opened.door.open_connections == 1
        peer.send(b"BDAT 2000 LAST\r\nx")
        await settle()
        await opened.pass_time(14)
        assert await peer.rest() == replies.TOO_SLOW.wire()


async def test_a_pause_between_chunks_is_not_slow_but_has_an_end(tmp_path):
    async with open_door(tmp_path, rate_window=60.0, min_rate=100.0, command_timeout=300.0) as opened:
        peer = await Peer.dial(opened.port)
        await peer.envelope()
        for _ in range(3):
            peer.send(b"BDAT 3000\r\n" + b"x" * 1000)
            await settle()
            await opened.pass_time(20)
            peer.send(b"x" * 2000)
            assert (await peer.reply()).startswith("250")
            await opened.pass_time(200, step=10)
            assert (await peer.ask("NOOP")).startswith("250")
        await opened.pass_time(301, step=10)
        assert await peer.rest() == replies.TIMED_OUT.wire()


@pytest.mark.parametrize("before", [b"", b"BDAT 900\r\n" + b"x" * 900], ids=["first", "later"])
async def test_a_chunk_that_is_too_large_is_thrown_away_as_fast_as_it_comes(tmp_path, before):
    async with open_door(tmp_path, size_limit=1000, rate_window=60.0, min_rate=100.0) as opened:
        peer = await Peer.dial(opened.port)
        await peer.envelope()
        if before:
            peer.send(before)
            assert (await peer.reply()).startswith("250")
        peer.send(b"BDAT 70000 LAST\r\n")
        for _ in range(7):
            peer.send(b"x" * 10_000)
            await settle()
            await opened.pass_time(50)
        said = await peer.reply()
        assert said.startswith("552 5.3.4 The message is larger") and "(id " in said
        assert ("spoiled", replies.MESSAGE_TOO_LARGE) in opened.hall.told
        assert (await peer.ask("NOOP")).startswith("250")
        await peer.hang_up()


async def test_a_chunk_that_is_too_large_must_come_at_all(tmp_path):
    async with open_door(tmp_path, size_limit=1000, rate_window=60.0) as opened:
        peer = await Peer.dial(opened.port)
        await peer.envelope()
        peer.send(b"BDAT 70000 LAST\r\nx")
        await settle()
        await opened.pass_time(62)
        assert await peer.rest() == replies.TOO_SLOW.wire()


async def test_our_own_slowness_is_not_held_against_the_peer(tmp_path):
    hall = Hall(gate=asyncio.Event())
    async with open_door(tmp_path, hall, command_timeout=300.0) as opened:
        peer = await Peer.dial(opened.port)
        await peer.envelope()
        await peer.ask("DATA")
        peer.send(b"x\r\n.\r\n")
        await settle()
        await opened.pass_time(2000, step=20)
        hall.gate.set()
        assert (await peer.reply()).startswith("250 2.0.0")
        await opened.pass_time(301, step=10)
        assert await peer.rest() == replies.TIMED_OUT.wire()


async def test_a_handshake_that_does_not_end(tmp_path):
    async with open_door(tmp_path, certificates=our_certificates(tmp_path), handshake_timeout=60.0) as opened:
        peer = await Peer.dial(opened.port)
        await peer.reply()
        await peer.ask("EHLO x")
        await peer.ask("STARTTLS")
        peer.send(b"\x16\x03\x01")
        await opened.pass_time(62)
        assert await peer.rest() == b""
        assert opened.door.open_connections == 0


async def test_a_refused_peer_that_keeps_sending_is_dropped(tmp_path):
    async with open_door(tmp_path, linger=5.0) as opened:
        peer = await Peer.dial(opened.port)
        await peer.reply()
        peer.send(b"GET / HTTP/1.1\r\n")
        assert await peer.rest() == replies.NOT_SMTP.wire()
        peer.send(b"x" * 1000)
        await settle()
        assert opened.door.open_connections == 1
        await opened.pass_time(7)
        assert opened.door.open_connections == 0


async def test_a_peer_that_never_reads_is_dropped(tmp_path):
    async with open_door(tmp_path, max_idle_commands=10**9, command_timeout=30.0, linger=5.0) as opened:
        peer = await Peer.dial(opened.port)
        peer.reader._transport.pause_reading()
        for _ in range(200):
            peer.send(b"HELP\r\n" * 10_000)
            await asyncio.sleep(0.001)
        await asyncio.sleep(0.2)
        await opened.pass_time(31)
        await opened.pass_time(7)
        assert opened.door.open_connections == 0
        peer.writer.transport.abort()


async def test_an_early_talker_during_the_pause(tmp_path):
    async with open_door(tmp_path, greet_pause=5.0) as opened:
        peer = await Peer.dial(opened.port)
        peer.send(b"EHLO x\r\n")
        assert await peer.rest() == replies.EARLY_TALKER.wire()
        assert not opened.hall.visits
        patient = await Peer.dial(opened.port)
        await settle()
        await opened.pass_time(6)
        assert (await patient.reply()).startswith("220")
        await patient.hang_up()


class Thing:
    def __init__(self, deadline: float) -> None:
        self.deadline = deadline
        self.bucket = -1
        self.fired: list[float] = []

    def expired(self, now: float) -> None:
        self.fired.append(now)
        self.deadline = GONE


def test_the_wheel_is_never_early_and_at_most_a_tick_late():
    wheel = Wheel(1000.0, tick=0.5, horizon=30.0)
    things = [Thing(1000.0 + n * 0.7) for n in range(300)]
    never = Thing(NEVER)
    for thing in [*things, never]:
        wheel.add(thing)
    now = 1000.0
    while now < 1220:
        now += 0.5
        wheel.turn(now)
    assert all(t.fired and 0 <= t.fired[0] - (1000.0 + n * 0.7) <= 0.5 + 1e-6 for n, t in enumerate(things))
    assert not never.fired


def test_a_deadline_that_moves_closer_is_still_kept():
    wheel = Wheel(0.0, tick=0.5, horizon=30.0)
    thing = Thing(NEVER)
    wheel.add(thing)
    for n in range(1, 2001):
        wheel.turn(n * 0.5)
    thing.deadline = wheel.now + 30.0
    for n in range(2001, 2200):
        wheel.turn(n * 0.5)
    assert thing.fired in ([1030.0], [1030.5])


def test_the_wheel_catches_up_after_a_long_sleep_and_forgets_the_gone():
    wheel = Wheel(0.0, tick=0.5, horizon=30.0)
    thing, gone = Thing(10.0), Thing(10.0)
    wheel.add(thing)
    wheel.add(gone)
    wheel.remove(gone)
    wheel.turn(10_000_000.0)
    assert thing.fired == [10_000_000.0] and gone.fired == []
