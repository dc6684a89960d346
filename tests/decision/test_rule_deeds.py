"""What rules say of a message and whom they tell: spam level, classification, managers, reports, notes, severity."""

from __future__ import annotations

import msgspec
import pytest

from decision.judging import Ask, fates, settled
from decision.test_route import BASE, HQ, OWN_SERVER
from lockgate.decision.stage import Depth
from lockgate.mail.facts import Facts, Point
from lockgate.mail.findings import Answer, InText, Question, Unknown, WhoIs
from lockgate.mail.header_edits import fields_after
from lockgate.mail.headers import message_of
from lockgate.mail.internal_headers import level_of
from lockgate.mail.ruling import Effects, Hit, ReportWanted, RuleHit, Ruling, Severity, Step, Verdict
from lockgate.policy.problems import Invalid
from lockgate.testing.builders import connection_of, facts_of, people, policy_of, who_of

AWAY: Answer = Unknown("the disk is away")
ANA, BEN, BOSS = (f"{name}@contoso.com" for name in ("ana", "ben", "boss"))
DIRECTORY = people(
    who_of("contoso", ANA, manager=BOSS), who_of("contoso", BEN), who_of("contoso", "odd@contoso.com", manager="??"),
)  # fmt: skip
HYBRID = OWN_SERVER + "cloud_services_mail_enabled = true\n"
REPORT = 'generate_incident_report = {report_to = "soc@contoso.com", content = ["subject", "severity"]}\n'
NOTE = 'generate_notification = "about %%Subject%%"\n'
WANTED = ReportWanted("r0", "soc@contoso.com", ("subject", "severity"))


def letter(head: str = "", *to: str, author: str = "x@sender.test", peer: str = "198.51.100.7") -> Facts:
    octets = f"From: {author}\r\nSubject: hello\r\n{head}\r\n".encode()
    message = message_of("id", octets, 1000, "here")
    return facts_of(author, *(to or (BEN,)), connection=connection_of(peer), message=message)


def rules(*tables: str) -> str:
    return "".join(f'[[mail_flow_rule]]\nname = "r{n}"\n{text}\n' for n, text in enumerate(tables))


def judged(text: str, facts: Facts, ask: Ask = DIRECTORY) -> Ruling:
    """The same at both depths."""
    policy = policy_of(BASE + HQ + text)
    live, full = (settled(policy, facts, ask, Point.DATA, depth=depth)[1] for depth in (Depth.LIVE, Depth.FULL))
    assert fates(live) == fates(full)
    assert [one.effects for one in live.recipients] == [one.effects for one in full.recipients]
    return live


def verdict(text: str, facts: Facts | None = None, ask: Ask = DIRECTORY) -> Verdict:
    return judged(text, facts or letter(), ask).recipients[0]


def hits(one: Verdict) -> list[str]:
    return [step.rule.rule for step in one.steps if step.rule is not None and step.hit is Hit.YES]


def away(questions: tuple[Question, ...]) -> dict[Question, Answer]:
    """The text of the message cannot be looked through."""
    rest = DIRECTORY(tuple(question for question in questions if not isinstance(question, InText)))
    return {**rest, **{question: AWAY for question in questions if isinstance(question, InText)}}


# --- spam level and classification ------------------------------------------------------------------------------------


def test_a_level_is_seen_by_later_rules_and_the_last_one_counts() -> None:
    text = rules("scl_over = 5", "set_scl = 6", "scl_over = 6", "scl_over = 7", "set_scl = -1", "scl_over = 0",
                 "scl_over = -1")  # fmt: skip
    one = verdict(text)
    assert one.effects.scl == -1
    assert hits(one) == ["r1", "r2", "r4", "r6"]
    facts = letter()
    assert facts.message is not None
    assert ("X-MS-Exchange-Organization-SCL", "-1") in fields_after(facts.message.fields, one.effects.edits)
    assert [step.effect for step in one.steps if step.subject == "rule r1"] == [
        "X-MS-Exchange-Organization-SCL is '6' now"
    ]


@pytest.mark.parametrize(
    ("head", "peer", "hit"),
    [
        ("X-MS-Exchange-CrossPremises-SCL: 9\r\n", "192.0.2.25", True),
        ("X-MS-Exchange-CrossPremises-SCL: 9\r\n", "198.51.100.7", False),
        ("X-MS-Exchange-Organization-SCL: 9\r\n", "198.51.100.7", False),
        ("X-MS-Exchange-Organization-SCL: 9\r\n", "192.0.2.25", False),
        ("X-MS-Exchange-CrossPremises-SCL: 9\r\nX-MS-Exchange-CrossPremises-SCL: 1\r\n", "192.0.2.25", False),
        ("", "192.0.2.25", False),
    ],
)
def test_a_level_counts_only_from_those_who_are_believed(head: str, peer: str, hit: bool) -> None:
    text = HYBRID + rules("scl_over = 7", "except_if_scl_over = 7")
    assert hits(verdict(text, letter(head, author=ANA, peer=peer))) == [["r1"], ["r0"]][hit]


def test_levels_are_read_strictly() -> None:
    assert [level_of([text]) for text in ("-1", "0", " 9 ", "10", "-2", "x", "", "٣", "+1")] == [
        -1, 0, 9, None, None, None, None, None, None
    ]  # fmt: skip
    assert level_of(["1", "1"]) is None and level_of([]) is None


def test_a_classification_is_seen_by_later_rules_whatever_a_stranger_wrote() -> None:
    text = HYBRID + rules('has_classification = "secret"', "has_no_classification = true",
                          'apply_classification = "Secret"', 'has_classification = "sECRET"',
                          "has_no_classification = true", 'apply_classification = "Öffentlich"',
                          'has_classification = "öffentlich"')  # fmt: skip
    forged = "X-MS-Exchange-Organization-Classification: Secret\r\n"
    one = verdict(text, letter(forged))
    assert hits(one) == ["r1", "r2", "r3", "r5", "r6"] and one.effects.classification == "Öffentlich"
    told = letter("X-MS-Exchange-CrossPremises-Classification: secret\r\n", author=ANA, peer="192.0.2.25")
    assert hits(verdict(text, told))[:2] == ["r0", "r2"]


@pytest.mark.parametrize(
    "action", ["set_scl = -1", 'apply_classification = "a"', REPORT, NOTE, f'mode = "audit"\n{REPORT}']
)
def test_what_is_said_of_it_is_never_guessed(action: str) -> None:
    """In doubt about the condition the recipient is put off, although it would be delivered either way."""
    text = rules(f'subject_or_body_contains_words = ["maybe"]\n{action}')
    ruling = judged(text, letter(), away)
    assert fates(ruling) == ["451 4.3.0"] and ruling.recipients[0].steps[-1].subject == "what rules say of it"
    same = rules(action, f'subject_or_body_contains_words = ["maybe"]\n{action}')
    if action.startswith(("apply", "set")):
        assert fates(judged(same, letter(), away)) == ["-> contoso/HQ ben@contoso.com"], "it makes no difference"


def test_other_actions_write_no_level() -> None:
    for action in ('set_header = {name = "X-MS-Exchange-Organization-SCL", value = "1"}',
                   'remove_header = "x-ms-exchange-organization-classification"'):  # fmt: skip
        with pytest.raises(Invalid, match="written by the action"):
            policy_of(BASE + rules(action))


def test_an_edition_without_classifications_is_told_so() -> None:
    text = BASE.replace('name = "contoso"\n', 'name = "contoso"\nedition = "standalone"\n', 1)
    told = [str(one.message) for one in policy_of(text + rules('has_classification = "a"\nset_scl = 1')).warnings]
    assert any("has_classification is not part of the edition 'standalone'" in one for one in told)
    others = policy_of(BASE + rules('has_classification = "a"')).warnings
    assert not any("edition" in one.message for one in others)


# --- the manager ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("how", "author", "expected"),
    [
        ("to", ANA, ["-> contoso/HQ ben@contoso.com", "-> contoso/HQ boss@contoso.com"]),
        ("cc", ANA, ["-> contoso/HQ ben@contoso.com", "-> contoso/HQ boss@contoso.com"]),
        ("bcc", ANA, ["-> contoso/HQ ben@contoso.com", "-> contoso/HQ boss@contoso.com"]),
        ("redirect", ANA, ["resolved: redirected by rule r0 to boss@contoso.com", "-> contoso/HQ boss@contoso.com"]),
        ("redirect", BEN, ["-> contoso/HQ ben@contoso.com"]),
        ("to", "odd@contoso.com", ["-> contoso/HQ ben@contoso.com"]),
        ("to", "x@sender.test", ["-> contoso/HQ ben@contoso.com"]),
    ],
)
def test_the_manager_of_the_sender_is_added(how: str, author: str, expected: list[str]) -> None:
    text = rules(f'add_manager_as_recipient_type = "{how}"')
    ruling = judged(text, letter(author=author))
    assert fates(ruling) == expected
    names = [edit.name for edit in ruling.recipients[0].effects.edits]
    assert names == ([{"to": "To", "cc": "Cc"}[how]] if author == ANA and how in ("to", "cc") else [])


def test_a_directory_that_is_away_is_not_without_managers() -> None:
    def no_directory(questions: tuple[Question, ...]) -> dict[Question, Answer]:
        return {question: AWAY if question == WhoIs("contoso", ANA) else answer
                for question, answer in DIRECTORY(questions).items()}  # fmt: skip

    text = rules('add_manager_as_recipient_type = "bcc"')
    ruling = judged(text, letter(author=ANA), no_directory)
    assert fates(ruling) == ["451 4.3.0"]
    assert "the directory cannot say who ana@contoso.com is" in ruling.recipients[0].steps[-1].because
    for left_out in ('mode = "audit"\n', 'sent_to = ["carl@contoso.com"]\n', "enabled = false\n"):
        told = rules(f'{left_out}add_manager_as_recipient_type = "bcc"')
        assert fates(judged(told, letter(author=ANA), no_directory)) == ["-> contoso/HQ ben@contoso.com"], left_out
    after = rules("delete_message = true", 'add_manager_as_recipient_type = "bcc"')
    assert fates(judged(after, letter(author=ANA), no_directory)) == ["dropped: rule r0"]


def test_a_rule_on_audit_tells_which_manager_it_would_add() -> None:
    text = rules('mode = "audit"\nadd_manager_as_recipient_type = "cc"', 'from = ["ana@contoso.com"]')
    facts = letter(author=ANA).learn(DIRECTORY((WhoIs("contoso", ANA),)))
    one = verdict(text, facts)
    assert one.effects == Effects()
    assert one.steps[-3].effect == "only told, because the rule is on audit: also to boss@contoso.com, " \
        "boss@contoso.com stands in Cc"


# --- who is told ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mode", "reports", "notes", "fate", "effect"),
    [
        ("enforce", (WANTED,), ("r0",), "dropped: rule r0",
         "incident report to soc@contoso.com, the recipient gets a notification, deleted"),
        ("audit", (WANTED,), (), "-> contoso/HQ ben@contoso.com",
         "incident report to soc@contoso.com; only told, because the rule is on audit: "
         "the recipient gets a notification, deleted"),
        ("audit_and_notify", (WANTED,), ("r0",), "-> contoso/HQ ben@contoso.com",
         "incident report to soc@contoso.com, the recipient gets a notification; "
         "only told, because the rule is on audit: deleted"),
    ],
)  # fmt: skip
def test_modes_decide_which_actions_are_carried_out(
    mode: str, reports: tuple[ReportWanted, ...], notes: tuple[str, ...], fate: str, effect: str
) -> None:
    text = rules(f'mode = "{mode}"\nset_audit_severity = "high"\n{REPORT}{NOTE}delete_message = true')
    ruling = judged(text, letter())
    (one,) = ruling.recipients
    assert fates(ruling) == [fate]
    assert (one.effects.reports, one.effects.notes) == (reports, notes)
    (step,) = [step for step in one.steps if step.stage == "regulate"]
    actions = ("delete_message", "generate_incident_report", "generate_notification")
    assert step.rule == RuleHit("r0", mode, Severity.HIGH, actions)
    assert step.effect == f"{effect}; severity high"


def test_a_rule_on_audit_ends_nothing() -> None:
    one = verdict(rules(f'mode = "audit"\nstop_rule_processing = true\n{REPORT}reject_message = {{}}', "set_scl = 1"))
    assert hits(one) == ["r0", "r1"] and one.effects.end is None
    assert one.steps[0].rule is not None and "stop_rule_processing" in one.steps[0].rule.actions


def test_whom_rules_add_gets_the_level_and_no_letters() -> None:
    text = rules(f'set_scl = 9\napply_classification = "a"\n{REPORT}{NOTE}blind_copy_to = ["{BOSS}"]')
    first, added = judged(text, letter()).recipients
    assert first.effects.reports and first.effects.notes
    assert (added.effects.scl, added.effects.classification) == (9, "a")
    assert (added.effects.reports, added.effects.notes) == ((), ())


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('generate_notification = "<script>x</script>"', "nothing that acts"),
        ('generate_notification = "<p onclick=x>x"', "nothing that acts"),
        ('generate_notification = "%%Subjct%%"', "there is no %%Subjct%%"),
        ('generate_notification = ""', "must not be empty"),
        (f'generate_notification = "{"x" * 5121}"', "at most 5120"),
        ('generate_incident_report = {report_to = "soc"}', "soc"),
        ('generate_incident_report = {report_to = "a@b.test", content = ["everything"]}', "attach_original_mail"),
        ("set_scl = 10", "less than or equal to 9"),
        ("set_scl = -2", "greater than or equal to -1"),
        ('add_manager_as_recipient_type = "everybody"', "redirect"),
        ('set_audit_severity = "grave"', "do_not_audit"),
    ],
)
def test_what_cannot_be_meant_is_refused_when_saved(line: str, message: str) -> None:
    with pytest.raises(Invalid) as trouble:
        policy_of(BASE + rules(line))
    assert any(message in problem.message for problem in trouble.value.problems), trouble.value.problems


def test_records_of_older_versions_are_read() -> None:
    old = {"stage": "regulate", "subject": "rule City", "hit": "yes", "because": "it is so"}
    step = msgspec.msgpack.decode(msgspec.msgpack.encode({**old, "effect": "", "recipient": ""}), type=Step)
    assert step == Step("regulate", "rule City", Hit.YES, "it is so") and step.rule is None
    written = {"connector": "HQ", "rule": "City", "require_tls": True, "end": None, "edits": [], "added": [],
               "ruled": False}  # fmt: skip
    assert msgspec.convert(written, Effects) == Effects("HQ", "City", require_tls=True)
    hit = RuleHit("City", "audit", Severity.LOW, ("quarantine",))
    full = Step("regulate", "rule City", Hit.YES, "it is so", rule=hit)
    assert msgspec.msgpack.decode(msgspec.msgpack.encode(full), type=Step) == full


def test_what_only_an_earlier_edit_makes_a_question_is_asked_too() -> None:
    condition = 'header_contains_words = {header = "X-A", words = ["yes"]}\n'
    text = rules('set_header = {name = "X-A", value = "yes"}', f'{condition}add_manager_as_recipient_type = "bcc"',
                 f'{condition}sender_ad_attribute_contains_words = {{manager = ["boss"]}}\nset_scl = 5')  # fmt: skip
    ruling = judged(text, letter(author=ANA))
    assert fates(ruling) == ["-> contoso/HQ ben@contoso.com", "-> contoso/HQ boss@contoso.com"]
    assert ruling.recipients[0].effects.scl == 5
