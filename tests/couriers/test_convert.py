"""What a server with fewer abilities gets: the same text in other clothes, or nothing."""

from __future__ import annotations

import email
import email.policy

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from couriers.senders import cargo, courier, hop
from lockgate.couriers.convert import Prepared, has_long_line, prepare, quoted_printable
from lockgate.mail.address import parse_address
from lockgate.mail.envelope import Body, Envelope
from lockgate.mail.octets import SeenOctets
from lockgate.mail.outcome import Fate
from lockgate.mail.reply import Reply
from lockgate.wire.smtp.client import Capabilities, stuffed
from peers.smtp_peer import ALL, PLAIN, Script, SmtpPeer

SEVEN = Capabilities()
EIGHT = Capabilities(eight_bit=True)
ENVELOPE = Envelope(parse_address("a@x.test"), Body.EIGHT_BIT)

TEXT = "Größe: ein Euro = 1 €\r\n.\r\nEnde \r\n\r\n".encode()


def converted(content: bytes, offered: Capabilities = SEVEN) -> bytes:
    prepared = prepare(content, ENVELOPE, offered)
    assert isinstance(prepared, Prepared), prepared
    return prepared.content


def test_a_text_becomes_quoted_printable() -> None:
    head = b"Subject: x\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\nX: y\r\n\r\n"
    content = head + TEXT
    done = converted(content)
    assert done.isascii()
    assert done.startswith(head.replace(b"8bit", b"quoted-printable"))
    assert email.message_from_bytes(done).get_payload(decode=True).replace(b"\n", b"\r\n").replace(
        b"\r\r", b"\r"
    ) == TEXT
    assert converted(content, EIGHT) == content


def test_parts_are_encoded_alone_and_the_rest_stays_to_the_octet() -> None:
    head = b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed;\r\n boundary="b 1"\r\n'
    head += b"Content-Transfer-Encoding: 8bit\r\n\r\n"
    plain = b"--b 1\r\nContent-Type: text/plain\r\n\r\nplain text --b 1\r\n"
    text = b"--b 1\r\nContent-Type: text/html; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + TEXT
    octets = bytes(range(128, 256)) * 3
    data = b"--b 1\r\nContent-Type: application/x\r\nContent-Transfer-Encoding: 8bit\r\n\r\n" + octets + b"\r\n"
    content = head + b"preamble\r\n" + plain + text + b"\r\n" + data + b"--b 1--\r\nepilogue\r\n"
    done = converted(content)
    assert done.isascii()
    assert plain in done
    parsed = email.message_from_bytes(done)
    first, second, third = parsed.get_payload()
    assert first.get_payload() == "plain text --b 1"
    assert second.get_payload(decode=True).replace(b"\r\n", b"\n").rstrip() == TEXT.replace(b"\r\n", b"\n").rstrip()
    assert third.get_payload(decode=True) == octets
    assert b"Content-Transfer-Encoding: 7bit" in done
    assert done.endswith(b"--b 1--\r\nepilogue\r\n")


@pytest.mark.parametrize(
    "content",
    [
        b"Content-Type: multipart/signed; boundary=b\r\n\r\n--b\r\n\r\n\xe4\r\n--b\r\n\r\nsig\r\n--b--\r\n",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\n\xe4\r\n",
        b"Content-Type: multipart/mixed; boundary=b; boundary=c\r\n\r\n--b\r\n\r\n\xe4\r\n--b--\r\n",
        b"Content-Type: multipart/mixed\r\n\r\n\xe4\r\n",
        b"Content-Type: text/plain\r\nContent-Type: text/html\r\n\r\n\xe4\r\n",
        b"Content-Type: message/rfc822\r\n\r\nSubject: y\r\n\r\n\xe4\r\n",
        b"Content-Transfer-Encoding: base64\r\n\r\n\xe4\r\n",
        b"Subject: \xe4\r\n\r\nhello\r\n",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\nX: \xe4\r\n\r\nx\r\n--b--\r\n",
        b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n\r\nx\r\n--b--\r\n\xe4\r\n",
        b"no header at all \xe4\r\n",
    ],
)
def test_what_cannot_be_converted_safely_fails_cleanly(content: bytes) -> None:
    reply = prepare(content, ENVELOPE, SEVEN)
    assert isinstance(reply, Reply)
    assert reply.enhanced == "5.6.3"
    assert converted(content, EIGHT) == content


@pytest.mark.parametrize("bad", [b"a\rb", b"a\nb", b"a\0b", b"\n.\n", b"\r.\r", b"\r\n.\n", b"\n.\r\n", b"\r\n\0.\r\n"])
def test_bare_line_ends_and_nul_never_leave(bad: bytes) -> None:
    for content in (b"A: b\r\n\r\n" + bad + b"\r\n", bad, b"A: " + bad):
        reply = prepare(content, ENVELOPE, EIGHT)
        assert isinstance(reply, Reply)
        assert reply.enhanced == "5.6.0"


LINES = st.lists(st.sampled_from([b"A: b", b"", b".", b".x", "é".encode(), b"y" * 999, b"text"]), max_size=8)


@given(LINES, st.sampled_from([SEVEN, EIGHT, Capabilities(eight_bit=True, utf8=True)]), st.booleans())
def test_octets_that_were_looked_at_before_are_sent_as_if_looked_at_now(
    lines: list[bytes], offered: Capabilities, utf8: bool
) -> None:
    content = b"".join([line + b"\r\n" for line in lines])
    envelope = Envelope(parse_address("a@x.test"), Body.EIGHT_BIT, utf8=utf8)
    dotted = content.startswith(b".") or b"\r\n." in content
    now = prepare(content, envelope, offered)
    before = prepare(content, envelope, offered, SeenOctets(eight_bit=not content.isascii(), dotted=dotted))
    if isinstance(now, Reply) or isinstance(before, Reply):
        assert now == before
        return
    assert (now.content, now.eight_bit, now.utf8) == (before.content, before.eight_bit, before.utf8)
    assert stuffed(now.content, dotted=now.dotted) == stuffed(before.content, dotted=before.dotted)


def test_long_lines() -> None:
    at_limit = b"A: b\r\n\r\n" + b"x" * 998 + b"\r\n"
    assert converted(at_limit, EIGHT) == at_limit
    over = b"A: b\r\n\r\n" + b"x" * 999 + b"\r\n"
    done = converted(over, EIGHT)
    assert max(map(len, done.split(b"\r\n"))) <= 76
    assert email.message_from_bytes(done).get_payload(decode=True).strip() == b"x" * 999
    for signed in (b"DKIM-Signature: v=1\r\n" + over, b"Content-Type: multipart/signed; boundary=b\r\n" + over):
        assert converted(signed, EIGHT) == signed


@given(st.binary(max_size=300).map(lambda b: b.replace(b"\r", b"").replace(b"\n", b"\r\n").replace(b"\0", b"")))
def test_quoted_printable_says_the_same(body: bytes) -> None:
    import quopri

    done = quoted_printable(body)
    assert done.isascii()
    assert max(map(len, done.split(b"\r\n"))) <= 76
    assert quopri.decodestring(done.replace(b"\r\n", b"\n")) == body.replace(b"\r\n", b"\n")


@given(st.lists(st.integers(0, 1200), max_size=12))
def test_long_lines_are_found_wherever_they_are(lengths: list[int]) -> None:
    content = b"\r\n".join(b"x" * length for length in lengths)
    assert has_long_line(content) == any(length > 998 for length in lengths)


@given(st.lists(st.sampled_from([b".", b"\r\n", b"a", b"..", b"\r\n.\r\n"]), max_size=30).map(b"".join))
def test_stuffing_is_undone_by_any_reader(content: bytes) -> None:
    wire = stuffed(content)
    lines = wire.split(b"\r\n")
    assert lines[-2:] == [b".", b""]
    assert b"." not in lines[:-2]
    read = b"\r\n".join(line[1:] if line.startswith(b".") else line for line in lines[:-2])
    expected = content.removesuffix(b"\r\n")
    assert read == expected


async def test_internationalised_mail() -> None:
    content = "Subject: für\r\n\r\nhello\r\n".encode()
    plain = b"Subject: x\r\n\r\nhello\r\n"
    with SmtpPeer(Script(extensions=ALL)) as peer:
        (outcome,) = await courier().carry(hop(peer.host), cargo("jörg@x.test", content=content, utf8=True))
        assert outcome.fate is Fate.DELIVERED
        assert peer.mails[0].mail.endswith("SMTPUTF8")
        assert peer.mails[0].content == content
    with SmtpPeer(Script(extensions=PLAIN)) as peer:
        sender = courier()
        (outcome,) = await sender.carry(hop(peer.host), cargo(content=content, utf8=True))
        assert (outcome.fate, outcome.reply.enhanced) == (Fate.FAILED, "5.6.7")
        outcomes = await sender.carry(hop(peer.host), cargo("a@x.test", "jörg@x.test", content=plain, utf8=True))
        assert [o.fate for o in outcomes] == [Fate.DELIVERED, Fate.FAILED]
        assert outcomes[1].reply.enhanced == "5.6.7"
        assert "SMTPUTF8" not in peer.mails[0].mail
        (outcome,) = await sender.carry(hop(peer.host), cargo(sender="jürgen@x.test", content=plain, utf8=True))
        assert outcome.reply.enhanced == "5.6.7"
        assert len(peer.mails) == 1


async def test_a_server_without_8bitmime_gets_seven_bits_on_the_wire() -> None:
    content = b"Content-Type: text/plain; charset=utf-8\r\n\r\n" + TEXT
    with SmtpPeer(Script(extensions=("PIPELINING",))) as peer:
        (outcome,) = await courier().carry(hop(peer.host), cargo(content=content, body=Body.EIGHT_BIT))
        assert outcome.fate is Fate.DELIVERED
        assert peer.mails[0].raw.isascii()
        assert "BODY" not in peer.mails[0].mail


@pytest.mark.parametrize("extensions", [ALL, PLAIN])
async def test_a_signature_survives(extensions: tuple[str, ...]) -> None:
    key = rsa.generate_private_key(65537, 2048)
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    public = key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    content = (
        b"From: a@x.test\r\nTo: b@y.test\r\nSubject: dots \r\n\r\n.\r\n..two\r\n\xc3\xa4 tail  \r\n"
        + b"y" * 998
        + b"\r\n\r\n\r\n"
    )
    signed = dkim.sign(content, b"sel", b"x.test", pem, include_headers=[b"from", b"to", b"subject"]) + content
    with SmtpPeer(Script(extensions=extensions)) as peer:
        (outcome,) = await courier().carry(hop(peer.host), cargo(content=signed))
        assert outcome.fate is Fate.DELIVERED
        received = peer.mails[0].content

    def txt(name: bytes, timeout: float = 5) -> bytes:
        import base64

        return b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)

    assert dkim.verify(received, dnsfunc=txt)
    assert not dkim.verify(received + b"more\r\n", dnsfunc=txt)


@pytest.mark.parametrize("extensions", [ALL, PLAIN, ("8BITMIME",)])
@pytest.mark.parametrize(
    "variant",
    [
        b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\r\n.\r", b"\r\r\n.\r\r\n", b"\r\n.\r\r\n",
        b"\r\0\n.\r\n", b"\r\n.\0\r\n", b"\0\r\n.\r\n", b"\r\n.\r\n\0", b"\n\n.\r\n", b"\r\n\r.\r\n", b"\r\n.\r\n",
        b"\r\n..\r\n",
    ],
)  # fmt: skip
async def test_outbound_smuggling(variant: bytes, extensions: tuple[str, ...]) -> None:
    """What a slow reader gets, octet by octet, is one message without bare line ends, or nothing."""
    content = b"A: b\r\n\r\ntext" + variant + b"MAIL FROM:<evil@x.test>\r\nRCPT TO:<v@x.test>\r\nDATA\r\nevil\r\n.\r\n"
    with SmtpPeer(Script(extensions=extensions, bite=1)) as peer:
        (outcome,) = await courier().carry(hop(peer.host), cargo(content=content))
        bare = content.count(b"\r") != content.count(b"\r\n") or content.count(b"\n") != content.count(b"\r\n")
        if bare or b"\0" in content:
            assert (outcome.fate, outcome.reply.enhanced) == (Fate.FAILED, "5.6.0")
            assert peer.mails == []
        else:
            assert outcome.fate is Fate.DELIVERED
            assert [mail.content for mail in peer.mails] == [content]
        wire = peer.sessions[0].clear
        assert b"\0" not in wire
        assert wire.count(b"\r") == wire.count(b"\n") == wire.count(b"\r\n")
