"""Who the peer is: PROXY headers are believed from listed networks only."""

from __future__ import annotations

import socket
import struct

import pytest

from edge.fake_visit import Peer, open_door
from lockgate.edge.peers import plain_address
from lockgate.mail import replies

V1 = b"PROXY TCP4 192.0.2.77 198.51.100.9 5000 25\r\n"
MAPPED = (
    b"\r\n\r\n\0\r\nQUIT\n\x21\x21"
    + struct.pack("!H", 36)
    + socket.inet_pton(socket.AF_INET6, "::ffff:192.0.2.77")
    + socket.inet_pton(socket.AF_INET6, "2001:db8::1")
    + struct.pack("!HH", 5000, 25)
)


@pytest.mark.parametrize("header,listener", [(V1, "198.51.100.9:25"), (MAPPED, "2001:db8::1:25")])
async def test_a_listed_proxy_tells_the_peer(tmp_path, header, listener):
    async with open_door(tmp_path, proxies=("127.0.0.0/8", "2001:db8::/32")) as opened:
        peer = await Peer.dial(opened.port)
        for octet in header:
            peer.send(bytes([octet]))
        await peer.envelope()
        connection = opened.hall.visits[0].connection
        assert (connection.peer, connection.packed, connection.port) == ("192.0.2.77", b"\xc0\0\2\x4d", 5000)
        assert (connection.proxied_by, connection.listener) == ("127.0.0.1", listener)
        assert connection.load.from_peer == 1
        await peer.hang_up()


async def test_a_proxy_that_speaks_for_itself(tmp_path):
    async with open_door(tmp_path, proxies=("127.0.0.1/32",)) as opened:
        peer = await Peer.dial(opened.port)
        peer.send(b"PROXY UNKNOWN\r\n")
        assert (await peer.reply()).startswith("220")
        assert opened.hall.visits[0].connection.peer == "127.0.0.1"
        await peer.hang_up()


async def test_a_header_from_anybody_else_is_refused(tmp_path):
    async with open_door(tmp_path, proxies=("192.0.2.0/24",)) as opened:
        peer = await Peer.dial(opened.port)
        assert (await peer.reply()).startswith("220")
        peer.send(V1)
        assert await peer.rest() == replies.NOT_SMTP.wire()
        assert opened.hall.visits[0].connection.peer == "127.0.0.1"


async def test_a_listed_proxy_without_a_header_is_not_served(tmp_path):
    async with open_door(tmp_path, proxies=("127.0.0.1/32",)) as opened:
        peer = await Peer.dial(opened.port)
        peer.send(b"EHLO x\r\n")
        assert await peer.rest() == b""
        assert opened.notes.happened("connection refused") and not opened.hall.visits


async def test_a_header_that_does_not_come(tmp_path):
    async with open_door(tmp_path, proxies=("127.0.0.1/32",), proxy_timeout=5.0) as opened:
        peer = await Peer.dial(opened.port)
        peer.send(V1[:10])
        await opened.pass_time(6)
        assert await peer.rest() == b""


async def test_octets_behind_the_header_are_an_early_talker(tmp_path):
    async with open_door(tmp_path, proxies=("127.0.0.1/32",)) as opened:
        peer = await Peer.dial(opened.port)
        peer.send(V1 + b"EHLO x\r\n")
        assert replies.EARLY_TALKER.wire() in await peer.rest()
        assert opened.notes.happened("early talker")


@pytest.mark.parametrize(
    "text,plain",
    [
        ("192.0.2.1", ("192.0.2.1", b"\xc0\0\2\1")),
        ("::ffff:192.0.2.1", ("192.0.2.1", b"\xc0\0\2\1")),
        ("2001:DB8:0::1", ("2001:db8::1", socket.inet_pton(socket.AF_INET6, "2001:db8::1"))),
        ("fe80::1%eth0", ("fe80::1", socket.inet_pton(socket.AF_INET6, "fe80::1"))),
    ],
)
def test_one_form_per_peer(text, plain):
    assert plain_address(text) == plain
