"""Derived recipients on their way: planned, carried, judged again, released, and told."""

from __future__ import annotations

import asyncio

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from decision.judging import settled
from decision.test_expand_properties import RECIPIENTS, reachable, worlds
from flow.house import House
from lockgate.decision.judge import judge
from lockgate.flow.commit import MOST_AT_ONCE
from lockgate.flow.excerpt import about
from lockgate.flow.retelling import Recorded, Retelling
from lockgate.flow.story import told as story_told
from lockgate.mail.envelope import Envelope
from lockgate.mail.findings import CallForward, MembersOf, Said, Unknown
from lockgate.mail.headers import message_of
from lockgate.mail.recipient import RecipientId
from lockgate.mail.record import Recorder
from lockgate.mail.ruling import Hold, Ruling
from lockgate.testing.builders import address, facts_of, people, policy_of, who_of

TWO = """
[[organisation]]
name = "contoso"
[[accepted_domain]]
organisation = "contoso"
domain_name = "contoso.com"
default = true
vouched_by_operator = true
[[inbound_connector]]
organisation = "contoso"
name = "onprem"
connector_type = "on_premises"
sender_ip_addresses = ["192.0.2.25"]
[[outbound_connector]]
organisation = "contoso"
name = "hq"
connector_type = "on_premises"
use_mx_record = false
smart_hosts = ["hq.test"]
all_accepted_domains = true
[[organisation]]
name = "fabrikam"
[[accepted_domain]]
organisation = "fabrikam"
domain_name = "fabrikam.com"
vouched_by_operator = true
"""
SALES = "sales@contoso.com"


def mailbox(name: str, **more):
    return who_of("contoso", f"{name}@contoso.com", kind="mailbox", **more)


def group(name: str):
    return who_of("contoso", f"{name}@contoso.com", kind="distribution_group")


def team(*members: str):
    everybody = [mailbox(name.partition("@")[0]) for name in members if name.endswith("@contoso.com")]
    other = [who_of("fabrikam", name) for name in members if name.endswith("@fabrikam.com")]
    return people(group("sales"), *everybody, *other, members={SALES: members})


def house_of(ask) -> House:
    house = House(policy=TWO)
    house.ask = ask
    return house


def without_members(ask):
    """The same directory while its members cannot be read."""
    silent = people(failing="it is being replaced")
    return lambda questions: {q: (silent if isinstance(q, MembersOf) else ask)((q,))[q] for q in questions}


def pending(*held: str):
    """The real judge; these recipients wait for answers."""

    def judge_with(policy, facts, until, so_far=None):
        outcome = judge(policy, facts, until, so_far)
        if not isinstance(outcome, Ruling) or facts.message is None:
            return outcome
        verdicts = tuple(
            msgspec.structs.replace(v, disposition=Hold("nobody answers", pending=True))
            if v.recipient.original.text in held else v
            for v in outcome.recipients
        )  # fmt: skip
        return msgspec.structs.replace(outcome, recipients=verdicts)

    return judge_with


def events(house: House, address: str) -> list[str]:
    (trace,) = (t for t in house.spool.traces.values() if t.recipient == address)
    return [event.detail for event in trace.events]


async def test_T_TR_1_one_expanded_row_and_one_for_each_member_of_one_message() -> None:
    house = house_of(team("ana@contoso.com", "ben@contoso.com"))
    assert (await house.send(SALES))[-1].code == 250
    await house.settle()
    assert house.statuses() == {SALES: "Expanded", "ana@contoso.com": "Delivered", "ben@contoso.com": "Delivered"}
    rows = await house.spool.trace_find({"status": "expanded"}, 10)
    assert [row["recipient_address"] for row in rows] == [SALES]
    everything = await house.spool.trace_find({}, 10)
    assert {row["network_message_id"] for row in everything} == {rows[0]["network_message_id"]}
    assert "member of sales@contoso.com" in events(house, "ana@contoso.com")
    assert events(house, SALES)[-1] == "2 members of sales@contoso.com"
    (_, cargo), = house.courier.carried  # one message, one body, one transaction
    assert [r.address for r in cargo.recipients] == ["ana@contoso.com", "ben@contoso.com"]


async def test_a_task_carries_a_thousand_recipients_and_more_make_further_copies() -> None:
    house = house_of(team(*(f"u{n}@contoso.com" for n in range(2500))))
    house.take = lambda tasks: None
    await house.send(SALES)
    (new,) = house.spool.messages.values()
    assert [len(task.recipients) for task in new.tasks] == [MOST_AT_ONCE, MOST_AT_ONCE, 500]
    assert len(new.traces) == 2501
    assert len({recipient.trace for task in new.tasks for recipient in task.recipients}) == 2500


async def test_what_is_sent_on_leaves_with_a_sender_of_ours() -> None:
    house = house_of(people(mailbox("ana", forwarding="a@out.test", keeps_copy=True)))
    house.take = lambda tasks: None
    await house.send("ana@contoso.com")
    (new,) = house.spool.messages.values()
    rewrites = {r.id.original.text: r.rewrite for task in new.tasks for r in task.recipients}
    assert rewrites == {"ana@contoso.com": "", "a@out.test": "contoso.com"}


async def test_another_organisation_sees_its_own_and_from_which_group_it_comes() -> None:
    house = house_of(team("ana@contoso.com", "u@fabrikam.com"))
    house.take = lambda tasks: None
    await house.send(SALES)
    (new,) = house.spool.messages.values()
    assert {t.recipient: t.organisation for t in new.traces} == {
        SALES: "contoso", "ana@contoso.com": "contoso", "u@fabrikam.com": "fabrikam",
    }  # fmt: skip
    assert events(house, "u@fabrikam.com")[-1] == "member of sales@contoso.com"
    stories = dict(new.stories)
    story = Recorder().read_story(stories["fabrikam"])
    assert "ana" not in str(story) and [r.original.text for r in story.facts.recipients] == ["u@fabrikam.com"]
    retelling = Retelling(at(house), Recorder())
    for whose, count in (("fabrikam", 1), ("contoso", 2)):
        told = await retelling.tell(Recorded(whose, stories[whose], ()))
        assert told["judged"]["steps"] == "judged again" and not told["differs"]
        assert len(told["recipients"]) == count
    assert told["recipients"][1]["derivation"] == "member of sales@contoso.com"


def at(house: House):
    async def policy_at(number: int):
        return house.policy

    return policy_at


async def test_a_group_whose_members_could_not_be_read_is_expanded_later() -> None:
    ask = team("ana@contoso.com", "ben@contoso.com", "u@fabrikam.com")
    house = house_of(without_members(ask))
    assert (await house.send(SALES, "ben@contoso.com"))[-1].code == 250
    await house.settle()
    assert house.statuses() == {SALES: "Pending", "ben@contoso.com": "Delivered"}
    house.ask = ask
    await house.later(120)
    await house.later(1)
    carried = sorted(r.address for _, cargo in house.courier.carried for r in cargo.recipients)
    # Ben has it already; of the others each gets one copy, told in the row of the group.
    assert carried == ["ana@contoso.com", "ben@contoso.com", "u@fabrikam.com"]
    assert house.statuses()[SALES] == "Delivered"
    said = " ".join(events(house, SALES))
    assert "3 members of sales@contoso.com" in said and "ana@contoso.com, member of sales@contoso.com: goes on" in said
    assert not house.spool.tasks


async def test_members_that_wait_are_judged_with_their_group_and_nobody_else_gets_it_again() -> None:
    ask = team("ana@contoso.com", "ben@contoso.com")
    house = house_of(ask)
    house.judge = pending("ana@contoso.com")
    await house.send(SALES, "x1@contoso.com")
    await house.settle()
    assert house.statuses() == {SALES: "Expanded", "ana@contoso.com": "Pending", "ben@contoso.com": "Delivered"}
    house.judge = judge
    house.ask = team("ana@contoso.com", "ben@contoso.com", "new@contoso.com")  # who joins later was not meant
    await house.later(120)
    await house.later(1)
    assert house.statuses()["ana@contoso.com"] == "Delivered"
    carried = sorted(r.address for _, cargo in house.courier.carried for r in cargo.recipients)
    assert carried == ["ana@contoso.com", "ben@contoso.com"]


async def test_who_is_no_member_any_more_is_held_and_not_forgotten() -> None:
    house = house_of(without_members(team("ana@contoso.com", "ben@contoso.com")))
    house.ask = team("ana@contoso.com", "ben@contoso.com")
    house.judge = pending("ana@contoso.com")
    await house.send(SALES)
    (new,) = house.spool.messages.values()
    recorder = Recorder()
    story = recorder.read_story(new.stories[0][1])
    # The answer was no answer, so the directory is asked again, and knows her no more.
    facts = msgspec.structs.replace(story.facts, findings=type(story.facts.findings)())
    forgotten = recorder.write_story(facts, story.ruling)
    house.spool.messages[new.id] = msgspec.structs.replace(new, stories=(("contoso", forgotten),))
    house.judge, house.ask = judge, team("ben@contoso.com")
    await house.later(120)
    assert house.statuses()["ana@contoso.com"] == "Held"
    assert "does not lead to this recipient any more" in events(house, "ana@contoso.com")[-1]


async def test_a_released_member_alone_is_carried_and_not_expanded_again() -> None:
    house = house_of(team("ana@contoso.com", "ben@contoso.com"))

    def judge_with(policy, facts, until, so_far=None):
        outcome = judge(policy, facts, until, so_far)
        if not isinstance(outcome, Ruling) or facts.message is None:
            return outcome
        held = tuple(
            msgspec.structs.replace(v, disposition=Hold("looked at by a person"))
            if v.recipient.original.text == "ana@contoso.com" else v for v in outcome.recipients
        )  # fmt: skip
        return msgspec.structs.replace(outcome, recipients=held)

    house.judge = judge_with
    await house.send(SALES)
    await house.settle()
    assert house.statuses() == {SALES: "Expanded", "ana@contoso.com": "Held", "ben@contoso.com": "Delivered"}
    house.judge = judge
    await house.spool.queue_edit("release", {"recipient": "ana@contoso.com"}, "a person")
    await house.later(1)
    await house.later(1)
    assert house.statuses()["ana@contoso.com"] == "Delivered"
    carried = sorted(r.address for _, cargo in house.courier.carried for r in cargo.recipients)
    assert carried == ["ana@contoso.com", "ben@contoso.com"]


async def test_a_refused_group_leaves_rows_that_tell_of_each_member_alone() -> None:
    ask = people(group("sales"), members={SALES: [f"gone{n}@contoso.com" for n in range(40)]})
    house = house_of(ask)
    said = await house.send(SALES)
    assert (said[-1].code, said[-1].enhanced) == (550, "5.1.10") and not house.spool.messages
    assert len(house.spool.refusals) == 40
    row = house.spool.refusals[7]
    assert (row.recipient, row.point) == ("gone7@contoso.com", "DATA")
    assert "gone8" not in str(Recorder().read_story(row.story))
    told = await Retelling(at(house), Recorder()).tell(Recorded("contoso", row.story, (), row.reply))
    assert not told["differs"] and told["recipients"][-1]["recipient"] == "gone7@contoso.com"


def redirecting(**ways: str) -> str:
    table = '[[mail_flow_rule]]\norganisation = "contoso"\nname = "{0}"\nsent_to = ["{0}@contoso.com"]\n'
    return "".join(f'{table.format(one)}redirect_message_to = ["{to}@contoso.com"]\n' for one, to in ways.items())


@pytest.mark.parametrize("through_a_group", [False, True])
async def test_redirects_that_cross_are_explained_from_each_row_alone(through_a_group: bool) -> None:
    house = House(policy=TWO + redirecting(ana="ben", ben="ana", carl="ben", dora="eve"))
    names = ("ana", "ben", "carl", "dora", "eve")
    everybody = [f"{name}@contoso.com" for name in names]
    house.ask = people(*(mailbox(name) for name in names), group("sales"), members={SALES: everybody[:3]})
    lost = [SALES] if through_a_group else everybody[:3]
    said = await house.send(*lost)
    assert (said[-1].code, said[-1].enhanced) == (550, "5.7.128") and not house.spool.messages
    assert [row.recipient for row in house.spool.refusals] == everybody[:3]
    for row in house.spool.refusals:
        story = Recorder().read_story(row.story)
        assert [one.recipient.original.text for one in story.ruling.recipients] == [row.recipient]
        told = await Retelling(at(house), Recorder()).tell(Recorded("contoso", row.story, (), row.reply))
        assert told["judged"]["steps"] == "judged again" and not told["differs"]
        (verdict,) = told["recipients"]
        assert (verdict["recipient"], verdict["what"]) == (row.recipient, "refused")
        assert {one["recipient"] for one in told["conversation"]} <= {"", row.recipient, SALES}


def test_of_a_circle_only_those_in_it_are_recorded() -> None:
    ask = people(*(mailbox(name) for name in ("ana", "ben", "carl", "dora")))
    facts = facts_of("x@far.test", *(f"{name}@contoso.com" for name in ("carl", "ben", "dora", "ana")),
                     message=message_of("id", b"Subject: x\r\n\r\n", 100, "house"))  # fmt: skip
    policy = policy_of(TWO + redirecting(ana="ben", ben="ana", carl="dora"))
    facts, ruling = settled(policy, facts, ask)
    carl, ben, dora, ana = ruling.recipients
    for one, kept in ((ana, [ben, ana]), (ben, [ben, ana]), (carl, [carl]), (dora, [dora])):
        excerpt, told = about(facts, ruling, one)
        assert excerpt.recipients == tuple(other.recipient for other in kept)
        assert told.recipients == (one,)


async def test_a_refused_member_among_others_is_held_for_a_stranger() -> None:
    house = house_of(people(group("sales"), mailbox("ana"), members={SALES: ["ana@contoso.com", "gone@contoso.com"]}))
    assert (await house.send(SALES))[-1].code == 250
    await house.settle()
    assert house.statuses() == {SALES: "Expanded", "ana@contoso.com": "Delivered", "gone@contoso.com": "Held"}


async def test_the_next_hop_is_asked_about_members_as_it_is_at_rcpt() -> None:
    house = House(policy=TWO.replace('domain_name = "contoso.com"', 'domain_name = "contoso.com"\n'
                                     'recipient_validation = "call_forward"'))  # fmt: skip
    house.ask = _forwarding_to("there@contoso.com", "gone@contoso.com")
    asked = []

    async def inquire(policy, facts, questions):
        asked.extend(question.address for question in questions)
        return {q: Said(q.address.startswith("there"), "250 2.1.5 as it says", "hq.test") for q in questions}

    house.reception = msgspec.structs.replace(house.reception, inquire=inquire)
    assert (await house.send("r0@contoso.com", "r1@contoso.com"))[-1].code == 250
    await house.settle()
    assert sorted(asked) == ["gone@contoso.com", "there@contoso.com"]
    assert house.statuses() == {
        "r0@contoso.com": "Resolved", "r1@contoso.com": "Resolved", "there@contoso.com": "Delivered",
        "gone@contoso.com": "Held",
    }  # fmt: skip


def _forwarding_to(*targets: str):
    """Mailboxes r0, r1 ... that forward to these; what only the next hop knows is left out, as the service does."""
    known = people(*(mailbox(f"r{n}", forwarding=target) for n, target in enumerate(targets)))

    def ask(questions):
        return known(tuple(question for question in questions if not isinstance(question, CallForward)))

    return ask


async def test_another_organisations_story_has_as_many_recipients_as_there_are_members() -> None:
    house = house_of(team(*(f"u{n}@fabrikam.com" for n in range(1200))))
    house.take = lambda tasks: None
    await house.send(SALES)
    (new,) = house.spool.messages.values()
    told = await Retelling(at(house), Recorder()).tell(Recorded("fabrikam", dict(new.stories)["fabrikam"], ()))
    assert len(told["recipients"]) == 1200 and not told["differs"]


@settings(max_examples=100, deadline=None)
@given(worlds(), RECIPIENTS, st.randoms(use_true_random=False))
def test_whatever_cannot_be_asked_for_a_while_nobody_is_lost_and_nobody_gets_it_twice(ask, named, chance) -> None:
    asyncio.run(_through_an_outage(ask, named, chance))


async def _through_an_outage(ask, named, chance) -> None:
    house = House(policy=TWO)
    failing = 0.0

    def unreliable(questions):
        return {q: Unknown("no answer") if chance.random() < failing else a for q, a in ask(questions).items()}

    house.ask = unreliable
    guest = house.guest()
    guest.mail(Envelope(address("x@sender.test")))
    taken = [name for name in named if guest.rcpt(RecipientId(address(name))).code == 250]
    if not taken:
        return
    failing = chance.choice((0.2, 0.5, 1.0))  # it goes away while it is asked
    body = guest.begin()
    body.write(b"Subject: Hello\r\n\r\nHello\r\n")
    if (await guest.done(body)).code != 250:
        return
    # Organisations judge what waits apart from each other: groups of two that lead to one recipient may be two copies.
    apart = {task.task.lane.partition("/")[0] for task in house.spool.tasks.values() if task.task.route is None}
    failing = 1.0
    await house.later(0)
    await house.later(120)  # still nobody can be asked
    failing = 0.0
    for _ in range(6):
        await house.later(700)
    assert all(task.held for task in house.spool.tasks.values()), "somebody waits for ever"
    # A contact of one organisation may lead to the other by MX, as to anybody outside; that is another way.
    ways = [(hop, recipient.address) for hop, cargo in house.courier.carried for recipient in cargo.recipients]
    assert len(apart) > 1 or len(ways) == len(set(ways)), "somebody got it twice"
    got = [address for _, address in ways]
    kept = {r.id.original.key for task in house.spool.tasks.values() for r in task.recipients}
    for name in taken:
        assert reachable(ask.leads_to, name.casefold()) & (kept | {one.casefold() for one in got}), name


# --- told -------------------------------------------------------------------------------------------------------------


async def kept(house: House, *recipients: str):
    house.take = lambda tasks: None
    await house.send(*recipients)
    (new,) = house.spool.messages.values()
    shown = await house.spool.trace_show(new.id)
    return new.stories[0][1], list(shown["rows"])


@pytest.mark.parametrize("members", [3, 200])
async def test_each_member_is_explained_by_name_with_every_step(members: int) -> None:
    house = house_of(team(*(f"u{n}@contoso.com" for n in range(members))))
    story, rows = await kept(house, SALES)
    told = await Retelling(at(house), Recorder()).tell(Recorded("contoso", story, rows))
    assert [row["recipient"] for row in told["recipients"]] == [SALES, *(f"u{n}@contoso.com" for n in range(members))]
    assert not told["differs"] and told["facts"]["recipients"] == [SALES]
    assert told["recipients"][0]["what"] == "expanded" and told["recipients"][0]["status"] == "Expanded"
    assert told["recipients"][1]["status"] == "Pending" and told["recipients"][1]["derived_from"] == SALES
    one = await Retelling(at(house), Recorder(), "u1@contoso.com").tell(Recorded("contoso", story, rows))
    last = one["recipients"][-1]
    assert last["recipient"] == "u1@contoso.com" and not one["differs"]
    assert {step["stage"] for step in last["steps"]} >= {"expand", "dispose", "route"}, "every step is told"
    assert len(one["recipients"]) == (2 if members == 3 else 1)
    whole = await Retelling(at(house), Recorder(), SALES).tell(Recorded("contoso", story, rows))
    assert [row["recipient"] for row in whole["recipients"]] == [SALES] and not whole["differs"]


async def test_whoever_shares_a_copy_is_explained_so_when_asked_for_alone() -> None:
    house = house_of(people(mailbox("ana"), aliases={"a.smith@contoso.com": "ana@contoso.com"}))
    story, rows = await kept(house, "ana@contoso.com", "a.smith@contoso.com")
    for named, what in (("ana@contoso.com", "delivered"), ("a.smith@contoso.com", "resolved")):
        told = await Retelling(at(house), Recorder(), named).tell(Recorded("contoso", story, rows))
        assert [row["what"] for row in told["recipients"]] == [what] and not told["differs"]


async def test_the_recorded_steps_name_from_whom_a_recipient_comes() -> None:
    house = house_of(team("ana@contoso.com"))
    story, _ = await kept(house, SALES)
    _, steps = story_told(Recorder(), {"contoso": story})
    assert "ana@contoso.com, member of sales@contoso.com" in {step["recipient"] for step in steps}
