"""Regular expressions of .NET in the words of RE2, which is linear in the text whatever the expression (DESIGN 6).

Administrators bring expressions from Exchange, where they are .NET's: case-insensitive, unanchored, aware of Unicode
(specification 1.15.2). What RE2 cannot say is reported with its place instead of being translated into something else.
Only whether an expression is found matters here, never where, so groups need not capture and a boundary at either end
may take a character with it.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

WORD = r"\p{L}\p{Mn}\p{Mc}\p{Nd}\p{Pc}"
"""The inside of a class of what .NET calls a word character."""

LONGEST = 1024
"""Characters of one expression."""

_DEEPEST = 50
_LOOKS = {
    "(?=": "looks ahead", "(?!": "looks ahead", "(?<=": "looks behind", "(?<!": "looks behind",
    "(?>": "is an atomic group", "(?(": "is a condition",
}  # fmt: skip
_CLASSES = {
    "d": r"\p{Nd}", "D": r"\P{Nd}", "w": f"[{WORD}]", "W": f"[^{WORD}]",
    "s": r"[\t-\r\x{85}\p{Z}]", "S": r"[^\t-\r\x{85}\p{Z}]",
}  # fmt: skip
_INSIDE = {"d": r"\p{Nd}", "D": r"\P{Nd}", "w": WORD, "s": r"\t-\r\x{85}\p{Z}"}
_CONTROLS = {"t": 9, "n": 10, "v": 11, "f": 12, "r": 13, "e": 27, "a": 7, "0": 0}
_BLOCKS = {
    "IsCyrillic": "Cyrillic", "IsGreek": "Greek", "IsGreekandCoptic": "Greek", "IsHebrew": "Hebrew",
    "IsArabic": "Arabic", "IsThai": "Thai", "IsHiragana": "Hiragana", "IsKatakana": "Katakana",
    "IsHangulSyllables": "Hangul", "IsCJKUnifiedIdeographs": "Han",
}  # fmt: skip
_PROPERTY = re.compile(r"[Pp]\{(\^?[A-Za-z]{1,40})\}")
_QUANTIFIER = re.compile(r"(?:[*+?]|\{(\d{1,5})(,(\d{0,5}))?\})(\??)")
_FLAGS = re.compile(r"\(\?([imnsx]*)(?:-([imnsx]+))?([:)])")
_NAMED = re.compile(r"\(\?(?:<[A-Za-z_]\w*>|'[A-Za-z_]\w*')")
_NEVER = r"[^\x{0}-\x{10FFFF}]"


class ExpressionError(ValueError):
    """The expression cannot be used; the message says what is wrong and where."""


@dataclass(frozen=True, slots=True)
class _Node:
    """A part: `text` in RE2's words; `first` and `last` are the kinds of character it can begin and end with.

    `pins` tells what one that takes no character says of its place: "^" nothing or a new line is before it, "$" behind
    it, "?" that depends.
    """

    text: str
    first: frozenset[str]
    last: frozenset[str]
    empty: bool = False
    pins: str = ""


@dataclass(frozen=True, slots=True)
class _Boundary:
    negated: bool
    place: int


_Item = _Node | _Boundary
_W, _N = frozenset("w"), frozenset("n")
_BOTH, _NOTHING = _W | _N, frozenset[str]()


def translate(expression: str) -> str:
    """The expression as RE2 has it, to be used case-insensitively on text in NFKC. Raises ExpressionError."""
    if not expression:
        raise ExpressionError("an empty expression matches everything")
    if len(expression) > LONGEST:
        raise ExpressionError(f"an expression may have {LONGEST} characters, this one has {len(expression)}")
    reader = _Reader(expression)
    text = reader.alternatives(0, starts=True, ends=True).text
    if reader.at < len(expression):
        raise reader.wrong("a ) closes nothing")
    return text


class _Reader:
    """Reads an expression once, from left to right."""

    def __init__(self, expression: str) -> None:
        self._all = expression
        self.at = 0
        self._lines = False
        self._edges = 0

    def wrong(self, what: str, at: int | None = None) -> ExpressionError:
        return ExpressionError(f"{what} (character {(self.at if at is None else at) + 1} of the expression)")

    def alternatives(self, depth: int, *, starts: bool, ends: bool) -> _Node:
        """Branches between | up to the closing bracket or the end; `starts` and `ends`: nothing stands beyond them."""
        if depth > _DEEPEST:
            raise self.wrong(f"brackets are nested more than {_DEEPEST} deep")
        branches = [self._branch(depth, starts=starts, ends=ends)]
        while self._peek() == "|":
            self.at += 1
            branches.append(self._branch(depth, starts=starts, ends=ends))
        if len(branches) == 1:
            return branches[0]
        return _Node(
            "(?:" + "|".join(branch.text for branch in branches) + ")",
            frozenset().union(*(branch.first for branch in branches)),
            frozenset().union(*(branch.last for branch in branches)),
            any(branch.empty for branch in branches),
            branches[0].pins if len({branch.pins for branch in branches}) == 1 else "?",
        )

    def _branch(self, depth: int, *, starts: bool, ends: bool) -> _Node:
        items: list[_Item] = []
        while self._peek() not in ("", "|", ")"):
            alone = starts and not items
            edges = self._edges
            item = self._item(depth, starts=alone, ends=ends)
            if item is not None:
                items.append(self._repeated(item, edged=self._edges > edges))
        return _joined([self._settled(items, n, starts=starts, ends=ends) for n in range(len(items))])

    def _peek(self) -> str:
        return self._all[self.at : self.at + 1]

    def _item(self, depth: int, *, starts: bool, ends: bool) -> _Item | None:
        at, sign = self.at, self._peek()
        if sign == "(":
            return self._group(depth, starts=starts, ends=ends)
        self.at += 1
        if sign == "[":
            return self._class()
        if sign == "\\":
            return self._escape()
        if sign == ".":
            return _Node(".", _BOTH, _BOTH)
        if sign == "^":
            return _Node("^", _NOTHING, _NOTHING, empty=True, pins="^")
        if sign == "$":
            return _Node("$" if self._lines else r"(?:\n?\z)", _NOTHING, _NOTHING, empty=True, pins="$")
        if sign in "*+?":
            raise self.wrong(f"{sign} repeats nothing", at)
        return _literal(sign)

    def _group(self, depth: int, *, starts: bool, ends: bool) -> _Node | None:
        at, rest = self.at, self._all[self.at :]
        flags = _FLAGS.match(rest)
        named = _NAMED.match(rest)
        if rest.startswith("(?#"):
            end = rest.find(")")
            if end < 0:
                raise self.wrong("a comment is not closed", at)
            self.at += end + 1
            return None
        if flags is not None:
            self._switch(flags[1], flags[2] or "", at)
            self.at += flags.end()
            if flags[3] == ")":
                return self._flag(flags[1], flags[2] or "")
            opening = f"(?{_kept(flags[1], flags[2] or '')}:"
        elif named is not None:
            self.at += named.end()
            opening = "(?:"
        elif rest.startswith("(?"):
            look = next((text for text in sorted(_LOOKS, key=len, reverse=True) if rest.startswith(text)), "")
            what = _LOOKS.get(look, "is no group that is known")
            raise self.wrong(f"{look or rest[:3]} {what}; that cannot be done in linear time", at)
        else:
            self.at += 1
            opening = "(?:"
        inner = self.alternatives(depth + 1, starts=starts, ends=ends and self._ends_here(at))
        if self._peek() != ")":
            raise self.wrong("a ( is not closed", at)
        self.at += 1
        return _Node(f"{opening}{inner.text})", inner.first, inner.last, inner.empty, inner.pins)

    def _ends_here(self, at: int) -> bool:
        """Whether nothing stands behind the group that begins at `at` but the end of its branch."""
        depth, place, inside = 0, at, False
        while place < len(self._all):
            sign = self._all[place]
            if sign == "\\":
                place += 1
            elif inside:
                inside = sign != "]"
            elif sign == "[":
                inside = True
            elif sign == "(":
                depth += 1
            elif sign == ")":
                depth -= 1
                if not depth:
                    return self._all[place + 1 : place + 2] in ("", "|", ")")
            place += 1
        return False

    def _switch(self, on: str, off: str, at: int) -> None:
        if "x" in on:
            raise self.wrong("the option x (ignore white space) is not known here", at)
        if "i" in off:
            raise self.wrong("expressions are case-insensitive here, which cannot be switched off", at)
        self._lines = ("m" in on) or (self._lines and "m" not in off)

    def _flag(self, on: str, off: str) -> _Node | None:
        kept = _kept(on, off)
        return _Node(f"(?{kept})", _NOTHING, _NOTHING, empty=True) if kept else None

    def _escape(self) -> _Item:
        at, sign = self.at - 1, self._peek()
        if not sign:
            raise self.wrong("the expression ends with a \\", at)
        if sign in "bB":
            self.at += 1
            return _Boundary(sign == "B", at)
        if sign in _CLASSES:
            self.at += 1
            kinds = {"d": _W, "w": _W, "W": _N, "s": _N}.get(sign, _BOTH)
            return _Node(_CLASSES[sign], kinds, kinds)
        if sign in "AzZ":
            self.at += 1
            text = {"A": r"\A", "z": r"\z", "Z": r"(?:\n?\z)"}[sign]
            return _Node(text, _NOTHING, _NOTHING, empty=True, pins="^" if sign == "A" else "$")
        if sign in "pP":
            return _Node(self._property(at), _BOTH, _BOTH)
        if sign in "123456789k":
            raise self.wrong("it refers back to a group; that cannot be done in linear time", at)
        return _literal(self._character(at))

    def _property(self, at: int) -> str:
        found = _PROPERTY.match(self._all, self.at)
        if found is None:
            raise self.wrong("\\p needs a name in { }", at)
        self.at = found.end()
        name = _BLOCKS.get(found[1], found[1])
        if name.startswith("Is"):
            raise self.wrong(f"the block {found[1]} is not known here", at)
        return f"\\{found[0][0]}{{{name}}}"

    def _character(self, at: int) -> str:
        """The character that an escape stands for; `at` is the place of its backslash."""
        sign = self._peek()
        self.at += 1
        if sign in _CONTROLS:
            return chr(_CONTROLS[sign])
        for letter, length in (("x", 2), ("u", 4)):
            if sign == letter:
                digits = self._all[self.at : self.at + length]
                if not re.fullmatch(rf"[0-9A-Fa-f]{{{length}}}", digits):
                    raise self.wrong(f"\\{letter} needs {length} hexadecimal digits", at)
                self.at += length
                return chr(int(digits, 16))
        if sign == "c":
            letter = self._peek().upper()
            if not "A" <= letter <= "_":
                raise self.wrong("\\c needs a letter", at)
            self.at += 1
            return chr(ord(letter) - 64)
        if sign.isalnum():
            raise self.wrong(f"\\{sign} means nothing", at)
        return sign

    def _class(self) -> _Node:
        at = self.at - 1
        negated = self._peek() == "^"
        self.at += negated
        parts: list[str] = []
        words: set[str] = set()
        first = True
        while (sign := self._peek()) != "]" or first:
            if not sign:
                raise self.wrong("a [ is not closed", at)
            if sign == "-" and self._all[self.at + 1 : self.at + 2] == "[":
                raise self.wrong("a class that is taken from a class cannot be said here", self.at)
            part, kinds = self._member()
            parts.append(part)
            words |= kinds
            first = False
        self.at += 1
        kinds = _BOTH if negated else frozenset(words)
        return _Node(f"[{'^' if negated else ''}{''.join(parts)}]", kinds, kinds)

    def _member(self) -> tuple[str, frozenset[str]]:
        """One member of a class, or a range of them."""
        at, sign = self.at, self._peek()
        following = self._all[at + 1 : at + 2]
        if sign == "\\" and following in _INSIDE:
            self.at += 2
            return _INSIDE[following], _W if following in "dw" else _N if following == "s" else _BOTH
        if sign == "\\" and following in ("W", "S"):
            raise self.wrong(f"\\{following} in a class cannot be said here; write the class the other way round", at)
        if sign == "\\" and following in ("p", "P"):
            self.at += 1
            return self._property(at), _BOTH
        low = self._one()
        if self._peek() != "-" or self._all[self.at + 1 : self.at + 2] in ("]", "["):
            return _quoted(low), _kind(low)
        self.at += 1
        high = self._one()
        if high < low:
            raise self.wrong("a range in a class runs backwards", at)
        same = _kind(low) == _kind(high) and ord(high) - ord(low) < 26
        return f"{_quoted(low)}-{_quoted(high)}", _kind(low) if same else _BOTH

    def _one(self) -> str:
        at, sign = self.at, self._peek()
        if not sign:
            raise self.wrong("a [ is not closed")
        self.at += 1
        if sign != "\\":
            return sign
        if self._peek() == "b":
            self.at += 1
            return "\b"
        if not self._peek():
            raise self.wrong("the expression ends with a \\", at)
        return self._character(at)

    def _repeated(self, item: _Item, *, edged: bool) -> _Item:
        found = _QUANTIFIER.match(self._all, self.at)
        if found is None:
            return item
        if isinstance(item, _Boundary) or (item.empty and not item.first):
            raise self.wrong("a place cannot be repeated")
        if edged and found[0][0] != "?":
            raise self.wrong("what begins or ends with \\b cannot be repeated; write it otherwise")
        self.at = found.end()
        least, most = found[1], found[3]
        if found[1] is not None and max(int(least), int(most or 0)) > 1000:
            raise self.wrong("more than 1000 repetitions cannot be asked for", found.start())
        if most and int(most) < int(least):
            raise self.wrong("a repetition ends before it begins", found.start())
        if _QUANTIFIER.match(self._all, self.at) and self._peek() != "{":
            raise self.wrong("a repetition is repeated")
        empty = item.empty or found[0][0] in "*?" or (least is not None and int(least) == 0)
        # RE2 takes {02} for letters.
        often = re.sub(r"0*(\d+)", r"\1", found[0])
        return _Node(f"{item.text}{often}", item.first, item.last, empty)

    def _settled(self, items: list[_Item], number: int, *, starts: bool, ends: bool) -> _Node:
        """The item; a boundary becomes what it says of the characters beside it."""
        item = items[number]
        if isinstance(item, _Node):
            return item
        before = _reach(reversed(items[:number]), first=False)
        after = _reach(items[number + 1 :], first=True)
        text = None
        if before.clear and after.clear:
            text = self._decided(before, after, item, starts=starts, ends=ends)
        if text is None:
            sign = "\\B" if item.negated else "\\b"
            raise self.wrong(f"it cannot be told which characters stand beside {sign}; write it otherwise", item.place)
        return _Node(text, _NOTHING, _NOTHING, empty=True)

    def _decided(self, before: _Side, after: _Side, item: _Boundary, *, starts: bool, ends: bool) -> str | None:
        """What a boundary between these says; None if that depends."""
        left = _N if after.pinned else before.kinds
        right = _N if before.pinned else after.kinds
        open_left, open_right = before.open and not after.pinned, after.open and not before.pinned
        pinned = before.pinned or after.pinned
        if not (open_left or open_right):
            if len(left) != 1 or len(right) != 1:
                return None
            return "" if (left != right) != item.negated else _NEVER
        if pinned or (open_left and open_right):  # what takes a character must not stand beside a place
            return None
        if open_left and starts and not left:
            self._edges += 1
            return _edge(right, item.negated, "^")
        if open_right and ends and not right:
            self._edges += 1
            return _edge(left, item.negated, r"\z")
        return None


class _Side(NamedTuple):
    """What can stand on one side of a place: kinds of character, and whether nothing may stand there at all (`open`).

    `pinned`: at the same place it is said what stands on the other side; not `clear`: that cannot be told.
    """

    kinds: frozenset[str]
    open: bool
    pinned: bool = False
    clear: bool = True


def _reach(items: Iterable[_Item], *, first: bool) -> _Side:
    """What stands on the side of a place where these are, the nearest one first."""
    kinds: frozenset[str] = _NOTHING
    here, pinned = True, False
    own, other = ("$", "^") if first else ("^", "$")
    for item in items:
        if isinstance(item, _Boundary):
            if here:
                return _Side(kinds, open=True, clear=False)
            continue
        if item.pins:
            if item.pins == own:
                return _Side(kinds | _N, open=False, pinned=pinned)
            if item.pins != other or not here:
                return _Side(kinds, open=True, clear=False)
            pinned = True
        here = here and not (item.first if first else item.last)
        kinds |= item.first if first else item.last
        if not item.empty:
            return _Side(kinds, open=False, pinned=pinned)
    return _Side(kinds, open=True, pinned=pinned)


def _edge(kinds: frozenset[str], negated: bool, end: str) -> str | None:
    """A boundary at the very start or end, beside characters of one kind."""
    if len(kinds) != 1:
        return None
    other_is_word = (kinds == _N) != negated
    return f"[{WORD}]" if other_is_word else f"(?:{end}|[^{WORD}])"


def _joined(parts: list[_Node]) -> _Node:
    first: frozenset[str] = _NOTHING
    for part in parts:
        first |= part.first
        if not part.empty:
            break
    last: frozenset[str] = _NOTHING
    for part in reversed(parts):
        last |= part.last
        if not part.empty:
            break
    pins = "" if first else "".join(dict.fromkeys(part.pins for part in parts))
    return _Node("".join(part.text for part in parts), first, last, all(part.empty for part in parts), pins)


def _kept(on: str, off: str) -> str:
    """Of the options those that RE2 knows; n (no captures) and i change nothing here."""
    more = "".join(sign for sign in "ms" if sign in on)
    less = "".join(sign for sign in "ms" if sign in off)
    return more + (f"-{less}" if less else "")


def _literal(sign: str) -> _Node:
    plain = unicodedata.normalize("NFKC", sign)
    text = "".join(_quoted(one) for one in plain)
    if len(plain) != 1:
        text = f"(?:{text})"
    return _Node(text, _kind(plain[:1]), _kind(plain[-1:]))


def _kind(sign: str) -> frozenset[str]:
    return _W if unicodedata.category(sign) in ("Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Nd", "Pc") else _N


def _quoted(sign: str) -> str:
    return sign if sign.isalnum() and sign.isascii() else f"\\x{{{ord(sign):X}}}"
