"""What is ordered for mail that a worker has just now: told as done, and done when it comes back."""

from __future__ import annotations

import pytest

from contracts.spools import HQ, deferred, delivered, scene
from lockgate.mail.events import Event, Happening, Status
from lockgate.mail.task import Finished, NewTask, Result


@pytest.fixture(params=["memory", "real"])
async def stage(request, tmp_path):
    async with scene(request.param, tmp_path) as made:
        yield made


async def statuses(stage, new):
    rows = await stage.keeping.trace_find({"id": new.id}, 10)
    return {row["recipient_address"].partition("@")[0]: row["status"] for row in rows}


async def details(stage, new, row=0):
    shown = await stage.keeping.trace_show(new.id)
    return [event["detail"] for event in shown["rows"][row]["events"]]


async def put_off(stage, task, *recipients):
    now = stage.clock.now()
    stage.spool.finish(Finished(task, tuple(deferred(n, now) for n in recipients or (0,)), due=now + 30))
    await stage.settle()
    await stage.advance(31)


async def judged(stage, new, task, *tasks, status=Status.PENDING):
    """The judge has decided anew where the recipients go."""
    moved = tuple(
        Result(n, False, status, Event(stage.clock.now(), Happening.DEFER, "judged again"))
        for n in range(len(new.tasks[0].recipients))
    )
    stage.spool.finish(Finished(task, moved, replace=tasks))
    await stage.settle()


async def under_judgement(stage, *names):
    new, ((task, _),) = await stage.accept(*names, route=None, lane="contoso/pending", due=stage.clock.now() + 5)
    await stage.advance(6)
    assert [t.task for t in stage.taken] == [task]
    stage.taken.clear()
    return new, task


async def edit(stage, action, new, **more):
    return await stage.keeping.queue_edit(action, {"id": new.id, **more}, "ada")


async def test_a_hold_outlives_the_judgement_that_puts_other_tasks_in_the_place(stage):
    new, task = await under_judgement(stage, "bob", "eve")
    assert await edit(stage, "hold", new) == 1
    r = new.tasks[0].recipients
    now = stage.clock.now()
    await judged(stage, new, task, NewTask(HQ.lane, HQ, r[:1], now), NewTask("contoso/pending", None, r[1:], now + 9))
    await stage.advance(90)
    assert stage.taken == [] and await statuses(stage, new) == {"bob": "Held", "eve": "Held"}
    assert [row["why"] for row in await stage.keeping.hold_list({}, 10)] == ["held by ada"] * 2
    assert await edit(stage, "release", new) == 2
    await stage.settle()
    assert sorted(t.recipients[0].target.local for t in stage.taken) == ["bob", "eve"]


async def test_a_deletion_outlives_the_judgement_that_puts_other_tasks_in_the_place(stage):
    new, task = await under_judgement(stage, "bob")
    assert await edit(stage, "delete", new) == 1
    await judged(stage, new, task, NewTask(HQ.lane, HQ, new.tasks[0].recipients, stage.clock.now()))
    assert stage.taken == [] and await statuses(stage, new) == {"bob": "Dropped"}
    assert await stage.keeping.queue_list({}) == []


async def test_orders_for_one_recipient_go_with_it_through_the_judgement(stage):
    new, task = await under_judgement(stage, "bob", "eve", "joe")
    assert await edit(stage, "hold", new, recipient="eve@contoso.com") == 1
    assert await edit(stage, "delete", new, recipient="joe@contoso.com") == 1
    await judged(stage, new, task, NewTask(HQ.lane, HQ, new.tasks[0].recipients, stage.clock.now()))
    (got,) = stage.taken
    assert [r.target.local for r in got.recipients] == ["bob"]
    assert await statuses(stage, new) == {"bob": "Pending", "eve": "Held", "joe": "Dropped"}
    (held,) = await stage.keeping.hold_list({}, 10)
    assert held["recipients"] == ["eve@contoso.com"]


async def test_what_policy_holds_after_all_keeps_its_reason(stage):
    new, task = await under_judgement(stage, "bob")
    await edit(stage, "hold", new)
    there = NewTask("contoso/hold", None, new.tasks[0].recipients, stage.clock.now(), "looks odd")
    await judged(stage, new, task, there, status=Status.HELD)
    (held,) = await stage.keeping.hold_list({}, 10)
    assert held["why"] == "looks odd" and await statuses(stage, new) == {"bob": "Held"}


async def test_a_release_takes_back_a_hold_that_is_not_in_force_yet(stage):
    new, ((task, owned),) = await stage.accept("bob", "eve")
    assert owned and await edit(stage, "hold", new) == 1
    assert await statuses(stage, new) == {"bob": "Held", "eve": "Held"}
    assert await edit(stage, "release", new, recipient="eve@contoso.com") == 1
    assert await statuses(stage, new) == {"bob": "Held", "eve": "Pending"}
    assert await edit(stage, "release", new) == 1
    assert await edit(stage, "release", new) == 0
    assert await statuses(stage, new) == {"bob": "Pending", "eve": "Pending"}
    assert (await details(stage, new))[-2:] == ["held by ada", "released by ada"]
    await put_off(stage, task, 0, 1)
    (got,) = stage.taken
    assert got.task == task and len(got.recipients) == 2 and not got.warned


async def test_a_release_of_one_recipient_under_way_leaves_the_other_to_be_held(stage):
    new, ((task, _),) = await stage.accept("bob", "eve")
    await edit(stage, "hold", new)
    await edit(stage, "release", new, recipient="eve@contoso.com")
    await put_off(stage, task, 0, 1)
    (got,) = stage.taken
    assert [r.target.local for r in got.recipients] == ["eve"]
    assert await statuses(stage, new) == {"bob": "Held", "eve": "Pending"}


async def test_nothing_takes_back_a_deletion(stage):
    new, ((task, _),) = await stage.accept("bob")
    assert await edit(stage, "delete", new) == 1
    for action in ("hold", "release", "delete", "retry"):
        assert await edit(stage, action, new) == 0
    await put_off(stage, task)
    assert stage.taken == [] and await statuses(stage, new) == {"bob": "Dropped"}
    assert await stage.keeping.queue_list({}) == []


async def test_a_deletion_takes_the_place_of_a_hold(stage):
    new, ((task, _),) = await stage.accept("bob", "eve")
    assert await edit(stage, "hold", new) == 1
    assert await edit(stage, "hold", new) == 0
    assert await edit(stage, "delete", new, recipient="bob@contoso.com") == 1
    await put_off(stage, task, 0, 1)
    assert await statuses(stage, new) == {"bob": "Dropped", "eve": "Held"}
    (held,) = await stage.keeping.hold_list({}, 10)
    assert held["recipients"] == ["eve@contoso.com"] and stage.taken == []


async def test_what_is_delivered_meanwhile_is_told_as_delivered_and_the_order_is_forgotten(stage):
    new, ((task, _),) = await stage.accept("bob", "eve")
    await edit(stage, "hold", new)
    stage.deliver(task, 0, keep=True)
    stage.spool.finish(Finished(task, (delivered(1, stage.clock.now()),)))
    await stage.settle()
    assert await statuses(stage, new) == {"bob": "Delivered", "eve": "Delivered"}
    assert await stage.keeping.queue_list({}) == []


async def test_the_trace_tells_an_order_once(stage):
    new, ((task, _),) = await stage.accept("bob")
    await edit(stage, "hold", new)
    await put_off(stage, task)
    assert (await details(stage, new)).count("held by ada") == 1 and stage.taken == []


async def test_what_is_held_and_has_moved_is_judged_when_it_is_released(stage):
    new, ((task, _),) = await stage.accept("bob", "eve")
    assert await edit(stage, "hold", new, recipient="bob@contoso.com") == 1
    assert await edit(stage, "reroute", new) == 1
    await put_off(stage, task, 0, 1)
    (got,) = stage.taken
    assert [r.target.local for r in got.recipients] == ["eve"] and got.route is None
    assert await statuses(stage, new) == {"bob": "Held", "eve": "Pending"}
    await edit(stage, "release", new)
    await stage.settle()
    assert [(r.target.local, t.route) for t in stage.taken[1:] for r in t.recipients] == [("bob", None)]
