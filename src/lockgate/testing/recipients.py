"""The directory in memory for whoever changes it, and next hops that answer as a test lists."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence

import msgspec

from lockgate.mail.directory import RecipientRow
from lockgate.mail.findings import RecipientKind, Said, Unknown
from lockgate.mail.hop import NextHop
from lockgate.seams import Asked, Difference, Unreachable


class MemoryRecipients:
    """seams.Recipients over lists; set `broken` to have changes fail with it."""

    def __init__(self) -> None:
        self.people: dict[str, list[RecipientRow]] = {}
        self.revision = 1
        self.broken: Exception | None = None

    def row(self, organisation: str, address: str) -> RecipientRow | None:
        """See Recipients."""
        return next((row for row in self.people.get(organisation, ()) if address in row.keys), None)

    def rows(self, organisation: str) -> Iterator[RecipientRow]:
        """See Recipients."""
        return iter(list(self.people.get(organisation, ())))

    def groups(self, organisation: str) -> Iterator[RecipientRow]:
        """See Recipients."""
        return (row for row in self.rows(organisation) if row.kind is RecipientKind.GROUP)

    def filters(self, organisation: str) -> dict[str, dict[str, str]]:
        """See Recipients."""
        return {row.primary.key: row.recipient_filter for row in self.rows(organisation) if row.recipient_filter}

    def naming(self, organisation: str, keys: Collection[str]) -> list[RecipientRow]:
        """See Recipients."""
        return [row for row in self.rows(organisation) if row.names(keys)]

    def change(self, organisation: str, before: Sequence[RecipientRow], after: Sequence[RecipientRow]) -> int:
        """See Recipients."""
        if self.broken is not None:
            raise self.broken
        gone = {row.primary.key for row in before}
        there = [row for row in self.people.get(organisation, ()) if row.primary.key not in gone]
        self.people[organisation] = [*there, *after]
        self.revision += 1
        return self.revision

    def load(self, organisation: str) -> MemoryLoading:
        """See Recipients."""
        return MemoryLoading(self, organisation)


class MemoryLoading:
    """seams.Loading into MemoryRecipients."""

    def __init__(self, store: MemoryRecipients, organisation: str) -> None:
        self._store = store
        self._organisation = organisation
        self._lines: dict[str, int] = {}
        self._fresh: list[RecipientRow] = []

    def add(self, row: RecipientRow, line: int) -> tuple[str, int] | None:
        """See Loading."""
        twice = next((key for key in row.keys if key in self._lines), None)
        if twice is not None:
            return twice, self._lines[twice]
        self._lines.update(dict.fromkeys(row.keys, line))
        self._fresh.append(row)
        return None

    def rows(self) -> Iterator[RecipientRow]:
        """See Loading."""
        return iter(list(self._fresh))

    def primary(self, address: str) -> str | None:
        """See Loading."""
        return next((row.primary.key for row in self._fresh if address in row.keys), None)

    def seal(self) -> Difference:
        """See Loading."""
        old = list(self._store.rows(self._organisation))
        fresh = {row.primary.key: row for row in self._fresh}
        missing = [row for row in old if row.primary.key not in self._lines]
        stay = [row for row in old if row.primary.key in self._lines]
        same = sum(fresh.get(row.primary.key) == row for row in stay)
        return Difference(
            before=len(old),
            addresses=sum(len(row.keys) for row in old),
            added=len(fresh.keys() - {row.primary.key for row in old}),
            changed=len(stay) - same,
            removed=len(missing),
            unchanged=same,
            lost=sum(key not in self._lines for row in old for key in row.keys),
            shed=sum(key not in self._lines for row in stay for key in row.keys),
            missing=tuple(row.primary.key for row in missing),
        )

    def put(self, *, keep_missing: bool) -> int:
        """See Loading."""
        old = list(self._store.rows(self._organisation))
        kept = [
            msgspec.structs.replace(row, proxies=tuple(one for one in row.proxies if one.key not in self._lines))
            for row in old
            if keep_missing and row.primary.key not in self._lines
        ]
        return self._store.change(self._organisation, old, [*self._fresh, *kept])

    def drop(self) -> None:
        """See Loading."""


class ListedVerifier:
    """seams.Verifier with the answers of a test by address; others make it unreachable. Counts what it was asked."""

    def __init__(self, answers: Mapping[str, Asked]) -> None:
        self.answers = dict(answers)
        self.asked: list[str] = []
        self.trouble: Unreachable | None = None

    async def verify(self, hop: NextHop, address: str) -> Asked:
        """See Verifier."""
        self.asked.append(address)
        if self.trouble is not None:
            raise self.trouble
        return self.answers.get(address, self.answers["*"])


class ListedCallout:
    """seams.Callout with the answers of a test by address."""

    def __init__(self, answers: Mapping[str, Said]) -> None:
        self.answers = dict(answers)
        self.asked: list[tuple[str, str]] = []

    async def ask(self, hop: NextHop, organisation: str, address: str) -> Said | Unknown:
        """See Callout."""
        self.asked.append((hop.lane, address))
        return self.answers.get(address, Unknown("no answer is listed"))
