"""What the next hop has taken is noted while the loop is busy with other things: a kill then repeats nothing."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import uvloop

from couriers.senders import cargo, courier, hop
from lockgate.couriers.finals import Finals
from lockgate.mail.outcome import Fate, Outcome
from peers.certificates import Authority
from peers.smtp_peer import ALL, PLAIN, Script, SmtpPeer


@pytest.mark.parametrize("extensions", [ALL, PLAIN, ("8BITMIME",)], ids=["chunking", "pipelining", "step by step"])
@pytest.mark.parametrize("tls", [False, True], ids=["clear", "tls"])
@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def test_a_busy_loop_notes_what_was_taken(tmp_path: Path, extensions: tuple[str, ...], tls: bool, loop: object) -> None:
    context = Authority(tmp_path).issue("mail.partner.test").server_context() if tls else None
    told: list[Outcome] = []

    def taken(outcomes: Sequence[Outcome]) -> None:
        told.extend(outcomes)

    async def carries() -> None:
        # Read in small bites, so that the end of data is out long before the answer.
        with SmtpPeer(Script(extensions=extensions, context=context, bite=60, pause=0.002)) as peer:
            sender = courier()
            for count in range(1, 4):
                errand = asyncio.ensure_future(sender.carry(hop(peer.host), cargo(), taken))
                while not sender._finals.due:
                    await asyncio.sleep(0)
                assert len(told) == count - 1
                _busy(sender.look, lambda count=count: len(told) == count)
                assert [outcome.fate for outcome in await errand] == [Fate.DELIVERED]
                assert len(told) == count, "it is told once"
                assert not sender._finals.due
            assert len(peer.mails) == 3
            assert len(peer.sessions) == 1
            await sender.close()

    with asyncio.Runner(loop_factory=loop) as runner:  # type: ignore[arg-type]
        runner.run(carries())


def _busy(look: object, over: object) -> None:
    """A loop that does not come round to its sockets; it looks between pieces of work."""
    deadline = time.monotonic() + 10
    while not over():  # type: ignore[operator]
        assert time.monotonic() < deadline, "the answer was not read"
        look()  # type: ignore[operator]
        time.sleep(0.001)


async def test_a_connection_that_breaks_after_the_end_of_data_is_not_awaited_for_ever() -> None:
    with SmtpPeer(Script(hang_up="final")) as peer:
        sender = courier()
        (outcome,) = await sender.carry(hop(peer.host), cargo())
        assert outcome.fate is Fate.DEFERRED
        sender.look()
        assert not sender._finals.due


class Ends:
    """A watched connection and its other side."""

    def __init__(self, finals: Finals) -> None:
        self.ours, self.theirs = socket.socketpair()
        self.ours.setblocking(False)
        self.heard: list[bytes] = []
        self.watched = finals.watch(self.ours.fileno(), self.heard.append)


def test_only_what_is_due_is_read() -> None:
    finals = Finals()
    one, two = Ends(finals), Ends(finals)
    one.watched.expect(due=True)
    for ends in (one, two):
        ends.theirs.send(b"250 ok\r\n")
    finals.look()
    assert (one.heard, two.heard) == ([b"250 ok\r\n"], [])
    assert two.ours.recv(100) == b"250 ok\r\n", "the rest is left to the owner"
    one.watched.expect(due=False)
    assert finals.due == 0


def test_an_answer_that_came_between_two_looks_is_not_missed() -> None:
    finals = Finals()
    ends = Ends(finals)
    other = Ends(finals)
    other.watched.expect(due=True)
    ends.theirs.send(b"354 go on\r\n")
    finals.look()  # sees that something is there which is not due
    assert ends.ours.recv(100) == b"354 go on\r\n"
    ends.watched.expect(due=True)
    ends.theirs.send(b"250 taken\r\n")
    _busy(finals.look, lambda: ends.heard)
    assert ends.heard == [b"250 taken\r\n"]


def test_a_descriptor_that_another_connection_has_now_is_not_forgotten_with_the_old_one() -> None:
    finals = Finals()
    old = Ends(finals)
    number = old.ours.fileno()
    old.watched.expect(due=True)
    old.ours.close()
    new = Ends(finals)
    if new.ours.fileno() != number:
        os.dup2(new.ours.fileno(), number)
        new.watched = finals.watch(number, new.heard.append)
    old.watched.end()
    assert finals.due == 0
    new.watched.expect(due=True)
    new.theirs.send(b"250 ok\r\n")
    _busy(finals.look, lambda: new.heard)


def test_a_listener_that_looks_again_does_no_harm() -> None:
    finals = Finals()
    ends = Ends(finals)
    watched = finals.watch(os.dup(ends.ours.fileno()), lambda data: (ends.heard.append(data), finals.look()))
    watched.expect(due=True)
    ends.theirs.send(b"250 ok\r\n")
    _busy(finals.look, lambda: ends.heard)
    assert ends.heard == [b"250 ok\r\n"]


async def test_contents_leave_no_faster_than_their_answers_are_read() -> None:
    """A next hop that lets hundreds begin at one instant may take them all at the next, and a kill repeats them."""
    begin, end = asyncio.Event(), asyncio.Event()
    waiting = 0

    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal waiting
        writer.write(b"220 x\r\n")
        await reader.readline()
        writer.write(b"250-x\r\n250 PIPELINING\r\n")
        await reader.readuntil(b"DATA\r\n")
        waiting += 1
        await begin.wait()
        writer.write(b"250 a\r\n250 b\r\n354 c\r\n")
        await reader.readuntil(b"\r\n.\r\n")
        await end.wait()
        writer.write(b"250 taken\r\n")
        await reader.readline()
        writer.close()

    server = await asyncio.start_server(session, "127.0.0.1", 0)
    host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
    sender, later = courier(), list[Callable[[], None]]()
    sender._dialler._voices._later = later.append
    errands = [asyncio.ensure_future(sender.carry(hop(host, concurrency=200), cargo())) for _ in range(150)]
    while waiting < 150:
        await asyncio.sleep(0.01)
    begin.set()
    for least, most in ((32, 96), (96, 128), (128, 150), (150, 150)):
        await asyncio.sleep(0.2)
        assert least <= sender._finals.due <= most
        if later:
            later.pop()()
    end.set()
    while not all(errand.done() for errand in errands):
        await asyncio.sleep(0.01)
        if later:
            later.pop()()
    assert {errand.result()[0].fate for errand in errands} == {Fate.DELIVERED}
    await sender.close()
    server.close()
