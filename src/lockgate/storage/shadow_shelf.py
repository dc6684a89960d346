"""The draft in the shadow and what was found about it: two small files, each replaced as a whole.

Storage knows nothing of what is in them; whoever keeps something here encodes it.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path


class ShadowFiles:
    """Below `folder`. Methods block and raise OSError."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._draft = folder / "draft.json"
        self._tally = folder / "tally.json"

    def draft(self) -> bytes | None:
        """The draft, if there is one."""
        return _read(self._draft)

    def tally(self) -> bytes | None:
        """What was found."""
        return _read(self._tally)

    def stamp(self) -> tuple[int, int]:
        """Changes when the draft does; (0, 0): there is none."""
        try:
            found = self._draft.stat()
        except OSError:
            return (0, 0)
        return (found.st_ino, found.st_mtime_ns)

    def put_draft(self, data: bytes) -> None:
        """Keep this draft; durable when this returns."""
        self._write(self._draft, data, durable=True)

    def put_tally(self, data: bytes) -> None:
        """Keep what was found."""
        self._write(self._tally, data, durable=False)

    def clear(self) -> None:
        """Keep nothing."""
        self._draft.unlink(missing_ok=True)
        self._tally.unlink(missing_ok=True)

    def _write(self, path: Path, data: bytes, *, durable: bool) -> None:
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = path.with_name(f".{path.name}.{os.getpid()}.new")
        with contextlib.suppress(FileNotFoundError):
            fresh.unlink()
        place = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(place, "wb") as file:
            file.write(data)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        fresh.replace(path)


def _read(path: Path) -> bytes | None:
    with contextlib.suppress(FileNotFoundError):
        return path.read_bytes()
    return None
