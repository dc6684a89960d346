"""Rules that add recipients or redirect: each once, nobody lost, no rule twice, circles refused."""

from __future__ import annotations

import pytest

from decision.judging import settled
from lockgate.decision.stage import Depth
from lockgate.mail.header_edits import Change, HeaderEdit, edited, fields_after
from lockgate.mail.headers import message_of
from lockgate.mail.recipient import Relation
from lockgate.mail.ruling import Defer, Deliver, Drop, Refuse, Resolved
from lockgate.policy.problems import Invalid
from lockgate.testing.builders import facts_of, people, policy_of, who_of

OUTSIDE = "x@far.example"
PEOPLE = {
    "who": [who_of("contoso", f"{name}@contoso.com") for name in ("ana", "ben", "archive")],
}
HEAD = """
[[organisation]]
name = "contoso"
[[organisation]]
name = "fabrikam"
[[accepted_domain]]
organisation = "contoso"
domain_name = "contoso.com"
vouched_by_operator = true
[[accepted_domain]]
organisation = "fabrikam"
domain_name = "fabrikam.com"
vouched_by_operator = true
[[outbound_connector]]
organisation = "contoso"
name = "HQ"
recipient_domains = ["contoso.com"]
use_mx_record = false
smart_hosts = ["192.0.2.1"]
"""


def rule(name, text, organisation="contoso"):
    return f'[[mail_flow_rule]]\norganisation = "{organisation}"\nname = "{name}"\n{text}\n'


def judged(rules, *recipients, sender=OUTSIDE, head="", directory=None, depth=Depth.LIVE):
    policy = policy_of(HEAD + rules)
    header = f"From: {sender}\r\nTo: all@contoso.com\r\n{head}Subject: x\r\n\r\n".encode()
    facts = facts_of(sender, *recipients, message=message_of("id", header, 1000, "mx.lockgate.test"))
    directory = directory or people(*PEOPLE["who"], who_of("fabrikam", "fab@fabrikam.com"))
    return settled(policy, facts, directory, depth=depth)[1]


def by_address(ruling):
    return {verdict.recipient.original.text: verdict for verdict in ruling.recipients}


def kinds(ruling):
    return {text: type(verdict.disposition) for text, verdict in by_address(ruling).items()}


def test_redirected():
    ruling = judged(rule("R", 'sent_to = ["ana@contoso.com"]\nredirect_message_to = ["archive@contoso.com"]'),
                    "ana@contoso.com", "ben@contoso.com")  # fmt: skip
    assert kinds(ruling) == {"ana@contoso.com": Resolved, "ben@contoso.com": Deliver, "archive@contoso.com": Deliver}
    copy = by_address(ruling)["archive@contoso.com"]
    assert copy.recipient.relation is Relation.REDIRECTED
    assert copy.recipient.derivation == "redirected by a rule from ana@contoso.com"
    assert HeaderEdit(Change.SET, "X-Lockgate-Rules-Redirected", "1") in copy.effects.edits
    assert by_address(ruling)["ana@contoso.com"].disposition.why == "redirected by rule R to archive@contoso.com"


def test_a_later_rule_that_chooses_the_way_keeps_whom_an_earlier_one_added():
    copy = rule("Copy", 'blind_copy_to = ["archive@contoso.com"]')
    ruling = judged(copy + rule("Way", 'route_message_outbound_connector = "HQ"'), "ana@contoso.com")
    assert kinds(ruling) == {"ana@contoso.com": Deliver, "archive@contoso.com": Deliver}


@pytest.mark.parametrize(("action", "field"), [("add_to_recipients", "To"), ("copy_to", "Cc"), ("blind_copy_to", "")])
def test_added_once_for_all_whose_copies_match(action, field):
    ruling = judged(rule("R", f'{action} = ["archive@contoso.com"]'), "ana@contoso.com", "ben@contoso.com")
    assert kinds(ruling) == dict.fromkeys(("ana@contoso.com", "ben@contoso.com", "archive@contoso.com"), Deliver)
    edit = HeaderEdit(Change.JOIN, field, "archive@contoso.com")
    assert all((edit in one.effects.edits) == bool(field) for one in ruling.recipients)


def test_whoever_has_it_already_gets_no_second_copy():
    ruling = judged(rule("R", 'blind_copy_to = ["ben@contoso.com", "ana@contoso.com"]'), "ana@contoso.com",
                    "ben@contoso.com")  # fmt: skip
    assert kinds(ruling) == {"ana@contoso.com": Deliver, "ben@contoso.com": Deliver}


def test_redirected_to_the_recipient_itself():
    ruling = judged(rule("R", 'redirect_message_to = ["ana@contoso.com"]'), "ana@contoso.com")
    assert kinds(ruling) == {"ana@contoso.com": Deliver}
    both = judged(rule("R", 'redirect_message_to = ["ana@contoso.com", "ben@contoso.com"]'), "ana@contoso.com")
    assert kinds(both) == {"ana@contoso.com": Deliver, "ben@contoso.com": Deliver}


def test_redirected_in_a_circle_is_refused_and_not_lost():
    rules = rule("A", 'sent_to = ["ana@contoso.com"]\nredirect_message_to = ["ben@contoso.com"]')
    rules += rule("B", 'sent_to = ["ben@contoso.com"]\nredirect_message_to = ["ana@contoso.com"]')
    ruling = judged(rules, "ana@contoso.com", "ben@contoso.com")
    assert Refuse in kinds(ruling).values(), kinds(ruling)
    (loop,) = {v.disposition.reply.enhanced for v in ruling.recipients if isinstance(v.disposition, Refuse)}
    assert loop == "5.7.128"
    alone = judged(rules, "ana@contoso.com")  # no rule is looked at for whom one derived
    assert kinds(alone) == {"ana@contoso.com": Resolved, "ben@contoso.com": Deliver}


def test_what_was_redirected_before_is_refused():
    text = rule("R", 'redirect_message_to = ["archive@contoso.com"]')
    ruling = judged(text, "ana@contoso.com", head="X-Lockgate-Rules-Redirected: 1\r\n")
    (verdict,) = ruling.recipients
    assert verdict.disposition.reply.enhanced == "5.7.128"


def test_no_rule_is_looked_at_for_whom_one_added():
    rules = rule("A", 'sent_to = ["ana@contoso.com"]\nblind_copy_to = ["ben@contoso.com"]')
    rules += rule("B", 'sent_to = ["ben@contoso.com"]\nreject_message = {}')
    assert kinds(judged(rules, "ana@contoso.com")) == {"ana@contoso.com": Deliver, "ben@contoso.com": Deliver}
    assert kinds(judged(rules, "ben@contoso.com")) == {"ben@contoso.com": Refuse}


def test_a_rule_that_ends_the_way_adds_nobody():
    rules = rule("A", 'blind_copy_to = ["ben@contoso.com"]') + rule("B", "reject_message = {}")
    assert kinds(judged(rules, "ana@contoso.com")) == {"ana@contoso.com": Refuse}


def test_after_a_redirect_no_later_rule_is_looked_at():
    rules = rule("A", 'redirect_message_to = ["ben@contoso.com"]') + rule("B", "reject_message = {}")
    assert kinds(judged(rules, "ana@contoso.com")) == {"ana@contoso.com": Resolved, "ben@contoso.com": Deliver}


ARCHIVE = 'blind_copy_to = ["archive@contoso.com"]'
TO_ARCHIVE = 'redirect_message_to = ["archive@contoso.com"]'


@pytest.mark.parametrize("depth", Depth)
@pytest.mark.parametrize(
    "rules",
    [
        rule("A", ARCHIVE) + rule("B", TO_ARCHIVE) + rule("C", "reject_message = {}"),
        rule("B", f"{ARCHIVE}\n{TO_ARCHIVE}") + rule("C", "reject_message = {}"),
        rule("A", 'copy_to = ["Archive@contoso.com"]') + rule("B", TO_ARCHIVE),
    ],
    ids=["a rule before", "the same rule", "another case"],
)
def test_redirected_to_whom_was_to_get_it_as_well(rules, depth):
    ruling = judged(rules, "ana@contoso.com", depth=depth)
    found = by_address(ruling)
    assert kinds(ruling) in ({"ana@contoso.com": Resolved, one: Deliver} for one in found if one != "ana@contoso.com")
    assert found["ana@contoso.com"].disposition.why == "redirected by rule B to archive@contoso.com"
    (told,) = [step for step in found["ana@contoso.com"].steps if step.subject == "rule B" and step.effect]
    assert "redirected to archive@contoso.com" in told.effect
    assert not any(step.subject == "rule C" and step.effect for step in found["ana@contoso.com"].steps)


def test_to_the_manager_as_well_and_then_instead():
    directory = people(*PEOPLE["who"], who_of("contoso", OUTSIDE, kind="mail_contact", manager="ben@contoso.com"))
    rules = "".join(rule(how, f'add_manager_as_recipient_type = "{how}"') for how in ("cc", "redirect"))
    ruling = judged(rules, "ana@contoso.com", directory=directory)
    assert kinds(ruling) == {"ana@contoso.com": Resolved, "ben@contoso.com": Deliver}


def test_a_redirect_says_who_gets_it_besides():
    ruling = judged(rule("A", 'blind_copy_to = ["ben@contoso.com"]') + rule("B", TO_ARCHIVE), "ana@contoso.com")
    found = by_address(ruling)
    assert found["ana@contoso.com"].disposition.why == "redirected by rule B to archive@contoso.com"
    assert found["ben@contoso.com"].recipient.relation is Relation.ADDED
    assert found["archive@contoso.com"].recipient.relation is Relation.REDIRECTED


def many(letter, count=100):
    addresses = ", ".join(f'"{letter}{n}@far.example"' for n in range(count))
    return f"blind_copy_to = [{addresses}]"


def test_a_redirect_has_room_however_many_were_added():
    ruling = judged(rule("A", many("a")) + rule("B", TO_ARCHIVE), "ana@contoso.com")
    assert len(ruling.recipients) == 102
    assert kinds(ruling)["ana@contoso.com"] is Resolved
    assert kinds(ruling)["archive@contoso.com"] is Deliver


def test_what_cannot_be_redirected_whole_does_not_stay():
    members = {"team@contoso.com": [f"m{n}@far.example" for n in range(1000)]}
    directory = people(*PEOPLE["who"], who_of("contoso", "team@contoso.com", kind="distribution_group"),
                       members=members)  # fmt: skip
    text = rule("A", f'sent_to = ["ana@contoso.com"]\n{TO_ARCHIVE}')
    text += "[operator.limits]\nderived_recipients_per_message = 1000\n"
    found = by_address(judged(text, "ana@contoso.com", "team@contoso.com", directory=directory))
    assert "archive@contoso.com" not in found
    assert found["ana@contoso.com"].disposition.reply.enhanced == "5.5.3"


def test_rules_add_a_hundred_to_one_message_whoever_its_recipients_are():
    rules = rule("A", many("a", 60) + '\nsent_to = ["ana@contoso.com"]')
    rules += rule("B", many("b", 60) + '\nsent_to = ["ben@contoso.com"]')
    ruling = judged(rules, "ana@contoso.com", "ben@contoso.com")
    added = [one.recipient.original.text for one in ruling.recipients if one.recipient.relation is Relation.ADDED]
    assert added == [f"a{n}@far.example" for n in range(60)] + [f"b{n}@far.example" for n in range(40)]
    assert set(kinds(ruling).values()) == {Deliver}
    told = [step.because for step in by_address(ruling)["ben@contoso.com"].steps if step.effect == "left out"]
    assert told == ["rules add 100 recipients to one message at most, and these would be 20 more"]


def test_of_whom_is_left_out_the_header_says_nothing():
    shown = 'copy_to = ["late@far.example"]'
    ruling = judged(rule("A", many("a")) + rule("B", shown), "ana@contoso.com")
    assert len(ruling.recipients) == 101
    assert by_address(ruling)["ana@contoso.com"].effects.edits == ()


@pytest.mark.parametrize("end", ["reject_message = {}", "delete_message = true"])
@pytest.mark.parametrize("action", [ARCHIVE, TO_ARCHIVE])
@pytest.mark.parametrize("last", ["ben@contoso.com", "archive@contoso.com"])
def test_whose_own_copy_a_rule_ends_gets_the_one_that_a_rule_adds(action, end, last):
    rules = rule("A", f'sent_to = ["ben@contoso.com"]\n{action}')
    rules += rule("B", f'sent_to = ["archive@contoso.com"]\n{end}')
    ruling = judged(rules, *sorted(("ben@contoso.com", "archive@contoso.com"), key=lambda text: text == last))
    (copy,) = [one for one in ruling.recipients if one.recipient.derived_from is not None]
    assert copy.recipient.original.text == "archive@contoso.com"
    assert isinstance(copy.disposition, Deliver)
    ended = next(one for one in ruling.recipients if one.recipient.original.text == "archive@contoso.com")
    assert isinstance(ended.disposition, Refuse if "reject" in end else Drop)
    assert isinstance(by_address(ruling)["ben@contoso.com"].disposition, Deliver if action == ARCHIVE else Resolved)


@pytest.mark.parametrize("ended", ["ben@contoso.com", "team@contoso.com"])
def test_whose_own_copy_a_rule_ends_gets_the_one_that_a_group_leads_to(ended):
    directory = people(*PEOPLE["who"], who_of("contoso", "team@contoso.com", kind="distribution_group"),
                       members={"team@contoso.com": ["ben@contoso.com"]})  # fmt: skip
    rules = rule("A", 'sent_to = ["ana@contoso.com"]\nblind_copy_to = ["team@contoso.com"]')
    rules += rule("B", 'sent_to = ["ben@contoso.com"]\ndelete_message = true')
    ruling = judged(rules, ended, "ana@contoso.com", directory=directory)
    ends = [type(one.disposition) for one in ruling.recipients if one.recipient.original.text == "ben@contoso.com"]
    assert ends == [Drop, Deliver]


def test_what_another_organisation_refuses_it_refuses_once():
    rules = rule("A", 'blind_copy_to = ["fab@fabrikam.com"]') + rule("F", "reject_message = {}", "fabrikam")
    ruling = judged(rules, "fab@fabrikam.com", "ana@contoso.com")
    assert [type(one.disposition) for one in ruling.recipients] == [Refuse, Deliver]


def test_named_twice_the_copy_that_a_rule_redirects_leads_on():
    directory = people(*PEOPLE["who"], who_of("contoso", "boss@contoso.com"),
                       aliases={"chief@contoso.com": "boss@contoso.com"})  # fmt: skip
    rules = rule("A", f'sent_to = ["chief@contoso.com"]\nrecipient_address_type = "original"\n{ARCHIVE}')
    ruling = judged(rules, "boss@contoso.com", "chief@contoso.com", directory=directory)
    found = kinds(ruling)
    assert found == {"boss@contoso.com": Deliver, "chief@contoso.com": Resolved, "archive@contoso.com": Deliver}


def test_outside_another_organisation_and_nobody():
    rules = rule("A", 'blind_copy_to = ["y@far.example", "fab@fabrikam.com", "nobody@contoso.com"]')
    rules += rule("F", "reject_message = {}", "fabrikam")
    found = by_address(judged(rules, "ana@contoso.com"))
    assert isinstance(found["y@far.example"].disposition, Deliver)
    assert found["y@far.example"].standing.organisation == "contoso"
    assert isinstance(found["fab@fabrikam.com"].disposition, Refuse), "its own rules are looked at"
    assert found["fab@fabrikam.com"].standing.organisation == "fabrikam"
    assert isinstance(found["nobody@contoso.com"].disposition, Refuse)
    assert isinstance(found["ana@contoso.com"].disposition, Deliver)


def test_to_a_group_and_to_a_mailbox_that_forwards():
    everybody = [
        *PEOPLE["who"],
        who_of("contoso", "team@contoso.com", kind="distribution_group"),
        who_of("contoso", "away@contoso.com", kind="mailbox", forwarding="y@far.example"),
    ]
    directory = people(*everybody, members={"team@contoso.com": ["ben@contoso.com", "archive@contoso.com"]})
    rules = rule("A", 'sent_to = ["ana@contoso.com"]\nredirect_message_to = ["team@contoso.com", "away@contoso.com"]')
    rules += rule("B", 'sent_to = ["ben@contoso.com"]\nreject_message = {}')
    found = kinds(judged(rules, "ana@contoso.com", directory=directory))
    assert found == {
        "ana@contoso.com": Resolved, "team@contoso.com": Resolved, "away@contoso.com": Resolved,
        "ben@contoso.com": Deliver, "archive@contoso.com": Deliver, "y@far.example": Deliver,
    }  # fmt: skip


def test_in_doubt_nobody_is_guessed():
    directory = people(*PEOPLE["who"], failing="the table is damaged")
    text = rule("A", 'from_member_of = ["team@contoso.com"]\nblind_copy_to = ["ben@contoso.com"]')
    ruling = judged(text, "ana@contoso.com", directory=directory)
    assert set(kinds(ruling).values()) == {Defer}


def test_explained_the_same():
    text = rule("R", 'redirect_message_to = ["archive@contoso.com", "ben@contoso.com"]')
    live = judged(text, "ana@contoso.com", "ben@contoso.com")
    full = judged(text, "ana@contoso.com", "ben@contoso.com", depth=Depth.FULL)
    assert kinds(live) == kinds(full)
    assert [v.disposition for v in live.recipients] == [v.disposition for v in full.recipients]
    told = [step for verdict in full.recipients for step in verdict.steps if step.subject == "rule R"]
    assert "redirected to archive@contoso.com, ben@contoso.com" in told[0].effect


@pytest.mark.parametrize("depth", Depth)
def test_who_gets_it_already_is_told_where_the_rule_is(depth):
    rules = rule("A", 'sent_to = ["ana@contoso.com"]\nredirect_message_to = ["ben@contoso.com"]') + rule("B", ARCHIVE)
    ana = by_address(judged(rules, "ana@contoso.com", "ben@contoso.com", depth=depth))["ana@contoso.com"]
    told = [step.subject for step in ana.steps if step.because.endswith(", 1 of them gets it already")]
    assert told == ["rule A"]


def test_too_many_are_refused_when_saved():
    many = ", ".join(f'"a{n}@contoso.com"' for n in range(11))
    with pytest.raises(Invalid):
        policy_of(HEAD + rule("R", f"redirect_message_to = [{many}]"))


JOINED = HeaderEdit(Change.JOIN, "To", "new@contoso.com")


@pytest.mark.parametrize(
    ("header", "after"),
    [
        (b"To: a@x.test\r\nSubject: y\r\n", b"To: a@x.test,\r\n new@contoso.com\r\nSubject: y\r\n"),
        (b"To: a@x.test,\r\n b@x.test\r\n", b"To: a@x.test,\r\n b@x.test,\r\n new@contoso.com\r\n"),
        (b"To:\r\nSubject: y\r\n", b"To:\r\n new@contoso.com\r\nSubject: y\r\n"),
        (b"Subject: y\r\n", b"To: new@contoso.com\r\nSubject: y\r\n"),
    ],
)
def test_joined_to_a_list_in_the_header(header, after):
    assert edited(header + b"\r\nbody", [JOINED]) == after + b"\r\nbody"


def test_later_rules_see_it_joined():
    assert fields_after((("To", "a@x.test"),), [JOINED]) == (("To", "a@x.test, new@contoso.com"),)
    assert fields_after((("Subject", "y"),), [JOINED]) == (("To", "new@contoso.com"), ("Subject", "y"))
