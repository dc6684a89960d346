"""The relaxed form of a header field is what RFC 6376 3.4.2 says, step by step, whatever octets stand in it."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from lockgate.mail.dkim.canonical import relaxed_field

ODD = st.lists(st.sampled_from([b" ", b"\t", b"\r\n ", b"\r", b"\n", b"\v", b"\f", b"\x1c", b"\x85", b"a", b"b:"]))


@given(st.sampled_from([b"Subject", b"X-A \t"]), ODD.map(b"".join) | st.binary(max_size=40))
def test_blanks_and_nothing_else_are_made_one(name: bytes, value: bytes) -> None:
    one_line = re.sub(rb"[ \t\r\n]+", b" ", value)
    assert relaxed_field((name, value)) == name.lower().rstrip() + b":" + one_line.strip(b" ") + b"\r\n"
