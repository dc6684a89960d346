"""Carrying, putting off, failing and telling: what is known of a delivery is on record before anything else happens."""

from __future__ import annotations

import asyncio
import email
import email.policy

import pytest

from flow.house import CONTOSO, OURS, House
from lockgate.mail import replies
from lockgate.mail.hop import Cargo, NextHop
from lockgate.mail.outcome import Fate, Outcome
from lockgate.mail.recipient import RecipientId
from lockgate.mail.reply import Reply
from lockgate.seams import Taken, Unreachable
from lockgate.testing.builders import address, policy_of
from lockgate.testing.courier import RecordingCourier

LATER = Reply(451, "4.2.0", "greylisted")
NEVER = Reply(550, "5.1.1", "no such user")


class Script:
    """A courier whose outcomes are written by address; `raises` comes instead, `gate` is waited for first."""

    def __init__(self, **answers: Reply) -> None:
        self.answers = answers
        self.raises: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.carried: list[tuple[NextHop, Cargo]] = []
        self.dsn = False
        self.final = False

    async def carry(self, hop: NextHop, cargo: Cargo, taken: Taken) -> tuple[Outcome, ...]:
        self.carried.append((hop, cargo))
        if self.gate is not None:
            await self.gate.wait()
        if self.raises is not None:
            raise self.raises
        outcomes = []
        for number, recipient in enumerate(cargo.recipients):
            reply = self.answers.get(recipient.address.partition("@")[0], replies.OK)
            fate = Fate.DELIVERED if reply.accepts else Fate.DEFERRED if reply.temporary else Fate.FAILED
            host, tls = "hq.test[192.0.2.9]:25", "TLSv1.3"
            outcomes.append(Outcome(number, fate, reply, host, tls, self.dsn, self.final, spoken=True))
        if delivered := [outcome for outcome in outcomes if outcome.fate is Fate.DELIVERED]:
            taken(delivered)
        return tuple(outcomes)

    async def close(self) -> None: ...

    def to(self) -> list[list[str]]:
        return [[r.address for r in cargo.recipients] for _, cargo in self.carried]


async def sent(script: Script, *recipients: str | RecipientId, **given: str) -> House:
    house = House(script)
    assert (await house.send(*(recipients or ("ben@contoso.com", "amy@contoso.com")), **given))[-1].code == 250
    await house.settle()
    return house


def reports(house: House) -> list[email.message.Message]:
    found = [new for new in house.spool.messages.values() if new.envelope.sender is None]
    contents = [house.spool._bodies[new.body] for new in found]
    return [email.message_from_bytes(content, policy=email.policy.SMTP) for content in contents]


async def test_each_recipient_fares_alone() -> None:
    house = await sent(Script(amy=LATER))
    assert house.statuses() == {"ben@contoso.com": "Delivered", "amy@contoso.com": "Pending"}
    await house.later(61)
    assert house.courier.to() == [["ben@contoso.com", "amy@contoso.com"], ["amy@contoso.com"]]
    house.courier.answers = {}
    await house.later(700)
    assert house.statuses()["amy@contoso.com"] == "Delivered"
    assert not house.spool.tasks


async def test_a_failure_is_told_to_the_sender_and_a_report_never_begets_one() -> None:
    script = Script(amy=NEVER, x=NEVER)
    house = await sent(script)
    assert house.statuses()["amy@contoso.com"] == "Failed"
    await house.settle()
    (report,) = reports(house)
    assert report["To"] == "x@sender.test"
    status = report.get_payload()[1].get_payload()[1]
    assert (status["Final-Recipient"], status["Status"]) == ("rfc822; amy@contoso.com", "5.1.1")
    # the report itself fails: nobody is told
    assert house.statuses()["report to x@sender.test"] == "Failed"
    assert len(reports(house)) == 1
    assert not house.spool.tasks


async def test_nobody_is_told_who_did_not_want_it_and_null_senders_never() -> None:
    quiet = RecipientId(address("amy@contoso.com"), notify=("NEVER",))
    house = await sent(Script(amy=NEVER), quiet)
    assert house.statuses() == {"amy@contoso.com": "Failed"}
    house = await sent(Script(amy=NEVER), "amy@contoso.com", sender="")
    assert not [new for new in house.spool.messages.values() if new.subject != "Hello"]
    (trace,) = house.spool.traces.values()
    assert "null sender" in trace.events[-1].detail


ASKS = RecipientId(address("amy@contoso.com"), notify=("SUCCESS",))
OWN = {"sender": "x@contoso.com", "peer": OURS}


@pytest.mark.parametrize(("final", "action"), [(False, "relayed"), (True, "delivered")])
async def test_success_is_reported_when_asked_for_and_the_next_hop_cannot(final: bool, action: str) -> None:
    script = Script()
    script.final = final
    house = await sent(script, ASKS, **OWN)
    (report,) = reports(house)
    fields = report.get_payload()[1].get_payload()[1]
    assert (fields["Action"], fields["Status"]) == (action, "2.0.0")
    script.dsn = True
    assert not reports(await sent(script, ASKS, **OWN)), "the next hop offers DSN, so the report is its own"
    assert not reports(await sent(Script(), "amy@contoso.com", **OWN)), "nobody asked"


async def test_success_is_not_reported_to_a_sender_that_may_be_forged() -> None:
    house = await sent(Script(), ASKS)
    assert not reports(house)
    (trace,) = house.spool.traces.values()
    assert trace.events[-1].detail == "success not reported, because the sender is not proven"


async def test_while_a_report_cannot_be_kept_nothing_is_failed() -> None:
    script = Script(amy=NEVER)
    script.gate = asyncio.Event()
    house = await sent(script)
    house.spool.broken = "no space"
    script.gate.set()
    await house.settle()
    assert house.statuses() == {"ben@contoso.com": "Delivered", "amy@contoso.com": "Pending"}
    house.spool.broken = ""
    await house.later(61)
    await house.settle()
    assert house.statuses()["amy@contoso.com"] == "Failed"
    assert house.courier.to()[:2] == [["ben@contoso.com", "amy@contoso.com"], ["amy@contoso.com"]]
    assert len(reports(house)) == 1


async def test_what_goes_wrong_after_a_success_never_delivers_twice() -> None:
    """An exception between the courier's success and the last word about the task."""
    script = Script(amy=NEVER)
    house = House(script)
    tell = house.journal.note

    def broken(happening: str, **details: object) -> None:
        if happening == "report":
            raise RuntimeError("a mistake")
        tell(happening, **details)

    house.journal.note = broken  # type: ignore[method-assign]
    await house.send("ben@contoso.com", "amy@contoso.com")
    await house.settle()
    assert house.statuses()["ben@contoso.com"] == "Delivered"
    house.journal.note = tell  # type: ignore[method-assign]
    await house.later(61)
    await house.later(61)
    assert [to for to in house.courier.to() if "ben@contoso.com" in to] == [["ben@contoso.com", "amy@contoso.com"]]
    assert house.statuses()["amy@contoso.com"] == "Failed"


async def test_a_mistake_of_the_courier_puts_the_task_off() -> None:
    script = Script()
    script.raises = ValueError("a mistake")
    house = await sent(script, "ben@contoso.com")
    assert house.statuses() == {"ben@contoso.com": "Pending"}
    assert house.journal.alarms
    script.raises = None
    await house.later(61)
    assert house.statuses() == {"ben@contoso.com": "Delivered"}


async def test_a_lane_backs_off_as_a_whole_and_keeps_its_order() -> None:
    script = Script()
    script.raises = Unreachable(replies.unreachable("hq.test does not answer"))
    house = House(script)
    for _ in range(5):
        await house.send("ben@contoso.com")
    await house.settle()
    dialled = len(script.carried)
    assert dialled < 5
    assert house.spool.lanes_down
    assert {task.attempts for task in house.spool.tasks.values()} == {0}
    script.raises = None
    await house.later(61)
    assert set(house.statuses().values()) == {"Delivered"}
    after = [cargo.id for _, cargo in script.carried[dialled:]]
    assert after == sorted(after)


async def test_the_sender_is_told_once_that_it_is_late_and_at_the_end_that_it_failed() -> None:
    script = Script()
    script.raises = Unreachable(replies.unreachable("hq.test does not answer"))
    house = await sent(script, "ben@contoso.com", sender="x@elsewhere.test")

    async def reachable_for_reports(hop: NextHop, cargo: Cargo, taken: Taken) -> tuple[Outcome, ...]:
        if hop.mx_domain:
            return await RecordingCourier().carry(hop, cargo, taken)
        raise Unreachable(replies.unreachable("hq.test does not answer"))

    script.carry = reachable_for_reports  # type: ignore[method-assign]
    for _ in range(3):
        await house.later(1900)
    kinds = [r.get_payload()[1].get_payload()[1]["Action"] for r in reports(house)]
    assert kinds == ["delayed"]
    await house.later(3000)
    ends = [r.get_payload()[1].get_payload()[1] for r in reports(house)]
    assert [end["Action"] for end in ends] == ["delayed", "failed"]
    assert ends[1]["Status"] == "5.4.300"
    assert ends[1]["Diagnostic-Code"] == "smtp; 451 4.4.316 hq.test does not answer"
    assert ends[1]["Remote-MTA"] is None, "what we say of a server is not said by it"
    assert house.statuses()["ben@contoso.com"] == "Failed"
    (trace,) = [t for t in house.spool.traces.values() if t.recipient == "ben@contoso.com"]
    assert trace.events[-1].reply == "550 5.4.300 Message expired; last answer: 451 4.4.316 hq.test does not answer"


async def test_a_lane_that_is_down_is_not_dialled_for_a_word_to_the_sender() -> None:
    script = Script()
    script.raises = Unreachable(replies.unreachable("hq.test does not answer"))
    house = await sent(script, "ben@contoso.com", sender="x@elsewhere.test")
    (why,) = [why for _, why in house.spool.lanes_down.values()]
    house.spool.lanes_down["contoso/hq"] = (float("inf"), why)
    for _ in range(4):
        await house.later(1900)
    ends = [r.get_payload()[1].get_payload()[1] for r in reports(house)]
    assert [end["Action"] for end in ends] == ["delayed", "failed"]
    assert "hq.test does not answer" in ends[1]["Diagnostic-Code"]
    assert house.statuses()["ben@contoso.com"] == "Failed"
    dialled = [hop.lane for hop, _ in script.carried if not hop.mx_domain]
    assert dialled == ["contoso/hq"], "once, at the beginning"


async def test_a_disabled_connector_makes_the_mail_wait_and_enabled_again_lets_it_go() -> None:
    house = House(Script())
    house.policy = policy_of(
        CONTOSO.replace("all_accepted_domains = true", "is_transport_rule_scoped = true\nenabled = false")
        + '[[mail_flow_rule]]\nname = "City"\nroute_message_outbound_connector = "hq"\n'
    )
    await house.send("ben@contoso.com")
    await house.settle()
    assert house.courier.carried == []
    assert "switched off" in house.spool.lanes_down["contoso/hq"][1]
    house.policy = policy_of(CONTOSO)
    await house.later(61)
    assert house.statuses() == {"ben@contoso.com": "Delivered"}


async def test_a_slow_delivery_does_not_hold_up_the_next() -> None:
    script = Script()
    script.gate = asyncio.Event()
    house = await sent(script, "ben@contoso.com")
    await house.send("amy@contoso.com")
    await house.settle()
    assert len(script.carried) == 2
    script.gate.set()
    await house.settle()
    assert set(house.statuses().values()) == {"Delivered"}
    assert not house.delivery._lanes


async def test_closing_finishes_what_is_under_way_and_gives_back_the_rest() -> None:
    script = Script()
    script.gate = asyncio.Event()
    house = House(script, policy=CONTOSO + "concurrency = 1\n")
    await house.send("ben@contoso.com")
    await house.send("amy@contoso.com")
    await house.settle()
    closing = asyncio.ensure_future(house.delivery.close(5.0))
    await house.settle()
    await house.send("ben@contoso.com")
    script.gate.set()
    await closing
    assert len(script.carried) == 1
    assert sorted(str(t.status) for t in house.spool.traces.values()) == ["Delivered", "Pending", "Pending"]
    assert all(not task.owner and task.attempts == 0 for task in house.spool.tasks.values())


async def test_closing_without_patience_leaves_the_cut_off_task_to_another_worker() -> None:
    script = Script()
    script.gate = asyncio.Event()
    house = await sent(script, "ben@contoso.com")
    await house.delivery.close(0.0)
    assert house.statuses() == {"ben@contoso.com": "Pending"}
    assert not house.delivery._runners


async def test_a_body_that_cannot_be_read_is_reported_when_its_time_is_over() -> None:
    script = Script(ben=LATER)
    house = await sent(script, "ben@contoso.com", sender="x@elsewhere.test")
    for ref in list(house.spool._bodies):
        del house.spool._bodies[ref]
    await house.later(61)
    assert house.journal.alarms[0][0] == "body unreadable"
    assert len(script.carried) == 1
    await house.later(7300)
    assert house.statuses()["ben@contoso.com"] == "Failed"
    assert len(reports(house)) == 1
