"""A message and the letters about it, all or nothing: what mail flow rules have us write is kept together with it."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path

from lockgate.storage.frames import Accept
from lockgate.storage.ledger import Ledger
from lockgate.storage.traces import day_files, reader

_DAY = 86_400_000


def accept_together(
    ledger: Ledger, incarnation: int, new: Accept, traces: Path
) -> tuple[tuple[int, bool], ...]:
    """Gather a message and its letters; (task, owned by this worker) for each task of the message itself.

    What is to be kept `once` and is there already, or was and lies in the day files of `traces`, is left out. Letters
    wait for whoever carries their lane next.
    """
    tasks: tuple[tuple[int, bool], ...] = ()
    if not (new.once and _was_kept(ledger, new.id, traces)):
        tasks = ledger.accept(incarnation, new)
    for letter in new.letters:
        if not (letter.once and _was_kept(ledger, letter.id, traces)):
            ledger.accept(0, letter)
    return tasks


def _was_kept(ledger: Ledger, name: str, traces: Path) -> bool:
    ledger.flush()  # it may be in the same batch
    return ledger.find(name) is not None or any(
        _has(path, name) for day, path in day_files(traces) if day >= _begins(name)
    )


def _has(path: Path, name: str) -> bool:
    """Whether a day's file knows this id. One that cannot be read says no: better a letter twice than none."""
    with contextlib.suppress(sqlite3.Error), contextlib.closing(reader(path)) as db:
        return db.execute("SELECT 1 FROM message WHERE id=?", (name,)).fetchone() is not None
    return False


def _begins(name: str) -> int:
    """The first day on which there can be a message of this id: when it was made (RFC 9562 5.7)."""
    try:
        return int(name[:13].replace("-", ""), 16) // _DAY
    except ValueError:
        return 0
