"""What a person does to the queue: retry, hold, release, delete; each with a row that says who, when and what.

And what follows when a mailbox moves: mail that waits for it is to be routed anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from lockgate.mail.address import kept_spelling
from lockgate.mail.events import Event, Happening, Status
from lockgate.mail.task import MOVED_LANE, TaskRecipient
from lockgate.storage.frames import NEVER, What
from lockgate.storage.ledger import SHIFT, Ledger, event_bytes, recipients_of

SLICE = 500
"""Tasks looked at per transaction, so that a big edit never holds up accepting."""

ACTIONS = ("retry", "hold", "release", "delete", "reroute")
"""`reroute` takes from waiting and held tasks the way that was chosen for them; the judge is asked for another."""
FILTERS = ("lane", "id", "task", "sender", "recipient", "organisation", "why", "held", "since", "until")
"""`held` is "yes" for every held task, or how the reason begins; "" bounds nothing, and with hold means every task."""

_ENCODE = msgspec.msgpack.Encoder().encode
_SPLIT = (
    "INSERT INTO task(id,bucket,lane,owner,due,attention,received,expires,attempts,warned,held,segment,at,length,crc,"
    "last_reply,what,held_at,held_until) SELECT ?,bucket,lane,0,due,attention,received,expires,attempts,warned,held,"
    "segment,at,length,crc,last_reply,?,held_at,held_until FROM task WHERE id=?"
)


class Misuse(ValueError):
    """The order cannot be understood; the message says what is possible."""


class Edit:
    """One order on its way through the queue, slice by slice.

    With a `recipient` (several: one a line) it concerns these recipients of a task only, except for a retry.
    """

    def __init__(self, action: str, filters: Mapping[str, str], by: str, *, audited: bool = True) -> None:
        if action not in ACTIONS:
            raise Misuse(f"{action!r} is not something that can be done to the queue; there are {', '.join(ACTIONS)}")
        unknown = set(filters) - set(FILTERS)
        if unknown or not filters:
            raise Misuse(f"say which tasks are meant, by one or more of {', '.join(FILTERS)}")
        if not filters.get("task", "0").isdigit():
            raise Misuse("a task is named by its number")
        self.action, self.filters, self.by = action, dict(filters), by
        self.count = 0
        self._after = 0
        self._audited = audited
        self._recipients = {
            kept_spelling(text).casefold() for text in filters.get("recipient", "").split("\n") if text
        }

    def proceed(self, ledger: Ledger, now: float) -> bool:
        """Do the next slice inside the ledger's transaction; True when all is done and written into the audit."""
        ledger.flush()
        rows = ledger.db.execute(*_select(self.filters, ledger, self._after)).fetchall()
        for task, *_, what in rows:
            self._after = task
            parts = recipients_of(what)
            chosen = self._chosen(parts)
            if chosen:
                self.count += int(self._part(ledger, task, parts, chosen, now))
        if len(rows) == SLICE:
            return False
        if self.action == "retry" and "lane" in self.filters:
            ledger.roster.retry(ledger.roster.lane(self.filters["lane"]), now)
        if self._audited:
            row = (now, self.by, self.action, json.dumps(self.filters, sort_keys=True), self.count)
            ledger.db.execute("INSERT INTO audit(at, who, what, filters, count) VALUES(?,?,?,?,?)", row)
        return True

    def _chosen(self, parts: What) -> tuple[TaskRecipient, ...]:
        """The recipients of this task that are meant."""
        sender = self.filters.get("sender")
        if sender is not None and parts.envelope.sender_text.casefold() != kept_spelling(sender).casefold():
            return ()
        if "recipient" not in self.filters:
            return parts.recipients
        return tuple(
            r for r in parts.recipients if r.target.key in self._recipients or r.id.original.key in self._recipients
        )

    def _part(
        self, ledger: Ledger, task: int, parts: What, chosen: tuple[TaskRecipient, ...], now: float
    ) -> bool:
        """Do it to the chosen recipients; if the task has others, the chosen ones get a task of their own first."""
        if self.action == "reroute":
            return self._reroute(ledger, task, parts, chosen, now)
        columns = "lane, owner, due, held"
        lane, owner, due, held = ledger.db.execute(f"SELECT {columns} FROM task WHERE id=?", (task,)).fetchone()
        if len(chosen) < len(parts.recipients) and self.action != "retry":
            if (self.action == "hold") == bool(held) and self.action != "delete":
                return False  # nothing would change
            if owner:
                names = "\n".join(r.id.original.key for r in chosen)
                ledger.partly.setdefault(task, []).append((self.action, self.by, names))
                return True
            task = split(ledger, task, parts, chosen)
        return self._apply(ledger, _Row(task, lane, owner, due, held, chosen), now)

    def _apply(self, ledger: Ledger, row: _Row, now: float) -> bool:
        """Whether the order changed anything about this task."""
        match self.action:
            case "retry":
                return self._retry(ledger, row, now)
            case "release":
                return self._release(ledger, row, now)
            case "hold":
                if row.held:
                    return False
                event = Event(now, Happening.HOLD, f"held by {self.by}")
                if not self._leave(ledger, row):
                    ledger.db.execute(
                        "UPDATE task SET held=?, due=?, attention=?, held_at=?, held_until=0 WHERE id=?",
                        (f"held by {self.by}", NEVER, NEVER, now, row.task),
                    )
                tell(ledger, row.task, row.chosen, Status.HELD, event)
                return True
            case _:
                event = Event(now, Happening.DROP, f"deleted by {self.by}")
                if not self._leave(ledger, row, counted=False):
                    ledger.remove_task(row.task)
                tell(ledger, row.task, row.chosen, Status.DROPPED, event)
                return True

    def _reroute(
        self, ledger: Ledger, task: int, parts: What, chosen: tuple[TaskRecipient, ...], now: float
    ) -> bool:
        """The judge decides anew where these go: at once, or when they are released."""
        if parts.route is None:
            return False  # it is asked anyway
        columns = "lane, owner, due, held, attention"
        lane, owner, due, held, attention = ledger.db.execute(
            f"SELECT {columns} FROM task WHERE id=?", (task,)
        ).fetchone()
        if owner:  # once the worker gives it back
            names = "\n".join(r.id.original.key for r in chosen)
            ledger.partly.setdefault(task, []).append((self.action, self.by, names))
            return True
        if len(chosen) < len(parts.recipients):
            task = split(ledger, task, parts, chosen)
        if due == 0:
            ledger.roster.departed(ledger.roster.lane(lane), 1)
        there = f"{lane.partition('/')[0]}/{MOVED_LANE}"
        what = _ENCODE(msgspec.structs.replace(parts, recipients=chosen, route=None))
        row = (there, what, due if held else 0.0, task)
        ledger.db.execute("UPDATE task SET lane=?, what=?, due=? WHERE id=?", row)
        if not held:
            ledger.roster.arrived(ledger.roster.lane(there), attention)
        event = Event(now, Happening.DEFER, f"the mailbox moved ({self.by}); where it goes is decided again")
        base = task >> SHIFT << SHIFT
        ledger.db.executemany("UPDATE trace SET outbound='' WHERE number=?", [(base | r.trace,) for r in chosen])
        tell(ledger, task, chosen, Status.HELD if held else Status.PENDING, event)
        return True

    def _leave(self, ledger: Ledger, row: _Row, *, counted: bool = True) -> bool:
        """A worker has the task now: the order is carried out when it comes back. Else take it out of the line."""
        if row.owner:
            ledger.marks[row.task] = (self.action, self.by)
            return True
        if row.due == 0 and counted:
            ledger.roster.departed(ledger.roster.lane(row.lane), 1)
        return False

    def _retry(self, ledger: Ledger, row: _Row, now: float) -> bool:
        if row.held or row.owner:
            return False
        there = ledger.roster.lane(row.lane)
        if row.due > 0:
            ledger.db.execute("UPDATE task SET due=0 WHERE id=?", (row.task,))
            ledger.roster.arrived(there, NEVER)
        ledger.roster.retry(there, now)
        return True

    def _release(self, ledger: Ledger, row: _Row, now: float) -> bool:
        if not row.held:
            return False
        received, expires = ledger.db.execute("SELECT received, expires FROM task WHERE id=?", (row.task,)).fetchone()
        # Time spent held does not count against the life of the message, and nobody is told that it is late.
        expires = max(expires, now + (expires - received))
        ledger.db.execute(
            "UPDATE task SET held='', due=0, expires=?, attention=?, warned=1, held_at=0, held_until=0 WHERE id=?",
            (expires, expires, row.task),
        )
        ledger.roster.arrived(ledger.roster.lane(row.lane), expires)
        event = Event(now, Happening.RELEASE, f"released by {self.by}")
        tell(ledger, row.task, row.chosen, Status.PENDING, event)
        return True


class _Row(msgspec.Struct, frozen=True):
    """A task as an edit sees it; `chosen` are all its recipients by now."""

    task: int
    lane: str
    owner: int
    due: float
    held: str
    chosen: tuple[TaskRecipient, ...]


def _select(filters: Mapping[str, str], ledger: Ledger, after: int) -> tuple[str, tuple[Any, ...]]:
    where, values = ["id > ?"], list[Any]([after])
    for name, value in filters.items():
        match name:
            case "lane":
                where.append("lane = ?")
                values.append(value)
            case "task":
                where.append("id = ?")
                values.append(int(value))
            case "id":
                row = ledger.db.execute("SELECT seq FROM message WHERE id=?", (value,)).fetchone()
                low = (row[0] if row else -1) << SHIFT
                where.append("id BETWEEN ? AND ?")
                values += [low, low | (1 << SHIFT) - 1]
            case "organisation":
                where.append("substr(lane, 1, ?) = ?")
                values += [len(value) + 1, f"{value}/"]
            case "held" if value == "yes":
                where.append("held <> ''")
            case "held" if value:
                where.append("substr(held, 1, ?) = ?")
                values += [len(value), value]
            case "why":
                where.append("instr(lower(held), lower(?)) > 0")
                values.append(value)
            case "since" | "until":
                where.append("received >= ?" if name == "since" else "received < ?")
                values.append(float(value))
    return f"SELECT id, what FROM task WHERE {' AND '.join(where)} ORDER BY id LIMIT {SLICE}", tuple(values)


def split(ledger: Ledger, task: int, parts: What, chosen: tuple[TaskRecipient, ...]) -> int:
    """Give some recipients of a task that nobody carries now a task of their own, in the same state; its number."""
    seq = task >> SHIFT
    (made,) = ledger.db.execute("UPDATE message SET tasks=tasks+1 WHERE seq=? RETURNING tasks", (seq,)).fetchone()
    number = seq << SHIFT | made - 1
    rest = tuple(r for r in parts.recipients if r not in chosen)
    ledger.db.execute(_SPLIT, (number, _ENCODE(msgspec.structs.replace(parts, recipients=chosen)), task))
    ledger.db.execute(
        "UPDATE task SET what=? WHERE id=?", (_ENCODE(msgspec.structs.replace(parts, recipients=rest)), task)
    )
    lane, due, attention, segment, length = ledger.db.execute(
        "SELECT lane, due, attention, segment, length FROM task WHERE id=?", (number,)
    ).fetchone()
    ledger.live.add(segment, length)
    if due == 0:
        ledger.roster.arrived(ledger.roster.lane(lane), attention)
    elif due < NEVER:
        ledger.next_due = min(ledger.next_due, due)
    return int(number)


def tell(
    ledger: Ledger, task: int, recipients: tuple[TaskRecipient, ...], status: Status, event: Event
) -> None:
    """Write what became of these recipients of a task into their trace rows."""
    base, packed = task >> SHIFT << SHIFT, event_bytes(event)
    numbers = [base | r.trace for r in recipients]
    ledger.db.executemany(
        "UPDATE trace SET status=?, events=CAST(events||? AS BLOB) WHERE number=?",
        [(status.value, packed, number) for number in numbers],
    )
    ledger.changes.note(numbers)


def expire(ledger: Ledger, now: float, most: int = 100) -> int:
    """Delete held tasks whose time is over, in a transaction of the ledger; how many. The senders are not told."""
    rows = ledger.db.execute(
        "SELECT id, what FROM task WHERE held<>'' AND held_until>0 AND held_until<=? LIMIT ?", (now, most)
    ).fetchall()
    for task, what in rows:
        event = Event(now, Happening.DROP, "deleted, because the time for which held mail is kept was over; the"
                      " sender was not told")  # fmt: skip
        tell(ledger, task, recipients_of(what).recipients, Status.DROPPED, event)
        ledger.remove_task(task)
    return len(rows)


class Order(msgspec.Struct, frozen=True, array_like=True):
    """A queue edit as the desk sends it."""

    action: str
    filters: dict[str, str]
    by: str
