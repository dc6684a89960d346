"""Words and expressions of mail flow rules: read when saved, found in texts in linear time (specification 1.15.2).

All needles of one kind of text are looked for together: one pass finds the letters without which none of them can be
there (RE2's filter), and only those that are possible are then looked for one by one. So the cost hardly grows with
their number once the filter has the states that texts want; it makes them as it meets them, and each costs the more,
the more needles there are. Texts are brought into NFKC first; case does not count anywhere.
"""

from __future__ import annotations

import functools
import itertools
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

import re2

from lockgate.policy.expressions import WORD, ExpressionError, translate

LONGEST_WORD = 256
"""Characters of one word or phrase."""

_NO_SPACES = r"\p{Han}\p{Hiragana}\p{Katakana}\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"
_NO_SPACE_NAMES = ("CJK", "HIRAGANA", "KATAKANA", "THAI", "LAO", "KHMER", "MYANMAR")
_OUTSIDE = rf"[^{WORD}\p{{Me}}]|[{_NO_SPACES}]"
_SPACE = r"[\s\x{85}\p{Z}]+"
_MEMORY = 32 * 1024 * 1024
_LARGEST_PROGRAM = 40_000
"""Of RE2's instructions. Where an expression is made to be slow, a character costs some nanoseconds for a thousand."""


_MANY = 100
"""So many needles are worth it that beginnings of words are seen before the first text is."""

_LETTERS = 30
"""So many of the needles' letters, ASCII and others each, make those beginnings."""

LOOKED_THROUGH = 16 * 1024
"""Characters of one short text (an address, a header field) that are looked through, so that nothing takes long."""


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


def is_outside(sign: str) -> bool:
    """Whether this sign beside a word bounds it."""
    return _one(_OUTSIDE).fullmatch(sign.encode("utf-8", "replace")) is not None


def is_space(sign: str) -> bool:
    """Whether this sign is a space between the words of a phrase."""
    return _one(_SPACE).fullmatch(sign.encode("utf-8", "replace")) is not None


@functools.cache
def _one(kind: str) -> Any:
    return re2.compile(kind, _options())


@functools.lru_cache(maxsize=4096)
def pattern(expression: str) -> Needle:
    """A regular expression of .NET, case-insensitive and unanchored. Raises TextError."""
    try:
        translated = translate(expression)
    except ExpressionError as trouble:
        raise TextError(f"'{expression[:80]}': {trouble}") from None
    try:
        found = re2.compile(translated, _options())
    except re2.error as trouble:
        raise TextError(f"'{expression[:80]}' cannot be used: {_said(trouble)}") from None
    if found.programsize > _LARGEST_PROGRAM:
        raise TextError(f"'{expression[:80]}' is too costly; write it with fewer or smaller repetitions")
    return Needle(expression, translated)


class TextSet:
    """Needles compiled together. Second looks are compiled when first needed: most words are never found.

    RE2 makes the states of its automaton as texts come to need them. Where there are many needles, that would make the
    first texts wait after every change of policy, so the commonest states are made here; no answer depends on it.
    """

    __slots__ = ("_alone", "_filter", "needles")

    def __init__(self, needles: Iterable[Needle]) -> None:
        self.needles = tuple(needles)
        self._filter = re2.Filter()
        options = _options()
        for needle in self.needles:
            self._filter.Add(needle.found_by, options)
        if self.needles:
            self._filter.Compile()
        if len(self.needles) >= _MANY:
            for octets in _beginnings(self.needles):
                self._filter.Match(octets)
        self._alone: dict[str, Any] = {}

    def __len__(self) -> int:
        return len(self.needles)

    def hits(self, text: str) -> frozenset[int]:
        """The numbers of the needles that the text has. Linear in its length, whatever the needles."""
        if not self.needles or not text:
            return frozenset()
        octets = unicodedata.normalize("NFKC", text).encode("utf-8", "replace")
        return frozenset([n for n in self._filter.Match(octets) or () if self._stands(self.needles[n].alone, octets)])

    def _stands(self, alone: str, octets: bytes) -> bool:
        if not alone:
            return True
        compiled = self._alone.get(alone)
        if compiled is None:
            compiled = self._alone[alone] = re2.compile(alone, _options())
        return compiled.search(octets) is not None


def _beginnings(needles: tuple[Needle, ...]) -> Iterator[bytes]:
    """All triples of the letters that the needles have most of, by alphabet."""
    counted = Counter(sign for needle in needles for sign in needle.written.casefold() if sign.isalpha())
    for ascii_ones in (True, False):
        letters = [sign for sign, _ in counted.most_common() if sign.isascii() is ascii_ones][:_LETTERS]
        if letters:
            yield " ".join(map("".join, itertools.product(letters, repeat=3))).encode("utf-8", "replace")


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
