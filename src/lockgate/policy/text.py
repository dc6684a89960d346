"""Words and expressions of mail flow rules: read when saved, found in texts in linear time (specification 1.15.2).

All needles of one kind of text are looked for together: one pass finds the letters without which none of them can be
there (pieces.py), and only those that are possible are then looked for one by one. So the cost hardly grows with their
number. Texts are brought into NFKC first; case does not count anywhere.
"""

from __future__ import annotations

import functools
import unicodedata
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol

import re2

from lockgate.policy.expressions import WORD, ExpressionError, translate
from lockgate.policy.measure import measure
from lockgate.policy.pieces import PieceSet, pieces_of

LONGEST_WORD = 256
"""Characters of one word or phrase."""

_NO_SPACES = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_NO_SPACE_NAMES = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")
_OUTSIDE = rf"[^{WORD}\p{{Me}}]|[{_NO_SPACES}]"
_SPACE = r"[\s\x{85}\p{Z}]+"
_MEMORY = 8 * 1024 * 1024
"""For one expression. Whoever makes texts for it makes RE2 fill it again and again, so more of it would cost more."""

_LARGEST_PROGRAM = 40_000
"""Of RE2's instructions; what they take is memory and time when compiled."""

MOST_WIDE = 200
MOST_WIDE_ENDLESS = 50
"""Places of an expression where the text is free (measure.py), and of one that has no end. A text that is made for it
costs up to 20 nanoseconds an octet and place, so 16,000 characters take less than a tenth of a second.
"""

_WIDE = 3
"""More such places make an expression slow: it is looked for in long texts step by step, as long as there is time."""

_STEP = 8 * 1024
"""Octets of a text in which a slow expression is looked for at once."""

_LOOKS = 30
"""Places in one text at which it is looked whether a word stands alone there."""

_LONG_PIECE = 4096
_SHORT_PIECE = 128
_MOST_MARKS = 31
"""Characters that are brought into NFKC at once: in a text of which that is a look only, and in others; and marks that
belong to one letter, the letter with them."""

_NOTHING = frozenset[int]()

LOOKED_THROUGH = 16 * 1024
"""Characters of one short text (an address, a header field) that are looked through, so that nothing takes long."""

_LONGEST_FORM = 18
"""Characters that one can become in NFKC (U+FDFA)."""


class TextError(ValueError):
    """The word or expression cannot be used; the message says why."""


class Needle(NamedTuple):
    """What is looked for: `written` as the administrator wrote it, `found_by` as RE2 has it.

    `alone` is for a second look at what was found: whether a word stands alone ("": the first look is the answer).
    """

    written: str
    found_by: str
    alone: str = ""


def word(text: str) -> Needle:
    """A whole word or phrase, no wildcards: bounded by white space, punctuation, an end, or a script without spaces.

    Raises TextError.
    """
    check_word(text)
    plain = unicodedata.normalize("NFKC", text)
    spelled = "|".join(dict.fromkeys(_spelled(form) for form in forms_of(plain)))
    left = "" if open_ended(plain[0]) else rf"(?:^|{_OUTSIDE})"
    right = "" if open_ended(plain[-1]) else rf"(?:\z|{_OUTSIDE})"
    return Needle(text, f"(?:{spelled})", f"{left}(?:{spelled}){right}" if left or right else "")


def check_word(text: str) -> None:
    """Raises TextError for what is no word or phrase."""
    if not text.strip():
        raise TextError("an empty word matches nothing")
    if text != text.strip():
        raise TextError(f"'{text}' begins or ends with a space; leave it out")
    if len(text) > LONGEST_WORD:
        raise TextError(f"a word or phrase may have {LONGEST_WORD} characters, this one has {len(text)}")


def forms_of(plain: str) -> list[str]:
    """The spellings for which a word in NFKC stands; each is looked for without regard to case."""
    folded = plain.casefold()
    return [plain, folded, plain.lower(), folded.replace("ss", "ß")]


def open_ended(sign: str) -> bool:
    """Whether a word that begins or ends with this sign may have anything beside it there."""
    return _spaceless(sign) or not _wordlike(sign)


@functools.lru_cache(maxsize=1024)
def is_outside(sign: str) -> bool:
    """Whether this sign beside a word bounds it."""
    return _one(_OUTSIDE).fullmatch(sign.encode("utf-8", "replace")) is not None


def is_space(sign: str) -> bool:
    """Whether this sign is a space between the words of a phrase."""
    return _one(_SPACE).fullmatch(sign.encode("utf-8", "replace")) is not None


@functools.lru_cache(maxsize=4096)
def pattern(expression: str) -> Needle:
    """A regular expression of .NET, case-insensitive and unanchored. Raises TextError."""
    try:
        translated = translate(expression)
    except ExpressionError as trouble:
        raise TextError(f"'{expression[:80]}': {trouble}") from None
    try:
        found = re2.compile(_anywhere(translated), _options())
    except re2.error as trouble:
        raise TextError(f"'{expression[:80]}' cannot be used: {_said(trouble)}") from None
    if found.programsize > _LARGEST_PROGRAM:
        raise TextError(f"'{expression[:80]}' is too costly; write it with fewer or smaller repetitions")
    _check_wide(expression, translated)
    return Needle(expression, translated)


def _check_wide(expression: str, translated: str) -> None:
    longest, wide, _ = measure(translated)
    if wide > MOST_WIDE:
        raise TextError(
            f"'{expression[:80]}' is too costly: it has {wide} places where something else may stand, repetitions "
            f"counted, and {MOST_WIDE} are the most; write smaller repetitions, as .{{0,100}}"
        )
    if longest is None and wide > MOST_WIDE_ENDLESS:
        raise TextError(
            f"'{expression[:80]}' is too costly: it has no end and {wide} places where something else may stand, "
            f"repetitions counted, and {MOST_WIDE_ENDLESS} are the most; give each *, + and {{n,}} an end, as {{0,20}} "
            "for *, or write smaller repetitions"
        )


def is_whole(text: str) -> bool:
    """Whether a short text is looked through to its end."""
    if len(text) > LOOKED_THROUGH or text.isascii() or len(text) * _LONGEST_FORM <= LOOKED_THROUGH:
        return len(text) <= LOOKED_THROUGH
    return len(plain_of(text)) <= LOOKED_THROUGH


class Patience(Protocol):
    """How long slow expressions are looked for."""

    def begin(self) -> None:
        """Another one is looked for now."""

    def is_over(self) -> bool:
        """Whether it has had the time that there is for it."""


class Looked(NamedTuple):
    """The numbers of the needles that a text has, and of those of which it cannot be told within the time there is."""

    there: frozenset[int]
    unknown: frozenset[int] = _NOTHING


_NEITHER = Looked(_NOTHING)


class TextSet:
    """Needles compiled together: RE2 looks for those that are possible by their pieces, and for those that have none.

    What RE2 needs for one of them is made when it is first possible, as most never are, and lives as long as the set.
    """

    __slots__ = ("_made", "_pieces", "_rest", "_slow", "_slow_without", "_without", "needles")

    def __init__(self, needles: Iterable[Needle]) -> None:
        self.needles = tuple(needles)
        needs = [pieces_of(needle.found_by) for needle in self.needles]
        self._pieces = PieceSet(needs)
        measured = {n: measure(one.found_by) for n, one in enumerate(self.needles) if not one.alone}
        self._slow = {n: longest for n, (longest, wide, _) in measured.items() if wide > _WIDE}
        without = [number for number, need in enumerate(needs) if not need]
        self._without = tuple([number for number in without if number not in self._slow])
        self._slow_without = tuple([number for number in without if number in self._slow])
        self._rest = re2.Filter()
        options = _options()
        for number in self._without:
            self._rest.Add(self.needles[number].found_by, options)
        if self._without:
            self._rest.Compile()
        self._made: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self.needles)

    @property
    def is_slow(self) -> bool:
        """Whether a text can be made so that it takes long to look it through."""
        return bool(self._slow)

    def hits(self, text: str, most: int | None = None) -> frozenset[int]:
        """The numbers of the needles that the text has, of its first characters if `most` is given.

        Linear in its length, for each needle that is possible.
        """
        return self._look(text[:most], most, None).there

    def look(self, text: str, patience: Patience) -> Looked:
        """The same for a long text, as long as there is time."""
        return self._look(text, None, patience)

    def _look(self, text: str, most: int | None, patience: Patience | None) -> Looked:
        if not self.needles or not text:
            return _NEITHER
        plain = plain_of(text)[:most]
        possible = self._pieces.possible(plain.casefold().encode("utf-8", "replace"))
        if not (possible or self._without or self._slow_without):
            return _NEITHER
        octets = plain.encode("utf-8", "replace")
        slow = {number: self._in_steps(number, octets, patience) for number in self._possible_slow(possible)}
        found = [n for n in possible if (slow[n] if n in slow else self._stands(self.needles[n], octets))]
        found += [n for n in self._slow_without if slow[n]]
        unknown = frozenset([n for n, there in slow.items() if there is None]) if slow else _NOTHING
        return Looked(frozenset(found + self._found_without(octets)), unknown)

    def _possible_slow(self, possible: set[int]) -> list[int]:
        if not self._slow:
            return []
        return [*[number for number in possible if number in self._slow], *self._slow_without]

    def _in_steps(self, number: int, octets: bytes, patience: Patience | None) -> bool | None:
        """Whether a slow needle is there; None if the time was over first."""
        sought = self._compiled(_anywhere(self.needles[number].found_by))
        if patience is None or len(octets) <= _STEP:
            return sought.match(octets) is not None
        patience.begin()
        for start, end in _steps(len(octets), self._slow[number]):
            if patience.is_over():
                return None
            if sought.match(octets, start, end) is not None:
                return True
        return False

    def _found_without(self, octets: bytes) -> list[int]:
        """Those that have no pieces."""
        if not self._without:
            return []
        there = [self._without[place] for place in self._rest.Match(octets) or ()]
        # Of expressions that was the answer; of words it is not known yet whether they stand alone.
        return [n for n in there if not self.needles[n].alone or self._stands(self.needles[n], octets)]

    def _stands(self, needle: Needle, octets: bytes) -> bool:
        """Whether it is there, and as a word alone if it is one.

        What stands beside a word is looked at where it was found: an expression that says it takes a hundred times the
        memory. So it is made only for a text that has the word in others again and again.
        """
        if not needle.alone:
            return self._compiled(_anywhere(needle.found_by)).match(octets) is not None
        sought = self._compiled(needle.found_by)
        open_left, open_right = needle.alone.startswith(needle.found_by), needle.alone.endswith(needle.found_by)
        at = 0
        for _ in range(_LOOKS):
            found = sought.search(octets, at)
            if found is None:
                return False
            start, end = found.span()
            left = open_left or _bounds(octets[max(0, start - 4) : start], -1)
            if left and (open_right or _bounds(octets[end : end + 4], 0)):
                return True
            at = start + 1
        return self._compiled(needle.alone).search(octets) is not None

    def _compiled(self, expression: str) -> Any:
        made = self._made.get(expression)
        if made is None:
            made = self._made[expression] = re2.compile(expression, _options())
        return made


def _steps(size: int, longest: int | None) -> Iterator[tuple[int, int]]:
    """Stretches of a text of so many octets, one of which has every match whole.

    What has no end is looked for from the beginning again, an eighth farther each time. RE2 knows what stands around a
    stretch, so the ends of the text are where they are.
    """
    overlap = 4 * longest if longest is not None else 0
    start, end = 0, max(_STEP, 2 * overlap)
    while end < size:
        yield start, end
        if longest is None:
            end += max(_STEP, end // 8)
        else:
            start, end = end - overlap, end - overlap + max(_STEP, 2 * overlap)
    yield start, size


def plain_of(text: str) -> str:
    """The text in NFKC, piece by piece: Python takes the square of the marks that follow each other.

    A run of more than thirty marks may be cut, which no language has (UAX 15, Stream-Safe Text Format).
    """
    if len(text) <= _LONG_PIECE or text.isascii():
        return unicodedata.normalize("NFKC", text)
    pieces: list[str] = []
    start, size = 0, _LONG_PIECE
    while start < len(text):
        end = _cut(text, start + size)
        piece = text[start:end]
        plain = unicodedata.normalize("NFKC", piece)
        if plain is not piece:  # it was more than a look, so it may have been dear
            size = _SHORT_PIECE
        pieces.append(plain)
        start = end
    return "".join(pieces)


def _cut(text: str, end: int) -> int:
    """Where a piece may end that ends about here: what follows never joins what is before it."""
    for place in range(end, end - _MOST_MARKS, -1):
        if place >= len(text):
            return len(text)
        sign = text[place]
        if unicodedata.category(sign)[0] != "M" and not "\u1160" <= sign <= "\u11ff":  # Hangul's vowels and finals join
            return place
    return end


def _anywhere(expression: str) -> str:
    """The expression, to be matched from the beginning of a text on: where it stands is not asked, and finding that out
    can take a thousand times as long. A stretch of a text may begin within a character."""
    return rf"(?:\C*?)(?:{expression})"


def _bounds(beside: bytes, place: int) -> bool:
    """Whether the sign at this place of what stands beside a word bounds it; nothing at all is an end of the text."""
    signs = beside.decode("utf-8", "ignore")
    return not signs or is_outside(signs[place])


@functools.cache
def _one(kind: str) -> Any:
    return re2.compile(kind, _options())


def _said(trouble: Exception) -> str:
    said = trouble.args[0] if trouble.args else trouble
    return said.decode("utf-8", "replace") if isinstance(said, bytes) else str(said)


def _options() -> Any:
    options = re2.Options()
    options.case_sensitive = False
    options.log_errors = False
    options.max_mem = _MEMORY
    return options


def _spelled(form: str) -> str:
    return _SPACE.join(re2.escape(part) for part in form.split())


def _wordlike(sign: str) -> bool:
    return unicodedata.category(sign)[0] in "LMN" or unicodedata.category(sign) == "Pc"


def _spaceless(sign: str) -> bool:
    return unicodedata.name(sign, "").startswith(_NO_SPACE_NAMES)
