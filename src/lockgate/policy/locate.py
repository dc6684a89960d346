"""Where in a TOML text a key or a list entry stands: the standard parser gives values but no lines."""

from __future__ import annotations

import contextlib
import re
from bisect import bisect_right
from collections.abc import Mapping

Path = tuple[str | int, ...]

_BLANK = re.compile(r"[ \t]*")
_SPACE = re.compile(r"(?:[ \t\r\n]+|#[^\n]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_STRINGS = (
    re.compile(r'"""(?:\\.|[^\\])*?"""(?:"{0,2})', re.DOTALL),
    re.compile(r"'''.*?'''(?:'{0,2})", re.DOTALL),
    re.compile(r'"(?:\\.|[^"\\\n])*"'),
    re.compile(r"'[^'\n]*'"),
)
_PLAIN = re.compile(r"[^,\]}\n#]+")


def locate(text: str) -> Mapping[Path, int]:
    """The line (from 1) of every table, key and list entry, by its path, as in ("organisation", 0, "name").

    The text is one that `tomllib` has accepted; of any other as much is found as can be.
    """
    scanner = _Scanner(text)
    with contextlib.suppress(_LostError, RecursionError):  # a line number too few is no reason to fail
        scanner.document()
    return scanner.lines


def line_of(lines: Mapping[Path, int], path: Path) -> int:
    """The line of the path, or of the nearest thing around it that is known."""
    while path and path not in lines:
        path = path[:-1]
    return lines.get(path, 1)


class _LostError(Exception):
    """The text is not what was expected here."""


class _Scanner:
    """Walks over one text; owns the position."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.lines: dict[Path, int] = {}
        self.breaks = [match.start() for match in re.finditer("\n", text)]
        self.arrays: dict[Path, int] = {}

    def line(self) -> int:
        return bisect_right(self.breaks, self.at - 1) + 1 if self.at else 1

    def skip(self, pattern: re.Pattern[str]) -> None:
        match = pattern.match(self.text, self.at)
        if match:
            self.at = match.end()

    def starts(self, what: str) -> bool:
        return self.text.startswith(what, self.at)

    def take(self, what: str) -> None:
        if not self.starts(what):
            raise _LostError
        self.at += len(what)

    def document(self) -> None:
        here: Path = ()
        while True:
            self.skip(_SPACE)
            if self.at >= len(self.text):
                return
            if self.starts("["):
                here = self.header()
            else:
                self.pair(here)

    def header(self) -> Path:
        line, many = self.line(), self.starts("[[")
        self.at += 2 if many else 1
        self.skip(_BLANK)
        keys = self.keys()
        self.take("]]" if many else "]")
        here: Path = ()
        for key in keys[:-1]:
            here = (*here, key)
            if here in self.arrays:
                here = (*here, self.arrays[here] - 1)
            self.lines.setdefault(here, line)
        here = (*here, keys[-1])
        if many:
            self.lines.setdefault(here, line)
            number = self.arrays.get(here, 0)
            self.arrays[here] = number + 1
            here = (*here, number)
        self.lines.setdefault(here, line)
        return here

    def pair(self, here: Path) -> None:
        line = self.line()
        for key in self.keys():
            here = (*here, key)
            self.lines.setdefault(here, line)
        self.take("=")
        self.skip(_BLANK)
        self.value(here)

    def keys(self) -> list[str]:
        found: list[str] = []
        while True:
            self.skip(_BLANK)
            found.append(self.key())
            self.skip(_BLANK)
            if not self.starts("."):
                return found
            self.at += 1

    def key(self) -> str:
        for pattern in (_BARE, *_STRINGS[2:]):
            if match := pattern.match(self.text, self.at):
                self.at = match.end()
                return match[0].strip("\"'") if pattern is not _BARE else match[0]
        raise _LostError

    def value(self, path: Path) -> None:
        if self.starts("["):
            self.array(path)
        elif self.starts("{"):
            self.inline(path)
        else:
            for pattern in (*_STRINGS, _PLAIN):
                if match := pattern.match(self.text, self.at):
                    self.at = match.end()
                    return
            raise _LostError

    def array(self, path: Path) -> None:
        self.take("[")
        number = 0
        while True:
            self.skip(_SPACE)
            if self.starts("]"):
                self.at += 1
                return
            self.lines.setdefault((*path, number), self.line())
            self.value((*path, number))
            number += 1
            self.skip(_SPACE)
            if not self.starts("]"):
                self.take(",")

    def inline(self, path: Path) -> None:
        self.take("{")
        while True:
            self.skip(_SPACE)
            if self.starts("}"):
                self.at += 1
                return
            self.pair(path)
            self.skip(_SPACE)
            if not self.starts("}"):
                self.take(",")
