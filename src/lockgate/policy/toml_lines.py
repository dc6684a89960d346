"""On which line of a TOML text does something stand? (The parser of the standard library does not tell.)"""

from __future__ import annotations

import re
import tomllib

_KEY = r"""(?:[A-Za-z0-9_-]+|"[^"\n]*"|'[^'\n]*')"""
_HEADER = re.compile(rf"\s*(\[\[?)\s*({_KEY}(?:\s*\.\s*{_KEY})*)\s*\]\]?\s*(?:#.*)?")
_ASSIGNMENT = re.compile(rf"\s*({_KEY}(?:\s*\.\s*{_KEY})*)\s*=")
_PART = re.compile(_KEY)
_ENDS = ("]", "}", "\"\"\"", "'''")
"""Without one of these a statement over several lines cannot end; parsing each prefix would cost the square."""


def line_of(text: str, path: tuple[str | int, ...]) -> int:
    """The line (from 1) of the key or table at `path`, or of the nearest thing around it; 1 if nothing is near."""
    places = _places(text)
    for length in range(len(path), 0, -1):
        if (found := places.get(path[:length])) is not None:
            return found
    return 1


def _places(text: str) -> dict[tuple[str | int, ...], int]:
    places: dict[tuple[str | int, ...], int] = {}
    counts: dict[tuple[str | int, ...], int] = {}
    table: tuple[str | int, ...] = ()
    pending = ""
    start = 0
    for number, line in enumerate(text.splitlines(), 1):
        if pending:
            pending += f"\n{line}"
            if any(mark in line for mark in _ENDS) and _complete(pending):
                pending = ""
            continue
        if header := _HEADER.fullmatch(line):
            keys = _keys(header[2])
            table = _resolved(keys, counts, new=header[1] == "[[")
            places.setdefault(table, number)
            continue
        if assignment := _ASSIGNMENT.match(line):
            start = number
            path = (*table, *_keys(assignment[1]))
            for length in range(len(table) + 1, len(path) + 1):
                places.setdefault(path[:length], start)
            if not _complete(line):
                pending = line
    return places


def _resolved(keys: tuple[str, ...], counts: dict[tuple[str | int, ...], int], *, new: bool) -> tuple[str | int, ...]:
    """The path of a table header with the numbers of the arrays on its way (TOML 1.0, array of tables)."""
    path: tuple[str | int, ...] = ()
    for position, key in enumerate(keys):
        path = (*path, key)
        if new and position == len(keys) - 1:
            counts[path] = counts.get(path, -1) + 1
        if path in counts:
            path = (*path, counts[path])
    return path


def _keys(text: str) -> tuple[str, ...]:
    return tuple(part.strip("\"'") for part in _PART.findall(text))


def _complete(statement: str) -> bool:
    """Whether an assignment ends here: arrays and multi-line strings go on over several lines."""
    try:
        tomllib.loads(statement)
    except tomllib.TOMLDecodeError:
        return False
    return True
