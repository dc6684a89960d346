"""An own server that is taken over is stopped, and one that merely is what it always was is not (specification 1.3)."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.app.connector_watch import BLOCKED, SUSPICIOUS, ConnectorWatch, unusual
from lockgate.flow.asking import BlockedList, BlockedShow, ConnectorBlock, ConnectorUnblock
from lockgate.flow.desk.blocks import BlockDesk
from lockgate.flow.desk.rights import Caller
from lockgate.flow.desk.section import Misuse, Nothing
from lockgate.flow.suspicion import Lately, Thresholds, busiest, is_taken_over, weigh
from lockgate.mail.devices import BUCKET, DeviceBatch, Traffic
from lockgate.seams import Unavailable
from lockgate.storage.audits import AuditBook, AuditRow
from lockgate.storage.devices import DeviceBook
from lockgate.testing.blocks import MemoryBlocks
from lockgate.testing.builders import policy_of
from lockgate.testing.clock import HandClock
from lockgate.testing.journal import ListAudit, ListJournal
from lockgate.testing.keeping import ListedKeeping

HOUR, DAY = 3600, 86400
POLICY = policy_of("""
[[organisation]]
name = "contoso"
[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true
[[inbound_connector]]
name = "Branch"
connector_type = "on_premises"
sender_ip_addresses = ["192.0.2.25"]
[[inbound_connector]]
name = "Bank"
sender_domains = ["bank.test"]
""")
ME = Caller("0 root")


class House:
    """A watch over counts that a test writes, and the desk beside it."""

    def __init__(self, folder, acts: str = "block", **limits) -> None:
        self.clock = HandClock(1_800_000_000.0)
        self.book = DeviceBook(folder / "devices")
        self.blocks = MemoryBlocks()
        self.keeping = ListedKeeping()
        self.audits = AuditBook(folder)
        self.audit, self.journal = ListAudit(), ListJournal()
        self.limits = Thresholds(**limits)
        self.watch = ConnectorWatch(
            self.book, self.blocks, self.keeping, self.audits, self.audit, self.clock, self.journal,
            lambda: POLICY, self.limits, acts,
        )  # fmt: skip
        self.desk = BlockDesk(self.blocks, self.audit, self.clock, lambda: POLICY, lambda: "b7")
        self.number = 0

    def sent(self, messages: int, **more: int) -> None:
        self.number += 1
        at = int(self.clock.now()) // BUCKET * BUCKET
        one = Traffic("contoso", "Branch", at, messages, more.get("outside", messages),
                      more.get("mismatched", 0), more.get("unregistered", 0))  # fmt: skip
        self.book.take([(str(self.number), DeviceBatch((), (one,)))])

    async def days(self, count: int, a_while: int = 20, **more: int) -> None:
        """So many ordinary days, with a burst every six hours."""
        for _ in range(count * 4):
            self.sent(a_while, **more)
            await self.watch.look()
            self.clock.move(6 * HOUR)

    @property
    def blocked(self):
        return self.blocks.listed().of("contoso", "Branch")


async def test_a_simulated_takeover_is_blocked_and_lifted_and_not_blocked_again_for_the_same(tmp_path):
    house = House(tmp_path)
    await house.days(7)
    assert house.watch.wrong() == {} and house.blocked is None
    for _ in range(4):
        house.sent(150, mismatched=140, unregistered=100)
        house.clock.move(BUCKET)
        await house.watch.look()
    block = house.blocked
    assert block is not None and block.suspected and block.by == "lockgate"
    assert set(block.evidence) == {"volume", "mismatched", "unregistered"}
    assert "messages within 60 minutes, where 20 was the most before" in block.because
    (alert,) = house.watch.wrong()
    assert alert == (BLOCKED, "contoso/Branch")
    assert [row["did"] for row in house.audit.rows] == ["connector block"]
    assert house.journal.alarms[0][0] == BLOCKED

    shown = (await house.desk.show(BlockedShow("Branch"), ME)).result
    assert shown["evidence"]["volume"]["usual"] == 20 and "queue hold" in shown["waiting"]
    lifted = (await house.desk.lift(ConnectorUnblock("Branch", reason="rebuilt"), ME)).result
    assert lifted["lifted_because"] == "rebuilt" and house.audit.rows[-1]["did"] == "connector unblock"
    await house.watch.look()
    assert house.blocked is None and house.watch.wrong() == {}, "the same evidence does not block it again"
    house.clock.move(BUCKET)
    house.sent(30, mismatched=25)
    await house.watch.look()
    assert house.blocked is None
    house.clock.move(BUCKET)
    house.sent(400, mismatched=380, unregistered=300)
    await house.watch.look()
    assert house.blocked is not None, "fresh evidence does"
    assert house.blocked.evidence["mismatched"]["usual"] == 0, "what was evidence is no history"


async def test_what_a_person_calls_usual_is_its_history(tmp_path):
    house = House(tmp_path)
    await house.days(2)
    house.sent(500, mismatched=490, unregistered=490)
    await house.watch.look()
    assert house.blocked is not None
    await house.desk.lift(ConnectorUnblock("Branch", reason="the new list server", usual=True), ME)
    house.clock.move(6 * HOUR)
    house.sent(500, mismatched=490, unregistered=490)
    await house.watch.look()
    assert house.blocked is None and house.watch.wrong() == {}


async def test_a_server_that_always_sends_for_others_is_not_suspected(tmp_path):
    house = House(tmp_path)
    await house.days(7, 300, mismatched=290, unregistered=280)
    house.sent(900, mismatched=880, unregistered=870)
    await house.watch.look()
    assert house.blocked is None and house.watch.wrong() == {}


async def test_a_new_list_server_is_an_alert_and_a_new_server_that_is_also_refused_everywhere_is_blocked(tmp_path):
    house = House(tmp_path)
    house.sent(300, mismatched=290, unregistered=280)
    await house.watch.look()
    assert house.blocked is None and [what for what, _ in house.watch.wrong()] == [SUSPICIOUS]
    row = {"organisation": "contoso", "inbound_connector": "Branch", "status": "Failed", "received": 1.0}
    house.keeping.rows = [dict(row) for _ in range(200)]
    await house.watch.look()
    assert set(house.blocked.evidence) == {"mismatched", "unregistered", "returned"}


async def test_one_sign_alone_raises_an_alert(tmp_path):
    house = House(tmp_path)
    await house.days(7)
    house.sent(1000)
    await house.watch.look()
    assert house.blocked is None
    assert list(house.watch.wrong()) == [(SUSPICIOUS, "contoso/Branch")]
    house.clock.move(2 * HOUR)
    await house.watch.look()
    assert house.watch.wrong() == {}


@pytest.mark.parametrize("acts,alerts", [("alert", 1), ("off", 0)])
async def test_the_switch(tmp_path, acts, alerts):
    house = House(tmp_path, acts)
    await house.days(3)
    house.sent(1000, mismatched=900, unregistered=900)
    await house.watch.look()
    assert house.blocked is None and len(house.watch.wrong()) == alerts


async def test_a_new_server_may_send_much_and_few_messages_say_nothing(tmp_path):
    house = House(tmp_path)
    house.sent(5000)
    await house.watch.look()
    assert house.watch.wrong() == {}
    small = House(tmp_path / "small")
    await small.days(7, 2)
    small.sent(190, mismatched=190, unregistered=190)
    await small.watch.look()
    assert small.watch.wrong() == {}


async def test_recipients_refused_downstream_are_a_sign(tmp_path):
    house = House(tmp_path)
    await house.days(3)
    house.keeping.rows = [
        {"organisation": "contoso", "inbound_connector": "Branch", "status": "Failed", "received": 1.0}
        for _ in range(200)
    ]
    house.sent(500)
    await house.watch.look()
    assert set(house.blocked.evidence) == {"volume", "returned"}


async def test_a_change_outside_the_pattern_counts_beside_strange_mail(tmp_path):
    house = House(tmp_path)
    await house.days(3)
    now = house.clock.now()
    for day in range(2, 10):
        house.audits.add(AuditRow(now - day * DAY, "0 root", "inbound_connector changed", details={"object": "Other"}))
    house.audits.add(
        AuditRow(now - HOUR, "1001 eve", "inbound_connector changed",
                 details={"object": "Branch", "organisation": "contoso"})
    )  # fmt: skip
    house.sent(20)
    await house.watch.look()
    assert house.watch.wrong() == {}, "a change alone is none"
    house.sent(300, unregistered=300)
    await house.watch.look()
    assert set(house.blocked.evidence) == {"volume", "unregistered", "changed"}
    assert "by 1001 eve, who changed no connector in the 30 days before" in house.blocked.because


def test_when_a_change_is_unusual():
    usual = [{"at": day * DAY + 9 * HOUR, "who": "0 root"} for day in range(10)]
    change = {"what": "inbound_connector changed", "at": 20 * DAY + 10 * HOUR, "who": "0 root"}
    assert unusual(change, usual) == ""
    assert "an hour at which nobody" in unusual({**change, "at": 20 * DAY + 3 * HOUR}, usual)
    assert "who changed no connector" in unusual({**change, "who": "7 eve"}, usual)
    assert unusual({**change, "who": "7 eve"}, usual[:4]) == "", "too few make no pattern"


async def test_a_person_blocks_and_every_mistake_is_told(tmp_path):
    house = House(tmp_path)
    for request, told in (
        (ConnectorBlock("Branch"), "say why"),
        (ConnectorBlock("Bank", reason="x"), "partner connector"),
        (ConnectorBlock("Branch", "fabrikam", reason="x"), "no organisation"),
    ):
        with pytest.raises(Misuse, match=told):
            await house.desk.stop_relay(request, ME)
    with pytest.raises(Nothing, match="Branch"):
        await house.desk.stop_relay(ConnectorBlock("Branhc", reason="x"), ME)
    with pytest.raises(Nothing, match="not blocked"):
        await house.desk.lift(ConnectorUnblock("Branch", reason="x"), ME)
    supposed = await house.desk.stop_relay(ConnectorBlock("branch", reason="x", what_if=True), ME)
    assert supposed.result["connector"] == "Branch" and house.blocked is None and not house.audit.rows
    await house.desk.stop_relay(ConnectorBlock("branch", reason="stolen  key"), ME)
    assert house.blocked.because == "stolen key" and not house.blocked.suspected
    with pytest.raises(Misuse, match="blocked already"):
        await house.desk.stop_relay(ConnectorBlock("Branch", reason="x"), ME)
    assert [row["state"] for row in (await house.desk.list(BlockedList(), ME)).result] == ["blocked"]
    await house.desk.lift(ConnectorUnblock("b7", reason="done"), ME)
    assert (await house.desk.list(BlockedList(), ME)).result == []
    assert [row["state"] for row in (await house.desk.list(BlockedList(lifted=True), ME)).result] == ["lifted"]
    assert (await house.desk.show(BlockedShow("b7"), ME)).result["lifted_because"] == "done"
    house.blocks.broken = "damaged"
    with pytest.raises(Unavailable):
        await house.desk.list(BlockedList(), ME)
    assert ("blocked connectors unreadable", "") in house.watch.wrong()


@given(st.lists(st.tuples(st.integers(0, 50), st.integers(0, 40)), max_size=30), st.sampled_from([300, 900, 3600]))
def test_the_busiest_window_is_what_counting_by_hand_gives(buckets, window):
    counts: dict[int, int] = {}
    for place, messages in buckets:
        counts[place * BUCKET] = counts.get(place * BUCKET, 0) + messages
    traffic = [Traffic("o", "c", at, messages) for at, messages in sorted(counts.items())]
    by_hand = max((sum(n for at, n in counts.items() if end - window < at <= end) for end in counts), default=0)
    assert busiest(traffic, window) == by_hand


def test_signs_need_mail():
    nothing = Traffic("o", "c", 0, 0, 0)
    assert weigh(Lately(nothing), [], Thresholds()) == {}
    assert not is_taken_over({"changed": {}}, Thresholds(signs=1))


def test_looking_is_cheap_where_nothing_was_sent(tmp_path):
    house = House(tmp_path)
    asyncio.run(house.watch.look())
    assert house.keeping.asked == []
