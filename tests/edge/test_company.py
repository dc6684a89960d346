"""Messages that are complete wait for each other only while many come, and never get lost while they wait."""

from __future__ import annotations

import asyncio
import time

from edge.fake_visit import Hall, Peer, open_door
from flow.house import House
from lockgate.edge.company import Company
from lockgate.mail.envelope import Envelope
from lockgate.mail.recipient import RecipientId
from lockgate.testing.builders import address

LONG = 30.0


def company(started, *, everybody=1000, delay=LONG, most=16):
    return Company(asyncio.get_running_loop(), started.append, lambda: everybody, delay=delay, most=most)


async def test_few_never_wait():
    started = []
    gathering = company(started)
    for number in range(20):
        gathering.add(number)
        if number % 2:
            gathering.over()
            gathering.over()
    assert started == [*range(20)]


async def test_many_wait_until_enough_are_together():
    started = []
    gathering = company(started, most=4)
    for number in range(2):
        gathering.add(number)
    assert started == [0, 1]
    for number in range(2, 5):
        gathering.add(number)
    assert started == [0, 1]
    gathering.add(5)
    assert started == [*range(6)]


async def test_nobody_waits_for_more_than_there_are():
    started = []
    gathering = company(started, everybody=5)
    for number in range(6):
        gathering.add(number)
    assert started == [0, 1]
    gathering.add(6)
    assert started == [*range(7)]


async def test_nobody_waits_longer_than_the_delay():
    started = []
    gathering = company(started, delay=0.02)
    began = time.monotonic()
    for number in range(3):
        gathering.add(number)
    assert started == [0, 1]
    while len(started) < 3 and time.monotonic() - began < 10:
        await asyncio.sleep(0.005)
    assert started == [0, 1, 2]


async def test_a_message_that_waits_is_kept_although_its_peer_has_gone(tmp_path):
    hall = Hall(gate=asyncio.Event())
    async with open_door(tmp_path, hall=hall, gather_delay=0.3) as opened:
        peers = [await Peer.dial(opened.port) for _ in range(4)]
        for peer in peers:
            await peer.envelope()
            await peer.ask("DATA")
        others = [await Peer.dial(opened.port) for _ in range(3)]
        for peer in peers:
            peer.send(b"kept\r\n.\r\n")
            await peer.hang_up()
        assert others
        await asyncio.sleep(0.1)
        hall.gate.set()
        began = time.monotonic()
        while len(hall.taken) < 4 and time.monotonic() - began < 10:
            await asyncio.sleep(0.01)
        assert hall.taken == [b"kept\r\n"] * 4


async def test_a_visit_gives_its_transaction_away_when_the_data_end():
    house = House()
    guest = house.guest()
    guest.mail(Envelope(address("x@sender.test")))
    guest.rcpt(RecipientId(address("ben@contoso.com")))
    body = guest.begin()
    body.write(b"Subject: x\r\n\r\nHello\r\n")
    verdict = guest.done(body)
    guest.reset()  # the peer has gone before anybody was asked
    assert (await verdict).code == 250
    assert len(house.spool.messages) == 1
