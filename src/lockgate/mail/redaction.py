"""What is kept of people: addresses and subjects as an organisation wants them in trace, log and exports.

DESIGN 2: facts are personal data; one redactor for every sink. A masked address keeps a keyed hash of what it was, so
that a search for the real address still finds its rows, and nobody without the key can go back.
"""

from __future__ import annotations

import enum
import hmac
import re
from collections.abc import Callable, Iterable

import msgspec


class Masking(enum.StrEnum):
    """How much of an address is hidden; subjects are hidden by both levels."""

    NONE = "none"
    LOCAL_PARTS = "local_parts"
    ALL = "all"


_LEVELS = tuple(Masking)
_MASKED = re.compile(r"~[0-9a-f]{16}(@.+)?", re.DOTALL)
_ADDRESS = re.compile(r'(?:"(?:[^"\\]|\\.)*"|[^\s<>,;:()"]+)@[^\s<>,;:()"\']*[^\s<>,;:()"\'.]')
HIDDEN = "***"
"""What stands in the place of a hidden subject."""


class Kept(msgspec.Struct, frozen=True):
    """How long an organisation's trace lives (seconds), and whether its recorded facts do."""

    life: float
    facts: bool = True


class Redactor(msgspec.Struct, frozen=True):
    """Hides what must not be kept. `subjects` and `facts` tell whether they are kept at all; `key` is secret.

    Everything is done to text that was hidden before without changing it further.
    """

    masking: Masking
    subjects: bool
    facts: bool
    key: bytes

    @property
    def keeps_facts(self) -> bool:
        """Whether recorded facts outlive the message; facts of masked people cannot be judged again."""
        return self.facts and self.masking is Masking.NONE

    def address(self, text: str) -> str:
        """`bob@contoso.com` as `~3f9a2c1b5d7e8f01@contoso.com`, or without the domain; the null sender stays."""
        if self.masking is Masking.NONE or not text:
            return text
        local, at, domain = text.rpartition("@")
        if _MASKED.fullmatch(text):
            hidden = text[:17]
            domain = text[18:]
        else:
            hidden = self._hash(text)
            domain = domain if at and local else ""
        return f"{hidden}@{domain}" if domain and self.masking is Masking.LOCAL_PARTS else hidden

    def text(self, text: str) -> str:
        """A sentence or a reply with every address in it hidden."""
        if self.masking is Masking.NONE or "@" not in text:
            return text
        return _ADDRESS.sub(lambda found: self.address(found[0]), text)

    def subject(self, text: str) -> str:
        """The subject, a sign that there was one, or nothing."""
        if not self.subjects or not text:
            return ""
        return text if self.masking is Masking.NONE else HIDDEN

    def message_id(self, text: str) -> str:
        """A Message-ID names a host, often a person; it is hidden where whole addresses are."""
        if self.masking is not Masking.ALL or not text or _MASKED.fullmatch(text):
            return text
        return self._hash(text.strip("<>"))

    def _hash(self, text: str) -> str:
        return "~" + hmac.digest(self.key, text.casefold().encode("utf-8", "surrogateescape"), "sha256")[:8].hex()


Discretion = Callable[[str], Redactor | None]
"""The redactor of an organisation ("": of what belongs to none); None where nothing has to be hidden."""


def nothing_hidden(organisation: str) -> None:
    """A Discretion that hides nothing."""


def strictest(discretion: Discretion, organisations: Iterable[str]) -> Redactor | None:
    """One redactor that satisfies all of them, for what they share."""
    found = [redactor for name in organisations if (redactor := discretion(name)) is not None]
    if len(found) < 2:
        return found[0] if found else None
    return Redactor(
        max((one.masking for one in found), key=_LEVELS.index),
        all(one.subjects for one in found),
        all(one.facts for one in found),
        found[0].key,
    )


def spellings(key: bytes) -> tuple[Redactor, ...]:
    """All redactors that may have hidden something under this key, for searches."""
    levels = (Masking.LOCAL_PARTS, Masking.ALL)
    return tuple(Redactor(level, subjects=True, facts=True, key=key) for level in levels)
