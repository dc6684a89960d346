"""A keeper's rows in a list: seams.Keeping for tests of the desk and its faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lockgate.seams import MOST_TASKS, Unavailable

_OVER = {"hold": "held", "release": "waiting"}


class ListedKeeping:
    """Keeps tasks and trace rows as plain mappings; set `away` to make every call raise Unavailable.

    Tasks have the keys of `Keeping.queue_list` and "state" (waiting or held); rows those of the amendments.
    `edits` lists every change as (action, task id, by).
    """

    def __init__(self, tasks: Sequence[Mapping[str, Any]] = (), rows: Sequence[Mapping[str, Any]] = ()) -> None:
        self.tasks = [dict(task) for task in tasks]
        self.rows = [dict(row) for row in rows]
        self.edits: list[tuple[str, str, str]] = []
        self.asked: list[Mapping[str, str]] = []
        self.held: list[dict[str, Any]] = []
        self.bodies: dict[int, bytes] = {}
        self.away = False

    async def queue_list(self, filters: Mapping[str, str]) -> Sequence[Mapping[str, Any]]:
        """Lanes, or the tasks that match."""
        self._here()
        if filters:
            return [task for task in self.tasks if _matches(task, filters)][:MOST_TASKS]
        lanes: dict[str, dict[str, Any]] = {}
        for task in self.tasks:
            lane = lanes.setdefault(task["lane"], {"lane": task["lane"], "tasks": 0, "held": 0, "why": task["why"]})
            lane["tasks"] += 1
            lane["held"] += task.get("state") == "held"
        return list(lanes.values())

    async def queue_count(self, filters: Mapping[str, str]) -> int:
        """How many tasks match."""
        self._here()
        return sum(_matches(task, filters) for task in self.tasks)

    async def queue_edit(self, action: str, filters: Mapping[str, str], by: str) -> int:
        """Change the tasks that match."""
        self._here()
        wanted = {key: value for key, value in filters.items() if key != "held"}
        found = [task for task in (self.held if "held" in filters else self.tasks) if _matches(task, wanted)]
        for task in found:
            self.edits.append((action, task["id"], by))
            task["state"] = _OVER.get(action, task.get("state", "waiting"))
            if action == "delete":
                (self.held if "held" in filters else self.tasks).remove(task)
        return len(found)

    async def trace_find(
        self, filters: Mapping[str, str], limit: int, after: str = ""
    ) -> Sequence[Mapping[str, Any]]:
        """Rows whose values equal the filters; times are not compared."""
        self._here()
        self.asked.append(dict(filters))
        names = {"sender": "sender_address", "recipient": "recipient_address", "ip": "from_ip"}
        wanted = {names.get(key, key): value for key, value in filters.items() if key not in {"since", "until"}}
        seen = next((n + 1 for n, row in enumerate(self.rows) if after and row.get("cursor") == after), 0)
        rows = [row for row in self.rows[seen:] if all(str(row.get(key)) == value for key, value in wanted.items())]
        return rows[:limit]

    async def trace_follow(self, filters: Mapping[str, str], since: str) -> tuple[Sequence[Mapping[str, Any]], str]:
        """Rows that were appended since."""
        self._here()
        start = int(since) if since else len(self.rows)
        return self.rows[start:], str(len(self.rows))

    async def trace_show(self, message: str) -> Mapping[str, Any] | None:
        """One message's rows."""
        self._here()
        rows = [row for row in self.rows if row.get("id") == message]
        return {"id": message, "rows": rows} if rows else None

    async def hold_list(
        self, filters: Mapping[str, str], limit: int, below: int = 0
    ) -> Sequence[Mapping[str, Any]]:
        """The rows of `held` that match."""
        self._here()
        wanted = {key: value for key, value in filters.items() if key not in {"since", "until"}}
        rows = [row for row in self.held if not below or row["task"] < below]
        return [row for row in rows if _matches(row, wanted)][:limit]

    async def hold_show(self, message: str) -> Mapping[str, Any] | None:
        """One held message; `bodies` has what lies under its task."""
        rows = await self.hold_list({"id": message}, 1000)
        return {"rows": rows, "head": self.bodies[rows[0]["task"]], "stories": {}} if rows else None

    async def hold_body(self, task: int) -> bytes | None:
        """The body of a held task."""
        self._here()
        return self.bodies.get(task)

    def _here(self) -> None:
        if self.away:
            raise Unavailable("the keeper is away")


def _matches(task: Mapping[str, Any], filters: Mapping[str, str]) -> bool:
    for key, value in filters.items():
        have = task.get("recipients" if key == "recipient" else key)
        if key == "organisation":
            if not str(task.get("lane", "")).startswith(f"{value}/"):
                return False
        elif value != have and not (isinstance(have, list) and any(one in have for one in value.split("\n"))):
            return False
    return True
