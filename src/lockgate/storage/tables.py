"""The keeper's tables: schema by version, opened safely, moved forward step by step.

Steps only add (expand); a column that nothing reads any more is taken away one version later (contract), so that
one version back still works: it finds the tables and columns that it knows, and leaves the others to their defaults.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from pathlib import Path


class NewerSchema(Exception):
    """The database belongs to a newer Lockgate; the message says what to do."""


FIRST = """
CREATE TABLE message(
    seq INTEGER PRIMARY KEY, bucket INTEGER NOT NULL, id TEXT NOT NULL, received REAL NOT NULL, sender TEXT NOT NULL,
    subject TEXT NOT NULL, size INTEGER NOT NULL, message_id TEXT NOT NULL, from_ip TEXT NOT NULL, tls TEXT NOT NULL,
    revision INTEGER NOT NULL, connection TEXT NOT NULL, tasks INTEGER NOT NULL, stories BLOB NOT NULL);
CREATE UNIQUE INDEX message_by_id ON message(id);
CREATE TABLE trace(
    number INTEGER PRIMARY KEY, organisation TEXT NOT NULL, recipient TEXT NOT NULL, status TEXT NOT NULL,
    inbound TEXT NOT NULL, outbound TEXT NOT NULL, to_ip TEXT NOT NULL DEFAULT '', tls TEXT NOT NULL DEFAULT '',
    reply TEXT NOT NULL DEFAULT '', events BLOB NOT NULL);
CREATE TABLE task(
    id INTEGER PRIMARY KEY, bucket INTEGER NOT NULL, lane TEXT NOT NULL, owner INTEGER NOT NULL, due REAL NOT NULL,
    attention REAL NOT NULL, received REAL NOT NULL, expires REAL NOT NULL, attempts INTEGER NOT NULL DEFAULT 0,
    warned INTEGER NOT NULL DEFAULT 0, held TEXT NOT NULL, segment TEXT NOT NULL, at INTEGER NOT NULL,
    length INTEGER NOT NULL, crc INTEGER NOT NULL, last_reply TEXT NOT NULL DEFAULT '', what BLOB NOT NULL);
CREATE INDEX task_ready ON task(lane, id) WHERE owner = 0 AND due = 0;
CREATE INDEX task_due ON task(due) WHERE owner = 0 AND due > 0;
CREATE INDEX task_attention ON task(lane, attention) WHERE owner = 0;
CREATE INDEX task_to_hold ON task(id) WHERE held <> '' AND owner = 0 AND substr(segment, -5) <> '.hold';
CREATE TABLE lane(
    name TEXT PRIMARY KEY, next_at REAL NOT NULL, fails INTEGER NOT NULL, last_reply TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE worker(incarnation INTEGER PRIMARY KEY, slot INTEGER NOT NULL, applied INTEGER NOT NULL);
CREATE TABLE meta(name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE audit(at REAL NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL, filters TEXT NOT NULL,
    count INTEGER NOT NULL);
"""

SECOND = """
ALTER TABLE trace ADD COLUMN pool TEXT NOT NULL DEFAULT '';
"""

THIRD = """
ALTER TABLE trace ADD COLUMN rules TEXT NOT NULL DEFAULT '';
ALTER TABLE task ADD COLUMN held_at REAL NOT NULL DEFAULT 0;
ALTER TABLE task ADD COLUMN held_until REAL NOT NULL DEFAULT 0;
CREATE INDEX task_held ON task(id) WHERE held <> '';
CREATE INDEX task_held_until ON task(held_until) WHERE held <> '' AND held_until > 0;
CREATE INDEX task_judged ON task(id) WHERE substr(lane, -8) = '/pending';
"""

FOURTH = """
ALTER TABLE message ADD COLUMN network_id TEXT NOT NULL DEFAULT '';
"""

FIFTH = """
CREATE TABLE standing(
    task INTEGER NOT NULL, trace INTEGER NOT NULL, address TEXT NOT NULL, action TEXT NOT NULL, who TEXT NOT NULL,
    PRIMARY KEY(task, trace, address, action));
"""

STEPS: tuple[str, ...] = (FIRST, SECOND, THIRD, FOURTH, FIFTH)
"""STEPS[n] takes the schema from version n to n + 1; each step only expands."""

VERSION = len(STEPS)


def open_tables(path: Path, steps: Sequence[str] = STEPS) -> sqlite3.Connection:
    """The keeper's only writing connection, its schema brought up to date. Raises NewerSchema, sqlite3.Error."""
    connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False, cached_statements=256)
    try:
        connection.execute("PRAGMA page_size = 8192")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        connection.execute("PRAGMA wal_autocheckpoint = 2000")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA cache_size = -65536")
        connection.execute("PRAGMA journal_size_limit = 33554432")
        connection.execute("PRAGMA busy_timeout = 2000")
        migrate(connection, steps)
    except BaseException:
        connection.close()
        raise
    return connection


def migrate(connection: sqlite3.Connection, steps: Sequence[str] = STEPS) -> int:
    """Bring the schema up to len(steps), each step all or nothing; returns the version found. Raises NewerSchema.

    A schema that is one step ahead is used as it is.
    """
    (found,) = connection.execute("PRAGMA user_version").fetchone()
    if found > len(steps) + 1:
        raise NewerSchema(
            f"The queue database has schema version {found}, and this Lockgate works with versions up to "
            f"{len(steps) + 1}. "
            "Start the newer Lockgate that wrote it, or restore the copy that was made before the upgrade."
        )
    for version in range(found, len(steps)):
        connection.execute("BEGIN IMMEDIATE")
        try:
            for statement in steps[version].split(";"):
                if statement.strip():
                    connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {version + 1}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
    return int(found)


def open_reader(path: Path) -> sqlite3.Connection:
    """A read-only connection for one short question; close it at once, for an open reader lets the WAL grow."""
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None, timeout=1.0, check_same_thread=False)
