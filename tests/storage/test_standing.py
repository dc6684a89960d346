"""Orders for mail under way are as durable as what was told of them; and what stands for a recipient stays with it."""

from __future__ import annotations

import contextlib
import os
import sqlite3

import msgspec
import pytest

from contracts.spools import HQ, RealScene, deferred, delivered
from lockgate.mail.address import Address
from lockgate.mail.task import Finished, NewTask
from lockgate.storage.restoring import hold_everything
from lockgate.storage.salvage import salvage


@pytest.fixture
async def stage(tmp_path):
    real = RealScene(tmp_path)
    await real.start()
    yield real
    await real.stop()


async def statuses(stage, *messages):
    found = {}
    for new in messages:
        for row in await stage.keeping.trace_find({"id": new.id}, 10):
            found[row["recipient_address"].partition("@")[0]] = row["status"]
    return found


async def edit(stage, action, new, **more):
    assert await stage.keeping.queue_edit(action, {"id": new.id, **more}, "ada") == 1


async def ordered(stage):
    """Three messages under way: one to be deleted, one to be held, one to be deleted for one of its recipients."""
    gone, ((first, _),) = await stage.accept("bob")
    kept, ((second, _),) = await stage.accept("eve")
    both, ((third, _),) = await stage.accept("joe", "sue")
    await edit(stage, "delete", gone)
    await edit(stage, "hold", kept)
    await edit(stage, "delete", both, recipient="sue@contoso.com")
    return (gone, kept, both), (first, second, third)


def die(spool):
    """What the kernel does for a killed process: the socket and the lock go, nothing is said."""
    spool._runner.cancel()
    spool._wire.transport.abort()
    for fd in spool._log._files:
        os.close(fd)


def standing(stage):
    with contextlib.closing(sqlite3.connect(stage.state / "queue" / "keeper.sqlite")) as db:
        return db.execute("SELECT count(*) FROM standing").fetchone()[0]


async def carried_out(stage, messages):
    assert await statuses(stage, *messages) == {"bob": "Dropped", "eve": "Held", "joe": "Pending", "sue": "Dropped"}
    assert [r.target.local for t in stage.taken for r in t.recipients] == ["joe"]
    (held,) = await stage.keeping.hold_list({}, 10)
    assert held["recipients"] == ["eve@contoso.com"] and held["why"] == "held by ada"
    assert {task["id"] for task in await stage.keeping.queue_list({"lane": HQ.lane})} == {m.id for m in messages[1:]}
    assert standing(stage) == 0


async def test_the_keeper_is_killed_before_the_tasks_come_back(stage):
    messages, tasks = await ordered(stage)
    await stage.stop_keeper(kill=True)
    await stage.start_keeper()
    for _ in range(10):
        await stage.settle()
    now = stage.clock.now()
    for task in tasks:
        stage.spool.finish(Finished(task, (deferred(0, now),), due=now + 5))
    await stage.settle()
    await stage.advance(6)
    await carried_out(stage, messages)


async def test_everything_is_killed_before_the_tasks_come_back(stage):
    messages, _ = await ordered(stage)
    die(stage.spool)
    await stage.stop_keeper(kill=True)
    await stage.start()
    await stage.settle()
    await carried_out(stage, messages)


async def test_the_keeper_is_killed_again_between_taking_the_tasks_back_and_the_orders(stage):
    messages, _ = await ordered(stage)
    die(stage.spool)
    await stage.stop_keeper(kill=True)
    await stage.start_keeper()  # it has taken the tasks of the dead worker back, and done nothing else
    await stage.stop_keeper(kill=True)
    assert standing(stage) == 3
    await stage.start()
    await stage.settle()
    await carried_out(stage, messages)


async def test_a_release_is_as_durable_as_the_hold(stage):
    new, _ = await stage.accept("bob")
    await edit(stage, "hold", new)
    await edit(stage, "release", new)
    die(stage.spool)
    await stage.stop_keeper(kill=True)
    await stage.start()
    await stage.settle()
    assert [t.id for t in stage.taken] == [new.id] and await statuses(stage, new) == {"bob": "Pending"}


async def test_a_queue_that_could_not_be_written_forgets_no_order(stage):
    messages, _ = await ordered(stage)
    stage.keeper._fail([], RuntimeError("as if"))
    await stage.advance(1)
    for _ in range(30):
        await stage.settle()
    die(stage.spool)
    await stage.advance(1)
    await stage.stop_keeper()
    await stage.start()
    await stage.settle()
    await carried_out(stage, messages)


async def test_orders_are_gone_with_the_task(stage):
    messages, tasks = await ordered(stage)
    for task in tasks[:2]:
        stage.deliver(task)
    stage.deliver(tasks[2], 0, 1)
    await stage.settle()
    assert set((await statuses(stage, *messages)).values()) == {"Delivered"} and standing(stage) == 0
    new, ((task, _),) = await stage.accept("bob")
    await edit(stage, "hold", new)
    stage.keeper.ledger.begin(stage.clock.now())
    assert stage.keeper.ledger.withdraw(new.id)
    stage.keeper.ledger.commit()
    assert standing(stage) == 0 and task not in stage.keeper.ledger.standing


async def test_an_order_whose_task_is_gone_is_cleared_away(stage):
    await stage.stop_keeper()
    with contextlib.closing(sqlite3.connect(stage.state / "queue" / "keeper.sqlite")) as db, db:
        db.execute("INSERT INTO standing(task, trace, address, action, who) VALUES(77, 0, 'x@y.test', 'hold', 'ada')")
    await stage.start_keeper()
    await stage.settle()
    assert standing(stage) == 0


async def test_a_restored_queue_deletes_what_was_to_be_deleted_and_holds_the_rest(stage):
    messages, _ = await ordered(stage)
    die(stage.spool)
    await stage.stop_keeper(kill=True)
    hold_everything(stage.state, stage.clock.now(), "Monday", stage.clock, stage.journal)
    await stage.start()
    await stage.settle()
    assert await statuses(stage, *messages) == {"bob": "Dropped", "eve": "Held", "joe": "Held", "sue": "Dropped"}
    assert stage.taken == []


async def test_the_time_between_backup_and_restore_does_not_shorten_lives(stage):
    new, _ = await stage.accept("bob", life=1000)
    made = stage.clock.now() + 50
    die(stage.spool)
    await stage.stop_keeper(kill=True)
    stage.clock.at += 5000
    assert hold_everything(stage.state, made, "Monday", stage.clock, stage.journal) == 1
    await stage.start()
    await stage.advance(70)
    await edit(stage, "release", new)
    await stage.settle()
    (got,) = stage.taken
    assert not got.expired and got.expires == stage.clock.now() + 950 and got.warned


async def test_what_can_be_read_of_a_damaged_queue_keeps_its_orders(stage):
    messages, _ = await ordered(stage)
    die(stage.spool)
    await stage.stop_keeper(kill=True)
    _, rescued, gaps = salvage(stage.state / "queue" / "keeper.sqlite")
    assert rescued["standing"] == 3 and gaps == 0
    await stage.start()
    await stage.settle()
    await carried_out(stage, messages)


async def test_whatever_becomes_of_a_held_recipient_is_held_and_others_of_its_row_are_not(stage):
    """A group is taken apart by the judge: its members share its row of the trace."""
    new, ((task, _),) = await stage.accept("group", "joe", route=None, lane="contoso/pending", due=stage.clock.at + 5)
    await stage.advance(6)
    await edit(stage, "hold", new, recipient="group@contoso.com")
    group, joe = new.tasks[0].recipients
    bob, eve = (msgspec.structs.replace(group, target=Address(name, "contoso.com")) for name in ("bob", "eve"))
    now = stage.clock.now()
    pending = NewTask("contoso/pending", None, (bob, eve), now)
    stage.spool.finish(Finished(task, (), replace=(NewTask(HQ.lane, HQ, (joe,), now), pending)))
    await stage.settle()
    (held,) = await stage.keeping.hold_list({}, 10)
    assert len(held["recipients"]) == 2 and [t.recipients[0].target.local for t in stage.taken[1:]] == ["joe"]
    await edit(stage, "release", new, recipient="group@contoso.com")
    await stage.settle()
    both = stage.taken[-1]
    assert [r.target.local for r in both.recipients] == ["bob", "eve"]
    await edit(stage, "hold", new, recipient="eve@contoso.com")
    stage.spool.finish(Finished(both.task, (), replace=(NewTask(HQ.lane, HQ, (bob, eve), now),)))
    await stage.settle()
    assert [r.target.local for r in stage.taken[-1].recipients] == ["bob"]


async def test_ordinary_mail_pays_nothing_for_orders(stage):
    told = []
    stage.keeper.ledger.db.set_trace_callback(told.append)
    _, ((task, _),) = await stage.accept("bob")
    _, ((late, _),) = await stage.accept("eve")
    stage.spool.finish(Finished(task, (delivered(0, stage.clock.now()),)))
    stage.spool.finish(Finished(late, (deferred(0, stage.clock.now()),), due=stage.clock.now() + 5))
    await stage.settle()
    assert told and not [text for text in told if "standing" in text]
