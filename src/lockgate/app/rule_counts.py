"""Hits of rules: what each worker counts, and the desk's process, which takes the counts and keeps them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from lockgate.app.clock import SystemClock
from lockgate.app.config import OperatorFile
from lockgate.flow.desk.rule_stats import Key, RuleStatsDesk, notes_of
from lockgate.flow.desk.section import Section
from lockgate.flow.rule_watch import PAUSE, RuleWatch
from lockgate.mail.rule_hits import RuleHits
from lockgate.policy.documents import Written
from lockgate.seams import Clock, Journal, Unavailable
from lockgate.storage.rule_batches import RuleTally, batches_waiting
from lockgate.storage.rule_book import NOT_KEPT, RuleBook

if TYPE_CHECKING:
    from lockgate.app.office import Office

TURN = 1.0
"""Seconds between two looks at what the workers have left."""

KEPT_WHEN_GONE = 30 * 86400.0
"""Seconds since its last hit for which a rule that is no more is remembered."""

_BATCHES_AT_ONCE = 200
_PRUNE = 3600.0
_T = TypeVar("_T")


def folder_of(config: OperatorFile) -> Path:
    """Where the counts of rules lie."""
    return config.state_directory / "rules"


class RuleCounts:
    """What one worker counts of rules; made once by each."""

    def __init__(self, config: OperatorFile, slot: int, clock: Clock, journal: Journal) -> None:
        self._tally = RuleTally(folder_of(config), slot, clock, journal)
        self._clock = clock
        self._timed_at = 0.0
        self.watch = RuleWatch(self._tally, clock.now, journal)

    def keep(self, *, at_once: bool = False) -> None:
        """Time a few rules and pass on what was counted, if it is time. Never raises."""
        now = self._clock.monotonic()
        if now - self._timed_at >= PAUSE and not at_once:
            self._timed_at = now
            self.watch.time()
        self._tally.keep(at_once=at_once)


class RuleOffice:
    """Takes the counts of all workers and keeps them (`run`)."""

    def __init__(self, office: Office) -> None:
        self._office, self._clock, self._journal = office, SystemClock(), office.journal
        self._folder = folder_of(office.config)
        self._book = RuleBook(self._folder)
        self._taking = asyncio.Lock()
        self._rules: Sequence[RuleHits] | None = None
        self._short: dict[Key, tuple[int, float]] = {}
        self._pruned_at = 0.0

    def sections(self) -> tuple[Section, ...]:
        """What the desk answers about rules at work."""
        return (RuleStatsDesk(self.counted, self._office.policy),)

    async def run(self) -> None:
        """Go on for as long as the process lives."""
        troubled = ""
        while True:
            try:
                await self.counted()
                await self._prune()
                troubled = ""
            except Exception as trouble:  # whatever is wrong now, what comes later must be counted
                if troubled != str(trouble):  # told once, not every second
                    self._journal.alarm("hits of rules cannot be kept", because=str(trouble))
                troubled = str(trouble)
            await asyncio.sleep(TURN)

    async def counted(self) -> Sequence[RuleHits]:
        """Everything that was counted by now. Raises Unavailable."""
        async with self._taking:  # a file that two take at once would be counted twice
            fresh = await self._ask(self._take)
            if fresh or self._rules is None:
                self._rules = await self._ask(self._book.rules)
                self._short = _short(self._rules)
            return self._rules

    def notes(self, written: Written[Any]) -> dict[str, Any]:
        """See flow.desk.rule_stats.notes_of; from memory, a second old at most."""
        return notes_of(written, self._short)

    def figures(self) -> Sequence[RuleHits]:
        """What was counted when somebody last looked; for monitoring. Rules that are no more are left out."""
        there = self._there()
        return [one for one in self._rules or () if (one.organisation, one.rule) in there]

    def _there(self) -> frozenset[Key]:
        policy = self._office.policy()
        return frozenset((name, rule.name) for name, mine in policy.organisations.items() for rule in mine.rules.all)

    def _take(self) -> bool:
        waiting = list(itertools.islice(batches_waiting(self._folder), _BATCHES_AT_ONCE))
        if not waiting:
            return False
        self._book.take([(path.name, batch) for path, batch in waiting if batch is not None])
        for path, batch in waiting:
            if batch is None:
                self._journal.note("counts of rules lost", file=path.name, because="the file is damaged")
            path.unlink(missing_ok=True)
        self._book.forget([path.name for path, _ in waiting])
        return True

    async def _prune(self) -> None:
        now = self._clock.now()
        if now - self._pruned_at >= _PRUNE:
            self._pruned_at = now
            await self._ask(self._book.prune, self._there(), now - KEPT_WHEN_GONE)
            self._rules = None

    async def _ask(self, work: Callable[..., _T], *given: Any) -> _T:
        try:
            return await asyncio.to_thread(work, *given)
        except NOT_KEPT as trouble:
            raise Unavailable(f"the hits of rules cannot be read or written: {trouble}") from None


def _short(rules: Sequence[RuleHits]) -> dict[Key, tuple[int, float]]:
    found: dict[Key, tuple[int, float]] = {}
    for one in rules:
        hits, last = found.get((one.organisation, one.rule), (0, 0.0))
        found[one.organisation, one.rule] = (hits + one.messages, max(last, one.last))
    return found
