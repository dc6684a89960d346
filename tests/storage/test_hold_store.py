"""Held bodies lie in the hold store, shared by the tasks of a message, until the last of them is gone."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest

from contracts.spools import RealScene
from lockgate.storage import holds

BODY = b"Received: here\r\n" + b"x" * 5000


@pytest.fixture
async def stage(tmp_path):
    real = RealScene(tmp_path)
    await real.start()
    yield real
    await real.stop()


def segments(stage):
    return sorted(path.name for path in (stage.state / "queue").rglob("*") if path.suffix in (".seg", ".hold", ".big"))


async def upkeep(stage):
    for _ in range(5):
        await stage.advance(31)


async def test_a_body_that_was_moved_is_shared_by_the_tasks_of_its_recipients_and_goes_with_the_last(stage):
    new, _ = await stage.accept("bob", "eve", "joe", route=None, held="why", body=b"x" * 5000)
    await upkeep(stage)
    assert any(name.endswith(".hold") for name in segments(stage))
    await stage.keeping.queue_edit("release", {"id": new.id, "recipient": "bob@contoso.com"}, "ada")
    await stage.settle()
    (bob,) = stage.taken
    assert bob.body.segment.endswith(".hold") and await stage.spool.read(bob.body) == BODY
    stage.deliver(bob.task)
    await upkeep(stage)
    (left,) = await stage.keeping.hold_list({}, 10)
    assert await stage.keeping.hold_body(left["task"]) == BODY and left["recipients"][0] == "eve@contoso.com"
    await stage.stop_keeper()
    await stage.start_keeper()
    for _ in range(10):
        await stage.settle()
    await stage.keeping.queue_edit("delete", {"id": new.id, "recipient": "joe@contoso.com"}, "ada")
    await stage.keeping.queue_edit("release", {"id": new.id}, "ada")
    await stage.settle()
    assert [r.target.local for r in stage.taken[-1].recipients] == ["eve"]
    assert await stage.spool.read(stage.taken[-1].body) == BODY
    stage.deliver(stage.taken[-1].task)
    await upkeep(stage)
    assert await stage.keeping.hold_list({}, 10) == [] and stage.keeper.live.tasks == {}


async def test_looking_at_held_mail_does_not_look_at_all_that_waits(stage):
    with closing(sqlite3.connect(f"file:{stage.state}/queue/keeper.sqlite?mode=ro", uri=True)) as db:
        for kind, index in (("held", "task_held"), ("pending", "task_judged")):
            query = f"EXPLAIN QUERY PLAN {holds._QUERY}{holds._KINDS[kind]} AND k.id < 5 AND 1 ORDER BY k.id DESC"
            plan = " ".join(row[3] for row in db.execute(query))
            assert index in plan and "TEMP B-TREE" not in plan, plan


async def test_an_order_that_was_lost_with_its_keeper_is_all_or_nothing(stage):
    new, _ = await stage.accept("bob", "eve", route=None, held="why")
    await stage.settle()
    ledger = stage.keeper.ledger
    real, ledger.commit = ledger.commit, lambda: (_ for _ in ()).throw(OSError("killed here"))
    order = stage.keeping.queue_edit("release", {"id": new.id, "recipient": "bob@contoso.com"}, "ada")
    with pytest.raises(Exception, match=r"went away|cannot be reached"):
        await order
    ledger.commit = real
    await stage.stop_keeper(kill=True)
    await stage.start_keeper()
    for _ in range(20):
        await stage.settle()
    (row,) = await stage.keeping.hold_list({}, 10)
    assert row["recipients"] == ["bob@contoso.com", "eve@contoso.com"] and stage.taken == []
    assert [one["status"] for one in await stage.keeping.trace_find({"id": new.id}, 5)] == ["Held", "Held"]
