"""The audit: one durable row for every write and every refused attempt, kept for good and searched from the desk.

A file of its own, so that a damaged queue never takes the audit with it. A row is on disk before `add` returns.
"""

from __future__ import annotations

import contextlib
import json
import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from lockgate.storage.own_file import OwnFile, Plan

_TABLES = """
CREATE TABLE audit(
    number INTEGER PRIMARY KEY, at REAL NOT NULL, who TEXT NOT NULL, what TEXT NOT NULL, refused INTEGER NOT NULL,
    before TEXT NOT NULL, after TEXT NOT NULL, details TEXT NOT NULL);
CREATE INDEX audit_by_time ON audit(at);
"""

LONGEST = 256 * 1024
"""Characters kept of one `before`, `after` or of the details; what is longer is cut, and says so."""

_SAME = 60.0
"""The desk notes an edit of the queue at most this many seconds after the keeper has made it."""


class AuditRow(msgspec.Struct, frozen=True):
    """One change or refused attempt. `before` and `after` are JSON-ready; None: the object was not there."""

    at: float
    who: str
    what: str
    refused: bool = False
    before: Any = None
    after: Any = None
    details: dict[str, Any] = {}


class AuditQuestion(msgspec.Struct, frozen=True):
    """What is looked for; empty texts look for nothing in particular. Times are seconds since the epoch.

    `who` and `what` are parts of those texts, `object` is a part of anything else in the row; upper and lower case are
    the same.
    """

    who: str = ""
    what: str = ""
    object: str = ""
    since: float | None = None
    until: float | None = None
    refused: bool | None = None
    limit: int = 100


class AuditBook:
    """The rows below `state`; any process may add some. Connections are opened for each use, so forks are harmless."""

    def __init__(self, state: Path) -> None:
        self._file = OwnFile(state / "audit" / "audit.sqlite", _PLAN)
        self._queue = state / "queue" / "keeper.sqlite"

    def add(self, row: AuditRow) -> None:
        """Keep one row, durable when this returns. Raises sqlite3.Error, OSError."""
        self.add_all((row,))

    def add_all(self, rows: Iterable[AuditRow]) -> None:
        """Keep these, all or none. Raises sqlite3.Error, OSError."""
        values = [
            (row.at, row.who, row.what, int(row.refused), _text(row.before), _text(row.after), _text(row.details))
            for row in rows
        ]
        with self._file.writing() as db:
            db.executemany(
                "INSERT INTO audit(at,who,what,refused,before,after,details) VALUES(?,?,?,?,?,?,?)", values
            )

    def find(self, question: AuditQuestion) -> list[dict[str, Any]]:
        """Matching rows, newest first, edits that only the keeper knows of included. Raises sqlite3.Error, OSError."""
        with self._file.reading() as db:
            rows = [_row(values) for values in db.execute(*_select(question))]
        # A kill between the keeper's edit and the desk's row leaves the keeper's row alone: it is shown in its place.
        rows += [edit for edit in self._edits(question) if not any(_is_same(edit, row) for row in rows)]
        rows.sort(key=lambda row: -row["at"])
        return rows[: question.limit]

    def _edits(self, question: AuditQuestion) -> list[dict[str, Any]]:
        if question.refused:
            return []
        found: list[dict[str, Any]] = []
        with contextlib.suppress(sqlite3.OperationalError), contextlib.closing(_reader(self._queue)) as db:
            query = "SELECT at, who, what, filters, count FROM audit WHERE at >= ? AND at < ? ORDER BY at DESC LIMIT ?"
            since, until = question.since or 0.0, question.until if question.until is not None else 1e18
            for at, who, what, filters, count in db.execute(query, (since, until, question.limit)):
                meant = {f"for_{name}": value for name, value in _load(filters).items()}
                found.append({
                    "at": at, "who": who, "what": f"queue {what}", "refused": False, "before": None, "after": None,
                    "details": {"count": count, **meant},
                })  # fmt: skip
        return [row for row in found if _matches(row, question)]


def _reader(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None, timeout=1.0, check_same_thread=False)


def _select(question: AuditQuestion) -> tuple[str, Sequence[Any]]:
    where, values = ["1"], list[Any]()
    for column, part in (("who", question.who), ("what", question.what)):
        if part:
            where.append(f"lockgate_has({column}, ?)")
            values.append(part.casefold())
    if question.object:
        where.append("(lockgate_has(details, ?) OR lockgate_has(before, ?) OR lockgate_has(after, ?))")
        values += [question.object.casefold()] * 3
    if question.since is not None:
        where.append("at >= ?")
        values.append(question.since)
    if question.until is not None:
        where.append("at < ?")
        values.append(question.until)
    if question.refused is not None:
        where.append("refused = ?")
        values.append(int(question.refused))
    columns = "at,who,what,refused,before,after,details"
    return f"SELECT {columns} FROM audit WHERE {' AND '.join(where)} ORDER BY number DESC LIMIT ?", [
        *values, question.limit,
    ]  # fmt: skip


def _has(text: str, part: str) -> bool:
    return part in text.casefold()


def _prepare(db: sqlite3.Connection) -> None:
    db.create_function("lockgate_has", 2, _has, deterministic=True)


_PLAN = Plan(1, _TABLES, newer=None, prepare=_prepare)


def _matches(row: Mapping[str, Any], question: AuditQuestion) -> bool:
    return (
        _has(row["who"], question.who.casefold())
        and _has(row["what"], question.what.casefold())
        and _has(_text(row["details"]), question.object.casefold())
    )


def _is_same(edit: Mapping[str, Any], row: Mapping[str, Any]) -> bool:
    names = ("who", "what", "details")
    return all(edit[name] == row[name] for name in names) and abs(edit["at"] - row["at"]) < _SAME


def _text(value: object) -> str:
    if value is None or value == {}:
        return ""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    if len(text) > LONGEST:
        return json.dumps({"cut": text[:LONGEST], "characters": len(text)}, ensure_ascii=False)
    return text


def _load(text: str) -> Any:
    return json.loads(text) if text else {}


def _row(values: tuple[Any, ...]) -> dict[str, Any]:
    at, who, what, refused, before, after, details = values
    return {
        "at": at, "who": who, "what": what, "refused": bool(refused),
        "before": json.loads(before) if before else None, "after": json.loads(after) if after else None,
        "details": _load(details),
    }  # fmt: skip
