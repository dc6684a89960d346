"""Our TLS reports go out once a day, by themselves, to those that want them, where the organisation wishes it."""

from __future__ import annotations

import contextlib
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from flow.house import House
from lockgate.app.reports import LATE, SPREAD, ReportOffice
from lockgate.app.tls_reports import GIVE_UP
from lockgate.flow.own_mail import OwnMail
from lockgate.mail.record import Recorder
from lockgate.mail.reports.counted import DAY
from lockgate.storage.report_batches import Tally
from lockgate.testing.dns import ZoneResolver

POLICY = """
[[organisation]]
name = "contoso"
send_tls_reports = {}
[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true
"""
START = 20_000 * DAY + 43_200.0
URL = "https://d.test/reports"


class World:
    """An office whose queue, DNS and web server are the test's."""

    def __init__(self, folder: Path, *, wished: bool = True, record: str = f"v=TLSRPTv1; rua={URL}") -> None:
        self.house = House(policy=POLICY.format("true" if wished else "false"))
        self.clock = self.house.clock
        self.clock.move(START - self.clock.now())
        self.tally = Tally(folder, 0, self.clock, self.house.journal)
        self.posted: list[tuple[str, bytes]] = []
        self.away = ""
        self.names = iter(range(1000))
        self.resolver = ZoneResolver(texts={"_smtp._tls.d.test": [record]})
        self.office = ReportOffice(
            folder, lambda: self.house.policy, self.clock, self.house.journal,
            self.resolver, self.post, self.upload,
        )  # fmt: skip

    @contextlib.asynccontextmanager
    async def post(self) -> AsyncIterator[OwnMail]:
        yield OwnMail(
            self.house.spool, lambda questions: self.house.ask(questions), Recorder(), self.clock,
            lambda: f"letter-{next(self.names)}", "test", 86400.0,
        )  # fmt: skip

    async def upload(self, url: str, packed: bytes) -> str:
        if not self.away:
            self.posted.append((url, packed))
        return self.away

    async def count(self, result: str = "success", policy: tuple[str, ...] = ()) -> None:
        self.tally.note(
            "contoso", "d.test", "sts", result, receiving_mx="mx.d.test", sending_ip="192.0.2.1", policy=policy
        )
        self.tally.keep(at_once=True)
        await self.office.take()

    def next_day(self) -> None:
        self.clock.move(DAY - self.clock.now() % DAY + LATE + SPREAD)


async def test_it_goes_out_when_the_day_is_over_and_once(tmp_path: Path) -> None:
    world = World(tmp_path)
    lines = ("version: STSv1", "mode: enforce", "mx: *.d.test", "mx: mx.d.test", "max_age: 86400")
    for result in ("success", "success", "certificate-expired"):
        await world.count(result, lines)
    await world.office.send_due_tls()
    assert world.posted == []
    world.next_day()
    for _ in range(2):
        await world.office.send_due_tls()
    ((url, packed),) = world.posted
    assert url == URL
    report = json.loads(gzip.decompress(packed))
    (policy,) = report["policies"]
    assert policy["policy"] == {
        "policy-type": "sts", "policy-domain": "d.test", "policy-string": list(lines),
        "mx-host": ["*.d.test", "mx.d.test"],
    }  # fmt: skip
    assert policy["summary"] == {"total-successful-session-count": 2, "total-failure-session-count": 1}
    assert policy["failure-details"] == [
        {"result-type": "certificate-expired", "failed-session-count": 1, "sending-mta-ip": "192.0.2.1",
         "receiving-mx-hostname": "mx.d.test"}
    ]  # fmt: skip
    (row,) = await world.office.sent_tls("contoso", "", 10)
    assert (row["state"], row["outcome"]) == ("done", [f"{URL}: sent"])


async def test_a_web_server_that_is_away_is_tried_again_and_given_up(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.count()
    world.next_day()
    world.away = "d.test answered 503"
    await world.office.send_due_tls()
    (row,) = await world.office.sent_tls("", "", 10)
    assert row["state"] == "waiting" and "503" in row["outcome"][0]
    world.clock.move(901)
    world.away = ""
    await world.office.send_due_tls()
    assert len(world.posted) == 1
    await world.count()
    world.next_day()
    world.away = "d.test answered 503"
    await world.office.send_due_tls()
    world.clock.move(GIVE_UP)
    await world.office.send_due_tls()
    row, _ = await world.office.sent_tls("", "", 10)
    assert row["state"] == "done" and row["outcome"][0].startswith("given up")
    world.away = ""
    await world.office.send_due_tls()
    assert len(world.posted) == 1


@pytest.mark.parametrize("wished", [True, False])
async def test_only_where_the_organisation_and_the_domain_wish_it(tmp_path: Path, wished: bool) -> None:
    world = World(tmp_path, wished=wished, record="v=spf1 -all" if wished else f"v=TLSRPTv1; rua={URL}")
    await world.count()
    world.next_day()
    await world.office.send_due_tls()
    assert world.posted == []
    (row,) = await world.office.sent_tls("", "", 10)
    assert row["outcome"] == (["d.test wants no TLS reports"] if wished else [])
    if not wished:  # who says so by hand has it sent
        (row,) = await world.office.send_tls("contoso", "d.test", 20_000, what_if=False)
        assert (row["told"], len(world.posted)) == (1, 1)


async def test_dns_that_is_silent_puts_it_off(tmp_path: Path) -> None:
    world = World(tmp_path)
    await world.count()
    world.resolver.silent.add("_smtp._tls.d.test")
    (row,) = await world.office.send_tls("contoso", "d.test", 20_000, what_if=True)
    assert row["outcome"][0].startswith("not yet: it cannot be found out")
    world.next_day()
    await world.office.send_due_tls()
    (row,) = await world.office.sent_tls("", "", 10)
    assert row["state"] == "waiting"
