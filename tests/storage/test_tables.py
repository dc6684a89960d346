"""The schema moves forward with its rows, step by step, and a newer one is refused in words."""

from __future__ import annotations

import sqlite3

import pytest

from lockgate.storage.tables import STEPS, VERSION, NewerSchema, open_tables


def columns(db, table):
    return [row[1] for row in db.execute(f"PRAGMA table_info({table})")]


def test_from_version_1_to_2_with_rows_present(tmp_path):
    old = open_tables(tmp_path / "q.sqlite", STEPS[:1])
    assert "pool" not in columns(old, "trace")
    old.execute(
        "INSERT INTO trace(number,organisation,recipient,status,inbound,outbound,events)"
        " VALUES(5,'contoso','bob@contoso.com','Pending','','HQ',x'00')"
    )
    old.execute("INSERT INTO lane VALUES('contoso/HQ', 1.0, 2, 'no')")
    old.close()
    new = open_tables(tmp_path / "q.sqlite")
    assert new.execute("PRAGMA user_version").fetchone() == (VERSION,)
    assert new.execute("SELECT recipient, pool FROM trace").fetchall() == [("bob@contoso.com", "")]
    assert new.execute("SELECT fails FROM lane").fetchall() == [(2,)]
    new.close()


def test_a_schema_two_steps_ahead_is_refused_and_left_alone(tmp_path):
    db = open_tables(tmp_path / "q.sqlite")
    db.execute(f"PRAGMA user_version = {VERSION + 2}")
    db.close()
    with pytest.raises(NewerSchema, match="Start the newer Lockgate that wrote it"):
        open_tables(tmp_path / "q.sqlite")
    with sqlite3.connect(tmp_path / "q.sqlite") as again:
        assert again.execute("PRAGMA user_version").fetchone() == (VERSION + 2,)


def test_a_step_that_fails_leaves_the_version_before(tmp_path):
    open_tables(tmp_path / "q.sqlite").close()
    broken = (*STEPS, "CREATE TABLE fresh(x); ALTER TABLE nowhere ADD COLUMN y")
    with pytest.raises(sqlite3.OperationalError):
        open_tables(tmp_path / "q.sqlite", broken)
    db = open_tables(tmp_path / "q.sqlite")
    assert columns(db, "fresh") == []
    db.close()


def test_every_commit_is_synced(tmp_path):
    db = open_tables(tmp_path / "q.sqlite")
    assert db.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    assert db.execute("PRAGMA synchronous").fetchone() == (2,)
    db.close()
