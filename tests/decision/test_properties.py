"""What holds for every policy and all facts: the fold is one computation, however it is cut, resumed and answered."""

from __future__ import annotations

import dataclasses

from hypothesis import given
from hypothesis import strategies as st

from decision.judging import said, settled
from decision.test_secure import ORGANISATIONS
from lockgate.decision.answer import answer
from lockgate.decision.judge import judge, released
from lockgate.decision.stage import Depth
from lockgate.mail.facts import Facts, Point
from lockgate.mail.findings import Answer, Known, Unknown
from lockgate.mail.record import Recorder
from lockgate.mail.ruling import (
    Defer,
    Deliver,
    Disposition,
    Effects,
    Hold,
    Refuse,
    Resolved,
    Ruling,
    Verdict,
    Wants,
)
from lockgate.policy.policy import Policy
from lockgate.policy.rules import CompiledRule, CompiledRules, no, unknown, yes
from lockgate.testing.builders import (
    address,
    certificate_of,
    connection_of,
    facts_of,
    message_of,
    people,
    policy_of,
    tls_of,
    who_of,
)

RICH = (
    ORGANISATIONS
    + """
[operator]
ip_block_list = ["203.0.113.0/24"]
[[inbound_connector]]
organisation = "contoso"
name = "bank"
sender_domains = ["*.bank.test"]
require_tls = true
[[inbound_connector]]
organisation = "contoso"
name = "onprem"
connector_type = "on_premises"
sender_ip_addresses = ["192.0.2.25"]
[[inbound_connector]]
organisation = "fabrikam"
name = "theirs"
connector_type = "on_premises"
tls_sender_certificate_name = "*.fabrikam.com"
[[inbound_connector]]
organisation = "fabrikam"
name = "gateway"
sender_domains = ["*"]
require_tls = false
restrict_domains_to_ip_addresses = true
sender_ip_addresses = ["198.51.100.0/24"]
[[connection_filter]]
organisation = "contoso"
ip_block_list = ["198.51.100.66"]
[[outbound_connector]]
organisation = "contoso"
name = "hq"
connector_type = "on_premises"
use_mx_record = false
smart_hosts = ["hq.test"]
all_accepted_domains = true
size_limit = 100000
[[outbound_connector]]
organisation = "contoso"
name = "site"
use_mx_record = false
smart_hosts = ["site.test"]
is_transport_rule_scoped = true
[[mail_flow_rule]]
organisation = "contoso"
name = "to the site"
recipient_domain_is = ["initial.test"]
route_message_outbound_connector = "site"
"""
)
POLICY = policy_of(RICH)


def with_rules(policy: Policy, *rules: CompiledRule) -> Policy:
    mine = dataclasses.replace(policy.of("contoso"), rules=CompiledRules(rules))
    return dataclasses.replace(policy, organisations={**policy.organisations, "contoso": mine})


def _to(connector: str):
    return lambda effects: Effects(connector, effects.rule)


def _sees(seen):
    return lambda case, recipient: seen


RULES = st.builds(
    lambda n, when, unless, then, stop: CompiledRule(f"rule {n}", n, True, when, unless, then, stop),
    st.just(0),
    st.lists(st.sampled_from([yes("y"), no("n"), unknown("u")]).map(_sees), max_size=2).map(tuple),
    st.lists(st.sampled_from([no("n"), unknown("u")]).map(_sees), max_size=1).map(tuple),
    st.lists(st.sampled_from(["hq", "site", "gone"]).map(_to), max_size=1).map(tuple),
    st.booleans(),
)
POLICIES = st.just(POLICY) | st.lists(RULES, max_size=4).map(lambda rules: with_rules(POLICY, *rules))
PEERS = st.sampled_from(["198.51.100.7", "198.51.100.66", "192.0.2.25", "203.0.113.9", "2001:db8::1"])
TLS = st.sampled_from(
    [
        None,
        tls_of(),
        tls_of(certificate_of("mail.fabrikam.com"), trusted_by=("public",)),
        tls_of(certificate_of("mail.contoso.com")),
    ]
)
SENDERS = st.sampled_from(["", "x@sender.test", "a@bank.test", "u@contoso.com", "u@fabrikam.com", "u@initial.test"])
RECIPIENTS = st.lists(
    st.sampled_from(
        ["u@contoso.com", "no@contoso.com", "u@initial.test", "alias@initial.test", "c@contoso.com", "u@fabrikam.com",
         "x@example.net", "postmaster", "postmaster@contoso.com", "U@Contoso.com", "loop@contoso.com"]
    ),
    min_size=1, max_size=5, unique=True,
)  # fmt: skip
MESSAGES = st.builds(
    message_of, st.sampled_from([1000, 200_000]), hops=st.sampled_from([0, 40]), own_hops=st.sampled_from([0, 20])
) | st.just(message_of())
FACTS = st.builds(
    lambda sender, to, peer, tls, login, message, secure: facts_of(
        sender, *to, connection=connection_of(peer, tls=tls, login=login), message=message, require_tls=secure
    ),
    SENDERS, RECIPIENTS, PEERS, TLS, st.sampled_from(["", "", "u@contoso.com"]), MESSAGES, st.booleans(),
)  # fmt: skip
DIRECTORY = people(
    who_of("contoso", "u@contoso.com", city="Seattle"),
    who_of("contoso", "u@initial.test", kind="mailbox"),
    who_of("contoso", "c@contoso.com", kind="mail_contact", external="u@contoso.com"),
    who_of("contoso", "loop@contoso.com", external="pool@contoso.com"),
    who_of("contoso", "pool@contoso.com", external="loop@contoso.com"),
    who_of("fabrikam", "u@fabrikam.com"),
    aliases={"alias@initial.test": "u@initial.test"},
)


def whole(policy: Policy, facts: Facts, ask=DIRECTORY, depth: Depth = Depth.LIVE) -> tuple[Facts, Ruling]:
    return settled(policy, facts, ask, Point.DATA, None, depth)


def only(facts: Facts, *numbers: int) -> Facts:
    chosen = tuple(facts.recipients[n] for n in numbers)
    return Facts(facts.at, facts.connection, facts.envelope, chosen, facts.message, facts.findings)


@given(POLICIES, FACTS)
def test_every_recipient_has_exactly_one_disposition(policy: Policy, facts: Facts) -> None:
    _, ruling = whole(policy, facts)
    if ruling.refusal is not None:
        assert answer(ruling) == ruling.refusal
        return
    assert [verdict.recipient for verdict in ruling.recipients] == list(facts.recipients)
    assert all(verdict.disposition is not None for verdict in ruling.recipients)
    reply = answer(ruling)
    assert reply is None or not reply.accepts


@given(POLICIES, FACTS)
def test_the_ruling_at_rcpt_is_a_prefix_of_that_at_data(policy: Policy, facts: Facts) -> None:
    learnt, late = whole(policy, facts)
    early = judge(policy, learnt, Point.RCPT)
    assert isinstance(early, Ruling)
    assert late.steps[: len(early.steps)] == early.steps
    for before, after in zip(early.recipients, late.recipients, strict=True):
        assert after.steps[: len(before.steps)] == before.steps
        assert before.disposition is None or after == before
    if early.refusal is not None:
        assert late.refusal == early.refusal


@given(POLICIES, FACTS)
def test_resumed_is_the_same_as_from_scratch(policy: Policy, facts: Facts) -> None:
    learnt, expected = whole(policy, facts)
    assert judge(policy, learnt) == expected
    # as a conversation: connect, MAIL, each RCPT, DATA, each on top of the one before
    now = only(facts)
    so_far: Ruling | None = None
    for until in (Point.CONNECT, Point.MAIL):
        now, so_far = settled(policy, now, DIRECTORY, until, so_far)
    for number in range(len(facts.recipients)):
        now = Facts(now.at, now.connection, now.envelope, facts.recipients[: number + 1], None, now.findings)
        now, so_far = settled(policy, now, DIRECTORY, Point.RCPT, so_far)
    now = Facts(now.at, now.connection, now.envelope, facts.recipients, facts.message, now.findings)
    _, ruling = settled(policy, now, DIRECTORY, Point.DATA, so_far)
    assert ruling == expected


@given(POLICIES, FACTS, st.randoms(use_true_random=False))
def test_the_order_of_answers_changes_nothing(policy: Policy, facts: Facts, chance) -> None:
    learnt, expected = whole(policy, facts)

    def one_by_one(questions):
        question = chance.choice(questions)
        return DIRECTORY((question,))

    assert whole(policy, facts, one_by_one)[1] == expected
    shuffled = list(learnt.findings.items())
    chance.shuffle(shuffled)
    assert judge(policy, facts.learn(dict(shuffled))) == expected


@given(POLICIES, FACTS, st.randoms(use_true_random=False))
def test_what_is_unknown_never_turns_a_refusal_into_an_acceptance(policy: Policy, facts: Facts, chance) -> None:
    _, clear = whole(policy, facts)

    def unreliable(questions):
        answers: dict[object, Answer] = dict(DIRECTORY(questions))
        return {q: Unknown("no answer") if chance.random() < 0.5 else a for q, a in answers.items()}

    _, clouded = whole(policy, facts, unreliable)
    assert (clear.refusal is None) == (clouded.refusal is None)
    for sure, unsure in zip(clear.recipients, clouded.recipients, strict=True):
        if isinstance(sure.disposition, Refuse):
            assert isinstance(unsure.disposition, Refuse | Defer)
        elif isinstance(unsure.disposition, Refuse):
            assert isinstance(sure.disposition, Refuse | Defer), said(sure.disposition)
        elif isinstance(sure.disposition, Resolved):
            # Whoever would have had the copy for both may be put off; then this one has it, or shares another's.
            put_off = any(isinstance(other.disposition, Defer) for other in clouded.recipients)
            assert put_off or unsure.disposition == sure.disposition
        elif not isinstance(unsure.disposition, Defer):
            assert unsure.disposition == sure.disposition


@given(FACTS, st.lists(RULES, max_size=4))
def test_an_unknown_condition_puts_off_only_where_it_decides(facts: Facts, rules: list[CompiledRule]) -> None:
    _, clouded = whole(with_rules(POLICY, *rules), facts)
    ends: list[list[str]] = [[] for _ in clouded.recipients]
    for answered in (yes("y"), no("n")):
        clear = [_answered(rule, answered) for rule in rules]
        _, ruling = whole(with_rules(POLICY, *clear), facts)
        for number, verdict in enumerate(ruling.recipients):
            ends[number].append(said(verdict.disposition))
    for verdict, (if_yes, if_no) in zip(clouded.recipients, ends, strict=True):
        if said(verdict.disposition) != "451 4.3.0":
            assert said(verdict.disposition) == if_yes == if_no


def _answered(rule: CompiledRule, seen) -> CompiledRule:
    def clear(test):
        return lambda case, recipient: seen if test(case, recipient).hit == "unknown" else test(case, recipient)

    return dataclasses.replace(rule, when=tuple(map(clear, rule.when)), unless=tuple(map(clear, rule.unless)))


@given(POLICIES, FACTS)
def test_live_and_full_depth_decide_alike_and_live_keeps_some_of_the_steps(policy: Policy, facts: Facts) -> None:
    _, live = whole(policy, facts)
    _, full = whole(policy, facts, depth=Depth.FULL)
    assert live.refusal == full.refusal
    assert live.candidates == full.candidates
    assert _within(live.steps, full.steps)
    for short, long in zip(live.recipients, full.recipients, strict=True):
        assert _bare(short) == _bare(long)
        assert _within(short.steps, long.steps)
        assert short.disposition is None or short.steps, "a decision without a reason"


def _bare(verdict: Verdict) -> tuple[object, ...]:
    return (verdict.recipient, verdict.target, verdict.standing, verdict.effects, verdict.disposition, verdict.stage)


def _within(few: tuple[object, ...], many: tuple[object, ...]) -> bool:
    rest = iter(many)
    return all(any(one == other for other in rest) for one in few)


@given(POLICIES, FACTS)
def test_one_recipients_allowance_never_reaches_another(policy: Policy, facts: Facts) -> None:
    _, together = whole(policy, facts)
    if together.refusal is not None:
        return
    for number, verdict in enumerate(together.recipients):
        _, alone = whole(policy, only(facts, number))
        if isinstance(verdict.disposition, Resolved):  # another one's copy goes into the very mailbox
            (mine,) = alone.recipients
            earlier = together.recipients[:number]
            assert any(_same_copy(mine.disposition, other.disposition) for other in earlier)
        else:
            assert alone.recipients == (verdict,)


def _same_copy(one: Disposition | None, other: Disposition | None) -> bool:
    if isinstance(one, Deliver) and isinstance(other, Deliver):
        return (one.route, one.target.key) == (other.route, other.target.key)
    return isinstance(one, Hold) and one == other


@given(POLICIES, FACTS)
def test_the_record_gives_back_what_was_written(policy: Policy, facts: Facts) -> None:
    learnt, ruling = whole(policy, facts)
    recorder = Recorder()
    story = recorder.read_story(recorder.write_story(learnt, ruling))
    assert (story.facts, story.ruling) == (learnt, ruling)
    assert judge(policy, story.facts) == ruling


@given(POLICIES, FACTS)
def test_released_recipients_go_on_with_dispose_and_route_only(policy: Policy, facts: Facts) -> None:
    learnt, ruling = whole(policy, facts)
    if ruling.refusal is not None:
        return  # nothing of it is kept, so nothing can be released
    ids = {verdict.recipient for verdict in ruling.recipients[:2]}
    state = released(ruling, ids)
    chosen = Facts(
        facts.at, facts.connection, facts.envelope, tuple(r for r in facts.recipients if r in ids), facts.message,
        learnt.findings,
    )  # fmt: skip
    _, after = settled(policy, chosen, DIRECTORY, Point.DATA, state)
    assert after.refusal is None
    for before, later in zip((v for v in ruling.recipients if v.recipient in ids), after.recipients, strict=True):
        if not before.standing.organisation:
            assert isinstance(later.disposition, Defer)
        elif not isinstance(before.disposition, Refuse | Defer):
            assert later.disposition == before.disposition
        assert later.steps[: len(before.steps)] == before.steps


def test_a_thousand_recipients_are_evaluated_once_each(monkeypatch) -> None:
    from lockgate.decision import judge as module

    walked = 0
    follow = module._follow

    def counted(*given):
        nonlocal walked
        walked += 1
        return follow(*given)

    monkeypatch.setattr(module, "_follow", counted)
    everybody = people(*(who_of("fabrikam", f"u{n}@fabrikam.com") for n in range(1000)))
    facts = facts_of("x@sender.test")
    facts, so_far = settled(POLICY, facts, everybody, Point.MAIL)
    for n in range(1000):
        one = facts_of("x@sender.test", f"u{n}@fabrikam.com").recipients
        facts = Facts(facts.at, facts.connection, facts.envelope, facts.recipients + one, None, facts.findings)
        facts, so_far = settled(POLICY, facts, everybody, Point.RCPT, so_far)
    assert walked == 2000  # once until the question, once from the stage that asked
    assert sum(v.disposition is None for v in so_far.recipients) == 1000


def test_questions_of_many_recipients_come_together() -> None:
    facts = facts_of("x@sender.test", *(f"u{n}@fabrikam.com" for n in range(5)))
    outcome = judge(POLICY, facts)
    assert isinstance(outcome, Wants)
    assert len(outcome.questions) == 5


def test_the_first_of_several_answers_to_data() -> None:
    given = {
        ("accept", "refuse", "defer"): None,
        ("refuse", "refuse"): 550,
        ("defer", "defer"): 451,
        ("refuse", "defer"): 451,
        ("accept",): None,
        ("hold", "refuse"): None,
        ("drop", "defer"): None,
        ("resolved", "accept"): None,
        ("expanded", "hold", "refuse"): None,
        ("resolved", "refuse"): 550,
        ("expanded", "refuse", "defer"): 451,
        ("expanded", "resolved", "defer"): 451,
        ("expanded",): 451,
        ("resolved", "expanded"): 451,
    }
    from lockgate.mail import replies
    from lockgate.mail.recipient import RecipientId
    from lockgate.mail.ruling import Drop, Route, Via

    kinds = {
        "accept": Deliver(Route(Via.MX, "contoso", domain="x.test"), address("a@x.test")),
        "refuse": Refuse(replies.EDGE_BLOCKED),
        "defer": Defer(replies.DIRECTORY_UNAVAILABLE),
        "hold": Hold("spam"),
        "drop": Drop("rule"),
        "resolved": Resolved("forwarded to b@x.test"),
        "expanded": Resolved("2 members of a@x.test", expanded=True),
    }
    whom = RecipientId(address("a@x.test"))
    for words, code in given.items():
        for order in (words, words[::-1]):
            verdicts = tuple(Verdict(whom, whom.original, disposition=kinds[word]) for word in order)
            reply = answer(Ruling(Point.DATA, recipients=verdicts))
            assert (reply.code if reply else None) == code, order
    assert answer(Ruling(Point.DATA, replies.HOP_COUNT_EXCEEDED)) == replies.HOP_COUNT_EXCEEDED
    assert Known(None, 1) != Unknown("x")
