"""A full queue across versions: forward from the schema before, on under the one after, and never a surprise."""

from __future__ import annotations

import contextlib
import re
import sqlite3
from pathlib import Path

import pytest

from contracts.spools import RealScene
from lockgate.storage import tables
from lockgate.storage.tables import STEPS, VERSION, NewerSchema, open_tables

NEXT = """
ALTER TABLE message ADD COLUMN invented TEXT NOT NULL DEFAULT 'm';
ALTER TABLE trace ADD COLUMN invented INTEGER NOT NULL DEFAULT 1;
ALTER TABLE task ADD COLUMN invented BLOB;
ALTER TABLE lane ADD COLUMN invented TEXT NOT NULL DEFAULT '';
ALTER TABLE worker ADD COLUMN invented REAL NOT NULL DEFAULT 0;
ALTER TABLE meta ADD COLUMN invented TEXT;
ALTER TABLE audit ADD COLUMN invented TEXT NOT NULL DEFAULT '';
ALTER TABLE standing ADD COLUMN invented TEXT;
CREATE TABLE invented(x INTEGER);
CREATE INDEX task_invented ON task(invented);
"""
"""A step as a later version could bring it: every table gets a column."""

COUNT = 120


def versioned(path, steps):
    """The queue at `path` as a Lockgate that knows only these steps would have written it."""
    old = path.with_name("old.sqlite")
    with contextlib.closing(open_tables(old, steps)) as new, contextlib.closing(sqlite3.connect(path)) as full:
        for (table,) in new.execute("SELECT name FROM sqlite_master WHERE type='table'").fetchall():
            names = ",".join(row[1] for row in new.execute(f"PRAGMA table_info({table})"))
            rows = full.execute(f"SELECT {names} FROM {table}").fetchall()
            new.executemany(f"INSERT INTO {table}({names}) VALUES({','.join('?' * (names.count(',') + 1))})", rows)
        new.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    for suffix in ("", "-wal", "-shm"):
        path.with_name(path.name + suffix).unlink(missing_ok=True)
        aside = old.with_name(old.name + suffix)
        if aside.exists():
            aside.rename(path.with_name(path.name + suffix))


async def full_queue(stage):
    """Waiting, deferred and held messages; the keeper is stopped."""
    await stage.start()
    kept = [(await stage.accept("bob"))[0].id for _ in range(COUNT)]
    await stage.settle()
    await stage.keeping.queue_edit("hold", {"id": kept[0]}, "1 ann")
    await stage.stop()
    return kept


async def emptied(stage):
    """Deliver everything; the ids delivered."""
    await stage.keeping.queue_edit("release", {"held": "held by"}, "1 ann")
    delivered = []
    for _ in range(300):
        await stage.settle()
        while stage.taken:
            task = stage.taken.pop(0)
            assert await stage.spool.read(task.body)
            delivered.append(task.id)
            stage.deliver(task.task)
        if not await stage.keeping.queue_list({}):
            break
        await stage.advance(1.0)
    return delivered


def version(path):
    with contextlib.closing(sqlite3.connect(path)) as db:
        return db.execute("PRAGMA user_version").fetchone()[0]


@pytest.mark.parametrize("steps", range(1, VERSION))
async def test_a_full_queue_of_an_earlier_schema_goes_on(tmp_path, steps):
    first = RealScene(tmp_path)
    kept = await full_queue(first)
    path = first.state / "queue" / "keeper.sqlite"
    versioned(path, STEPS[:steps])
    assert version(path) == steps
    stage = RealScene(tmp_path)
    await stage.start()
    try:
        assert version(path) == VERSION
        assert sorted(await emptied(stage)) == sorted(kept)
        rows = await stage.keeping.trace_find({"status": "Delivered"}, 1000)
        assert len(rows) == COUNT
    finally:
        await stage.stop()


async def test_a_full_queue_of_the_schema_after_still_works_here_and_then_there(tmp_path):
    first = RealScene(tmp_path)
    kept = await full_queue(first)
    path = first.state / "queue" / "keeper.sqlite"
    with contextlib.closing(open_tables(path, (*STEPS, NEXT))) as db:
        db.execute("UPDATE message SET invented = 'written by the later version'")
    stage = RealScene(tmp_path)
    await stage.start()
    try:
        assert version(path) == VERSION + 1, "the later version's mark stays, so that it need not begin again"
        message = (await stage.accept("bob"))[0].id
        assert sorted(await emptied(stage)) == sorted([*kept, message])
    finally:
        await stage.stop()
    with contextlib.closing(open_tables(path, (*STEPS, NEXT))) as db:
        told = dict(db.execute("SELECT id, invented FROM message"))
    assert told[message] == "m"
    assert told[kept[5]] == "written by the later version"


def test_two_versions_back_are_refused_with_a_sentence(tmp_path):
    open_tables(tmp_path / "q", (*STEPS, NEXT, "CREATE TABLE more(x INTEGER);")).close()
    with pytest.raises(NewerSchema, match=f"has schema version {VERSION + 2}.*works with versions up to {VERSION + 1}"):
        open_tables(tmp_path / "q")


@pytest.mark.parametrize("number", range(1, VERSION))
def test_every_step_only_adds(number):
    """What the version before writes has to fit afterwards as well."""
    for statement in filter(None, (part.strip() for part in STEPS[number].split(";"))):
        assert re.match(r"(CREATE (TABLE|INDEX)|ALTER TABLE \w+ ADD COLUMN) ", statement), statement
        if statement.startswith("ALTER") and "NOT NULL" in statement:
            assert "DEFAULT" in statement, statement


@pytest.mark.parametrize("name", ["ledger", "edits", "salvage", "restoring", "standing"])
def test_every_insert_names_its_columns(name):
    """Else it would break on a table that a later version has given one more."""
    text = Path(tables.__file__).with_name(f"{name}.py").read_text("utf-8")
    assert "INSERT" in text
    assert not re.findall(r"INSERT (?:OR \w+ )?INTO \w+ ?VALUES", text)
