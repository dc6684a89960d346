"""What one worker does for reports: it counts, and puts aside what is to be read."""

from __future__ import annotations

from lockgate.app.config import OperatorFile
from lockgate.app.discreet import trace_key
from lockgate.app.reports import folder_of
from lockgate.flow.observing import Observer
from lockgate.mail.redaction import Discretion
from lockgate.seams import Clock, Journal
from lockgate.storage.report_batches import Letters, Tally


class ReportCounts:
    """Made once by each worker. `results` is a seams.TlsResults, for whoever carries mail.

    Raises OSError when the secret for hidden addresses cannot be read or made.
    """

    def __init__(
        self, config: OperatorFile, slot: int, clock: Clock, journal: Journal, discretion: Discretion
    ) -> None:
        folder = folder_of(config)
        self.results = Tally(folder, slot, clock, journal)
        self.observer = Observer(
            self.results.seen, self.results.failed, Letters(folder, slot, clock).put, clock, journal, discretion,
            trace_key(config.trace_key_file),
        )  # fmt: skip

    def keep(self, *, at_once: bool = False) -> None:
        """Pass on what was counted, if it is time. Never raises."""
        self.results.keep(at_once=at_once)
