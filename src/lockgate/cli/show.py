"""What the terminal shows: tables for people, plain lines in a pipe, JSON on demand; mail content stays text.

Whatever comes from mail (addresses, subjects, replies) is printed without control or invisible characters and without
markup, so that no message can move the cursor, colour a line or hide a word.
"""

from __future__ import annotations

import datetime as dt
import json
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

OK, FINDING, MISUSE, UNREACHABLE = 0, 1, 2, 3
"""Exit codes: done; something was found or is not there; the request makes no sense; the service cannot be reached."""


class Column(msgspec.Struct, frozen=True):
    """One column of a table: the key in a row, its heading, and whether it stands on the right."""

    key: str
    heading: str
    right: bool = False


def printable(value: object) -> str:
    """The value as harmless text on one line."""
    match value:
        case None:
            text = ""
        case bool():
            text = "yes" if value else "no"
        case str():
            text = value
        case list() | tuple():
            # In brackets, so that where one of several tables ends is seen.
            text = ", ".join(f"{{{printable(item)}}}" if isinstance(item, dict) else printable(item) for item in value)
        case dict():
            text = ", ".join(f"{printable(key)}={printable(item)}" for key, item in value.items())
        case float():
            text = f"{value:g}" if abs(value) < 1e6 else f"{value:.0f}"
        case _:
            text = str(value)
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)


TIMES = frozenset(
    {"received", "due", "at", "held_at", "held_until", "since", "expires", "oldest", "next_attempt", "last_delivery"}
    | {"last_change", "first_seen", "last_seen", "last_taken", "last_refused", "arrived", "begin", "end"}
)
"""Names whose numbers are seconds since the epoch."""


def moment(name: str, value: object) -> object:
    """The value; as UTC text if the name says that it is a time (a time that is 0 says nothing)."""
    if name not in TIMES or isinstance(value, bool) or not isinstance(value, int | float):
        return value
    if not 0 < value < 1e11:
        return ""
    return dt.datetime.fromtimestamp(value, dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def say(text: str) -> None:
    """One sentence or line to standard output."""
    print(printable(text))


def counted(count: int, one: str) -> str:
    """So many of these things: 1 recipient, 2 recipients, 0 entries."""
    several = f"{one[:-1]}ies" if one.endswith("y") else f"{one}s"
    return f"{count} {one if count == 1 else several}"


def complain(text: str) -> None:
    """One sentence to standard error."""
    print(printable(text), file=sys.stderr)


def as_json(value: object) -> None:
    """The value as JSON; everything but ASCII is escaped, so that it is harmless on a terminal as well."""
    print(json_text(value))


def json_text(value: object) -> str:
    """The same as text."""
    return json.dumps(value, indent=2 if sys.stdout.isatty() else None, default=str)


def table(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column], *, nothing: str = "nothing") -> None:
    """Rows as a table on a terminal, as aligned lines (two blanks between columns) in a pipe."""
    if not rows:
        say(nothing)
        return
    cells = [[_cell(row, column) for column in columns] for row in rows]
    if sys.stdout.isatty():
        _drawn(cells, columns)
        return
    widths = [max(len(column.heading), *(len(line[n]) for line in cells)) for n, column in enumerate(columns)]
    for line in [[column.heading for column in columns], *cells]:
        parts = [
            text.rjust(width) if column.right else text.ljust(width)
            for text, width, column in zip(line, widths, columns, strict=True)
        ]
        print("  ".join(parts).rstrip())


def facts(pairs: Mapping[str, object]) -> None:
    """Names and values, one pair a line; empty values are left out."""
    shown = {printable(name): printable(value) for name, value in pairs.items() if value not in (None, "", [], {}, ())}
    width = max((len(name) for name in shown), default=0)
    for name, value in shown.items():
        print(f"{name.ljust(width)}  {value}")


def _cell(row: Mapping[str, Any], column: Column) -> str:
    return printable(moment(column.key, row.get(column.key)))


def _drawn(cells: Sequence[Sequence[str]], columns: Sequence[Column]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    drawn = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for column in columns:
        drawn.add_column(column.heading, justify="right" if column.right else "left", overflow="fold")
    for line in cells:
        drawn.add_row(*(Text(text) for text in line))
    Console(highlight=False, markup=False, emoji=False).print(drawn)
