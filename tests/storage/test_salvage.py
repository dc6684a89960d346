"""Damaged pages of the queue database: set aside with an alarm, everything else goes on."""

from __future__ import annotations

import random
import sqlite3

import pytest

from contracts.spools import RealScene, unreachable
from lockgate.storage.salvage import salvage


@pytest.fixture
async def stage(tmp_path):
    real = RealScene(tmp_path)
    await real.start()
    yield real
    await real.stop()


async def fill(stage, count=120):
    _, ((first, _),) = await stage.accept("bob")
    stage.spool.finish(unreachable(first, stage.clock.now()))
    await stage.settle()
    kept = [(await stage.accept("bob"))[0] for _ in range(count)]
    await stage.settle()
    await stage.stop_keeper()
    return kept


def leaf_pages(path, table):
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        return [row[0] for row in db.execute("SELECT pageno FROM dbstat WHERE name=? AND pagetype='leaf'", (table,))]


def hurt(path, page):
    with path.open("r+b") as file:
        file.seek((page - 1) * 8192)
        file.write(b"\xff" * 200)


@pytest.mark.parametrize("table", ["task", "message", "trace", "task_ready"])
async def test_what_lies_on_other_pages_goes_on(stage, table):
    kept = await fill(stage)
    path = stage.state / "queue" / "keeper.sqlite"
    try:
        pages = leaf_pages(path, table)
    except sqlite3.OperationalError:
        pytest.skip("this SQLite cannot say where a table's pages lie")
    hurt(path, pages[len(pages) // 2])
    await stage.start_keeper()
    stage.clock.at += 11
    for _ in range(300):
        await stage.settle()
        while stage.taken:
            task = stage.taken.pop(0)
            assert await stage.spool.read(task.body)
            stage.deliver(task.task)
        if not await stage.keeping.queue_list({}):
            break
        stage.clock.at += 0.3
    assert any("damaged" in told for told, _ in stage.journal.alarms)
    assert list(path.parent.glob("keeper.sqlite.damaged-1"))
    done = {row["id"] for row in await stage.keeping.trace_find({"status": "delivered"}, 500)}
    assert len(done & {new.id for new in kept}) >= len(kept) // 2
    await stage.accept("bob")


async def test_a_database_that_is_none_any_more_loses_no_body(stage):
    kept = await fill(stage, 20)
    path = stage.state / "queue" / "keeper.sqlite"
    path.write_bytes(random.Random(1).randbytes(path.stat().st_size))
    for suffix in ("-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
    await stage.spool.close()
    await stage.start_keeper()
    assert any("damaged" in told for told, _ in stage.journal.alarms)
    aside = stage.state / "queue" / "damaged"
    assert {new.body.segment for new in kept} <= {file.name for file in aside.iterdir()}
    stage.spool = stage.new_spool()
    await stage.spool.open()
    await stage.accept("bob")


async def test_a_kill_while_salvaging_loses_nothing(stage, monkeypatch):
    kept = await fill(stage, 20)
    path = stage.state / "queue" / "keeper.sqlite"
    pages = leaf_pages(path, "trace")

    def killed(fresh, place):
        assert fresh != place
        raise KeyboardInterrupt

    monkeypatch.setattr(type(path), "replace", killed)
    for _ in range(2):  # at the last instant, twice
        with pytest.raises(KeyboardInterrupt):
            salvage(path)
    monkeypatch.undo()
    hurt(path, pages[0])
    _, rescued, gaps = salvage(path)
    assert gaps == 1 and rescued["message"] == len(kept) + 1
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT count(*) FROM message").fetchone() == (len(kept) + 1,)
    assert not list(path.parent.glob("*.fresh*")), "nothing half made is left"
