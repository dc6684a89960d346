"""A dead host with a long queue costs one lane row: accepting for others is as quick, and starting again too."""

from __future__ import annotations

import sqlite3
import time

import pytest

from contracts.spools import HQ, RealScene, unreachable
from lockgate.mail.ruling import Route, Via
from lockgate.storage.keeper import Keeper

DEPTH = 10_000
DEAD = Route(Via.MX, "contoso", "", "dead.example")


@pytest.fixture
async def stage(tmp_path):
    real = RealScene(tmp_path)
    await real.start()
    yield real
    await real.stop()


async def cost(stage) -> float:
    """CPU seconds per message accepted and delivered on a healthy lane; the best of some rounds."""
    best = 1.0
    for _ in range(5):
        start = time.process_time()
        for _ in range(100):
            ((task, owned),) = (await stage.accept("bob"))[1]
            assert owned
            stage.deliver(task)
        best = min(best, (time.process_time() - start) / 100)
        await stage.settle()
    return best


async def fill(stage) -> None:
    """One message makes the lane fail; the others are copied in, as DEPTH accepts would leave them."""
    _, ((first, _),) = await stage.accept("joe", route=DEAD)
    stage.spool.finish(unreachable(first, stage.clock.now()))
    await stage.settle()
    await stage.stop_keeper()
    with sqlite3.connect(stage.state / "queue" / "keeper.sqlite") as db:
        copies = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n LIMIT ?) "
        columns = "bucket,lane,owner,due,attention,received,expires,attempts,warned,held,segment,at,length,crc,what"
        db.execute(
            f"INSERT INTO task(id,{columns}) {copies} SELECT id + (i << 20),{columns} FROM task, n", (DEPTH,)
        )
        columns = "bucket,received,sender,subject,size,message_id,from_ip,tls,revision,connection,tasks,stories"
        db.execute(
            f"INSERT INTO message(seq,id,{columns}) {copies} SELECT seq + i, id || i, {columns} FROM message, n"
            " WHERE seq = (SELECT max(seq) FROM message)", (DEPTH,),
        )  # fmt: skip
    await stage.start_keeper()
    for _ in range(20):
        await stage.settle()
        if stage.spool._connected:
            return


async def test_accepting_does_not_feel_the_queue_of_a_dead_host(stage):
    empty = await cost(stage)
    await fill(stage)
    (dead,) = [row for row in await stage.keeping.queue_list({}) if row["lane"] == DEAD.lane]
    assert dead["tasks"] == DEPTH + 1 and dead["fails"] == 1
    deep = await cost(stage)
    # The exact ratio belongs to the bench (0.9); this catches anything that grows with the queue.
    assert deep < empty * 1.5 + 50e-6, (empty, deep)


async def test_a_failure_of_a_deep_lane_writes_one_row(stage):
    await fill(stage)
    await stage.advance(11)
    (probe,) = stage.taken
    before = stage.keeper.ledger.db.total_changes
    stage.spool.finish(unreachable(probe.task, stage.clock.now()))
    await stage.settle()
    # The probe's task and trace row, the worker's mark and the lane: nothing of the ten thousand.
    assert stage.keeper.ledger.db.total_changes - before < 10
    assert len(stage.taken) == 1


async def test_a_keeper_with_a_deep_queue_is_ready_at_once_and_holds_little_memory(stage):
    await fill(stage)
    await stage.stop_keeper(kill=True)
    start = time.process_time()
    keeper = Keeper(stage.settings, stage.clock, stage.journal)
    keeper.start()
    assert time.process_time() - start < 1.0
    assert len(keeper.ledger.roster.owned) == 0 and keeper.ledger.roster.lanes[DEAD.lane].waiting == DEPTH + 1
    keeper.close()
    await stage.start_keeper()


async def test_after_recovery_it_leaves_in_windows_and_in_order(stage):
    await fill(stage)
    await stage.advance(11)
    seen = []
    while len(seen) < 300:
        task = stage.taken.pop(0)
        seen.append(task.task)
        assert len(stage.taken) <= 20
        stage.deliver(task.task)
        if not stage.taken:
            await stage.settle()
    assert seen == sorted(seen)
    assert (await stage.accept("bob", route=HQ))[1][0][1]
