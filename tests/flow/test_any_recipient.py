"""Conditions about all recipients (specification 1.15.5), and what is recorded of one of them judged again alone."""

from __future__ import annotations

import msgspec
import pytest

from decision.judging import Ask
from flow.house import House
from lockgate.decision.judge import judge
from lockgate.decision.stage import Depth
from lockgate.flow import retelling
from lockgate.flow.asking.explain import WhatIf
from lockgate.flow.excerpt import about, narrow
from lockgate.flow.settle import settle
from lockgate.flow.simulate import IN_FULL, converse, unasked
from lockgate.flow.stories import failures, play, read_story
from lockgate.flow.supposing import Scene, supposed_facts
from lockgate.mail.facts import Facts, Point
from lockgate.mail.findings import Among, AnyRecipient, BelongsTo, Findings, Unknown
from lockgate.mail.headers import message_of
from lockgate.mail.record import Recorder, Story
from lockgate.mail.ruling import Defer, Deliver, Hold, Refuse, Resolved, Ruling
from lockgate.policy.policy import Policy
from lockgate.testing.builders import connection_of, facts_of, people, policy_of, who_of

BASE = """
[[organisation]]
name = "contoso"
reject_direct_send = false
[[organisation]]
name = "fabrikam"
reject_direct_send = false
[[accepted_domain]]
organisation = "contoso"
domain_name = "contoso.com"
vouched_by_operator = true
[[accepted_domain]]
organisation = "fabrikam"
domain_name = "fabrikam.com"
vouched_by_operator = true
[[inbound_connector]]
organisation = "contoso"
name = "own"
connector_type = "on_premises"
sender_ip_addresses = ["192.0.2.25"]
[[mail_flow_rule]]
organisation = "contoso"
name = "R"
"""
ANA, BEN, REX, TEAM = (f"{name}@contoso.com" for name in ("ana", "ben", "rex", "team"))
ZOE = "ana@fabrikam.com"
DIRECTORY = people(
    who_of("contoso", ANA), who_of("contoso", BEN), who_of("contoso", REX),
    who_of("contoso", TEAM, kind="distribution_group"), who_of("fabrikam", ZOE),
    aliases={"sales@contoso.com": REX}, members={TEAM: [ANA, BEN]},
)  # fmt: skip
REJECT = "reject_message = {}\n"
WORDS = 'any_of_recipient_address_contains_words = ["ana"]\n'
WORD = {Deliver: "goes", Refuse: "refused", Hold: "held", Defer: "put off", Resolved: "resolved"}


def letter(*to: str, own: bool = False) -> Facts:
    connection = connection_of("192.0.2.25") if own else connection_of()
    message = message_of("id", b"Subject: x\r\n\r\n", 1000, "mx.lockgate.test")
    return facts_of("boss@contoso.com" if own else "x@far.example", *to, connection=connection, message=message)


def judged(rule: str, facts: Facts, ask: Ask = DIRECTORY, depth: Depth = Depth.LIVE) -> tuple[Policy, Facts, Ruling]:
    policy = policy_of(BASE + rule)
    course = converse(policy, facts, ask, judge if depth is Depth.LIVE else IN_FULL)
    return policy, course.facts, course.ruling


def fares(rule: str, *to: str, own: bool = False) -> dict[str, str]:
    """What becomes of each recipient, the same at both depths."""
    live, full = (judged(rule, letter(*to, own=own), depth=depth)[2] for depth in Depth)
    found = [{v.recipient.original.text: WORD[type(v.disposition)] for v in one.recipients} for one in (live, full)]
    assert found[0] == found[1]
    return found[0]


@pytest.mark.parametrize("condition", [WORDS, 'any_of_recipient_address_matches_patterns = ["^an+a@"]\n'])
def test_one_that_hits_counts_for_all(condition: str) -> None:
    assert fares(condition + REJECT, ANA, BEN) == {ANA: "refused", BEN: "refused"}
    assert fares(condition + REJECT, BEN, ANA, REX) == {BEN: "refused", ANA: "refused", REX: "refused"}
    assert fares(condition + REJECT, REX, BEN) == {REX: "goes", BEN: "goes"}
    assert fares(f"except_if_{condition}{REJECT}", ANA, BEN) == {ANA: "goes", BEN: "goes"}
    assert fares(f"except_if_{condition}{REJECT}", REX, BEN) == {REX: "refused", BEN: "refused"}


def test_who_is_told_of() -> None:
    policy, facts, ruling = judged(WORDS + REJECT, letter(BEN, ANA))
    assert {v.steps[-1].because for v in ruling.recipients} == {f"{ANA}, a recipient of the message, has 'ana'"}
    (question,) = policy.of("contoso").rules.among
    assert facts.findings.get(question) == Among("ana", ANA)
    other = WORDS.replace('"ana"', '"nobody", "zoe"') + REJECT
    (verdict,) = judged(other, letter(BEN), depth=Depth.FULL)[2].recipients
    assert "no recipient of the message has any of nobody, zoe" in {step.because for step in verdict.steps}


def test_recipients_of_another_organisation_do_not_count() -> None:
    assert fares(WORDS + REJECT, BEN, ZOE) == {BEN: "goes", ZOE: "goes"}
    assert fares(WORDS + REJECT, BEN, ZOE, ANA) == {BEN: "refused", ZOE: "goes", ANA: "refused"}


def test_recipients_outside_count_for_those_who_send_to_them() -> None:
    rule = 'any_of_recipient_address_contains_words = ["rival"]\n' + REJECT
    assert set(fares(rule, "joe@rival.test", "amy@friend.test", own=True).values()) == {"refused"}
    assert set(fares(rule, "amy@friend.test", BEN, own=True).values()) == {"goes"}


def test_groups_count_by_their_own_address_and_an_earlier_rule_takes_nobody_away() -> None:
    team = 'any_of_recipient_address_contains_words = ["team"]\n' + REJECT
    assert set(fares(team, TEAM, REX).values()) == {"resolved", "refused"}
    assert fares(WORDS + REJECT, TEAM, REX) == {TEAM: "resolved", REX: "goes", ANA: "goes", BEN: "goes"}
    forked = f'priority = 0\nsent_to = ["{ANA}"]\nquarantine = true\n[[mail_flow_rule]]\norganisation = "contoso"\n'
    assert fares(f'{forked}name = "S"\n{WORDS}{REJECT}', ANA, BEN) == {ANA: "held", BEN: "refused"}


@pytest.mark.parametrize(
    ("kind", "word", "hit"),
    [("resolved", "rex", True), ("resolved", "sales", False), ("original", "sales", True), ("original", "rex", False)],
)
@pytest.mark.parametrize(
    "condition",
    ["any_of_recipient_address_contains_words", "recipient_address_contains_words", "sent_to",
     "recipient_address_matches_patterns"],
)  # fmt: skip
def test_the_address_as_it_was_sent_or_the_primary_one(condition: str, kind: str, word: str, hit: bool) -> None:
    value = f"{word}@contoso.com" if condition == "sent_to" else word
    rule = f'recipient_address_type = "{kind}"\n{condition} = ["{value}"]\n{REJECT}'
    assert fares(rule, "sales@contoso.com") == {"sales@contoso.com": "refused" if hit else "goes"}


def test_a_domain_as_it_was_sent() -> None:
    text = BASE.replace('domain_name = "contoso.com"\n', 'domain_name = "contoso.com"\nmatch_sub_domains = true\n'
                        'domain_type = "internal_relay"\n')  # fmt: skip
    old = "rex@old.contoso.com"
    directory = people(who_of("contoso", REX), aliases={old: REX})
    for kind, fate in (("original", Refuse), ("resolved", Deliver)):
        rule = f'recipient_address_type = "{kind}"\nrecipient_domain_is = ["old.contoso.com"]\n{REJECT}'
        (verdict,) = converse(policy_of(text + rule), letter(old), directory, judge).ruling.recipients
        assert isinstance(verdict.disposition, fate), kind


# --- what is recorded ------------------------------------------------------------------------------------------------


def recorded(facts: Facts, ruling: Ruling) -> Story:
    recorder = Recorder()
    return recorder.read_story(recorder.write_story(facts, ruling))


def test_one_copy_on_record_is_judged_again_without_the_others() -> None:
    policy, facts, ruling = judged(WORDS + REJECT, letter(ANA, BEN, REX))
    for verdict in ruling.recipients:
        story = recorded(*about(facts, ruling, verdict))
        assert [one.original.text for one in story.facts.recipients] == [verdict.recipient.original.text]
        assert story.facts.excerpt
        again = converse(policy, story.facts, unasked)
        assert again.verdicts[0].disposition == verdict.disposition
        assert again.verdicts[0].steps[-1].because == f"{ANA}, a recipient of the message, has 'ana'"


def test_what_was_never_asked_of_all_is_not_guessed_of_one() -> None:
    _, facts, ruling = judged(WORDS + REJECT, letter(ANA, BEN))
    story = recorded(*about(facts, ruling, ruling.recipients[1]))
    other = policy_of(BASE + 'any_of_recipient_address_contains_words = ["rex"]\n' + REJECT)
    (verdict,) = converse(other, story.facts, DIRECTORY).verdicts
    assert isinstance(verdict.disposition, Defer)
    assert any("other recipients of the message are not on record here" in step.because for step in verdict.steps)


def test_a_whole_message_on_record_is_judged_anew_by_any_policy() -> None:
    _, facts, ruling = judged('set_header = {name = "X-A", value = "b"}\n', letter(ANA, BEN, ZOE))
    story = recorded(*narrow(facts, ruling, "contoso"))
    assert not story.facts.excerpt
    course = converse(policy_of(BASE + WORDS + REJECT), story.facts, unasked)
    assert [type(verdict.disposition) for verdict in course.verdicts] == [Refuse, Refuse]


def test_a_record_counts_only_who_is_taken_now() -> None:
    policy, facts, _ = judged(WORDS + REJECT, letter(ANA, BEN))
    gone = people(who_of("contoso", BEN))
    fresh = msgspec.structs.replace(facts, findings=Findings({
        q: a for q, a in facts.findings.items() if isinstance(q, AnyRecipient)
    }))  # fmt: skip
    course = converse(policy, fresh, gone)
    assert [type(verdict.disposition) for verdict in course.verdicts] == [Refuse, Deliver], "ana is nobody now"


def test_other_recipients_supposed_are_looked_through_anew() -> None:
    policy, facts, ruling = judged(WORDS + REJECT, letter(ANA, BEN))
    like = recorded(*about(facts, ruling, ruling.recipients[0])).facts
    scene = Scene(policy, like.at, "here", lambda *_: (_ for _ in ()).throw(ValueError()))
    for to, fate in (((BEN,), Deliver), ((BEN, ANA), Refuse)):
        supposed = supposed_facts(WhatIf(recipients=to), like, scene)
        course = converse(policy, supposed, DIRECTORY)
        assert {type(verdict.disposition) for verdict in course.verdicts} == {fate}
    alone = supposed_facts(WhatIf(helo="other.example"), like, scene)
    assert alone.excerpt and isinstance(converse(policy, alone, DIRECTORY).verdicts[0].disposition, Refuse)


def test_of_one_recipient_asked_for_the_answer_is_kept() -> None:
    policy, facts, ruling = judged(WORDS + REJECT, letter(ANA, BEN))
    story = retelling.about(recorded(facts, ruling), BEN)
    assert story.facts.excerpt and [one.original.text for one in story.facts.recipients] == [BEN]
    (verdict,) = retelling.retold(policy, story, "contoso").verdicts
    assert isinstance(verdict.disposition, Refuse)


def test_records_of_before_are_read() -> None:
    _, facts, ruling = judged(REJECT, letter(BEN))
    recorder = Recorder()
    for whole, excerpt in ((ruling, True), (msgspec.structs.replace(ruling, recipients=()), False)):
        plain = msgspec.msgpack.decode(recorder._decompressor.decompress(recorder.write_story(facts, whole)))
        assert plain.pop("excerpt") is False
        old = recorder._compressor.compress(msgspec.msgpack.encode(plain))
        assert recorder.read_story(old).facts.excerpt is excerpt, "who was refused alone may have been one of many"


async def test_who_was_put_off_is_judged_again_with_the_others_in_mind() -> None:
    """The one that waits is judged by rules that came meanwhile, and who else had the message is still on record."""
    team = f'sent_to = ["{BEN}"]\nsent_to_member_of = ["{TEAM}"]\nquarantine = true\n'
    house = House(policy=BASE + team)
    house.ask = _unsure
    await house.send(ANA, BEN)
    await house.settle()
    assert house.statuses() == {ANA: "Delivered", BEN: "Pending"}
    house.ask = DIRECTORY
    house.policy = policy_of(BASE + WORDS + "quarantine = true\n", revision=2)
    await house.later(61)
    assert house.statuses()[BEN] == "Held"


def _unsure(questions):
    """Whether ben belongs to a group cannot be told now."""
    told = DIRECTORY(questions)
    return {q: Unknown("it is away") if isinstance(q, BelongsTo) and q.address == BEN else a for q, a in told.items()}


def test_a_story_tells_of_it() -> None:
    story = read_story(
        f"given here\nfrom 198.51.100.9\nmail x@far.example -> {BEN}, {ANA}\n"
        f"suppose directory = mailbox\nexpect {BEN} refused 5.7.1\nexpect {ANA} refused 5.7.1\n"
        f"because rule R: {ANA}, a recipient of the message, has 'ana'\n", "s",
    )  # fmt: skip
    assert failures(story, play(story, policy_of(BASE + WORDS + REJECT))) == ()


def test_the_order_of_asking_changes_nothing() -> None:
    """The state of the fold and from scratch: the same ruling."""
    policy, facts = policy_of(BASE + WORDS + REJECT), letter(BEN, ANA, REX)
    whole = settle(judge, DIRECTORY, policy, facts, Point.DATA)[1]
    stepwise = converse(policy, facts, DIRECTORY, judge).ruling
    assert whole.recipients == stepwise.recipients
