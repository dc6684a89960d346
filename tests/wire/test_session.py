"""The listening session without sockets: order of commands, limits, chunks, and what is said to mistakes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.mail import replies
from lockgate.mail.envelope import Envelope
from lockgate.mail.recipient import RecipientId
from lockgate.wire.smtp.events import Hello, Signal, Spoiled
from lockgate.wire.smtp.manners import manners
from lockgate.wire.smtp.server import ServerSession


class Driver:
    """Answers every event with yes, unless told otherwise, and keeps what it saw."""

    def __init__(self, *, secured: bool = False, starttls: bool = True, no: dict | None = None, **limits) -> None:
        limits.setdefault("size_limit", 1000)
        self.session = ServerSession(manners("mx.test", starttls=starttls, **limits), secured=secured)
        self.no = no or {}
        self.events: list = []
        self.messages: list[bytes] = []
        self.chunks: list[bytes] = []

    def say(self, data: bytes) -> list[str]:
        """The replies to these octets, the text of multi-line replies cut to their last line."""
        session = self.session
        if not session.closing:
            session.receive(data)
        while (event := session.next()) is not None:
            self.events.append(event)
            match event:
                case Signal.BEGIN if "begin" in self.no:
                    session.reply(self.no["begin"])
                case Signal.BEGIN:
                    self.chunks = []
                    session.take_body(self.chunks.append)
                case Signal.END:
                    self.messages.append(b"".join(self.chunks))
                    session.reply(self.no.get("end", replies.queued("x")))
                case Spoiled(reply):
                    session.reply(reply or replies.UNFORESEEN)
                case Envelope():
                    session.reply(self.no.get("mail", replies.SENDER_OK))
                case RecipientId():
                    session.reply(self.no.get(event.original.local, replies.RECIPIENT_OK))
                case _:
                    assert session.waiting is None
        lines = session.take().decode("ascii").split("\r\n")
        assert lines.pop() == ""
        return [line for line in lines if line[3] == " "]


def codes(driver: Driver, data: bytes) -> list[str]:
    return [line[:3] for line in driver.say(data)]


HELLO = b"EHLO client.test\r\n"
OPEN = HELLO + b"MAIL FROM:<a@b.test>\r\n"
READY = OPEN + b"RCPT TO:<c@d.test>\r\n"


@pytest.mark.parametrize(
    "before,command,expected",
    [
        (b"", b"MAIL FROM:<>", "503 5.5.1 Say EHLO first"),
        (b"", b"RCPT TO:<a@b.test>", "503 5.5.1 Say EHLO first"),
        (b"", b"DATA", "503 5.5.1 Say EHLO first"),
        (b"", b"STARTTLS", "503 5.5.1 Say EHLO first"),
        (b"", b"NOOP", "250 2.0.0 OK"),
        (b"", b"NOOP with words", "250 2.0.0 OK"),
        (b"", b"RSET", "250 2.0.0"),
        (b"", b"HELP", "214 2.0.0"),
        (b"", b"VRFY a", "252 2.5.2"),
        (b"", b"VRFY", "501 5.5.4"),
        (b"", b"EXPN a", "502 5.5.1"),
        (b"", b"AUTH PLAIN", "502 5.5.1"),
        (b"", b"TURN", "502 5.5.1"),
        (b"", b"QUIT", "221 2.0.0"),
        (b"", b"quit ", "221 2.0.0"),
        (b"", b"FOO", "500 5.5.2 Unknown"),
        (b"", b"", "500 5.5.2 Unknown"),
        (b"", b"HELO", "501 5.5.4"),
        (b"", b"EHLO", "501 5.5.4"),
        (b"", b"HELO two words", "501 5.5.4"),
        (b"", b"HELO client.test", "250 mx.test"),
        (b"", b"GET / HTTP/1.1", "554 5.5.1 This is an SMTP"),
        (b"", b"PROXY TCP4 1.2.3.4 1.2.3.4 1 1", "554 5.5.1 This is an SMTP"),
        (b"", b"NOOP " + b"x" * 600, "500 5.5.2 Line too long"),
        (HELLO, b"RCPT TO:<a@b.test>", "503 5.5.1 MAIL is needed"),
        (HELLO, b"DATA", "503 5.5.1 MAIL is needed"),
        (HELLO, b"MAIL FROM:<> SIZE=1001", "250 2.1.0"),  # what is too large is for the judge to say
        (HELLO, b"RSET now", "501 5.5.4"),
        (OPEN, b"MAIL FROM:<>", "503 5.5.1 A transaction"),
        (OPEN, b"DATA", "503 5.5.1 No valid recipients"),
        (OPEN, b"BDAT 0 LAST", "503 5.5.1 No valid recipients"),
        (OPEN, b"STARTTLS", "503 5.5.1"),
        (READY, b"DATA now", "501 5.5.4"),
        (READY, b"DATA", "354 Go ahead"),
        (READY, b"BDAT 0", "250 2.0.0 Chunk"),
        (READY, b"BDAT 0 LAST", "250 2.0.0 Queued"),
        (READY + b"BDAT 0\r\n", b"DATA", "503 5.5.1 Bad sequence"),
        (READY + b"BDAT 0\r\n", b"RCPT TO:<x@y.test>", "503 5.5.1 Bad sequence"),
        (READY + b"BDAT 0\r\n", b"MAIL FROM:<>", "503 5.5.1 A transaction"),
        (READY + b"RSET\r\n", b"DATA", "503 5.5.1 MAIL is needed"),
        (READY + HELLO, b"DATA", "503 5.5.1 MAIL is needed"),
    ],
)
def test_every_command_in_every_state(before, command, expected):
    driver = Driver()
    driver.say(before)
    (reply,) = driver.say(command + b"\r\n")
    assert reply.startswith(expected)


@pytest.mark.parametrize(
    "line", [b"NOOP\n", b"NOOP\r\r\n", b"NO\rOP\r\n", b"NO\0OP\r\n", b"\n", b"EHLO a\nMAIL FROM:<>\r\n"]
)
def test_ill_ended_commands_end_the_conversation(line):
    driver = Driver()
    assert codes(driver, line + b"NOOP\r\n") == ["500"]
    assert driver.session.closing and not driver.events


def test_an_endless_line_is_not_collected():
    driver = Driver()
    for _ in range(3):
        driver.session.receive(b"x" * 1000)
        driver.session.next()
    assert driver.session.take() == replies.LINE_TOO_LONG.wire() and driver.session.closing


@pytest.mark.parametrize("octets", [b"\x16\x03\x01\x02\x00\x01", b"\0\0\0"])
def test_other_protocols_without_lines_are_told_at_once(octets):
    driver = Driver()
    assert codes(driver, octets) == ["554"] and driver.session.closing


def test_segments_make_no_difference():
    stream = READY + b"RCPT TO:<no@d.test>\r\nDATA\r\n"
    whole = Driver(no={"no": replies.EDGE_BLOCKED})
    expected = whole.say(stream)
    assert [line[:3] for line in expected] == ["250", "250", "250", "550", "354"]
    bytewise = Driver(no={"no": replies.EDGE_BLOCKED})
    got = [line for octet in stream for line in bytewise.say(bytes([octet]))]
    assert got == expected and bytewise.events == whole.events


def test_too_many_mistakes():
    driver = Driver(max_errors=3)
    assert codes(driver, b"A\r\nB\r\nC\r\nNOOP\r\n") == ["500", "500", "500", "421"]
    assert driver.session.closing


def test_too_many_refused_recipients():
    driver = Driver(max_refusals=2, no={"no": replies.EDGE_BLOCKED})
    assert codes(driver, OPEN + b"RCPT TO:<no@d.test>\r\n" * 5) == ["250", "250", "550", "550", "421"]


def test_a_flood_of_commands_that_bring_no_mail():
    driver = Driver(max_idle_commands=5)
    assert codes(driver, HELLO + b"NOOP\r\nRSET\r\n" * 5) == ["250"] * 5 + ["421"]
    driver = Driver(max_idle_commands=5)
    mail = b"NOOP\r\nMAIL FROM:<>\r\nRSET\r\n"
    assert set(codes(driver, HELLO + mail * 20)) == {"250"}


def test_too_many_recipients():
    driver = Driver(max_recipients=2)
    assert codes(driver, OPEN + b"RCPT TO:<c@d.test>\r\n" * 3 + b"DATA\r\n") == ["250"] * 4 + ["452", "354"]


def test_a_refused_mail_opens_nothing():
    driver = Driver(no={"mail": replies.SENDING_CLOSED})
    assert codes(driver, OPEN + b"RCPT TO:<c@d.test>\r\n") == ["250", "550", "503"]


def test_too_many_refused_senders():
    driver = Driver(max_refusals=2, no={"mail": replies.MESSAGE_TOO_LARGE})
    assert codes(driver, HELLO + b"MAIL FROM:<> SIZE=1001\r\n" * 5) == ["250", "552", "552", "421"]
    assert [event.size for event in driver.events if isinstance(event, Envelope)] == [1001, 1001]


def test_421_from_the_visit_ends_the_conversation():
    driver = Driver(no={"mail": replies.TOO_MANY_CONNECTIONS})
    assert codes(driver, OPEN + b"NOOP\r\n") == ["250", "421"] and driver.session.closing


def test_a_body_that_did_not_wait_for_a_refused_data_is_never_read_as_commands():
    driver = Driver(no={"begin": replies.STORAGE_UNAVAILABLE})
    assert codes(driver, READY + b"DATA\r\nMAIL FROM:<evil@x.test>\r\n") == ["250", "250", "250", "452"]
    assert driver.session.closing
    patient = Driver(no={"begin": replies.STORAGE_UNAVAILABLE})
    patient.say(READY + b"DATA\r\n")
    assert codes(patient, b"MAIL FROM:<a@b.test>\r\n") == ["250"]


def test_chunks_make_one_message():
    driver = Driver()
    said = codes(driver, READY + b"BDAT 3\r\nab\rBDAT 0\r\nBDAT 4 LAST\r\n\ncd\nBDAT 1\r\nxNOOP\r\n")
    assert said == ["250"] * 5 + ["550", "503", "250"]  # the bare LF at the end spoils it, the commands go on
    good = Driver()
    assert codes(good, READY + b"BDAT 3\r\nab\rBDAT 3 LAST\r\n\ncd") == ["250"] * 5
    assert good.messages == [b"ab\r\ncd"]


def test_refused_chunks_are_consumed_not_executed():
    evil = b"MAIL FROM:<evil@x.test>\r\n"
    for before, no, codes_expected in (
        (HELLO, {}, ["250", "503", "250"]),
        (READY, {"begin": replies.STORAGE_UNAVAILABLE}, ["250", "250", "250", "452", "250"]),
        (b"", {}, ["503", "250"]),
    ):
        driver = Driver(no=no)
        assert codes(driver, before + b"BDAT %d LAST\r\n%sNOOP\r\n" % (len(evil), evil)) == codes_expected
        assert "evil" not in str(driver.events)


def test_a_chunk_that_is_too_large_is_consumed_and_forgets_the_transaction():
    driver = Driver(size_limit=10)
    said = codes(driver, READY + b"BDAT 6\r\n123456BDAT 6\r\nNOOP\r\nBDAT 1 LAST\r\nx")
    assert said == ["250"] * 4 + ["552", "503"]
    assert driver.events[-1] == Spoiled(replies.MESSAGE_TOO_LARGE) and not driver.messages


def test_it_is_told_at_once_and_answered_once_it_is_thrown_away():
    driver = Driver(size_limit=10)
    driver.say(READY)
    assert driver.say(b"BDAT 11 LAST\r\n12345") == []
    assert driver.events[-1] == Spoiled(replies.MESSAGE_TOO_LARGE) and driver.session.heard == 5
    assert driver.say(b"67890\nNOOP\r\n") == [str(replies.MESSAGE_TOO_LARGE), str(replies.OK)]
    assert driver.session.heard == 11 and not driver.session.between_chunks


@pytest.mark.parametrize("size", [b"", b"x", b"-1", b"9" * 19, b"1 FIRST"])
def test_an_unreadable_chunk_size_ends_the_conversation(size):
    driver = Driver()
    assert codes(driver, READY + b"BDAT " + size + b"\r\nMAIL FROM:<evil@x.test>\r\n")[-1] == "501"
    assert driver.session.closing and "evil" not in str(driver.events)


def test_an_end_of_data_that_is_refused_leaves_the_session_usable():
    driver = Driver(no={"end": replies.HELD_REFUSED})
    assert codes(driver, READY + b"DATA\r\n")[-1] == "354"
    assert codes(driver, b"x\r\n.\r\nMAIL FROM:<>\r\n") == ["550", "250"]


def test_starttls_is_offered_and_answered_only_where_it_is():
    assert codes(Driver(), HELLO + b"STARTTLS\r\n") == ["250", "220"]
    assert codes(Driver(starttls=False), HELLO + b"STARTTLS\r\n") == ["250", "502"]
    assert codes(Driver(secured=True), HELLO + b"STARTTLS\r\n") == ["250", "503"]
    assert codes(Driver(), HELLO + b"STARTTLS\r\nX") == ["250", "554"]


def test_tls_forgets_everything():
    driver = Driver()
    driver.say(HELLO + b"STARTTLS\r\n")
    assert driver.events[-1] is Signal.STARTTLS
    driver.session.secured()
    assert codes(driver, b"MAIL FROM:<>\r\n") == ["503"]
    assert codes(driver, READY) == ["250"] * 3


@given(st.lists(st.sampled_from([
    b"EHLO x", b"HELO x", b"MAIL FROM:<a@b.c>", b"RCPT TO:<a@b.c>", b"DATA", b"BDAT 2", b"BDAT 2 LAST", b"xx", b"RSET",
    b"\r\n", b".\r\n", b"STARTTLS", b"QUIT", b"NOOP", b"\0", b"\r", b"\n", b" ", b"VRFY a",
]), max_size=40).map(b"".join) | st.binary(max_size=300), st.integers(1, 50))  # fmt: skip
def test_no_octets_break_the_session(octets, step):
    driver = Driver()
    for at in range(0, len(octets), step):
        driver.say(octets[at : at + step])
        assert driver.session.buffered <= 2100 + step
    assert all(isinstance(e, Hello | Envelope | RecipientId | Signal | Spoiled) for e in driver.events)
