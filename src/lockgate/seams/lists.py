"""Named lists: looked up in while mail is judged, and changed by people."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Protocol

import msgspec

from lockgate.mail.findings import Unknown
from lockgate.mail.lists import ListEntry, ListName


class ListChange(msgspec.Struct, frozen=True):
    """What a change did, or would do: entries before and after, and how many of those named are new, were there
    already, are removed. `missing` are those that were to be removed and are not there (of a whole file: none)."""

    revision: int
    before: int
    after: int
    added: int = 0
    there: int = 0
    removed: int = 0
    missing: tuple[str, ...] = ()


class ListView(Protocol):
    """One list as it stands at a moment; what changes later is seen by another view.

    `revision` is 0 where nothing was ever entered; `changed` (seconds since the epoch) and `by` tell of the last
    change.
    Every method raises Unavailable where the list is damaged.
    """

    @property
    def revision(self) -> int:
        """The number of the last change."""

    @property
    def count(self) -> int:
        """How many entries there are."""

    @property
    def changed(self) -> float:
        """When it was changed last."""

    @property
    def by(self) -> str:
        """Who changed it last."""

    def find(self, key: str) -> ListEntry | None:
        """The entry with this key."""

    def some_of(self, keys: Collection[str]) -> Sequence[str]:
        """Those of the keys that may be there, or be the beginning of one; a few too many, never too few."""

    def entries(self) -> Iterator[ListEntry]:
        """All entries, in the order in which they were added."""


class Lists(Protocol):
    """Named lists as the judge's questions need them. Synchronous: a few microseconds, however many entries there are.

    Kept by storage/lists.py, faked by MemoryLists in testing/lists.py.
    """

    def view(self, name: ListName) -> ListView | Unknown:
        """The list as it is (a change is seen within a second); an empty one if nothing was ever entered.

        Unknown if it cannot be read; never raises.
        """


class ListKeeper(Protocol):
    """Named lists as those see them who change them. Blocks; kept by storage/lists.py.

    Promises: a change is durable when its method returns and seen by every `Lists` within a second; a kill at any
    moment leaves the list before or after it; changes of one list are made one after the other.
    """

    def current(self, name: ListName) -> ListView:
        """The list as it is now. Raises Unavailable."""

    def change(
        self, name: ListName, add: Sequence[ListEntry], remove: Sequence[ListEntry], by: str, *, what_if: bool
    ) -> ListChange:
        """Add and remove entries. Raises Unavailable."""

    def load(
        self, name: ListName, entries: Iterable[ListEntry], by: str, *, replace: bool, what_if: bool
    ) -> ListChange:
        """Add very many, or put them in the place of all there are. Raises Unavailable, and what `entries` raises;
        then nothing has changed."""

    def clear(self, name: ListName, by: str, *, what_if: bool) -> ListChange:
        """Remove all entries. Raises Unavailable."""
