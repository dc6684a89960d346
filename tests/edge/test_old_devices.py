"""A device that ends neither lines nor data as it should: its message is taken after a silence, then it is parted."""

from __future__ import annotations

import asyncio

from edge.fake_visit import Hall, Peer, open_door
from lockgate.mail import replies

QUEUED = replies.queued("1").wire()


async def test_a_lone_dot_and_silence_end_the_message_and_the_session(tmp_path):
    async with open_door(tmp_path, Hall(normalises=True), silence=5.0) as opened:
        peer = await Peer.dial(opened.port)
        await peer.envelope()
        await peer.ask("DATA")
        peer.send(b"Subject: scan\n\nbody\n.\n")
        await asyncio.sleep(0.05)
        await opened.pass_time(3)
        assert opened.hall.taken == []
        await opened.pass_time(4)
        assert await peer.rest() == QUEUED + replies.UNCLEAN_END.wire()
        assert opened.hall.taken == [b"Subject: scan\r\n\r\nbody\r\n"]
        assert ("mended",) in opened.hall.told


async def test_octets_in_time_make_the_dot_content(tmp_path):
    async with open_door(tmp_path, Hall(normalises=True), silence=5.0) as opened:
        peer = await Peer.dial(opened.port)
        await peer.envelope()
        await peer.ask("DATA")
        peer.send(b"Subject: scan\n\nbody\n.\n")
        await asyncio.sleep(0.05)
        await opened.pass_time(3)
        peer.send(b"MAIL FROM:<evil@x.test>\r\n.\r\n")
        assert (await peer.reply()).startswith("250")
        assert opened.hall.taken == [b"Subject: scan\r\n\r\nbody\r\n.\r\nMAIL FROM:<evil@x.test>\r\n"]
        assert [name for name, *_ in opened.hall.told].count("mail") == 1
        assert (await peer.ask("NOOP")).startswith("250")
        await peer.hang_up()


async def test_what_comes_after_the_silence_is_never_read(tmp_path):
    gate = asyncio.Event()
    async with open_door(tmp_path, Hall(normalises=True, gate=gate), silence=5.0) as opened:
        peer = await Peer.dial(opened.port)
        await peer.envelope()
        await peer.ask("DATA")
        peer.send(b"Subject: scan\n\nbody\n.\n")
        await asyncio.sleep(0.05)
        await opened.pass_time(7)
        peer.send(b"MAIL FROM:<evil@x.test>\r\nRCPT TO:<victim@y.test>\r\n")
        await asyncio.sleep(0.05)
        gate.set()
        assert await peer.rest() == QUEUED + replies.UNCLEAN_END.wire()
        assert [name for name, *_ in opened.hall.told].count("mail") == 1
        assert len(opened.hall.taken) == 1


async def test_nobody_else_ends_a_message_so(tmp_path):
    async with open_door(tmp_path, silence=5.0, rate_window=60.0) as opened:
        peer = await Peer.dial(opened.port)
        await peer.envelope()
        await peer.ask("DATA")
        peer.send(b"Subject: scan\n\nbody\n.\n")
        await asyncio.sleep(0.05)
        await opened.pass_time(30)
        assert opened.hall.taken == []
        peer.send(b"\r\n.\r\n")
        assert (await peer.reply()).startswith("550 5.6.11")
