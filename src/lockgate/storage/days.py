"""Finished messages leave the queue database for the trace file of their day, each exactly once."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

from lockgate.storage.ledger import SHIFT, Ledger
from lockgate.storage.traces import day_files, day_path, fingerprint

STEP = 500
"""Messages moved per step, so that accepting never waits long for this."""

REACH = 1000
"""Numbers looked at per step when looking back; most messages of a long queue are only passed over."""

_MASK = (1 << SHIFT) - 1
_VERSION = 1
_TABLES = """
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
_IDLE = (
    "SELECT seq, bucket FROM message m WHERE seq BETWEEN ? AND ? AND received < ?"
    f" AND NOT EXISTS (SELECT 1 FROM task WHERE id BETWEEN m.seq << {SHIFT} AND (m.seq << {SHIFT}) + {_MASK})"
    f" ORDER BY seq LIMIT {STEP}"
)
_MESSAGES = (
    "SELECT seq,bucket,id,received,sender,subject,size,message_id,from_ip,tls,revision,connection,tasks,stories"
    " FROM message WHERE seq BETWEEN ? AND ?"
)
_TRACES = (
    "SELECT number,organisation,recipient,status,inbound,outbound,to_ip,tls,reply,events,pool FROM trace"
    " WHERE number BETWEEN ? AND ?"
)


def _runs(numbers: list[int]) -> list[tuple[int, int]]:
    """(first, last) of each stretch of numbers without a gap; `numbers` ascend."""
    runs: list[tuple[int, int]] = []
    for number in numbers:
        if runs and runs[-1][1] == number - 1:
            runs[-1] = (runs[-1][0], number)
        else:
            runs.append((number, number))
    return runs


class DayFiles:
    """Moves rows; the copy is durable before the original goes, so a kill in between only repeats the copy."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._ledger = ledger
        self._folder = folder
        self._open: dict[int, sqlite3.Connection] = {}
        # What was finished before this process began is looked for once, slowly; the rest the ledger tells.
        self._next = 0
        self._until = ledger.newest >> SHIFT

    def move(self, before: float) -> bool:
        """Move some messages that were finished before this time; whether there may be more now.

        Raises sqlite3.Error, OSError; then nothing has been taken away that was not copied.
        """
        settled, candidates = self._ledger.settled, list[int]()
        while settled and settled[0][0] <= before and len(candidates) < STEP:
            candidates += settled.popleft()[1]
        candidates.sort()
        idle: dict[int, int] = {}
        for first, last in _runs(candidates):
            idle.update(self._ledger.db.execute(_IDLE, (first, last, before)))
        if len(candidates) < STEP:
            idle.update(self._look_back(before))
        per_day: dict[int, list[int]] = {}
        for seq in sorted(idle):
            per_day.setdefault(idle[seq], []).append(seq)
        try:
            for bucket, numbers in per_day.items():
                self._copy(bucket, _runs(numbers))
            if per_day:
                self._take_away([run for numbers in per_day.values() for run in _runs(numbers)])
        except BaseException:
            settled.appendleft((before, sorted(idle)))
            raise
        return bool(idle)

    def _look_back(self, before: float) -> list[tuple[int, int]]:
        """Finished messages from before this process began."""
        if self._next > self._until:
            return []
        (first,) = self._ledger.db.execute("SELECT min(seq) FROM message WHERE seq >= ?", (self._next,)).fetchone()
        if first is None or first > self._until:
            self._next = self._until + 1
            return []
        rows = self._ledger.db.execute(_IDLE, (first, min(first + REACH, self._until), before)).fetchall()
        self._next = rows[-1][0] + 1 if len(rows) == STEP else first + REACH + 1
        return rows

    def _copy(self, bucket: int, runs: list[tuple[int, int]]) -> None:
        """Raises OSError when the day's file cannot be written: the queue itself is well then."""
        db = self._ledger.db
        messages = [row for run in runs for row in db.execute(_MESSAGES, run)]
        traces = [
            (*trace, fingerprint(trace[2]))
            for first, last in runs
            for trace in db.execute(_TRACES, (first << SHIFT, last << SHIFT | _MASK))
        ]
        try:
            self._write(self._day(bucket), messages, traces)
        except sqlite3.Error as trouble:
            raise OSError(self._set_aside(bucket, trouble)) from trouble

    def _set_aside(self, bucket: int, trouble: sqlite3.Error) -> str:
        """A day's file that is damaged (not busy, not full) makes room for a new one; the sentence for a person."""
        day = self._open.pop(bucket, None)
        if day is not None:
            day.close()
        if isinstance(trouble, sqlite3.OperationalError):
            return f"the trace file of day {bucket} cannot be written: {trouble}"
        path = day_path(self._folder, bucket)
        aside = path.with_suffix(".damaged")
        path.replace(aside)
        return f"the trace file {path.name} is damaged and was set aside as {aside.name}: {trouble}"

    @staticmethod
    def _write(day: sqlite3.Connection, messages: list[tuple[Any, ...]], traces: list[tuple[Any, ...]]) -> None:
        day.execute("BEGIN IMMEDIATE")
        try:
            day.executemany(
                f"INSERT OR IGNORE INTO message VALUES({','.join('?' * 16)})",
                [(*row, fingerprint(row[4]), fingerprint(row[7].strip("<>"))) for row in messages],
            )
            day.executemany(f"INSERT OR IGNORE INTO trace VALUES({','.join('?' * 12)})", traces)
            day.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                day.execute("ROLLBACK")
            raise

    def _take_away(self, gone: list[tuple[int, int]]) -> None:
        db = self._ledger.db
        db.execute("BEGIN IMMEDIATE")
        # The highest number ever given out is kept, for it must not be given twice.
        db.execute("INSERT OR REPLACE INTO meta(name, value) VALUES('seq', ?)", (self._ledger.newest >> SHIFT,))
        db.executemany("DELETE FROM message WHERE seq BETWEEN ? AND ?", gone)
        db.executemany(
            "DELETE FROM trace WHERE number BETWEEN ? AND ?",
            [(first << SHIFT, last << SHIFT | _MASK) for first, last in gone],
        )
        db.execute("COMMIT")

    def _day(self, bucket: int) -> sqlite3.Connection:
        day = self._open.get(bucket)
        if day is not None:
            return day
        while len(self._open) >= 4:
            self._open.pop(next(iter(self._open))).close()
        day = sqlite3.connect(day_path(self._folder, bucket), isolation_level=None, check_same_thread=False)
        day.execute("PRAGMA journal_mode = WAL")
        day.execute("PRAGMA synchronous = FULL")
        day.execute("PRAGMA cache_size = -16384")
        (version,) = day.execute("PRAGMA user_version").fetchone()
        if version == 0:
            day.execute("BEGIN IMMEDIATE")
            for statement in _TABLES.split(";"):
                if statement.strip():
                    day.execute(statement)
            day.execute(f"PRAGMA user_version = {_VERSION}")
            day.execute("COMMIT")
        self._open[bucket] = day
        return day

    def forget(self, before: float) -> list[str]:
        """Remove the files of days that ended before this time; returns their names."""
        gone = []
        for bucket, path in day_files(self._folder):
            if (bucket + 1) * 86400 <= before:
                day = self._open.pop(bucket, None)
                if day is not None:
                    day.close()
                for suffix in ("", "-wal", "-shm"):
                    path.with_name(path.name + suffix).unlink(missing_ok=True)
                gone.append(path.name)
        return gone

    def close(self) -> None:
        """Close the files."""
        for day in self._open.values():
            day.close()
        self._open.clear()
