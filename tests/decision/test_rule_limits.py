"""What can never be told of a message, because of a limit, is for rule_error_action to decide; an outage passes."""

from __future__ import annotations

import pytest

from decision.judging import fates, settled
from lockgate.decision.stage import Depth
from lockgate.mail.findings import Answer, Found, InText, Question, Unknown, WhatParts
from lockgate.mail.headers import message_of
from lockgate.mail.structure import Part, Structure
from lockgate.testing.builders import facts_of, people, policy_of, who_of

HEAD = """
[[organisation]]
name = "contoso"
[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true
[[mail_flow_rule]]
name = "R"
reject_message = {}
"""
TEXT = 'subject_or_body_contains_words = ["falcon"]\n'
FILES = 'attachment_extension_matches_words = ["exe"]\n'
DEFER = 'rule_error_action = "defer"\n'
OTHER = 'except_if_attachment_extension_matches_words = ["pdf"]\n'
LONG: Answer = Found("", cut=True)
DEEP: Answer = Structure((Part("text/plain", 0, 1),), cut=True)
AWAY: Answer = Unknown("the disk is away")


def fate(rule: str, text: Answer = LONG, parts: Answer = DEEP, depth: Depth = Depth.LIVE) -> str:
    directory = people(who_of("contoso", "ben@contoso.com"))

    def ask(questions: tuple[Question, ...]) -> dict[Question, Answer]:
        said: dict[Question, Answer] = {}
        for question in questions:
            if isinstance(question, InText):
                said[question] = text
            elif isinstance(question, WhatParts):
                said[question] = parts
        rest = tuple(question for question in questions if question not in said)
        return {**said, **directory(rest)}

    message = message_of("id", b"Subject: x\r\n\r\n", 1000, "mx.lockgate.test")
    facts = facts_of("x@far.example", "ben@contoso.com", message=message)
    (found,) = fates(settled(policy_of(HEAD + rule), facts, ask, depth=depth)[1])
    return found.split(" ")[0]


@pytest.mark.parametrize("depth", Depth)
@pytest.mark.parametrize("rule", [TEXT, FILES, TEXT + FILES, TEXT + OTHER])
def test_a_limit_leaves_the_rule_out_or_puts_the_message_off(rule: str, depth: Depth) -> None:
    assert fate(rule, depth=depth) == "->"
    assert fate(rule + DEFER, depth=depth) == "451"


@pytest.mark.parametrize("rule", [TEXT, TEXT + DEFER, TEXT + FILES])
def test_an_outage_is_waited_for(rule: str) -> None:
    assert fate(rule, text=AWAY, parts=AWAY) == "451"


def test_a_miss_decides_whatever_else_is_unknown() -> None:
    assert fate(TEXT + FILES + DEFER, parts=Structure((Part("text/plain", 0, 1),))) == "->"
    assert fate(TEXT + DEFER, text=Found("falcon", cut=True)) == "550"
