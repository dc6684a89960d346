"""Octets arrive exactly as sent but for our trace fields, and no end of data is taken for one that is none."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat

from fixtures_folder import fixtures_folder
from peers.client import Raw
from peers.contoso import contoso, mail_users
from peers.listening import arrived
from peers.service import Service, running
from peers.smtp_peer import Script, SmtpPeer

HEAD = b"From: alice@outside.example\r\nTo: ben@contoso.com\r\nSubject: octets\r\n\r\n"
TRACE = re.compile(rb"Received: [^\r\n]*\r\n(?:[ \t][^\r\n]*\r\n)*X-[A-Za-z-]+: mx\.lockgate\.test; [0-9a-f-]+\r\n")


@dataclass
class World:
    service: Service
    sink: SmtpPeer


@pytest.fixture(scope="module", params=[True, False], ids=["sink with CHUNKING", "sink with DATA"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    script = Script() if request.param else Script(extensions=("PIPELINING", "8BITMIME", "SMTPUTF8"))
    with (
        SmtpPeer(script) as sink,
        running(tmp_path_factory.mktemp("bytes"), contoso(sink.host), recipients=mail_users("ben")) as service,
    ):
        yield World(service, sink)


LINES = b"".join(bytes([97 + number % 26]) * 76 + b"\r\n" for number in range(64))
MESSAGES = {
    "8-bit": HEAD + bytes(range(0x80, 0x100)) + b"\r\n" + "häßlich £ \u202e".encode() + b"\r\n",
    "controls": HEAD + bytes(o for o in range(1, 32) if o not in (10, 13)) + b"\x7f\r\n",
    "line of 998": HEAD + b"x" * 998 + b"\r\n" + b"y\r\n",
    "line of 1000 with its end": HEAD + b"x" * 998 + b"\r\n" + b"." * 998 + b"\r\n",
    "dots": HEAD + b".\r\n..\r\n...\r\n.hidden\r\n \r\n.\r\nQUIT\r\n.\r\n",
    "dot first": b".: strange\r\n" + HEAD + b"body\r\n",
    "blanks at line ends": HEAD + b"a \r\n\t\r\n  b\t \r\n\r\n\r\n",
    "empty body": HEAD,
    "no separator": b"Subject: only a header\r\n",
    "nothing at all": b"",
    "only an empty line": b"\r\n",
    "header as it is": b"subject:x\r\nX-Odd:\ta\r\n folded\r\nFrom : spaced\r\n\r\nbody\r\n",
    "5 MB": HEAD + LINES * (5 * 1024 * 1024 // len(LINES) + 1),
}


def stuffed(content: bytes) -> bytes:
    """RFC 5321 4.5.2."""
    return (b"." if content.startswith(b".") else b"") + content.replace(b"\r\n.", b"\r\n..") + b".\r\n"


def without_trace(content: bytes) -> bytes:
    """What follows our Received field and our mark, of which there is one each."""
    found = TRACE.match(content)
    assert found, content[:400]
    return content[found.end() :]


def sent(world: World, octets: bytes) -> str:
    """One message by DATA, octet by octet."""
    with Raw(world.service.proxied) as peer:
        peer.transaction("alice@outside.example", "ben@contoso.com")
        return peer.say(octets)


@pytest.mark.parametrize("name", MESSAGES)
def test_every_octet_arrives(world: World, name: str) -> None:
    content, before = MESSAGES[name], len(world.sink.mails)
    reply = sent(world, stuffed(content))
    assert reply.startswith("250 "), reply
    assert without_trace(arrived(world.sink, before + 1)[-1].content) == content


def test_every_octet_arrives_by_chunks(world: World) -> None:
    content, before = MESSAGES["8-bit"] + b".\r\n.\r\n", len(world.sink.mails)
    with Raw(world.service.proxied) as peer:
        assert peer.reply().startswith("220 ")
        peer.say(b"EHLO raw.test\r\n")
        peer.say(b"MAIL FROM:<alice@outside.example> BODY=8BITMIME\r\n")
        peer.say(b"RCPT TO:<ben@contoso.com>\r\n")
        for cut in (content[:7], content[7:100]):
            assert peer.say(b"BDAT %d\r\n" % len(cut) + cut).startswith("250 ")
        assert peer.say(b"BDAT %d LAST\r\n" % len(content[100:]) + content[100:]).startswith("250 ")
    assert without_trace(arrived(world.sink, before + 1)[-1].content) == content


def test_a_dkim_signature_still_verifies(world: World) -> None:
    key = rsa.generate_private_key(65537, 2048)
    private = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    public = base64.b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    body = b"trailing blanks  \r\n.dots\r\n\r\n" + "grüße\r\n".encode() + b"\r\n\r\n"
    message = HEAD + body
    signature = dkim.sign(
        message, b"s", b"outside.example", private, canonicalize=(b"simple", b"simple"),
        include_headers=[b"from", b"to", b"subject"],
    )  # fmt: skip
    before = len(world.sink.mails)
    assert sent(world, stuffed(signature + message)).startswith("250 ")
    got = arrived(world.sink, before + 1)[-1].content

    def dnsfunc(name: bytes, timeout: int = 5) -> bytes:
        return b"v=DKIM1; k=rsa; p=" + public

    assert dkim.verify(got, dnsfunc=dnsfunc)
    assert not dkim.verify(got.replace(b"dots", b"d0ts"), dnsfunc=dnsfunc)


# --- the end of data --------------------------------------------------------------------------------------------------

OWN = {
    "LF.CRLF": b"\n.\r\n", "CRLF.CR": b"\r\n.\r", "CR.CR": b"\r.\r", "CR.LF": b"\r.\n", "LF.CR": b"\n.\r",
    "CRLF.LFCRLF": b"\r\n.\n\r\n", "CRCRLF.CRLF": b"\r\r\n.\r\n", "CRLFCR.CRLF": b"\r\n\r.\r\n",
    "NUL": b"\r\n.\0\r\n", "CRLF\0.CRLF": b"\r\n\0.\r\n", "CRLF..CRLF": b"\r\n..\r\n", "CRLF. CRLF": b"\r\n. \r\n",
    "VT": b"\x0b.\x0b", "NEL": b"\xc2\x85.\xc2\x85", "LS": b"\xe2\x80\xa8.\xe2\x80\xa8",
}  # fmt: skip
SECOND = (
    b"MAIL FROM:<eve@evil.example>\r\nRCPT TO:<ben@contoso.com>\r\nDATA\r\n"
    b"Subject: smuggled\r\n\r\nsmuggled\r\n.\r\n"
)


@pytest.mark.parametrize("name", OWN)
def test_what_is_no_end_of_data_never_makes_two_messages(world: World, name: str) -> None:
    smuggle(world, OWN[name])


def test_the_published_ends_of_data_never_make_two_messages(world: World) -> None:
    published = json.loads((fixtures_folder("smtp") / "end-of-data-dev.json").read_text("utf-8"))
    assert published
    for one in published:
        smuggle(world, base64.b64decode(one["bytes_b64"]))


def smuggle(world: World, end: bytes) -> None:
    """A message with `end` in it and a second one behind; at most one may come of it."""
    before = len(world.sink.mails)
    with Raw(world.service.proxied) as peer:
        peer.transaction("alice@outside.example", "ben@contoso.com")
        answer = peer.say(HEAD + b"first" + end + SECOND)
        peer.socket.settimeout(1)
        if answer.startswith("250 "):
            assert peer.say(b"NOOP\r\n").startswith("250 2.0.0 OK"), "one answer to one message"
            kept = arrived(world.sink, before + 1)[-1]
            content = without_trace(kept.content)
            assert b"alice@outside.example" in kept.mail.encode() and b"smuggled" in content
            assert not re.search(rb"(?<!\r)\n|\r(?!\n)", content)
            assert b"\r\n.\r\n" not in kept.raw[:-5] or kept.raw == kept.content, "stuffed, or counted in a chunk"
        else:
            assert answer.startswith("5"), answer
    # One more message, so that a second one would have had the time to arrive before it.
    count = before + answer.startswith("250 ")
    assert sent(world, stuffed(HEAD + b"afterwards\r\n")).startswith("250 ")
    arrived(world.sink, count + 1)
    assert len(world.sink.mails) == count + 1
    assert not [mail for mail in world.sink.mails if "eve@" in mail.mail]
