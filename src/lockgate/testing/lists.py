"""Named lists in memory: looked up in, and changed."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence

from lockgate.mail.findings import Unknown
from lockgate.mail.lists import ListEntry, ListName
from lockgate.seams import ListChange, Unavailable


class MemoryView:
    """seams.ListView over entries."""

    def __init__(
        self, entries: Iterable[ListEntry] = (), revision: int = 0, changed: float = 0.0, by: str = ""
    ) -> None:
        self.by_key = {entry.key: entry for entry in entries}
        self.revision, self.changed, self.by = revision, changed, by
        self._keys = {key: entry for entry in reversed(self.by_key.values()) for key in entry.keys}
        self._marks = {mark for entry in self.by_key.values() for mark in entry.marks}

    @property
    def count(self) -> int:
        """See ListView."""
        return len(self.by_key)

    def find(self, key: str) -> ListEntry | None:
        """See ListView."""
        return self._keys.get(key)

    def some_of(self, keys: Collection[str]) -> Sequence[str]:
        """See ListView."""
        return [key for key in keys if key in self._keys or key in self._marks]

    def entries(self) -> Iterator[ListEntry]:
        """See ListView."""
        return iter(list(self.by_key.values()))


class MemoryLists:
    """seams.Lists; set `broken` to have nothing found out, for that reason."""

    def __init__(self) -> None:
        self.views: dict[ListName, MemoryView] = {}
        self.broken = ""

    def view(self, name: ListName) -> MemoryView | Unknown:
        """See Lists."""
        return Unknown(self.broken) if self.broken else self.views.get(name, MemoryView())


class MemoryListKeeper:
    """seams.ListKeeper; what it changes is seen in `lists`."""

    def __init__(self, lists: MemoryLists | None = None) -> None:
        self.lists = lists or MemoryLists()

    def current(self, name: ListName) -> MemoryView:
        """See ListKeeper."""
        view = self.lists.view(name)
        if isinstance(view, Unknown):
            raise Unavailable(view.why)
        return view

    def change(
        self, name: ListName, add: Sequence[ListEntry], remove: Sequence[ListEntry], by: str, *, what_if: bool
    ) -> ListChange:
        """See ListKeeper."""
        before = self.current(name)
        there = before.by_key
        fresh: dict[str, ListEntry] = {}
        for entry in add:
            if entry.key not in there:
                fresh.setdefault(entry.key, entry)
        gone = {entry.key for entry in remove if entry.key in there}
        missing = tuple(entry.text for entry in remove if entry.key not in gone)
        known = len({entry.key for entry in add}) - len(fresh)
        entries = [entry for entry in there.values() if entry.key not in gone] + list(fresh.values())
        revision = self._put(name, entries, by, what_if=what_if or not (fresh or gone))
        return ListChange(revision, before.count, len(entries), len(fresh), known, len(gone), missing)

    def load(
        self, name: ListName, entries: Iterable[ListEntry], by: str, *, replace: bool, what_if: bool
    ) -> ListChange:
        """See ListKeeper."""
        before = self.current(name)
        given: dict[str, ListEntry] = {}
        for entry in entries:
            given.setdefault(entry.key, entry)
        there = [key for key in given if key in before.by_key]
        others = {key: entry for key, entry in given.items() if key not in before.by_key}
        after = given if replace else {**before.by_key, **others}
        removed = before.count - len(there) if replace else 0
        added = len(given) - len(there)
        revision = self._put(name, after.values(), by, what_if=what_if or not (added or removed))
        return ListChange(revision, before.count, len(after), added, len(there), removed)

    def clear(self, name: ListName, by: str, *, what_if: bool) -> ListChange:
        """See ListKeeper."""
        before = self.current(name)
        revision = self._put(name, (), by, what_if=what_if or not before.count)
        return ListChange(revision, before.count, 0, removed=before.count)

    def _put(self, name: ListName, entries: Iterable[ListEntry], by: str, *, what_if: bool) -> int:
        before = self.current(name)
        if what_if:
            return before.revision
        self.lists.views[name] = MemoryView(entries, before.revision + 1, 0.0, by)
        return before.revision + 1
