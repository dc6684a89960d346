"""Named lists: what kinds there are, and an entry as it is written and as it is looked up."""

from __future__ import annotations

import enum

import msgspec


class ListKind(enum.StrEnum):
    """What the entries of a list are: domains (with all below them), addresses, or words and phrases."""

    DOMAINS = "domains"
    ADDRESSES = "addresses"
    WORDS = "words"


class ListEntry(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """One entry: as it was written, and the keys under which it is found.

    The first key is the entry's own: two spellings with the same one are one entry. `marks` are beginnings of the keys
    of a phrase. None of them holds a control character.
    """

    text: str
    keys: tuple[str, ...]
    marks: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """What two spellings of one entry have in common."""
        return self.keys[0]


class ListName(msgspec.Struct, frozen=True, array_like=True):
    """Which list is meant. Its kind is part of it: entries of one kind say nothing as another."""

    organisation: str
    kind: ListKind
    name: str
