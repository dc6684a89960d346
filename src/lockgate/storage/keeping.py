"""What the desk asks of the queue: reads on a short snapshot of its own, orders through the keeper."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from lockgate.mail.discreet import row_as_wished, story_as_wished
from lockgate.mail.redaction import Discretion, nothing_hidden, spellings
from lockgate.seams import MOST_TASKS, Unavailable
from lockgate.storage import following, frames, holds, traces
from lockgate.storage.correspondents import Correspondents, correspondents_of
from lockgate.storage.edits import FILTERS, Misuse, Order
from lockgate.storage.frames import NEVER, Ask, FrameReader, frame
from lockgate.storage.ledger import SHIFT, recipients_of
from lockgate.storage.segments import SegmentFolder
from lockgate.storage.trace_filters import wanted

_ANSWER = msgspec.msgpack.Decoder(tuple[int, Any])
MOST = 5000
"""Rows per question."""


class KeeperKeeping:
    """seams.Keeping of one state directory; safe to use from one event loop."""

    def __init__(
        self, state: Path, *, patience: float = 60.0, discretion: Discretion = nothing_hidden, key: bytes = b""
    ) -> None:
        self._queue = state / "queue" / "keeper.sqlite"
        self._trace = state / "trace"
        self._socket = state / "run" / "keeper.sock"
        self._patience = patience
        self._discretion = discretion
        self._masks = spellings(key) if key else ()
        self._segments = SegmentFolder(state / "queue")

    async def queue_list(self, filters: Mapping[str, str]) -> Sequence[Mapping[str, Any]]:
        """Lanes (lane, tasks, held, with_workers, oldest, fails, next_attempt, why), or with a filter the tasks.

        Raises Misuse for an unknown filter.
        """
        _check(filters)
        return await asyncio.to_thread(_tasks if filters else _lanes, self._queue, filters)

    async def queue_count(self, filters: Mapping[str, str]) -> int:
        """How many tasks match. Raises Misuse for an unknown filter."""
        _check(filters)
        return await asyncio.to_thread(_count, self._queue, filters)

    async def queue_edit(self, action: str, filters: Mapping[str, str], by: str) -> int:
        """retry, hold, release, delete or reroute what matches; how many. Raises Misuse, Unavailable."""
        order = msgspec.json.encode(Order(action, dict(filters), by)).decode()
        answer = await self._order(Ask(1, "edit", (order,)))
        if isinstance(answer, str):
            raise Misuse(answer)
        return int(answer)

    async def answers(self) -> bool:
        """Whether the keeper answers. Raises Unavailable."""
        return await self._order(Ask(1, "found", ("",))) is None

    async def pin(self, seconds: float) -> bool:
        """Have the keeper keep all segment files for so long (0: not any more); whether it did until now.

        Raises Unavailable.
        """
        return bool(await self._order(Ask(1, "pin", (repr(seconds),))))

    async def trace_find(
        self, filters: Mapping[str, str], limit: int, after: str = ""
    ) -> Sequence[Mapping[str, Any]]:
        """Rows as docs/trace.md has them, newest first, behind a row's cursor. Raises traces.UnknownFilter."""
        limit = max(1, min(limit, MOST))
        rows = await asyncio.to_thread(traces.find, self._queue, self._trace, filters, limit, after, self._masks)
        return [row_as_wished(row, self._discretion) for row in rows]

    async def trace_follow(self, filters: Mapping[str, str], since: str) -> tuple[Sequence[Mapping[str, Any]], str]:
        """Rows that are new or have changed since this mark ("": from now on), oldest first, and the next mark.

        Raises traces.UnknownFilter, Unavailable while the keeper is away.
        """
        mark = following.read_mark(since) if since else None
        wanted(filters)
        words = (mark.epoch, mark.batch) if mark is not None else ("", "")
        told = await self._order(Ask(1, "changes", words))
        if mark is None:
            return [], (await asyncio.to_thread(following.first_mark, self._trace, told)).text
        rows, after = await asyncio.to_thread(
            following.changed, self._queue, self._trace, filters, mark, told, self._masks
        )
        return [row_as_wished(row, self._discretion) for row in rows], after.text

    async def trace_show(self, message: str) -> Mapping[str, Any] | None:
        """One message: rows with events, and {organisation: recorded story (bytes of mail/record.py)}."""
        found = await asyncio.to_thread(traces.show, self._queue, self._trace, message)
        return None if found is None else story_as_wished(found, self._discretion)

    async def hold_list(
        self, filters: Mapping[str, str], limit: int, below: int = 0
    ) -> Sequence[Mapping[str, Any]]:
        """Held tasks and those that wait for the judge (docs/trace.md), newest first. Raises Misuse."""
        limit = max(1, min(limit, MOST))
        return await asyncio.to_thread(holds.held, self._queue, filters, limit, below or traces.LAST)

    async def hold_show(self, message: str) -> Mapping[str, Any] | None:
        """One message's held tasks (rows), the first octets of its body (head), and its recorded stories."""
        return await asyncio.to_thread(holds.show, self._queue, self._segments, message)

    async def hold_body(self, task: int) -> bytes | None:
        """The body of a held task as it is stored; None if there is none."""
        return await asyncio.to_thread(holds.content, self._queue, self._segments, task)

    async def audit(self, limit: int) -> Sequence[Mapping[str, Any]]:
        """Who did what to the queue, newest first."""

        def read() -> list[dict[str, Any]]:
            with contextlib.closing(traces.reader(self._queue)) as db:
                query = "SELECT at, who, what, filters, count FROM audit ORDER BY rowid DESC LIMIT ?"
                rows = db.execute(query, (limit,))
                return [
                    {"at": at, "by": who, "action": what, "filters": msgspec.json.decode(given), "count": count}
                    for at, who, what, given, count in rows
                ]

        return await asyncio.to_thread(read)

    async def _order(self, ask: Ask) -> Any:
        """One order on a connection of its own. Raises Unavailable."""
        cutter = FrameReader()
        try:
            async with asyncio.timeout(self._patience):
                hear, speak = await asyncio.open_unix_connection(str(self._socket))
                try:
                    speak.write(frame(frames.ASK, msgspec.msgpack.encode(ask)))
                    while data := await hear.read(65536):
                        for kind, payload in cutter.feed(data):
                            if kind == frames.ANSWER:
                                return _ANSWER.decode(payload)[1]
                finally:
                    speak.close()
        except (OSError, TimeoutError) as trouble:
            raise Unavailable(f"the keeper of the queue cannot be reached ({trouble or 'no answer in time'})") from None
        raise Unavailable("the keeper of the queue went away; look at the queue before you try again")


def _check(filters: Mapping[str, str]) -> None:
    unknown = set(filters) - set(FILTERS)
    if unknown:
        raise Misuse(f"the queue cannot be listed by {', '.join(sorted(unknown))}; by {', '.join(FILTERS)}")


def _lanes(queue: Path, filters: Mapping[str, str]) -> list[dict[str, Any]]:
    del filters
    with contextlib.closing(traces.reader(queue)) as db:
        down = {name: (at, fails, why) for name, at, fails, why in
                db.execute("SELECT name, next_at, fails, last_reply FROM lane")}  # fmt: skip
        rows = db.execute(
            "SELECT lane, count(*), sum(held<>''), sum(owner<>0), min(received) FROM task GROUP BY lane ORDER BY lane"
        )
        found = []
        for lane, tasks, held, out, oldest in rows:
            next_at, fails, why = down.pop(lane, (0.0, 0, ""))
            found.append({
                "lane": lane, "tasks": tasks, "held": held, "with_workers": out, "oldest": oldest, "fails": fails,
                "next_attempt": next_at, "why": why,
            })  # fmt: skip
        return found


def _conditions(db: sqlite3.Connection, filters: Mapping[str, str]) -> tuple[str, list[Any]]:
    """What the columns of a task `k` say; the addresses stand in what was packed (correspondents.py)."""
    where, values = ["1"], list[Any]()
    if "lane" in filters:
        where.append("k.lane = ?")
        values.append(filters["lane"])
    if "held" in filters:
        begins = "" if filters["held"] == "yes" else filters["held"]
        where.append("k.held <> '' AND substr(k.held, 1, ?) = ?")
        values += [len(begins), begins]
    if "task" in filters:
        where.append("k.id = ?")
        values.append(int(filters["task"]) if filters["task"].isdigit() else -1)
    if "id" in filters:
        row = db.execute("SELECT seq FROM message WHERE id = ?", (filters["id"],)).fetchone()
        low = (row[0] if row else -1) << SHIFT
        where.append("k.id BETWEEN ? AND ?")
        values += [low, low | (1 << SHIFT) - 1]
    return " AND ".join(where), values


def _tasks(queue: Path, filters: Mapping[str, str]) -> list[dict[str, Any]]:
    with contextlib.closing(traces.reader(queue)) as db:
        where, values = _conditions(db, filters)
        query = (
            "SELECT k.id, k.lane, k.owner, k.due, k.held, k.attempts, k.received, k.last_reply, k.what, l.next_at,"
            f" l.last_reply FROM task k LEFT JOIN lane l ON l.name = k.lane WHERE {where} ORDER BY k.id"
        )
        found: list[dict[str, Any]] = []
        meant = correspondents_of(filters)
        for row in db.execute(query, values):
            task = _task(row, meant)
            if task is not None:
                found.append(task)
                if len(found) >= MOST_TASKS:
                    break
        return found


def _count(queue: Path, filters: Mapping[str, str]) -> int:
    with contextlib.closing(traces.reader(queue)) as db:
        where, values = _conditions(db, filters)
        if not {"sender", "recipient"} & set(filters):
            return int(db.execute(f"SELECT count(*) FROM task k WHERE {where}", values).fetchone()[0])
        meant = correspondents_of(filters)
        rows = db.execute(f"SELECT k.what FROM task k WHERE {where}", values)
        return sum(bool(meant.chosen(recipients_of(what))) for (what,) in rows)


def _task(row: tuple[Any, ...], meant: Correspondents) -> dict[str, Any] | None:
    task, lane, owner, due, held, attempts, received, reply, what, lane_at, lane_reply = row
    parts = recipients_of(what)
    if not meant.chosen(parts):
        return None
    return {
        "id": parts.id, "task": task, "lane": lane, "sender": parts.envelope.sender_text,
        "recipients": [r.target.text for r in parts.recipients], "attempts": attempts,
        "due": None if due >= NEVER else max(due, lane_at or 0.0), "held": held,
        "why": held or reply or lane_reply or "", "received": received, "size": parts.size,
        "with_worker": owner != 0,
    }  # fmt: skip
