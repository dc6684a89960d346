"""Groups whose members are found by what the directory says of people (dynamic distribution groups, specification 1.6).

A filter is one value for each of some attributes; who has them all, case aside, is a member. Members are found when the
directory is written, not when mail comes: in the same change that makes somebody fit or not fit any more. So a
message to such a group costs what one to any other group costs.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from lockgate.flow.cells import Reasons
from lockgate.mail.address import Address
from lockgate.mail.directory import ATTRIBUTES, RecipientRow
from lockgate.mail.findings import RecipientKind

COLUMN = "recipient_filter"
_NAMES = {name.replace("_", ""): name for name in ("kind", *ATTRIBUTES)}
_CONDITION = re.compile(r'\s*([^=;"]+)=\s*("(?:[^"]|"")*"|[^;"]*)\s*(?:;|$)')
_PLAIN = re.compile(r'[^;"]*')


def filter_in(text: str, wrong: Reasons) -> dict[str, str]:
    """The conditions of a cell, `city=Oslo; department="Sales; North"`; what cannot be one is added to `wrong`."""
    found: dict[str, str] = {}
    at = 0
    while at < len(text.rstrip("; \t")):
        match = _CONDITION.match(text, at)
        if match is None:
            wrong.append((COLUMN, f"'{text[at : at + 40]}' is no condition; write for example city=Oslo;kind=mailbox"))
            return {}
        named, value = match[1].strip(), match[2].strip()
        name = _NAMES.get(re.sub(r"[\s_-]", "", named).casefold())
        value = value[1:-1].replace('""', '"').strip() if value.startswith('"') else value
        if name is None:
            wrong.append((COLUMN, f"'{named[:40]}' is no attribute of a recipient"))
        elif name == "kind" and value not in {kind.value for kind in RecipientKind}:
            wrong.append((COLUMN, f"'{value[:40]}' is no kind of recipient"))
        elif not value:
            wrong.append((COLUMN, f"{name} has no value; whoever lacks an attribute cannot be asked for"))
        else:
            found[name] = value
        at = match.end()
    return found


def as_text(conditions: Mapping[str, str]) -> str:
    """The conditions as `filter_in` reads them."""
    return ";".join(f"{name}={_quoted(value)}" for name, value in conditions.items())


def _quoted(value: str) -> str:
    return value if _PLAIN.fullmatch(value) else '"' + value.replace('"', '""') + '"'


def fits(row: RecipientRow, conditions: Mapping[str, str]) -> bool:
    """Whether a recipient has all of this. Groups only fit where their kind is asked for, and those with filters never.
    """
    if row.kind is RecipientKind.GROUP and ("kind" not in conditions or row.recipient_filter):
        return False
    return bool(conditions) and all(_has(row, name) == value.casefold() for name, value in conditions.items())


def _has(row: RecipientRow, name: str) -> str:
    return row.kind.value if name == "kind" else row.attributes.get(name, "").casefold()


def found_by(groups: Sequence[RecipientRow], rows: Iterable[RecipientRow]) -> list[tuple[Address, ...]]:
    """The members of each of these groups among the recipients, by their addresses."""
    found: list[dict[str, Address]] = [{} for _ in groups]
    # One condition of each group sorts most recipients out, however many groups there are.
    first: dict[str, dict[str, list[int]]] = {}
    for number, group in enumerate(groups):
        name, value = next(iter(group.recipient_filter.items()))
        first.setdefault(name, {}).setdefault(value.casefold(), []).append(number)
    for row in rows:
        for name, numbers in first.items():
            for number in numbers.get(_has(row, name), ()):
                group = groups[number]
                if fits(row, group.recipient_filter) and row.primary.key != group.primary.key:
                    found[number][row.primary.key] = row.primary
    return [_in_order(members.values()) for members in found]


def refitted(group: RecipientRow, before: RecipientRow | None, after: RecipientRow | None) -> tuple[Address, ...]:
    """The members of such a group when one recipient has changed."""
    gone = {row.primary.key for row in (before, after) if row is not None}
    members = [member for member in group.members if member.key not in gone]
    if after is not None and fits(after, group.recipient_filter):
        members.append(after.primary)
    return _in_order(members)


def _in_order(members: Iterable[Address]) -> tuple[Address, ...]:
    return tuple(sorted(members, key=lambda member: member.key))
