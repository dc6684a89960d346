"""One consistent point of a state directory that is in use: the queue's database, its bodies, and everything else.

The keeper keeps all segment files while a read transaction is begun and the files get second names; the copying itself
then holds nobody up. Only records that the database refers to are copied: what was delivered is not in a backup.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from lockgate.storage import completions
from lockgate.storage.archive import ArchiveWriter
from lockgate.storage.segments import HEADER, SegmentFolder

_APART = frozenset({"queue", "run", "backups", "snapshot"})
"""Folders of the state directory that are not copied as they are."""

_SQLITE = b"SQLite format 3\0"
_BESIDE = ("-wal", "-shm", "-journal")
_OF_BODIES = "SELECT DISTINCT segment, at, length FROM task ORDER BY segment, at"

Pin = Callable[[float], bool]
"""Ask the keeper to keep all segment files for so many seconds (0: not any more); whether it did so until now."""

PIN = 60.0
"""Seconds within which the files get their second names."""


class Snapshot:
    """The queue at one moment. `take` makes it, `write` puts it into an archive, `close` removes the second names.

    Files below the folders `leave` are not among "everything else". `damaged` names the segments whose records could
    not be read whole; their tasks are in the backup all the same.
    """

    def __init__(self, state: Path, leave: Sequence[Path] = ()) -> None:
        self._state = state
        self._leave = leave
        self._work = state / "snapshot"
        self._folder = SegmentFolder(state / "queue")
        self._held = SegmentFolder(self._work)
        self._logs: dict[int, dict[int, bytes]] = {}
        self.counts: dict[str, int] = {}
        self.damaged: list[str] = []

    def take(self, pin: Pin) -> None:
        """Raises OSError, sqlite3.Error, and what `pin` raises."""
        self.close()
        self._held.make()
        pin(PIN)
        try:
            self._note_completions()
            with contextlib.closing(_reader(self._state / "queue" / "keeper.sqlite")) as db:
                db.execute("BEGIN")
                (tasks,) = db.execute("SELECT count(*) FROM task").fetchone()  # from here on, what we read stands still
                self._note_completions()
                self._link()
                if not pin(0.0):
                    raise OSError("the segment files could not be kept long enough; try again when less is going on")
                self.counts = {"tasks": tasks}
                self._copy_queue(db)
        except BaseException:
            with contextlib.suppress(Exception):
                pin(0.0)
            self.close()
            raise

    def write(self, archive: ArchiveWriter) -> None:
        """Add everything below "state/"."""
        archive.add_file("state/queue/keeper.sqlite", self._work / "keeper.sqlite")
        for incarnation, records in sorted(self._logs.items()):
            data = b"".join(completions.packed(number, payload) for number, payload in sorted(records.items()))
            archive.add_bytes(f"state/queue/completions/{incarnation:016x}.a", data)
        self._write_bodies(archive)
        self._write_rest(archive)

    def close(self) -> None:
        """Remove what was put aside."""
        shutil.rmtree(self._work, ignore_errors=True)

    def _note_completions(self) -> None:
        """Outcomes that workers have noted. Called before and after the moment, so that none falls between."""
        folder = self._state / "queue" / "completions"
        for incarnation in completions.incarnations(folder):
            self._logs.setdefault(incarnation, {}).update(completions.read_log(folder, incarnation))

    def _link(self) -> None:
        for name in self._folder.names():
            with contextlib.suppress(FileNotFoundError):  # a large body whose sender has just gone away
                os.link(self._folder.path(name), self._held.path(name))

    def _copy_queue(self, db: sqlite3.Connection) -> None:
        with contextlib.closing(sqlite3.connect(self._work / "keeper.sqlite", isolation_level=None)) as copy:
            db.backup(copy)
            (self.counts["messages"],) = copy.execute("SELECT count(*) FROM message").fetchone()
            copy.execute("PRAGMA journal_mode = DELETE")

    def _write_bodies(self, archive: ArchiveWriter) -> None:
        bodies = octets = 0
        with contextlib.closing(_reader(self._work / "keeper.sqlite")) as db:
            for name, records in _by_segment(db.execute(_OF_BODIES)):
                sparse = _Records(self._held.path(name), records)
                try:
                    archive.add(f"state/queue/{'hold' if name.endswith('.hold') else 'segments'}/{name}", sparse,
                                sparse.size)  # fmt: skip
                finally:
                    sparse.close()
                if sparse.short:
                    self.damaged.append(name)
                bodies, octets = bodies + len(records), octets + sum(length for _, length in records)
        self.counts |= {"bodies": bodies, "octets": octets}

    def _write_rest(self, archive: ArchiveWriter) -> None:
        for path in _files(self._state):
            if any(path.is_relative_to(folder) for folder in self._leave):
                continue
            name = f"state/{path.relative_to(self._state).as_posix()}"
            with contextlib.suppress(FileNotFoundError):  # gone meanwhile: then it need not be kept
                if _is_database(path):
                    copy = self._work / "copy.sqlite"
                    _copy_database(path, copy)
                    archive.add_file(name, copy)
                    copy.unlink()
                else:
                    archive.add_file(name, path)


class _Records:
    """A segment file with zeros in the place of everything but these records (offset and length, ascending)."""

    def __init__(self, path: Path, records: list[tuple[int, int]]) -> None:
        self._file = path.open("rb", buffering=0) if path.exists() else None
        self._records = [(at - HEADER.size, HEADER.size + length) for at, length in records]
        self.size = max(at + length for at, length in self._records)
        self._at = 0
        self._next = 0
        self.short = self._file is None

    def read(self, size: int = -1) -> bytes:
        """The next octets."""
        size = self.size - self._at if size < 0 else min(size, self.size - self._at)
        parts: list[bytes] = []
        while size > 0:
            part = self._part(size)
            parts.append(part)
            size -= len(part)
            self._at += len(part)
        return b"".join(parts)

    def _part(self, size: int) -> bytes:
        while self._next < len(self._records) and sum(self._records[self._next]) <= self._at:
            self._next += 1
        if self._next == len(self._records):
            return bytes(size)
        start, length = self._records[self._next]
        if start > self._at:
            return bytes(min(size, start - self._at))
        wanted = min(size, start + length - self._at)
        data = os.pread(self._file.fileno(), wanted, self._at) if self._file is not None else b""
        self.short = self.short or len(data) < wanted
        return data or bytes(wanted)  # cut off: said in `short`

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()


def _by_segment(rows: Iterator[tuple[str, int, int]] | sqlite3.Cursor) -> Iterator[tuple[str, list[tuple[int, int]]]]:
    name, records = "", list[tuple[int, int]]()
    for segment, at, length in rows:
        if segment != name and records:
            yield name, records
            records = []
        name = segment
        records.append((at, length))
    if records:
        yield name, records


def _files(state: Path) -> Iterator[Path]:
    """The plain files of a state directory, the queue's and the fleeting ones left out."""
    for entry in sorted(state.iterdir()):
        if entry.name in _APART or entry.is_symlink():
            continue
        for path in [entry] if entry.is_file() else sorted(entry.rglob("*")):
            fleeting = path.name.endswith((".new", ".part", *_BESIDE))
            if path.is_file() and not path.is_symlink() and not fleeting:
                yield path


def _is_database(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def _copy_database(path: Path, copy: Path) -> None:
    copy.unlink(missing_ok=True)
    with contextlib.closing(_reader(path)) as db, contextlib.closing(sqlite3.connect(copy)) as new:
        db.backup(new)
        new.execute("PRAGMA journal_mode = DELETE")


def _reader(path: Path) -> sqlite3.Connection:
    uri = f"file:{path}?mode=ro"
    return sqlite3.connect(uri, uri=True, isolation_level=None, timeout=10.0, check_same_thread=False)


def restored_numbers(state: Path) -> int:
    """The highest message number in the day files of a restored state: none of them may be given out again."""
    highest = 0
    for path in (state / "trace").glob("????-??-??.sqlite"):
        with contextlib.suppress(sqlite3.Error), contextlib.closing(_reader(path)) as db:
            found: Any = db.execute("SELECT max(seq) FROM message").fetchone()
            highest = max(highest, int(found[0] or 0))
    return highest
