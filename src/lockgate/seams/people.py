"""Who the recipients are."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Protocol

import msgspec

from lockgate.mail.directory import RecipientRow
from lockgate.mail.findings import Known, Members, Unknown


class Directory(Protocol):
    """Who the recipients are. Synchronous: at most 2 microseconds from a memory-mapped table.

    Kept by storage/directory.py, faked by MemoryDirectory in testing/memory.py.
    """

    def who_is(self, organisation: str, address: str) -> Known | Unknown:
        """Whose is this address (`Address.key` form)? Unknown if the table cannot be read; never raises."""

    def members_of(self, organisation: str, address: str) -> Members | Unknown:
        """The direct members of the group with this primary address (`Address.key` form); nobody's group has none.

        Unknown if the table cannot be read; never raises. Members that are recipients of the organisation come as such
        (`known`, each once, by whichever of their addresses they are listed), all others as addresses (`others`).
        """


class Difference(msgspec.Struct, frozen=True):
    """What an import would change: recipients `before`, `added`, `changed`, `removed`, `unchanged`.

    `addresses` counts those before, `lost` those of them that the file does not have, `shed` those of them that
    belong to recipients whom the file has; `missing` are the primary addresses of (the first thousand) recipients that
    would be removed.
    """

    before: int
    addresses: int
    added: int
    changed: int
    removed: int
    unchanged: int
    lost: int
    shed: int
    missing: tuple[str, ...] = ()


class Loading(Protocol):
    """One organisation's recipients on their way in. Always ended by `drop`, whatever came before."""

    def add(self, row: RecipientRow, line: int) -> tuple[str, int] | None:
        """Take one recipient; if one of its addresses was taken already: which, and on which line. Raises OSError."""

    def rows(self) -> Iterator[RecipientRow]:
        """All that were taken so far; before `put` only. Raises OSError."""

    def primary(self, address: str) -> str | None:
        """Whose is this address (`Address.key` form) among those taken so far? The key of the primary one."""

    def seal(self) -> Difference:
        """Compare with what is in force; from now on the organisation cannot be changed otherwise. Raises Unavailable.
        """

    def put(self, *, keep_missing: bool) -> int:
        """Put in force, durably and at once; the revision. `keep_missing` removes nobody. Raises Unavailable."""

    def drop(self) -> None:
        """Forget what is not in force."""


class Recipients(Protocol):
    """The directory as those see it who change it. Blocks; kept by storage/recipients.py.

    Promises: every change is durable when its method returns and seen by every `Directory` within a second; a kill
    at any moment leaves the state before or after it.
    """

    def row(self, organisation: str, address: str) -> RecipientRow | None:
        """The recipient with this address (`Address.key` form). Raises Unavailable."""

    def rows(self, organisation: str) -> Iterator[RecipientRow]:
        """All recipients as they are now, whatever changes while they are read. Raises Unavailable."""

    def groups(self, organisation: str) -> Iterator[RecipientRow]:
        """All distribution groups as they are now; quick, however many recipients there are. Raises Unavailable."""

    def filters(self, organisation: str) -> Mapping[str, Mapping[str, str]]:
        """The filters of groups that find their members, by the keys of their primary addresses. Raises Unavailable."""

    def naming(self, organisation: str, keys: Collection[str]) -> Sequence[RecipientRow]:
        """Whose members, managers, forwarding or restriction name one of these addresses (`Address.key` forms).

        Raises Unavailable.
        """

    def change(self, organisation: str, before: Sequence[RecipientRow], after: Sequence[RecipientRow]) -> int:
        """Put `after` in the place of `before`; the revision. Raises Unavailable."""

    def load(self, organisation: str) -> Loading:
        """Begin an import."""
