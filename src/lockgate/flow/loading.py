"""Puts the recipients of a file in force, so that a stale or half-broken source never turns into refusals."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import msgspec

from lockgate.flow.memberships import MOST_MEMBERS
from lockgate.flow.recipient_filters import COLUMN, found_by
from lockgate.flow.recipients import Wrong, read_rows
from lockgate.mail.address import Address
from lockgate.mail.directory import RecipientRow
from lockgate.seams import Difference, Loading, Recipients

MOST_REMOVED = 0.10
"""The part of an organisation's recipients, or of their addresses, that an import may take away without `force`."""

MOST_WARNINGS = 100
MOST_LISTED = 100_000
"""Addresses in restrictions that are looked after."""


class NotLoaded(Exception):
    """The import was given up and nothing has changed; the message says why and what to do."""


class Rejected(NotLoaded):
    """It was given up because lines were rejected."""


class Wishes(msgspec.Struct, frozen=True):
    """How an import is meant.

    `force` lifts the bound on removals and lets a file with rejected lines remove recipients. `all_or_nothing` gives
    up at the end if a line was rejected. `keep_missing` removes nobody. `what_if` changes nothing.
    """

    organisation: str
    form: str
    name: str
    what_if: bool = False
    force: bool = False
    all_or_nothing: bool = False
    keep_missing: bool = False


class Progress:
    """Where an import stands; `wrong` is told of each rejected line.

    `listed` are the addresses that restrictions name, with line and primary address of the first that does; `filtered`
    the groups whose members are found when everybody is there.
    """

    def __init__(self, wrong: Callable[[Wrong], None]) -> None:
        self.phase = "reading"
        self.lines = 0
        self.recipients = 0
        self.addresses = 0
        self.rejected = 0
        self.wrong = wrong
        self.listed: dict[str, tuple[int, str]] = {}
        self.filtered: list[tuple[int, RecipientRow]] = []

    def reject(self, one: Wrong) -> None:
        """One more line is rejected."""
        self.rejected += 1
        self.wrong(one)


def load(lines: Iterable[str], wishes: Wishes, store: Recipients, progress: Progress) -> dict[str, Any]:
    """Read, compare, put in force; what was done, JSON-ready. Raises NotLoaded, Invalid, Unavailable, OSError."""
    loading = store.load(wishes.organisation)
    try:
        _read(lines, wishes, loading, progress)
        _find_members(wishes, store, loading, progress)
        if not progress.recipients:
            raise NotLoaded(
                "the file holds no valid recipients; an empty directory would refuse all mail, so nothing was changed"
            )
        if wishes.all_or_nothing and progress.rejected:
            raise Rejected(f"{progress.rejected} mistakes, nothing was changed, as --all-or-nothing asks for")
        progress.phase = "comparing"
        difference = loading.seal()
        keep = _keeps(wishes, progress)
        if not wishes.force:
            _guard(difference, keep=keep)
        told = _told(difference, wishes, progress, keep=keep)
        told["warnings"] = _warnings(wishes, store if keep else None, loading, progress)
        if not wishes.what_if:
            progress.phase = "putting in force"
            told["revision"] = loading.put(keep_missing=keep)
        return told
    finally:
        loading.drop()


def _read(lines: Iterable[str], wishes: Wishes, loading: Loading, progress: Progress) -> None:
    for found in read_rows(lines, wishes.form, wishes.name, wishes.organisation):
        if isinstance(found, Wrong):
            progress.reject(found)
            continue
        line, row = found
        if row.recipient_filter:
            progress.filtered.append(found)
        else:
            _take(line, row, loading, progress)


def _take(line: int, row: RecipientRow, loading: Loading, progress: Progress) -> None:
    twice = loading.add(row, line)
    if twice is not None:
        message = f"{twice[0]} is already given on line {twice[1]}; an address belongs to one recipient"
        progress.reject(Wrong(line, "address", message))
        return
    if row.restriction is not None and len(progress.listed) < MOST_LISTED:
        for key in (*row.restriction.accept_from, *row.restriction.reject_from):
            progress.listed.setdefault(key, (line, row.primary.text))
    progress.recipients += 1
    progress.addresses += 1 + len(row.proxies)
    progress.lines = line


def _find_members(wishes: Wishes, store: Recipients, loading: Loading, progress: Progress) -> None:
    """Take the groups with a filter, their members found among those of the file and those who are kept."""
    keep = _keeps(wishes, progress)
    named = [row for _, row in progress.filtered]
    groups = [*named, *(_kept(wishes.organisation, named, store, loading) if keep else ())]
    if not groups:
        return
    progress.phase = "finding members"
    people = loading.rows()
    if keep:
        people = itertools.chain(people, (row for row in store.rows(wishes.organisation) if _left(row, loading)))
    found = found_by(groups, people)
    if _reject_large(found, progress):
        _find_members(wishes, store, loading, progress)  # a rejected line may mean that more people are kept
        return
    for number, (group, members) in enumerate(zip(groups, found, strict=True)):
        row = msgspec.structs.replace(group, members=members[:MOST_MEMBERS])
        if number < len(named):
            _take(progress.filtered[number][0], row, loading, progress)
        else:
            loading.add(row, 0)


def _reject_large(found: Sequence[Sequence[Address]], progress: Progress) -> bool:
    """Reject the groups of the file that find too many; whether there are any."""
    large = [n for n, _ in enumerate(progress.filtered) if len(found[n]) > MOST_MEMBERS]
    for number in reversed(large):
        line, _ = progress.filtered.pop(number)
        message = f"it finds {len(found[number])} members; a group has at most {MOST_MEMBERS}"
        progress.reject(Wrong(line, COLUMN, message))
    return bool(large)


def _kept(
    organisation: str, named: Sequence[RecipientRow], store: Recipients, loading: Loading
) -> Iterator[RecipientRow]:
    """The groups with a filter that the file does not name, without the addresses that it gives to others."""
    for key in store.filters(organisation).keys() - {row.primary.key for row in named}:
        row = store.row(organisation, key)
        if row is not None and _left(row, loading):
            yield _unclaimed(row, loading)


def _left(row: RecipientRow, loading: Loading) -> bool:
    """Whether the file has nobody with the primary address of this recipient."""
    return loading.primary(row.primary.key) is None


def _unclaimed(row: RecipientRow, loading: Loading) -> RecipientRow:
    proxies = tuple(one for one in row.proxies if loading.primary(one.key) is None)
    return msgspec.structs.replace(row, proxies=proxies)


def _keeps(wishes: Wishes, progress: Progress) -> bool:
    return wishes.keep_missing or (progress.rejected > 0 and not wishes.force)


def _guard(difference: Difference, *, keep: bool) -> None:
    """Raises NotLoaded if too many would be refused afterwards who are not refused now."""
    removed, lost = (0, difference.shed) if keep else (difference.removed, difference.lost)
    for gone, of, what in (
        (removed, difference.before, "recipients"),
        (lost, difference.addresses, "addresses"),
    ):
        if gone > of * MOST_REMOVED:
            missing = f" (missing are for example {', '.join(difference.missing[:5])})" if removed else ""
            mend = "look whether the file is whole, then say --force, or --keep-missing to remove nobody"
            raise NotLoaded(
                f"{gone} of {of} {what} would be removed, which is more than {MOST_REMOVED:.0%}, and nothing was "
                f"changed; {mend}{missing}"
            )


def _warnings(wishes: Wishes, store: Recipients | None, loading: Loading, progress: Progress) -> list[str]:
    """What is in force and cannot be meant so: restrictions that name nobody. Raises Unavailable, OSError."""
    found: list[str] = []
    for key, (line, whose) in progress.listed.items():
        primary = loading.primary(key)
        if primary is None and store is not None:
            row = store.row(wishes.organisation, key)
            primary = row.primary.key if row is not None else None
        if primary == key:
            continue
        if len(found) == MOST_WARNINGS:
            return [*found, "there are more of these"]
        named = f"{wishes.name}:{line}: who may send to {whose} names {key}, which"
        mend = "is no recipient here" if primary is None else f"is an alias; write its primary address {primary}"
        found.append(f"{named} {mend}")
    return found


def _told(difference: Difference, wishes: Wishes, progress: Progress, *, keep: bool) -> dict[str, Any]:
    return {
        "organisation": wishes.organisation,
        "recipients": progress.recipients,
        "addresses": progress.addresses,
        "rejected": progress.rejected,
        "before": difference.before,
        "added": difference.added,
        "changed": difference.changed,
        "removed": 0 if keep else difference.removed,
        "kept": difference.removed if keep else 0,
        "unchanged": difference.unchanged,
        "missing": list(difference.missing[:100]),
        "what_if": wishes.what_if,
    }
