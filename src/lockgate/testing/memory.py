"""Queue and directory in memory, for tests: the promises of seams.Spool, Keeping and Directory without a disk."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import msgspec

from lockgate.mail.address import Address, parse_address
from lockgate.mail.discreet import (
    message_as_wished,
    refusal_as_wished,
    result_as_wished,
    row_as_wished,
    story_as_wished,
)
from lockgate.mail.events import Event, Happening, Status
from lockgate.mail.findings import Known, Members, Unknown, Who
from lockgate.mail.headers import HEAD
from lockgate.mail.message import BodyRef
from lockgate.mail.redaction import Discretion, nothing_hidden, spellings
from lockgate.mail.task import MOVED_LANE, Assigned, Finished, NewMessage, NewTask, Refusal, TaskRecipient
from lockgate.seams import Accepted, Clock, Unavailable
from lockgate.testing.memory_rows import (
    MemoryTask,
    MemoryTrace,
    fits,
    held_json,
    recipients_meant,
    refusal_json,
    task_json,
    trace_json,
)


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
        """The first octets (at most HEAD)."""
        return bytes(self._octets[:HEAD])

    def finish(self) -> BodyRef:
        """Keep them under a reference."""
        if self._ref is None:
            self._ref = self._spool.keep(bytes(self._octets))
        return self._ref

    def content(self) -> bytes | None:
        """All octets."""
        return bytes(self._octets)

    def octets(self) -> bytes:
        """All octets."""
        return bytes(self._octets)

    def abort(self) -> None:
        """Forget them."""


class MemorySpool:
    """seams.Spool and seams.Keeping for one worker. `assign()` hands out what is due by the clock, in order.

    Set `broken` to a sentence to have `begin`, `write` and `accept` raise Unavailable.
    """

    def __init__(
        self, clock: Clock, *, lane_pause: float = 60.0, delay_notice: float = 14400.0,
        discretion: Discretion = nothing_hidden, key: bytes = b"",
    ) -> None:  # fmt: skip
        self.clock = clock
        self.broken = ""
        self.refusals: list[Refusal] = []
        self.messages: dict[str, NewMessage] = {}
        self.tasks: dict[int, MemoryTask] = {}
        self.traces: dict[tuple[str, int], MemoryTrace] = {}
        self.finished: list[Finished] = []
        self.audit: list[tuple[float, str, str, dict[str, str], int]] = []
        self.lanes_down: dict[str, tuple[float, str]] = {}
        self._discretion = discretion
        self._masks = spellings(key) if key else ()
        self._changed: list[MemoryTrace] = []
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

    async def accept(self, new: NewMessage, letters: Sequence[NewMessage] = ()) -> Accepted:
        """Keep the message; fresh tasks of healthy, empty lanes are owned. Raises Unavailable while `broken`."""
        if self.broken:
            raise Unavailable(self.broken)
        accepted = self._keep(new)
        for letter in letters:
            self._keep(letter, fresh=False)
        return accepted

    def _keep(self, new: NewMessage, *, fresh: bool = True) -> Accepted:
        if new.once and new.id in self.messages:
            return Accepted(tuple([(0, False) for _ in new.tasks]))
        self.messages[new.id] = new
        kept, sender = message_as_wished(new, self._discretion)
        for t in kept.traces:
            self.traces[new.id, t.number] = trace = MemoryTrace(
                len(self.traces) + 1, kept, sender, t.number, t.organisation, t.recipient, t.status, list(t.events),
                t.inbound_connector, t.outbound_connector, t.rules,
            )  # fmt: skip
            self._changed.append(trace)
        return Accepted(tuple([self._add(new, task, fresh=fresh) for task in new.tasks]))

    def _add(self, new: NewMessage, task: NewTask, *, fresh: bool = True) -> tuple[int, bool]:
        number = next(self._numbers)
        due = task.due if task.due > self.clock.now() else 0.0
        mine = [t for t in self.tasks.values() if t.task.lane == task.lane]
        waiting = any(not (t.owner or t.held or t.due) for t in mine)
        owner = fresh and not task.held and not due and not waiting and task.lane not in self.lanes_down
        self.tasks[number] = MemoryTask(
            number, new, task, dict(enumerate(task.recipients)), task.recipients, owner, due, task.held,
            self.clock.now() if task.held else 0.0, task.until, expires=new.expires,
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
                redactor = self._discretion(entry.task.lane.partition("/")[0])
                trace.status = result.status or trace.status
                trace.outbound = result.connector or trace.outbound
                trace.events.append(result_as_wished(result, redactor).event if redactor else result.event)
                self._changed.append(trace)
            entry.last_reply = result.event.reply or entry.last_reply
            if result.done:
                entry.left.pop(result.recipient, None)
        entry.warned = entry.warned or done.warned
        if any(r.event.host or r.event.kind is Happening.SEND for r in done.results) and not done.lane_down:
            self.lanes_down.pop(entry.task.lane, None)
        if done.replace or not entry.left:
            del self.tasks[done.task]
            for task in done.replace:
                number, _ = self._add(entry.message, task, fresh=False)
                self._carry_out(self.tasks[number], entry.orders)
        elif not done.keep:
            entry.owner = False
            entry.recipients = tuple(entry.left.values())
            entry.left = dict(enumerate(entry.recipients))
            entry.due = done.due if done.due > self.clock.now() else 0.0
            entry.attempts += int(done.due > 0)
            if done.lane_down and self.lanes_down.get(entry.task.lane, (0.0, ""))[0] <= self.clock.now():
                self.lanes_down[entry.task.lane] = (self.clock.now() + self._pause, done.lane_down)
                entry.last_reply = done.lane_down
            orders, entry.orders = entry.orders, {}
            self._carry_out(entry, orders)

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

    def refused(self, row: Refusal, story: Callable[[], bytes] | None = None) -> None:
        """Note a refusal."""
        told = row if story is None else msgspec.structs.replace(row, story=story())
        self.refusals.append(refusal_as_wished(told, self._discretion))

    # -- for the test ----------------------------------------------------------------------------------------------

    def assign(self) -> list[Assigned]:
        """Hand out what is due now, as the keeper would; returns it too."""
        self._expire()
        now, given = self.clock.now(), []
        for entry in sorted(self.tasks.values(), key=lambda t: t.number):
            if entry.owner or entry.held:
                continue
            expired = now >= entry.expires
            late = not entry.warned and self._notice > 0 and now - entry.message.received >= self._notice
            until, why = self.lanes_down.get(entry.task.lane, (0.0, ""))
            down = why if until > now else ""
            if (entry.due > now or down) and not expired and not late:
                continue
            entry.owner, entry.due = True, 0.0
            given.append(self._assigned(entry, expired=expired, down=down))
        if given:
            self._take(given)
        return given

    def _assigned(self, entry: MemoryTask, *, expired: bool, down: str) -> Assigned:
        new = entry.message
        return Assigned(
            entry.number, new.id, entry.task.lane, entry.task.route, new.envelope, new.body, new.size,
            entry.recipients, new.received, entry.expires, entry.attempts, entry.warned, expired, entry.last_reply,
            down, None, entry.task.stamp,
        )  # fmt: skip

    # -- Keeping ---------------------------------------------------------------------------------------------------

    async def queue_list(self, filters: Mapping[str, str]) -> Sequence[Mapping[str, Any]]:
        """Lanes, or with filters the tasks."""
        if filters:
            return [task_json(t) for t in self.tasks.values() if recipients_meant(t, filters)]
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

    async def queue_count(self, filters: Mapping[str, str]) -> int:
        """How many tasks match."""
        return sum(bool(recipients_meant(t, filters)) for t in self.tasks.values())

    async def queue_edit(self, action: str, filters: Mapping[str, str], by: str) -> int:
        """retry, hold, release, delete or reroute. Raises ValueError for anything else."""
        if action not in ("retry", "hold", "release", "delete", "reroute") or not filters:
            raise ValueError(f"{action!r} with filters {dict(filters)!r} cannot be done")
        count = 0
        for task in list(self.tasks.values()):
            meant = recipients_meant(task, filters)
            if not meant or (action == "reroute" and task.task.route is None):
                continue
            if task.owner:
                count += self._under_way(task, meant, action, by)
            elif action not in ("hold", "release") or (action == "hold") != bool(task.held):
                count += self._edit(self._part(task, meant) if action != "retry" else task, action, by)
        self.audit.append((self.clock.now(), by, action, dict(filters), count))
        return count

    def _part(self, entry: MemoryTask, meant: Sequence[int]) -> MemoryTask:
        """The task, or if it has other recipients too, a new one for those that are meant."""
        if len(meant) == len(entry.left):
            return entry
        number = next(self._numbers)
        chosen = {n: entry.left.pop(n) for n in meant}
        part = msgspec.structs.replace(entry, number=number, left=dict(enumerate(chosen.values())),
                                       recipients=tuple(chosen.values()), orders={})  # fmt: skip
        entry.recipients = tuple(entry.left.values())
        entry.left = dict(enumerate(entry.recipients))
        self.tasks[number] = part
        return part

    def _under_way(self, entry: MemoryTask, meant: Sequence[int], action: str, by: str) -> bool:
        """The worker has the task: whether there is anything new to be done when it comes back."""
        changed = []
        for recipient in [entry.left[n] for n in meant]:
            given = entry.orders.get(recipient, {})
            if action == "release":
                if given.pop("hold", ""):
                    changed.append(recipient)
            elif action != "retry" and not {action, "delete"} & given.keys():
                entry.orders[recipient] = {action: by} if action == "delete" else {**given, action: by}
                changed.append(recipient)
        status, event = self._said(action, by)
        if action != "reroute":
            self._tell(entry, status, event, changed)
        return bool(changed)

    def _carry_out(self, entry: MemoryTask, orders: Mapping[TaskRecipient, Mapping[str, str]]) -> None:
        """Do what was ordered while the worker had the task; it holds for all that has become of a recipient."""
        by_trace = {recipient.trace: given for recipient, given in orders.items()}
        for recipient in [*entry.left.values()]:
            for action, by in orders.get(recipient, by_trace.get(recipient.trace, {})).items():
                (task,) = [t for t in self.tasks.values() if not t.owner and recipient in t.left.values()
                           and t.message.id == entry.message.id]  # fmt: skip
                if action != "hold" or not task.held:
                    meant = [n for n, one in task.left.items() if one == recipient]
                    self._edit(self._part(task, meant), action, by, standing=True)

    def _said(self, action: str, by: str) -> tuple[Status, Event]:
        """The word and the event of the trace for an order."""
        now = self.clock.now()
        if action == "hold":
            return Status.HELD, Event(now, Happening.HOLD, f"held by {by}")
        if action == "release":
            return Status.PENDING, Event(now, Happening.RELEASE, f"released by {by}")
        return Status.DROPPED, Event(now, Happening.DROP, f"deleted by {by}")

    def _edit(self, entry: MemoryTask, action: str, by: str, *, standing: bool = False) -> bool:
        now = self.clock.now()
        match action:
            case "retry":
                if entry.held:
                    return False
                entry.due = 0.0
                self.lanes_down.pop(entry.task.lane, None)
                return True
            case "hold":
                entry.held, entry.held_at, entry.held_until = f"held by {by}", now, 0.0
            case "release":
                late = entry.held_at <= entry.message.received + self._notice <= now and self._notice > 0
                entry.warned = entry.warned or late
                entry.expires += now - entry.held_at
                entry.held, entry.due, entry.held_at, entry.held_until = "", 0.0, 0.0, 0.0
            case "reroute":
                there = f"{entry.task.lane.partition('/')[0]}/{MOVED_LANE}"
                entry.task = msgspec.structs.replace(entry.task, lane=there, route=None)
                entry.due = entry.due if entry.held else 0.0
                for recipient in entry.left.values():
                    self.traces[entry.message.id, recipient.trace].outbound = ""
                event = Event(now, Happening.DEFER, f"the mailbox moved ({by}); where it goes is decided again")
                self._tell(entry, Status.HELD if entry.held else Status.PENDING, event)
                return True
            case _:
                del self.tasks[entry.number]
        status, event = self._said(action, by)
        news = [r for r in entry.left.values() if self.traces[entry.message.id, r.trace].status != status]
        self._tell(entry, status, event, news if standing else None)
        return True

    def _tell(
        self, entry: MemoryTask, status: Status, event: Event, whom: Iterable[TaskRecipient] | None = None
    ) -> None:
        for recipient in entry.left.values() if whom is None else whom:
            trace = self.traces[entry.message.id, recipient.trace]
            trace.status = status
            trace.events.append(event)
            self._changed.append(trace)

    def _expire(self) -> None:
        now = self.clock.now()
        for entry in [t for t in self.tasks.values() if t.held and 0 < t.held_until <= now]:
            why = "deleted, because the time for which held mail is kept was over; the sender was not told"
            self._tell(entry, Status.DROPPED, Event(now, Happening.DROP, why))
            del self.tasks[entry.number]

    async def trace_find(
        self, filters: Mapping[str, str], limit: int, after: str = ""
    ) -> Sequence[Mapping[str, Any]]:
        """Rows as docs/trace.md has them, newest first, refusals included."""
        rows = [{**trace_json(t), "cursor": f"{t.place:x}.0"} for t in self.traces.values()]
        rows += [{**refusal_json(r), "cursor": f"0.{n:x}"} for n, r in enumerate(self.refusals, 1)]
        found = sorted((r for r in rows if fits(r, filters, self._masks)), key=lambda row: -row["received"])
        seen = [row["cursor"] for row in found].index(after) + 1 if after else 0
        return [row_as_wished(row, self._discretion) for row in found[seen : seen + limit]]

    async def trace_follow(self, filters: Mapping[str, str], since: str) -> tuple[Sequence[Mapping[str, Any]], str]:
        """Rows that are new or have changed, oldest first, and the next mark."""
        mark = f"{len(self._changed)}.{len(self.refusals)}"
        if not since:
            return [], mark
        changed, refused = (int(number) for number in since.split("."))
        rows = [trace_json(t) for t in {id(t): t for t in self._changed[changed:]}.values()]
        rows += [refusal_json(r) for r in self.refusals[refused:]]
        found = [row for row in rows if fits(row, filters, self._masks)]
        return [row_as_wished(r, self._discretion) for r in sorted(found, key=lambda row: row["received"])], mark

    async def trace_show(self, message: str) -> Mapping[str, Any] | None:
        """One message: its rows, events and recorded stories."""
        traces = [t for t in self.traces.values() if t.message.id == message]
        if not traces:
            found = self._show_refused(message)
            return None if found is None else story_as_wished(found, self._discretion)
        found = {
            "id": message,
            "connection": self.messages[message].connection_id,
            "rows": [{**trace_json(t), "events": [msgspec.structs.asdict(e) for e in t.events]} for t in traces],
            "stories": dict(self.messages[message].stories),
        }
        return story_as_wished(found, self._discretion)

    def _show_refused(self, connection: str) -> dict[str, Any] | None:
        refused = [row for row in reversed(self.refusals) if row.id == connection]
        if not refused:
            return None
        shown = [{**refusal_json(row), "events": []} for row in refused]
        told = [
            {"organisation": one.organisation, "story": one.story, "row": row}
            for one, row in zip(refused, shown, strict=True)
        ]
        return {"id": connection, "connection": connection, "rows": shown, "stories": {}, "refusals": told}

    async def hold_list(
        self, filters: Mapping[str, str], limit: int, below: int = 0
    ) -> Sequence[Mapping[str, Any]]:
        """Held tasks and those that wait for the judge, newest first."""
        rows = []
        for task in self.tasks.values():
            row = held_json(task, self.traces[task.message.id, task.recipients[0].trace].message)
            if row is not None and recipients_meant(task, filters) and (not below or task.number < below):
                rows.append(row)
        return sorted(rows, key=lambda row: -row["task"])[:limit]

    async def hold_show(self, message: str) -> Mapping[str, Any] | None:
        """One message's held tasks, the first octets of its body, and its recorded stories."""
        rows = await self.hold_list({"id": message}, 1000)
        if not rows:
            return None
        new = self.messages[message]
        return {"rows": rows, "head": self._bodies[new.body][:65536], "stories": dict(new.stories)}

    async def hold_body(self, task: int) -> bytes | None:
        """The body of a held task."""
        entry = self.tasks.get(task)
        return self._bodies[entry.message.body] if entry is not None and entry.held else None


class MemoryDirectory:
    """seams.Directory over a dict of (organisation, address key); set `broken` to have it answer Unknown.

    `members` are those of groups: (organisation, primary address key) to addresses as they are listed.
    """

    def __init__(
        self,
        people: Mapping[tuple[str, str], Who] | None = None,
        members: Mapping[tuple[str, str], Sequence[str]] | None = None,
    ) -> None:
        self.people = dict(people or {})
        self.members = dict(members or {})
        self.revision = 1
        self.broken = ""

    def who_is(self, organisation: str, address: str) -> Known | Unknown:
        """Whose is this address?"""
        if self.broken:
            return Unknown(self.broken)
        return Known(self.people.get((organisation, address)), self.revision)

    def members_of(self, organisation: str, address: str) -> Members | Unknown:
        """The direct members of a group."""
        if self.broken:
            return Unknown(self.broken)
        known: dict[str, Who] = {}
        others: dict[str, Address] = {}
        for text in self.members.get((organisation, address), ()):
            listed = parse_address(text, utf8=True)
            who = self.people.get((organisation, listed.key))
            if who is not None:
                known[who.primary.key] = who
            else:
                others[listed.key] = listed
        return Members(tuple(known.values()), tuple(others.values()), self.revision)
