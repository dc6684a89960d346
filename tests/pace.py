"""How fast this machine is just now, so that bounds of processor time mean the same everywhere.

Machines are shared and differ: the same work takes up to three times as long on another one, or another day.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

_USUAL = 0.010
"""Seconds that `_yardstick` takes where the bounds of the tests were set."""


def slower() -> float:
    """How many times slower than there; 1.0 at least, so that no bound becomes narrower than it is written."""
    return max(1.0, min(_spent(time.process_time) for _ in range(3)) / _USUAL)


def slower_by_the_clock() -> float:
    """The same for what is bounded in seconds of the clock: what others do on this machine meanwhile counts."""
    return max(1.0, statistics.mean(_spent(time.perf_counter) for _ in range(5)) / _USUAL)


def _spent(now: Callable[[], float]) -> float:
    began = now()
    _yardstick()
    return now() - began


def _yardstick() -> None:
    """Names made, looked up and counted: what most of our time goes into."""
    found: dict[str, int] = {}
    for n in range(60_000):
        found[f"k{n % 997}"] = found.get(f"k{n % 499}", 0) + (n & 7)
