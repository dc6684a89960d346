"""Old devices: bare line ends become CRLF; a lone dot ends the data only by silence, and nothing after it is read."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.mail import replies
from lockgate.wire.smtp.data import ChunkReader, Flaw, Limits
from lockgate.wire.smtp.events import Signal
from lockgate.wire.smtp.manners import manners
from lockgate.wire.smtp.mending import MendingReader
from lockgate.wire.smtp.server import ServerSession

SECOND = b"MAIL FROM:<evil@x.test>\r\nRCPT TO:<victim@y.test>\r\nDATA\r\nSubject: inner\r\n\r\nsmuggled\r\n.\r\n"
LONE = [b"\n.\n", b"\n.\r\n", b"\r\n.\n", b"\r.\r", b"\r.\r\n", b"\n.\r"]


def clean(octets: bytes) -> bytes:
    return octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")


def fed(pieces: list[bytes]) -> tuple[bytes, bytes | None, MendingReader]:
    kept: list[bytes] = []
    reader = MendingReader(kept.append, Limits(10**6))
    rest: bytes | None = None
    for piece in pieces:
        if rest is not None:
            rest += piece
        else:
            rest = reader.feed(piece)
    return b"".join(kept), rest, reader


OCTETS = st.lists(
    st.sampled_from([b"\r", b"\n", b".", b"x", b"\r\n", b"\n.\n", b"\r\n.", b"line"]), max_size=16
).map(b"".join)
PLACES = st.lists(st.integers(0, 60), max_size=8)


@given(OCTETS, PLACES)
def test_the_end_is_where_crlf_dot_crlf_is_and_cuts_change_nothing(octets, places):
    stream = octets + b"\r\n.\r\nRSET\r\n"
    whole, rest, reader = fed([stream])
    end = (b"\r\n" + stream).find(b"\r\n.\r\n")
    assert rest == stream[end + 3 :]
    pieces, at = [], 0
    for place in [*sorted(min(p, len(stream)) for p in places), len(stream)]:
        pieces.append(stream[at:place])
        at = place
    assert fed([piece for piece in pieces if piece])[:2] == (whole, rest)
    assert whole == clean(whole), "no bare line end is kept"
    wire = stream[:end]
    assert reader.mended == (wire != clean(wire)) and reader.flaw is None


@given(OCTETS)
def test_nothing_is_lost_but_stuffed_dots(octets):
    kept, _, _ = fed([octets.replace(b".", b"") + b"\r\n.\r\n"])
    body = octets.replace(b".", b"")
    assert kept == clean(body + b"\r\n") if not body.endswith(b"\r") else kept.startswith(clean(body[:-1]))


@pytest.mark.parametrize(
    "wire,message",
    [
        (b"a\nb\n\r\n.\r\n", b"a\r\nb\r\n\r\n"),
        (b"a\n.\nb\r\n.\r\n", b"a\r\n.\r\nb\r\n"),  # a dot in between is content
        (b"..a\r\n..\r\n.\r\n", b".a\r\n.\r\n"),  # stuffed as it should be
        (b"a\n..b\r\n.\r\n", b"a\r\n..b\r\n"),  # behind a bare line end nothing is stuffed
        (b".\r\n", b""),
        (b"\n.\r\n\r\n.\r\n", b"\r\n.\r\n\r\n"),
        (b"\r\n.\n.\n\r\n.\r\n", b"\r\n.\r\n.\r\n\r\n"),  # the first dot's line ends in what is still held back
    ],
)
def test_what_is_kept(wire, message):
    for step in (1, 2, 3, 100):
        assert fed([wire[at : at + step] for at in range(0, len(wire), step)])[0] == message


@pytest.mark.parametrize("end", LONE)
def test_a_lone_dot_is_the_end_only_when_it_is_said_so(end):
    for step in (1, 2, 100):
        stream = b"a\nb" + end
        kept: list[bytes] = []
        reader = MendingReader(kept.append, Limits(10**6))
        for at in range(0, len(stream), step):
            assert not reader.lone_end or at > len(b"a\nb\n.")
            assert reader.feed(stream[at : at + step]) is None
        assert reader.lone_end
        reader.end_here()
        assert b"".join(kept) == b"a\r\nb\r\n" and reader.mended


def test_the_dot_may_be_all_there_is():
    kept: list[bytes] = []
    reader = MendingReader(kept.append, Limits(10**6))
    assert reader.feed(b".\n") is None and reader.lone_end
    reader.end_here()
    assert b"".join(kept) == b""


def test_nul_and_size_are_still_refused():
    assert fed([b"a\0\n\r\n.\r\n"])[2].flaw is Flaw.LINE_ENDS
    reader = MendingReader(lambda _: None, Limits(5))
    reader.feed(b"123456\n\r\n.\r\n")
    assert reader.flaw is Flaw.TOO_LARGE


def test_chunks_are_mended_too():
    kept: list[bytes] = []
    reader = ChunkReader(kept.append, Limits(100), normalise=True)
    for piece in (b"a\nb\r", b"\nc\r"):
        reader.feed(piece)
    reader.finish()
    assert b"".join(kept) == b"a\r\nb\r\nc\r\n" and reader.mended and reader.flaw is None


class Spoken:
    """A session of an old device after DATA."""

    def __init__(self) -> None:
        self.session = ServerSession(manners("mx.test", size_limit=10**6, starttls=False))
        self.messages: list[bytes] = []
        self.chunks: list[bytes] = []
        self.out = b""
        self.hear(b"EHLO x\r\nMAIL FROM:<a@b.test>\r\nRCPT TO:<c@d.test>\r\nDATA\r\n")

    def hear(self, data: bytes) -> None:
        if self.session.closing:
            return
        self.session.receive(data)
        while (event := self.session.next()) is not None:
            self.answer(event)
        self.out += self.session.take()

    def answer(self, event) -> None:
        session = self.session
        if event is Signal.BEGIN:
            self.chunks = []
            session.take_body(self.chunks.append, normalise=True)
        elif event is Signal.END:
            self.messages.append(b"".join(self.chunks))
            session.reply(replies.queued("x"))
        elif session.waiting is not None:
            session.reply(replies.OK)

    def silence(self) -> None:
        if self.session.lone_end:
            self.answer(self.session.end_here())
            self.out += self.session.take()


@pytest.mark.parametrize("end", LONE)
@given(data=st.data())
def test_never_two_messages_from_one_unclean_end(end, data):
    """Wherever the stream is cut, and wherever the peer is silent, nothing behind an unclean end is obeyed."""
    stream = b"Subject: outer\n\nbody" + end + SECOND
    places = sorted(data.draw(st.lists(st.integers(1, len(stream) - 1), max_size=6)))
    silent = data.draw(st.sets(st.integers(0, len(places))))
    spoken, at = Spoken(), 0
    for number, place in enumerate([*places, len(stream)]):
        spoken.hear(stream[at:place])
        if number in silent:
            spoken.silence()
        at = place
    spoken.silence()
    assert len(spoken.messages) <= 1
    if spoken.messages and b"smuggled" not in spoken.messages[0]:
        assert spoken.session.closing and spoken.out.endswith(replies.UNCLEAN_END.wire())
    assert spoken.out.count(replies.SEND_DATA.wire()) == 1


def test_a_clean_end_goes_on_as_ever():
    spoken = Spoken()
    spoken.hear(b"a\nb\r\n.\r\n" + SECOND)
    assert spoken.messages == [b"a\r\nb\r\n", b"Subject: inner\r\n\r\nsmuggled\r\n"]
    assert not spoken.session.closing
