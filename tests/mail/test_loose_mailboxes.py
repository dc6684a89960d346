"""Addresses that any reader might find: none is missed where the strict reader makes trouble, nor added elsewhere."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.mail.loose_mailboxes import all_mailboxes
from lockgate.mail.mailboxes import MOST_MAILBOXES, Mailbox, read_mailboxes

SPELLINGS = [
    "U <u@bad.test", "U <u@bad.test> x", "u@bad.test.", "<@x.y:u@bad.test>", "U [x] <u@bad.test>", "U: <u@bad.test>",
    "u @bad.test", "u@ bad.test", "< u @ bad.test >", '"U" <u@bad.test>;', "U, <u@bad.test>,", '"U <u@bad.test>',
    "U (x <u@bad.test>", "<u@(x)bad.test>", "(c) u (x) @ (y) bad.test (z)", "u@bad (x) . (y) test", "'u@bad.test'",
    "=?utf-8?q?U?= =?utf-8?q?_=3Cu=40bad.test=3E?=", "u@BAD.test>", "[u@bad.test", '"a@b.test" <u@bad.test> x',
    '"u"@bad.test x', r'U <"\u"@bad.test', "(a@b.test) u@bad.test.",
    '"a \\" b@c.test" <u@bad.test> x', "U \x00<u@bad.test>",
]  # fmt: skip
"""Of which a mail program shows u@bad.test, or some do."""


def addresses(value: str) -> list[str]:
    return [one.address for one in all_mailboxes(value)]


@pytest.mark.parametrize("value", SPELLINGS)
def test_an_odd_spelling_hides_nobody(value: str) -> None:
    assert read_mailboxes(value).trouble
    assert "u@bad.test" in addresses(value)
    assert not {"a@b.test", "b@c.test"} & set(addresses(value)), "closed comments and strings name nobody"


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("<u@bad.test><b@c.test>", ["u@bad.test", "b@c.test"]),
        ('U "x" y@z.test <u@bad.test>', ["y@z.test", "u@bad.test"]),
        ("A <a@b.test>, <u@bad.test", ["a@b.test", "u@bad.test"]),
        ("a@b@c.test", ["a@b", "b@c.test"]),
        ("Dr. u @bad.test", ["u@bad.test", "Dr.u@bad.test"]),
        ("ana (x) . smith@bad.test", ["smith@bad.test", "ana.smith@bad.test"]),
        ("u@bad.test. Bye", ["u@bad.test", "u@bad.test.bye"]),
        ('"q q"@bad.test x', ['"q q"@bad.test']),
        ('"ana" . smith@bad.test x', ["smith@bad.test", "ana.smith@bad.test"]),
        (r'"q\ q"@bad.test x', ['"q q"@bad.test']),
        ("u@[192.0.2.1] x", ["u@[192.0.2.1]"]),
        ("u@x_y.bad.test", ["u@x_y.bad.test"]),
        ("u@b\u00fccher.test x", ["u@xn--bcher-kva.test"]),
    ],
)
def test_all_readings_count(value: str, found: list[str]) -> None:
    assert addresses(value) == found


@pytest.mark.parametrize("value", ["", "ann", "u@", "@bad.test", "@", "<>", "undisclosed-recipients:;", "u@@", "u@-."])
def test_nobody_is_named(value: str) -> None:
    assert addresses(value) == []


@pytest.mark.parametrize("value", ["Ann <a@d.test>", '"u@bad.test" <a@d.test>', "a@d.test (u@bad.test)"])
def test_an_honest_field_is_read_once_and_strictly(value: str) -> None:
    assert all_mailboxes(value) == read_mailboxes(value).found
    assert addresses(value) == ["a@d.test"]


@given(st.text(alphabet='ab@.<>(),:;"\\[] \t\u00fc=?', max_size=60))
def test_what_is_read_strictly_is_always_among_them(value: str) -> None:
    found = all_mailboxes(value)
    assert set(read_mailboxes(value).found) <= set(found)
    assert all(isinstance(one, Mailbox) and one.local and one.domain for one in found)


@pytest.mark.parametrize(
    "piece",
    ["(", "<", '"', "[", "a,", "a@b.c,", "a@", "@", "\\", "((a))", '\\"', "a:", " ", ".", ". ", "()", '"\\', "=?"],
)
@pytest.mark.parametrize("first", ["", '"', "("])
def test_a_hostile_field_costs_what_it_weighs(piece: str, first: str) -> None:
    begin = time.process_time()
    found = all_mailboxes(first + piece * (200_000 // len(piece)) + "@x")
    assert time.process_time() - begin < 2.0
    assert len(found) <= MOST_MAILBOXES
