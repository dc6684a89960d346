"""Files that take minutes begin first, so that two workers end at about the same time."""

from __future__ import annotations

import pytest

LONG = ("proof", "house", "doors")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Stable: within a folder the order stays."""
    items.sort(key=lambda item: _rank(item.path.parent.name))


def _rank(folder: str) -> int:
    return LONG.index(folder) if folder in LONG else len(LONG)
