"""Recipients as people hand them over (CSV or TOML), read line by line; what is wrong is told line by line."""

from __future__ import annotations

import csv
import difflib
import io
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec

from lockgate.flow import memberships
from lockgate.flow.cells import Reasons, address_in, addresses_in
from lockgate.mail.address import Address
from lockgate.mail.directory import ATTRIBUTES, RecipientRow
from lockgate.mail.findings import RecipientKind
from lockgate.policy.problems import Invalid, Problem

COLUMNS = ("address", "kind", "aliases", "external_address", *ATTRIBUTES, *memberships.COLUMNS)
"""The columns of a CSV file; only the first is needed. Lists are separated by blanks or semicolons."""

LONGEST_VALUE = 2048
"""Characters of one attribute; attributes are part of the facts of every message."""

MOST_ALIASES = 500

LONGEST_CELL = 32 * 1024 * 1024
"""Characters of one cell: as many members as a group may have, with the longest addresses."""

_FOLDED = {name.replace("_", ""): name for name in COLUMNS} | memberships.ALSO
_KINDS = {kind.value: kind for kind in RecipientKind}
_KIND_WORDS = ", ".join(_KINDS)
_ACTIVE = re.compile(r"'(?=[=+\-@'\t\r])")
_QUIET = re.compile(r"[=+\-@'\t\r]")


class Wrong(msgspec.Struct, frozen=True):
    """A rejected line: where, which column, what is wrong and what would be right."""

    line: int
    column: str
    message: str


class WrongRow(ValueError):
    """A recipient that cannot be one, with every reason as (column, message)."""

    def __init__(self, reasons: Sequence[tuple[str, str]]) -> None:
        super().__init__("; ".join(message for _, message in reasons))
        self.reasons = tuple(reasons)


def name_of(text: str) -> str:
    """The column that is meant by `text` (case and underscores do not matter). Raises KeyError with what is near."""
    folded = re.sub(r"[\s_-]", "", text).casefold()
    found = _FOLDED.get(folded)
    if found is None:
        near = difflib.get_close_matches(folded, _FOLDED, 1, 0.6)
        meant = f"; {_FOLDED[near[0]]} is near" if near else f"; there are {', '.join(COLUMNS)}"
        raise KeyError(f"'{text[:60]}' is no attribute of a recipient{meant}")
    return found


def read_rows(
    lines: Iterable[str], form: str, name: str, organisation: str
) -> Iterator[tuple[int, RecipientRow] | Wrong]:
    """Every recipient with its line, or what is wrong with the line.

    `lines` keep their ends; `form` is "csv" or "toml". Raises Invalid when the file is of another kind altogether,
    so that none of its lines means anything.
    """
    rows = _csv_rows(lines, name) if form == "csv" else _toml_rows("".join(lines), name) if form == "toml" else None
    if rows is None:
        raise Invalid((Problem(name, 1, "", "recipients come as CSV or TOML"),))
    for line, values in rows:
        if isinstance(values, Wrong):
            yield values
            continue
        try:
            yield line, row_of(values, organisation)
        except WrongRow as trouble:
            for column, message in trouble.reasons:
                yield Wrong(line, column, message)


def row_of(values: Mapping[str, Any], organisation: str) -> RecipientRow:
    """The recipient of these columns (names as in COLUMNS, empty values left out). Raises WrongRow."""
    wrong: Reasons = []
    primary = address_in(values.get("address", ""), "address", wrong)
    proxies: tuple[Address, ...] = ()
    aliases = values.get("aliases")
    if aliases:
        proxies = _aliases(aliases, primary, wrong)
    external = values.get("external_address")
    target = address_in(external, "external_address", wrong) if external else None
    word = values.get("kind", "mail_user")
    kind = _KINDS.get(word) or _KINDS.get(word.strip().lower())
    if kind is None:
        wrong.append(("kind", f"'{word[:40]}' is no kind of recipient; there are {_KIND_WORDS}"))
    attributes: dict[str, str] = {}
    plain = True
    for key, value in values.items():
        if key in _BEYOND:
            plain = plain and key not in _MORE
            continue
        text = value.strip()
        if len(text) > LONGEST_VALUE:
            wrong.append((key, f"it has {len(text)} characters; at most {LONGEST_VALUE} are kept"))
        elif text:
            attributes[key] = text
    more = memberships.NONE if plain else memberships.memberships_of(values, wrong)
    if wrong or primary is None or kind is None:
        raise WrongRow(wrong)
    if plain:  # nearly everybody
        return RecipientRow(organisation, kind, primary, target, proxies, attributes)
    row = RecipientRow(
        organisation, kind, primary, target, proxies, attributes, more.members, more.managed_by, more.forwarding,
        more.restriction, dict(more.recipient_filter),
    )  # fmt: skip
    if reasons := memberships.objections(row):
        raise WrongRow(reasons)
    return row


_LISTS = memberships.LISTS | {"aliases"}
_MORE = frozenset(memberships.COLUMNS)
_BEYOND = frozenset({"address", "kind", "aliases", "external_address"}) | _MORE


def _aliases(aliases: str | list[str], primary: Address | None, wrong: Reasons) -> tuple[Address, ...]:
    found = addresses_in(aliases, "aliases", MOST_ALIASES, wrong)
    own = primary.key if primary is not None else ""
    return tuple([alias for alias in found if alias.key != own])


def _csv_rows(lines: Iterable[str], name: str) -> Iterator[tuple[int, Mapping[str, Any] | Wrong]]:
    # The bound is one for the whole process, and the default of 128 KiB is less than a group of 10,000 needs.
    csv.field_size_limit(LONGEST_CELL)
    reader = csv.reader(lines, strict=True)
    columns = _heading(reader, name)
    width = len(columns)
    while True:
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as trouble:
            yield reader.line_num, Wrong(reader.line_num, "", f"the line cannot be read: {trouble}")
            continue
        if len(cells) > width:
            message = f"there are {len(cells)} values for {width} columns; put values with commas in quotes"
            yield reader.line_num, Wrong(reader.line_num, "", message)
        elif cells:
            pairs = zip(columns, cells, strict=False)
            yield reader.line_num, {key: _loud(value) for key, value in pairs if value}


def _heading(reader: Iterator[list[str]], name: str) -> list[str]:
    try:
        heading = [cell.strip() for cell in next(reader, [])]
    except csv.Error as trouble:
        raise Invalid((Problem(name, 1, "", f"the line of column names cannot be read: {trouble}"),)) from None
    if heading:
        heading[0] = heading[0].removeprefix("\ufeff")
    problems: list[Problem] = []
    columns: list[str] = []
    for cell in heading:
        try:
            columns.append(name_of(cell))
        except KeyError as trouble:
            problems.append(Problem(name, 1, cell.lower()[:60], str(trouble.args[0])))
    twice = sorted({column for column in columns if columns.count(column) > 1})
    problems += [Problem(name, 1, column, "this column is there twice") for column in twice]
    if "address" not in columns:
        problems.append(Problem(name, 1, "address", "the column with the primary address is missing"))
    if problems:
        raise Invalid(tuple(problems))
    return columns


def _loud(cell: str) -> str:
    """The cell without the apostrophe that kept a spreadsheet from taking it for a formula."""
    return cell[1:] if cell[0] == "'" and _ACTIVE.match(cell) else cell


def quiet(cell: str) -> str:
    """The cell so that no spreadsheet takes it for a formula; `read_rows` takes the apostrophe away again."""
    return f"'{cell}" if _QUIET.match(cell) else cell


def csv_line(told: Mapping[str, Any] | None) -> str:
    """A recipient as it was told (RecipientRow.told), as a line that `read_rows` takes; None: the names of columns."""
    cells: Sequence[str] = COLUMNS
    if told is not None:
        values = memberships.in_cells(told)
        cells = [quiet(values.get(column, "")) for column in COLUMNS]
    out = io.StringIO(newline="")
    # A writer that ends lines with LF leaves a lone CR in a value unquoted, and the value would come back as two lines.
    csv.writer(out, lineterminator="\r\n").writerow(cells)
    return out.getvalue()[:-2] + "\n"


def _toml_rows(text: str, name: str) -> Iterator[tuple[int, Mapping[str, Any] | Wrong]]:
    try:
        data = tomllib.loads(text.removeprefix("\ufeff"))
    except tomllib.TOMLDecodeError as trouble:
        found = re.search(r"at line (\d+)", str(trouble))
        raise Invalid((Problem(name, int(found[1]) if found else 1, "", str(trouble)),)) from None
    except RecursionError:
        raise Invalid((Problem(name, 1, "", "the file is nested too deeply"),)) from None
    rows = data.get("recipient", [])
    problems = [Problem(name, 1, key, "this key is unknown; write [[recipient]]") for key in data if key != "recipient"]
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        problems.append(Problem(name, 1, "recipient", "write [[recipient]] before each recipient"))
    if problems:
        raise Invalid(tuple(problems))
    places = (number for number, line in enumerate(text.splitlines(), 1) if line.strip().startswith("[["))
    for row in rows:
        line = next(places, 1)
        values: dict[str, Any] = {}
        wrong: list[Wrong] = []
        for key, value in row.items():
            try:
                name = name_of(key)
                values[name] = _text(name, value)
            except KeyError as trouble:
                wrong.append(Wrong(line, key[:60], str(trouble.args[0])))
            except TypeError:
                wrong.append(Wrong(line, key[:60], _wanted(name_of(key))))
        yield from ((line, one) for one in wrong)
        if not wrong:
            yield line, {key: value for key, value in values.items() if value}


def _wanted(name: str) -> str:
    if name in memberships.TRUTHS:
        return "this has to be true or false"
    return "this has to be a list of texts in quotes" if name in _LISTS else "this has to be text in quotes"


def _text(name: str, value: object) -> object:
    if isinstance(value, str):
        return value
    if isinstance(value, bool) and name in memberships.TRUTHS:
        return "true" if value else "false"
    if isinstance(value, list) and name in _LISTS and all(isinstance(one, str) for one in value):
        return value
    raise TypeError
