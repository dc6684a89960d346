"""Backups at the desk: one at a time, each one noted."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from lockgate.flow.asking.ask import Answer, Ask
from lockgate.flow.asking.backup import BackupMake
from lockgate.flow.desk.rights import Caller, Right
from lockgate.flow.desk.section import Handler, Misuse
from lockgate.seams import Audit

Make = Callable[[BackupMake], Awaitable[Mapping[str, Any]]]
"""Make the backup that is asked for; what is to be said of it. Raises OSError in words, Unavailable."""


class BackupDesk:
    """Answers what is asked about backups."""

    def __init__(self, audit: Audit, make: Make) -> None:
        self._audit = audit
        self._make = make
        self._busy = False

    def handles(self) -> Mapping[type[Ask], Handler]:
        """See Section."""
        return {BackupMake: Handler(Right.BACKUP, self.make)}

    async def make(self, request: BackupMake, caller: Caller) -> Answer:
        """Make a backup."""
        if request.file and not request.file.startswith("/"):
            raise Misuse("the file has to be named by its whole path")
        if self._busy:
            raise Misuse("another backup is being made now")
        self._busy = True
        try:
            made = await self._make(request)
        except OSError as trouble:
            raise Misuse(f"no backup was made: {trouble}") from None
        finally:
            self._busy = False
        if not request.what_if:
            self._audit.wrote(caller.name, "backup", **made)
        return Answer(result={**made, "what_if": request.what_if})
