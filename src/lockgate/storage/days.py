"""Finished messages leave the queue database for the trace file of their day, each exactly once."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

from lockgate.storage.ledger import SHIFT, Ledger
from lockgate.storage.traces import day_files, day_path, fingerprint

STEP = 500
"""Messages looked at per step, so that accepting never waits long for this."""

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
_MESSAGES = (
    "SELECT seq,bucket,id,received,sender,subject,size,message_id,from_ip,tls,revision,connection,tasks,stories"
    " FROM message WHERE seq > ? AND received < ? ORDER BY seq LIMIT ?"
)
_TRACES = (
    "SELECT number,organisation,recipient,status,inbound,outbound,to_ip,tls,reply,events,pool FROM trace"
    " WHERE number BETWEEN ? AND ?"
)


class DayFiles:
    """Moves rows; the copy is durable before the original goes, so a kill in between only repeats the copy."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._ledger = ledger
        self._folder = folder
        self._after = 0
        self._open: dict[int, sqlite3.Connection] = {}

    def move(self, before: float) -> bool:
        """Move some messages received before this time that have no task left; whether there may be more now.

        Raises sqlite3.Error; then nothing has been taken away.
        """
        db = self._ledger.db
        rows = db.execute(_MESSAGES, (self._after, before, STEP)).fetchall()
        per_day: dict[int, list[tuple[Any, ...]]] = {}
        for row in rows:
            low = row[0] << SHIFT
            busy = db.execute("SELECT 1 FROM task WHERE id BETWEEN ? AND ? LIMIT 1", (low, low | _MASK)).fetchone()
            if busy is None:
                per_day.setdefault(row[1], []).append(row)
        for bucket, messages in per_day.items():
            self._copy(bucket, messages)
        if per_day:
            gone = [row[0] for messages in per_day.values() for row in messages]
            self._take_away(gone)
        self._after = rows[-1][0] if len(rows) == STEP else 0
        return len(rows) == STEP

    def _copy(self, bucket: int, messages: list[tuple[Any, ...]]) -> None:
        """Raises OSError when the day's file cannot be written: the queue itself is well then."""
        traces = [
            (*trace, fingerprint(trace[2]))
            for row in messages
            for trace in self._ledger.db.execute(_TRACES, (row[0] << SHIFT, row[0] << SHIFT | _MASK))
        ]
        try:
            self._write(self._day(bucket), messages, traces)
        except sqlite3.Error as trouble:
            day = self._open.pop(bucket, None)
            if day is not None:
                day.close()
            aside = ""
            if not isinstance(trouble, sqlite3.OperationalError):
                # Not busy and not full but damaged: the next attempt begins a new file, a person looks at this one.
                path = day_path(self._folder, bucket)
                path.replace(path.with_suffix(".damaged"))
                aside = f" and was set aside as {path.with_suffix('.damaged').name}"
            raise OSError(f"the trace file of day {bucket} cannot be written{aside}: {trouble}") from trouble

    @staticmethod
    def _write(day: sqlite3.Connection, messages: list[tuple[Any, ...]], traces: list[tuple[Any, ...]]) -> None:
        day.execute("BEGIN IMMEDIATE")
        try:
            day.executemany(
                f"INSERT OR IGNORE INTO message VALUES({','.join('?' * 16)})",
                [(*row, fingerprint(str(row[4])), fingerprint(str(row[7]).strip("<>"))) for row in messages],
            )
            day.executemany(f"INSERT OR IGNORE INTO trace VALUES({','.join('?' * 12)})", traces)
            day.execute("COMMIT")
        except BaseException:
            with contextlib.suppress(sqlite3.Error):
                day.execute("ROLLBACK")
            raise

    def _take_away(self, gone: list[int]) -> None:
        db = self._ledger.db
        db.execute("BEGIN IMMEDIATE")
        # The highest number ever given out is kept, for it must not be given twice.
        db.execute("INSERT OR REPLACE INTO meta VALUES('seq', ?)", (self._ledger.newest >> SHIFT,))
        db.executemany("DELETE FROM message WHERE seq=?", [(seq,) for seq in gone])
        db.executemany(
            "DELETE FROM trace WHERE number BETWEEN ? AND ?", [(seq << SHIFT, seq << SHIFT | _MASK) for seq in gone]
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
