"""The audit at the desk: who changed what, and who was refused."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

import msgspec

from lockgate.flow.asking.ask import Answer, Ask
from lockgate.flow.asking.audit import AuditFind
from lockgate.flow.desk.rights import Caller, Right
from lockgate.flow.desk.section import Handler, Misuse
from lockgate.flow.desk.times import moment_before
from lockgate.seams import Clock

MOST_ROWS = 10_000
"""Rows of one answer."""


class AuditDesk(msgspec.Struct, frozen=True):
    """Answers what is asked about the audit.

    `find` gets the question with `since` and `until` as seconds since the epoch (None: open) and gives JSON-ready rows,
    newest first: at, who, what, refused, before, after, details.
    """

    clock: Clock
    find: Callable[[AuditFind, float | None, float | None], Awaitable[Sequence[Mapping[str, Any]]]]

    def handles(self) -> Mapping[type[Ask], Handler]:
        """See Section."""
        return {AuditFind: Handler(Right.AUDIT, self.search)}

    async def search(self, request: AuditFind, caller: Caller) -> Answer:
        """Rows that match."""
        if not 1 <= request.limit <= MOST_ROWS:
            raise Misuse(f"between 1 and {MOST_ROWS} rows can be asked for")
        now = self.clock.now()
        since = moment_before(request.since, now) if request.since else None
        until = moment_before(request.until, now) if request.until else None
        return Answer(result=list(await self.find(request, since, until)))
