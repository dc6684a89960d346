"""Where changes are noted: a line in the journal that says who did what."""

from __future__ import annotations

from lockgate.seams import Journal


class JournalAudit:
    """Notes every change as a journal line."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    def wrote(
        self, by: str, did: str, *, before: object = None, after: object = None, **details: object
    ) -> None:
        """See Audit."""
        told = {name: value for name, value in (("before", before), ("after", after)) if value is not None}
        self._journal.note("audit", by=by, did=did, **told, **details)
