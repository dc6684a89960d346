"""Where every value comes from: the line that says it, or the default."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lockgate.policy.differences import by_identity, name_of, plain
from lockgate.policy.documents import Documents, Written
from lockgate.policy.locate import line_of, locate

DEFAULT = "default"


def origins(files: Mapping[str, str], documents: Documents, organisation: str = "") -> list[dict[str, Any]]:
    """One row for each property of each object: table, organisation, name, property, value, origin.

    `origin` is "file:line", or "default". With `organisation` only what belongs to it.
    """
    lines = {name: locate(text.replace("\r\n", "\n")) for name, text in files.items()}
    return [
        row
        for written in by_identity(documents).values()
        if not organisation or organisation in (getattr(written.value, "organisation", ""), _own_name(written))
        for row in _rows(written, lines)
    ]


def _own_name(written: Written[Any]) -> str:
    return written.value.name if written.table == "organisation" else ""


def _rows(written: Written[Any], lines: Mapping[str, Mapping[Any, int]]) -> Iterator[dict[str, Any]]:
    places = lines.get(written.file, {})
    prefix = (written.table,) if written.table == "operator" else (written.table, written.index)
    for path, value in _leaves((), plain(written.value, all_of_it=True)):
        place = (*prefix, *path)
        origin = f"{written.file}:{places[place]}" if place in places else DEFAULT
        if origin == DEFAULT and path == ("organisation",):
            origin = f"{written.file}:{line_of(places, prefix)} (the only one)"
        yield {
            "table": written.table,
            "organisation": getattr(written.value, "organisation", ""),
            "name": name_of(written.table, written.value),
            "property": ".".join(path),
            "value": value,
            "origin": origin,
        }


def _leaves(path: tuple[str, ...], values: Mapping[str, Any]) -> Iterator[tuple[tuple[str, ...], Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            yield from _leaves((*path, key), value)
        else:
            yield (*path, key), value
