"""Reading what is held: tasks that wait for a person or for the judge, their headers, facts and bodies."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from lockgate.mail.message import BodyRef
from lockgate.storage.correspondents import Correspondents, correspondents_of
from lockgate.storage.edits import Misuse
from lockgate.storage.ledger import SHIFT, recipients_of
from lockgate.storage.segments import SegmentFolder, read_body
from lockgate.storage.traces import reader

FILTERS = ("id", "task", "sender", "recipient", "organisation", "why", "state", "since", "until")
STATES = ("held", "pending")
HEAD = 64 * 1024
"""Octets of a body that are handed out for its header."""

_STORIES = msgspec.msgpack.Decoder(list[tuple[str, bytes]])
_QUERY = (
    "SELECT k.id, k.lane, k.owner, k.due, k.held, k.held_at, k.held_until, k.received, k.attempts, k.last_reply,"
    " k.what, m.subject, m.message_id, m.size, m.from_ip FROM task k JOIN message m ON m.seq = k.id >> 20 WHERE "
)
_KINDS = {"held": "k.held <> ''", "pending": "(k.held = '' AND substr(k.lane, -8) = '/pending')"}


def check(filters: Mapping[str, str]) -> None:
    """Raises Misuse for what held mail cannot be searched by."""
    if unknown := sorted(set(filters) - set(FILTERS)):
        raise Misuse(f"held mail cannot be listed by {', '.join(unknown)}; by {', '.join(FILTERS)}")
    if filters.get("state", "held") not in STATES:
        raise Misuse(f"held mail is {' or '.join(STATES)}, not '{filters['state'][:40]}'")
    if not filters.get("task", "0").isdigit():
        raise Misuse("a task is named by its number")


def held(queue: Path, filters: Mapping[str, str], limit: int, below: int) -> list[dict[str, Any]]:
    """Tasks that are held, and those that wait for the judge, newest first, with numbers below `below`."""
    check(filters)
    found: list[dict[str, Any]] = []
    with contextlib.closing(reader(queue)) as db:
        for state in STATES:
            if filters.get("state", state) != state:
                continue
            where, values = _conditions(db, filters)
            meant = correspondents_of(filters)
            query = f"{_QUERY}{_KINDS[state]} AND k.id < ? AND {where} ORDER BY k.id DESC"
            count = 0
            for row in db.execute(query, (below, *values)):
                told = _row(row, state, meant)
                if told is not None:
                    found.append(told)
                    count += 1
                    if count >= limit:
                        break
    return sorted(found, key=lambda row: -row["task"])[:limit]


def _conditions(db: sqlite3.Connection, filters: Mapping[str, str]) -> tuple[str, list[Any]]:
    where, values = ["1"], list[Any]()
    for name, value in filters.items():
        match name:
            case "task":
                where.append("k.id = ?")
                values.append(int(value))
            case "id":
                row = db.execute("SELECT seq FROM message WHERE id = ?", (value,)).fetchone()
                low = (row[0] if row else -1) << SHIFT
                where.append("k.id BETWEEN ? AND ?")
                values += [low, low | (1 << SHIFT) - 1]
            case "organisation":
                where.append("substr(k.lane, 1, ?) = ?")
                values += [len(value) + 1, f"{value}/"]
            case "why":
                where.append("instr(lower(k.held || k.last_reply), lower(?)) > 0")
                values.append(value)
            case "since" | "until":
                where.append("k.received >= ?" if name == "since" else "k.received < ?")
                values.append(float(value))
    return " AND ".join(where), values


def _row(row: tuple[Any, ...], state: str, meant: Correspondents) -> dict[str, Any] | None:
    (task, lane, owner, due, why, held_at, until, received, attempts, reply, what, subject, message_id, size,
     from_ip) = row  # fmt: skip
    parts = recipients_of(what)
    if not meant.chosen(parts):
        return None
    sender = parts.envelope.sender_text
    return {
        "id": parts.id, "task": task, "organisation": lane.partition("/")[0], "state": state,
        "why": why or reply or "judged again as soon as what is asked can be answered", "received": received,
        "held_at": held_at or (received if why else None), "held_until": until or None,
        "due": None if why else due or None, "sender_address": sender,
        "recipients": [r.id.original.text for r in parts.recipients], "subject": subject, "message_id": message_id,
        "size": size, "from_ip": from_ip, "lane": lane, "attempts": attempts, "with_worker": owner != 0,
        "next": "judged on from where it stopped" if parts.route is None else f"carried to {lane}",
    }  # fmt: skip


def show(queue: Path, folder: SegmentFolder, message: str) -> dict[str, Any] | None:
    """One message's held tasks, the first octets of its body, and its recorded stories."""
    rows = held(queue, {"id": message}, 1000, (1 << 62))
    if not rows:
        return None
    with contextlib.closing(reader(queue)) as db:
        (stories,) = db.execute("SELECT stories FROM message WHERE id = ?", (message,)).fetchone()
    body = content(queue, folder, rows[0]["task"])
    return {"rows": rows, "head": (body or b"")[:HEAD], "stories": dict(_STORIES.decode(stories))}


def content(queue: Path, folder: SegmentFolder, task: int) -> bytes | None:
    """The whole body of a task that is held or waits for the judge; None if there is no such task or its body is
    damaged."""
    for _ in range(3):  # the body may be moved to the hold store in between
        with contextlib.closing(reader(queue)) as db:
            kinds = " OR ".join(_KINDS.values())
            query = f"SELECT segment, at, length, crc FROM task k WHERE id = ? AND ({kinds})"
            row = db.execute(query, (task,)).fetchone()
        if row is None:
            return None
        with contextlib.suppress(FileNotFoundError, ValueError):
            return read_body(folder, BodyRef(*row))
    return None
