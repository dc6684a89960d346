"""What holds for every directory of groups, forwarding and aliases: nobody is lost, nobody gets it twice."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision.judging import settled
from decision.test_expand import policy
from lockgate.decision.answer import answer
from lockgate.decision.judge import judge
from lockgate.decision.stage import Depth
from lockgate.mail.facts import Facts, Point
from lockgate.mail.findings import Members, Unknown, Who
from lockgate.mail.recipient import RecipientId
from lockgate.mail.record import Recorder
from lockgate.mail.ruling import Deliver, Refuse, Resolved, Ruling, Verdict, Wants
from lockgate.testing.builders import connection_of, facts_of, people, who_of

POLICY = policy()
NAMES = [f"r{n}@contoso.com" for n in range(6)] + [f"f{n}@fabrikam.com" for n in range(3)]
ALIASES = [f"alias{n}@contoso.com" for n in range(3)]
ANYBODY = [*NAMES, *ALIASES, "nobody@contoso.com", "out@far.test", "r0+tag@contoso.com"]


def organisation(name: str) -> str:
    return "fabrikam" if name.endswith("fabrikam.com") else "contoso"


@st.composite
def worlds(draw):
    """A directory, and a question answerer over it."""
    whoever, members = [], {}
    for name in NAMES:
        kind = draw(st.sampled_from(["distribution_group", "mailbox", "mailbox", "mail_contact"]))
        more = {}
        if kind == "distribution_group":
            members[name] = draw(st.lists(st.sampled_from(ANYBODY), max_size=5, unique=True))
        elif kind == "mailbox" and draw(st.booleans()):
            more = {"forwarding": draw(st.sampled_from(ANYBODY)), "keeps_copy": draw(st.booleans())}
        elif kind == "mail_contact":
            more = {"external": draw(st.sampled_from(ANYBODY))}
        whoever.append(who_of(organisation(name), name, kind=kind, **more))
    primaries = [name for name in NAMES if organisation(name) == "contoso"]
    aliases = {alias: draw(st.sampled_from(primaries)) for alias in ALIASES}
    ask = people(*whoever, aliases=aliases, members=members)
    leads_to: dict[str, list[str]] = {alias: [primary] for alias, primary in aliases.items()}
    leads_to["r0+tag@contoso.com"] = ["r0@contoso.com"]
    for who in whoever:
        onward = [who.external.key] if who.external is not None else []
        onward += [who.forwarding.to.key] if who.forwarding is not None else []
        leads_to[who.primary.key] = [*onward, *members.get(who.primary.key, [])]
    ask.leads_to = leads_to
    return ask


def reachable(leads_to: dict[str, list[str]], name: str) -> set[str]:
    """Everybody to whom mail for this name may come."""
    found, waiting = set(), [name]
    while waiting:
        here = waiting.pop()
        if here not in found:
            found.add(here)
            waiting += leads_to.get(here, [])
    return found


RECIPIENTS = st.lists(st.sampled_from(ANYBODY), min_size=1, max_size=4, unique=True)
PEERS = st.sampled_from(["198.51.100.9", "192.0.2.25"])
SENDERS = st.sampled_from(["x@far.test", "r1@contoso.com", ""])


@st.composite
def accepted(draw):
    """Facts with recipients that were taken at RCPT, and the directory that took them."""
    ask = draw(worlds())
    facts = facts_of(draw(SENDERS), *draw(RECIPIENTS), connection=connection_of(draw(PEERS)))
    _, ruling = settled(POLICY, facts, ask, Point.RCPT)
    taken = tuple(v.recipient for v in ruling.recipients if v.disposition is None)
    return ask, Facts(facts.at, facts.connection, facts.envelope, taken, facts.message)


def ends(ruling: Ruling) -> set[RecipientId]:
    """The recipients whose copy somebody has, is refused, or waits."""
    children: dict[RecipientId | None, list[Verdict]] = {}
    for verdict in ruling.recipients:
        children.setdefault(verdict.recipient.derived_from, []).append(verdict)
    has: set[RecipientId] = set()
    for verdict in reversed(ruling.recipients):
        below = children.get(verdict.recipient, [])
        if not isinstance(verdict.disposition, Resolved) or any(one.recipient in has for one in below):
            has.add(verdict.recipient)
    return has


@settings(max_examples=300)
@given(accepted())
def test_every_recipient_ends_somewhere_and_every_mailbox_gets_it_once(given_) -> None:
    ask, facts = given_
    if not facts.recipients:
        return
    _, ruling = settled(POLICY, facts, ask)
    assert tuple(v.recipient for v in ruling.recipients[: len(facts.recipients)]) == facts.recipients
    delivered = [
        (v.standing.organisation, v.disposition.target.key, v.disposition.route)
        for v in ruling.recipients if isinstance(v.disposition, Deliver)
    ]  # fmt: skip
    assert len(delivered) == len(set(delivered))
    copies = {
        key for v in ruling.recipients if not isinstance(v.disposition, Resolved)
        for key in (v.recipient.original.key, v.target.key, (v.identity or v.target).key)
    }  # fmt: skip
    for verdict in ruling.recipients:
        assert reachable(ask.leads_to, verdict.recipient.original.key) & copies, verdict.recipient.original
    if not any(isinstance(v.disposition, Deliver) for v in ruling.recipients):
        assert answer(ruling) is not None


@settings(max_examples=150)
@given(accepted())
def test_alone_a_recipient_never_vanishes(given_) -> None:
    """Of one recipient alone, the copy is delivered, refused or put off: there is nobody else to have it."""
    ask, facts = given_
    for recipient in facts.recipients:
        one = Facts(facts.at, facts.connection, facts.envelope, (recipient,), facts.message)
        _, ruling = settled(POLICY, one, ask)
        assert recipient in ends(ruling)


@settings(max_examples=150)
@given(accepted(), st.randoms(use_true_random=False))
def test_neither_cutting_nor_the_order_of_answers_changes_anything(given_, chance) -> None:
    ask, facts = given_
    learnt, expected = settled(POLICY, facts, ask)

    def one_by_one(questions):
        question = chance.choice(questions)
        return ask((question,))

    now, so_far = facts, None
    for _ in range(500):
        outcome = judge(POLICY, now, Point.DATA, so_far)
        if not isinstance(outcome, Wants):
            break
        now, so_far = now.learn(one_by_one(outcome.questions)), outcome.so_far
    assert outcome == expected
    assert judge(POLICY, learnt) == expected
    shuffled = list(learnt.findings.items())
    chance.shuffle(shuffled)
    assert judge(POLICY, facts.learn(dict(shuffled))) == expected
    early = Facts(facts.at, facts.connection, facts.envelope, facts.recipients)
    early, at_rcpt = settled(POLICY, early, ask, Point.RCPT)
    more = Facts(facts.at, facts.connection, facts.envelope, facts.recipients, facts.message, early.findings)
    assert settled(POLICY, more, ask, Point.DATA, at_rcpt)[1] == expected
    assert judge(POLICY, learnt, Point.DATA, expected) == expected


@settings(max_examples=100)
@given(accepted())
def test_both_depths_decide_the_same_and_the_record_gives_it_back(given_) -> None:
    ask, facts = given_
    learnt, live = settled(POLICY, facts, ask)
    _, full = settled(POLICY, facts, ask, Point.DATA, None, Depth.FULL)
    assert [(v.recipient, v.disposition, v.stage) for v in live.recipients] == [
        (v.recipient, v.disposition, v.stage) for v in full.recipients
    ]
    recorder = Recorder()
    story = recorder.read_story(recorder.write_story(learnt, live))
    assert (story.facts, story.ruling) == (learnt, live)
    assert judge(POLICY, story.facts) == live


@settings(max_examples=100)
@given(accepted(), st.randoms(use_true_random=False))
def test_what_is_unknown_turns_nothing_into_a_refusal(given_, chance) -> None:
    ask, facts = given_
    _, clear = settled(POLICY, facts, ask)

    def unreliable(questions):
        return {q: Unknown("no answer") if chance.random() < 0.3 else a for q, a in ask(questions).items()}

    _, clouded = settled(POLICY, facts, unreliable)
    refused = {v.recipient.original.key for v in clear.recipients if isinstance(v.disposition, Refuse)}
    for verdict in clouded.recipients:
        if isinstance(verdict.disposition, Refuse):
            loop = verdict.disposition.reply.enhanced in ("5.4.6", "5.1.10")
            assert loop or verdict.recipient.original.key in refused


@pytest.mark.parametrize(("count", "groups"), [(400, 10), (4000, 10), (4000, 40)])
def test_the_work_grows_with_the_number_of_members_and_no_faster(monkeypatch, count: int, groups: int) -> None:
    """Groups that all contain each other, and members that all forward to each other, are no way round that."""
    from lockgate.decision import derive
    from lockgate.decision import judge as module

    walked = 0
    keyed = 0
    follow, key_of = module._follow, derive._key

    def counted(*given_):
        nonlocal walked
        walked += 1
        return follow(*given_)

    def counted_key(*given_):
        nonlocal keyed
        keyed += 1
        return key_of(*given_)

    monkeypatch.setattr(module, "_follow", counted)
    monkeypatch.setattr(derive, "_key", counted_key)
    names = [f"m{n}@contoso.com" for n in range(count)]
    whoever: list[Who] = [who_of("contoso", name, kind="mailbox", forwarding=names[n - 1], keeps_copy=True)
                          for n, name in enumerate(names)]  # fmt: skip
    lists = [f"g{n}@contoso.com" for n in range(groups)]
    whoever += [who_of("contoso", name, kind="distribution_group") for name in lists]
    share = count // groups
    ask = people(*whoever, members={g: [*lists, *names[n * share : (n + 1) * share]] for n, g in enumerate(lists)})
    learnt, ruling = settled(POLICY, facts_of("x@far.test", *lists[:2]), ask)
    members = sum(len(answer.known) for _, answer in learnt.findings.items() if isinstance(answer, Members))
    assert len(ruling.recipients) == count + groups
    assert walked < 4 * (count + groups), "each recipient is followed a few times, whatever leads to it"
    assert keyed < 10 * members, "and each listed member is looked at a few times"
