"""PROXY headers of both versions, cut anywhere, and garbage."""

from __future__ import annotations

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.wire.proxy import Origin, ProxyError, read_header

SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"


def v2(address: str, port: int, to: str, to_port: int, *, command: int = 1, extra: bytes = b"") -> bytes:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    block = socket.inet_pton(family, address) + socket.inet_pton(family, to) + struct.pack("!HH", port, to_port) + extra
    return SIGNATURE + bytes([0x20 | command, 0x21 if ":" in address else 0x11]) + struct.pack("!H", len(block)) + block


HEADERS = [
    (b"PROXY TCP4 192.0.2.1 192.0.2.9 5000 25\r\n", Origin("192.0.2.1", 5000, "192.0.2.9", 25)),
    (b"PROXY TCP6 2001:db8::1 2001:db8::2 5000 25\r\n", Origin("2001:db8::1", 5000, "2001:db8::2", 25)),
    (b"PROXY UNKNOWN\r\n", Origin("", 0)),
    (b"PROXY UNKNOWN ff::1 ff::2 1 2\r\n", Origin("", 0)),
    (v2("192.0.2.1", 5000, "192.0.2.9", 25), Origin("192.0.2.1", 5000, "192.0.2.9", 25)),
    (v2("2001:db8::1", 5, "2001:db8::2", 25, extra=b"\x04\0\x01x"), Origin("2001:db8::1", 5, "2001:db8::2", 25)),
    (v2("192.0.2.1", 5000, "192.0.2.9", 25, command=0), Origin("", 0)),
]


@pytest.mark.parametrize("header,origin", HEADERS)
def test_headers_are_read_wherever_they_are_cut(header, origin):
    for end in range(len(header)):
        assert read_header(header[:end]) is None
    assert read_header(header + b"EHLO x\r\n") == (origin, len(header))


@pytest.mark.parametrize(
    "data",
    [
        b"EHLO x\r\n",
        b"\x16\x03\x01",
        b"PROXY TCP4 192.0.2.1 192.0.2.9 5000\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.9 5000 65536\r\n",
        b"PROXY TCP4 192.0.2.1 192.0.2.9 -1 25\r\n",
        b"PROXY TCP4 192.0.2.01 192.0.2.9 1 25\r\n",
        b"PROXY TCP4 2001:db8::1 2001:db8::2 1 25\r\n",
        b"PROXY TCP6 fe80::1%eth0 2001:db8::2 1 25\r\n",
        b"PROXY UDP4 192.0.2.1 192.0.2.9 1 25\r\n",
        b"PROXY " + b"x" * 200,
        SIGNATURE + b"\x31\x11\0\x0c" + bytes(12),
        SIGNATURE + b"\x22\x11\0\x0c" + bytes(12),
        SIGNATURE + b"\x21\x11\0\x04" + bytes(4),
        SIGNATURE + b"\x21\x31\0\x0c" + bytes(12),
        SIGNATURE + b"\x21\x11\xff\xff",
    ],
)
def test_what_is_no_header_is_refused(data):
    with pytest.raises(ProxyError):
        read_header(data)


@given(st.sampled_from([b"", b"PROXY ", b"PROXY TCP4 ", SIGNATURE, SIGNATURE + b"\x21"]), st.binary(max_size=60))
def test_nothing_else_is_raised(start, rest):
    try:
        read = read_header(start + rest)
    except ProxyError:
        return
    assert read is None or isinstance(read[0], Origin)
