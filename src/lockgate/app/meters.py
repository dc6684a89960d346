"""Counters of all processes in one shared table: each process writes its own slice, without locks; readers add up.

A process that is started again goes on in the slice of the one before, so counters only grow while the service runs.
What can be counted stands in COUNTERS and TIMES with every label value there is; nothing outside can make more of them.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

from lockgate.edge.mapped import map_shared


class Counter(NamedTuple):
    """A counter: its name in the exposition, what it counts, its labels and each combination of their values."""

    name: str
    help: str
    labels: tuple[str, ...] = ()
    values: tuple[tuple[str, ...], ...] = ((),)


class Times(NamedTuple):
    """A histogram of durations in seconds."""

    name: str
    help: str
    bounds: tuple[float, ...]


STAGES = ("CONNECT", "MAIL", "RCPT", "DATA")
ROLES = ("worker", "keeper", "desk", "policy")
REPORTS = ("failed", "delayed", "relayed")

CONNECTIONS = Counter("lockgate_smtp_connections_total", "Connections that were opened to us")
ACCEPTED = Counter("lockgate_smtp_messages_accepted_total", "Messages answered with 250, durable by then")
RECIPIENTS = Counter("lockgate_smtp_recipients_accepted_total", "Recipients of accepted messages")
OCTETS = Counter("lockgate_smtp_accepted_bytes_total", "Octets of accepted messages")
REFUSED = Counter(
    "lockgate_smtp_refusals_total", "Refusals by where in the dialogue and by class of the reply code",
    ("stage", "code"), tuple((stage, code) for stage in STAGES for code in ("4xx", "5xx")),
)  # fmt: skip
DELIVERIES = Counter(
    "lockgate_delivery_recipients_total", "Recipients by what an attempt came to", ("result",),
    (("delivered",), ("deferred",), ("failed",)),
)  # fmt: skip
TOLD = Counter(
    "lockgate_delivery_reports_total", "Delivery reports sent", ("kind",), tuple((kind,) for kind in REPORTS)
)
ALARMS = Counter("lockgate_log_alarms_total", "Alarms for a person, each counted")
ENDS = Counter(
    "lockgate_process_ends_total", "Processes of the service that ended and were started again", ("role",),
    tuple((role,) for role in ROLES),
)  # fmt: skip
COUNTERS = (CONNECTIONS, ACCEPTED, RECIPIENTS, OCTETS, REFUSED, DELIVERIES, TOLD, ALARMS, ENDS)

COMMIT = Times(
    "lockgate_keeper_commit_seconds", "One batch of the keeper, from the sync of bodies to the end of the commit",
    (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0),
)  # fmt: skip
JUDGE = Times(
    "lockgate_judge_call_seconds", "One call of the judge, of which a message has several",
    (0.00001, 0.000025, 0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1),
)  # fmt: skip
TIMES = (COMMIT, JUDGE)


def _layout() -> tuple[dict[tuple[str, tuple[str, ...]], int], dict[str, int], int]:
    """Places of counters by name and label values, first places of histograms, cells of a slice."""
    counters: dict[tuple[str, tuple[str, ...]], int] = {}
    times: dict[str, int] = {}
    at = 1  # the first cell is the heartbeat
    for counter in COUNTERS:
        for value in counter.values:
            counters[counter.name, value] = at
            at += 1
    for one in TIMES:
        times[one.name] = at
        at += len(one.bounds) + 2  # a cell beyond the last bound, and the sum
    return counters, times, -(-at // 64) * 64


_COUNTER_AT, _TIMES_AT, _CELLS = _layout()
_MAGIC = b"lockgate-meters\n" + hashlib.sha256(repr((COUNTERS, TIMES)).encode()).digest()[:16]
_HEADER = 64
_FIXED = ("supervisor", "keeper", "desk")


def slot_of(role: str) -> int:
    """The slice of a process: supervisor, keeper, desk, worker-0, worker-1, ..."""
    if role in _FIXED:
        return _FIXED.index(role)
    return len(_FIXED) + int(role.removeprefix("worker-"))


def slots(workers: int) -> int:
    """How many slices an installation with so many workers has."""
    return len(_FIXED) + workers


class Meters:
    """The table as one process sees it."""

    __slots__ = ("_cells", "_map", "_own", "_slots")

    def __init__(self, file: Path, role: str, workers: int) -> None:
        """Open the table; make it anew if it is missing or of another kind. Raises OSError."""
        self._slots = slots(workers)
        self._map = map_shared(file, _MAGIC, _HEADER + self._slots * _CELLS * 8)
        self._cells = memoryview(self._map)[_HEADER:].cast("d")
        self._own = slot_of(role) * _CELLS

    def place(self, counter: Counter, *values: str) -> int:
        """Where `add` counts this. Raises KeyError for values that the counter does not have."""
        return self._own + _COUNTER_AT[counter.name, values]

    def add(self, place: int, count: float = 1.0) -> None:
        """Count; takes about a tenth of a microsecond."""
        self._cells[place] += count

    def took(self, times: Times, seconds: float) -> None:
        """Count one duration."""
        self.counts(times)(seconds)

    def counts(self, times: Times) -> Callable[[float], None]:
        """What counts durations of one kind, for those who count on the hot path."""
        first, bounds, cells = self._own + _TIMES_AT[times.name], times.bounds, self._cells
        total = first + len(bounds) + 1

        def took(seconds: float) -> None:
            cells[first + bisect_left(bounds, seconds)] += 1.0
            cells[total] += seconds

        return took

    def beat(self, now: float) -> None:
        """Say that this process is well, at `now` (monotonic seconds, the same clock for all processes)."""
        self._cells[self._own] = now

    def beats(self) -> list[float]:
        """When each process was last well, by slot; 0: never."""
        return [self._cells[slot * _CELLS] for slot in range(self._slots)]

    def counted(self, counter: Counter) -> Iterator[tuple[tuple[str, ...], float]]:
        """(label values, sum over all processes)."""
        for values in counter.values:
            yield values, self._sum(_COUNTER_AT[counter.name, values])

    def timed(self, times: Times) -> tuple[list[float], float]:
        """How many durations fell below each bound and above the last one, and the sum of all durations."""
        first, count = _TIMES_AT[times.name], len(times.bounds) + 1
        return [self._sum(first + n) for n in range(count)], self._sum(first + count)

    def _sum(self, at: int) -> float:
        return sum(self._cells[slot * _CELLS + at] for slot in range(self._slots))

    def close(self) -> None:
        """Give the map back."""
        self._cells.release()
        self._map.close()


def start_anew(file: Path) -> None:
    """Before the first process of a service starts: counters begin at nought."""
    file.unlink(missing_ok=True)


def places(meters: Meters, counter: Counter) -> Mapping[tuple[str, ...], int]:
    """Every place of a counter, for those who count on the hot path."""
    return {values: meters.place(counter, *values) for values in counter.values}
