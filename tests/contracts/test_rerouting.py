"""Mail that waits for a mailbox that has moved: its way is taken from it, and the judge is asked for another."""

from __future__ import annotations

import pytest

from contracts.spools import HQ, deferred, delivered, scene, unreachable
from lockgate.mail.task import Finished

BOB = {"organisation": "contoso", "recipient": "bob@contoso.com\nrobert@contoso.com"}



@pytest.fixture(params=["memory", "real"])
async def stage(request, tmp_path):
    async with scene(request.param, tmp_path) as made:
        yield made


async def statuses(stage, new):
    return [row["status"] for row in await stage.keeping.trace_find({"id": new.id}, 10)]


async def test_what_waits_for_a_host_that_is_down_is_to_be_judged_at_once(stage):
    new, ((task, _),) = await stage.accept("bob")
    stage.spool.finish(unreachable(task, stage.clock.now()))
    await stage.settle()
    assert stage.taken == []
    assert await stage.keeping.queue_edit("reroute", BOB, "eva") == 1
    await stage.settle()
    (again,) = stage.taken
    assert again.task == task and again.route is None and again.lane == "contoso/moved" and not again.lane_down
    assert await statuses(stage, new) == ["Pending"]
    shown = await stage.keeping.trace_show(new.id)
    assert shown["rows"][0]["events"][-1]["detail"] == "the mailbox moved (eva); where it goes is decided again"
    assert shown["rows"][0]["outbound_connector"] == ""
    stage.deliver(again.task)
    await stage.settle()
    assert await stage.keeping.queue_list({}) == []


async def test_what_is_put_off_for_itself_does_not_wait_any_longer(stage):
    _, ((task, _),) = await stage.accept("bob")
    stage.spool.finish(Finished(task, (deferred(0, stage.clock.now()),), due=stage.clock.now() + 300))
    await stage.settle()
    assert await stage.keeping.queue_edit("reroute", BOB, "eva") == 1
    await stage.settle()
    assert [(t.task, t.route) for t in stage.taken] == [(task, None)]


async def test_the_other_recipients_of_the_message_keep_their_way(stage):
    new, ((task, _),) = await stage.accept("bob", "eve")
    stage.spool.finish(unreachable(task, stage.clock.now()))
    await stage.settle()
    assert await stage.keeping.queue_edit("reroute", BOB, "eva") == 1
    await stage.settle()
    (again,) = stage.taken
    assert again.task != task and [r.target.local for r in again.recipients] == ["bob"]
    lanes = {t["lane"]: t["recipients"] for t in await stage.keeping.queue_list({"id": new.id})}
    assert lanes == {HQ.lane: ["eve@contoso.com"], "contoso/moved": ["bob@contoso.com"]}


async def test_what_a_person_holds_stays_held_and_is_judged_when_it_is_released(stage):
    new, ((task, _),) = await stage.accept("bob")
    stage.spool.finish(unreachable(task, stage.clock.now()))
    await stage.settle()
    await stage.keeping.queue_edit("hold", {"id": new.id}, "eva")
    assert await stage.keeping.queue_edit("reroute", BOB, "eva") == 1
    await stage.advance(90_000)
    assert stage.taken == [] and await statuses(stage, new) == ["Held"]
    await stage.keeping.queue_edit("release", {"id": new.id}, "eva")
    await stage.settle()
    assert [(t.task, t.route) for t in stage.taken] == [(task, None)]


async def test_what_is_being_carried_is_judged_when_it_comes_back(stage):
    _, ((task, owned),) = await stage.accept("bob", "eve")
    assert owned
    assert await stage.keeping.queue_edit("reroute", BOB, "eva") == 1
    stage.spool.finish(Finished(task, (delivered(1, stage.clock.now()), deferred(0, stage.clock.now())),
                                due=stage.clock.now() + 60))  # fmt: skip
    await stage.advance(61)
    assert [(t.lane, t.route, [r.target.local for r in t.recipients]) for t in stage.taken] == [
        ("contoso/moved", None, ["bob"])
    ]


async def test_what_the_judge_is_asked_about_anyway_and_what_is_for_others_is_let_be(stage):
    await stage.accept("bob", route=None, held="looks like malware")
    await stage.accept("eve")
    assert await stage.keeping.queue_edit("reroute", BOB, "eva") == 0
    assert await stage.keeping.queue_edit("reroute", {**BOB, "organisation": "fabrikam"}, "eva") == 0
