"""The file that reports are kept in: gathered for others, received from others. Apart from the queue, which never needs
it.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from lockgate.storage.own_file import OwnFile, Plan

_TABLES = """
CREATE TABLE taken(name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE period(
    organisation TEXT NOT NULL, day INTEGER NOT NULL, domain TEXT NOT NULL, report TEXT NOT NULL,
    published TEXT NOT NULL, rows INTEGER NOT NULL, messages INTEGER NOT NULL, beyond INTEGER NOT NULL,
    begun INTEGER NOT NULL, ended INTEGER NOT NULL, tries INTEGER NOT NULL DEFAULT 0, next REAL NOT NULL DEFAULT 0,
    done REAL NOT NULL DEFAULT 0, outcome TEXT NOT NULL DEFAULT '[]',
    PRIMARY KEY(organisation, day, domain, report)) WITHOUT ROWID;
CREATE INDEX period_open ON period(done, day);
CREATE TABLE gathered(
    organisation TEXT NOT NULL, day INTEGER NOT NULL, domain TEXT NOT NULL, report TEXT NOT NULL, row BLOB NOT NULL,
    count INTEGER NOT NULL, PRIMARY KEY(organisation, day, domain, report, row)) WITHOUT ROWID;
CREATE TABLE told(
    organisation TEXT NOT NULL, domain TEXT NOT NULL, hour INTEGER NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY(organisation, domain, hour)) WITHOUT ROWID;
CREATE TABLE received(
    number INTEGER PRIMARY KEY AUTOINCREMENT, organisation TEXT NOT NULL, kind TEXT NOT NULL, reporter TEXT NOT NULL,
    report TEXT NOT NULL, domain TEXT NOT NULL, begun REAL NOT NULL, ended REAL NOT NULL, arrived REAL NOT NULL,
    origin TEXT NOT NULL, messages INTEGER NOT NULL, failing INTEGER NOT NULL, rows INTEGER NOT NULL,
    content BLOB NOT NULL,
    UNIQUE(organisation, kind, reporter, report));
CREATE INDEX received_by_time ON received(organisation, arrived);
CREATE TABLE received_row(
    number INTEGER NOT NULL, domain TEXT NOT NULL, source TEXT NOT NULL, result TEXT NOT NULL,
    disposition TEXT NOT NULL, count INTEGER NOT NULL);
CREATE INDEX received_row_by_number ON received_row(number);
CREATE TABLE received_tls(
    number INTEGER NOT NULL, domain TEXT NOT NULL, kind TEXT NOT NULL, result TEXT NOT NULL, mx TEXT NOT NULL,
    sender TEXT NOT NULL, count INTEGER NOT NULL);
CREATE INDEX received_tls_by_number ON received_tls(number);
CREATE TABLE unread(
    number INTEGER PRIMARY KEY AUTOINCREMENT, organisation TEXT NOT NULL, at REAL NOT NULL, origin TEXT NOT NULL,
    why TEXT NOT NULL);
CREATE TABLE tls_result(
    organisation TEXT NOT NULL, day INTEGER NOT NULL, domain TEXT NOT NULL, kind TEXT NOT NULL, result TEXT NOT NULL,
    mx TEXT NOT NULL, sender TEXT NOT NULL, count INTEGER NOT NULL,
    PRIMARY KEY(organisation, day, domain, kind, result, mx, sender)) WITHOUT ROWID;
"""


_LATER = """
CREATE TABLE IF NOT EXISTS tls_published(
    organisation TEXT NOT NULL, day INTEGER NOT NULL, domain TEXT NOT NULL, kind TEXT NOT NULL, policy TEXT NOT NULL,
    PRIMARY KEY(organisation, day, domain, kind)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tls_period(
    organisation TEXT NOT NULL, day INTEGER NOT NULL, domain TEXT NOT NULL, report TEXT NOT NULL,
    begun INTEGER NOT NULL, ended INTEGER NOT NULL, sessions INTEGER NOT NULL, rows BLOB NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0, next REAL NOT NULL DEFAULT 0, done REAL NOT NULL DEFAULT 0,
    outcome TEXT NOT NULL DEFAULT '[]', PRIMARY KEY(organisation, day, domain, report)) WITHOUT ROWID;
"""
"""Tables that the first versions did not have. An older program does not see them, and reads all others as before."""


class NewerReports(Exception):
    """The file was written by a newer version; the message says what to do."""


NOT_KEPT = (sqlite3.Error, OSError, NewerReports)
"""What looking and writing may raise."""


def _below(name: str, domain: str) -> bool:
    """Whether a domain is that one, or one below it."""
    return name == domain or name.endswith(f".{domain}")


def _prepare(db: sqlite3.Connection) -> None:
    db.create_function("lockgate_below", 2, _below, deterministic=True)
    if db.execute("SELECT 1 FROM sqlite_schema WHERE name = 'tls_period'").fetchone() is None:
        db.executescript(_LATER)


_PLAN = Plan(1, _TABLES, NewerReports, durable=False, prepare=_prepare)


def report_file(folder: Path) -> OwnFile:
    """The file below `folder`. One process writes; NOT_KEPT names what looking and writing may raise."""
    return OwnFile(folder / "reports.sqlite", _PLAN)
