"""How much of a header is read: 256 KiB and 1,000 fields, and what is behind them is never taken for not there."""

from __future__ import annotations

import pytest

from lockgate.mail.headers import FIELD_LIMIT, HEAD, HEADER_LIMIT, message_of, read_headers
from lockgate.mail.message import Message

END = b"\r\n\r\n"


def header(size: int) -> bytes:
    """A header of so many octets, its empty line not counted."""
    line = b"X-Junk: " + b"z" * 990 + b"\r\n"
    lines = line * (size // len(line) - 1)
    return lines + b"X-Last: " + b"z" * (size - len(lines) - len(b"X-Last: "))


def seen(content: bytes) -> Message:
    """As the door sees it: HEAD octets, and how many there are."""
    return message_of("id", content[:HEAD], len(content), "here")


@pytest.mark.parametrize("over,cut", [(-1, False), (0, False), (1, True), (HEAD - HEADER_LIMIT, True), (10**6, True)])
@pytest.mark.parametrize("body", [b"", b"x\r\n" * 400_000])
def test_a_header_over_the_limit_is_cut(over: int, cut: bool, body: bytes) -> None:
    message = seen(header(HEADER_LIMIT + over) + END + body)
    assert (message.cut, message.crowded) == (cut, False)


def test_a_header_that_goes_on_behind_what_is_seen_is_cut() -> None:
    assert message_of("id", b"Subject: x\r\n", 1000, "here").cut
    assert not message_of("id", b"Subject: x\r\n", 12, "here").cut
    assert not message_of("id", b"Subject: x\r\n\r\n", 1000, "here").cut
    assert not message_of("id", b"\r\nx", 1000, "here").cut


def test_more_fields_than_allowed_are_told_as_that() -> None:
    fields = b"X: y\r\n" * FIELD_LIMIT
    assert not seen(fields + END[2:]).cut
    message = seen(fields + b"X: y" + END)
    assert message.cut and message.crowded and len(message.fields) == FIELD_LIMIT
    headers = read_headers(fields + b"X: y" + END)
    assert headers.oversize and headers.crowded
