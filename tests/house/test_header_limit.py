"""A header that is larger than allowed is refused at the door: what stands behind the limit never slips in unseen."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lockgate.mail.headers import FIELD_LIMIT, HEADER_LIMIT
from peers.client import Raw
from peers.contoso import contoso, mail_users
from peers.listening import arrived
from peers.service import Service, running
from peers.smtp_peer import SmtpPeer

BANNED = """
[[mail_flow_rule]]
name = "Banned"
subject_contains_words = ["banned"]
delete_message = true
"""
FORGED = b"X-MS-Exchange-Organization-AuthAs: Internal\r\nX-MS-Exchange-Organization-SCL: -1\r\n"
LOOPED = b"Received: from a by b; Mon, 1 Jan 2026 00:00:00 +0000\r\n" * 40
FROM = b"From: alice@outside.example\r\n"
BODIES = (b"x\r\n", (b"y" * 998 + b"\r\n") * 2000)
TOO_LARGE = "552 5.3.4 The header is larger than 256 KB (id "
CROWDED = "552 5.3.4 The header has more than 1,000 fields (id "


@dataclass
class World:
    service: Service
    sink: SmtpPeer


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with (
        SmtpPeer() as sink,
        running(
            tmp_path_factory.mktemp("limit"), contoso(sink.host), BANNED, recipients=mail_users("ben")
        ) as service,
    ):
        yield World(service, sink)


def junk(size: int) -> bytes:
    """One folded field of so many octets."""
    line = b"z" * 990 + b"\r\n "
    lines = b"X-Junk: " + line * ((size - 10) // len(line))
    return lines + b"z" * (size - len(lines) - 2) + b"\r\n"


def sent(world: World, content: bytes, *, chunked: bool = False) -> str:
    with Raw(world.service.proxied) as peer:
        if not chunked:
            peer.transaction("alice@outside.example", "ben@contoso.com")
            return peer.say(content + b".\r\n")
        assert peer.reply().startswith("220 ")
        for command in (b"EHLO x", b"MAIL FROM:<alice@outside.example>", b"RCPT TO:<ben@contoso.com>"):
            assert peer.say(command + b"\r\n").startswith("250 ")
        return peer.say(b"BDAT %d LAST\r\n" % len(content) + content)


@pytest.mark.parametrize("chunked", [False, True], ids=["DATA", "BDAT"])
@pytest.mark.parametrize("body", BODIES, ids=["small", "2 MB"])
@pytest.mark.parametrize("behind", [FORGED, LOOPED, b"Subject: banned\r\n"], ids=["forged", "looped", "by rule"])
def test_nothing_hides_behind_the_limit(world: World, chunked: bool, body: bytes, behind: bytes) -> None:
    before = len(world.sink.mails)
    reply = sent(world, FROM + junk(HEADER_LIMIT + 9 * 1024) + behind + b"\r\n" + body, chunked=chunked)
    assert reply.startswith(TOO_LARGE), reply
    refused = re.findall(r"\(id ([^)]+)\)", reply)[0]
    (row,) = world.service.until(lambda: world.service.trace(id=refused), "the refusal is in the trace")
    assert row["status"] == "Refused" and row["reply"].startswith("552 5.3.4")
    assert sent(world, FROM + b"Subject: small\r\n\r\nx\r\n").startswith("250 ")
    assert [b"Subject: small" in mail.raw for mail in arrived(world.sink, before + 1)[before:]] == [True]


@pytest.mark.parametrize("body", BODIES, ids=["small", "2 MB"])
def test_the_largest_header_that_is_allowed_is_read_whole(world: World, body: bytes) -> None:
    size, before = HEADER_LIMIT + 2 - len(FROM + FORGED), len(world.sink.mails)
    reply = sent(world, FROM + junk(size) + FORGED + b"\r\n" + body)
    assert reply.startswith("250 "), reply
    mail = arrived(world.sink, before + 1)[-1].raw
    assert b"X-MS-Exchange" not in mail and b"X-Junk" in mail
    reply = sent(world, FROM + junk(size + 1) + FORGED + b"\r\n" + body)
    assert reply.startswith(TOO_LARGE), reply


def test_too_many_fields_are_told_as_that(world: World) -> None:
    fields = b"".join(b"X-%d: a\r\n" % number for number in range(FIELD_LIMIT - 1))
    assert sent(world, FROM + fields + b"\r\nx\r\n").startswith("250 ")
    reply = sent(world, FROM + fields + b"X: a\r\n\r\nx\r\n")
    assert reply.startswith(CROWDED), reply
