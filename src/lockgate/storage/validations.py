"""The last validation of each connector, in a small file that only the desk writes.

Documents stay as people wrote them. The whole file is written anew and renamed, so that a kill at any moment leaves the
results before or after.
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

from lockgate.mail.validation import Validation

MOST = 2000
"""Connectors whose last result is kept; beyond, the oldest are forgotten."""

_Key = tuple[str, str]
_FILE = msgspec.json.Decoder(list[Validation])


class ValidationFile:
    """Implements seams.Validations."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stamp = (0, 0)
        self._kept: dict[_Key, Validation] = {}

    def put(self, validation: Validation) -> None:
        """See Validations. What is there and cannot be read is put aside, not lost."""
        kept = self._read(aside=True)
        kept = {**kept, _key(validation.organisation, validation.connector): validation}
        if len(kept) > MOST:
            kept = dict(sorted(kept.items(), key=lambda one: one[1].at)[-MOST:])
        self._path.parent.mkdir(parents=True, exist_ok=True)
        fresh = self._path.with_name(f".{self._path.name}.new")
        with fresh.open("wb") as file:
            file.write(msgspec.json.encode(list(kept.values())))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def last(self, organisation: str, connector: str) -> Validation | None:
        """See Validations; costs one stat while nothing changes."""
        return self._read().get(_key(organisation, connector))

    def _read(self, *, aside: bool = False) -> dict[_Key, Validation]:
        try:
            found = self._path.stat()
            stamp = (found.st_ino, found.st_mtime_ns)
            if stamp != self._stamp:
                found_there = _FILE.decode(self._path.read_bytes())
                self._kept = {_key(one.organisation, one.connector): one for one in found_there}
                self._stamp = stamp
        except FileNotFoundError:
            self._kept, self._stamp = {}, (0, 0)
        except OSError:
            return {}
        except msgspec.MsgspecError:
            if aside:
                self._path.replace(self._path.with_name(f"{self._path.name}.unreadable"))
            return {}
        return self._kept


def _key(organisation: str, connector: str) -> _Key:
    return organisation, connector.casefold()
