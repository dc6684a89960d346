"""Hits of mail flow rules as they were counted: a small SQLite that one process writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Container, Iterable
from pathlib import Path

import msgspec

from lockgate.mail.rule_hits import RuleBatch, RuleHits, RuleMode, joined
from lockgate.storage.own_file import OwnFile, Plan

_TABLES = """
CREATE TABLE taken(name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE rule(
    organisation TEXT NOT NULL, name TEXT NOT NULL, mode TEXT NOT NULL, messages INTEGER NOT NULL,
    recipients INTEGER NOT NULL, unknown INTEGER NOT NULL, first REAL NOT NULL, last REAL NOT NULL,
    timed INTEGER NOT NULL, nanoseconds INTEGER NOT NULL, samples BLOB NOT NULL,
    PRIMARY KEY(organisation, name, mode)) WITHOUT ROWID;
"""
_ADD = (
    "INSERT INTO rule VALUES(?,?,?,?,?,?,?,?,?,?,?) ON CONFLICT DO UPDATE SET"
    " messages = messages + excluded.messages, recipients = recipients + excluded.recipients,"
    " unknown = unknown + excluded.unknown, timed = timed + excluded.timed,"
    " nanoseconds = nanoseconds + excluded.nanoseconds, last = max(last, excluded.last), samples = excluded.samples,"
    " first = CASE WHEN first = 0 THEN excluded.first WHEN excluded.first = 0 THEN first"
    " ELSE min(first, excluded.first) END"
)
_ENCODE = msgspec.msgpack.Encoder().encode
_SAMPLES = msgspec.msgpack.Decoder(list[tuple[float, str]])

Key = tuple[str, str]
"""Organisation and name of a rule."""


class NewerRules(Exception):
    """The file was written by a newer version; the message says what to do."""


_PLAN = Plan(1, _TABLES, NewerRules, durable=False)

NOT_KEPT = (sqlite3.Error, OSError, NewerRules)
"""What looking and writing may raise."""


class RuleBook:
    """What was counted, below `folder`. All methods block and raise what NOT_KEPT names."""

    def __init__(self, folder: Path) -> None:
        self._file = OwnFile(folder / "rules.sqlite", _PLAN)

    def take(self, batches: Iterable[tuple[str, RuleBatch]]) -> None:
        """Add these; a file whose name was taken before is not added again."""
        with self._file.writing() as db:
            for name, batch in batches:
                if db.execute("INSERT OR IGNORE INTO taken VALUES(?)", (name,)).rowcount:
                    for one in batch.rules:
                        _add(db, one)

    def forget(self, names: Iterable[str]) -> None:
        """These files are gone."""
        with self._file.writing() as db:
            db.executemany("DELETE FROM taken WHERE name = ?", [(name,) for name in names])

    def rules(self) -> list[RuleHits]:
        """Everything that was counted, by organisation and name."""
        with self._file.reading() as db:
            rows = db.execute("SELECT * FROM rule ORDER BY organisation, name, mode").fetchall()
        return [
            RuleHits(whose, name, RuleMode(mode), messages, recipients, unknown, first, last, timed, took,
                     _SAMPLES.decode(samples))
            for whose, name, mode, messages, recipients, unknown, first, last, timed, took, samples in rows
        ]  # fmt: skip

    def prune(self, there: Container[Key], before: float) -> int:
        """Forget rules that are no more and were last hit before this time; how many went."""
        with self._file.writing() as db:
            old = db.execute("SELECT DISTINCT organisation, name FROM rule WHERE last < ?", (before,)).fetchall()
            gone = [key for key in old if key not in there]
            query = "DELETE FROM rule WHERE organisation = ? AND name = ? AND last < ?"
            db.executemany(query, [(*key, before) for key in gone])
        return len(gone)


def _add(db: sqlite3.Connection, one: RuleHits) -> None:
    key = (one.organisation, one.rule, one.mode.value)
    query = "SELECT samples FROM rule WHERE organisation = ? AND name = ? AND mode = ?"
    there = db.execute(query, key).fetchone()
    samples = joined(_SAMPLES.decode(there[0]) if there is not None else [], one.samples)
    counts = (one.messages, one.recipients, one.unknown, one.first, one.last, one.timed, one.nanoseconds)
    db.execute(_ADD, (*key, *counts, _ENCODE(samples)))
