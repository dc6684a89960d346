"""What is unknown to rules: put off where it decides what reaches somebody, and told of the rule that decides."""

from __future__ import annotations

import pytest

from decision.judging import fates
from decision.test_rule_deeds import away, judged, letter, rules
from lockgate.flow.rule_watch import told_of_rules
from lockgate.mail.ruling import Hit, Ruling, Verdict

BODY = 'subject_or_body_contains_words = ["secret"]\n'


def judged_in_doubt(*tables: str) -> Ruling:
    return judged(rules(*tables), letter(), away)


def unknown_to(verdict: Verdict) -> list[str]:
    return [told.rule for told in told_of_rules(verdict) if told.hit is Hit.UNKNOWN]


@pytest.mark.parametrize(
    "deed",
    [
        'set_header = {name = "X-Partner", value = "yes"}',
        'remove_header = "Subject"',
        'prepend_subject = "[out] "',
        "set_scl = -1",
        "quarantine = true",
        'blind_copy_to = ["boss@contoso.com"]',
    ],
)
def test_what_may_or_may_not_reach_the_recipient_is_not_guessed(deed: str) -> None:
    assert fates(judged_in_doubt(BODY + deed)) == ["451 4.3.0"]


def test_what_never_reaches_anybody_may_stay_unknown() -> None:
    edit, gone = BODY + 'set_header = {name = "X-A", value = "1"}', "delete_message = true"
    assert fates(judged_in_doubt(edit, gone)) == ["dropped: rule r1"]


def test_a_rule_on_audit_is_not_told_as_the_one_that_decides() -> None:
    ruling = judged_in_doubt(BODY + 'quarantine = true\nmode = "audit"', BODY + "reject_message = {}")
    assert fates(ruling) == ["451 4.3.0"]
    (verdict,) = ruling.recipients
    assert verdict.steps[-1].because.startswith("rule r1: ")
    assert unknown_to(verdict) == ["r0", "r1"], "it is unknown of both, and each is counted once"


def test_only_a_rule_on_audit_in_doubt_puts_nothing_off() -> None:
    (verdict,) = judged_in_doubt(BODY + 'quarantine = true\nmode = "audit"').recipients
    assert verdict.disposition is not None and unknown_to(verdict) == ["r0"]
