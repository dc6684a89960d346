"""Where changes are noted: a durable row and a line in the journal, each saying who did what to which object."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

from lockgate.seams import Clock, Journal
from lockgate.storage.audits import AuditBook, AuditRow

REFUSED = "was refused"
"""What is noted of an attempt that the caller had no right to."""


class StoredAudit:
    """seams.Audit: the row is on disk before `wrote` returns, so that whoever was told "done" finds it there."""

    def __init__(self, book: AuditBook, clock: Clock, journal: Journal) -> None:
        self._book = book
        self._clock = clock
        self._journal = journal
        self._gathered: ContextVar[list[AuditRow] | None] = ContextVar("gathered", default=None)

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """See Audit. They are on disk when it ends."""
        rows: list[AuditRow] = []
        token = self._gathered.set(rows)
        try:
            yield
        finally:
            self._gathered.reset(token)
            self._keep(rows)

    def wrote(
        self, by: str, did: str, *, before: object = None, after: object = None, **details: object
    ) -> None:
        """See Audit. A row that cannot be kept is an alarm; what was done is done."""
        row = AuditRow(
            self._clock.now(), by, did, refused=did == REFUSED, before=before, after=after, details=dict(details)
        )
        told = {name: value for name, value in (("before", before), ("after", after)) if value is not None}
        self._journal.note("audit", by=by, did=did, **told, **details)
        gathered = self._gathered.get()
        if gathered is not None:
            gathered.append(row)
        else:
            self._keep([row])

    def _keep(self, rows: list[AuditRow]) -> None:
        try:
            if rows:
                self._book.add_all(rows)
        except Exception as trouble:
            first = rows[0]
            self._journal.alarm(
                "an audit row could not be kept", by=first.who, did=first.what, rows=len(rows), trouble=trouble
            )
