"""What a person does to the queue: retry, hold, release, delete; each with a row that says who, when and what."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from lockgate.mail.events import Event, Happening, Status
from lockgate.storage.frames import NEVER
from lockgate.storage.ledger import SHIFT, Ledger, event_bytes, recipients_of

SLICE = 500
"""Tasks looked at per transaction, so that a big edit never holds up accepting."""

ACTIONS = ("retry", "hold", "release", "delete")
FILTERS = ("lane", "id", "task", "sender", "recipient", "held")
"""`held` is how the reason begins for which a task is held; "" with the action hold means every task."""


class Misuse(ValueError):
    """The order cannot be understood; the message says what is possible."""


class Edit:
    """One order on its way through the queue, slice by slice."""

    def __init__(self, action: str, filters: Mapping[str, str], by: str) -> None:
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

    def proceed(self, ledger: Ledger, now: float) -> bool:
        """Do the next slice inside the ledger's transaction; True when all is done and written into the audit."""
        ledger.flush()
        rows = ledger.db.execute(*self._select(ledger)).fetchall()
        for task, lane, owner, due, held, what in rows:
            self._after = task
            if self._means(what):
                self.count += int(self._apply(ledger, task, lane, owner, due, held, what, now))
        if len(rows) == SLICE:
            return False
        if self.action == "retry" and "lane" in self.filters:
            ledger.roster.retry(ledger.roster.lane(self.filters["lane"]), now)
        row = (now, self.by, self.action, json.dumps(self.filters, sort_keys=True), self.count)
        ledger.db.execute("INSERT INTO audit(at, who, what, filters, count) VALUES(?,?,?,?,?)", row)
        return True

    def _select(self, ledger: Ledger) -> tuple[str, tuple[Any, ...]]:
        where, values = ["id > ?"], [self._after]
        if "lane" in self.filters:
            where.append("lane = ?")
            values.append(self.filters["lane"])  # type: ignore[arg-type]
        if self.filters.get("held"):
            where.append("substr(held, 1, ?) = ?")
            values += [len(self.filters["held"]), self.filters["held"]]  # type: ignore[list-item]
        if "task" in self.filters:
            where.append("id = ?")
            values.append(int(self.filters["task"]))
        if "id" in self.filters:
            row = ledger.db.execute("SELECT seq FROM message WHERE id=?", (self.filters["id"],)).fetchone()
            low = (row[0] if row else -1) << SHIFT
            where.append("id BETWEEN ? AND ?")
            values += [low, low | (1 << SHIFT) - 1]
        query = "SELECT id, lane, owner, due, held, what FROM task WHERE " + " AND ".join(where)
        return f"{query} ORDER BY id LIMIT {SLICE}", tuple(values)

    def _means(self, what: bytes) -> bool:
        sender, recipient = self.filters.get("sender"), self.filters.get("recipient")
        if sender is None and recipient is None:
            return True
        parts = recipients_of(what)
        if sender is not None and parts.envelope.sender_text.casefold() != sender.casefold().strip("<>"):
            return False
        return recipient is None or any(
            recipient.casefold() in (r.target.key, r.id.original.key) for r in parts.recipients
        )

    def _apply(
        self, ledger: Ledger, task: int, lane: str, owner: int, due: float, held: str, what: bytes, now: float
    ) -> bool:
        """Whether the order changed anything about this task."""
        match self.action:
            case "retry":
                return self._retry(ledger, task, lane, owner, due, held, now)
            case "release":
                return self._release(ledger, task, lane, held, what, now)
            case "hold":
                if held:
                    return False
                event = Event(now, Happening.HOLD, f"held by {self.by}")
                if not self._leave(ledger, task, lane, owner, due):
                    ledger.db.execute(
                        "UPDATE task SET held=?, due=?, attention=? WHERE id=?",
                        (f"held by {self.by}", NEVER, NEVER, task),
                    )
                self._tell(ledger, task, what, Status.HELD, event)
                return True
            case _:
                event = Event(now, Happening.DROP, f"deleted by {self.by}")
                if not self._leave(ledger, task, lane, owner, due, counted=False):
                    ledger.remove_task(task)
                self._tell(ledger, task, what, Status.DROPPED, event)
                return True

    def _leave(self, ledger: Ledger, task: int, lane: str, owner: int, due: float, *, counted: bool = True) -> bool:
        """A worker has the task now: the order is carried out when it comes back. Else take it out of the line."""
        if owner:
            ledger.marks[task] = (self.action, self.by)
            return True
        if due == 0 and counted:
            ledger.roster.departed(ledger.roster.lane(lane), 1)
        return False

    def _retry(self, ledger: Ledger, task: int, lane: str, owner: int, due: float, held: str, now: float) -> bool:
        if held or owner:
            return False
        there = ledger.roster.lane(lane)
        if due > 0:
            ledger.db.execute("UPDATE task SET due=0 WHERE id=?", (task,))
            ledger.roster.arrived(there, NEVER)
        ledger.roster.retry(there, now)
        return True

    def _release(self, ledger: Ledger, task: int, lane: str, held: str, what: bytes, now: float) -> bool:
        if not held:
            return False
        row = ledger.db.execute("SELECT received, expires FROM task WHERE id=?", (task,)).fetchone()
        # Time spent held does not count against the life of the message, and nobody is told that it is late.
        expires = max(row[1], now + (row[1] - row[0]))
        ledger.db.execute(
            "UPDATE task SET held='', due=0, expires=?, attention=?, warned=1 WHERE id=?", (expires, expires, task)
        )
        ledger.roster.arrived(ledger.roster.lane(lane), expires)
        self._tell(ledger, task, what, Status.PENDING, Event(now, Happening.RELEASE, f"released by {self.by}"))
        return True

    def _tell(self, ledger: Ledger, task: int, what: bytes, status: Status, event: Event) -> None:
        base, packed = task >> SHIFT << SHIFT, event_bytes(event)
        ledger.db.executemany(
            "UPDATE trace SET status=?, events=CAST(events||? AS BLOB) WHERE number=?",
            [(status.value, packed, base | r.trace) for r in recipients_of(what).recipients],
        )


class Order(msgspec.Struct, frozen=True, array_like=True):
    """A queue edit as the desk sends it."""

    action: str
    filters: dict[str, str]
    by: str
