"""What a person does to the queue: retry, hold, release, delete; each with a row that says who, when and what.

And what follows when a mailbox moves: mail that waits for it is to be routed anew.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import msgspec

from lockgate.mail.events import Event, Happening, Status
from lockgate.mail.task import MOVED_LANE, TaskRecipient
from lockgate.storage.correspondents import correspondents_of
from lockgate.storage.frames import NEVER, What
from lockgate.storage.ledger import SHIFT, Ledger, event_bytes, recipients_of

SLICE = 500
"""Tasks looked at per transaction, so that a big edit never holds up accepting."""

ACTIONS = ("retry", "hold", "release", "delete", "reroute")
"""`reroute` takes from waiting and held tasks the way that was chosen for them; the judge is asked for another."""
FILTERS = ("lane", "id", "task", "sender", "recipient", "organisation", "why", "held", "since", "until")
"""`held` is "yes" for every held task, or how the reason begins; "" bounds nothing, and with hold means every task."""

_ENCODE = msgspec.msgpack.Encoder().encode
_WORDS = {
    "hold": (Status.HELD, Happening.HOLD, "held"),
    "release": (Status.PENDING, Happening.RELEASE, "released"),
    "delete": (Status.DROPPED, Happening.DROP, "deleted"),
}
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
    What a worker has now is dealt with when it comes back (standing.py); the trace says so at once.
    """

    def __init__(self, action: str, filters: Mapping[str, str], by: str, *, standing: bool = False) -> None:
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
        self._standing = standing
        self._meant = correspondents_of(filters)

    def proceed(self, ledger: Ledger, now: float) -> bool:
        """Do the next slice inside the ledger's transaction; True when all is done and written into the audit."""
        ledger.flush()
        rows = ledger.db.execute(*_select(self.filters, ledger, self._after)).fetchall()
        for task, *_, what in rows:
            self._after = task
            parts = recipients_of(what)
            chosen = self._meant.chosen(parts)
            if chosen:
                self.count += int(self.part(ledger, task, parts, chosen, now))
        if len(rows) == SLICE:
            return False
        if self.action == "retry" and "lane" in self.filters:
            ledger.roster.retry(ledger.roster.lane(self.filters["lane"]), now)
        row = (now, self.by, self.action, json.dumps(self.filters, sort_keys=True), self.count)
        ledger.db.execute("INSERT INTO audit(at, who, what, filters, count) VALUES(?,?,?,?,?)", row)
        return True

    def part(self, ledger: Ledger, task: int, parts: What, chosen: tuple[TaskRecipient, ...], now: float) -> bool:
        """Do it to the chosen recipients; if the task has others, the chosen ones get a task of their own first.

        Whether it changed anything.
        """
        if self.action == "reroute" and parts.route is None:
            return False  # the judge is asked anyway
        columns = "lane, owner, due, held, attention"
        lane, owner, due, held, attention = ledger.db.execute(
            f"SELECT {columns} FROM task WHERE id=?", (task,)
        ).fetchone()
        if owner:
            return self._under_way(ledger, task, chosen, now)
        if self.action in ("hold", "release") and (self.action == "hold") == bool(held):
            return False
        if len(chosen) < len(parts.recipients) and self.action != "retry":
            task = split(ledger, task, parts, chosen)
        row = _Row(task, lane, due, held, attention, chosen)
        match self.action:
            case "retry":
                return self._retry(ledger, row, now)
            case "release":
                self._release(ledger, row, now)
            case "reroute":
                self._reroute(ledger, row, parts, now)
            case "hold":
                self._hold(ledger, row, now)
            case _:
                ledger.remove_task(task)
                self._say(ledger, task, chosen, now)
        return True

    def _under_way(self, ledger: Ledger, task: int, chosen: tuple[TaskRecipient, ...], now: float) -> bool:
        """A worker has the task: the order stands until it comes back, and a release takes a hold that stands away."""
        if self.action == "retry":
            return False
        if self.action == "release":
            changed = ledger.standing.take_back(task, chosen)
        else:
            changed = ledger.standing.give(task, chosen, self.action, self.by)
        if self.action != "reroute":
            self._say(ledger, task, changed, now)
        return bool(changed)

    def _say(self, ledger: Ledger, task: int, recipients: tuple[TaskRecipient, ...], now: float) -> None:
        """Write the order into the trace of these, unless it is there since the order was given."""
        word, kind, done = _WORDS[self.action]
        tell(ledger, task, recipients, word, Event(now, kind, f"{done} by {self.by}"), again=not self._standing)

    def _hold(self, ledger: Ledger, row: _Row, now: float) -> None:
        if row.due == 0:
            ledger.roster.departed(ledger.roster.lane(row.lane), 1)
        ledger.db.execute(
            "UPDATE task SET held=?, due=?, attention=?, held_at=?, held_until=0 WHERE id=?",
            (f"held by {self.by}", NEVER, NEVER, now, row.task),
        )
        self._say(ledger, row.task, row.chosen, now)

    def _reroute(self, ledger: Ledger, row: _Row, parts: What, now: float) -> None:
        """The judge decides anew where these go: at once, or when they are released."""
        if row.due == 0:
            ledger.roster.departed(ledger.roster.lane(row.lane), 1)
        there = f"{row.lane.partition('/')[0]}/{MOVED_LANE}"
        what = _ENCODE(msgspec.structs.replace(parts, recipients=row.chosen, route=None))
        due = row.due if row.held else 0.0
        ledger.db.execute("UPDATE task SET lane=?, what=?, due=? WHERE id=?", (there, what, due, row.task))
        if not row.held:
            ledger.roster.arrived(ledger.roster.lane(there), row.attention)
        event = Event(now, Happening.DEFER, f"the mailbox moved ({self.by}); where it goes is decided again")
        base = row.task >> SHIFT << SHIFT
        ledger.db.executemany("UPDATE trace SET outbound='' WHERE number=?", [(base | r.trace,) for r in row.chosen])
        tell(ledger, row.task, row.chosen, Status.HELD if row.held else Status.PENDING, event)

    def _retry(self, ledger: Ledger, row: _Row, now: float) -> bool:
        if row.held:
            return False
        there = ledger.roster.lane(row.lane)
        if row.due > 0:
            ledger.db.execute("UPDATE task SET due=0 WHERE id=?", (row.task,))
            ledger.roster.arrived(there, NEVER)
        ledger.roster.retry(there, now)
        return True

    def _release(self, ledger: Ledger, row: _Row, now: float) -> None:
        received, expires, warned, held_at = ledger.db.execute(
            "SELECT received, expires, warned, held_at FROM task WHERE id=?", (row.task,)
        ).fetchone()
        # Time spent held does not count against the life of the message. A notice that fell due meanwhile would tell
        # of a delay that a person or policy wanted; any other is still owed. Rows older than the column lack held_at.
        since = held_at or received
        expires += max(0.0, now - since)
        notice = ledger.pace.delay_notice
        warned = bool(warned) or (notice > 0 and since <= received + notice <= now)
        attention = ledger.roster.attention(received, expires, now, warned=warned)
        ledger.db.execute(
            "UPDATE task SET held='', due=0, expires=?, attention=?, warned=?, held_at=0, held_until=0 WHERE id=?",
            (expires, attention, int(warned), row.task),
        )
        ledger.roster.arrived(ledger.roster.lane(row.lane), attention)
        self._say(ledger, row.task, row.chosen, now)


def carry_out(ledger: Ledger, now: float) -> None:
    """Do what was ordered for tasks while a worker had them and that have come back; before they can be taken again."""
    ledger.flush()
    standing = ledger.standing
    while standing.back:
        task = standing.back[-1]
        row = ledger.db.execute("SELECT what FROM task WHERE id=? AND owner=0", (task,)).fetchone()
        order = standing.next_of(task) if row is not None else None
        if order is None:
            standing.back.pop()
            if row is None and task not in ledger.roster.owned:
                standing.forget(task)  # it is gone
            continue
        action, who, meant = order
        parts = recipients_of(row[0])
        chosen = tuple([r for r in parts.recipients if (r.trace, r.target.key) in meant])
        if chosen:
            Edit(action, {"task": str(task)}, who, standing=True).part(ledger, task, parts, chosen, now)


class _Row(msgspec.Struct, frozen=True):
    """A task as an edit sees it; `chosen` are all its recipients by now."""

    task: int
    lane: str
    due: float
    held: str
    attention: float
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
    ledger.standing.move(task, number, chosen)
    if due == 0:
        ledger.roster.arrived(ledger.roster.lane(lane), attention)
    elif due < NEVER:
        ledger.next_due = min(ledger.next_due, due)
    return int(number)


def tell(
    ledger: Ledger, task: int, recipients: tuple[TaskRecipient, ...], status: Status, event: Event, *,
    again: bool = True,
) -> None:  # fmt: skip
    """Write what became of these recipients of a task into their trace rows; unless `again`, only where it is news."""
    base, packed = task >> SHIFT << SHIFT, event_bytes(event)
    numbers = [base | r.trace for r in recipients]
    ledger.db.executemany(
        "UPDATE trace SET status=?1, events=CAST(events||?2 AS BLOB) WHERE number=?3 AND (?4 OR status<>?1)",
        [(status.value, packed, number, again) for number in numbers],
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
