"""Rows as CSV for a spreadsheet: no cell is taken for a formula, whatever a stranger has put into it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any

from lockgate.cli.show import Column, moment, printable

_ACTIVE = ("=", "+", "-", "@", "\t", "\r", "\n", "|", "%")
"""First characters that spreadsheets take for a formula or a command."""


def as_csv(rows: Sequence[Mapping[str, Any]], columns: Sequence[Column]) -> str:
    """The rows with a heading line, comma separated, every cell quoted (RFC 4180); times as UTC text."""
    out = io.StringIO()
    writer = csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator="\r\n")
    writer.writerow([column.key for column in columns])
    for row in rows:
        writer.writerow([cell(moment(column.key, row.get(column.key))) for column in columns])
    return out.getvalue()


def cell(value: object) -> str:
    """The value as inert text on one line; what would begin a formula gets an apostrophe before it."""
    if isinstance(value, dict | list):
        value = json.dumps(value, ensure_ascii=False, sort_keys=True) if value else ""
    text = printable(value)
    if isinstance(value, str) and text.lstrip().startswith(_ACTIVE):
        return "'" + text
    return text
