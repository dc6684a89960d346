"""The client's side in memory: replies cut anywhere, hostile replies, and who said what about whom."""

from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.wire.smtp.answers import Answer, AnswerReader, BadServer
from lockgate.wire.smtp.client import (
    Capabilities,
    Opening,
    Phase,
    TlsUse,
    Transaction,
    Trouble,
    read_capabilities,
)

STREAM = b"220 hello\r\n250-a\r\n250-b\r\n250 c\r\n354\r\n550 5.1.1 no\n"
RCPTS = [b"RCPT TO:<a@x>\r\n", b"RCPT TO:<b@x>\r\n"]
MAIL = b"MAIL FROM:<>\r\n"


@given(st.lists(st.integers(0, len(STREAM)), max_size=8))
def test_replies_are_the_same_however_they_are_cut(cuts: list[int]) -> None:
    reader = AnswerReader()
    found: list[Answer] = []
    edges = [0, *sorted(cuts), len(STREAM)]
    for start, end in itertools.pairwise(edges):
        found += reader.feed(STREAM[start:end])
    assert [(a.code, a.lines) for a in found] == [
        (220, (b"hello",)), (250, (b"a", b"b", b"c")), (354, (b"",)), (550, (b"5.1.1 no",)),
    ]  # fmt: skip
    assert reader.empty


@given(st.binary(max_size=400))
def test_any_octets_are_answers_or_a_bad_server(octets: bytes) -> None:
    reader = AnswerReader()
    try:
        answers = reader.feed(octets)
    except BadServer as trouble:
        assert str(trouble).isprintable()
    else:
        for answer in answers:
            assert answer.reply().text.isprintable()


@pytest.mark.parametrize(
    "octets", [b"x" * 5000, b"250-" + b"x" * 5000 + b"\r\n", b"250-a\r\n" * 200, b"250-a\r\n251 b\r\n"]
)
def test_endless_replies_are_not_followed(octets: bytes) -> None:
    with pytest.raises(BadServer):
        AnswerReader().feed(octets)


@pytest.mark.parametrize(
    "behind", [b"\r\n", b"nonsense\r\n", b"x" * 5000, b"250-a\r\n251 b\r\n", b"250-a\r\n" * 200]
)
def test_answers_before_nonsense_are_given_and_none_after_it(behind: bytes) -> None:
    reader = AnswerReader()
    assert reader.feed(b"250 one\r\n250 two\r\n" + behind) == [Answer(250, (b"one",)), Answer(250, (b"two",))]
    assert reader.trouble.isprintable()
    assert not reader.empty
    for _ in range(2):
        with pytest.raises(BadServer, match=re.escape(reader.trouble)):
            reader.feed(b"250 three\r\n")


@given(st.lists(st.binary(max_size=60), max_size=10))
def test_capabilities_of_anything(lines: list[bytes]) -> None:
    read_capabilities(lines)


def test_capabilities() -> None:
    offered = read_capabilities([b"mx", b"pipelining", b"SIZE 1000", b"AUTH PLAIN", b"AUTH=LOGIN", b"size huge", b""])
    assert offered.pipelining
    assert offered.size == 1000
    assert offered.logins == ("PLAIN", "LOGIN")
    assert read_capabilities([b"mx", b"SIZE \xb2"]).size == 0


def test_what_was_learned_in_clear_is_forgotten() -> None:
    opening = Opening("here.test", TlsUse.ALWAYS)
    assert opening.answer(Answer(220, (b"",)), alone=True) == b"EHLO here.test\r\n"
    assert opening.answer(Answer(250, (b"x", b"STARTTLS", b"CHUNKING")), alone=True) == b"STARTTLS\r\n"
    assert opening.answer(Answer(220, (b"",)), alone=True) == b""
    assert opening.phase is Phase.HANDSHAKE
    assert opening.secured() == b"EHLO here.test\r\n"
    assert not opening.offered.chunking
    opening.answer(Answer(250, (b"x", b"SIZE 5")), alone=True)
    assert opening.phase is Phase.READY
    assert opening.offered.size == 5


def test_octets_behind_the_220_end_it() -> None:
    opening = Opening("here.test", TlsUse.IF_OFFERED)
    opening.answer(Answer(220, (b"",)), alone=True)
    opening.answer(Answer(250, (b"x", b"STARTTLS")), alone=True)
    assert opening.answer(Answer(220, (b"",)), alone=False) == b"QUIT\r\n"
    assert opening.trouble is Trouble.INJECTED


def test_nobody_accepted_and_yet_354() -> None:
    transaction = Transaction(MAIL, RCPTS, b"secret\r\n", Capabilities(pipelining=True))
    assert transaction.begin() == MAIL + b"".join(RCPTS) + b"DATA\r\n"
    transaction.answer(Answer(250, (b"",)))
    transaction.answer(Answer(550, (b"one",)))
    transaction.answer(Answer(450, (b"two",)))
    assert transaction.answer(Answer(354, (b"",))) == b".\r\n"
    assert not transaction.exposed
    transaction.answer(Answer(250, (b"hm",)))
    assert [answer.code for answer in transaction.verdicts() if answer] == [550, 450]


def test_reset_goes_first_where_the_last_transaction_was_left_open() -> None:
    for offered in (Capabilities(pipelining=True, chunking=True), Capabilities()):
        transaction = Transaction(MAIL, RCPTS[:1], b"x\r\n", offered, reset=True)
        said = transaction.begin()
        assert said.startswith(b"RSET\r\n")
        said += transaction.answer(Answer(250, (b"",)))
        said += transaction.answer(Answer(250, (b"",)))
        said += transaction.answer(Answer(250, (b"",)))
        if not offered.chunking:
            assert not transaction.exposed
            said += transaction.answer(Answer(354, (b"",)))
        assert transaction.exposed
        assert said.count(MAIL) == 1
        transaction.answer(Answer(250, (b"taken",)))
        assert transaction.verdicts() == [Answer(250, (b"taken",))]


@given(
    st.lists(st.integers(200, 599), min_size=1, max_size=12),
    st.booleans(), st.booleans(), st.booleans(),
)  # fmt: skip
def test_whatever_is_answered_every_recipient_has_one_verdict(
    codes: list[int], pipelining: bool, chunking: bool, reset: bool
) -> None:
    transaction = Transaction(
        MAIL, RCPTS, b"x\r\n", Capabilities(pipelining=pipelining, chunking=chunking), reset=reset
    )
    written = transaction.begin()
    for code in codes:
        if transaction.phase is Phase.DONE:
            break
        written += transaction.answer(Answer(code, (b"",)))
    assert len(transaction.verdicts()) == 2
    assert transaction.exposed == (b"BDAT" in written or b"x\r\n.\r\n" in written)
