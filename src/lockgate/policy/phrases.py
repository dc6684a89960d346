"""Words and phrases of named lists: a text is cut into pieces that are looked up, however long the list is.

It finds what a condition with the same words finds (policy/text.py), in another way. There, all needles are looked for
in the text; here, what stands in the text is looked for among the needles. Pieces are words, single signs, and single
letters of scripts without spaces; the lists know the beginnings of their longer phrases, so that a phrase is followed
only as far as some entry goes with it.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from typing import Protocol

from lockgate.mail.lists import ListEntry
from lockgate.policy.text import TextError, check_word, forms_of, is_outside, is_space, open_ended, plain_of

MOST_PIECES = 32
"""Pieces of the longest phrase."""

_MARKED = (1, 2, 3, 4, 8, 16)
"""The list knows the beginnings of its phrases that are so many pieces long."""

_AT_ONCE = 2048
"""Pieces of a text that are looked up together."""

_MOST_SIGNS = 20_000
"""Different signs of one text; a dictionary of Chinese has about half of them."""

_REMEMBERED = 5 * _MOST_SIGNS

_CUT = "\0"
_NOTHING = "\x01"
"""Stands for signs of a text that no entry has."""


class Phrases(Protocol):
    """The entries of one list, as they are looked up."""

    def some_of(self, keys: Collection[str]) -> Sequence[str]:
        """Those of the keys that may be there, or be the beginning of one; a few too many, never too few."""

    def find(self, key: str) -> ListEntry | None:
        """The entry with this key."""


def read_phrase(text: str) -> ListEntry:
    """A word or phrase as it is looked up. Raises TextError."""
    if not text.isprintable() and any(unicodedata.category(sign) in ("Cc", "Cs") for sign in text):
        raise TextError(f"{text[:80]!a} holds a control character")
    check_word(text)
    plain = unicodedata.normalize("NFKC", text)
    if plain != plain.strip():
        raise TextError(f"'{text[:80]}' begins or ends with a sign that is a space and a mark; leave it out")
    cut = {_key(pieces): pieces for pieces in map(_pieces, dict.fromkeys(map(_folded, dict.fromkeys(forms_of(plain)))))}
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
    return find_in(map(pieces_of, texts), phrases)


def find_in(texts: Iterable[list[str]], phrases: Phrases) -> ListEntry | None:
    """The same for texts that are cut already."""
    for pieces in texts:
        for first in range(0, len(pieces), _AT_ONCE):
            found = _find(pieces, first, phrases)
            if found is not None:
                return found
    return None


def pieces_of(text: str) -> list[str]:
    """A text cut into pieces, to be looked up in several lists."""
    return _pieces(_folded(_plain(text)))


def is_too_varied(text: str) -> bool:
    """Whether a text has more different signs than any language; finding out about each would take long."""
    return len(text) > _MOST_SIGNS and len(set(text)) > _MOST_SIGNS


def _find(pieces: list[str], first: int, phrases: Phrases) -> ListEntry | None:
    """The first entry that begins at one of the next _AT_ONCE pieces, the longest of several.

    All places are followed together, piece by piece, so that what stands there several times is looked up once.
    """
    going = [
        (start, piece[1:] if piece[0] == " " else piece)
        for start, piece in enumerate(pieces[first : first + _AT_ONCE], first)
    ]
    places: list[tuple[int, int, str]] = []
    there: dict[str, ListEntry] = {}
    for length in range(1, MOST_PIECES + 1):
        possible = frozenset(phrases.some_of({key for _, key in going}))
        fresh = {key: entry for key in possible if (entry := phrases.find(key)) is not None}
        if fresh:
            there.update(fresh)
            places += [(start, -length, key) for start, key in going if key in fresh]
        if length in _MARKED:
            going = [one for one in going if one[1] in possible]
        going = [(start, key + pieces[start + length]) for start, key in going if start + length < len(pieces)]
        if not going:
            break
    for start, length, key in sorted(places):
        if _stands_alone(pieces, start, start - length, key):
            return there[key]
    return None


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
    return plain_of(text).encode("utf-8", "replace").decode("utf-8")


def _folded(plain: str) -> str:
    return plain.translate(_signs())


class _Signs(dict[int, str]):
    """What becomes of each sign: folded, spaces made equal, cuts around what is a piece of its own."""

    def __missing__(self, code: int) -> str:
        if len(self) >= _REMEMBERED:
            self.clear()
        made = self[code] = _made_of(chr(code))
        return made


@functools.cache
def _signs() -> _Signs:
    return _Signs()


def _made_of(sign: str) -> str:
    if sign.isspace() or sign in (_CUT, _NOTHING):
        return " " if is_space(sign) else f"{_CUT}{_NOTHING}{_CUT}"
    folded = simple_fold(sign)
    return f"{_CUT}{folded}{_CUT}" if open_ended(sign) or is_outside(sign) else folded


def simple_fold(sign: str) -> str:
    """The one sign that stands for all that differ from it in case only (Unicode CaseFolding, C and S)."""
    folded, lower = sign.casefold(), sign.lower()
    return folded if len(folded) == 1 else lower if len(lower) == 1 else sign
