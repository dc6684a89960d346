"""The end of data: CRLF.CRLF alone ends a message, wherever the segments are cut, so nothing can be smuggled."""

from __future__ import annotations

import base64
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fixtures_folder import fixtures_folder
from lockgate.mail import replies
from lockgate.mail.octets import SeenOctets
from lockgate.wire.smtp.client import stuffed as written
from lockgate.wire.smtp.data import ChunkReader, DataReader, Flaw, Limits
from lockgate.wire.smtp.events import Signal, Spoiled
from lockgate.wire.smtp.manners import manners
from lockgate.wire.smtp.server import ServerSession

VARIANTS = {
    "LF.LF": b"\n.\n",
    "LF.CRLF": b"\n.\r\n",
    "CRLF.LF": b"\r\n.\n",
    "CR.CR": b"\r.\r",
    "CR.CRLF": b"\r.\r\n",
    "CRLF.CR": b"\r\n.\r",
    "CR.LF": b"\r.\n",
    "LF.CR": b"\n.\r",
    "CRLF.CRCRLF": b"\r\n.\r\r\n",
    "CRCRLF.CRCRLF": b"\r\r\n.\r\r\n",
    "CRLF.NUL CRLF": b"\r\n.\0\r\n",
    "CRLF NUL.CRLF": b"\r\n\0.\r\n",
    "CR NUL LF.CRLF": b"\r\0\n.\r\n",
    "LFCR.LFCR": b"\n\r.\n\r",
    "VT.CRLF": b"\x0b.\r\n",
    "U+0085 . U+0085": b"\xc2\x85.\xc2\x85",
}
BARE = [name for name in VARIANTS if not name.startswith(("VT", "U+"))]

FIRST = b"Subject: outer\r\n\r\nbody"
SECOND = b"MAIL FROM:<evil@x.test>\r\nRCPT TO:<victim@y.test>\r\nDATA\r\nSubject: inner\r\n\r\nsmuggled\r\n.\r\n"


class Spoken:
    """A session after DATA, its driver and what came of it."""

    def __init__(self, *, normalise: bool = False) -> None:
        self.session = ServerSession(manners("mx.test", size_limit=10**6, starttls=False, normalise=normalise))
        self.messages: list[bytes] = []
        self.chunks: list[bytes] = []
        self.out = b""
        self.hear(b"EHLO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n")
        assert self.out.endswith(replies.SEND_DATA.wire())

    def hear(self, data: bytes) -> None:
        session = self.session
        if session.closing:
            return
        session.receive(data)
        while (event := session.next()) is not None:
            if event is Signal.BEGIN:
                self.chunks = []
                session.take_body(self.chunks.append)
            elif event is Signal.END:
                self.messages.append(b"".join(self.chunks))
                session.reply(replies.queued("x"))
            elif isinstance(event, Spoiled):
                session.reply(event.reply or replies.UNFORESEEN)
                if event.reply is replies.BARE_LINE_ENDS:
                    session.close()
            elif session.waiting is not None:
                session.reply(replies.OK)
        self.out += session.take()


def cuts(stream: bytes) -> list[list[bytes]]:
    """The stream whole, byte by byte, and cut in two at every place."""
    return [
        [stream],
        [stream[i : i + 1] for i in range(len(stream))],
        *([stream[:i], stream[i:]] for i in range(1, len(stream))),
    ]


def never_two(variant: bytes) -> None:
    stream = FIRST + variant + SECOND
    for pieces in cuts(stream):
        spoken = Spoken()
        for piece in pieces:
            spoken.hear(piece)
        assert len(spoken.messages) <= 1, pieces
        for message in spoken.messages:
            assert b"\r" not in message.replace(b"\r\n", b"") and b"\n" not in message.replace(b"\r\n", b"")
            assert b"smuggled" in message  # what followed is still part of the first one
        if not spoken.messages:
            assert replies.BARE_LINE_ENDS.wire() in spoken.out and spoken.session.closing


@pytest.mark.parametrize("name", VARIANTS)
def test_no_variant_ends_a_message(name):
    never_two(VARIANTS[name])


@pytest.mark.parametrize("name", BARE)
def test_bare_line_ends_and_nul_are_refused(name):
    spoken = Spoken()
    spoken.hear(FIRST + VARIANTS[name] + b"x\r\n.\r\n")
    assert spoken.messages == [] and replies.BARE_LINE_ENDS.wire() in spoken.out


def test_published_variants():
    for case in json.loads((fixtures_folder("smtp") / "end-of-data-dev.json").read_text()):
        assert not case["contains_legal_end"]
        never_two(base64.b64decode(case["bytes_b64"]))


@pytest.mark.parametrize("name", [name for name in BARE if "NUL" not in name])
def test_a_normalising_listener_keeps_one_message_with_clean_lines(name):
    stream = FIRST + VARIANTS[name] + SECOND
    for pieces in cuts(stream):
        spoken = Spoken(normalise=True)
        for piece in pieces:
            spoken.hear(piece)
        (message,) = spoken.messages
        assert b"\r" not in message.replace(b"\r\n", b"") and b"\n" not in message.replace(b"\r\n", b"")
        assert b"smuggled" in message


def test_a_legal_end_is_found_wherever_it_is_cut():
    stream = b"..stuffed\r\n.\r\nMAIL FROM:<>\r\nRCPT TO:<x@y.test>\r\nDATA\r\n\r\n.\r\n"
    for pieces in cuts(stream):
        spoken = Spoken()
        for piece in pieces:
            spoken.hear(piece)
        assert spoken.messages == [b".stuffed\r\n", b"\r\n"], pieces


@pytest.mark.parametrize("stream,message", [(b".\r\n", b""), (b"\r\n.\r\n", b"\r\n"), (b"..\r\n.\r\n", b".\r\n")])
def test_small_messages(stream, message):
    for pieces in cuts(stream):
        spoken = Spoken()
        for piece in pieces:
            spoken.hear(piece)
        assert spoken.messages == [message]


def stuffed(message: bytes) -> bytes:
    lines = message.split(b"\r\n")
    return b"\r\n".join(b"." + line if line.startswith(b".") else line for line in lines)


clean = st.lists(st.text("a. é\t", max_size=6).map(lambda line: f"{line}\r\n".encode()), max_size=6).map(b"".join)


@given(clean, st.lists(st.integers(0, 80), max_size=8), st.sampled_from([b"", b"RSET\r\n"]))
def test_unstuffing_undoes_stuffing(message, places, after):
    stream = stuffed(message) + b".\r\n" + after
    kept: list[bytes] = []
    reader = DataReader(kept.append, Limits(10**6))
    rest, at = None, 0
    for place in [*sorted(min(p, len(stream)) for p in places), len(stream)]:
        piece, at = stream[at:place], place
        if rest is None:
            rest = reader.feed(piece) if piece else None
        else:
            rest += piece
    assert (b"".join(kept), rest, reader.flaw) == (message, after, None)
    assert reader.size == len(message)
    dotted = message.startswith(b".") or b"\r\n." in message
    assert reader.seen == SeenOctets(eight_bit=not message.isascii(), dotted=dotted)
    if not dotted:
        assert written(message, dotted=False) == written(message)


@pytest.mark.parametrize("before", [0, 1, 8 * 1024 - 3, 8 * 1024, 70_000])
@pytest.mark.parametrize("dots", [b"", b".\r\n", b"x\r\n..two\r\n.\xe9\r\n", b".a\r\n" * 3000])
@pytest.mark.parametrize("behind", [0, 9000])
def test_long_octets_are_looked_through_like_short_ones(before, dots, behind):
    """Long ones are looked through by another library."""
    text = b"y" * 58 + b"\r\n"
    message = text * (before // 60) + b"z" * (before % 60) + b"\r\n" + dots + text * (behind // 60)
    stream = stuffed(message) + b".\r\nRSET\r\n"
    assert written(message) == stuffed(message) + b".\r\n"
    for step in (7, 8 * 1024 - 1, 8 * 1024, 100_000):
        kept: list[bytes] = []
        reader, rest = DataReader(kept.append, Limits(10**6)), None
        for at in range(0, len(stream), step):
            piece = stream[at : at + step]
            rest = reader.feed(piece) if rest is None else rest + piece
        assert (b"".join(kept), rest, reader.flaw) == (message, b"RSET\r\n", None), step


def test_of_chunks_it_is_not_known_where_lines_begin_and_of_mended_octets_nothing():
    chunks = ChunkReader(lambda _: None, Limits(1000))
    chunks.feed(b"a\xe9\r")
    chunks.feed(b"\n.b\r\n")
    chunks.finish()
    assert chunks.seen == SeenOctets(eight_bit=True, dotted=True)
    mended = DataReader(lambda _: None, Limits(1000), normalise=True)
    mended.feed(b"a\n.b\r\n.\r\n")
    assert mended.seen is None


@given(st.lists(st.sampled_from([b"\r", b"\n", b".", b"x", b"\0", b"\r\n"]), max_size=14).map(b"".join))
def test_any_octets_end_where_a_plain_reading_ends_them(octets):
    stream = octets + b"\r\n.\r\n"
    end = (b"\r\n" + stream).find(b"\r\n.\r\n")
    for step in (1, 2, 3, 5, 100):
        reader = DataReader(lambda _: None, Limits(10**6))
        rest, at = None, 0
        while rest is None:
            piece = stream[at : at + step]
            assert piece
            at += step
            rest = reader.feed(piece)
        ended = min(at, len(stream)) - len(rest)
        assert ended == end + 5 - 2
        wire = stream[: ended - 3]
        dirty = any(octet in wire.replace(b"\r\n", b"") for octet in (b"\r", b"\n", b"\0"))
        assert (reader.flaw is Flaw.LINE_ENDS) == dirty


def test_size_and_line_limits():
    reader = DataReader(lambda _: None, Limits(10))
    assert reader.feed(b"123456789\r\n.\r\n") == b"" and reader.flaw is Flaw.TOO_LARGE
    for step in (1, 7, 4000):
        for longest, flaw in ((1000, None), (1001, Flaw.LONG_LINE)):
            reader = DataReader(lambda _: None, Limits(10**6, line=1000))
            stream = b"x\r\n" * 5 + b"y" * (longest - 2) + b"\r\nx\r\n.\r\n"
            for at in range(0, len(stream), step):
                reader.feed(stream[at : at + step])
            assert reader.flaw is flaw, (step, longest)


def test_a_writer_that_fails_spoils_the_message_only():
    def write(_: bytes) -> None:
        raise OSError("disk full")

    reader = DataReader(write, Limits(10**6))
    assert reader.feed(b"x\r\n.\r\nNOOP\r\n") == b"NOOP\r\n"
    assert reader.flaw is Flaw.NOT_KEPT and isinstance(reader.trouble, OSError)


def test_chunks_are_checked_across_their_borders():
    for pieces, flaw in (([b"a\r", b"\nb\r\n"], None), ([b"a\r", b"b"], Flaw.LINE_ENDS), ([b"a\r"], Flaw.LINE_ENDS)):
        reader = ChunkReader(lambda _: None, Limits(100))
        for piece in pieces:
            reader.feed(piece)
        reader.finish()
        assert reader.flaw is flaw
