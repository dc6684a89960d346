"""A restored queue before its first start: outcomes noted before the backup count, and then everything is held.

Nothing is sent until a person says so: what left between the backup and the loss would be sent a second time.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from lockgate.seams import Clock, Journal
from lockgate.storage.edits import Edit
from lockgate.storage.keeper import Keeper, KeeperSettings, lock_queue
from lockgate.storage.snapshot import restored_numbers
from lockgate.storage.tables import open_tables

RESTORED = "restore of the backup"
"""How the reason begins for which restored tasks are held; `queue release --restored` looks for it."""


def hold_everything(state: Path, made: float, told: str, clock: Clock, journal: Journal) -> int:
    """Hold every task that is not held; how many. `made` is when the backup was made, `told` the same for people.

    From then on they count as held, for none of this mail could leave: it does not shorten their lives.
    Raises NewerSchema, AlreadyKept, sqlite3.Error, OSError.
    """
    lock = lock_queue(state)
    try:
        _skip_numbers(state)
        keeper = Keeper(KeeperSettings(state), clock, journal)
        try:
            # Workers of the backup are dead here: what they had noted is applied, what they held waits again.
            keeper.start()
            edit = Edit("hold", {"held": ""}, f"{RESTORED} of {told}")
            done = False
            while not done:
                keeper.ledger.begin(clock.now())
                done = edit.proceed(keeper.ledger, clock.now())
                if done:
                    why = f"held by {edit.by}"
                    keeper.ledger.db.execute("UPDATE task SET held_at=min(held_at, ?) WHERE held=?", (made, why))
                keeper.ledger.commit()
        finally:
            keeper.close()
        return edit.count
    finally:
        os.close(lock)


def _skip_numbers(state: Path) -> None:
    """Rows that moved to a day's file while the backup was made have numbers that must not be given twice."""
    highest = restored_numbers(state)
    with contextlib.closing(open_tables(state / "queue" / "keeper.sqlite")) as db:
        (known,) = db.execute("SELECT ifnull((SELECT value FROM meta WHERE name='seq'), 0)").fetchone()
        db.execute("INSERT OR REPLACE INTO meta(name, value) VALUES('seq', ?)", (max(highest, known),))
