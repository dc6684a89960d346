"""Reading the trace: rows as the amendments document them, from the queue database, the day files and the refusals."""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from lockgate.mail.events import Event, Status
from lockgate.storage.frames import unpack_events
from lockgate.storage.refusals import find_refusals

SHIFT = 20
"""A trace number is the message's sequence number, shifted, plus the recipient's number within the message."""

COLUMNS = (
    "m.id, m.received, t.organisation, m.sender, t.recipient, m.subject, t.status, m.from_ip, t.to_ip, m.size,"
    " m.message_id, t.inbound, t.outbound, t.tls, m.tls, t.pool, t.reply, m.revision, t.number"
)
FROM = "FROM trace t JOIN message m ON m.seq = t.number >> 20"
FILTERS = ("sender", "recipient", "id", "ip", "status", "since", "until", "organisation", "subject")

_EVENT = msgspec.msgpack.Decoder(Event)
_STORIES = msgspec.msgpack.Decoder(list[tuple[str, bytes]])


class UnknownFilter(ValueError):
    """A filter that a trace search does not have; the message names those it has."""


def fingerprint(text: str) -> int:
    """A 63-bit number for an index on text that may be long or personal."""
    return int.from_bytes(hashlib.blake2b(text.casefold().encode(), digest_size=8).digest(), "big") >> 1


def check(filters: Mapping[str, str]) -> None:
    """Raises UnknownFilter for a misspelt filter or a time that is none."""
    unknown = set(filters) - set(FILTERS)
    if unknown:
        raise UnknownFilter(f"the trace cannot be searched by {', '.join(sorted(unknown))}; by {', '.join(FILTERS)}")
    for name in ("since", "until"):
        try:
            float(filters.get(name, "0"))
        except ValueError:
            raise UnknownFilter(f"{name} is a number of seconds since 1970") from None


def conditions(filters: Mapping[str, str], *, indexed: bool) -> tuple[str, list[Any]]:
    """The WHERE clause; `indexed`: the day files' fingerprint columns narrow the search down first."""
    where, values = ["1"], list[Any]()
    for name, value in filters.items():
        match name:
            case "sender" | "recipient":
                column = "m.sender" if name == "sender" else "t.recipient"
                if indexed:
                    where.append("m.sender_key = ?" if name == "sender" else "t.recipient_key = ?")
                    values.append(fingerprint(value.strip("<>")))
                where.append(f"lockgate_fold({column}) = ?")
                values.append(value.strip("<>").casefold())
            case "id":
                bare = value.strip("<>")
                if indexed:
                    exact = "(m.message_id_key = ? AND trim(m.message_id,'<>') = ?)"
                    where.append(f"(m.id = ? OR m.connection = ? OR {exact})")
                    values += [value, value, fingerprint(bare), bare]
                else:
                    where.append("(m.id = ? OR m.connection = ? OR trim(m.message_id,'<>') = ?)")
                    values += [value, value, bare]
            case "ip":
                where.append("(m.from_ip = ? OR t.to_ip = ?)")
                values += [value, value]
            case "status":
                where.append("t.status = ? COLLATE NOCASE")
                values.append(value)
            case "organisation":
                where.append("t.organisation = ?")
                values.append(value)
            case "subject":
                where.append("instr(lockgate_fold(m.subject), ?) > 0")
                values.append(value.casefold())
            case "since":
                where.append("m.received >= ?")
                values.append(float(value))
            case "until":
                where.append("m.received < ?")
                values.append(float(value))
            case _:
                raise UnknownFilter(name)
    return " AND ".join(where), values


def reader(path: Path) -> sqlite3.Connection:
    """A read-only connection for one short question. Raises sqlite3.OperationalError when the file is not there."""
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None, timeout=1.0, check_same_thread=False)
    db.create_function("lockgate_fold", 1, lambda text: str(text).casefold(), deterministic=True)
    return db


def row_json(row: tuple[Any, ...]) -> dict[str, Any]:
    """One row as the amendments document it."""
    (network_id, received, organisation, sender, recipient, subject, status, from_ip, to_ip, size, message_id, inbound,
     outbound, tls, tls_in, pool, reply, revision, _) = row  # fmt: skip
    return {
        "id": network_id, "received": received, "organisation": organisation, "sender_address": sender,
        "recipient_address": recipient, "subject": subject, "status": status, "from_ip": from_ip, "to_ip": to_ip,
        "size": size, "message_id": message_id, "network_message_id": network_id, "inbound_connector": inbound,
        "outbound_connector": outbound, "tls": tls or tls_in, "pool": pool, "reply": reply, "revision": revision,
    }  # fmt: skip


def find_in(path: Path, filters: Mapping[str, str], limit: int, *, indexed: bool) -> list[dict[str, Any]]:
    """The newest matching rows of one database; () if it is not there. A day that is damaged hides no other."""
    where, values = conditions(filters, indexed=indexed)
    hidden = sqlite3.DatabaseError if indexed else sqlite3.OperationalError
    with contextlib.suppress(hidden), contextlib.closing(reader(path)) as db:
        query = f"SELECT {COLUMNS} {FROM} WHERE {where} ORDER BY t.number DESC LIMIT ?"
        return [row_json(row) for row in db.execute(query, (*values, limit))]
    return []


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


def find_refused(folder: Path, filters: Mapping[str, str], limit: int) -> list[dict[str, Any]]:
    """Refusals in the same form; the id is that of the connection."""
    if filters.get("status", Status.REFUSED).casefold() != Status.REFUSED.casefold() or "subject" in filters:
        return []
    where, values = ["1"], list[Any]()
    columns = {"sender": "sender", "recipient": "recipient", "organisation": "organisation", "id": "id", "ip": "peer"}
    for name, value in filters.items():
        if name in columns:
            where.append(f"{columns[name]} = ? COLLATE NOCASE")
            values.append(value.strip("<>"))
        elif name in ("since", "until"):
            where.append("at >= ?" if name == "since" else "at < ?")
            values.append(float(value))
    try:
        rows = find_refusals(folder / "refusals.sqlite", " AND ".join(where), tuple(values), limit)
    except sqlite3.Error:
        return []
    return [_refused_row(row) for row in rows]


def _refused_row(r: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "id": r["id"], "received": r["at"], "organisation": r["organisation"], "sender_address": r["sender"],
        "recipient_address": r["recipient"], "subject": "", "status": Status.REFUSED.value, "from_ip": r["peer"],
        "to_ip": "", "size": 0, "message_id": "", "network_message_id": "", "inbound_connector": r["connector"],
        "outbound_connector": "", "tls": r["tls"], "pool": "", "reply": r["reply"], "revision": r["revision"],
    }  # fmt: skip


def find(queue: Path, folder: Path, filters: Mapping[str, str], limit: int) -> list[dict[str, Any]]:
    """Rows everywhere, newest first. Raises UnknownFilter."""
    check(filters)
    found = {(_identity(row)): row for row in find_in(queue, filters, limit, indexed=False)}
    since, until = float(filters.get("since", "0")), float(filters.get("until", "inf"))
    more = 0
    for bucket, path in day_files(folder):
        if (bucket + 1) * 86400 < since or bucket * 86400 > until:
            continue
        rows = find_in(path, filters, limit, indexed=True)
        for row in rows:
            found.setdefault(_identity(row), row)
        more += len(rows)
        if more >= limit:
            break
    rows = [*found.values(), *find_refused(folder, filters, limit)]
    rows.sort(key=lambda row: -row["received"])
    return rows[:limit]


def _identity(row: Mapping[str, Any]) -> tuple[str, str, str]:
    return row["id"], row["organisation"], row["recipient_address"]


def show_in(path: Path, message: str) -> dict[str, Any] | None:
    """One message of one database: its rows with their events, and its stories."""
    with contextlib.suppress(sqlite3.DatabaseError), contextlib.closing(reader(path)) as db:
        head = db.execute("SELECT seq, connection, stories FROM message WHERE id = ?", (message,)).fetchone()
        if head is None:
            return None
        seq, connection, stories = head
        query = f"SELECT {COLUMNS}, t.events {FROM} WHERE t.number BETWEEN ? AND ? ORDER BY t.number"
        rows = []
        for *row, events in db.execute(query, (seq << SHIFT, (seq + 1 << SHIFT) - 1)):
            told = [msgspec.structs.asdict(_EVENT.decode(event)) for event in unpack_events(events)]
            rows.append({**row_json(tuple(row)), "events": told})
        return {"id": message, "connection": connection, "rows": rows, "stories": dict(_STORIES.decode(stories))}
    return None


def show(queue: Path, folder: Path, message: str) -> dict[str, Any] | None:
    """One message, wherever its trace lies by now; for a refusal the id of its connection."""
    found = show_in(queue, message)
    for _, path in day_files(folder) if found is None else ():
        found = show_in(path, message)
        if found is not None:
            break
    if found is not None:
        return found
    refused = find_refused(folder, {"id": message}, 1000)
    if not refused:
        return None
    stories = find_refusals(folder / "refusals.sqlite", "id = ? COLLATE NOCASE", (message,), 1000)
    return {
        "id": message,
        "connection": message,
        "rows": [{**row, "events": []} for row in refused],
        "stories": {row["organisation"]: row["story"] for row in stories},
        "reasons": [row["reason"] for row in stories],
        "refusals": [
            {"organisation": row["organisation"], "story": row["story"], "row": {**shown, "events": []}}
            for row, shown in zip(stories, (_refused_row(row) for row in stories), strict=True)
        ],
    }
