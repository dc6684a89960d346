"""A damaged queue database is set aside, and everything that can still be read goes on in a new one."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lockgate.storage.tables import open_tables

_KEYS = {
    "message": "seq", "trace": "number", "task": "id", "worker": "incarnation", "audit": "rowid", "standing": "rowid",
}  # fmt: skip
_SMALL = ("lane", "meta")
_FURTHEST = 1 << 62
_FILES = ("", "-wal", "-shm")


def is_damage(trouble: BaseException) -> bool:
    """Whether this error means damaged contents, not a busy, full or absent disk."""
    return type(trouble) is sqlite3.DatabaseError


def salvage(path: Path) -> tuple[Path, dict[str, int], int]:
    """Set the database at `path` aside and put one of what can be read in its place.

    Returns where the damaged one lies now, rows rescued per table, and how many gaps there were. The new one comes into
    its place in one instant, complete: whoever reads meanwhile sees the old one, and after a kill it is salvaged again.
    Raises sqlite3.Error, OSError when not even that can be done.
    """
    number = 1
    while (aside := path.with_name(f"{path.name}.damaged-{number}")).exists():
        number += 1
    fresh = path.with_name(f"{path.name}.fresh")
    for suffix in _FILES:
        _beside(fresh, suffix).unlink(missing_ok=True)
    rescued, gaps = dict[str, int](), 0
    new = open_tables(fresh)
    old = sqlite3.connect(path, isolation_level=None)
    try:
        _settle(old)
        new.execute("BEGIN IMMEDIATE")
        for table in (*_KEYS, *_SMALL):
            reader = _Reader(old, table)
            rescued[table] = _copy(reader, new, table)
            gaps += reader.gaps
        new.execute("COMMIT")
        _settle(new)
    finally:
        old.close()
        new.close()
    _exchange(path, aside, fresh)
    return aside, rescued, gaps


def _settle(db: sqlite3.Connection) -> None:
    """Bring what the log holds into the file, so that the file alone is the database. Damage may forbid it."""
    with contextlib.suppress(sqlite3.DatabaseError):
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()


def _exchange(path: Path, aside: Path, fresh: Path) -> None:
    """The damaged database aside, the fresh one in its place; there is one at `path` at every instant."""
    try:
        os.link(path, aside)
    except OSError:  # a file system without links
        shutil.copyfile(path, aside)
    for suffix in ("-wal", "-shm"):  # they are the old one's, and must not be taken for the new one's
        if _beside(path, suffix).exists():
            _beside(path, suffix).rename(_beside(aside, suffix))
    fresh.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _beside(path: Path, suffix: str) -> Path:
    return path.with_name(path.name + suffix)


def _copy(reader: _Reader, new: sqlite3.Connection, table: str) -> int:
    count = 0
    columns = [row[1] for row in new.execute(f"PRAGMA table_info({table})")]
    statement = f"INSERT OR IGNORE INTO {table}({','.join(columns)}) VALUES({','.join('?' * len(columns))})"
    for row in reader.rows(columns):
        # What a torn page yields may break a rule of the table; then it is not worth keeping.
        with contextlib.suppress(sqlite3.IntegrityError):
            new.execute(statement, row)
            count += 1
    return count


class _Reader:
    """Reads a table around its damaged pages; `gaps` counts them."""

    def __init__(self, db: sqlite3.Connection, table: str) -> None:
        self._db = db
        self._table = table
        self.gaps = 0

    def rows(self, columns: list[str]) -> Iterator[tuple[Any, ...]]:
        """Every row that can be read, in order of its key."""
        names = ",".join(columns)
        key = _KEYS.get(self._table)
        if key is None:
            try:
                yield from self._db.execute(f"SELECT {names} FROM {self._table}")
            except sqlite3.DatabaseError:
                self.gaps += 1
            return
        last = -1
        query = f"SELECT {key},{names} FROM {self._table} NOT INDEXED WHERE {key} > ? ORDER BY {key}"
        while True:
            try:
                for row in self._db.execute(query, (last,)):
                    last = row[0]
                    yield row[1:]
            except sqlite3.DatabaseError:
                self.gaps += 1
                after = self._beyond(key, last)
                if after is None:
                    return
                last = after - 1
            else:
                return

    def _beyond(self, key: str, last: int) -> int | None:
        """The first key that can be read after the damage: doubling steps, then halving back."""
        query = f"SELECT {key} FROM {self._table} NOT INDEXED WHERE {key} > ? ORDER BY {key} LIMIT 1"

        def read(step: int) -> int | None:
            found = self._db.execute(query, (last + step,)).fetchone()
            return None if found is None else int(found[0])

        low, high = 0, 1
        while True:
            try:
                found = read(high)
                break
            except sqlite3.DatabaseError:
                low, high = high, high * 2
                if high > _FURTHEST:
                    return None
        while high - low > 1:
            middle = (low + high) // 2
            try:
                found = read(middle)
                high = middle
            except sqlite3.DatabaseError:
                low = middle
        return found
