"""What is kept of Exchange's rules and not done: no copy goes as if it had been (specification 1.15.9)."""

from __future__ import annotations

import pytest

from decision.judging import settled
from decision.test_route import BASE, connector
from lockgate.decision.stage import Depth
from lockgate.flow.stories import failures, play, read_story
from lockgate.mail.ruling import Deliver, Drop, Hold, Refuse, Verdict
from lockgate.testing.builders import facts_of, people, policy_of, who_of

OUT = connector("site", "is_transport_rule_scoped = true", host="site.test")
RULE = '[[mail_flow_rule]]\nname = "R"\n'
BEN = "ben@contoso.com"
HELD = {
    "moderate_message_by_user = ['boss@contoso.com']": "somebody has to approve it, and nobody is asked here",
    "moderate_message_by_manager = true": "somebody has to approve it, and nobody is asked here",
    "apply_ome = true": "it may leave encrypted only, and nothing here encrypts messages",
    "apply_rights_protection_template = 'Do Not Forward'": "it may leave encrypted only",
    "apply_rights_protection_customization_template = 'OME'": "it may leave encrypted only",
    "apply_html_disclaimer = {text = '<p>', fallback_action = 'reject'}": "it may not go without its disclaimer",
    "notify_sender = 'reject_unless_silent_override'": "it would be rejected unless the sender insists",
    "disconnect = true": "its session would be ended without taking it",
    "smtp_reject_message = {reject_status_code = 554}": "it would be rejected as an edge server does",
}
GOES = (
    "remove_ome = true", "remove_ome_v2 = true", "remove_rms_attachment_encryption = true", "log_event_text = 'seen'",
    "notify_sender = 'notify_only'", "apply_html_disclaimer = {text = '<p>', location = 'prepend'}",
    "rule_sub_type = 'dlp'", "use_legacy_regex = true", "dlp_policy = 'PCI'",
)  # fmt: skip
NEVER = (
    "has_sender_override = true", "sender_in_recipient_list = ['L']", "recipient_in_sender_list = ['L']",
    "message_contains_data_classifications = [{name = 'Credit Card Number', min_count = 2}]",
)  # fmt: skip


def judged(*lines: str, depth: Depth = Depth.LIVE, more: str = "") -> Verdict:
    policy = policy_of(BASE + OUT + RULE + "\n".join([*lines, ""]) + more)
    facts = facts_of("x@sender.test", BEN)
    return settled(policy, facts, people(who_of("contoso", BEN)), depth=depth)[1].recipients[0]


@pytest.mark.parametrize("depth", Depth)
@pytest.mark.parametrize(("action", "because"), HELD.items())
def test_what_would_pass_for_done_is_held(action: str, because: str, depth: Depth) -> None:
    verdict = judged(action, depth=depth)
    assert isinstance(verdict.disposition, Hold) and verdict.disposition.why.startswith("rule R: ")
    assert because in verdict.disposition.why and not verdict.disposition.pending


@pytest.mark.parametrize("action", HELD)
def test_it_is_held_after_the_other_actions_and_instead_of_none(action: str) -> None:
    assert isinstance(judged(action, "reject_message = {}").disposition, Refuse)
    assert isinstance(judged(action, "delete_message = true").disposition, Drop)
    both = judged(action, 'set_header = {name = "X-A", value = "b"}', 'route_message_outbound_connector = "site"')
    assert isinstance(both.disposition, Hold)
    assert both.effects.connector == "site" and [edit.name for edit in both.effects.edits] == ["X-A"]
    later = RULE.replace('"R"', '"S"') + 'set_header = {name = "X-B", value = "b"}\n'
    assert not judged(action, more=later).effects.edits, "no later rule is looked at"
    audit = judged(action, 'mode = "audit"')
    assert isinstance(audit.disposition, Deliver)


@pytest.mark.parametrize("depth", Depth)
@pytest.mark.parametrize("action", GOES)
def test_the_rest_of_the_rule_is_done(action: str, depth: Depth) -> None:
    verdict = judged(action, 'route_message_outbound_connector = "site"', depth=depth)
    assert isinstance(verdict.disposition, Deliver) and verdict.disposition.route.connector == "site"


@pytest.mark.parametrize("condition", NEVER)
def test_reserved_conditions_never_match_and_say_why(condition: str) -> None:
    for line in (condition, f"either = [{{{condition}}}]", f"sent_to = ['{BEN}']\n{condition}"):
        verdict = judged(line, "delete_message = true", depth=Depth.FULL)
        assert isinstance(verdict.disposition, Deliver)
        assert any("kept from Exchange and never matches here" in step.because for step in verdict.steps)
    for line in (f"except_if_{condition}", f"except_if_either = [{{{condition}}}]"):
        assert isinstance(judged(line, "delete_message = true").disposition, Drop)


def test_a_story_says_what_becomes_of_it() -> None:
    story = read_story(
        f"given here\nfrom 198.51.100.9\nmail x@far.example -> {BEN}\n"
        f'expect {BEN} held "rule R: it may leave encrypted only, and nothing here encrypts messages"\n', "s",
    )  # fmt: skip
    assert failures(story, play(story, policy_of(BASE + RULE + "apply_ome = true\n"))) == ()
