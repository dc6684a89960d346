"""Finished messages move to the file of their day exactly once and are found where they lie."""

from __future__ import annotations

import os
import sqlite3

import msgspec
import pytest

from contracts.spools import HQ, START, RealScene, message
from lockgate.mail.identity import network_id
from lockgate.storage import days, together
from lockgate.storage import upkeep as upkeeping
from lockgate.storage.traces import UnknownFilter


@pytest.fixture
async def stage(tmp_path):
    real = RealScene(tmp_path)
    await real.start()
    yield real
    await real.stop()


STORY = (("contoso", os.urandom(8000)),)


def in_queue(stage):
    with sqlite3.connect(f"file:{stage.state}/queue/keeper.sqlite?mode=ro", uri=True) as db:
        return {row[0] for row in db.execute("SELECT id FROM message")}


async def upkeep(stage, seconds=700.0):
    for _ in range(4):
        await stage.advance(seconds / 4)


async def test_what_is_done_moves_and_what_waits_stays(stage):
    done, ((task, _),) = await stage.accept("bob")
    stage.deliver(task)
    waiting, _ = await stage.accept("eve")
    await upkeep(stage)
    assert in_queue(stage) == {waiting.id}
    for filters in (
        {"id": done.id}, {"id": done.message_id}, {"recipient": "Bob@contoso.com"}, {"status": "delivered"},
        {"recipient": "bob@contoso.com", "sender": "ANN@example.net", "ip": "192.0.2.25"},
        {"subject": "quarterly", "recipient": "bob@contoso.com"},
    ):  # fmt: skip
        rows = await stage.keeping.trace_find(filters, 10)
        assert [row["id"] for row in rows] == [done.id], filters
        assert rows[0]["status"] == "Delivered" and rows[0]["to_ip"] == "192.0.2.25"
    shown = await stage.keeping.trace_show(done.id)
    assert len(shown["rows"][0]["events"]) == 2 and shown["stories"] == {"contoso": b"story"}
    assert [row["id"] for row in await stage.keeping.trace_find({}, 10)] == [waiting.id, done.id]


async def test_a_kill_between_copy_and_removal_changes_nothing(stage):
    done, ((task, _),) = await stage.accept("bob")
    stage.deliver(task)
    await stage.settle()
    days = stage.keeper.upkeep._days

    def killed(gone):
        raise OSError("killed here")

    days._take_away = killed
    await upkeep(stage)
    assert in_queue(stage) == {done.id} and len(list((stage.state / "trace").glob("2*.sqlite"))) == 1
    assert len(await stage.keeping.trace_find({}, 10)) == 1
    await stage.stop_keeper(kill=True)
    await stage.start_keeper()
    await upkeep(stage)
    await upkeep(stage)
    assert in_queue(stage) == set()
    assert len(await stage.keeping.trace_find({}, 10)) == 1


async def test_numbers_are_never_given_twice_over_an_empty_database_and_a_restart(stage):
    first, ((task, _),) = await stage.accept("bob")
    stage.deliver(task)
    await upkeep(stage)
    await stage.stop_keeper()
    await stage.start_keeper()
    for _ in range(10):
        await stage.settle()
    _, ((again, _),) = await stage.accept("bob")
    assert again > task
    stage.deliver(again)
    await upkeep(stage)
    assert len(await stage.keeping.trace_find({}, 10)) == 2
    assert first.id in {row["id"] for row in await stage.keeping.trace_find({}, 10)}


async def test_days_at_the_end_of_their_life_go(stage):
    _, ((task, _),) = await stage.accept("bob")
    stage.deliver(task)
    await upkeep(stage)
    await upkeep(stage, 92 * 86400.0)
    assert list((stage.state / "trace").glob("2*.sqlite*")) == []
    assert await stage.keeping.trace_find({}, 10) == []


async def test_a_day_file_that_cannot_be_written_stops_nothing(stage):
    _, ((task, _),) = await stage.accept("bob")
    stage.deliver(task)
    await stage.settle()
    stage.keeper.upkeep._days._open.clear()
    (stage.state / "trace" / "2027-01-15.sqlite").write_bytes(b"not a database at all" * 500)
    await upkeep(stage)
    assert any("upkeep" in told for told, _ in stage.journal.alarms)
    assert (stage.state / "trace" / "2027-01-15.damaged").exists()
    assert len(await stage.keeping.trace_find({"recipient": "bob@contoso.com"}, 10)) == 1
    await upkeep(stage)
    assert in_queue(stage) == set(), "the next attempt began a new file"
    await stage.accept("bob")


async def test_a_misspelt_filter_is_named(stage):
    with pytest.raises(UnknownFilter, match="colour"):
        await stage.keeping.trace_find({"colour": "red"}, 10)
    with pytest.raises(UnknownFilter):
        await stage.keeping.trace_find({"since": "yesterday"}, 10)


async def test_orders_are_audited(stage):
    await stage.accept("bob", held="why")
    await stage.keeping.queue_edit("release", {"lane": "contoso/HQ"}, "eva@contoso.com")
    (row,) = await stage.keeping.audit(10)
    assert row["by"] == "eva@contoso.com" and row["action"] == "release" and row["count"] == 1
    assert row["filters"] == {"lane": "contoso/HQ"} and row["at"] == stage.clock.now()


async def test_what_is_to_be_kept_once_is_remembered_as_long_as_its_trace(stage, monkeypatch):
    def letter():
        writer = stage.spool.begin(b"Subject: x\r\n\r\n")
        new = message(stage.clock.now(), writer.finish(), writer.size, ["soc"], HQ, name=name)
        return msgspec.structs.replace(new, once=True)

    name = network_id(bytes(10), START)
    ((task, owned),) = (await stage.spool.accept(letter())).tasks
    assert owned
    stage.deliver(task)
    await upkeep(stage)
    assert in_queue(stage) == set()
    await stage.spool.accept(letter())
    assert in_queue(stage) == set() and len(await stage.keeping.trace_find({"id": name}, 10)) == 1

    def damaged(path):
        raise sqlite3.DatabaseError(f"{path} is damaged")

    monkeypatch.setattr(together, "reader", damaged)
    await stage.spool.accept(letter())
    assert in_queue(stage) == {name}, "better twice than not at all"


async def test_what_was_finished_together_leaves_together_and_the_database_gives_its_pages_back(stage, monkeypatch):
    monkeypatch.setattr(upkeeping, "SPARE", 20)
    database = stage.state / "queue" / "keeper.sqlite"
    small, many = database.stat().st_size, days.STEP + 150
    for _ in range(many):
        writer = stage.spool.begin(b"Subject: x\r\n\r\n")
        new = message(stage.clock.now(), writer.finish(), writer.size, ["bob"], HQ)
        ((task, owned),) = (await stage.spool.accept(msgspec.structs.replace(new, stories=STORY))).tasks
        assert owned
        stage.deliver(task)
    await stage.settle()
    settled = stage.keeper.ledger.settled
    batch = [seq for _, some in settled for seq in some]
    assert len(batch) == many
    settled.clear()
    settled.append((stage.clock.now(), batch))  # one batch of more than a step takes
    assert len(in_queue(stage)) == many and database.stat().st_size > small + 4_000_000
    for _ in range(6):
        await upkeep(stage)
    assert in_queue(stage) == set()
    assert database.stat().st_size < small + 60 * 8192
    assert len(await stage.keeping.trace_find({}, 5000)) == many
