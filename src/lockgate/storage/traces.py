"""Reading the trace: rows as the amendments document them, from the queue database, the day files and the refusals."""

from __future__ import annotations

import contextlib
import datetime as dt
import sqlite3
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from pathlib import Path
from typing import Any

import msgspec

from lockgate.mail.events import Event
from lockgate.mail.redaction import Redactor
from lockgate.storage.day_schema import SLOT
from lockgate.storage.frames import unpack_events
from lockgate.storage.refused import Refused, find_refused, show_refused
from lockgate.storage.trace_filters import UnknownFilter, Wanted, fingerprint, message_clauses, wanted

SHIFT = 20
"""A trace number is the message's sequence number, shifted, plus the recipient's number within the message."""

LAST = (1 << 62) - 1
"""Larger than any trace number."""

SLICE = 50_000
"""Messages of the queue looked at in one snapshot; an open one lets the write-ahead log grow."""

_COLUMNS = (
    "t.number, m.id, m.received, t.organisation, m.sender, t.recipient, m.subject, t.status, m.from_ip, t.to_ip,"
    " m.size, m.message_id, t.inbound, t.outbound, t.tls, m.tls, t.pool, t.reply, m.revision, {rules}, {network}"
)
_BY_TRACE = "FROM trace t CROSS JOIN message m ON m.seq = t.number >> 20"
_BY_MESSAGE = "FROM message m CROSS JOIN trace t ON t.number BETWEEN m.seq << 20 AND (m.seq << 20) + 1048575"

_EVENT = msgspec.msgpack.Decoder(Event)
_STORIES = msgspec.msgpack.Decoder(list[tuple[str, bytes]])

SIDE_BY_SIDE = 8
"""Days asked at the same time."""

Found = tuple[int, dict[str, Any]]
"""A trace number and its row."""


def reader(path: Path) -> sqlite3.Connection:
    """A read-only connection for one short question. Raises sqlite3.OperationalError when the file is not there."""
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None, timeout=1.0, check_same_thread=False)
    db.create_function("lockgate_fold", 1, lambda text: str(text).casefold(), deterministic=True)
    return db


def row_json(row: Sequence[Any]) -> dict[str, Any]:
    """One row as docs/trace.md documents it, without the number it begins with."""
    (network_id, received, organisation, sender, recipient, subject, status, from_ip, to_ip, size, message_id, inbound,
     outbound, tls, tls_in, pool, reply, revision, rules, known_as) = row[1:21]  # fmt: skip
    return {
        "id": network_id, "received": received, "organisation": organisation, "sender_address": sender,
        "recipient_address": recipient, "subject": subject, "status": status, "from_ip": from_ip, "to_ip": to_ip,
        "size": size, "message_id": message_id, "network_message_id": known_as or network_id,
        "inbound_connector": inbound, "outbound_connector": outbound, "tls": tls or tls_in, "pool": pool,
        "reply": reply, "revision": revision,
        "rules": rules.split("\n") if rules else [],
    }  # fmt: skip


def columns_of(db: sqlite3.Connection) -> str:
    """What is selected; files of earlier versions know no rules, and no other network message id than our own."""
    known = any(row[1] == "rules" for row in db.execute("PRAGMA table_info(trace)"))
    named = any(row[1] == "network_id" for row in db.execute("PRAGMA table_info(message)"))
    return _COLUMNS.format(rules="t.rules" if known else "''", network="m.network_id" if named else "''")


# -- one database ------------------------------------------------------------------------------------------------------


def find_in(db: sqlite3.Connection, search: Wanted, limit: int, low: int, high: int, *, indexed: bool) -> list[Found]:
    """The matching rows with numbers from `low` up to below `high`, highest first."""
    columns = columns_of(db)
    found: dict[int, dict[str, Any]] = {}
    for one in search.spellings() if indexed else (search,):
        where, values = message_clauses(one, indexed=indexed)
        if search.by_message:
            bounds, order = "m.seq BETWEEN ? >> 20 AND ? >> 20", "m.seq DESC, t.number DESC"
            query = f"SELECT {columns} {_BY_MESSAGE} WHERE {bounds} AND t.number >= ? AND t.number < ? AND {where}"
            values = [low, high, low, high, *values]
        else:
            query, order = f"SELECT {columns} {_BY_TRACE} WHERE t.number >= ? AND t.number < ? AND {where}", ""
            values = [low, high, *values]
        for row in db.execute(f"{query} ORDER BY {order or 't.number DESC'} LIMIT ?", (*values, limit)):
            found[row[0]] = row_json(row)
    return sorted(found.items(), reverse=True)[:limit]


def find_in_queue(path: Path, search: Wanted, limit: int, below: int) -> list[Found]:
    """The newest matching rows of the queue, looked at in slices so that no snapshot lives long."""
    found: list[Found] = []
    high = min(below, LAST)
    if "id" in search.filters:
        with contextlib.suppress(sqlite3.OperationalError), contextlib.closing(reader(path)) as db:
            row = db.execute("SELECT seq FROM message WHERE id = ?", (search.filters["id"],)).fetchone()
            if row is not None:  # our own id, which has an index here
                return find_in(db, search, limit, row[0] << SHIFT, min(high, row[0] + 1 << SHIFT), indexed=False)
    while len(found) < limit:
        with contextlib.suppress(sqlite3.OperationalError), contextlib.closing(reader(path)) as db:
            (newest,) = db.execute("SELECT max(number) FROM trace WHERE number < ?", (high,)).fetchone()
            if newest is None:
                break
            low = max(0, (newest >> SHIFT) - SLICE) << SHIFT
            found += find_in(db, search, limit - len(found), low, newest + 1, indexed=False)
            high = low
            continue
        break
    return found


def find_in_day(path: Path, search: Wanted, limit: int, below: int) -> list[Found]:
    """The newest matching rows of one day; a day that is damaged hides no other."""
    with contextlib.suppress(sqlite3.DatabaseError), contextlib.closing(reader(path)) as db:
        low, high = _between(db, search)
        return find_in(db, search, limit, low, min(high, below), indexed=True)
    return []


def _between(db: sqlite3.Connection, search: Wanted) -> tuple[int, int]:
    """Bounds of the numbers that can lie in the search's time; all of them if the file is of the first version."""
    if search.since <= 0 and search.until == float("inf"):
        return 0, LAST
    try:
        low, high = db.execute(
            "SELECT min(low), max(high) FROM slot WHERE number >= ? AND number * ? < ?",
            (int(search.since // SLOT), SLOT, min(search.until, 1e12)),
        ).fetchone()
    except sqlite3.OperationalError:
        return 0, LAST
    return (0, 0) if low is None else (low << SHIFT, (high + 1) << SHIFT)


def day_path(folder: Path, bucket: int) -> Path:
    """The trace file of one day (days since 1970, UTC)."""
    return folder / f"{dt.date(1970, 1, 1) + dt.timedelta(days=bucket):%Y-%m-%d}.sqlite"


def day_files(folder: Path) -> list[tuple[int, Path]]:
    """(day, file) of all days that have one, newest first."""
    found = []
    for path in folder.glob("????-??-??.sqlite"):
        with contextlib.suppress(ValueError):
            day = dt.date.fromisoformat(path.stem)
            found.append(((day - dt.date(1970, 1, 1)).days, path))
    return sorted(found, reverse=True)


def newest_in(path: Path) -> int:
    """The highest number of a day's file; 0 if it cannot be read."""
    with contextlib.suppress(sqlite3.DatabaseError), contextlib.closing(reader(path)) as db:
        (number,) = db.execute("SELECT max(number) FROM trace").fetchone()
        return number or 0
    return 0


# -- everywhere --------------------------------------------------------------------------------------------------------


def find(
    queue: Path, folder: Path, filters: Mapping[str, str], limit: int, after: str = "", masks: Sequence[Redactor] = ()
) -> list[dict[str, Any]]:
    """Rows everywhere, newest first, behind the row with this cursor. Raises UnknownFilter.

    Every row has a `cursor`: numbers never change, so a page goes on where the one before ended, whatever came since.
    """
    search = wanted(filters, masks)
    below, refused_below = read_cursor(after)
    messages = _messages(queue, folder, search, limit, below) if search.messages else []
    refusals = find_refused(folder, search, limit, refused_below) if search.refusals else []
    return list(_merged(messages, refusals, below, refused_below))[:limit]


def _messages(queue: Path, folder: Path, search: Wanted, limit: int, below: int) -> list[Found]:
    found = dict(find_in_queue(queue, search, limit, below))
    files = [
        path
        for bucket, path in day_files(folder)
        if (bucket + 1) * 86400 >= search.since and bucket * 86400 <= search.until
    ]
    # The newest days mostly have enough; further ones are asked side by side, for each waits for the disk.
    batches = [files[:1], files[1:2], *(files[n : n + SIDE_BY_SIDE] for n in range(2, len(files), SIDE_BY_SIDE))]
    with ThreadPoolExecutor(SIDE_BY_SIDE) as threads:
        for batch in filter(None, batches):
            # Numbers of two days overlap by the few messages that were under way at midnight, if at all.
            if len(found) >= limit and newest_in(batch[0]) < sorted(found, reverse=True)[limit - 1]:
                break
            each = map if len(batch) == 1 else threads.map
            for rows in each(find_in_day, batch, repeat(search), repeat(limit), repeat(below)):
                for number, row in rows:
                    found.setdefault(number, row)
    return sorted(found.items(), reverse=True)[:limit]


def _merged(
    messages: Sequence[Found], refusals: Sequence[Refused], below: int, refused_below: int
) -> Iterator[dict[str, Any]]:
    """Both by time, each in the order of its numbers; every row with the cursor that leads behind it."""
    here, there = 0, 0
    while here < len(messages) or there < len(refusals):
        if there >= len(refusals) or (
            here < len(messages) and messages[here][1]["received"] >= refusals[there][1]["received"]
        ):
            below, row = messages[here]
            here += 1
        else:
            refused_below, row = refusals[there]
            there += 1
        yield {**row, "cursor": f"{below:x}.{refused_below:x}"}


def read_cursor(text: str) -> tuple[int, int]:
    """The numbers below which messages and refusals follow. Raises UnknownFilter."""
    if not text:
        return LAST, LAST
    try:
        message, refusal = text.split(".")
        return int(message, 16), int(refusal, 16)
    except ValueError:
        raise UnknownFilter(f"'{text[:40]}' is no cursor; take the one of the last row") from None


def rows_of(queue: Path, folder: Path, numbers: Iterable[int], search: Wanted) -> list[Found]:
    """Those of these rows that match, wherever they lie, in the order of their numbers."""
    left = sorted(set(numbers))
    found: list[Found] = []
    for path in (queue, *(path for _, path in day_files(folder)[:2])):
        if not left:
            break
        where, values = message_clauses(search, indexed=False)
        with contextlib.suppress(sqlite3.DatabaseError), contextlib.closing(reader(path)) as db:
            query = f"SELECT {columns_of(db)} {_BY_TRACE} WHERE t.number = ?"
            db.execute("BEGIN")  # one snapshot, for rows move to the day files
            is_there = "SELECT 1 FROM trace WHERE number = ?"
            there = {number for number in left if db.execute(is_there, (number,)).fetchone()}
            for number in there:
                found += [(number, row_json(row)) for row in db.execute(f"{query} AND {where}", (number, *values))]
            left = [number for number in left if number not in there]
    return sorted(found)


# -- one message -------------------------------------------------------------------------------------------------------


def show_in(path: Path, message: str, *, day: bool = False) -> dict[str, Any] | None:
    """One message with events and stories, if this database has it."""
    hidden = sqlite3.DatabaseError if day else sqlite3.OperationalError
    with contextlib.suppress(hidden), contextlib.closing(reader(path)) as db:
        stories = "coalesce((SELECT s.stories FROM story s WHERE s.seq = m.seq), m.stories, x'90')"
        if not db.execute("SELECT 1 FROM sqlite_master WHERE name = 'story'").fetchone():
            stories = "m.stories"
        head = db.execute(f"SELECT m.seq, m.connection, {stories} FROM message m WHERE m.id = ?", (message,)).fetchone()
        if head is None:
            return None
        seq, connection, told = head
        query = f"SELECT {columns_of(db)}, t.events {_BY_TRACE} WHERE t.number BETWEEN ? AND ? ORDER BY t.number"
        rows = []
        for row in db.execute(query, (seq << SHIFT, (seq + 1 << SHIFT) - 1)):
            events = [msgspec.structs.asdict(_EVENT.decode(event)) for event in unpack_events(row[-1])]
            rows.append({**row_json(row), "events": events})
        return {"id": message, "connection": connection, "rows": rows, "stories": dict(_STORIES.decode(told))}
    return None


def show(queue: Path, folder: Path, message: str) -> dict[str, Any] | None:
    """One message, wherever its trace lies by now; for a refusal the id of its connection."""
    found = show_in(queue, message)
    if found is not None:
        return found
    for _, path in _likeliest(day_files(folder), message):
        if (found := show_in(path, message, day=True)) is not None:
            return found
    return show_in(queue, message) or show_refused(folder, message)


def _likeliest(files: list[tuple[int, Path]], message: str) -> list[tuple[int, Path]]:
    """The files with the day that the id was made in (RFC 9562 5.7) first, then the day after, then the others."""
    try:
        day = int(message[:13].replace("-", ""), 16) // 86_400_000
    except ValueError:
        return files
    return sorted(files, key=lambda one: (one[0] not in (day, day + 1), abs(one[0] - day)))


__all__ = [
    "LAST", "SHIFT", "SLICE", "UnknownFilter", "day_files", "day_path", "find", "find_in", "fingerprint", "newest_in",
    "reader", "row_json", "rows_of", "show",
]  # fmt: skip
