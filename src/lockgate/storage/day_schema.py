"""The file of one day's trace: its tables, how rows get in once, and how an organisation's rows get out."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lockgate.storage.ledger import SHIFT
from lockgate.storage.trace_filters import fingerprint

VERSION = 3
SLOT = 300
"""Seconds whose lowest and highest message number are kept."""

PURGED = 2000
"""Trace rows looked at per step when an organisation's time is over."""

_FIRST = """
CREATE TABLE message(
    seq INTEGER PRIMARY KEY, bucket INTEGER, id TEXT, received REAL, sender TEXT, subject TEXT, size INTEGER,
    message_id TEXT, from_ip TEXT, tls TEXT, revision INTEGER, connection TEXT, tasks INTEGER, stories BLOB,
    sender_key INTEGER, message_id_key INTEGER);
CREATE TABLE trace(
    number INTEGER PRIMARY KEY, organisation TEXT, recipient TEXT, status TEXT, inbound TEXT, outbound TEXT,
    to_ip TEXT, tls TEXT, reply TEXT, events BLOB, pool TEXT, recipient_key INTEGER);
CREATE INDEX message_by_id ON message(id);
CREATE INDEX message_by_connection ON message(connection);
CREATE INDEX message_by_sender ON message(sender_key);
CREATE INDEX message_by_message_id ON message(message_id_key);
CREATE INDEX trace_by_recipient ON trace(recipient_key);
"""

# Stories lie apart, so that a search reads small rows; `slot` bounds the numbers of a time range exactly, whatever
# the clock did; `organisation` says whose rows are here and how far those whose time is over have been removed.
_SECOND = """
ALTER TABLE trace ADD COLUMN rules TEXT NOT NULL DEFAULT '';
CREATE TABLE story(seq INTEGER PRIMARY KEY, stories BLOB NOT NULL);
CREATE TABLE slot(number INTEGER PRIMARY KEY, low INTEGER NOT NULL, high INTEGER NOT NULL);
CREATE TABLE organisation(name TEXT PRIMARY KEY, purged INTEGER NOT NULL) WITHOUT ROWID;
CREATE INDEX message_by_ip ON message(from_ip);
INSERT INTO slot SELECT CAST(received / 300 AS INTEGER), min(seq), max(seq) FROM message GROUP BY 1;
INSERT INTO organisation SELECT DISTINCT organisation, 0 FROM trace;
"""
_THIRD = """
ALTER TABLE message ADD COLUMN network_id TEXT NOT NULL DEFAULT '';
"""
_STEPS = (_FIRST, _SECOND, _THIRD)

_MESSAGE = (
    "INSERT OR IGNORE INTO message(seq,bucket,id,received,sender,subject,size,message_id,from_ip,tls,revision,"
    "connection,tasks,sender_key,message_id_key,network_id) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?,?,?,?)"
)
_TRACE = (
    "INSERT OR IGNORE INTO trace(number,organisation,recipient,status,inbound,outbound,to_ip,tls,reply,events,pool,"
    "rules,recipient_key) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?)"
)
_TIME = (
    "INSERT INTO slot VALUES(?,?,?) ON CONFLICT DO UPDATE SET low=min(low,excluded.low), high=max(high,excluded.high)"
)


def open_day(path: Path) -> sqlite3.Connection:
    """The file for writing, made or brought up to date. Raises sqlite3.Error."""
    day = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        day.execute("PRAGMA journal_mode = WAL")
        day.execute("PRAGMA synchronous = FULL")
        day.execute("PRAGMA cache_size = -16384")
        day.execute("PRAGMA secure_delete = ON")
        (version,) = day.execute("PRAGMA user_version").fetchone()
        for number in range(version, len(_STEPS)):
            day.execute("BEGIN IMMEDIATE")
            for statement in _STEPS[number].split(";"):
                if statement.strip():
                    day.execute(statement)
            day.execute(f"PRAGMA user_version = {number + 1}")
            day.execute("COMMIT")
    except BaseException:
        day.close()
        raise
    return day


def write_day(
    day: sqlite3.Connection, messages: Sequence[tuple[Any, ...]], traces: Sequence[tuple[Any, ...]]
) -> None:
    """Put rows of the queue in, all or nothing; those that are there already stay. Raises sqlite3.Error.

    A message ends with its stories (None: not kept) and its network message id, a trace with its rules.
    """
    slots: dict[int, tuple[int, int]] = {}
    for row in messages:
        low, high = slots.get(number := int(row[3] // SLOT), (row[0], row[0]))
        slots[number] = min(low, row[0]), max(high, row[0])
    day.execute("BEGIN IMMEDIATE")
    try:
        day.executemany(
            _MESSAGE,
            [(*row[:13], fingerprint(row[4]), fingerprint(row[7].strip("<>")), row[14]) for row in messages],
        )
        stories = [(row[0], row[13]) for row in messages if row[13] is not None]
        day.executemany("INSERT OR IGNORE INTO story VALUES(?,?)", stories)
        day.executemany(_TRACE, [(*row, fingerprint(row[2])) for row in traces])
        day.executemany(_TIME, [(number, low, high) for number, (low, high) in slots.items()])
        day.executemany("INSERT OR REPLACE INTO organisation VALUES(?,0)", [(name,) for name in {r[1] for r in traces}])
        day.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            day.execute("ROLLBACK")
        raise


def organisations(day: sqlite3.Connection) -> dict[str, int]:
    """Whose rows are here: name to how far they have been removed (-1: all)."""
    return dict(day.execute("SELECT name, purged FROM organisation"))


def purge(day: sqlite3.Connection, organisation: str, purged: int) -> int:
    """Remove some of an organisation's rows, from number `purged` on; up to which, -1 when all are gone."""
    day.execute("BEGIN IMMEDIATE")
    try:
        (last,) = day.execute(
            "SELECT max(number) FROM (SELECT number FROM trace WHERE number > ? ORDER BY number LIMIT ?)",
            (purged, PURGED),
        ).fetchone()
        if last is not None:
            span = (purged, last, organisation)
            gone = day.execute(
                "DELETE FROM trace WHERE number > ? AND number <= ? AND organisation = ? RETURNING number", span
            ).fetchall()
            seqs = sorted({number >> SHIFT for (number,) in gone})
            left = f"NOT EXISTS (SELECT 1 FROM trace WHERE number BETWEEN ?1 << {SHIFT} AND (?1 + 1 << {SHIFT}) - 1)"
            # Facts of a shared message may name everybody in it; with one organisation's time they go for all.
            day.executemany("DELETE FROM story WHERE seq = ?", [(seq,) for seq in seqs])
            day.executemany(f"DELETE FROM message WHERE seq = ?1 AND {left}", [(seq,) for seq in seqs])
        reached = -1 if last is None else int(last)
        day.execute("UPDATE organisation SET purged = ? WHERE name = ?", (reached, organisation))
        day.execute("COMMIT")
    except BaseException:
        with contextlib.suppress(sqlite3.Error):
            day.execute("ROLLBACK")
        raise
    return reached
