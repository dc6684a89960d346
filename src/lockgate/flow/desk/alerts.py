"""Alerts at the desk: what is wrong, and who looks after it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from lockgate.flow.asking.alerts import AlertAck, AlertList
from lockgate.flow.asking.ask import Answer, Ask
from lockgate.flow.desk.rights import Caller, Right
from lockgate.flow.desk.section import Handler, Nothing
from lockgate.seams import Audit

Row = Mapping[str, Any]


class AlertDesk(msgspec.Struct, frozen=True):
    """Answers what is asked about alerts.

    `listed` gives all alerts as rows, newest first: id, what, which, details, since, taken, taken_by, over, active.
    `take` notes who looks after some (ids; none: all that are active) and gives those it changed.
    """

    audit: Audit
    listed: Callable[[], Sequence[Row]]
    take: Callable[[list[str], str], Sequence[Row]]

    def handles(self) -> Mapping[type[Ask], Handler]:
        """See Section."""
        return {
            AlertList: Handler(Right.SERVICE_VIEW, self.list),
            AlertAck: Handler(Right.ALERTS, self.acknowledge),
        }

    async def list(self, request: AlertList, caller: Caller) -> Answer:
        """What is wrong."""
        return Answer(result=[row for row in self.listed() if request.over or not row["over"]])

    async def acknowledge(self, request: AlertAck, caller: Caller) -> Answer:
        """Somebody looks after it."""
        known = {row["id"] for row in self.listed() if row["active"]}
        if unknown := [name for name in request.ids if name not in known]:
            raise Nothing(f"no active alert has the id {unknown[0][:20]}")
        if not known:
            raise Nothing("no alert is active")
        if request.what_if:
            return Answer(result={"ids": sorted(set(request.ids) or known), "what_if": True})
        changed = self.take([*request.ids], caller.name)
        for row in changed:
            self.audit.wrote(caller.name, "alert ack", alert=row["id"], what=row["what"], which=row["which"])
        return Answer(result={"ids": [row["id"] for row in changed], "what_if": False})
