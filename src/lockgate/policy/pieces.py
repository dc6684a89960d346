"""Fixed pieces of expressions: letters without which an expression is found in no text.

They are found for any number of expressions in one pass over a text, so only expressions whose pieces are there are
looked for themselves. What is not understood of an expression asks for nothing: it may be looked for in vain, but never
be missed.
"""

from __future__ import annotations

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
_GOOD = 4
"""Letters of a piece that is worth being looked for: in any case, and beside a better one. Shorter ones are in nearly
every text."""

_WIDE = 0x2E80
"""From here on a sign says as much as two letters of an alphabet (Unicode's blocks from CJK Radicals on)."""

_LARGEST_TABLE = 64 * 1024
"""Octets of pieces for which the automaton may have a table of all its steps (some MB, three times as fast)."""

TOKEN = re.compile(
    r"""
      \\x\{(?P<hex>[0-9A-Fa-f]{1,6})\}
    | (?P<other>
          \[\^?(?:\\.|[^\]\\\[])+\] | \\[pP](?:\{[^}]*\}|[A-Z])
        | \\x[0-9A-Fa-f]{2} | \\[AzdDsSwWn] | \(\?[a-z-]+\) | [.^$]
      )
    | (?P<open>\((?:\?[a-z-]*:|(?!\?)))
    | (?P<close>\))
    | (?P<bar>\|)
    | \\(?P<quoted>[^A-Za-z0-9])
    | (?P<sign>[^\\\[(])
    """,
    re.VERBOSE | re.DOTALL,
)
_QUANTIFIER = re.compile(r"(?:[*?]|\{0+(?:,\d*)?\}|(?P<some>\+|\{\d+(?:,\d*)?\}))\??")


class _Way(NamedTuple):
    """One way to find a needle: pieces by their numbers, and what is too short to be looked for in every text."""

    needle: int
    pieces: frozenset[int]
    short: tuple[bytes, ...]


class PieceSet:
    """Which needles are possible by their pieces: an automaton that is whole when made, so that no text is dearer."""

    __slots__ = ("_automaton", "_ways")

    def __init__(self, needs: Sequence[Need]) -> None:
        numbers: dict[str, int] = {}
        ways: dict[int, list[_Way]] = {}
        for needle, need in enumerate(needs):
            for way in need:
                best = max(way, key=weight)
                good = {best} | {piece for piece in way if weight(piece) >= _GOOD}
                pieces = frozenset([numbers.setdefault(piece, len(numbers)) for piece in good])
                short = tuple([piece.encode("utf-8", "replace") for piece in way - good])
                ways.setdefault(numbers[best], []).append(_Way(needle, pieces, short))
        self._ways = ways
        octets = [piece.encode("utf-8", "replace") for piece in numbers]
        whole = sum(map(len, octets)) <= _LARGEST_TABLE
        kind = ahocorasick_rs.Implementation.DFA if whole else ahocorasick_rs.Implementation.ContiguousNFA
        self._automaton = ahocorasick_rs.BytesAhoCorasick(octets, implementation=kind) if octets else None

    def possible(self, folded: bytes) -> set[int]:
        """The numbers of the needles that a text, case-folded, has all pieces of."""
        if self._automaton is None:
            return set()
        there = {piece for piece, _, _ in self._automaton.find_matches_as_indexes(folded, overlapping=True)}
        found = set[int]()
        for piece in there:
            for needle, pieces, short in self._ways.get(piece, ()):  # loops, as there can be hundreds
                for one in short:
                    if one not in folded:
                        break
                else:
                    if pieces <= there:
                        found.add(needle)
        return found


def pieces_of(expression: str) -> Need:
    """What an expression of RE2 needs in a text that is in NFKC and case-folded, case not counting for it.

    For expressions as text.py and expressions.py make them: without options that would change how letters are read.
    """
    reader = _Reader(expression)
    need = reader.alternatives()
    return need if reader.at == len(expression) and _worth(need) >= _USABLE else ()


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
                if self._quantified() != "maybe":
                    needs.append(inner)
                runs.append("")
            else:
                self._read_on(runs, _letter(token))
        own, group = _together(runs), max(needs, key=_worth, default=())
        return tuple([way | own[0] for way in group]) if own and group else own or group

    def _group(self) -> Need:
        inner = self.alternatives()
        if not self._all.startswith(")", self.at):  # not as expressions are made: nothing behind it is read
            self.at = len(self._all) + 1
            return ()
        self.at += 1
        return inner

    def _read_on(self, runs: list[str], letter: str) -> None:
        """Put a letter behind the last run, or begin a new one where something else stands."""
        repeated = self._quantified()
        if letter and repeated != "maybe":
            runs[-1] += letter
        if repeated or not letter:
            runs.append("")

    def _quantified(self) -> str:
        """What the quantifier here says of what is before it: "maybe" or "some" of it; "" if there is none."""
        found = _QUANTIFIER.match(self._all, self.at)
        if found is None:
            return ""
        self.at = found.end()
        return "some" if found["some"] else "maybe"


def _letter(token: re.Match[str]) -> str:
    """A sign as it is in a folded text; "" for what can be more than one."""
    sign = chr(int(token["hex"], 16)) if token["hex"] else token["quoted"] or token["sign"] or ""
    return "" if _may_change(sign) else sign.casefold()


def _may_change(sign: str) -> bool:
    """Whether it is a letter whose cases are not known here: RE2's version of Unicode may be newer than Python's."""
    kind = unicodedata.category(sign) if sign else ""
    return kind in ("Cn", "Cs") or (kind in ("Lu", "Ll", "Lt") and sign.lower() == sign.upper())


def _together(runs: Sequence[str]) -> Need:
    pieces = frozenset([run[:LONGEST_PIECE] for run in runs if run])
    return (pieces,) if pieces else ()


def _worth(need: Need) -> int:
    return min((max(map(weight, way)) for way in need), default=0)


def weight(piece: str) -> int:
    """How much a piece says, in letters of an alphabet."""
    return sum(2 if ord(sign) >= _WIDE else 1 for sign in piece)
