"""Entries of named lists as people write them, and how a value is looked up among them."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from lockgate.mail.address import AddressError, parse_address
from lockgate.mail.lists import ListEntry, ListKind
from lockgate.policy.phrases import Phrases, find_phrase, read_phrase
from lockgate.policy.spelling import domain


def read_entry(kind: ListKind, text: str) -> ListEntry:
    """The entry that this text is in a list of this kind. Raises ValueError with words for people."""
    match kind:
        case ListKind.DOMAINS:
            return ListEntry(text.strip(), (domain(text),))
        case ListKind.ADDRESSES:
            try:
                return ListEntry(text, (parse_address(text, utf8=True).key,))
            except AddressError as trouble:
                raise ValueError(f"'{text[:80]}' is not an address: {trouble}") from None
        case ListKind.WORDS:
            return read_phrase(text)


class FewEntries:
    """Entries in memory, looked up as those of a list are."""

    def __init__(self, entries: Iterable[ListEntry]) -> None:
        self._keys: dict[str, ListEntry] = {}
        self._marks: set[str] = set()
        for entry in entries:
            self._marks.update(entry.marks)
            for key in entry.keys:
                self._keys.setdefault(key, entry)

    def some_of(self, keys: Collection[str]) -> list[str]:
        """See Phrases."""
        return [key for key in keys if key in self._keys or key in self._marks]

    def find(self, key: str) -> ListEntry | None:
        """See Phrases."""
        return self._keys.get(key)


def find_value(kind: ListKind, value: str, entries: Phrases) -> ListEntry | None:
    """The entry that covers this address, this domain (itself, or the nearest above it), or that is in this text."""
    match kind:
        case ListKind.DOMAINS:
            name = value
            while name:
                found = entries.find(name)
                if found is not None:
                    return found
                name = name.partition(".")[2]
            return None
        case ListKind.ADDRESSES:
            return entries.find(value)
        case ListKind.WORDS:
            return find_phrase((value,), entries)
