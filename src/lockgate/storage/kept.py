"""How long each organisation keeps its trace, as the keeper knows it: a small file that the desk writes."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

import msgspec

from lockgate.mail.redaction import Kept

_WISHES = msgspec.json.Decoder(dict[str, Kept])


class Lives(Protocol):
    """How long organisations keep their trace."""

    def __call__(self, organisation: str) -> Kept:
        """What this organisation keeps; "" and unknown ones: what the operator says."""

    def organisations(self) -> list[str]:
        """Those that have wishes of their own."""


class Everybody(msgspec.Struct, frozen=True):
    """Lives in which all keep the same."""

    kept: Kept

    def __call__(self, organisation: str) -> Kept:
        return self.kept

    def organisations(self) -> list[str]:
        """See Lives."""
        return []


def write_kept(path: Path, wishes: Mapping[str, Kept]) -> None:
    """Put these wishes in the place of the earlier ones, durable when this returns. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    fresh = path.with_name(f".{path.name}.new")
    with fresh.open("wb") as file:
        file.write(msgspec.json.encode(wishes))
        file.flush()
        os.fsync(file.fileno())
    fresh.replace(path)


class KeptFile:
    """Lives out of that file; as long as there is none, or it cannot be read, all keep what the operator says.

    The keeper does not read the policy itself: to compile a large one would hold up everybody who waits for a commit.
    """

    def __init__(self, path: Path, otherwise: Kept) -> None:
        self._path = path
        self._otherwise = otherwise
        self._stamp = (0, 0)
        self._wishes: dict[str, Kept] = {}

    def __call__(self, organisation: str) -> Kept:
        """What this organisation keeps."""
        self._look()
        return self._wishes.get(organisation, self._otherwise)

    def organisations(self) -> list[str]:
        """Those that have wishes of their own."""
        self._look()
        return [*self._wishes]

    def _look(self) -> None:
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            found = self._path.stat()
            stamp = (found.st_ino, found.st_mtime_ns)
            if stamp != self._stamp:
                self._wishes = _WISHES.decode(self._path.read_bytes())
                self._stamp = stamp
