"""Rules are found by what has to be in a message; the index hides none that could match."""

from __future__ import annotations

import pytest

from lockgate.mail.address import Address
from lockgate.mail.connection import Connection
from lockgate.mail.envelope import Envelope
from lockgate.mail.facts import Facts
from lockgate.mail.header_edits import Change, HeaderEdit
from lockgate.mail.headers import message_of
from lockgate.mail.ruling import Hit, Standing
from lockgate.policy.networks import parse_address
from lockgate.policy.rules import Case, CompiledRules
from lockgate.policy.text import LOOKED_THROUGH
from policies import policy

DO = "stop_rule_processing = true"
ANA = Address("ana", "contoso.com")


def rules(*texts: str) -> CompiledRules:
    whole = "".join(f'[[mail_flow_rule]]\nname = "r{number}"\n{text}\n{DO}\n' for number, text in enumerate(texts))
    return policy(whole).of("contoso").rules


def case(header: str = "", *edits: HeaderEdit, city: str = "", sender: str = "x@sender.test") -> Case:
    connection = Connection("C", "192.0.2.1", parse_address("192.0.2.1"), 25, "192.0.2.2:25")
    message = message_of("id", f"From: {sender}\r\n{header}\r\n\r\n".encode(), 10, "here")
    standing = Standing("contoso", who_attributes={"city": city} if city else {})
    return Case(Facts(0.0, connection, Envelope(Address("e", "envelope.test")), (), message), standing, edits)


def names(found: CompiledRules, of: Case, recipient: Address = ANA) -> list[str]:
    likely = found.likely(of, recipient)
    for rule in found.all:
        missed = not rule.enabled or any(test(of, recipient).hit is Hit.NO for test in rule.when)
        assert missed or rule in likely, "what could match is not left out"
    return [rule.name for rule in likely]


def test_by_subject_header_attribute_sender_and_recipient() -> None:
    found = rules('subject_contains_words = ["stock", "price"]',
                  'header_matches_patterns = {header = "X-A", patterns = ["^y.s$"]}',
                  'recipient_ad_attribute_contains_words = {city = ["oslo"], company = ["oslo"]}',
                  'from_address_contains_words = ["sender"]', 'recipient_address_matches_patterns = ["^a.a@"]',
                  'message_size_over = 1')  # fmt: skip
    assert names(found, case(sender="b@b.test"), Address("b", "contoso.com")) == ["r5"]
    assert names(found, case("Subject: the price", sender="b@b.test")) == ["r0", "r4", "r5"]
    assert names(found, case("x-a: yes", sender="b@b.test")) == ["r1", "r4", "r5"]
    assert names(found, case(city="Oslo", sender="b@b.test")) == ["r2", "r4", "r5"]
    assert names(found, case()) == ["r3", "r4", "r5"]


@pytest.mark.parametrize("where", ["header", "envelope", "header_or_envelope"])
def test_the_sender_is_looked_for_where_the_rule_says(where: str) -> None:
    words = ("sender", "envelope")
    found = rules(*(f'sender_address_location = "{where}"\nfrom_address_contains_words = ["{one}"]' for one in words))
    expected = {"header": ["r0"], "envelope": ["r1"], "header_or_envelope": ["r0", "r1"]}
    assert names(found, case()) == expected[where]


def test_an_exception_is_no_clue_and_a_group_is_one_if_all_its_ways_are() -> None:
    words, size = 'subject_contains_words = ["{}"]', "message_size_over = 1"
    found = rules(f'except_if_{words.format("a")}\n{size}', f"either = [{{{words.format('a')}}}, {{{size}}}]",
                  f"either = [{{{words.format('a')}}}, {{header_contains_words = {{header = 'X-A', words = ['b']}}}}]")
    assert names(found, case()) == ["r0", "r1"]
    assert names(found, case("Subject: a")) == ["r0", "r1", "r2"] and names(found, case("X-A: b")) == ["r0", "r1", "r2"]


def test_of_several_conditions_the_needles_count_that_fewest_rules_have() -> None:
    oslo = 'recipient_ad_attribute_contains_words = {city = ["oslo"]}'
    found = rules(*(f'{oslo}\nsubject_contains_words = ["word{n}"]' for n in range(50)), oslo)
    assert names(found, case("Subject: word7", city="oslo")) == ["r7", "r50"]
    assert names(found, case("Subject: word7")) == ["r7"], "it is found by the word, and missed by the city"


def test_what_cannot_be_told_is_not_left_out() -> None:
    found = rules('header_contains_words = {header = "X-A", words = ["b"]}', 'subject_contains_words = ["b"]')
    assert names(found, case(f"X-A: {'x ' * LOOKED_THROUGH}")) == ["r0"], "too long to be looked through"
    nothing = case()._replace(facts=Facts(0.0, case().facts.connection))
    assert [rule.name for rule in found.likely(nothing, ANA)] == ["r0", "r1"], "there is no message yet"
    assert [rule.name for rule in CompiledRules(found.all).likely(case(), ANA)] == ["r0", "r1"], "nobody to ask"


def test_behind_a_change_of_the_header_others_are_found() -> None:
    found = rules('subject_contains_words = ["late"]', "message_size_over = 1", 'subject_contains_words = ["new"]',
                  'header_contains_words = {header = "X-A", words = ["b"]}', "message_size_over = 2")  # fmt: skip
    before = found.likely(case(), ANA)
    assert [rule.name for rule in before] == ["r1", "r4"]
    changed = case("", HeaderEdit(Change.SET, "Subject", "late new"), HeaderEdit(Change.SET, "X-A", "b"))
    behind = found.likely_behind(before[0], {"subject", "x-a"}, changed, ANA)
    assert [rule.name for rule in behind] == ["r2", "r3"], "r0 stands before the rule that changed it"
    assert [rule.name for rule in found.likely_behind(before[0], {"x-a"}, changed, ANA)] == ["r3"]
    assert found.likely_behind(before[0], {"x-b"}, changed, ANA) == (), "nothing reads what was changed"


def test_disabled_rules_are_not_found() -> None:
    assert names(rules('enabled = false\nsubject_contains_words = ["a"]'), case("Subject: a")) == []


def test_two_thousand_rules_about_words_that_are_not_there_are_not_looked_at() -> None:
    found = rules(*(f'subject_contains_words = ["word{n}", "other{n}"]' for n in range(2_000)))
    assert found.likely(case("Subject: word"), ANA) == ()
    assert [rule.name for rule in found.likely(case("Subject: word7 other9 word7"), ANA)] == ["r7", "r9"]
