"""Finished messages leave the queue database for the trace file of their day, each exactly once."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

import msgspec

from lockgate.storage.day_schema import open_day, organisations, purge, write_day
from lockgate.storage.kept import Lives
from lockgate.storage.ledger import SHIFT, Ledger
from lockgate.storage.traces import day_files, day_path

STEP = 500
"""Messages moved per step, so that accepting never waits long for this."""

REACH = 1000
"""Numbers looked at per step when looking back; most messages of a long queue are only passed over."""

OPENED = 4
"""Old files opened per step to see whose rows they hold."""

_MASK = (1 << SHIFT) - 1
_STORIES = msgspec.msgpack.Decoder(list[tuple[str, bytes]])
_ENCODE = msgspec.msgpack.Encoder().encode
_IDLE = (
    "SELECT seq, bucket FROM message m WHERE seq BETWEEN ? AND ? AND received < ?"
    f" AND NOT EXISTS (SELECT 1 FROM task WHERE id BETWEEN m.seq << {SHIFT} AND (m.seq << {SHIFT}) + {_MASK})"
    " ORDER BY seq"
)
_MESSAGES = (
    "SELECT seq,bucket,id,received,sender,subject,size,message_id,from_ip,tls,revision,connection,tasks,stories,"
    "network_id FROM message WHERE seq BETWEEN ? AND ?"
)
_TRACES = (
    "SELECT number,organisation,recipient,status,inbound,outbound,to_ip,tls,reply,events,pool,rules FROM trace"
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

    def __init__(self, ledger: Ledger, folder: Path, lives: Lives) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._lives = lives
        self._whose: dict[int, dict[str, int]] = {}
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
            # All of them, though they may be some more than STEP: nobody tells of them again.
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
        some = f"{_IDLE} LIMIT {STEP}"
        rows = self._ledger.db.execute(some, (first, min(first + REACH, self._until), before)).fetchall()
        self._next = rows[-1][0] + 1 if len(rows) == STEP else first + REACH + 1
        return rows

    def _copy(self, bucket: int, runs: list[tuple[int, int]]) -> None:
        """Raises OSError when the day's file cannot be written: the queue itself is well then."""
        db = self._ledger.db
        messages = [row for run in runs for row in db.execute(_MESSAGES, run)]
        traces = [
            trace for first, last in runs for trace in db.execute(_TRACES, (first << SHIFT, last << SHIFT | _MASK))
        ]
        try:
            write_day(self._day(bucket), [self._as_kept(row) for row in messages], traces)
            self._whose.pop(bucket, None)
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

    def _as_kept(self, row: tuple[Any, ...]) -> tuple[Any, ...]:
        """The message's row with the stories of those organisations only that keep their facts."""
        stories = _STORIES.decode(row[13])
        kept = [one for one in stories if self._lives(one[0]).facts]
        if len(kept) == len(stories):
            return row
        return (*row[:13], _ENCODE(kept) if kept else None, row[14])

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
        day = open_day(day_path(self._folder, bucket))
        self._open[bucket] = day
        return day

    def forget(self, now: float) -> list[str]:
        """Remove the files of days whose time is over for everybody in them; returns their names."""
        gone = []
        for bucket, path, age in self._old(now):
            if all(age >= self._lives(name).life for name in self._names(bucket, path) or [""]):
                day = self._open.pop(bucket, None)
                if day is not None:
                    day.close()
                for suffix in ("", "-wal", "-shm"):
                    path.with_name(path.name + suffix).unlink(missing_ok=True)
                self._whose.pop(bucket, None)
                gone.append(path.name)
        return gone

    def purge(self, now: float) -> bool:
        """Remove some rows of an organisation whose time is over in a file that others still need; whether there is
        more to do now. Raises OSError."""
        for bucket, path, age in self._old(now):
            for name, purged in self._names(bucket, path).items():
                if purged < 0 or age < self._lives(name).life:
                    continue
                try:
                    self._whose[bucket][name] = purge(self._day(bucket), name, purged)
                except sqlite3.DatabaseError as trouble:
                    self._whose[bucket] = {}
                    raise OSError(f"old rows cannot be removed from the trace file {path.name}: {trouble}") from trouble
                return True
        return False

    def _old(self, now: float) -> list[tuple[int, Path, float]]:
        """(day, file, seconds since its end) of the files in which somebody's time may be over.

        Whose rows a file holds is remembered; only a few unknown files are opened at once, for people wait meanwhile.
        """
        shortest = min(self._lives(name).life for name in ("", *self._lives.organisations()))
        old = [
            (bucket, path, age)
            for bucket, path in day_files(self._folder)
            if (age := now - (bucket + 1) * 86400) >= shortest
        ]
        unknown = [bucket for bucket, _, _ in old if bucket not in self._whose][OPENED:]
        return [one for one in old if one[0] not in unknown]

    def _names(self, bucket: int, path: Path) -> dict[str, int]:
        """Whose rows are in a file, and how far they have been removed; nothing for a damaged one."""
        if bucket not in self._whose:
            try:
                self._whose[bucket] = organisations(self._day(bucket)) if path.exists() else {}
            except sqlite3.DatabaseError:
                self._whose[bucket] = {}
        return self._whose[bucket]

    def close(self) -> None:
        """Close the files."""
        for day in self._open.values():
            day.close()
        self._open.clear()
