"""Recipients as people hand them over (CSV or TOML), read into directory entries, all mistakes at once."""

from __future__ import annotations

import csv
import io
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from lockgate.mail.address import Address, AddressError, parse_address
from lockgate.mail.findings import RecipientKind, Who
from lockgate.policy.documents import Invalid, Problem

ATTRIBUTES = (
    "city", "company", "country", *(f"custom_attribute{n}" for n in range(1, 16)), "department", "display_name",
    "email", "fax_number", "first_name", "home_phone_number", "initials", "last_name", "manager", "mobile_number",
    "notes", "office", "other_fax_number", "other_home_phone_number", "other_phone_number", "pager_number",
    "phone_number", "po_box", "state", "street", "title", "user_logon_name", "zip_code",
)  # fmt: skip
"""The directory attributes of specification 1.15.2, lower_snake_case."""

COLUMNS = ("address", "kind", "aliases", "external_address", *ATTRIBUTES)
"""The columns of a CSV file; only the first is needed. Several aliases are separated by blanks or semicolons."""

MOST_PROBLEMS = 100
"""After so many mistakes reading stops; the file is of another kind."""


class Entry(msgspec.Struct, frozen=True):
    """One recipient with every address it answers to, the primary one first."""

    who: Who
    addresses: tuple[Address, ...]


def read_recipients(text: str, form: str, name: str, organisation: str) -> tuple[Entry, ...]:
    """The entries of one organisation. `form` is "csv" or "toml", `name` the file in messages. Raises Invalid."""
    problems: list[Problem] = []
    entries: list[Entry] = []
    taken: dict[str, int] = {}
    try:
        for line, row in _rows(text, form, name, problems):
            entry = _entry(row, organisation, name, line, problems)
            if entry is not None:
                entries.append(entry)
                _note_twice(entry, taken, name, line, problems)
            if len(problems) >= MOST_PROBLEMS:
                break
    except (csv.Error, tomllib.TOMLDecodeError) as trouble:
        problems.append(Problem(name, 1, "", str(trouble)))
    except RecursionError:
        problems.append(Problem(name, 1, "", "the file is nested too deeply"))
    if problems:
        raise Invalid(tuple(problems))
    return tuple(entries)


def _rows(text: str, form: str, name: str, problems: list[Problem]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    match form:
        case "csv":
            yield from _csv_rows(text.removeprefix("\ufeff"), name, problems)
        case "toml":
            yield from _toml_rows(text, name, problems)
        case _:
            problems.append(Problem(name, 1, "", "recipients come as CSV or TOML"))


def _csv_rows(text: str, name: str, problems: list[Problem]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), restkey="", strict=True)
    columns = [column.strip().lower() for column in reader.fieldnames or ()]
    reader.fieldnames = columns
    problems.extend(Problem(name, 1, column, "this column is unknown") for column in columns if column not in COLUMNS)
    if "address" not in columns:
        problems.append(Problem(name, 1, "address", "the column with the primary address is missing"))
    if problems:
        return
    for row in reader:
        if row.pop("", None) is not None:
            problems.append(Problem(name, reader.line_num, "", "there are more values than columns"))
            continue
        yield reader.line_num, {key: value for key, value in row.items() if value}


def _toml_rows(text: str, name: str, problems: list[Problem]) -> Iterator[tuple[int, Mapping[str, Any]]]:
    data = tomllib.loads(text)
    lines = (number for number, line in enumerate(text.splitlines(), 1) if line.strip().startswith("[["))
    problems.extend(Problem(name, 1, key, "this key is unknown") for key in data if key != "recipient")
    rows = data.get("recipient", [])
    if not isinstance(rows, list):
        problems.append(Problem(name, 1, "recipient", "write [[recipient]] before each recipient"))
        return
    for row in rows:
        line = next(lines, 1)
        wrong = [key for key, value in row.items() if key not in COLUMNS or not _fits(key, value)]
        for key in wrong:
            unknown = key not in COLUMNS
            problems.append(Problem(name, line, key, "this key is unknown" if unknown else "this has to be text"))
        if not wrong:
            yield line, row


def _fits(key: str, value: object) -> bool:
    return isinstance(value, str) or (key == "aliases" and isinstance(value, list) and _all_text(value))


def _all_text(values: Iterable[object]) -> bool:
    return all(isinstance(value, str) for value in values)


def _entry(
    row: Mapping[str, Any], organisation: str, name: str, line: int, problems: list[Problem]
) -> Entry | None:
    before = len(problems)
    primary = _address(row.get("address", ""), "address", name, line, problems)
    aliases = row.get("aliases", "")
    listed = aliases if isinstance(aliases, list) else aliases.replace(";", " ").split()
    others = [_address(alias, "aliases", name, line, problems) for alias in listed]
    external = row.get("external_address", "")
    target = _address(external, "external_address", name, line, problems) if external else None
    word = str(row.get("kind", "mail_user")).strip().lower()
    if word not in {kind.value for kind in RecipientKind}:
        message = f"'{word[:40]}' is none of {', '.join(kind.value for kind in RecipientKind)}"
        problems.append(Problem(name, line, "kind", message))
    if len(problems) > before or primary is None:
        return None
    attributes = {key: str(row[key]).strip() for key in ATTRIBUTES if row.get(key)}
    who = Who(organisation, RecipientKind(word), primary, target, attributes)
    unique = dict.fromkeys([primary, *(other for other in others if other is not None)])
    return Entry(who, tuple(unique))


def _address(text: str, column: str, name: str, line: int, problems: list[Problem]) -> Address | None:
    # Exchange exports write SMTP:primary and smtp:alias.
    plain = text.strip()
    if plain[:5].lower() == "smtp:":
        plain = plain[5:]
    try:
        return parse_address(plain, utf8=True)
    except AddressError as trouble:
        problems.append(Problem(name, line, column, f"'{plain[:80]}': {trouble}"))
        return None


def _note_twice(entry: Entry, taken: dict[str, int], name: str, line: int, problems: list[Problem]) -> None:
    for address in entry.addresses:
        first = taken.setdefault(address.key, line)
        if first != line:
            problems.append(Problem(name, line, "address", f"{address.text} is already given on line {first}"))
