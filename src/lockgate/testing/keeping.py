"""A keeper's rows in a list: seams.Keeping for tests of the desk and its faces."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from lockgate.seams import Unavailable

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
        self.away = False

    async def queue_list(self, filters: Mapping[str, str]) -> Sequence[Mapping[str, Any]]:
        """Lanes, or the tasks that match."""
        self._here()
        if filters:
            return [task for task in self.tasks if _matches(task, filters)]
        lanes: dict[str, dict[str, Any]] = {}
        for task in self.tasks:
            lane = lanes.setdefault(task["lane"], {"lane": task["lane"], "tasks": 0, "held": 0, "why": task["why"]})
            lane["tasks"] += 1
            lane["held"] += task.get("state") == "held"
        return list(lanes.values())

    async def queue_edit(self, action: str, filters: Mapping[str, str], by: str) -> int:
        """Change the tasks that match."""
        self._here()
        found = [task for task in self.tasks if _matches(task, filters)]
        for task in found:
            self.edits.append((action, task["id"], by))
            task["state"] = _OVER.get(action, task.get("state", "waiting"))
            if action == "delete":
                self.tasks.remove(task)
        return len(found)

    async def trace_find(self, filters: Mapping[str, str], limit: int) -> Sequence[Mapping[str, Any]]:
        """Rows whose values equal the filters; times are not compared."""
        self._here()
        self.asked.append(dict(filters))
        names = {"sender": "sender_address", "recipient": "recipient_address", "ip": "from_ip"}
        wanted = {names.get(key, key): value for key, value in filters.items() if key not in {"since", "until"}}
        return [row for row in self.rows if all(str(row.get(key)) == value for key, value in wanted.items())][:limit]

    async def trace_show(self, message: str) -> Mapping[str, Any] | None:
        """One message's rows."""
        self._here()
        rows = [row for row in self.rows if row.get("id") == message]
        return {"id": message, "rows": rows} if rows else None

    def _here(self) -> None:
        if self.away:
            raise Unavailable("the keeper is away")


def _matches(task: Mapping[str, Any], filters: Mapping[str, str]) -> bool:
    for key, value in filters.items():
        have = task.get("recipients" if key == "recipient" else key)
        if value != have and not (isinstance(have, list) and value in have):
            return False
    return True
