"""Commands are read from hostile bytes and written so that we would read the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.mail.address import Address
from lockgate.mail.envelope import Body, Envelope
from lockgate.mail.recipient import RecipientId
from lockgate.mail.reply import Reply
from lockgate.wire.smtp.grammar import (
    Terms,
    read_bdat,
    read_hello,
    read_mail,
    read_rcpt,
    split_command,
    unxtext,
    write_mail,
    write_rcpt,
    xtext,
)

EHLO = Terms(extended=True, secured=False)
HELO = Terms(extended=False, secured=False)
SECURED = Terms(extended=True, secured=True)
ALL = frozenset(("SIZE", "8BITMIME", "SMTPUTF8", "DSN", "REQUIRETLS"))

printable = st.text(st.characters(min_codepoint=0x20, max_codepoint=0x7E), max_size=60)
words = st.lists(st.text("abcXYZ019-_+=!#", min_size=1, max_size=10), min_size=1, max_size=4).map(".".join)
labels = st.text("abcxyz019", min_size=1, max_size=10)
domains = st.lists(labels, min_size=1, max_size=4).map(".".join)
addresses = st.builds(Address, words, domains)
envelopes = st.builds(
    Envelope,
    st.none() | addresses,
    body=st.sampled_from([Body.SEVEN_BIT, Body.EIGHT_BIT]),
    utf8=st.booleans(),
    size=st.integers(0, 10**12),
    ret=st.sampled_from(["", "FULL", "HDRS"]),
    envid=printable.filter(lambda t: len(t) <= 100),
    require_tls=st.booleans(),
)


@given(envelopes)
def test_what_a_client_writes_as_mail_is_read_the_same(envelope):
    line = write_mail(envelope, ALL)
    verb, rest = split_command(line[:-2])
    assert line.endswith(b"\r\n") and verb == b"MAIL"
    assert read_mail(rest, SECURED) == envelope


@given(
    addresses,
    st.sampled_from([(), ("NEVER",), ("SUCCESS",), ("FAILURE", "DELAY"), ("SUCCESS", "FAILURE", "DELAY")]),
    st.none() | printable.filter(lambda t: 0 < len(t) <= 100),
)
def test_what_a_client_writes_as_rcpt_is_read_the_same(address, notify, original):
    orcpt = f"rfc822;{original}" if original else ""
    _, rest = split_command(write_rcpt(address.text, orcpt, notify, ALL)[:-2])
    assert read_rcpt(rest, EHLO, utf8=False) == RecipientId(address, None, orcpt, notify)


@given(st.binary(max_size=600) | printable.map(str.encode))
def test_readers_never_raise(data):
    verb, rest = split_command(data)
    for terms in (EHLO, HELO, SECURED):
        assert isinstance(read_mail(rest, terms), Envelope | Reply)
        assert isinstance(read_mail(b"FROM:" + data, terms), Envelope | Reply)
        assert isinstance(read_mail(b"FROM:<a@b.c> " + data, terms), Envelope | Reply)
        for utf8 in (False, True):
            assert isinstance(read_rcpt(b"TO:<" + data + b">", terms, utf8=utf8), RecipientId | Reply)
            assert isinstance(read_rcpt(b"TO:<a@b.c> " + data, terms, utf8=utf8), RecipientId | Reply)
    assert isinstance(read_hello(rest), str | Reply)
    assert read_bdat(rest) is None or isinstance(read_bdat(rest), tuple)
    assert verb == verb.upper()


@given(printable)
def test_xtext_is_undone(text):
    assert unxtext(xtext(text)) == text


@pytest.mark.parametrize("text", ["+", "+4", "+4g", "a=b", "+0D+0A", "a b", "+00", "+7f"])
def test_bad_xtext_and_hidden_control_characters_are_refused(text):
    assert unxtext(text) is None


@pytest.mark.parametrize(
    "rest,sender",
    [
        (b"FROM:<a@b.test>", "a@b.test"),
        (b"from:<a@B.Test>", "a@b.test"),
        (b"FROM: <a@b.test>", "a@b.test"),
        (b"FROM:a@b.test", "a@b.test"),
        (b"FROM:<>", ""),
        (b'FROM:<"a b>c"@b.test>', '"a b>c"@b.test'),
        (b"FROM:<@x.test,@y.test:a@b.test>", "a@b.test"),
        (b"FROM:<a@[127.0.0.1]>", "a@[127.0.0.1]"),
    ],
)
def test_paths(rest, sender):
    envelope = read_mail(rest, EHLO)
    assert isinstance(envelope, Envelope) and envelope.sender_text == sender


@pytest.mark.parametrize(
    "rest,terms,code",
    [
        (b"FROM:", EHLO, 501),
        (b"TO:<a@b.test>", EHLO, 501),
        (b"FROM:<a@b.test", EHLO, 501),
        (b"FROM:<a@b.test>x", EHLO, 501),
        (b"FROM:<a b@b.test>", EHLO, 501),
        (b"FROM:<a\tb@b.test>", EHLO, 501),
        (b"FROM:<pepe>", EHLO, 501),
        (b"FROM:<\xff@b.test>", EHLO, 501),
        ("FROM:<ä@b.test>".encode(), EHLO, 501),
        (b"FROM:<a@b.test> FOO=1", EHLO, 555),
        (b"FROM:<a@b.test> AUTH=<>", EHLO, 555),
        (b"FROM:<a@b.test> BODY=BINARYMIME", EHLO, 555),
        (b"FROM:<a@b.test> REQUIRETLS", EHLO, 555),
        (b"FROM:<a@b.test> SIZE=1", HELO, 555),
        (b"FROM:<a@b.test> SIZE=x", EHLO, 501),
        (b"FROM:<a@b.test> SIZE=-1", EHLO, 501),
        (b"FROM:<a@b.test> SIZE=1 SIZE=2", EHLO, 501),
        (b"FROM:<a@b.test> RET=SOME", EHLO, 501),
        (b"FROM:<a@b.test> ENVID=+0D+0A", EHLO, 501),
        (b"FROM:<a@b.test> ENVID=" + b"x" * 101, EHLO, 501),
        (b"FROM:<a@b.test> SMTPUTF8=1", EHLO, 501),
    ],
)
def test_mail_that_is_refused(rest, terms, code):
    reply = read_mail(rest, terms)
    assert isinstance(reply, Reply) and reply.code == code


@pytest.mark.parametrize(
    "rest,code",
    [
        (b"TO:<>", 501),
        (b"TO:<a@b.test> NOTIFY=NEVER,SUCCESS", 501),
        (b"TO:<a@b.test> NOTIFY=", 501),
        (b"TO:<a@b.test> ORCPT=rfc822", 501),
        (b"TO:<a@b.test> ORCPT=rfc822;a+0D+0Ab", 501),
        (b"TO:<a@b.test> SIZE=1", 555),
        ("TO:<henryⅣ@b.test>".encode(), 501),
    ],
)
def test_rcpt_that_is_refused(rest, code):
    reply = read_rcpt(rest, EHLO, utf8=False)
    assert isinstance(reply, Reply) and reply.code == code


def test_internationalised_addresses_need_smtputf8():
    envelope = read_mail("FROM:<ä@bücher.test> SMTPUTF8".encode(), EHLO)
    assert isinstance(envelope, Envelope) and envelope.sender_text == "ä@xn--bcher-kva.test"
    recipient = read_rcpt("TO:<ä@bücher.test>".encode(), EHLO, utf8=True)
    assert isinstance(recipient, RecipientId)


def test_postmaster_needs_no_domain():
    recipient = read_rcpt(b"TO:<Postmaster>", EHLO, utf8=False)
    assert isinstance(recipient, RecipientId) and recipient.original == Address("postmaster", "")


@pytest.mark.parametrize(
    "rest,read",
    [
        (b"0 LAST", (0, True)),
        (b"12", (12, False)),
        (b"12 last", (12, True)),
        (b"", None),
        (b"-1", None),
        (b"1x", None),
        (b"1 FIRST", None),
        (b"9" * 19, None),
    ],
)
def test_bdat(rest, read):
    assert read_bdat(rest) == read


def test_a_written_command_is_always_one_line():
    with pytest.raises(ValueError):
        write_rcpt("a@b.test>\r\nRCPT TO:<x@y.test", "", (), ALL)
