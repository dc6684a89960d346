"""One message through a real socket, and every reply path of the door."""

from __future__ import annotations

import asyncio

import pytest

from edge.fake_visit import Hall, Peer, open_door
from lockgate.mail import replies
from lockgate.mail.envelope import Body
from lockgate.seams import Unavailable


async def test_a_message_is_taken_and_answered(tmp_path):
    async with open_door(tmp_path) as opened:
        peer = await Peer.dial(opened.port)
        assert await peer.reply() == "220 mx.lockgate.test ESMTP Lockgate"
        offers = await peer.ask("EHLO client.test")
        for word in ("PIPELINING", "SIZE 157286400", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES", "DSN", "CHUNKING"):
            assert word in offers
        assert "STARTTLS" not in offers
        said = await peer.ask("MAIL FROM:<a@client.test> SIZE=100 BODY=8BITMIME RET=HDRS ENVID=x+2By")
        assert said == "250 2.1.0 Sender OK"
        said = await peer.ask("RCPT TO:<b@lockgate.test> NOTIFY=SUCCESS,DELAY ORCPT=rfc822;b+40x")
        assert said == "250 2.1.5 Recipient OK"
        assert (await peer.ask("DATA")).startswith("354 ")
        peer.send(b"Subject: x\r\n\r\n..dot\r\n.\r\n")
        assert await peer.reply() == "250 2.0.0 Queued as 1"
        assert (await peer.ask("QUIT")).startswith("221 ")
        assert await peer.rest() == b""
        assert opened.hall.taken == [b"Subject: x\r\n\r\n.dot\r\n"]
        told = {entry[0]: entry[1:] for entry in opened.hall.told}
        envelope = told["mail"][0]
        assert (envelope.sender_text, envelope.size, envelope.body) == ("a@client.test", 100, Body.EIGHT_BIT)
        assert (envelope.ret, envelope.envid) == ("HDRS", "x+y")
        assert (told["rcpt"][0].orcpt, told["rcpt"][0].notify) == ("rfc822;b@x", ("SUCCESS", "DELAY"))
        assert told["greeted"] == ("client.test", True)


async def test_pipelined_commands_are_answered_in_one_segment(tmp_path):
    async with open_door(tmp_path) as opened:
        peer = await Peer.dial(opened.port)
        await peer.reply()
        await peer.ask("EHLO c.test")
        peer.send(b"MAIL FROM:<>\r\nRCPT TO:<b@x.test>\r\nRCPT TO:<c@x.test>\r\nDATA\r\n")
        said = await asyncio.wait_for(peer.reader.read(65536), 5)
        assert [line[:3] for line in said.split(b"\r\n")[:-1]] == [b"250", b"250", b"250", b"354"]
        await peer.hang_up()


async def test_mail_after_mail_in_one_segment(tmp_path):
    async with open_door(tmp_path) as opened:
        peer = await Peer.dial(opened.port)
        await peer.envelope()
        await peer.ask("DATA")
        peer.send(b"one\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<b@x.test>\r\nBDAT 5 LAST\r\ntwo\r\nQUIT\r\n")
        said = (await peer.rest()).split(b"\r\n")
        assert [line[:3] for line in said[:-1]] == [b"250", b"250", b"250", b"250", b"221"]
        assert opened.hall.taken == [b"one\r\n", b"two\r\n"]


async def test_commands_wait_while_the_end_of_data_is_judged(tmp_path):
    hall = Hall(gate=asyncio.Event())
    async with open_door(tmp_path, hall) as opened:
        peer = await Peer.dial(opened.port)
        await peer.envelope()
        await peer.ask("DATA")
        peer.send(b"one\r\n.\r\nMAIL FROM:<next@c.test>\r\n")
        peer.send(b"RSET\r\n" * 20_000)  # more than is kept: reading stops
        await asyncio.sleep(0.1)
        assert [entry for entry in hall.told if entry[0] == "mail"][1:] == []
        hall.gate.set()
        assert (await peer.reply()).startswith("250 2.0.0 Queued")
        assert (await peer.reply()).startswith("250 2.1.0")
        assert b"421 4.7.0" in await peer.rest()  # and the flood of RSET ends the connection


REFUSALS = [
    (Hall(connect=replies.blocked_by_operator("127.0.0.1")), [], "550 5.7.513"),
    (Hall(mail=lambda _: replies.SENDING_CLOSED), ["EHLO x", "MAIL FROM:<a@b.test>"], "550 5.7.1"),
    (Hall(rcpt=lambda _: replies.EDGE_BLOCKED), ["EHLO x", "MAIL FROM:<a@b.test>", "RCPT TO:<a@b.test>"], "550 5.4.1"),
    (
        Hall(begin=replies.STORAGE_UNAVAILABLE),
        ["EHLO x", "MAIL FROM:<a@b.test>", "RCPT TO:<a@b.test>", "DATA"],
        "452 4.3.1",
    ),
    (
        Hall(begin=replies.STORAGE_UNAVAILABLE),
        ["EHLO x", "MAIL FROM:<a@b.test>", "RCPT TO:<a@b.test>", "BDAT 2\r\nxx"],
        "452 4.3.1",
    ),
    (
        Hall(end=replies.HELD_REFUSED),
        ["EHLO x", "MAIL FROM:<a@b.test>", "RCPT TO:<a@b.test>", "DATA", "x\r\n."],
        "550 5.7.1",
    ),
    (
        Hall(breaks=Unavailable("disk full")),
        ["EHLO x", "MAIL FROM:<a@b.test>", "RCPT TO:<a@b.test>", "DATA", "x\r\n."],
        "452 4.3.1",
    ),
    (
        Hall(breaks=RuntimeError("surprise")),
        ["EHLO x", "MAIL FROM:<a@b.test>", "RCPT TO:<a@b.test>", "DATA", "x\r\n."],
        "451 4.3.0",
    ),
]


@pytest.mark.parametrize("hall,commands,expected", REFUSALS)
async def test_what_the_visit_refuses_is_said(tmp_path, hall, commands, expected):
    async with open_door(tmp_path, hall) as opened:
        peer = await Peer.dial(opened.port)
        said = await peer.reply()
        for command in commands:
            said = await peer.ask(command)
        assert said.startswith(expected)
        assert hall.taken == []


@pytest.mark.parametrize("where", ["connected", "greeted", "mail", "rcpt", "begin", "done"])
async def test_an_exception_of_a_visit_never_leaves_the_door(tmp_path, where):
    hall = Hall(raises={where: RuntimeError("surprise")})
    async with open_door(tmp_path, hall) as opened:
        peer = await Peer.dial(opened.port)
        peer.send(b"")
        said = [await peer.reply()]
        for command in ("EHLO x", "MAIL FROM:<>", "RCPT TO:<a@b.test>", "DATA", "x\r\n."):
            if said[-1].startswith("451"):
                break
            said.append(await peer.ask(command))
        assert said[-1].startswith("451 4.3.0") and "(id " in said[-1]
        assert opened.notes.alarms
        assert hall.taken == []


async def test_a_peer_that_goes_during_data_leaves_nothing(tmp_path):
    async with open_door(tmp_path) as opened:
        peer = await Peer.dial(opened.port)
        await peer.envelope()
        await peer.ask("DATA")
        peer.send(b"half a message\r\n")
        await asyncio.sleep(0.02)
        peer.writer.transport.abort()
        for _ in range(100):
            await asyncio.sleep(0.01)
            if not opened.door.open_connections:
                break
        assert opened.hall.visits[0].body.aborted
        assert opened.hall.taken == []
        assert opened.table.opened(b"\x7f\x00\x00\x01").in_all == 1


async def test_a_peer_that_closes_its_side_still_gets_its_answer(tmp_path):
    hall = Hall(gate=asyncio.Event())
    async with open_door(tmp_path, hall) as opened:
        peer = await Peer.dial(opened.port)
        await peer.envelope()
        await peer.ask("DATA")
        peer.send(b"x\r\n.\r\n")
        peer.writer.write_eof()
        await asyncio.sleep(0.05)
        hall.gate.set()
        assert (await peer.rest()).startswith(b"250 2.0.0")


@pytest.mark.parametrize("others", [0, 4])
@pytest.mark.parametrize("words", ["NOOP", "NOOP\r\nQUIT"])
async def test_what_was_said_before_a_peer_closes_its_side_is_answered(tmp_path, others, words):
    """Among many, what is said waits for the end of the loop's turn; the end of the stream may come within it."""
    async with open_door(tmp_path) as opened:
        idle = [await Peer.dial(opened.port) for _ in range(others)]
        for one in idle:
            await one.reply()
        peer = await Peer.dial(opened.port)
        await peer.envelope()
        peer.send(words.encode() + b"\r\n")
        peer.writer.write_eof()
        said = (await peer.rest()).splitlines()
        assert [line[:3] for line in said] == [b"250", b"221"][: len(words.split())]
        for one in idle:
            assert (await one.ask("NOOP")).startswith("250")
            await one.hang_up()
