"""What is hidden of people: it cannot be read, can be found again, and hiding twice changes nothing."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.mail.redaction import HIDDEN, Masking, Redactor, nothing_hidden, spellings, strictest

KEY = b"k" * 32
LOCAL = Redactor(Masking.LOCAL_PARTS, subjects=True, facts=True, key=KEY)
ALL = Redactor(Masking.ALL, subjects=True, facts=True, key=KEY)
NONE = Redactor(Masking.NONE, subjects=False, facts=False, key=KEY)
HASH = r"~[0-9a-f]{16}"


def test_addresses():
    assert re.fullmatch(HASH + "@contoso.com", LOCAL.address("Bob@contoso.com"))
    assert re.fullmatch(HASH, ALL.address("Bob@contoso.com"))
    assert LOCAL.address("BOB@contoso.com") == LOCAL.address("bob@contoso.com") != LOCAL.address("eve@contoso.com")
    assert re.fullmatch(HASH + "@x.test", LOCAL.address('"a@b c"@x.test'))
    assert re.fullmatch(HASH, LOCAL.address("postmaster"))
    assert LOCAL.address("") == ALL.address("") == "" and NONE.address("bob@x.test") == "bob@x.test"
    other = Redactor(Masking.ALL, subjects=True, facts=True, key=b"other key")
    assert other.address("bob@x.test") != ALL.address("bob@x.test")


def test_the_words_of_other_servers():
    told = LOCAL.text("550 5.1.1 <bob@contoso.com>: Recipient \"bob@contoso.com\" unknown; try eve.o'x@sub.x.test.")
    assert "bob" not in told and "eve" not in told
    assert told.count(LOCAL.address("bob@contoso.com")) == 2 and told.endswith("@sub.x.test.")
    assert "joe" not in ALL.text("user joe@[192.0.2.1] and 'joe@x.test', (joe@x.test)")
    assert LOCAL.text("no @ one") == "no @ one"
    assert "a b" not in LOCAL.text('to "a b"@x.test')


def test_subjects_and_message_ids():
    assert LOCAL.subject("Hello") == ALL.subject("Hello") == HIDDEN and LOCAL.subject("") == ""
    assert NONE.subject("Hello") == "" and LOCAL.message_id("<m@x>") == "<m@x>"
    assert re.fullmatch(HASH, ALL.message_id("<m@x>")) and ALL.message_id("<m@x>") == ALL.message_id("m@x")


@given(st.text(max_size=60), st.sampled_from(["@", "@x.test", ""]), st.sampled_from([LOCAL, ALL]))
def test_hiding_twice_changes_nothing(local, rest, redactor):
    once = redactor.address(local + rest)
    assert redactor.address(once) == once
    assert redactor.text(once) == once or not re.fullmatch(HASH + "(@.*)?", once)
    assert ALL.address(LOCAL.address(local + rest)) == ALL.address(local + rest) or not (local + rest)


@given(st.from_regex(r"[a-z0-9.+_=-]{4,20}", fullmatch=True), st.text(max_size=20))
def test_no_local_part_survives_in_a_sentence(local, around):
    local = "zq" + local.strip(".") + "qz"
    told = LOCAL.text(f"{around} <{local}@contoso.com> {around}")
    assert local not in told.replace(around, "") or local in around


def test_the_strictest_of_several_wishes():
    wishes = {"a": LOCAL, "b": NONE, "c": None}
    assert strictest(wishes.get, ["c"]) is None and strictest(wishes.get, ["a", "c"]) is LOCAL
    both = strictest(wishes.get, ["a", "b", "c"])
    assert (both.masking, both.subjects, both.facts) == (Masking.LOCAL_PARTS, False, False)
    assert strictest(nothing_hidden, ["a"]) is None


def test_what_facts_are_kept_for():
    assert not LOCAL.keeps_facts and not NONE.keeps_facts
    assert Redactor(Masking.NONE, subjects=False, facts=True, key=KEY).keeps_facts


@pytest.mark.parametrize("address", ["bob@contoso.com", "Ann.O'Hara@EXAMPLE.net", "jürgen@münchen.test"])
def test_searches_know_every_spelling(address):
    assert [one.address(address) for one in spellings(KEY)] == [LOCAL.address(address), ALL.address(address)]
