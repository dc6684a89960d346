"""A Door that closes loses nothing, and one that is full says so."""

from __future__ import annotations

import asyncio

import pytest

from edge.fake_visit import Hall, Peer, open_door
from lockgate.mail import replies


async def test_idle_peers_are_told_and_transactions_finish(tmp_path):
    async with open_door(tmp_path) as opened:
        idle, busy, sending = [await Peer.dial(opened.port) for _ in range(3)]
        await idle.reply()
        await busy.envelope()
        await sending.envelope()
        await sending.ask("DATA")
        drained = asyncio.create_task(opened.door.drain(5.0))
        assert await idle.rest() == replies.SHUTTING_DOWN.wire()
        assert (await busy.ask("RCPT TO:<more@x.test>")).startswith("250")
        assert (await busy.ask("DATA")).startswith("354")
        for peer in (busy, sending):
            peer.send(b"kept\r\n.\r\n")
            assert (await peer.reply()).startswith("250 2.0.0 Queued")
            assert await peer.reply() == str(replies.SHUTTING_DOWN)
            assert await peer.rest() == b""
            await peer.hang_up()
        await idle.hang_up()
        await asyncio.wait_for(drained, 5)
        assert opened.hall.taken == [b"kept\r\n"] * 2
        with pytest.raises(OSError):
            await Peer.dial(opened.port)


async def test_a_reset_is_the_end_of_a_transaction_too(tmp_path):
    async with open_door(tmp_path) as opened:
        peer = await Peer.dial(opened.port)
        await peer.envelope()
        drained = asyncio.create_task(opened.door.drain(5.0))
        await asyncio.sleep(0.02)
        assert (await peer.ask("RSET")).startswith("250")
        assert await peer.reply() == str(replies.SHUTTING_DOWN)
        await peer.hang_up()
        await asyncio.wait_for(drained, 5)


async def test_patience_ends(tmp_path):
    async with open_door(tmp_path, linger=0.2) as opened:
        peer = await Peer.dial(opened.port)
        await peer.envelope()
        drained = asyncio.create_task(opened.door.drain(0.2))
        assert await asyncio.wait_for(peer.rest(), 5) == replies.SHUTTING_DOWN.wire()
        await asyncio.wait_for(drained, 5)
        assert opened.door.open_connections == 0


async def test_a_message_that_is_judged_while_the_door_closes_gets_its_answer(tmp_path):
    hall = Hall(gate=asyncio.Event())
    async with open_door(tmp_path, hall) as opened:
        peer = await Peer.dial(opened.port)
        await peer.envelope()
        await peer.ask("DATA")
        peer.send(b"x\r\n.\r\n")
        await asyncio.sleep(0.05)
        drained = asyncio.create_task(opened.door.drain(5.0))
        await asyncio.sleep(0.05)
        hall.gate.set()
        assert (await peer.reply()).startswith("250 2.0.0 Queued")
        assert await peer.reply() == str(replies.SHUTTING_DOWN)
        await peer.hang_up()
        await asyncio.wait_for(drained, 5)


async def test_a_full_door_says_so(tmp_path):
    async with open_door(tmp_path, max_connections=1) as opened:
        first = await Peer.dial(opened.port)
        await first.reply()
        second = await Peer.dial(opened.port)
        assert await second.rest() == replies.TOO_BUSY.wire()
        assert len(opened.hall.visits) == 1
        await first.hang_up()


async def test_the_counts_follow_the_connections(tmp_path):
    async with open_door(tmp_path) as opened:
        peers = [await Peer.dial(opened.port) for _ in range(5)]
        for peer in peers:
            await peer.reply()
        assert [v.connection.load.from_peer for v in opened.hall.visits] == [1, 2, 3, 4, 5]
        for peer in peers:
            await peer.hang_up()
        for _ in range(100):
            if not opened.door.open_connections:
                break
            await asyncio.sleep(0.01)
        assert opened.table.opened(b"\x7f\0\0\1").from_peer == 1
        assert len({v.connection.id for v in opened.hall.visits}) == 5
