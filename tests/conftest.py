"""Long files begin first, so that the workers end at about the same time; generated cases are the same every time.

What `make test` says is then about the change and not about luck; `make proof` (LOCKGATE_EXAMPLES) looks for new cases.
"""

from __future__ import annotations

import gc
import os

import pytest
from hypothesis import HealthCheck, settings

settings.register_profile("steady", derandomize=True, deadline=None)
settings.register_profile(
    "searching",
    max_examples=int(os.environ.get("LOCKGATE_EXAMPLES") or 100),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("searching" if os.environ.get("LOCKGATE_EXAMPLES") else "steady")

LONG = ("house", "doors", "proof")
"""Folders, those that mostly wait before those that want all of the processors. Kills at random are run by themselves
(`make test`): they measure what is on its way at an instant, and how much that is depends on what else runs."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Stable: within a folder the order stays."""
    items.sort(key=lambda item: _rank(item.path.parent.name))


def pytest_collection_finish() -> None:
    """Thousands of tests stay to the end: to look for garbage in them again and again takes a fifth of the time."""
    gc.freeze()
    gc.set_threshold(20_000, 20, 50)


def _rank(name: str) -> int:
    return LONG.index(name) if name in LONG else len(LONG)
