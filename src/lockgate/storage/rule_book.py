"""Hits of mail flow rules as they were counted: a small SQLite that one process writes."""

from __future__ import annotations

import contextlib
import sqlite3
import threading
from collections.abc import Container, Iterable, Iterator
from pathlib import Path

import msgspec

from lockgate.mail.rule_hits import RuleBatch, RuleHits, RuleMode, joined

_VERSION = 1
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


NOT_KEPT = (sqlite3.Error, OSError, NewerRules)
"""What looking and writing may raise."""


class RuleBook:
    """What was counted, below `folder`. All methods block and raise what NOT_KEPT names."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / "rules.sqlite"
        self._lock = threading.Lock()

    def take(self, batches: Iterable[tuple[str, RuleBatch]]) -> None:
        """Add these; a file whose name was taken before is not added again."""
        with self._writing() as db:
            for name, batch in batches:
                if db.execute("INSERT OR IGNORE INTO taken VALUES(?)", (name,)).rowcount:
                    for one in batch.rules:
                        _add(db, one)

    def forget(self, names: Iterable[str]) -> None:
        """These files are gone."""
        with self._writing() as db:
            db.executemany("DELETE FROM taken WHERE name = ?", [(name,) for name in names])

    def rules(self) -> list[RuleHits]:
        """Everything that was counted, by organisation and name."""
        with self._reading() as db:
            rows = db.execute("SELECT * FROM rule ORDER BY organisation, name, mode").fetchall()
        return [
            RuleHits(whose, name, RuleMode(mode), messages, recipients, unknown, first, last, timed, took,
                     _SAMPLES.decode(samples))
            for whose, name, mode, messages, recipients, unknown, first, last, timed, took, samples in rows
        ]  # fmt: skip

    def prune(self, there: Container[Key], before: float) -> int:
        """Forget rules that are no more and were last hit before this time; how many went."""
        with self._writing() as db:
            old = db.execute("SELECT DISTINCT organisation, name FROM rule WHERE last < ?", (before,)).fetchall()
            gone = [key for key in old if key not in there]
            query = "DELETE FROM rule WHERE organisation = ? AND name = ? AND last < ?"
            db.executemany(query, [(*key, before) for key in gone])
        return len(gone)

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock, contextlib.closing(self._open()) as db:
            yield db

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        with self._reading() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    def _open(self) -> sqlite3.Connection:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        db = sqlite3.connect(self._path, isolation_level=None, timeout=5.0, check_same_thread=False)
        try:
            db.execute("PRAGMA journal_mode = WAL")
            db.execute("PRAGMA synchronous = NORMAL")
            (version,) = db.execute("PRAGMA user_version").fetchone()
            if version > _VERSION:
                raise NewerRules(f"{self._path} was written by a newer version of Lockgate; move it away to go on")
            if version == 0:
                self._make(db)
        except BaseException:
            db.close()
            raise
        return db

    def _make(self, db: sqlite3.Connection) -> None:
        db.execute("BEGIN IMMEDIATE")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            for statement in _TABLES.split(";"):
                if statement.strip():
                    db.execute(statement)
            db.execute(f"PRAGMA user_version = {_VERSION}")
        db.execute("COMMIT")
        self._path.chmod(0o600)


def _add(db: sqlite3.Connection, one: RuleHits) -> None:
    key = (one.organisation, one.rule, one.mode.value)
    query = "SELECT samples FROM rule WHERE organisation = ? AND name = ? AND mode = ?"
    there = db.execute(query, key).fetchone()
    samples = joined(_SAMPLES.decode(there[0]) if there is not None else [], one.samples)
    counts = (one.messages, one.recipients, one.unknown, one.first, one.last, one.timed, one.nanoseconds)
    db.execute(_ADD, (*key, *counts, _ENCODE(samples)))
