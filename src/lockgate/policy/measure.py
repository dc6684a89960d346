"""How long a text an expression matches at most, and in how many places at once a text can be within it.

RE2 is linear in the text, but what an octet costs grows with the places that are possible at once: "a.{1000}z" is in a
thousand after a text full of a. Fixed letters force the text, so only signs that can be several things count, and what
is repeated.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from lockgate.policy.pieces import TOKEN

_QUANTIFIER = re.compile(r"(?:(?P<sign>[*+?])|\{(?P<least>\d+)(?P<comma>,(?P<most>\d*))?\})\??")
_PLACE = re.compile(r"[\^$]|\\[Az]|\(\?[a-z-]+\)")


class Measure(NamedTuple):
    """`longest` match in characters, None for no end; `wide` places in it where the text is free; fixed `letters`."""

    longest: int | None
    wide: int
    letters: int = 0


_EMPTY = Measure(0, 0)
_SIGN = Measure(1, 1)
_LETTER = Measure(1, 0, 1)
_UNKNOWN = Measure(None, 1_000_000)
"""What is not understood is as bad as can be."""


def measure(expression: str) -> Measure:
    """Of an expression of RE2 as text.py and expressions.py make them. Never raises."""
    reader = _Reader(expression)
    found = reader.alternatives()
    if reader.at < len(expression):
        return _UNKNOWN
    if len(reader.letters) == 1 and not reader.classes:  # of one letter a text can only be a number
        return found._replace(wide=0)
    return found


class _Reader:
    """Reads an expression once, from left to right."""

    __slots__ = ("_all", "at", "classes", "letters")

    def __init__(self, expression: str) -> None:
        self._all = expression
        self.at = 0
        self.letters: set[str] = set()
        self.classes = False

    def alternatives(self) -> Measure:
        """Branches between | up to the closing bracket or the end."""
        branches = [self._branch()]
        while self._all.startswith("|", self.at):
            self.at += 1
            branches.append(self._branch())
        return branches[0] if len(branches) == 1 else _either(branches)

    def _branch(self) -> Measure:
        whole = _EMPTY
        while (token := TOKEN.match(self._all, self.at)) and not (token["close"] or token["bar"]):
            self.at = token.end()
            part = self._group() if token["open"] else self._letter(token)
            part = _repeated(part, self._quantifier())
            longest = None if None in (whole.longest, part.longest) else (whole.longest or 0) + (part.longest or 0)
            whole = Measure(longest, whole.wide + part.wide, whole.letters + part.letters)
        return whole

    def _group(self) -> Measure:
        inner = self.alternatives()
        if not self._all.startswith(")", self.at):
            self.at = len(self._all) + 1
            return _UNKNOWN
        self.at += 1
        return inner

    def _letter(self, token: re.Match[str]) -> Measure:
        if _PLACE.fullmatch(token[0]):
            return _EMPTY
        if token["other"]:
            self.classes = True
            return _SIGN
        self.letters.add(token[0].casefold())
        return _LETTER

    def _quantifier(self) -> re.Match[str] | None:
        found = _QUANTIFIER.match(self._all, self.at)
        if found is not None:
            self.at = found.end()
        return found


def _either(branches: list[Measure]) -> Measure:
    """One of several: a text can be in all of them at once, and of their letters in the longest."""
    lengths = [branch.longest for branch in branches]
    longest = None if None in lengths else max(length or 0 for length in lengths)
    return Measure(longest, sum(branch.wide for branch in branches) + max(branch.letters for branch in branches))


def _repeated(part: Measure, found: re.Match[str] | None) -> Measure:
    """What is repeated is in the text as often as it may be; letters that are count as signs that are free."""
    if found is None or part == _EMPTY:
        return part
    if found["sign"]:
        return Measure(part.longest if found["sign"] == "?" else None, part.wide + part.letters)
    times = int(found["most"] or found["least"])
    endless = found["comma"] is not None and not found["most"]
    longest = None if endless or part.longest is None else part.longest * times
    if times <= 1 and not endless:
        return part._replace(longest=longest)
    return Measure(longest, (part.wide + part.letters) * max(times, 1))
