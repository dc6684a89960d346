"""Recipient files on their way in: sent in pieces and read in a thread, while their progress is asked for."""

from __future__ import annotations

import io
import os
import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import msgspec

from lockgate.flow.desk.section import Misuse
from lockgate.flow.loading import NotLoaded, Progress, Rejected, Wishes, load
from lockgate.flow.recipients import Wrong
from lockgate.policy.problems import Invalid, Problem
from lockgate.seams import Clock, Journal, Recipients, Unavailable

MOST_OPEN = 8
LONGEST_FILE = 2 * 1024**3
"""Octets of one file."""
IDLE = 600.0
"""Seconds after which a file that nobody asks about is forgotten."""
PAGE = 500
"""Rejected lines in one answer."""

_ENCODE = msgspec.json.Encoder().encode
_WRONG = msgspec.json.Decoder(Wrong).decode


class _File:
    """One file and what became of it."""

    def __init__(self, wishes: Wishes, by: str, folder: Path, name: str, now: float) -> None:
        self.wishes, self.by = wishes, by
        self.path = folder / f"{name}.part"
        self.rejected = folder / f"{name}.rejected"
        self.content: TextIO = self.path.open("w+", encoding="utf-8", newline="")
        self.notes = self.rejected.open("wb")
        self.size = 0
        self.used = now
        self.started = False
        self.progress = Progress(self._note)
        self.result: dict[str, Any] | None = None
        self.trouble: Exception | None = None

    def _note(self, one: Wrong) -> None:
        self.notes.write(_ENCODE(one) + b"\n")

    def close(self) -> None:
        self.content.close()
        self.notes.close()
        self.path.unlink(missing_ok=True)
        self.rejected.unlink(missing_ok=True)


class RecipientImports:
    """flow.desk.recipients.Imports over a folder. `loaded` is told of each import that has changed something."""

    def __init__(
        self,
        store: Recipients,
        folder: Path,
        clock: Clock,
        journal: Journal,
        loaded: Callable[[str, dict[str, Any]], None],
    ) -> None:
        self._store = store
        self._folder = folder
        self._clock = clock
        self._journal = journal
        self._loaded = loaded
        self._files: dict[str, _File] = {}
        self._lock = threading.Lock()
        for left in folder.glob("*") if folder.is_dir() else ():
            left.unlink(missing_ok=True)

    def whole(self, text: str, wishes: Wishes, by: str) -> tuple[dict[str, Any], list[Wrong]]:
        """See Imports."""
        wrong: list[Wrong] = []
        try:
            told = load(io.StringIO(text, newline=""), wishes, self._store, Progress(wrong.append))
        except Rejected:
            raise Invalid(tuple(Problem(wishes.name, one.line, one.column, one.message) for one in wrong)) from None
        if not wishes.what_if:
            self._loaded(by, told)
        return told, wrong

    def open(self, wishes: Wishes, by: str) -> str:
        """See Imports."""
        now = self._clock.monotonic()
        with self._lock:
            for name, file in list(self._files.items()):
                if now - file.used > IDLE and (not file.started or file.result is not None or file.trouble):
                    self._files.pop(name).close()
            if len(self._files) >= MOST_OPEN:
                raise Unavailable(f"{MOST_OPEN} recipient files are being read already; try again in a moment")
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            name = secrets.token_hex(12)
            self._files[name] = _File(wishes, by, self._folder, name, now)
        return name

    def append(self, ticket: str, text: str, by: str) -> int:
        """See Imports."""
        file = self._file(ticket, by)
        if file.started:
            raise Misuse("this file is being read already")
        file.size += len(text)
        if file.size > LONGEST_FILE:
            self._forget(ticket)
            raise Misuse("the file is longer than a directory can be")
        try:
            file.content.write(text)
        except OSError as trouble:
            self._forget(ticket)
            raise Unavailable(f"the file cannot be kept: {trouble}") from None
        return file.size

    def start(self, ticket: str, by: str) -> None:
        """See Imports."""
        file = self._file(ticket, by)
        if not file.started:
            file.started = True
            threading.Thread(target=self._read, args=(file,), name="recipient import", daemon=True).start()

    def progress(self, ticket: str, after: int, by: str) -> dict[str, Any]:
        """See Imports."""
        file = self._file(ticket, by)
        ended = file.result is not None or file.trouble is not None
        if not file.notes.closed:
            file.notes.flush()
        wrong, place = _page(file.rejected, after)
        done = ended and not wrong
        told = {
            "phase": "done" if done else file.progress.phase,
            "lines": file.progress.lines,
            "recipients": file.progress.recipients,
            "rejected": file.progress.rejected,
            "wrong": [msgspec.structs.asdict(one) for one in wrong],
            "after": place,
        }
        if not done:
            return told
        self._forget(ticket)
        if file.trouble is not None:
            raise file.trouble
        return {**told, "result": file.result}

    def _read(self, file: _File) -> None:
        try:
            file.content.seek(0)
            told = load(file.content, file.wishes, self._store, file.progress)
            if not file.wishes.what_if:
                self._loaded(file.by, told)
            file.notes.flush()
            file.result = told
        except (NotLoaded, Invalid, Unavailable) as trouble:
            file.trouble = trouble
        except Exception as trouble:
            self._journal.alarm("unforeseen", at="recipient import", by=file.by, trouble=trouble)
            file.trouble = Unavailable("something unforeseen happened here, and nothing was changed; the log says more")

    def _file(self, ticket: str, by: str) -> _File:
        with self._lock:
            file = self._files.get(ticket)
            if file is None or file.by != by:
                raise Misuse("there is no such file any more; send it again")
            file.used = self._clock.monotonic()
            return file

    def _forget(self, ticket: str) -> None:
        with self._lock:
            file = self._files.pop(ticket, None)
        if file is not None:
            file.close()


def _page(path: Path, after: int) -> tuple[list[Wrong], int]:
    """The rejected lines from octet `after` on, and where the next page begins."""
    found: list[Wrong] = []
    with path.open("rb") as file:
        file.seek(max(0, min(after, os.fstat(file.fileno()).st_size)))
        place = file.tell()
        for line in file:
            if not line.endswith(b"\n") or len(found) == PAGE:
                break
            found.append(_WRONG(line))
            place += len(line)
    return found, place
