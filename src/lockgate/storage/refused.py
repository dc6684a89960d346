"""Reading refusals beside the trace: in the form of trace rows, paged by the order in which they were written."""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lockgate.mail.events import Status
from lockgate.mail.record import Kept
from lockgate.storage.trace_filters import Wanted, refusal_clauses

Refused = tuple[int, dict[str, Any]]
"""The number of a refusal and its row."""

_COLUMNS = "rowid, id, at, organisation, sender, recipient, peer, connector, tls, reply, revision, reason"


def find_refused(folder: Path, search: Wanted, limit: int, below: int, above: int = 0) -> list[Refused]:
    """The newest matching refusals with numbers between these two; none if the file cannot be read."""
    where, values = refusal_clauses(search)
    with contextlib.suppress(sqlite3.Error), contextlib.closing(_reader(folder)) as db:
        query = f"SELECT {_COLUMNS} FROM refusal WHERE rowid < ? AND rowid > ? AND {where} ORDER BY rowid DESC LIMIT ?"
        return [(row[0], _row_json(row)) for row in db.execute(query, (below, above, *values, limit))]
    return []


def newest_refusal(folder: Path) -> int:
    """The highest number of a refusal; 0 if there is none."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(_reader(folder)) as db:
        return int(db.execute("SELECT max(rowid) FROM refusal").fetchone()[0] or 0)
    return 0


def stories_refused(
    folder: Path, *, since: float = 0.0, above: int = 0, below: int = 1 << 62, limit: int = -1,
    newest_first: bool = False,
) -> Iterator[tuple[int, Kept]]:  # fmt: skip
    """Recorded stories of refusals with their numbers, which lie between these two; none if the file cannot be read."""
    order = "DESC" if newest_first else "ASC"
    query = "SELECT rowid, id, at, organisation, story FROM refusal WHERE rowid > ? AND rowid < ? AND at >= ?"
    with contextlib.suppress(sqlite3.Error), contextlib.closing(_reader(folder)) as db:
        rows = db.execute(f"{query} ORDER BY rowid {order} LIMIT ?", (above, below, since, limit)).fetchall()
        for number, connection, at, organisation, story in rows:
            if story:
                yield number, Kept(connection, at, organisation, story)


def count_refused(folder: Path, since: float) -> int:
    """How many refusals have a row since then."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(_reader(folder)) as db:
        return int(db.execute("SELECT count(*) FROM refusal WHERE at >= ?", (since,)).fetchone()[0])
    return 0


def _reader(folder: Path) -> sqlite3.Connection:
    db = sqlite3.connect(f"file:{folder / 'refusals.sqlite'}?mode=ro", uri=True, timeout=1.0)
    db.create_function("lockgate_fold", 1, lambda text: str(text).casefold(), deterministic=True)
    return db


def _row_json(row: tuple[Any, ...]) -> dict[str, Any]:
    """The id is that of the connection."""
    _, connection, at, organisation, sender, recipient, peer, connector, tls, reply, revision, reason = row
    subject = str(reason).partition(": ")[0]
    return {
        "id": connection, "received": at, "organisation": organisation, "sender_address": sender,
        "recipient_address": recipient, "subject": "", "status": Status.REFUSED.value, "from_ip": peer, "to_ip": "",
        "size": 0, "message_id": "", "network_message_id": "", "inbound_connector": connector,
        "outbound_connector": "", "tls": tls, "pool": "", "reply": reply, "revision": revision,
        "rules": [subject.removeprefix("rule ")] if subject.startswith("rule ") else [],
    }  # fmt: skip


def show_refused(folder: Path, connection: str) -> dict[str, Any] | None:
    """Everything that was refused on one connection, with the reasons; None if nothing was."""
    found: list[tuple[Any, ...]] = []
    with contextlib.suppress(sqlite3.Error), contextlib.closing(_reader(folder)) as db:
        query = f"SELECT {_COLUMNS}, story FROM refusal WHERE id = ? COLLATE NOCASE ORDER BY rowid DESC LIMIT 1000"
        found = db.execute(query, (connection,)).fetchall()
    if not found:
        return None
    shown = [{**_row_json(row[:-1]), "events": []} for row in found]
    return {
        "id": connection,
        "connection": connection,
        "rows": shown,
        "stories": {row[3]: row[-1] for row in found},
        "reasons": [row[-2] for row in found],
        "refusals": [
            {"organisation": row[3], "story": row[-1], "row": told} for row, told in zip(found, shown, strict=True)
        ],
    }
