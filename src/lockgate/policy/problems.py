"""What is wrong with a document, told with its place. Apart from the documents, so that to say it loads no model."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import NamedTuple


class Problem(NamedTuple):
    """A mistake or an advice for the person who wrote the document. `line` counts from 1, `path` is like a[0].b[1].

    An advice says `why` it matters, and how to `mend` it, where the message does not say so itself.
    """

    file: str
    line: int
    path: str
    message: str
    why: str = ""
    mend: str = ""

    def __str__(self) -> str:
        return (
            f"{self.file}:{self.line}: {self.path}: {self.message}"
            if self.path
            else f"{self.file}:{self.line}: {self.message}"
        )


class Invalid(Exception):
    """The documents cannot be used; `problems` holds every mistake that was found, in the order of files and lines."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of a sentence that names the known word nearest to the given one; "" if none is near."""
    plain = {name.casefold(): name for name in known}
    found = difflib.get_close_matches(word[:100].casefold(), list(plain), 1, 0.6)
    return f"; did you mean '{plain[found[0]]}'?" if found else ""


def is_document_name(name: str) -> bool:
    """Whether this names a TOML file below a folder, and nothing else: relative, without dots that lead elsewhere."""
    parts = name.split("/")
    return len(name) <= 255 and name.isprintable() and name.endswith(".toml") and not {"", ".", ".."} & set(parts)
