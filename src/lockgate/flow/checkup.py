"""What a look at an installation finds: each thing passes, warns or blocks, with the exact line that mends it."""

from __future__ import annotations

import enum
from collections.abc import Iterable

import msgspec


class Level(enum.StrEnum):
    """How bad it is: nothing to do; mail flows but somebody should look; mail does not flow."""

    PASS = "pass"
    WARN = "warn"
    BLOCK = "block"


class Found(msgspec.Struct, frozen=True):
    """One thing that was looked at: what about (`subject`), what is so (`what`), and the line that mends it ("")."""

    level: Level
    subject: str
    what: str
    mend: str = ""


def passed(subject: str, what: str) -> Found:
    """All is well with it."""
    return Found(Level.PASS, subject, what)


def warned(subject: str, what: str, mend: str) -> Found:
    """Mail flows, but somebody should look."""
    return Found(Level.WARN, subject, what, mend)


def blocked(subject: str, what: str, mend: str) -> Found:
    """Mail does not flow like this."""
    return Found(Level.BLOCK, subject, what, mend)


def worst(found: Iterable[Found]) -> Level:
    """The worst of all."""
    levels = {one.level for one in found}
    return next((level for level in (Level.BLOCK, Level.WARN) if level in levels), Level.PASS)
