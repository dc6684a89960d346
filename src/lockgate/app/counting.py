"""Happenings, connections and judgements, counted as they pass: whoever is counted knows nothing of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Protocol

from lockgate.app import meters as table
from lockgate.app.meters import Meters, places
from lockgate.flow.settle import Judge
from lockgate.mail.connection import Load
from lockgate.mail.facts import Facts, Point
from lockgate.mail.ruling import Ruling, Wants
from lockgate.policy.policy import Policy
from lockgate.seams import Journal

Details = Mapping[str, object]


class CountingJournal:
    """seams.Journal that counts what it passes on (styles: logs and metrics read one stream of happenings)."""

    def __init__(self, journal: Journal, meters: Meters) -> None:
        self._journal = journal
        self._meters = meters
        self._alarms = meters.place(table.ALARMS)
        self._counts: dict[str, Callable[[Details], None]] = {
            "accepted": self._accepted(), "refused": self._refused(), "report": self._report(),
        }  # fmt: skip
        for (result,), place in places(meters, table.DELIVERIES).items():
            self._counts[result] = self._one(place)

    def note(self, happening: str, **details: object) -> None:
        """See Journal."""
        count = self._counts.get(happening)
        if count is not None:
            count(details)
        self._journal.note(happening, **details)

    def alarm(self, happening: str, **details: object) -> None:
        """See Journal."""
        self._meters.add(self._alarms)
        self._journal.alarm(happening, **details)

    def _one(self, place: int) -> Callable[[Details], None]:
        add = self._meters.add
        return lambda details: add(place)

    def _accepted(self) -> Callable[[Details], None]:
        meters = self._meters
        messages, recipients, octets = (
            meters.place(one) for one in (table.ACCEPTED, table.RECIPIENTS, table.OCTETS)
        )

        def count(details: Details) -> None:
            meters.add(messages)
            meters.add(recipients, _number(details.get("recipients")))
            meters.add(octets, _number(details.get("size")))

        return count

    def _refused(self) -> Callable[[Details], None]:
        add, found = self._meters.add, places(self._meters, table.REFUSED)

        def count(details: Details) -> None:
            place = found.get((str(details.get("point")), f"{str(details.get('reply'))[:1]}xx"))
            if place is not None:
                add(place)

        return count

    def _report(self) -> Callable[[Details], None]:
        add, found = self._meters.add, places(self._meters, table.TOLD)

        def count(details: Details) -> None:
            place = found.get((str(details.get("kind")),))
            if place is not None:
                add(place)

        return count


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


class Counts(Protocol):
    """Open connections over all workers (edge/load.py)."""

    def opened(self, packed: bytes) -> Load:
        """Count one more."""

    def closed(self, packed: bytes) -> None:
        """Count one less."""


class CountingLoad:
    """The table of open connections, counting those that were opened."""

    def __init__(self, load: Counts, meters: Meters) -> None:
        self._load = load
        self._meters = meters
        self._place = meters.place(table.CONNECTIONS)

    def opened(self, packed: bytes) -> Load:
        """See Counts."""
        self._meters.add(self._place)
        return self._load.opened(packed)

    def closed(self, packed: bytes) -> None:
        """See Counts."""
        self._load.closed(packed)


def timing(judge: Judge, meters: Meters) -> Judge:
    """The judge, each call timed."""
    clock, took = time.perf_counter, meters.counts(table.JUDGE)

    def timed(policy: Policy, facts: Facts, until: Point, so_far: Ruling | None) -> Ruling | Wants:
        began = clock()
        outcome = judge(policy, facts, until, so_far)
        took(clock() - began)
        return outcome

    return timed
