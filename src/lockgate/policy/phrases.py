"""Words and phrases of named lists: a text is cut into pieces that are looked up, however long the list is.

It finds what a condition with the same words finds (policy/text.py), in another way. There, all needles are looked for
in the text; here, what stands in the text is looked for among the needles. Pieces are words, single signs, and single
letters of scripts without spaces; the lists know the beginnings of their longer phrases, so that a phrase is followed
only as far as some entry goes with it.
"""

from __future__ import annotations

import functools
import operator
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from lockgate.mail.lists import ListEntry
from lockgate.policy.text import TextError, forms_of, is_outside, is_space, open_ended, word

MOST_PIECES = 32
"""Pieces of the longest phrase."""

_MARKED = (2, 4, 8, 16)
"""The list knows the beginnings of its phrases that are so many pieces long."""

_CUT = "\0"
_NOTHING = "\x01"
"""Stands for signs of a text that no entry has."""


class Phrases(Protocol):
    """The entries of one list, as they are looked up."""

    def some_of(self, keys: Collection[str]) -> Sequence[str]:
        """Those of the keys that may be there, or be the beginning of one; a few too many, never too few."""

    def find(self, key: str) -> ListEntry | None:
        """The entry with this key."""

    def begins(self, key: str) -> bool:
        """Whether this may be a marked beginning of an entry; True a little too often, never too seldom."""


def read_phrase(text: str) -> ListEntry:
    """A word or phrase as it is looked up. Raises TextError."""
    word(text)
    if any(unicodedata.category(sign) in ("Cc", "Cs") for sign in text):
        raise TextError(f"'{text[:80]}' holds a control character")
    plain = unicodedata.normalize("NFKC", text)
    if plain != plain.strip():
        raise TextError(f"'{text[:80]}' begins or ends with a sign that is a space and a mark; leave it out")
    cut = {_key(pieces): pieces for pieces in (_pieces(_folded(form)) for form in forms_of(plain))}
    longest = max(map(len, cut.values()))
    if longest > MOST_PIECES:
        raise TextError(
            f"'{text[:80]}' has {longest} words and signs (letters, in scripts without spaces); a phrase in a list has "
            f"at most {MOST_PIECES}"
        )
    marks = {_key(pieces[:count]): None for pieces in cut.values() for count in _MARKED if count < len(pieces)}
    return ListEntry(text, tuple(cut), tuple(marks))


def find_phrase(texts: Iterable[str], phrases: Phrases) -> ListEntry | None:
    """The first entry that is in one of the texts, the longest where several begin at one place; None if none is.

    The cost grows with the texts alone.
    """
    for text in texts:
        if text and (found := _find(_pieces(_folded(_plain(text))), phrases)) is not None:
            return found
    return None


def _find(pieces: list[str], phrases: Phrases) -> ListEntry | None:
    heads = [piece[1:] if piece[0] == " " else piece for piece in pieces]
    pairs = [*map(operator.add, heads, pieces[1:]), ""]
    possible = frozenset(phrases.some_of({*heads, *pairs}))
    if not possible:
        return None
    for place, (head, pair) in enumerate(zip(heads, pairs, strict=True)):
        if (head in possible or pair in possible) and (found := _longest(pieces, place, head, phrases)) is not None:
            return found
    return None


def _longest(pieces: list[str], start: int, key: str, phrases: Phrases) -> ListEntry | None:
    """The longest entry that begins at this place and stands alone."""
    found: ListEntry | None = None
    for end in range(start + 1, min(len(pieces), start + MOST_PIECES) + 1):
        entry = phrases.find(key)
        if entry is not None and _stands_alone(pieces, start, end, key):
            found = entry
        if end - start in _MARKED and not phrases.begins(key):
            break
        if end < len(pieces):
            key += pieces[end]
    return found


def _stands_alone(pieces: list[str], start: int, end: int, key: str) -> bool:
    before = pieces[start - 1][-1] if start and pieces[start][0] != " " else " "
    behind = pieces[end][0] if end < len(pieces) else " "
    return (open_ended(key[0]) or _bounds(before)) and (open_ended(key[-1]) or _bounds(behind))


@functools.lru_cache(maxsize=4096)
def _bounds(sign: str) -> bool:
    return is_outside(sign)


def _key(pieces: Sequence[str]) -> str:
    return "".join(pieces).removeprefix(" ")


def _pieces(folded: str) -> list[str]:
    """The pieces of a folded text; one with a space before it begins with a space, and so does the first."""
    found: list[str] = []
    for chunk in folded.split():
        if _CUT in chunk:
            first, *others = [part for part in chunk.split(_CUT) if part]
            found.append(f" {first}")
            found += others
        else:
            found.append(f" {chunk}")
    return found


def _plain(text: str) -> str:
    """As a text is looked through everywhere: in NFKC, what is no Unicode replaced."""
    if text.isascii():
        return text
    return unicodedata.normalize("NFKC", text).encode("utf-8", "replace").decode("utf-8")


def _folded(plain: str) -> str:
    return plain.translate(_signs())


class _Signs(dict[int, str]):
    """What becomes of each sign: folded, spaces made equal, cuts around what is a piece of its own."""

    def __missing__(self, code: int) -> str:
        made = self[code] = _made_of(chr(code))
        return made


@functools.cache
def _signs() -> _Signs:
    return _Signs()


def _made_of(sign: str) -> str:
    if is_space(sign):
        return " "
    if sign in (_CUT, _NOTHING) or sign.isspace():
        return f"{_CUT}{_NOTHING}{_CUT}"
    folded = simple_fold(sign)
    return f"{_CUT}{folded}{_CUT}" if open_ended(sign) or is_outside(sign) else folded


def simple_fold(sign: str) -> str:
    """The one sign that stands for all that differ from it in case only (Unicode CaseFolding, C and S)."""
    folded, lower = sign.casefold(), sign.lower()
    return folded if len(folded) == 1 else lower if len(lower) == 1 else sign
