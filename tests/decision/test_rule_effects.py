"""What rules do besides choosing a connector: refuse, hold, delete, demand TLS; on audit, and for a time."""

from __future__ import annotations

import msgspec
import pytest

from decision.judging import fates, settled
from decision.test_route import BASE, HQ
from lockgate.decision.stage import Depth
from lockgate.mail.facts import Facts, Point
from lockgate.mail.headers import message_of
from lockgate.mail.ruling import Hit, Ruling, Step
from lockgate.policy.problems import Invalid
from lockgate.testing.builders import facts_of, policy_of


def letter(head: str, *to: str, size: int = 1000) -> Facts:
    octets = head.replace("\n", "\r\n").encode() + b"\r\n"
    facts = facts_of("x@sender.test", *(to or ("ana@contoso.com",)))
    return msgspec.structs.replace(facts, message=message_of("id", octets, size, "here"))


def rules(*tables: str) -> str:
    return BASE + HQ + "".join(f'[[mail_flow_rule]]\nname = "r{n}"\n{text}\n' for n, text in enumerate(tables))


def ruling_of(text: str, facts: Facts, depth: Depth = Depth.LIVE) -> Ruling:
    live = settled(policy_of(text), facts, None, Point.DATA)[1]
    full = settled(policy_of(text), facts, None, Point.DATA, depth=Depth.FULL)[1]
    assert fates(live) == fates(full)
    return full if depth is Depth.FULL else live


def told(ruling: Ruling) -> list[Step]:
    return [step for step in ruling.recipients[0].steps if step.stage == "regulate"]


INVOICE = letter("From: a@sender.test\nSubject: =?utf-8?B?SW52b2ljZQ==?= 7\n")
PLAIN = letter("From: a@sender.test\nSubject: Greetings\n")


@pytest.mark.parametrize(
    ("action", "fate", "effect"),
    [
        ('reject_message = {reason_text = "No invoices", enhanced_status_code = "5.7.901"}', "550 5.7.901",
         "refused: 550 5.7.901 No invoices"),
        ("quarantine = true", "held: rule r0", "held"),
        ("delete_message = true", "dropped: rule r0", "deleted"),
    ],
)  # fmt: skip
def test_an_end_is_reached_by_the_matching_message_alone(action: str, fate: str, effect: str) -> None:
    text = rules(f'subject_contains_words = ["invoice"]\n{action}', 'subject_contains_words = ["invoice"]')
    ruling = ruling_of(text, INVOICE)
    assert fates(ruling) == [fate]
    assert [(step.subject, step.hit, step.because, step.effect) for step in told(ruling)] == [
        ("rule r0", Hit.YES, "the subject has 'invoice'", effect)
    ], "no later rule is looked at"
    assert fates(ruling_of(text, PLAIN)) == ["-> contoso/HQ ana@contoso.com"]


def test_one_recipient_is_refused_and_the_other_is_not() -> None:
    text = rules('sent_to = ["Ana@contoso.com"]\nreject_message = {}')
    ruling = ruling_of(text, letter("Subject: x\n", "ana@contoso.com", "ben@contoso.com"))
    assert fates(ruling) == ["550 5.7.1", "-> contoso/HQ ben@contoso.com"]


def test_a_rule_on_audit_says_what_it_would_do_and_does_nothing() -> None:
    audit = 'mode = "audit"\n'
    text = rules(f"{audit}quarantine = true\nstop_rule_processing = true", f"{audit}delete_message = true")
    ruling = ruling_of(text, PLAIN)
    assert fates(ruling) == ["-> contoso/HQ ana@contoso.com"]
    assert [step.effect for step in told(ruling)] == [
        "only told, because the rule is on audit: held",
        "only told, because the rule is on audit: deleted",
    ]


@pytest.mark.parametrize(
    ("at", "fate", "because"),
    [
        (1_767_225_599.0, "-> contoso/HQ ana@contoso.com", "its time has not begun"),
        (1_767_225_600.0, "held: rule r0", "it has no condition"),
        (1_767_312_000.0, "-> contoso/HQ ana@contoso.com", "its time is over"),
    ],
)
def test_a_rule_acts_within_its_time(at: float, fate: str, because: str) -> None:
    text = rules(
        "activation_date = 2026-01-01T00:00:00Z\nexpiry_date = 2026-01-02T01:00:00+01:00\nquarantine = true"
    )
    ruling = ruling_of(text, msgspec.structs.replace(PLAIN, at=at), Depth.FULL)
    assert fates(ruling) == [fate]
    assert told(ruling)[0].because == because


@pytest.mark.parametrize("condition", ["", 'subject_contains_words = ["greetings"]\n'])
@pytest.mark.parametrize(
    ("time", "fate"),
    [
        ("expiry_date = 1970-01-01T00:00:00Z", "-> contoso/HQ ana@contoso.com"),
        ("expiry_date = 1960-01-01T00:00:00Z", "-> contoso/HQ ana@contoso.com"),
        ("activation_date = 1970-01-01T00:00:00Z", "held: rule r0"),
        ("activation_date = 1960-01-01T00:00:00Z", "held: rule r0"),
    ],
)
def test_the_epoch_is_a_time_like_others(time: str, fate: str, condition: str) -> None:
    assert fates(ruling_of(rules(f"{condition}{time}\nquarantine = true"), PLAIN)) == [fate]


def test_a_rule_demands_tls_of_whatever_way_out() -> None:
    text = rules("route_message_outbound_require_tls = true").replace(HQ, "")
    by_connector = ruling_of(text + HQ + '\n', PLAIN)
    assert fates(by_connector) == ["-> contoso/HQ#encryption_only ana@contoso.com"]
    assert told(by_connector)[0].effect == "may leave over TLS only"
    strict = HQ.replace('name = "HQ"', 'name = "HQ"\ntls_settings = "certificate_validation"')
    assert fates(ruling_of(text + strict, PLAIN)) == ["-> contoso/HQ#certificate_validation ana@contoso.com"]


def test_what_is_too_long_to_be_looked_through_is_unknown_and_not_a_miss() -> None:
    long = letter(f"Subject: x\nX-Mark: {'a ' * 9000}\n evil\n")
    condition = 'header_contains_words = {header = "X-Mark", words = ["evil"]}'
    text = rules(f'{condition}\nrule_error_action = "defer"\nquarantine = true')
    assert fates(ruling_of(text, long)) == ["451 4.3.0"]
    short = letter("Subject: x\nX-Mark: a\n evil\n")
    assert fates(ruling_of(text, short)) == ["held: rule r0"]


def test_a_rule_may_look_at_the_envelope_instead_of_from() -> None:
    for location, fate in (("header", "-> contoso/HQ ana@contoso.com"), ("envelope", "held: rule r0"),
                           ("header_or_envelope", "held: rule r0")):  # fmt: skip
        text = rules(f'sender_domain_is = ["sender.test"]\nsender_address_location = "{location}"\nquarantine = true')
        facts = letter("From: boss@elsewhere.test\nSubject: x\n")
        assert fates(ruling_of(text, facts)) == [fate], location


def header_edits(ruling: Ruling, number: int = 0) -> list[tuple[str, str, str]]:
    return [(edit.change.value, edit.name, edit.value) for edit in ruling.recipients[number].effects.edits]


def test_a_later_rule_sees_what_an_earlier_one_did_to_the_header() -> None:
    text = rules(
        'subject_contains_words = ["invoice"]\nprepend_subject = "[BILL] "\n'
        'set_header = {name = "X-Kind", value = "bill"}',
        'header_contains_words = {header = "x-kind", words = ["bill"]}\nremove_header = "X-Kind"',
        'subject_matches_patterns = [\'^\\[bill\\] invoice\']\nexcept_if_header_contains_words = '
        '{header = "X-Kind", words = ["bill"]}\nset_header = {name = "X-Seen", value = "yes"}',
    )
    ruling = ruling_of(text, INVOICE)
    assert header_edits(ruling) == [
        ("prepend", "Subject", "[BILL] "),
        ("set", "X-Kind", "bill"),
        ("remove", "X-Kind", ""),
        ("set", "X-Seen", "yes"),
    ]
    assert [step.effect for step in told(ruling)] == [
        "Subject begins with '[BILL] ' now, X-Kind is 'bill' now", "X-Kind is taken out", "X-Seen is 'yes' now",
    ]  # fmt: skip
    assert fates(ruling) == ["-> contoso/HQ ana@contoso.com"]
    assert header_edits(ruling_of(text, PLAIN)) == []


def test_the_same_change_counts_again_after_another_and_a_prefix_always() -> None:
    one, other = 'set_header = {name = "X-A", value = "1"}', 'remove_header = "X-A"'
    edits = header_edits(ruling_of(rules(one, other, one, one), PLAIN))
    assert edits == [("set", "X-A", "1"), ("remove", "X-A", ""), ("set", "X-A", "1")]
    twice = rules('prepend_subject = "[A] "', 'prepend_subject = "[A] "')
    assert header_edits(ruling_of(twice, PLAIN)) == [("prepend", "Subject", "[A] ")] * 2


def test_the_edits_of_one_recipient_are_not_those_of_another() -> None:
    text = rules('sent_to = ["ana@contoso.com"]\nset_header = {name = "X-A", value = "1"}',
                 'header_contains_words = {header = "X-A", words = ["1"]}\nquarantine = true')  # fmt: skip
    ruling = ruling_of(text, letter("Subject: x\n", "ana@contoso.com", "ben@contoso.com"))
    assert fates(ruling) == ["held: rule r1", "-> contoso/HQ ben@contoso.com"]
    assert header_edits(ruling, 1) == []


def test_in_doubt_each_end_goes_on_with_its_own_header() -> None:
    long = letter(f"Subject: x\nX-Mark: {'a ' * 9000}\n evil\n")
    unsure = 'header_contains_words = {header = "X-Mark", words = ["evil"]}\nset_header = {name = "X-Bad", value = "1"}'
    unsure += '\nrule_error_action = "defer"'
    text = rules(unsure, 'header_contains_words = {header = "X-Bad", words = ["1"]}\nquarantine = true')
    assert fates(ruling_of(text, long)) == ["451 4.3.0"], "one end is held, the other delivered"


LEFT_ALONE = ["From", "Received", "DKIM-Signature", "Content-Type", "X-Lockgate-Hop", "ARC-Seal", "a b"]


@pytest.mark.parametrize("name", LEFT_ALONE)
def test_rules_leave_fields_alone_that_say_who_and_how(name: str) -> None:
    with pytest.raises(Invalid, match=r"leave it alone|no name"):
        policy_of(rules(f'remove_header = "{name}"'))
