"""What the keeper does now and then: finished traces to their day's file, held bodies aside, sparse segments freed."""

from __future__ import annotations

import secrets
import zlib
from pathlib import Path

from lockgate.mail.message import BodyRef
from lockgate.seams import Journal, Unavailable
from lockgate.storage.days import DayFiles
from lockgate.storage.edits import expire
from lockgate.storage.frames import NEVER
from lockgate.storage.kept import Lives
from lockgate.storage.ledger import Ledger
from lockgate.storage.segments import SegmentFolder, SegmentWriter, read_body

MOVED = 100
"""Bodies moved per step."""

EXPIRED = 100
"""Held tasks deleted per step."""

SOME = 8 * 1024 * 1024
"""Octets moved per step."""

SPARE = 2000
"""Free pages of the database that stay for the next mail (16 MB): less than a busy service needs anew in a minute."""

GIVEN_BACK = 64
"""Pages given back to the file system per step, which takes a millisecond: mail may be coming meanwhile."""

DAMAGED = "the body is damaged"
"""Why a task is held whose body does not match its checksum."""

_HELD = (
    "SELECT id, segment, at, length, crc FROM task WHERE held<>'' AND owner=0 AND substr(segment,-5)<>'.hold'"
    f" AND held<>'{DAMAGED}' LIMIT {MOVED}"
)
_OF_SEGMENT = (
    f"SELECT id, segment, at, length, crc FROM task WHERE segment=? AND owner=0 AND held<>'{DAMAGED}' LIMIT {MOVED}"
)

_Row = tuple[int, str, int, int, int]


class Upkeep:
    """The slow work, in small steps between batches; each step leaves the queue whole."""

    def __init__(
        self, ledger: Ledger, folder: SegmentFolder, trace: Path, journal: Journal, lives: Lives
    ) -> None:
        self._ledger, self._folder, self._journal = ledger, folder, journal
        self.incarnation = secrets.randbits(62) | 1
        seal = ledger.live.seal
        self._flow = SegmentWriter(folder, self.incarnation, seal, prepare=False)
        self._hold = SegmentWriter(folder, self.incarnation, seal, size=SOME * 2, suffix="hold", prepare=False)
        self._days = DayFiles(ledger, trace, lives)
        self._last = 0.0
        self.more = False
        self.buried = False

    def is_due(self, now: float, every: float) -> bool:
        """Whether it is time again."""
        return self.more or not 0 <= now - self._last < every

    def run(self, now: float, settle: float, sparse: float) -> None:
        """One step of everything; `more` tells that the next should follow soon. Raises sqlite3.Error, OSError."""
        self._last = now
        more = self._days.move(now - settle)
        more = self._expire(now) or more
        more = self._move(self._ledger.db.execute(_HELD).fetchall(), self._hold) or more
        for name in self._ledger.live.sparse(sparse)[:8]:
            writer = self._hold if name.endswith(".hold") else self._flow
            rows = self._ledger.db.execute(_OF_SEGMENT, (name,)).fetchall()
            if rows:
                more = self._move(rows, writer) or more
                break
        for name in self._days.forget(now):
            self._journal.note("a day's trace has reached the end of its life", file=name)
        more = self._days.purge(now) or more
        more = self._give_back() or more
        self.more = more

    def _give_back(self) -> bool:
        """Pages of what has left the database go back to the file system; whether there are more of them."""
        db = self._ledger.db
        (free,) = db.execute("PRAGMA freelist_count").fetchone()
        over = free - SPARE
        if over <= 0:
            return False
        # As a script: a statement is run for its first row only, which here is one page.
        db.executescript(f"PRAGMA incremental_vacuum({min(over, GIVEN_BACK)})")
        if over > GIVEN_BACK:
            return True
        # Only this makes the file shorter, and at rest nobody else would do it.
        db.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
        return False

    def _expire(self, now: float) -> bool:
        """Held mail whose time is over; whether there may be more of it now."""
        ledger = self._ledger
        ledger.begin(now)
        gone = expire(ledger, now, EXPIRED)
        ledger.commit()
        if gone:
            self._journal.note("held mail was deleted, because its time was over", tasks=gone)
            ledger.live.unlink_dead()
        return gone == EXPIRED

    def _move(self, rows: list[_Row], writer: SegmentWriter) -> bool:
        """Copy these bodies, make the copies durable, and only then let the tasks refer to them."""
        ledger, moved, octets = self._ledger, list[tuple[_Row, BodyRef]](), 0
        damaged: list[int] = []
        for row in rows:
            try:
                content = read_body(self._folder, BodyRef(row[1], row[2], row[3], row[4]))
                moved.append((row, writer.append([content], len(content), zlib.crc32(content))))
            except (ValueError, FileNotFoundError) as trouble:
                self._journal.alarm("a body is damaged and its task set aside", task=row[0], because=str(trouble))
                damaged.append(row[0])
            except Unavailable:
                break
            octets += row[3]
            if octets > SOME:
                break
        if not moved and not damaged:
            return False
        failed = ledger.live.sync({body.segment for _, body in moved})
        if failed:
            writer.abandon()
            moved = []
        self._refer(moved, damaged)
        for _, body in moved:
            writer.unpin(body.segment)
        ledger.live.unlink_dead()
        return len(rows) == MOVED or octets > SOME

    def _refer(self, moved: list[tuple[_Row, BodyRef]], damaged: list[int]) -> None:
        ledger = self._ledger
        ledger.db.execute("BEGIN IMMEDIATE")
        ledger.db.executemany(
            "UPDATE task SET segment=?, at=?, length=?, crc=? WHERE id=?",
            [(body.segment, body.offset, body.length, body.crc, row[0]) for row, body in moved],
        )
        for task in damaged:
            self._set_aside(task)
        ledger.db.execute("COMMIT")
        for row, body in moved:
            ledger.live.add(body.segment, body.length)
            ledger.live.remove(row[1], row[3])

    def _set_aside(self, task: int) -> None:
        """A task whose body is damaged waits for a person; the others go on."""
        ledger = self._ledger
        lane, due, held = ledger.db.execute("SELECT lane, due, held FROM task WHERE id=?", (task,)).fetchone()
        if due == 0 and not held:
            ledger.roster.departed(ledger.roster.lane(lane), 1)
        row = (DAMAGED, NEVER, NEVER, self._last, task)
        ledger.db.execute("UPDATE task SET held=?, due=?, attention=?, held_at=?, held_until=0 WHERE id=?", row)

    def close(self) -> None:
        """Give the writers up; what they hold is referred to or swept."""
        self._flow.close()
        self._hold.close()
        self._days.close()
