"""Fixed pieces of expressions: letters without which an expression is found in no text.

They are found for any number of expressions in one pass over a text, so only expressions whose pieces are there are
looked for themselves. What is not understood of an expression asks for nothing: it may be looked for in vain, but never
be missed.
"""

from __future__ import annotations

import enum
import re
import unicodedata
from collections.abc import Sequence
from typing import NamedTuple

import ahocorasick_rs

Need = tuple[frozenset[str], ...]
"""Ways in which an expression can be found: all pieces of one of them are in the text. None at all: nothing is known
that would be worth being looked for.
"""

LONGEST_PIECE = 12
"""Characters of one piece; more would find hardly less and take memory."""

_USABLE = 3
"""Letters that the best piece of a way must have, for shorter ones are in nearly every text."""

_GOOD = 4
"""Letters of further pieces of a way that are looked for beside the best one."""

_WIDE = 0x2E80
"""From here on a sign says as much as two letters of an alphabet (Unicode's blocks from CJK Radicals on)."""

_LARGEST_TABLE = 64 * 1024
"""Octets of pieces for which the automaton may have a table of all its steps (12 to 33 MB, three times as fast)."""

_AT_ONCE = 16 * 1024
"""Octets of a text that are looked through at once."""

_SOON = 1024
"""Octets that are looked through for one short piece at once."""

_OFTEN = 10_000
"""So many finds, each of which costs an object, and what was found is not looked for any more."""

TOKEN = re.compile(
    r"""
      \\x\{(?P<hex>[0-9A-Fa-f]{1,6})\}
    | (?P<other>
          \[\^?(?:\\.|[^\]\\\[])+\] | \\[pP]\{[^}]*\} | \\x[0-9A-Fa-f]{2} | \\[Azn] | \(\?[a-z-]+\) | [.^$]
      )
    | (?P<open>\(\?[a-z-]*:)
    | (?P<close>\))
    | (?P<bar>\|)
    | \\(?P<quoted>[^A-Za-z0-9])
    | (?P<sign>[^\\\[(*+?{])
    """,
    re.VERBOSE | re.DOTALL,
)
_QUANTIFIER = re.compile(r"(?:[*?]|\{0+(?:,\d*)?\}|(?P<some>\+|\{\d+(?:,\d*)?\}))\??")


class _Way(NamedTuple):
    """One way to find a needle: pieces by their numbers besides the one by which it is found, and what is too short to
    be looked for in every text."""

    needle: int
    others: frozenset[int]
    short: tuple[bytes, ...]


class PieceSet:
    """Which needles are possible by their pieces: an automaton that is whole when made, so that no text is dearer."""

    __slots__ = ("_automaton", "_octets", "_overlap", "_ways")

    def __init__(self, needs: Sequence[Need]) -> None:
        numbers: dict[str, int] = {}
        ways: dict[int, list[_Way]] = {}
        for needle, need in enumerate(needs):
            for way in need:
                best = max(way, key=lambda piece: (weight(piece), piece))
                good = {best} | {piece for piece in way if weight(piece) >= _GOOD}
                pieces = frozenset([numbers.setdefault(piece, len(numbers)) for piece in good])
                short = tuple([piece.encode("utf-8", "replace") for piece in way - good])
                ways.setdefault(numbers[best], []).append(_Way(needle, pieces - {numbers[best]}, short))
        self._ways = ways
        self._octets = [piece.encode("utf-8", "replace") for piece in numbers]
        self._overlap = max(map(len, self._octets), default=1) - 1
        whole = sum(map(len, self._octets)) <= _LARGEST_TABLE
        kind = ahocorasick_rs.Implementation.DFA if whole else ahocorasick_rs.Implementation.ContiguousNFA
        self._automaton = ahocorasick_rs.BytesAhoCorasick(self._octets, implementation=kind) if self._octets else None

    def possible(self, folded: bytes) -> set[int]:
        """The numbers of the needles of which a text, case-folded, has all pieces of one way; none that has no way."""
        there = self._there(folded)
        found = set[int]()
        known: dict[bytes, bool] = {}
        long = len(folded) > _SOON  # looking takes longer than remembering
        for piece in there:
            for needle, others, short in self._ways.get(piece, ()):  # loops, as there can be thousands
                if (others and not others <= there) or needle in found:
                    continue
                for one in short:
                    has = known.get(one) if long else one in folded
                    if has is None:
                        has = known[one] = one in folded
                    if not has:
                        break
                else:
                    found.add(needle)
        return found

    def _there(self, folded: bytes) -> set[int]:
        """The numbers of the pieces that are in the text."""
        automaton, there, often = self._automaton, set[int](), 0
        if automaton is None:
            return there
        numbers: Sequence[int] = range(len(self._octets))
        for start in range(0, len(folded), _AT_ONCE):
            block = folded[max(0, start - self._overlap) : start + _AT_ONCE]
            finds = automaton.find_matches_as_indexes(block, overlapping=True)
            there.update([numbers[piece] for piece, _, _ in finds])
            often += len(finds)
            if often > _OFTEN:
                often, numbers = 0, [number for number in range(len(self._octets)) if number not in there]
                if not numbers:
                    break
                kind = ahocorasick_rs.Implementation.NoncontiguousNFA  # the one that is made soonest
                rest = [self._octets[number] for number in numbers]
                automaton = ahocorasick_rs.BytesAhoCorasick(rest, implementation=kind)
        return there


def pieces_of(expression: str) -> Need:
    """What an expression of RE2 needs in a text that is in NFKC and case-folded, case not counting for it.

    For expressions as text.py and expressions.py make them: without options that would change how letters are read.
    """
    reader = _Reader(expression)
    need = reader.alternatives()
    return need if reader.at == len(expression) and _worth(need) >= _USABLE else ()


class _Often(enum.Enum):
    """How often something stands there: once, once and perhaps more, or perhaps never."""

    ONCE = enum.auto()
    SOME = enum.auto()
    MAYBE = enum.auto()


class _Reader:
    """Reads an expression once, from left to right."""

    __slots__ = ("_all", "at")

    def __init__(self, expression: str) -> None:
        self._all = expression
        self.at = 0

    def alternatives(self) -> Need:
        """Branches between | up to the closing bracket or the end."""
        branches = [self._branch()]
        while self._all.startswith("|", self.at):
            self.at += 1
            branches.append(self._branch())
        return tuple(dict.fromkeys(way for branch in branches for way in branch)) if all(branches) else ()

    def _branch(self) -> Need:
        """What the letters beside each other need, and the best of the groups."""
        runs, needs = [""], list[Need]()
        while (token := TOKEN.match(self._all, self.at)) and not (token["close"] or token["bar"]):
            self.at = token.end()
            if token["open"]:
                inner = self._group()
                if self._quantified() is not _Often.MAYBE:
                    needs.append(inner)
                runs.append("")
            else:
                self._read_on(runs, _letter(token))
        own, group = _together(runs), max(needs, key=_worth, default=())
        if not own or not group:
            return own or group
        # Hundreds of ways that differ in a letter or two would be asked one by one.
        return tuple([way | own[0] for way in group]) if _worth(group) >= _USABLE or _worth(own) < _USABLE else own

    def _group(self) -> Need:
        inner = self.alternatives()
        if not self._all.startswith(")", self.at):  # not as expressions are made: nothing behind it is read
            self.at = len(self._all) + 1
            return ()
        self.at += 1
        return inner

    def _read_on(self, runs: list[str], letter: str) -> None:
        """Put a letter behind the last run, or begin a new one where something else stands."""
        often = self._quantified()
        if letter and often is not _Often.MAYBE:
            runs[-1] += letter
        if often is not _Often.ONCE or not letter:
            runs.append("")

    def _quantified(self) -> _Often:
        """What the quantifier here says of what is before it."""
        found = _QUANTIFIER.match(self._all, self.at)
        if found is None:
            return _Often.ONCE
        self.at = found.end()
        return _Often.SOME if found["some"] else _Often.MAYBE


def _letter(token: re.Match[str]) -> str:
    """A sign as it is in a folded text; "" for what can be more than one."""
    sign = chr(int(token["hex"], 16)) if token["hex"] else token["quoted"] or token["sign"] or ""
    return "" if _may_change(sign) else sign.casefold()


def _may_change(sign: str) -> bool:
    """Whether it is a letter whose cases are not known here: RE2's version of Unicode may be newer than Python's."""
    kind = unicodedata.category(sign) if sign else ""
    return kind == "Cn" or (kind in ("Lu", "Ll", "Lt") and sign.lower() == sign.upper())


def _together(runs: Sequence[str]) -> Need:
    pieces = frozenset([run[:LONGEST_PIECE] for run in runs if run])
    return (pieces,) if pieces else ()


def _worth(need: Need) -> int:
    return min((max(map(weight, way)) for way in need), default=0)


def weight(piece: str) -> int:
    """How much a piece says, in letters of an alphabet."""
    return sum(2 if ord(sign) >= _WIDE else 1 for sign in piece)
