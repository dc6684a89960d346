"""Happenings in a list: seams.Journal for tests."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator


class ListJournal:
    """Keeps (happening, details) in `notes`, alarms in `alarms` as well."""

    def __init__(self) -> None:
        self.notes: list[tuple[str, dict[str, object]]] = []
        self.alarms: list[tuple[str, dict[str, object]]] = []

    def note(self, happening: str, **details: object) -> None:
        """Note one thing."""
        self.notes.append((happening, details))

    def alarm(self, happening: str, **details: object) -> None:
        """Note what a person has to see."""
        self.notes.append((happening, details))
        self.alarms.append((happening, details))

    def named(self, happening: str) -> list[dict[str, object]]:
        """The details of every note with this name."""
        return [details for name, details in self.notes if name == happening]


class ListAudit:
    """Kept for assertions: each change as a dict with `by`, `did` and the rest."""

    def __init__(self) -> None:
        self.rows: list[dict[str, object]] = []

    def wrote(
        self, by: str, did: str, *, before: object = None, after: object = None, **details: object
    ) -> None:
        """See Audit."""
        self.rows.append({"by": by, "did": did, "before": before, "after": after, **details})

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """See Audit."""
        yield
