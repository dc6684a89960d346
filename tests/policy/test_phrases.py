"""Words of lists are found exactly where the condition with the same words finds them, in any script."""

from __future__ import annotations

import sys
import time

import pytest
import re2
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.flow.listed import in_texts
from lockgate.mail.findings import ListInText, OnList
from lockgate.mail.lists import ListKind, ListName
from lockgate.policy.listed import FewEntries, find_value, read_entry
from lockgate.policy.phrases import MOST_PIECES, find_phrase, is_too_varied, read_phrase, simple_fold
from lockgate.policy.text import TextError, TextSet, is_outside, is_space, open_ended, word
from lockgate.testing.lists import MemoryLists, MemoryView

PIECES = (
    "invoice", "paßword", "password", "straße", "STRASSE", "ΣΊΣΥΦΟΣ", "σίσυφος", "c++", "node.js", "foo-bar",
    "サーバー", "サーバ", "東京", "々木", "ー", "木", "ไทย", "İstanbul", "istanbul", "ʼn", "10%", "_a", "a_", "é",
    "e\u0301", "ǆ", "ŉ", "ﬁn", "K.", "½", "x²", "·a·b", "'a'", "③", "〇", "\u0301x", "ー2", "2ー", "ｶﾞ", "мир", "МИР",
    "العالم", "नमस्ते", "a",
)  # fmt: skip
GAPS = (
    " ", "  ", "\n", "\t", "-", ",", ".", "", "\x0b", "\x85", "\u3000", "\xa0", "ー", "_", "\u200d", "\u20dd", "\ufeff",
    "'", "\x1c", "\0", "\u2028", "\ud800",
)  # fmt: skip
SIGNS = [chr(code) for code in range(sys.maxunicode + 1) if not 0xD800 <= code < 0xE000]


def runs(most: int) -> st.SearchStrategy[str]:
    spelled = st.sampled_from(PIECES).flatmap(lambda one: st.sampled_from((one, one.upper(), one.title(), one[:2])))
    pair = st.tuples(spelled, st.sampled_from(GAPS))
    return st.lists(pair, max_size=most).map(lambda pairs: "".join(a + b for a, b in pairs))


TEXTS = st.one_of(runs(10), st.text(max_size=40))
PHRASES = st.one_of(runs(4), st.text(max_size=6)).map(str.strip)


@settings(max_examples=1500)
@given(st.lists(PHRASES, min_size=1, max_size=8), TEXTS, st.data())
def test_a_list_finds_what_the_condition_finds(phrases: list[str], text: str, data: st.DataObject) -> None:
    entries, needles = [], []
    for phrase in phrases:
        try:
            entries.append(read_phrase(phrase))
        except TextError:
            continue
        needles.append(word(phrase))
    # So that something is there to be found, more often than not.
    around = [data.draw(st.sampled_from([*GAPS, "a", "木"])) for _ in range(2)]
    if phrases and data.draw(st.booleans()):
        text = f"{text}{around[0]}{data.draw(st.sampled_from(phrases))}{around[1]}"
    hits = [needles[number].written for number in TextSet(needles).hits(text)]
    found = find_phrase([text], FewEntries(entries))
    assert (found is not None) == bool(hits), (found, hits)
    assert found is None or found.text in hits


def test_signs_that_differ_in_case_only_are_cut_alike() -> None:
    for sign in SIGNS:
        folded = simple_fold(sign)
        if folded != sign:
            assert simple_fold(folded) == folded, ascii(sign)
            assert (open_ended(sign), is_outside(sign)) == (open_ended(folded), is_outside(folded)), ascii(sign)


def test_signs_are_one_for_us_if_they_are_for_re2() -> None:
    options = re2.Options()
    options.case_sensitive = False
    for sign in SIGNS:
        folded = simple_fold(sign)
        if folded != sign:
            assert re2.compile(re2.escape(folded), options).fullmatch(sign) is not None, ascii(sign)
        for other in {sign.lower(), sign.upper(), sign.title()} - {sign}:
            alike = re2.compile(re2.escape(sign), options).fullmatch(other) is not None
            assert alike == (simple_fold(sign) == other if len(other) == 1 and other == folded else
                             len(other) == 1 and simple_fold(other) == folded), (ascii(sign), ascii(other))  # fmt: skip


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("About Project  Falcon.", "project falcon"), ("about projectfalcon", ""), ("the project Falcons", ""),
        ("Re:falcon", "falcon"), ("falcon_x", ""), ("falcon", "falcon"), ("xfalcon", ""), ("C++!", "c++"),
        ("我在東京都", "東京"), ("project falcon nine launch plan is here", "project falcon nine launch plan"),
        ("project falcon nine launch", "project falcon"), ("", ""),
    ],
)  # fmt: skip
def test_the_longest_entry_at_the_first_place_is_told(text: str, found: str) -> None:
    entries = FewEntries(
        map(read_phrase, ("falcon", "project falcon", "project falcon nine launch plan", "c++", "東京"))
    )
    entry = find_phrase([text], entries)
    assert (entry.text if entry is not None else "") == found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (" a", "begins or ends with a space"), ("", "empty"), ("a" * 257, "256 characters"), ("a\x07b", "control"),
        ("\xa8x", "a space and a mark"), (" ".join("ab" * MOST_PIECES), "at most"), ("東" * 33, "at most"),
    ],
)  # fmt: skip
def test_what_cannot_be_looked_up_is_refused_with_the_reason(text: str, why: str) -> None:
    with pytest.raises(TextError, match=why):
        read_phrase(text)


def test_domains_cover_what_is_below_them_and_addresses_only_themselves() -> None:
    domains = FewEntries([read_entry("domains", one) for one in ("Partner.Example.", "bücher.example", "a.b.test")])
    for value, entry in (
        ("partner.example", "Partner.Example."), ("x.y.partner.example", "Partner.Example."), ("xpartner.example", ""),
        ("shop.xn--bcher-kva.example", "bücher.example"), ("b.test", ""), ("example", ""), ("[192.0.2.1]", ""),
        ("", ""),
    ):  # fmt: skip
        found = find_value("domains", value, domains)
        assert (found.text if found is not None else "") == entry
    people = FewEntries([read_entry("addresses", "Ann@Partner.Example")])
    assert find_value("addresses", "ann@partner.example", people).text == "Ann@Partner.Example"
    assert find_value("addresses", "ann@x.partner.example", people) is None
    for kind, wrong in (("domains", "*.a.test"), ("domains", "a b"), ("addresses", "a.test"), ("domains", "x@a.test")):
        with pytest.raises(ValueError, match=r".+"):
            read_entry(kind, wrong)


def test_what_is_a_space_for_re2_is_one_for_us() -> None:
    assert all(sign.isspace() for sign in SIGNS if is_space(sign))


def test_a_text_that_is_made_to_cost_is_a_limit_that_is_told() -> None:
    lists, question = MemoryLists(), ListInText("contoso", "names")
    lists.views[ListName("contoso", ListKind.WORDS, "names")] = MemoryView([read_phrase("falcon nine x")], 3)
    everything = "".join(SIGNS[:400_000])
    began = time.process_time()

    def asked(*texts: str) -> OnList:
        return in_texts(lists, [question], texts, cut=False)[question]

    assert asked(everything) == OnList("", 3, cut=True)
    assert asked(everything, "falcon  NINE x") == OnList("falcon nine x", 3)
    # Every place begins like an entry, none goes on.
    assert asked("falcon nine " * 80_000) == OnList("", 3)
    assert time.process_time() - began < 5
    assert not is_too_varied("a" * 1_000_000) and not is_too_varied("".join(SIGNS[:20_000]))
