"""Files of list entries: read line by line with every mistake told, and written so that they can be read again.

In a text a line is an entry; empty lines and lines that begin with # say nothing, and a backslash before the first sign
takes that away from it (`\\#tag`). In CSV the first cell of a row is the entry; the same holds there, and a first row
that names the column is left out.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

from lockgate.flow.recipients import quiet
from lockgate.mail.lists import ListEntry, ListKind
from lockgate.policy.listed import read_entry
from lockgate.policy.problems import Invalid, Problem

MOST_PROBLEMS = 1000
"""So many mistakes of one file are told."""

FORMS = ("text", "csv")

_HEADINGS = {
    ListKind.DOMAINS: frozenset(("entry", "domain", "domains")),
    ListKind.ADDRESSES: frozenset(("entry", "address", "addresses", "email")),
    ListKind.WORDS: frozenset(("entry",)),
}
_ACTIVE = ("'=", "'+", "'-", "'@", "''")
"""Cells from which an apostrophe is taken that kept a spreadsheet from seeing a formula (or another one)."""


def read_list(text: str, form: str, kind: ListKind, name: str) -> Iterator[ListEntry]:
    """The entries of a file. Raises Invalid with its mistakes after the last line, so that none of it is to be used."""
    problems: list[Problem] = []
    for line, entry in _cells(text, form, kind, name, problems):
        try:
            yield read_entry(kind, entry)
        except ValueError as trouble:
            problems.append(Problem(name, line, "", str(trouble)))
            if len(problems) >= MOST_PROBLEMS:
                problems.append(Problem(name, line, "", "there are more mistakes; they are told once these are mended"))
                break
    if problems:
        raise Invalid(tuple(problems))


def _cells(
    text: str, form: str, kind: ListKind, name: str, problems: list[Problem]
) -> Iterator[tuple[int, str]]:
    """The entries with the lines where they stand."""
    lines = io.StringIO(text.removeprefix("\ufeff"), newline=None)
    if form == "text":
        for number, line in enumerate(lines, 1):
            plain = line.strip()
            if plain and not plain.startswith("#"):
                yield number, plain.removeprefix("\\")
        return
    reader = csv.reader(lines)
    first = True
    try:
        for row in reader:
            cell = row[0].strip() if row else ""
            heading = first and cell.casefold() in _HEADINGS[kind]
            if cell and not cell.startswith("#"):
                first = False
                if not heading:
                    yield reader.line_num, _loud(cell).removeprefix("\\")
    except csv.Error as trouble:
        problems.append(Problem(name, reader.line_num, "", f"this is not valid CSV: {trouble}"))


def _loud(cell: str) -> str:
    return cell[1:] if cell.startswith(_ACTIVE) else cell


def written_list(entries: Iterable[str], form: str) -> Iterator[str]:
    """The lines of a file with these entries, which `read_list` reads as the same entries."""
    if form == "csv":
        yield "entry\n"
    for entry in entries:
        plain = f"\\{entry}" if entry.startswith(("#", "\\")) else entry
        yield f"{plain}\n" if form == "text" else _csv_line(quiet(plain))


def _csv_line(cell: str) -> str:
    out = io.StringIO(newline="")
    csv.writer(out, lineterminator="\n").writerow([cell])
    return out.getvalue()
