"""The office of reports: each day's report goes out once, at its moment, and not at all where that is not wanted."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from flow.house import House
from lockgate.app.reports import GIVE_UP, LATE, SPREAD, ReportOffice, ready_at
from lockgate.flow.own_mail import OwnMail
from lockgate.mail.record import Recorder
from lockgate.mail.reports.aggregate import AggregateReport, Published, Row, write_aggregate
from lockgate.mail.reports.carried import readings
from lockgate.mail.reports.counted import DAY, Arrived, Failed, Seen
from lockgate.mail.reports.failure import FailureReport
from lockgate.seams import Unavailable
from lockgate.storage.report_batches import Letters, Tally
from lockgate.testing.builders import policy_of
from lockgate.testing.dns import ZoneResolver

POLICY = """
[[organisation]]
name = "contoso"
report_retention = "30d"
[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true
[[anti_phishing_policy]]
name = "Default"
send_aggregate_reports = true
send_failure_reports = true
failure_reports_per_hour = 2
"""
START = 20_000 * DAY + 43_200.0
RECORD = "v=DMARC1; p=none; rua=mailto:rua@d.test; ruf=mailto:ruf@d.test"


class World:
    """An office over files, whose queue and DNS are the test's."""

    def __init__(self, folder: Path, record: str = RECORD) -> None:
        self.house = House(policy=POLICY)
        self.clock = self.house.clock
        self.clock.move(START - self.clock.now())
        self.folder = folder
        self.resolver = ZoneResolver(texts={"_dmarc.d.test": [record]})
        self.tally = Tally(folder, 0, self.clock, self.house.journal)
        self.queue_broken = ""
        self.names = iter(range(1000))
        self.office = ReportOffice(
            folder, lambda: self.house.policy, self.clock, self.house.journal, self.resolver, self.post
        )

    @contextlib.asynccontextmanager
    async def post(self) -> AsyncIterator[OwnMail]:
        if self.queue_broken:
            raise Unavailable(self.queue_broken)
        yield OwnMail(
            self.house.spool, lambda questions: self.house.ask(questions), Recorder(), self.clock,
            lambda: f"letter-{next(self.names)}", "test", 86400.0,
        )  # fmt: skip

    async def count(self, times: int = 1, domain: str = "d.test") -> None:
        row = Row("192.0.2.1", 1, "none", "fail", "fail", domain)
        for _ in range(times):
            self.tally.seen(Seen("contoso", int(self.clock.now()) // DAY, domain, "p=none", row))
        self.tally.keep(at_once=True)
        await self.office.take()

    def next_day(self) -> None:
        self.clock.move(DAY - self.clock.now() % DAY + LATE + SPREAD)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


async def test_a_day_is_reported_once_when_it_is_over(world: World) -> None:
    await world.count(3)
    await world.office.send_due()
    assert not world.house.spool.messages
    world.next_day()
    await world.office.send_due()
    await world.office.send_due()
    (new,) = world.house.spool.messages.values()
    assert new.envelope.sender is None
    assert new.traces[0].recipient == "rua@d.test"
    (reading,) = readings(await world.house.spool.read(new.body))
    assert reading.aggregate is not None
    assert (reading.aggregate.begin, reading.aggregate.end) == (20_000 * DAY, 20_001 * DAY - 1)
    assert reading.aggregate.rows[0].count == 3
    (row,) = await world.office.sent("", "", None, 10)
    assert (row["state"], row["outcome"]) == ("done", ["rua@d.test: sent"])
    whole = await world.office.one(row["report_id"], 10)
    assert whole is not None and whole["rows"][0]["count"] == 3


async def test_each_domain_has_its_own_moment(world: World) -> None:
    await world.count()
    (period,) = world.office._gathering.find()
    assert period.end + LATE <= ready_at(period) < period.end + LATE + SPREAD
    world.clock.move(ready_at(period) - world.clock.now() - 1)
    await world.office.send_due()
    assert not world.house.spool.messages
    world.clock.move(2)
    await world.office.send_due()
    assert len(world.house.spool.messages) == 1


async def test_dns_and_queue_that_fail_put_it_off_with_the_same_id(world: World) -> None:
    await world.count()
    world.next_day()
    world.resolver.silent.add("_dmarc.d.test")
    await world.office.send_due()
    (row,) = await world.office.sent("", "", None, 10)
    assert row["state"] == "waiting" and row["outcome"][0].startswith("not yet: it cannot be found out")
    name = row["report_id"]
    await world.office.send_due()  # not before its time
    assert (await world.office.sent("", "", None, 10))[0]["tries"] == 1
    world.resolver.silent.clear()
    world.house.spool.broken = "the disk is full"
    world.clock.move(1000)
    await world.office.send_due()
    assert (await world.office.sent("", "", None, 10))[0]["tries"] == 2
    world.house.spool.broken = ""
    world.clock.move(2000)
    await world.office.send_due()
    (row,) = await world.office.sent("", "", None, 10)
    assert (row["state"], row["report_id"]) == ("done", name)
    assert len(world.house.spool.messages) == 1


async def test_it_is_given_up_after_days(world: World) -> None:
    await world.count()
    world.resolver.silent.add("_dmarc.d.test")
    world.next_day()
    world.clock.move(GIVE_UP)
    await world.office.send_due()
    (row,) = await world.office.sent("", "", None, 10)
    assert row["state"] == "done" and row["outcome"][0].startswith("given up")


async def test_whoever_sends_no_reports_any_more_sends_none(world: World) -> None:
    await world.count()
    world.house.policy = policy_of(POLICY.replace("send_aggregate_reports = true", ""))
    world.next_day()
    await world.office.send_due()
    (row,) = await world.office.sent("", "", None, 10)
    assert row["outcome"] == ["not sent, because the organisation sends no reports any more"]
    assert not world.house.spool.messages


async def test_a_report_that_is_too_large_for_its_reader_is_not_sent(tmp_path: Path) -> None:
    world = World(tmp_path, "v=DMARC1; p=none; rua=mailto:small@d.test!100,mailto:big@d.test!1m")
    await world.count()
    world.next_day()
    await world.office.send_due()
    (row,) = await world.office.sent("", "", None, 10)
    small, big = row["outcome"]
    assert "takes no more than 100" in small
    assert big == "big@d.test: sent"


async def test_what_is_sent_by_hand_is_not_sent_again(world: World) -> None:
    await world.count(2)
    (row,) = await world.office.send("", "d.test", 20_000, what_if=True)
    assert row["outcome"] == ["rua@d.test: would be sent"] and row["octets"] > 0
    (row,) = await world.office.send("", "d.test", 20_000, what_if=False)
    assert row["told"] == 1
    (row,) = await world.office.send("", "d.test", 20_000, what_if=False)
    assert (row["state"], row["told"]) == ("done", 0)
    world.clock.move(60)
    await world.count(5)
    world.next_day()
    await world.office.send_due()
    found = [readings(await world.house.spool.read(new.body))[0] for new in world.house.spool.messages.values()]
    counts = [one.aggregate.rows[0].count for one in found if one.aggregate is not None]
    assert counts == [2, 5]
    first, second = (one.aggregate for one in found)
    assert first is not None and second is not None
    assert first.end < second.begin and first.report_id != second.report_id


async def test_failures_are_told_within_limits(world: World) -> None:
    report = FailureReport("", "", "auth-failure", "d.test", "192.0.2.1", "dmarc")
    for _ in range(5):
        world.tally.failed(Failed("contoso", world.clock.now(), "d.test", report), 100)
    world.tally.keep(at_once=True)
    await world.office.take()
    await world.office.tell()
    assert [new.traces[0].recipient for new in world.house.spool.messages.values()] == ["ruf@d.test"] * 2
    world.house.policy = policy_of(POLICY.replace("send_failure_reports = true", ""))
    world.clock.move(7200)
    world.tally.failed(Failed("contoso", world.clock.now(), "d.test", report), 100)
    world.tally.keep(at_once=True)
    await world.office.take()
    await world.office.tell()
    assert len(world.house.spool.messages) == 2


async def test_letters_are_read_kept_and_removed(world: World) -> None:
    letters = Letters(world.folder, 0, world.clock)
    row = Row("192.0.2.1", 4, "none", "fail", "fail", "contoso.com")
    report = AggregateReport("Far", "a@far.test", "r", 1, 2, Published("contoso.com"), (row,))
    good = gzip.compress(write_aggregate(report, "x"))
    for octets in (good, b"nonsense", good):
        letters.put(Arrived("contoso", world.clock.now(), "message m", octets))
    (world.folder / "letters" / "9.msgpack").write_bytes(b"damaged")
    await world.office.read_letters()
    assert [one["kind"] for one in await world.office.received("", "", "", 0.0, 10)] == ["aggregate"]
    assert [one["why"] for one in await world.office.unread("", 10)] == ["there is no report in it"]
    assert list((world.folder / "letters").iterdir()) == []
    assert [one.get("known") for one in world.house.journal.named("report received")] == [None, True]
    world.clock.move(40 * DAY)
    await world.office.prune()
    assert await world.office.received("", "", "", 0.0, 10) == []


async def test_a_damaged_file_of_counts_is_in_nobodys_way(world: World) -> None:
    (world.folder / "counts").mkdir(parents=True)
    (world.folder / "counts" / "0.msgpack").write_bytes(msgspec.msgpack.encode("x"))
    await world.count()
    assert (await world.office.sent("", "", None, 10))[0]["messages"] == 1
    assert world.house.journal.named("counts for reports lost")
