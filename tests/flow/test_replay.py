"""Recorded mail judged by a draft: in groups, by rule and by sender; what no record says is counted, not guessed."""

from __future__ import annotations

import msgspec
import pytest

from doors.replays_here import kept_in
from flow.house import CONTOSO, House
from lockgate.flow.compared import MOST_GROUPS, MOST_SENDERS, Compared, Example
from lockgate.flow.replay import Comparison, compared
from lockgate.flow.settle import Ask
from lockgate.mail.record import Kept, Recorder
from lockgate.testing.builders import people, policy_of, who_of

PEOPLE = (
    who_of("contoso", "ben@contoso.com", city="Seattle"),
    who_of("contoso", "amy@contoso.com", city="Rome"),
)


FIELDS = b"From: x@one.test\r\nTo: ben@contoso.com\r\nX-Odd: strange\r\n"


def rule(name: str, *lines: str, do: str = "delete_message = true", more: str = "") -> str:
    return "\n".join(["[[mail_flow_rule]]", f'name = "{name}"', *lines, do, more, ""])


def local() -> Ask:
    """What a directory on this machine answers, and nobody else."""
    return people(*PEOPLE)


async def recorded(rules: str = "") -> House:
    house = House(policy=CONTOSO + rules)
    house.ask = local()
    await house.send("ben@contoso.com", "amy@contoso.com", sender="x@one.test", fields=FIELDS)
    await house.send("amy@contoso.com", sender="y@two.test", fields=b"From: <y@two.test>\r\n")
    await house.send("nobody@contoso.com", sender="y@two.test")
    await house.send("ben@contoso.com", sender="")
    await house.settle()
    return house


def told(house: House, rules: str, limit: int = 1000, organisation: str = "") -> dict:
    draft = policy_of(CONTOSO + rules)
    return compared(kept_in(house), draft, local(), Recorder(), limit, organisation)


async def test_nothing_changes_under_the_same_policy() -> None:
    house = await recorded(rule("One", 'sender_domain_is = ["one.test"]'))
    found = told(house, rule("One", 'sender_domain_is = ["one.test"]'))
    assert (found["messages"], found["recipients"], found["changed"], found["unknown"]) == (4, 5, 0, 0)
    assert found["groups"] == [] and found["rules"] == [] and found["senders"] == []


async def test_changes_are_told_by_group_rule_and_sender() -> None:
    house = await recorded(rule("Old", 'sender_domain_is = ["two.test"]'))
    found = told(house, rule("New", 'sent_to = ["ben@contoso.com"]'))
    assert found["changed"] == 3 and found["unknown"] == 0
    groups = {(one["before"].split(",")[0], one["now"].split(",")[0], one["count"]) for one in found["groups"]}
    assert groups == {
        ("leaves by connector hq", "dropped: rule New", 2),
        ("dropped: rule Old", "leaves by connector hq", 1),
    }
    rules = {one["rule"]: one for one in found["rules"]}
    assert (rules["New"]["newly"], rules["New"]["no_longer"], rules["New"]["changed"]) == (2, 0, 2)
    assert (rules["Old"]["newly"], rules["Old"]["no_longer"], rules["Old"]["changed"]) == (0, 1, 1)
    assert rules["Old"]["no_longer_examples"] == [{"id": "id-2", "recipient": "amy@contoso.com"}]
    senders = {one["domain"]: one["changed"] for one in found["senders"]}
    assert senders == {"one.test": 1, "two.test": 1, "<>": 1}


async def test_a_rule_that_does_something_else_has_a_part_in_the_change() -> None:
    house = await recorded(rule("Odd", 'header_contains_words = {header = "X-Odd", words = ["strange"]}'))
    found = told(house, rule("Odd", 'header_contains_words = {header = "X-Odd", words = ["strange"]}',
                             do="quarantine = true"))  # fmt: skip
    (one,) = found["rules"]
    assert (one["newly"], one["no_longer"], one["changed"]) == (0, 0, 2)


async def test_audit_changes_nothing_but_hits_are_told() -> None:
    house = await recorded()
    found = told(house, rule("Watch", 'subject_contains_words = ["hello"]', more='mode = "audit"'))
    assert found["changed"] == 0
    (one,) = found["rules"]
    assert (one["newly"], one["changed"], one["unknown"]) == (4, 0, 0) and len(one["newly_examples"]) == 3
    both = rule("Watch", 'subject_contains_words = ["hello"]', more='mode = "audit"\npriority = 0') + rule("All")
    rules = {one["rule"]: (one["newly"], one["changed"]) for one in told(house, both)["rules"]}
    assert rules == {"Watch": (4, 0), "All": (4, 4)}, "a rule on audit has no part in what changes"


@pytest.mark.parametrize(
    "condition",
    [
        'sender_domain_is = ["one.test"]',
        'from = ["x@one.test"]',
        'from_address_contains_words = ["one.test"]',
        'from_address_matches_patterns = ["^x@"]',
        'from_scope = "not_in_organization"',
        'sender_ip_ranges = ["198.51.100.0/24"]',
        'sent_to = ["ben@contoso.com"]',
        'sent_to_scope = "in_organization"',
        'recipient_domain_is = ["contoso.com"]',
        'recipient_address_contains_words = ["ben"]',
        'recipient_address_matches_patterns = ["^ben@"]',
        'recipient_ad_attribute_contains_words = {city = ["seattle"]}',
        'subject_contains_words = ["hello"]',
        'subject_matches_patterns = ["^he"]',
        'header_contains_words = {header = "X-Odd", words = ["strange"]}',
        'header_matches_patterns = {header = "X-Odd", patterns = ["^str"]}',
        'message_size_over = "10B"',
        'with_importance = "normal"',
        'any_of_to_header = ["ben@contoso.com"]',
        'sender_ad_attribute_contains_words = {city = ["seattle"]}',
        'ad_attribute_comparison = {attribute = "city", operator = "not_equal"}',
    ],
)  # fmt: skip
async def test_envelope_header_and_attribute_rules_leave_nothing_unknown(condition: str) -> None:
    house = await recorded()
    found = told(house, rule("New", condition, 'except_if_subject_contains_words = ["never"]'))
    assert found["unknown"] == 0 and found["doubts"] == []
    assert found["changed"] > 0 or condition.startswith(("sender_ad", "ad_attr"))
    assert sum(one["unknown"] for one in found["rules"]) == 0


async def test_what_the_records_do_not_say_is_counted_and_never_guessed() -> None:
    house = await recorded()
    body = rule("Body", 'sent_to = ["ben@contoso.com"]', 'subject_or_body_contains_words = ["secret"]')
    found = told(house, body)
    assert (found["changed"], found["unknown"]) == (0, 2) and found["groups"] == []
    (doubt,) = found["doubts"]
    assert doubt["count"] == 2 and "nobody asked this when the message came" in doubt["why"]
    sure = body.replace("[[mail", rule("First", 'sent_to = ["ben@contoso.com"]', "priority = 0") + "[[mail", 1)
    found = told(house, sure)
    assert (found["changed"], found["unknown"]) == (2, 0), "an earlier rule decides, so it makes no difference"
    watched = told(house, body + 'mode = "audit"\n')
    assert (watched["changed"], watched["unknown"]) == (0, 0)
    assert [(one["rule"], one["unknown"], one["newly"]) for one in watched["rules"]] == [("Body", 2, 0)]


async def test_limit_organisation_and_damage() -> None:
    house = await recorded()
    assert told(house, "", limit=2)["messages"] == 2
    assert told(house, "", organisation="fabrikam")["messages"] == 0
    comparison = Comparison(policy_of(CONTOSO), local(), Recorder())
    comparison.look(Kept("m", 1.0, "contoso", b"no story"))
    assert comparison.found.unreadable == 1

    def broken(questions):
        raise RuntimeError("a test")

    asking = rule("New", 'from_member_of = ["all@contoso.com"]')
    comparison = Comparison(policy_of(CONTOSO + asking), broken, Recorder())
    for one in kept_in(house):
        comparison.look(one)
    assert comparison.found.unreadable > 0 and comparison.found.messages == 4


def test_what_is_found_is_bounded_and_can_be_kept() -> None:
    found = Compared()
    for n in range(MOST_GROUPS + MOST_SENDERS + 10):
        found.change(f"a{n}", f"b{n}", str(n), f"d{n}.test", Example(f"m{n}", ""))
    assert len(found.groups) == MOST_GROUPS + 1 and len(found.senders) == MOST_SENDERS + 1
    assert found.senders["others"].changed == MOST_GROUPS + 10
    again = msgspec.json.decode(msgspec.json.encode(found), type=Compared)
    assert again == found and again.told()["groups"][0]["count"] == MOST_SENDERS + 10


@pytest.mark.parametrize(
    ("deed", "said"),
    [
        ('set_header = {name = "X-A", value = "1"}', "X-A is '1' now"),
        ('prepend_subject = "[out] "', "Subject begins with '[out] ' now"),
        ("set_scl = 6", "X-MS-Exchange-Organization-SCL is '6' now"),
        ('blind_copy_to = ["arch@far.example"]', "also to arch@far.example"),
        ('generate_notification = "about %%Subject%%"', "the recipient gets a notification"),
        ('generate_incident_report = {report_to = "soc@contoso.com", content = ["subject"]}',
         "incident report to soc@contoso.com"),
    ],
)  # fmt: skip
async def test_what_a_copy_says_and_who_gets_it_besides_is_a_change_too(deed: str, said: str) -> None:
    house = await recorded()
    draft = rule("Add", 'sent_to = ["amy@contoso.com"]', do=deed)
    found = told(house, draft)
    groups = {(one["before"].split("; ")[-1], one["now"].split("; ")[-1], one["count"]) for one in found["groups"]}
    assert ("rules changed nothing", said, 2) in groups
    (one,) = found["rules"]
    assert (one["rule"], one["newly"]) == ("Add", 2) and one["changed"] == found["changed"]
    back = await recorded(draft)
    assert told(back, draft)["changed"] == 0
    groups = {(one["before"].split("; ")[-1], one["now"].split("; ")[-1]) for one in told(back, "")["groups"]}
    assert (said, "rules change nothing") in groups


async def test_who_would_get_it_besides_is_told_as_well() -> None:
    house = await recorded()
    found = told(house, rule("Copy", 'sent_to = ["ben@contoso.com"]', do='blind_copy_to = ["amy@contoso.com"]'))
    joined = [one for one in found["groups"] if one["before"] == "did not get it"]
    assert [one["count"] for one in joined] == [1], "of two messages one went to amy anyhow"
    (one,) = found["rules"]
    assert one["changed"] == found["changed"] == 3


async def test_a_rule_is_counted_once_and_under_its_name() -> None:
    house = await recorded()
    found = told(house, rule("Body: words", 'subject_or_body_contains_words = ["secret"]', do="set_scl = 6"))
    assert [(one["rule"], one["unknown"]) for one in found["rules"]] == [("Body: words", found["unknown"])]
    assert found["unknown"] == 4
