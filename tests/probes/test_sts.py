"""MTA-STS policies of others, kept and renewed; the web server and the DNS server are real (RFC 8461)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lockgate.mail.sts import StsMode
from lockgate.probes.trust.sts import StsKeeper
from lockgate.testing.sts import MemoryShelf
from pace import slower
from peers.policy_server import GOOD
from probes.sts_world import DAY, World, settled, world_of


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with world_of(tmp_path) as world:
        yield world


async def test_a_policy_outlives_its_record_its_web_server_and_a_restart(world: World) -> None:
    world.publish("far.test")
    assert await world.keeper().policy_for("far.test") is not None
    del world.dns.zone["_mta-sts.far.test", "TXT"], world.dns.zone["mta-sts.far.test", "A"]
    world.web.texts.clear()
    fresh = world.keeper(other_process=True)  # a new process that knows nothing
    world.clock.more = 6.9 * DAY
    policy = await fresh.policy_for("far.test")
    assert policy is not None and policy.mode is StsMode.ENFORCE
    world.clock.more = 7.1 * DAY
    assert await fresh.policy_for("far.test") is None  # the end of its life
    assert await world.keeper(other_process=True).policy_for("far.test") is None


async def test_a_policy_outlives_an_outage_of_dns(world: World) -> None:
    world.publish("far.test")
    await world.keeper().policy_for("far.test")
    world.dns.modes["*"] = "servfail"
    assert await world.keeper(other_process=True).policy_for("far.test") is not None


async def test_a_changed_id_is_fetched_anew(world: World) -> None:
    world.publish("far.test")
    keeper = world.keeper()
    await keeper.policy_for("far.test")
    world.publish("far.test", "2", GOOD.format(domain="far.test").replace("mx.far", "new.far"))
    before = await keeper.policy_for("far.test")
    assert before is not None and before.id == "1"  # within the life of the record nobody asks
    world.clock.more = 400.0
    assert (await keeper.policy_for("far.test")) is before  # mail does not wait for the look
    await settled(keeper)
    after = await keeper.policy_for("far.test")
    assert after is not None and (after.id, after.mx) == ("2", ("new.far.test",))
    (told,) = world.journal.named("MTA-STS policy changed")
    assert (told["mx"], told["was_mx"]) == ("new.far.test", "mx.far.test")
    elsewhere = await world.keeper(other_process=True).policy_for("far.test")
    assert elsewhere is not None and elsewhere.id == "2" and len(world.web.asked) == 2


async def test_recheck_looks_at_once_and_not_more_often_than_once_a_minute(world: World) -> None:
    world.publish("far.test")
    keeper = world.keeper()
    await keeper.policy_for("far.test")
    world.publish("far.test", "2")
    keeper.recheck("far.test")
    assert not keeper._looking
    world.clock.more = 61.0
    keeper.recheck("far.test")
    keeper.recheck("far.test")
    await settled(keeper)
    policy = await keeper.policy_for("far.test")
    assert policy is not None and policy.id == "2" and len(world.web.asked) == 2


async def test_the_policy_with_mode_none_is_a_policy(world: World) -> None:
    world.publish("far.test", text="version: STSv1\nmode: none\nmax_age: 86400\n")
    policy = await world.keeper().policy_for("far.test")
    assert policy is not None and policy.mode is StsMode.NONE and policy.mx == ()


async def test_a_policy_is_refreshed_before_it_dies_and_at_most_daily(world: World) -> None:
    world.publish("far.test")
    world.publish("other.test", text=GOOD.format(domain="other.test").replace("604800", "3600"))
    mail, chore = world.keeper(), world.keeper(other_process=True)
    await mail.policy_for("far.test")
    await mail.policy_for("other.test")
    for hours in (1, 12, 23):
        world.clock.more = hours * 3600.0
        await chore.refresh()
    assert len(world.web.asked) == 2
    world.clock.more = 24.5 * 3600.0
    assert await chore.refresh() == 1
    assert len(world.web.asked) == 3 and "far.test" in world.web.asked[-1]
    await chore.refresh()
    assert len(world.web.asked) == 3
    kept = world.shelf.get("far.test")
    assert kept is not None and kept.policy is not None and kept.policy.until > world.clock.now() + 604000


async def test_what_nobody_mails_to_any_more_is_left_to_die(world: World) -> None:
    world.publish("far.test", text=GOOD.format(domain="far.test").replace("604800", "31557600"))
    chore = world.keeper()
    await chore.policy_for("far.test")
    for day in range(1, 80, 3):
        world.clock.more = day * DAY
        await chore.refresh()
    assert 15 < len(world.web.asked) < 25  # for sixty days, every third of them, and not for ever by its own doing


async def test_a_failure_is_remembered_for_five_minutes(world: World) -> None:
    world.announce("far.test")
    one, two = world.keeper(), world.keeper(other_process=True)
    for keeper in (one, two, one, two):
        assert await keeper.policy_for("far.test") is None
        assert keeper.missing("far.test") == "sts-policy-fetch-error"  # for reports (RFC 8460 4.3)
    assert len(world.web.asked) == 1  # for all processes of the machine
    world.web.publish("far.test")
    world.clock.more = 299.0
    assert await two.policy_for("far.test") is None
    world.clock.more = 310.0
    assert await two.policy_for("far.test") is not None
    assert two.missing("far.test") == ""
    assert await world.keeper(other_process=True).policy_for("far.test") is not None
    assert len(world.web.asked) == 2
    assert len(world.journal.named("MTA-STS policy not fetched")) == 1


async def test_a_domain_without_policy_is_asked_about_rarely(world: World) -> None:
    world.dns.zone["plain.test", "A"] = ["192.0.2.1"]
    keeper = world.keeper()
    for _ in range(50):
        assert await keeper.policy_for("plain.test") is None
    assert len(world.dns.asked) == 1 and not world.journal.notes


async def test_a_broken_record_is_told_once(world: World) -> None:
    world.dns.zone["_mta-sts.far.test", "TXT"] = ['"v=STSv1; id=1;"', '"v=STSv1; id=2;"']
    keeper = world.keeper()
    for minutes in (0, 70, 140):
        world.clock.more = minutes * 60.0
        assert await keeper.policy_for("far.test") is None
    assert [told["because"] for told in world.journal.named("MTA-STS record broken")] == [
        "2 TXT records begin with v=STSv1; and only one may"
    ]
    assert not world.web.connections


async def test_many_who_ask_at_once_make_one_fetch(world: World) -> None:
    world.publish("far.test")
    world.web.delay = 0.3
    keepers = [world.keeper(other_process=True) for _ in range(4)]
    found = await asyncio.gather(*[keeper.policy_for("far.test") for keeper in keepers for _ in range(25)])
    assert all(policy is not None and policy.id == "1" for policy in found)
    assert len(world.web.asked) == 1


async def test_mail_waits_no_longer_than_allowed_and_the_fetch_goes_on(world: World) -> None:
    world.publish("far.test")
    world.web.delay = 4.0
    keeper = world.keeper(first=1.0)
    began = time.monotonic()
    assert await keeper.policy_for("far.test") is None
    assert 0.95 < time.monotonic() - began < 3.5
    began = time.monotonic()
    assert await keeper.policy_for("far.test") is None  # the second one does not wait again
    assert time.monotonic() - began < 0.9
    await settled(keeper)
    assert await keeper.policy_for("far.test") is not None
    assert len(world.web.asked) == 1


async def test_a_worker_that_died_while_fetching_holds_nobody_up_for_long(world: World) -> None:
    world.publish("far.test")
    now = world.clock.now()
    assert world.shelf.claim("far.test", now, now + 75.0)
    keeper = world.keeper(first=0.3)
    assert await keeper.policy_for("far.test") is None
    world.clock.more = 76.0
    await settled(keeper)
    assert await keeper.policy_for("far.test") is not None


async def test_a_cancelled_asker_takes_nothing_from_the_others(world: World) -> None:
    world.publish("far.test")
    world.web.delay = 0.3
    keeper = world.keeper()
    one = asyncio.ensure_future(keeper.policy_for("far.test"))
    two = asyncio.ensure_future(keeper.policy_for("far.test"))
    await asyncio.sleep(0.1)
    one.cancel()
    assert await two is not None


async def test_closing_gives_the_fetch_back(world: World) -> None:
    world.publish("far.test")
    world.web.delay = 30.0
    keeper = world.keeper(first=0.2)
    assert await keeper.policy_for("far.test") is None
    await keeper.close()
    world.web.delay = 0.0
    assert await world.keeper(other_process=True).policy_for("far.test") is not None


async def test_a_known_domain_costs_microseconds(world: World) -> None:
    world.publish("far.test")
    keeper = world.keeper()
    await keeper.policy_for("far.test")
    await keeper.policy_for("plain.test")
    costs = []
    for _ in range(5):
        began = time.process_time()
        for _ in range(2000):
            await keeper.policy_for("far.test")
        costs.append((time.process_time() - began) / 2000)
    print(f"{min(costs) * 1e6:.2f} microseconds")
    assert min(costs) < 50e-6 * slower()


async def test_a_shelf_that_fails_keeps_no_policy_from_being_obeyed(world: World) -> None:
    class Broken(MemoryShelf):
        def broken(self, *_):
            raise OSError("the disk is full")

        get = claim = put = fail = use = broken  # type: ignore[assignment]

    world.publish("far.test")
    keeper = StsKeeper(world.resolver(), world.fetch(), Broken(), world.clock, world.journal)
    assert await keeper.policy_for("far.test") is not None
    world.web.texts.clear()
    world.clock.more = 400.0
    await keeper.policy_for("far.test")
    await settled(keeper)
    assert await keeper.policy_for("far.test") is not None
    assert world.journal.named("MTA-STS policies cannot be kept")


async def test_what_a_person_is_shown(world: World) -> None:
    world.publish("far.test")
    keeper = world.keeper()
    look = await keeper.look("far.test", fetch=False)
    assert look.fetched_now and look.announced == "1" and look.kept is not None and look.kept.policy is not None
    look = await keeper.look("far.test", fetch=False)
    assert not look.fetched_now and look.kept is not None and len(world.web.asked) == 1
    world.web.mode = "redirect"
    look = await keeper.look("far.test", fetch=True)
    assert "redirects are not followed" in look.trouble and look.kept is not None and look.kept.policy is not None
    look = await keeper.look("plain.test", fetch=True)
    assert (look.announced, look.kept) == ("", None) and "there is no TXT record" in look.silent


async def test_slow_web_servers_are_not_all_connected_to_at_once(world: World) -> None:
    for number in range(120):
        world.dns.zone[f"_mta-sts.slow{number}.test", "TXT"] = ['"v=STSv1; id=1;"']
    under_way = most = 0

    async def fetch(domain: str) -> bytes:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.2)
        under_way -= 1
        return GOOD.format(domain=domain).encode()

    keeper = StsKeeper(world.resolver(), fetch, MemoryShelf(), world.clock, world.journal)
    found = await asyncio.gather(*[keeper.policy_for(f"slow{number}.test") for number in range(120)])
    assert all(found) and most <= 50


async def test_a_domain_that_cannot_be_had_is_tried_again_hourly(world: World) -> None:
    world.publish("far.test")
    keeper = world.keeper()
    await keeper.policy_for("far.test")
    world.web.mode = "status-500"
    for minutes in range(0, 120, 5):
        world.clock.more = DAY + 60.0 * minutes + 100
        await keeper.refresh()
    assert len(world.web.asked) == 3
    assert world.journal.named("MTA-STS policy not fetched")[0]["still_in_force"] == "enforce"
