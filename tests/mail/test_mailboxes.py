"""Addresses in header fields: one reading, and a word where readers would differ (RFC 5322 3.4)."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.mail.mailboxes import Mailbox, read_mailboxes


@pytest.mark.parametrize(
    ("value", "name", "address"),
    [
        ("ann@d.test", "", "ann@d.test"),
        ("<ann@d.test>", "", "ann@d.test"),
        ("Ann Lee <ann@D.Test>", "Ann Lee", "ann@d.test"),
        ('"Lee, Ann" <ann@d.test>', "Lee, Ann", "ann@d.test"),
        ('"a \\"b\\" c" <ann@d.test>', 'a "b" c', "ann@d.test"),
        ("Ann (the (nested) one) <ann@d.test> (office)", "Ann", "ann@d.test"),
        ("ann@d.test (Ann)", "", "ann@d.test"),
        ("A. B. Lee <ann@d.test>", "A. B. Lee", "ann@d.test"),
        ('"odd local"@d.test', "", '"odd local"@d.test'),
        ("J\u00fcrgen <j@b\u00fccher.test>", "J\u00fcrgen", "j@xn--bcher-kva.test"),
        ("x@[192.0.2.1]", "", "x@[192.0.2.1]"),
    ],
)
def test_honest_fields(value, name, address):
    read = read_mailboxes(value)
    assert read.trouble == ""
    assert [(one.name, one.address) for one in read.found] == [(name, address)]


def test_several():
    read = read_mailboxes("a@d.test, B <b@e.test>, (nobody) \"C, D\" <c@f.test>")
    assert read.trouble == "" and [one.domain for one in read.found] == ["d.test", "e.test", "f.test"]


@pytest.mark.parametrize(
    "value",
    [
        "", "   ", "ann", "ann@", "@d.test", "ann@d.test bob@e.test", "<ann@d.test", "ann@d.test>",
        "<a@d.test><b@e.test>", "<a@d.test> b@e.test", "Ann <ann@d.test> <b@e.test>", "a@b@d.test",
        "<@relay.test:ann@d.test>", "ann@d..test",
        "ann@d.test.", "ann@(x)d.test <e@f.test>", "<ann@d(x).test>", "<ann @d.test>", "ann@d.test,", ",ann@d.test",
        "a: b@d.test, c@e.test;", "a: b: c@d.test;;", "ann@d.test;", '"Ann <ann@d.test>', "Ann (x <ann@d.test>",
        "ann@d_x.test", "ann@\x00d.test", "Ann @ home <ann@d.test>", "a[x] <ann@d.test>", "ann@-d.test", '""', "<>",
        "admin@legitimate.test,<second@attack.test>x",
    ],
)  # fmt: skip
def test_fields_that_readers_take_differently_are_told(value):
    assert read_mailboxes(value).trouble


@given(st.text(alphabet='ab@.<>(),:;"\\[] \t\u00fc', max_size=60))
def test_any_text_is_read_without_harm(value):
    read = read_mailboxes(value)
    assert read.found or read.trouble
    assert all(isinstance(one, Mailbox) and one.local and one.domain for one in read.found)


@pytest.mark.parametrize("piece", ["(", "<", '"', "a,", "a@b.c,", "\\", "((a))", "a:", " ", "."])
def test_a_hostile_field_costs_what_it_weighs(piece):
    begin = time.process_time()
    read_mailboxes(piece * (200_000 // len(piece)))
    assert time.process_time() - begin < 2.0
