"""Rules about whom a message is from, where From is so written that readers differ."""

from __future__ import annotations

import pytest

from decision.judging import fates
from decision.test_rule_effects import letter, rules, ruling_of
from lockgate.decision.stage import Depth
from mail.test_loose_mailboxes import SPELLINGS

DELIVERED = ["-> contoso/HQ ana@contoso.com"]
CONDITIONS = [
    'sender_domain_is = ["bad.test"]', 'from = ["U@bad.test"]', 'from_address_contains_words = ["bad.test"]',
    'from_address_matches_patterns = ["@bad"]',
]  # fmt: skip


@pytest.mark.parametrize("depth", Depth)
@pytest.mark.parametrize("condition", CONDITIONS)
def test_no_spelling_of_from_gets_by(condition: str, depth: Depth) -> None:
    text = rules(f"{condition}\nquarantine = true")
    for spelling in SPELLINGS:
        facts = letter(f"From: {spelling}\nSubject: x\n")
        assert fates(ruling_of(text, facts, depth)) == ["held: rule r0"], spelling
    assert fates(ruling_of(text, letter("From: a@other.test x\n"), depth)) == DELIVERED


@pytest.mark.parametrize("author", ["@", "u@", "nobody", "undisclosed:;", ""])
def test_a_from_that_names_nobody_switches_no_rule_off(author: str) -> None:
    text = rules('except_if_sender_domain_is = ["partner.test"]\nquarantine = true')
    assert fates(ruling_of(text, letter(f"From: {author}\nSubject: x\n"))) == ["held: rule r0"]


def test_whom_to_names_is_found_too() -> None:
    text = rules('any_of_to_header = ["all@contoso.com"]\nquarantine = true')
    assert fates(ruling_of(text, letter("From: a@x.test\nTo: All <all@contoso.com> (x\n"))) == ["held: rule r0"]
