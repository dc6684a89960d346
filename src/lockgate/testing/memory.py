"""Queue and directory in memory, for tests: the promises of seams.Spool, Keeping and Directory without a disk."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from lockgate.mail.events import Event, Happening, Status
from lockgate.mail.findings import Known, Unknown, Who
from lockgate.mail.message import BodyRef
from lockgate.mail.task import Assigned, Finished, NewMessage, NewTask, Refusal, TaskRecipient
from lockgate.seams import Accepted, Clock, Unavailable


class MemoryBody:
    """seams.BodyWriter in memory."""

    def __init__(self, spool: MemorySpool, prefix: bytes) -> None:
        self._spool = spool
        self._octets = bytearray(prefix)
        self._ref: BodyRef | None = None

    @property
    def size(self) -> int:
        """Octets written so far."""
        return len(self._octets)

    def write(self, chunk: bytes) -> None:
        """Take more octets."""
        if self._ref is not None:
            raise ValueError("the body is finished")
        if self._spool.broken:
            raise Unavailable(self._spool.broken)
        self._octets += chunk

    def head(self) -> bytes:
        """The first octets."""
        return bytes(self._octets[: 256 * 1024])

    def finish(self) -> BodyRef:
        """Keep them under a reference."""
        if self._ref is None:
            self._ref = self._spool.keep(bytes(self._octets))
        return self._ref

    def content(self) -> bytes | None:
        """All octets."""
        return bytes(self._octets)

    def abort(self) -> None:
        """Forget them."""


class MemoryTask(msgspec.Struct):
    """One task of the fake queue; `owner` tells that the worker has it."""

    number: int
    message: NewMessage
    task: NewTask
    left: dict[int, TaskRecipient]
    recipients: tuple[TaskRecipient, ...]
    owner: bool = False
    due: float = 0.0
    held: str = ""
    attempts: int = 0
    warned: bool = False
    last_reply: str = ""
    expires: float = 0.0


class MemoryTrace(msgspec.Struct):
    """One trace row of the fake queue."""

    message: NewMessage
    number: int
    organisation: str
    recipient: str
    status: Status
    events: list[Event]
    inbound: str = ""
    outbound: str = ""


class MemorySpool:
    """seams.Spool and seams.Keeping for one worker. `assign()` hands out what is due by the clock, in order.

    Set `broken` to a sentence to have `begin`, `write` and `accept` raise Unavailable.
    """

    def __init__(self, clock: Clock, *, lane_pause: float = 60.0, delay_notice: float = 14400.0) -> None:
        self.clock = clock
        self.broken = ""
        self.refusals: list[Refusal] = []
        self.messages: dict[str, NewMessage] = {}
        self.tasks: dict[int, MemoryTask] = {}
        self.traces: dict[tuple[str, int], MemoryTrace] = {}
        self.finished: list[Finished] = []
        self.audit: list[tuple[float, str, str, dict[str, str], int]] = []
        self.lanes_down: dict[str, tuple[float, str]] = {}
        self._pause = lane_pause
        self._notice = delay_notice
        self._bodies: dict[BodyRef, bytes] = {}
        self._numbers = itertools.count(1)
        self._take: Callable[[Sequence[Assigned]], None] = lambda tasks: None

    # -- Spool -----------------------------------------------------------------------------------------------------

    def keep(self, octets: bytes) -> BodyRef:
        """Keep a finished body."""
        ref = BodyRef("memory", len(self._bodies), len(octets), 0)
        self._bodies[ref] = octets
        return ref

    def begin(self, prefix: bytes) -> MemoryBody:
        """Start a body. Raises Unavailable while `broken`."""
        if self.broken:
            raise Unavailable(self.broken)
        return MemoryBody(self, prefix)

    async def accept(self, new: NewMessage) -> Accepted:
        """Keep the message; fresh tasks of healthy, empty lanes are owned. Raises Unavailable while `broken`."""
        if self.broken:
            raise Unavailable(self.broken)
        self.messages[new.id] = new
        for t in new.traces:
            self.traces[new.id, t.number] = MemoryTrace(
                new, t.number, t.organisation, t.recipient, t.status, list(t.events), t.inbound_connector,
                t.outbound_connector,
            )  # fmt: skip
        return Accepted(tuple([self._add(new, task) for task in new.tasks]))

    def _add(self, new: NewMessage, task: NewTask, *, fresh: bool = True) -> tuple[int, bool]:
        number = next(self._numbers)
        due = task.due if task.due > self.clock.now() else 0.0
        mine = [t for t in self.tasks.values() if t.task.lane == task.lane]
        waiting = any(not (t.owner or t.held or t.due) for t in mine)
        owner = fresh and not task.held and not due and not waiting and task.lane not in self.lanes_down
        self.tasks[number] = MemoryTask(
            number, new, task, dict(enumerate(task.recipients)), task.recipients, owner, due, task.held,
            expires=new.expires,
        )  # fmt: skip
        return number, owner

    def finish(self, done: Finished) -> None:
        """Note the end of an attempt."""
        entry = self.tasks.get(done.task)
        if entry is None or not entry.owner:
            return
        self.finished.append(done)
        for result in done.results:
            trace = self.traces.get((entry.message.id, entry.recipients[result.recipient].trace))
            if trace is not None:
                trace.status = result.status or trace.status
                trace.events.append(result.event)
            entry.last_reply = result.event.reply or entry.last_reply
            if result.done:
                entry.left.pop(result.recipient, None)
        entry.warned = entry.warned or done.warned
        if any(r.event.host or r.event.kind is Happening.SEND for r in done.results) and not done.lane_down:
            self.lanes_down.pop(entry.task.lane, None)
        if done.replace or not entry.left:
            del self.tasks[done.task]
            for task in done.replace:
                self._add(entry.message, task, fresh=False)
        elif not done.keep:
            entry.owner = False
            entry.recipients = tuple(entry.left.values())
            entry.left = dict(enumerate(entry.recipients))
            entry.due = done.due if done.due > self.clock.now() else 0.0
            entry.attempts += int(done.due > 0)
            if done.lane_down and self.lanes_down.get(entry.task.lane, (0.0, ""))[0] <= self.clock.now():
                self.lanes_down[entry.task.lane] = (self.clock.now() + self._pause, done.lane_down)
                entry.last_reply = done.lane_down

    def receive_with(self, take: Callable[[Sequence[Assigned]], None]) -> None:
        """Have tasks handed to `take` by `assign`."""
        self._take = take

    async def read(self, body: BodyRef) -> bytes:
        """The octets. Raises FileNotFoundError."""
        if body not in self._bodies:
            raise FileNotFoundError(body.segment)
        return self._bodies[body]

    async def story(self, message: str, organisation: str) -> bytes | None:
        """The recorded facts and ruling."""
        new = self.messages.get(message)
        return dict(new.stories).get(organisation) if new else None

    def refused(self, row: Refusal) -> None:
        """Note a refusal."""
        self.refusals.append(row)

    # -- for the test ----------------------------------------------------------------------------------------------

    def assign(self) -> list[Assigned]:
        """Hand out what is due now, as the keeper would; returns it too."""
        now, given = self.clock.now(), []
        for entry in sorted(self.tasks.values(), key=lambda t: t.number):
            if entry.owner or entry.held:
                continue
            expired = now >= entry.expires
            late = not entry.warned and self._notice > 0 and now - entry.message.received >= self._notice
            down = self.lanes_down.get(entry.task.lane, (0.0, ""))[0] > now
            if (entry.due > now or down) and not expired and not late:
                continue
            entry.owner, entry.due = True, 0.0
            given.append(self._assigned(entry, expired=expired))
        if given:
            self._take(given)
        return given

    def _assigned(self, entry: MemoryTask, *, expired: bool) -> Assigned:
        new = entry.message
        return Assigned(
            entry.number, new.id, entry.task.lane, entry.task.route, new.envelope, new.body, new.size,
            entry.recipients, new.received, entry.expires, entry.attempts, entry.warned, expired, entry.last_reply,
        )  # fmt: skip

    # -- Keeping ---------------------------------------------------------------------------------------------------

    async def queue_list(self, filters: Mapping[str, str]) -> Sequence[Mapping[str, Any]]:
        """Lanes, or with filters the tasks."""
        if filters:
            return [_task_json(t) for t in self.tasks.values() if _means(t, filters)]
        rows: dict[str, dict[str, Any]] = {}
        for t in self.tasks.values():
            lane = t.task.lane
            until, why = self.lanes_down.get(lane, (0.0, ""))
            row = rows.setdefault(
                lane, {"lane": lane, "tasks": 0, "held": 0, "with_workers": 0, "oldest": t.message.received,
                       "fails": int(until > 0), "next_attempt": until, "why": why},
            )  # fmt: skip
            row["tasks"] += 1
            row["held"] += int(bool(t.held))
            row["with_workers"] += int(t.owner)
        return list(rows.values())

    async def queue_edit(self, action: str, filters: Mapping[str, str], by: str) -> int:
        """retry, hold, release or delete. Raises ValueError for anything else."""
        if action not in ("retry", "hold", "release", "delete") or not filters:
            raise ValueError(f"{action!r} with filters {dict(filters)!r} cannot be done")
        count = sum([self._edit(t, action, by) for t in list(self.tasks.values()) if _means(t, filters)])
        self.audit.append((self.clock.now(), by, action, dict(filters), count))
        return count

    def _edit(self, entry: MemoryTask, action: str, by: str) -> bool:
        now = self.clock.now()
        match action:
            case "retry":
                if entry.held or entry.owner:
                    return False
                entry.due = 0.0
                self.lanes_down.pop(entry.task.lane, None)
            case "hold":
                if entry.held:
                    return False
                entry.held = f"held by {by}"
                self._tell(entry, Status.HELD, Event(now, Happening.HOLD, entry.held))
            case "release":
                if not entry.held:
                    return False
                entry.held, entry.due, entry.warned = "", 0.0, True
                entry.expires = max(entry.expires, now + entry.message.expires - entry.message.received)
                self._tell(entry, Status.PENDING, Event(now, Happening.RELEASE, f"released by {by}"))
            case _:
                self._tell(entry, Status.DROPPED, Event(now, Happening.DROP, f"deleted by {by}"))
                del self.tasks[entry.number]
        return True

    def _tell(self, entry: MemoryTask, status: Status, event: Event) -> None:
        for recipient in entry.left.values():
            trace = self.traces[entry.message.id, recipient.trace]
            trace.status = status
            trace.events.append(event)

    async def trace_find(self, filters: Mapping[str, str], limit: int) -> Sequence[Mapping[str, Any]]:
        """Rows as the amendments document them, newest first, refusals included."""
        rows = [_trace_json(t) for t in self.traces.values()] + [_refusal_json(r) for r in self.refusals]
        found = [row for row in rows if all(_fits(row, name, value) for name, value in filters.items())]
        return sorted(found, key=lambda row: -row["received"])[:limit]

    async def trace_show(self, message: str) -> Mapping[str, Any] | None:
        """One message: its rows, events and recorded stories."""
        traces = [t for t in self.traces.values() if t.message.id == message]
        if not traces:
            return None
        return {
            "rows": [{**_trace_json(t), "events": [msgspec.structs.asdict(e) for e in t.events]} for t in traces],
            "stories": dict(self.messages[message].stories),
        }


def _means(entry: MemoryTask, filters: Mapping[str, str]) -> bool:
    for name, value in filters.items():
        match name:
            case "lane":
                ok = entry.task.lane == value
            case "id":
                ok = entry.message.id == value
            case "task":
                ok = str(entry.number) == value
            case "sender":
                ok = entry.message.envelope.sender_text.casefold() == value.casefold()
            case "recipient":
                ok = any(value.casefold() in (r.target.key, r.id.original.key) for r in entry.left.values())
            case "held":
                ok = bool(entry.held) and entry.held.startswith(value)
            case _:
                raise ValueError(f"tasks have no {name}")
        if not ok:
            return False
    return True


def _task_json(t: MemoryTask) -> dict[str, Any]:
    return {
        "id": t.message.id, "task": t.number, "lane": t.task.lane, "sender": t.message.envelope.sender_text,
        "recipients": [r.target.text for r in t.left.values()], "attempts": t.attempts, "due": t.due,
        "held": t.held, "why": t.held or t.last_reply, "received": t.message.received, "size": t.message.size,
        "with_worker": t.owner,
    }  # fmt: skip


def _trace_json(t: MemoryTrace) -> dict[str, Any]:
    new = t.message
    return {
        "id": new.id, "received": new.received, "organisation": t.organisation,
        "sender_address": new.envelope.sender_text, "recipient_address": t.recipient, "subject": new.subject,
        "status": t.status.value, "from_ip": new.from_ip, "to_ip": "", "size": new.size,
        "message_id": new.message_id, "network_message_id": new.id, "inbound_connector": t.inbound,
        "outbound_connector": t.outbound, "tls": new.tls, "pool": "",
        "reply": next((e.reply for e in reversed(t.events) if e.reply), ""), "revision": new.revision,
    }  # fmt: skip


def _refusal_json(r: Refusal) -> dict[str, Any]:
    return {
        "id": r.id, "received": r.at, "organisation": r.organisation, "sender_address": r.sender,
        "recipient_address": r.recipient, "subject": "", "status": Status.REFUSED.value, "from_ip": r.peer,
        "to_ip": "", "size": 0, "message_id": "", "network_message_id": "", "inbound_connector": r.connector,
        "outbound_connector": "", "tls": r.tls, "pool": "", "reply": r.reply, "revision": r.revision,
    }  # fmt: skip


def _fits(row: Mapping[str, Any], name: str, value: str) -> bool:
    match name:
        case "sender" | "recipient":
            return str(row[f"{name}_address"]).casefold() == value.casefold()
        case "id":
            return value.strip("<>") in (row["id"], row["network_message_id"], str(row["message_id"]).strip("<>"))
        case "ip":
            return value in (row["from_ip"], row["to_ip"])
        case "since":
            return float(row["received"]) >= float(value)
        case "until":
            return float(row["received"]) < float(value)
        case _:
            return str(row[name]).casefold() == value.casefold()


class MemoryDirectory:
    """seams.Directory over a dict of (organisation, address key); set `broken` to have it answer Unknown."""

    def __init__(self, people: Mapping[tuple[str, str], Who] | None = None) -> None:
        self.people = dict(people or {})
        self.revision = 1
        self.broken = ""

    def who_is(self, organisation: str, address: str) -> Known | Unknown:
        """Whose is this address?"""
        if self.broken:
            return Unknown(self.broken)
        return Known(self.people.get((organisation, address)), self.revision)
