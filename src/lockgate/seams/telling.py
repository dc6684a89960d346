"""The time, and where happenings and changes are told."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Protocol


class Clock(Protocol):
    """The only source of time. Kept by app/clock.py, faked by testing/clock.py."""

    def now(self) -> float:
        """Seconds since the epoch."""

    def monotonic(self) -> float:
        """Seconds on a clock that never jumps; for deadlines."""


class Journal(Protocol):
    """Where happenings are told: one line each. Never blocks, never raises. Kept by app/journal.py."""

    def note(self, happening: str, **details: object) -> None:
        """Note one thing, e.g. note("delivered", id=..., to=...). Values are cleaned of control characters."""

    def alarm(self, happening: str, **details: object) -> None:
        """The same, for what a person has to see tonight."""


class Audit(Protocol):
    """Who changed what. Kept by app/audit.py, faked by ListAudit in testing/journal.py."""

    def wrote(
        self, by: str, did: str, *, before: object = None, after: object = None, **details: object
    ) -> None:
        """Note one change: who, what was done, the object before and after (JSON-ready; None: not there).

        `details` are further JSON-ready facts (count, organisation, revision). Secrets are never part of it.
        Never raises.
        """

    def together(self) -> AbstractContextManager[None]:
        """What is written within is kept at once when it ends: for the many objects of one change."""
