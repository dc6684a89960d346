"""How soon a change has to act: within a second, on a machine that has time for it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable

from pace import slower

LIVE = 1.0
"""Seconds until a change has to act (DESIGN 1)."""


def allowed(seconds: float = LIVE) -> float:
    """The bound for this moment: longer in proportion where more programs want to run than there are cores, and where
    these are slower than usual."""
    return seconds * max(1.0, os.getloadavg()[0] / len(os.sched_getaffinity(0))) * slower()


def waited(seen: Callable[[], bool], what: str, bound: float = LIVE) -> float:
    """Seconds until it is so, which may not be more than the bound allows."""
    began = time.monotonic()
    while not seen():
        took = time.monotonic() - began
        assert took < bound or took < allowed(bound), f"not within {bound:g} s (load {os.getloadavg()[0]:.1f}): {what}"
        time.sleep(0.01)
    return time.monotonic() - began
