"""Conditions about the subject look at all of it, in every field of that name, edited or not."""

from __future__ import annotations

import pytest

from lockgate.mail.findings import Found, InList, OnList
from lockgate.mail.header_edits import Change, HeaderEdit
from lockgate.mail.ruling import Hit
from lockgate.policy.text import LOOKED_THROUGH
from policies import policy
from policy.test_clues import ANA, case

LISTS = '[[named_list]]\nname = "names"\nkind = "words"\n'
RULES = [
    'subject_contains_words = ["secret"]',
    'subject_matches_patterns = ["s.cret"]',
    'subject_or_body_contains_words = ["secret"]',
    'subject_or_body_matches_patterns = ["s.cret"]',
    'subject_contains_list = ["names"]',
    'subject_or_body_contains_list = ["names"]',
    'header_contains_words = {header = "Subject", words = ["secret"]}',
]
EDITS = [(), (HeaderEdit(Change.SET, "X-Other", "1"),)]
every_rule = pytest.mark.parametrize("rule", RULES, ids=[rule.split(" ")[0] for rule in RULES])
edited = pytest.mark.parametrize("edits", EDITS, ids=["as it came", "edited"])


def seen(rule, header, edits):
    whole = f'{LISTS}[[mail_flow_rule]]\nname = "r"\n{rule}\nstop_rule_processing = true\n'
    rules = policy(whole).of("contoso").rules
    of = case(header, *edits)
    (test,) = rules.all[0].when
    of = of._replace(facts=of.facts.learn(dict.fromkeys(rules.asks, Found(""))))
    if "list" in rule:
        of = of._replace(facts=of.facts.learn(dict.fromkeys(rules.asks, OnList("", 1))))
        asks = [question for question in test(of, ANA).asks if isinstance(question, InList)]
        told = {question: OnList("secret" if "secret" in question.value.split() else "", 1) for question in asks}
        of = of._replace(facts=of.facts.learn(told))
    told = test(of, ANA)
    assert told.hit is Hit.NO or rules.all[0] in rules.likely(of, ANA)
    return told


@every_rule
@edited
@pytest.mark.parametrize(
    "header",
    [
        "Subject: a secret", f"Subject: {'x ' * 130}secret", "Subject:\r\nSubject: secret",
        "Subject: harmless\r\nSubject: secret", "Subject: secret\r\nSubject: harmless",
    ],
    ids=["short", "long", "empty first", "second", "first"],
)  # fmt: skip
def test_a_word_is_found_wherever_it_stands_in_a_subject(rule, header, edits):
    assert seen(rule, header, edits).hit is Hit.YES


@every_rule
@edited
def test_no_subject_has_no_word(rule, edits):
    for header in ("X-A: secret", "Subject: no secr et", "Subject:"):
        assert seen(rule, header, edits).hit is Hit.NO


@every_rule
@edited
def test_what_is_longer_than_what_is_looked_through_is_unknown_for_good(rule, edits):
    told = seen(rule, f"Subject: {'x ' * (LOOKED_THROUGH // 2)}secret", edits)
    assert told.hit is Hit.UNKNOWN and told.for_good
