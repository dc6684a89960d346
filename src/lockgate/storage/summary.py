"""How much waits in the queue, by state, for monitoring."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from lockgate.storage.tables import open_reader

STATES = ("waiting", "deferred", "held", "under_way")
"""Could leave now; waits for its own next attempt; is held; is with a worker."""

_QUERY = (
    "SELECT CASE WHEN held<>'' THEN 'held' WHEN owner<>0 THEN 'under_way' WHEN due>? THEN 'deferred'"
    " ELSE 'waiting' END, count(*), min(received) FROM task GROUP BY 1"
)


class QueueSummary(msgspec.Struct, frozen=True):
    """Tasks by state, when the oldest of each was received (seconds since the epoch), and lanes that are down."""

    tasks: dict[str, int]
    oldest: dict[str, float]
    lanes_down: int


def summary_of(state: Path, now: float) -> QueueSummary:
    """What waits now. Raises sqlite3.Error when the queue cannot be read."""
    tasks, oldest = dict.fromkeys(STATES, 0), dict[str, float]()
    with contextlib.closing(open_reader(state / "queue" / "keeper.sqlite")) as db:
        for name, count, received in db.execute(_QUERY, (now,)):
            tasks[name], oldest[name] = count, received
        (down,) = db.execute("SELECT count(*) FROM lane WHERE fails > 0").fetchone()
    return QueueSummary(tasks, oldest, down)
