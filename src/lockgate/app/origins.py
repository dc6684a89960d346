"""Every value of the operator's file, and the line that says it or the default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lockgate.app.config import read_config, written
from lockgate.policy.locate import locate

DEFAULT = "default"


def settings(path: Path) -> list[Mapping[str, Any]]:
    """One row for each value: property, value, origin ("file:line" or "default"). Raises Invalid, OSError."""
    config = read_config(path)
    lines = locate(path.read_text("utf-8"))
    return [
        {"property": written(place), "value": value, "origin": f"{path}:{lines[place]}" if place in lines else DEFAULT}
        for place, value in _leaves((), config.model_dump(mode="json"))
    ]


def _leaves(path: tuple[str | int, ...], value: Any) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    if isinstance(value, dict):
        for key, one in value.items():
            yield from _leaves((*path, key), one)
    elif isinstance(value, list) and value and isinstance(value[0], dict):
        for number, one in enumerate(value):
            yield from _leaves((*path, number), one)
    else:
        yield path, value
