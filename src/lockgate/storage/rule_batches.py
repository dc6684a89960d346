"""How counts of rules get from the workers to the one process that keeps them (storage/batch_files.py).

A worker counts in memory and writes what is new every second; so much is lost when it is killed.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import msgspec

from lockgate.mail.rule_hits import MOST_SAMPLES, RuleBatch, RuleHits, RuleMode
from lockgate.seams import Clock, Journal
from lockgate.storage.batch_files import files, named, put, read

PAUSE = 1.0
"""Seconds between two writings of one worker."""

MOST_RULES = 20_000
"""Rules that one worker holds in memory between two writings."""

MOST_WAITING = 5_000
"""Files that may wait for the process that takes them."""

_ENCODER = msgspec.msgpack.Encoder()
_BATCH = msgspec.msgpack.Decoder(RuleBatch)


class RuleTally:
    """What one worker counts (flow/rule_watch.py). Never raises."""

    def __init__(self, folder: Path, slot: int, clock: Clock, journal: Journal) -> None:
        self._folder = folder / "counts"
        self._slot = slot
        self._clock = clock
        self._journal = journal
        self._rules: dict[tuple[str, str, RuleMode], RuleHits] = {}
        self._kept_at = 0.0
        self._numbers = itertools.count()

    def hit(self, organisation: str, rule: str, mode: RuleMode, at: float, message: str, recipients: int) -> None:
        """See flow.rule_watch.Tally."""
        one = self._of(organisation, rule, mode)
        if one is None:
            return
        one.recipients += recipients
        one.first = one.first or at
        one.last = max(one.last, at)
        if message:
            one.messages += 1
            one.samples.append((at, message))
            if len(one.samples) > MOST_SAMPLES:
                del one.samples[0]

    def unknown(self, organisation: str, rule: str, mode: RuleMode, recipients: int) -> None:
        """See flow.rule_watch.Tally."""
        one = self._of(organisation, rule, mode)
        if one is not None:
            one.unknown += recipients

    def took(self, organisation: str, rule: str, mode: RuleMode, nanoseconds: int) -> None:
        """See flow.rule_watch.Tally."""
        one = self._of(organisation, rule, mode)
        if one is not None:
            one.timed += 1
            one.nanoseconds += nanoseconds

    def _of(self, organisation: str, rule: str, mode: RuleMode) -> RuleHits | None:
        key = (organisation, rule, mode)
        one = self._rules.get(key)
        if one is None and len(self._rules) < MOST_RULES:
            one = self._rules[key] = RuleHits(organisation, rule, mode)
        return one

    def keep(self, *, at_once: bool = False) -> None:
        """Write what is new, if the pause is over. Never raises."""
        now = self._clock.monotonic()
        if (now - self._kept_at < PAUSE and not at_once) or not self._rules:
            return
        self._kept_at = now
        try:
            name = named(self._clock.now(), self._slot, next(self._numbers))
            put(self._folder, name, _ENCODER.encode(RuleBatch(tuple(self._rules.values()))), MOST_WAITING)
        except OSError as trouble:
            self._journal.note("counts of rules not kept yet", because=str(trouble))
            return
        except Exception as trouble:  # counts that cannot be written down must not stop the worker, nor stay for ever
            self._journal.alarm("unforeseen", at="keeping counts of rules", trouble=trouble)
        self._rules = {}


def batches_waiting(folder: Path) -> Iterator[tuple[Path, RuleBatch | None]]:
    """The counts in their order; None for a file that is damaged. Whoever has taken one removes it."""
    for path in files(folder / "counts"):
        yield path, read(path, _BATCH)
