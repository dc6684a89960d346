"""From the conversation to what is durable: every reply is the judge's, and 250 is said once and meant."""

from __future__ import annotations

import pytest

from flow.house import CONTOSO, OURS, House
from lockgate.decision.judge import judge
from lockgate.decision.stage import refused_for_all
from lockgate.flow.simulate import converse, unasked
from lockgate.mail import replies
from lockgate.mail.envelope import Envelope
from lockgate.mail.facts import Point
from lockgate.mail.octets import SeenOctets
from lockgate.mail.recipient import RecipientId
from lockgate.mail.reply import Reply
from lockgate.mail.ruling import Defer, Hold, Refuse, Ruling, Verdict
from lockgate.testing.builders import address, people, who_of

NO = Reply(550, "5.7.1", "The judge of this test says no")
LATER = Reply(451, "4.7.1", "The judge of this test is not sure")


def refusing(at: Point):
    """A judge that refuses everything at one point."""

    def judge_with(policy, facts, until, so_far=None):
        if until is not at:
            return judge(policy, facts, until, so_far)
        if until is not Point.RCPT:
            return refused_for_all(so_far or Ruling(Point.CONNECT), NO)
        verdicts = tuple(Verdict(r, r.original, disposition=Refuse(NO)) for r in facts.recipients)
        return Ruling(Point.RCPT, recipients=verdicts)

    return judge_with


@pytest.mark.parametrize("point", list(Point))
async def test_replies_come_from_the_judge_alone(point: Point) -> None:
    house = House()
    house.judge = refusing(point)
    guest = house.guest()
    said = [guest.connected()]
    if point > Point.CONNECT:
        said += await house.send("ben@contoso.com")
    bad = [reply for reply in said if reply is not None and reply.code >= 400]
    assert len(bad) == 1
    assert bad[0].text.startswith(NO.text)
    assert "(id C0NNECT10N)" in bad[0].text
    assert not house.spool.messages
    assert house.spool.refusals[0].point == point.name


async def test_accepted_mail_is_durable_before_250_and_carried_at_once() -> None:
    house = House()
    said = await house.send("ben@contoso.com", "amy@contoso.com", "nobody@contoso.com")
    assert [reply.code for reply in said] == [250, 250, 250, 550, 250]
    assert house.spool.messages
    await house.settle()
    assert house.statuses() == {"ben@contoso.com": "Delivered", "amy@contoso.com": "Delivered"}
    (_, cargo), = house.courier.carried
    assert [r.address for r in cargo.recipients] == ["ben@contoso.com", "amy@contoso.com"]
    assert cargo.content.startswith(b"Received: from")
    assert cargo.content.endswith(b"\r\n\r\nHello\r\n")


@pytest.mark.parametrize("name", ["ben", "jürgen"])
async def test_what_the_door_has_seen_of_the_octets_goes_along(name: str) -> None:
    """Not where our own fields in front of them hold other octets: the recipient's address stands there."""
    house = House()
    house.ask = people(who_of("contoso", f"{name}@contoso.com"))
    guest = house.guest()
    guest.mail(Envelope(address("x@sender.test"), utf8=True))
    assert guest.rcpt(RecipientId(address(f"{name}@contoso.com"))).code == 250
    body = guest.begin()
    body.write(b"Subject: x\r\n\r\n")
    seen = SeenOctets(eight_bit=False, dotted=False)
    assert (await guest.done(body, seen)).code == 250
    await house.settle()
    (_, cargo), = house.courier.carried
    assert cargo.content.isascii() is (name == "ben")
    assert cargo.seen == (seen if name == "ben" else None)


async def test_what_cannot_be_kept_is_not_accepted() -> None:
    house = House()
    guest = house.guest()
    guest.mail(Envelope(address("x@sender.test")))
    guest.rcpt(RecipientId(address("ben@contoso.com")))
    body = guest.begin()
    body.write(b"Subject: x\r\n\r\n")
    house.spool.broken = "no space"
    assert (await guest.done(body)).code == 452
    assert not house.spool.messages
    house.spool.broken = ""
    assert (await house.send("ben@contoso.com"))[-1].code == 250


async def test_once_durable_it_is_250_whatever_goes_wrong_then() -> None:
    house = House()

    def broken(tasks):
        raise RuntimeError("delivery is broken")

    house.take = broken
    assert (await house.send("ben@contoso.com"))[-1].code == 250
    assert len(house.spool.messages) == 1
    assert house.journal.alarms[0][0] == "unforeseen"


async def test_a_mistake_of_ours_is_temporary_at_every_point() -> None:
    for point in Point:
        house = House()

        def broken(policy, facts, until, so_far=None, at=point):
            if until is at:
                raise KeyError("a mistake")
            return judge(policy, facts, until, so_far)

        house.judge = broken
        guest = house.guest()
        said = [guest.connected()] if point is Point.CONNECT else await house.send("ben@contoso.com")
        assert [r.code for r in said if r is not None and r.code >= 400] == [451]
        assert not house.spool.messages


async def test_a_recipient_named_twice_is_taken_once_and_reset_forgets() -> None:
    house = House()
    assert [r.code for r in await house.send("ben@contoso.com", "BEN@contoso.com")] == [250, 250, 250, 250]
    await house.settle()
    assert len(house.spool.traces) == 1
    guest = house.guest()
    guest.mail(Envelope(address("x@sender.test")))
    guest.rcpt(RecipientId(address("ben@contoso.com")))
    guest.reset()
    assert guest.rcpt(RecipientId(address("ben@contoso.com"))).code == 451


async def test_a_refusal_row_tells_of_its_recipient_alone() -> None:
    house = House()
    await house.send("ben@contoso.com", "nobody@contoso.com")
    (row,) = house.spool.refusals
    assert (row.recipient, row.organisation, row.point) == ("nobody@contoso.com", "contoso", "RCPT")
    assert "does not know" in row.reason
    story = house.reception.recorder.read_story(row.story)
    assert [r.original.text for r in story.facts.recipients] == ["nobody@contoso.com"]
    assert judge(house.policy, story.facts, Point.RCPT) == story.ruling


def at_data(*dispositions):
    """The real judge until RCPT; then these dispositions, in order."""

    def judge_with(policy, facts, until, so_far=None):
        outcome = judge(policy, facts, until, so_far)
        if until is not Point.DATA or not isinstance(outcome, Ruling):
            return outcome
        verdicts = tuple(
            v if d is None else Verdict(v.recipient, v.target, v.standing, disposition=d)
            for v, d in zip(outcome.recipients, dispositions, strict=True)
        )
        return Ruling(Point.DATA, recipients=verdicts)

    return judge_with


async def test_all_put_off_is_451_and_all_refused_is_the_refusal() -> None:
    house = House()
    house.judge = at_data(Defer(LATER), Defer(LATER))
    assert (await house.send("ben@contoso.com", "amy@contoso.com"))[-1].code == 451
    house.judge = at_data(Refuse(NO), Refuse(NO))
    assert (await house.send("ben@contoso.com", "amy@contoso.com"))[-1].code == 550
    assert not house.spool.messages
    assert len(house.spool.refusals) == 4


async def test_a_stranger_is_not_told_of_a_refusal_after_250_and_the_mail_is_held() -> None:
    house = House()
    house.judge = at_data(None, Refuse(NO))
    assert (await house.send("ben@contoso.com", "amy@contoso.com"))[-1].code == 250
    await house.settle()
    assert house.statuses() == {"ben@contoso.com": "Delivered", "amy@contoso.com": "Held"}
    # a person releases it: it is not ruled a second time, only disposed of and routed
    house.judge = judge
    await house.spool.queue_edit("release", {"recipient": "amy@contoso.com"}, "test")
    await house.later(1)
    await house.later(1)
    assert house.statuses() == {"ben@contoso.com": "Delivered", "amy@contoso.com": "Delivered"}


async def test_an_own_server_is_told_of_a_refusal_after_250() -> None:
    house = House()
    house.judge = at_data(None, Refuse(NO))
    assert (await house.send("ben@contoso.com", "amy@contoso.com", sender="ben@contoso.com", peer=OURS))[-1].code == 250
    house.judge = lambda policy, facts, until, so_far=None: (
        at_data(Refuse(NO))(policy, facts, until, so_far) if len(facts.recipients) == 1 else None
    )
    await house.settle()
    await house.later(1)
    assert house.statuses()["amy@contoso.com"] == "Failed"
    assert house.statuses()["report to ben@contoso.com"] == "Delivered"


async def test_a_deferred_recipient_is_judged_again_and_goes_its_way() -> None:
    house = House()
    house.judge = at_data(None, Defer(LATER))
    assert (await house.send("ben@contoso.com", "amy@contoso.com"))[-1].code == 250
    house.judge = at_data(Defer(LATER))
    await house.later(61)
    assert house.statuses()["amy@contoso.com"] == "Pending"
    house.judge = judge
    await house.later(700)
    await house.later(1)
    assert house.statuses() == {"ben@contoso.com": "Delivered", "amy@contoso.com": "Delivered"}
    assert not house.spool.tasks


async def test_a_deferred_recipient_that_is_refused_later_is_held_if_the_sender_is_not_proven() -> None:
    house = House()
    house.judge = at_data(None, Defer(LATER))
    await house.send("ben@contoso.com", "amy@contoso.com")
    house.judge = at_data(Refuse(NO))
    await house.later(61)
    assert house.statuses()["amy@contoso.com"] == "Held"
    (task,) = house.spool.tasks.values()
    assert task.task.lane == "contoso/hold"
    assert not any(name.startswith("report") for name in house.statuses())


async def test_a_deferred_recipient_whose_life_is_over_is_reported() -> None:
    house = House()
    house.judge = at_data(None, Defer(LATER))
    await house.send("ben@contoso.com", "amy@contoso.com")
    house.judge = at_data(Defer(LATER))
    await house.later(7300)
    assert house.statuses()["amy@contoso.com"] == "Failed"
    assert house.statuses()["report to x@sender.test"] in {"Pending", "Delivered"}


async def test_what_is_not_answered_in_time_is_accepted_and_goes_on_by_itself_when_it_is() -> None:
    house = House()
    house.judge = at_data(None, Hold("nobody answers", pending=True))
    assert (await house.send("ben@contoso.com", "amy@contoso.com"))[-1].code == 250
    await house.settle()
    assert house.statuses() == {"ben@contoso.com": "Delivered", "amy@contoso.com": "Pending"}
    (row,) = await house.spool.hold_list({}, 10)
    assert row["state"] == "pending" and row["recipients"] == ["amy@contoso.com"]
    house.judge = at_data(Hold("nobody answers", pending=True))
    await house.later(61)
    assert house.statuses()["amy@contoso.com"] == "Pending"
    house.judge = judge
    await house.later(700)
    await house.later(1)
    assert house.statuses()["amy@contoso.com"] == "Delivered" and not house.spool.tasks


async def test_what_is_never_answered_is_held_for_a_person_and_never_returned() -> None:
    house = House()
    house.judge = at_data(None, Hold("nobody answers", pending=True))
    await house.send("ben@contoso.com", "amy@contoso.com")
    house.judge = at_data(Hold("nobody answers", pending=True))
    await house.later(7300)
    assert house.statuses()["amy@contoso.com"] == "Held"
    assert not any(name.startswith("report") for name in house.statuses())
    (row,) = await house.spool.hold_list({}, 10)
    assert row["state"] == "held" and row["held_until"] == house.clock.now() + 30 * 86400


async def test_the_rules_that_applied_and_the_pool_that_was_used_are_in_the_trace() -> None:
    rule = """
[[mail_flow_rule]]
name = "By hq, always"
recipient_domain_is = ["contoso.com"]
route_message_outbound_connector = "hq"
"""
    house = House(policy=CONTOSO + rule)
    await house.send("ben@contoso.com")
    await house.settle()
    (row,) = await house.spool.trace_find({"rule": "By hq, always"}, 10)
    assert row["rules"] == ["By hq, always"] and row["pool"] == "main" and row["status"] == "Delivered"


async def test_the_directory_fails_during_the_conversation() -> None:
    house = House()
    house.ask = people(failing="the table is being built")
    assert [r.code for r in await house.send("ben@contoso.com")] == [250, 451]


@pytest.mark.parametrize(
    ("reply", "subject"),
    [(replies.BARE_LINE_ENDS, "line ends"), (replies.MESSAGE_TOO_LARGE, "size limit"),
     (replies.TEXT_LINE_TOO_LONG, "line length")],
)  # fmt: skip
async def test_octets_that_are_no_message_are_refused_by_the_judge_and_can_be_judged_again(
    reply: Reply, subject: str
) -> None:
    house = House()
    guest = house.guest()
    guest.greeted("mail.sender.test", extended=True)
    assert guest.mail(Envelope(address("x@sender.test"))).code == 250
    assert guest.rcpt(RecipientId(address("ben@contoso.com"))).code == 250
    body = guest.begin()
    assert not isinstance(body, Reply)
    body.write(b"Subject: x\r\n\r\nhello\r\n")
    said = guest.spoiled(reply)
    assert said == reply.with_id("C0NNECT10N")
    (row,) = house.spool.refusals
    assert (row.point, row.reply) == ("DATA", str(reply)) and row.reason.startswith(f"{subject}: ")
    assert not house.spool.messages
    story = house.reception.recorder.read_story(row.story)
    assert story.facts.message is not None and story.facts.message.size == len(b"Subject: x\r\n\r\nhello\r\n")
    course = converse(house.policy, story.facts, unasked)
    assert course.ruling.refusal == reply == story.ruling.refusal
    assert guest.mail(Envelope(address("y@sender.test"))).code == 250, "the conversation goes on"
    assert guest.rcpt(RecipientId(address("ben@contoso.com"))).code == 250
    assert guest.spoiled(reply) == said, "refused before the first of its octets"
    row = house.spool.refusals[-1]
    story = house.reception.recorder.read_story(row.story)
    assert (row.sender, row.reply) == ("y@sender.test", str(reply))
    assert story.facts.message is not None and (story.facts.message.id, story.facts.message.size) == ("", 0)
