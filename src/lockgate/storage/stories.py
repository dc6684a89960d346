"""Recorded stories in bulk, for judging them again: from the queue, the day files and the refusals, in short reads."""

from __future__ import annotations

import contextlib
import heapq
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import msgspec

from lockgate.mail.record import Kept
from lockgate.storage.refused import count_refused, newest_refusal, stories_refused
from lockgate.storage.traces import LAST, SHIFT, day_files, reader

WINDOW = 1000
"""Messages read at once; no snapshot is open for longer, so that the keeper's log does not grow."""

_STORIES = msgspec.msgpack.Decoder(list[tuple[str, bytes]])
_DAY = 86400


class Mark(NamedTuple):
    """Up to where somebody has read: the number of a message, and of a refusal."""

    message: int = 0
    refusal: int = 0


class _Row(NamedTuple):
    seq: int
    id: str
    at: float
    stories: bytes | None


def stories_since(queue: Path, folder: Path, since: float) -> Iterator[Kept]:
    """Everything recorded since then (seconds since the epoch), the newest first, one an organisation.

    A message that moves to its day's file meanwhile comes once, and is not missed: whatever leaves the queue was copied
    before, and every window is read from the queue first. A damaged file hides no other.
    """
    return heapq.merge(_messages(queue, folder, since), _refusals(folder, since), key=lambda one: -one.at)


def count_since(queue: Path, folder: Path, since: float) -> int:
    """About how many messages and refusals were recorded since then."""
    count = 0
    for path in _files(queue, folder, since):
        with contextlib.suppress(sqlite3.DatabaseError), contextlib.closing(reader(path)) as db:
            count += db.execute("SELECT count(*) FROM message WHERE received >= ?", (since,)).fetchone()[0]
    return count + count_refused(folder, since)


def newest(queue: Path, folder: Path) -> Mark:
    """Behind everything that is recorded now."""
    return Mark(_highest(_files(queue, folder, 0.0)[:3], LAST >> SHIFT) or 0, newest_refusal(folder))


def stories_after(queue: Path, folder: Path, mark: Mark, until: Mark) -> tuple[list[Kept], Mark]:
    """The next ones behind `mark` up to `until`, oldest first, WINDOW messages at most; and how far that is."""
    last = min(until.message, mark.message + WINDOW)
    found = [one for row in reversed(_window(_files(queue, folder, 0.0)[:3], mark.message + 1, last, 0.0))
             for one in _parts(row)]  # fmt: skip
    refused = list(stories_refused(folder, above=mark.refusal, below=until.refusal + 1, limit=WINDOW))
    reached = refused[-1][0] if len(refused) == WINDOW else until.refusal
    return [*found, *(one for _, one in refused)], Mark(max(last, mark.message), max(reached, mark.refusal))


def _messages(queue: Path, folder: Path, since: float) -> Iterator[Kept]:
    high = LAST >> SHIFT
    while True:
        paths = _files(queue, folder, since)
        first = _highest(paths, high)
        if first is None:
            return
        high = first - WINDOW + 1
        for row in _window(paths, high, first, since):
            yield from _parts(row)


def _refusals(folder: Path, since: float) -> Iterator[Kept]:
    below = LAST
    while True:
        found = list(stories_refused(folder, since=since, below=below, limit=WINDOW, newest_first=True))
        if not found:
            return
        below = found[-1][0]
        yield from (one for _, one in found)


def _files(queue: Path, folder: Path, since: float) -> list[Path]:
    """The queue first, then the days, the newest first."""
    return [queue, *(path for day, path in day_files(folder) if (day + 1) * _DAY > since)]


def _highest(paths: list[Path], below: int) -> int | None:
    """The highest number of a message below this one, wherever it lies."""
    found: list[int] = []
    for path in paths:
        with contextlib.suppress(sqlite3.DatabaseError), contextlib.closing(reader(path)) as db:
            (number,) = db.execute("SELECT max(seq) FROM message WHERE seq < ?", (below,)).fetchone()
            found += [number] if number is not None else []
    return max(found, default=None)


def _window(paths: list[Path], low: int, high: int, since: float) -> list[_Row]:
    """The messages with these numbers (both included), highest first; where a message lies twice the queue's counts."""
    found: dict[int, _Row] = {}
    for path in paths:
        with contextlib.suppress(sqlite3.DatabaseError), contextlib.closing(reader(path)) as db:
            apart = db.execute("SELECT 1 FROM sqlite_master WHERE name = 'story'").fetchone()
            stories = "coalesce(s.stories, m.stories)" if apart else "m.stories"
            beside = "LEFT JOIN story s ON s.seq = m.seq" if apart else ""
            query = f"SELECT m.seq, m.id, m.received, {stories} FROM message m {beside}"
            for row in db.execute(f"{query} WHERE m.seq BETWEEN ? AND ? AND m.received >= ?", (low, high, since)):
                found.setdefault(row[0], _Row(*row))
    return [found[number] for number in sorted(found, reverse=True)]


def _parts(row: _Row) -> Iterator[Kept]:
    if row.stories:
        for organisation, data in _STORIES.decode(row.stories):
            if data:
                yield Kept(row.id, row.at, organisation, data)
