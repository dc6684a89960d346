"""Blocked connectors in a small file: replaced as a whole, read again when it has changed (one stat a question)."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import msgspec

from lockgate.mail.blocks import BlockList
from lockgate.mail.findings import NOT_BLOCKED, Blocking, Unknown

MOST_LIFTED = 1000
"""Lifted blocks that are kept."""

_DECODE = msgspec.json.Decoder(BlockList).decode


class BlockFile:
    """Implements seams.Blocks. The file lies in the state directory, so that every backup has it."""

    def __init__(self, state: Path) -> None:
        self._path = state / "connectors" / "blocked.json"
        self._stamp: tuple[int, int, int] | None = None
        self._list = BlockList()
        self._states: dict[tuple[str, str], Blocking] = {}
        self._lock = threading.Lock()

    def state(self, organisation: str, connector: str) -> Blocking | Unknown:
        """See Blocks."""
        try:
            self._look()
        except OSError as trouble:
            return Unknown(str(trouble))
        return self._states.get((organisation, connector), NOT_BLOCKED)

    def listed(self) -> BlockList:
        """See Blocks."""
        self._look()
        return self._list

    def change(self, edit: Callable[[BlockList], BlockList]) -> BlockList:
        """See Blocks."""
        with self._lock:
            return self._change(edit)

    def _change(self, edit: Callable[[BlockList], BlockList]) -> BlockList:
        self._look()
        after = edit(self._list)
        if after == self._list:
            return after
        after = BlockList(after.blocks, after.lifted[-MOST_LIFTED:])
        folder = self._path.parent
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        fresh = folder / f".{self._path.name}.new"
        fresh.unlink(missing_ok=True)
        place = os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(place, "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(after), indent=1))
            file.flush()
            os.fsync(file.fileno())
        fresh.replace(self._path)
        _settle(folder)
        _settle(folder.parent)
        self._look()
        return self._list

    def _look(self) -> None:
        """Read it if it has changed. A file that cannot be read is asked for again at the next question."""
        try:
            found = self._path.stat()
        except FileNotFoundError:
            if self._stamp is not None:
                self._take(BlockList(), None)
            return
        stamp = (found.st_ino, found.st_mtime_ns, found.st_size)
        if stamp == self._stamp:
            return
        try:
            self._take(_DECODE(self._path.read_bytes()), stamp)
        except msgspec.MsgspecError as trouble:
            raise OSError(f"{self._path} is damaged ({trouble}); restore it from a backup, or remove it") from None

    def _take(self, found: BlockList, stamp: tuple[int, int, int] | None) -> None:
        self._list, self._stamp = found, stamp
        self._states = {(block.organisation, block.connector): block.answer for block in found.blocks}


def _settle(folder: Path) -> None:
    """Make the names in the folder durable."""
    place = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(place)
    finally:
        os.close(place)
