"""What the keeper does now and then: finished traces to their day's file, held bodies aside, sparse segments freed."""

from __future__ import annotations

from pathlib import Path

from lockgate.seams import Journal
from lockgate.storage.ledger import Ledger
from lockgate.storage.segments import SegmentFolder


class Upkeep:
    """The slow work, in small steps between batches."""

    def __init__(self, ledger: Ledger, folder: SegmentFolder, trace: Path, journal: Journal) -> None:
        self._ledger, self._folder, self._trace, self._journal = ledger, folder, trace, journal
        self._last = 0.0
        self.buried = False

    def is_due(self, now: float, every: float) -> bool:
        """Whether it is time again."""
        return not 0 <= now - self._last < every

    def run(self, now: float, settle: float, life: float, sparse: float) -> None:
        """One step of everything. Raises sqlite3.Error, OSError."""
        self._last = now
