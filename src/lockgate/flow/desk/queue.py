"""Waiting messages at the desk: list, retry, hold, release, delete."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from lockgate.flow.asking.ask import Answer, Ask
from lockgate.flow.asking.queue import QueueEdit, QueueList
from lockgate.flow.desk.rights import Caller, Right
from lockgate.flow.desk.section import Forbidden, Handler, Misuse, Nothing, known_filters
from lockgate.seams import MOST_TASKS, Audit, Keeping

FILTERS = ("lane", "id", "task", "sender", "recipient", "held")
_TOLD = ("id", "lane", "sender", "recipients", "held")
MOST_TOLD = 50
"""Tasks that an audit row names as they were before; the trace of each message has what was done to it."""

ACTIONS = ("retry", "hold", "release", "delete")


class QueueDesk(msgspec.Struct, frozen=True):
    """Answers what is asked about the queue."""

    keeping: Keeping
    audit: Audit

    def handles(self) -> Mapping[type[Ask], Handler]:
        """See Section."""
        return {QueueList: Handler(Right.QUEUE_VIEW, self.list), QueueEdit: Handler(Right.QUEUE, self.edit, Right.HELD)}

    async def list(self, request: QueueList, caller: Caller) -> Answer:
        """Lanes, or with a filter the tasks."""
        filters = known_filters(request.filters, FILTERS)
        rows = [*await self.keeping.queue_list(filters)]
        count = await self._count(filters, rows) if filters else len(rows)
        return Answer(result=rows, sentence=_cut(rows, count))

    async def edit(self, request: QueueEdit, caller: Caller) -> Answer:
        """Change waiting tasks; without a filter nothing is touched, because "everything" is rarely meant."""
        if request.action not in ACTIONS:
            raise Misuse(f"the queue knows {', '.join(ACTIONS)}, not '{request.action[:40]}'")
        if Right.QUEUE not in caller.rights and request.action != "release":
            # Releasing touches held mail only, whatever the filter says; the other actions do not.
            raise Forbidden(f"your account lacks the right {Right.QUEUE}; with {Right.HELD} it may only release")
        filters = known_filters(request.filters, FILTERS)
        if not filters:
            raise Misuse("say which messages: an id, or --lane, --sender or --recipient")
        tasks = [*await self.keeping.queue_list(filters)]
        if not tasks:
            raise Nothing("no waiting message matches")
        if request.what_if:
            count = await self._count(filters, tasks)
            said = {"action": request.action, "what_if": True, "count": count, "tasks": tasks}
            return Answer(result=said, sentence=_cut(tasks, count))
        count = await self.keeping.queue_edit(request.action, filters, caller.name)
        told = {f"for_{key}": value for key, value in filters.items()}
        before = [{name: task.get(name) for name in _TOLD} for task in tasks[:MOST_TOLD]]
        self.audit.wrote(caller.name, f"queue {request.action}", before=before, count=count, **told)
        return Answer(result={"action": request.action, "what_if": False, "count": count})

    async def _count(self, filters: Mapping[str, str], rows: Sequence[Mapping[str, Any]]) -> int:
        """How many there are; they are counted only where the list is cut."""
        return len(rows) if len(rows) < MOST_TASKS else await self.keeping.queue_count(filters)


def _cut(rows: Sequence[Mapping[str, Any]], count: int) -> str:
    return f"the first {len(rows)} of {count} tasks are shown" if count > len(rows) else ""
