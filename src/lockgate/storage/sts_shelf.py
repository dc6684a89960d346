"""Fetched MTA-STS policies in one small SQLite file that all processes of the machine share (RFC 8461 3.3).

A file of its own, so that a damaged queue takes no policy with it and a damaged shelf no mail: a file that cannot be
read is set aside, and the policies are fetched again.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from lockgate.mail.sts import KeptSts, StsMode, StsPolicy

MOST_ROWS = 50_000
"""Domains that are kept."""

MOST_OCTETS = 64 * 1024 * 1024
"""What their policies may take together."""

_ROOM = 0.95
_FORGET = 86400.0
_VERSION = 1
_DAY = 86400.0
_PASSING = (sqlite3.OperationalError, sqlite3.InterfaceError, sqlite3.ProgrammingError)
_TABLES = (
    """CREATE TABLE sts(
    domain TEXT PRIMARY KEY, id TEXT NOT NULL DEFAULT '', mode TEXT NOT NULL DEFAULT '', mx TEXT NOT NULL DEFAULT '',
    text TEXT NOT NULL DEFAULT '', until REAL NOT NULL DEFAULT 0, fetched REAL NOT NULL DEFAULT 0,
    failed REAL NOT NULL DEFAULT 0, why TEXT NOT NULL DEFAULT '', word TEXT NOT NULL DEFAULT '',
    busy REAL NOT NULL DEFAULT 0, used REAL NOT NULL DEFAULT 0, named REAL NOT NULL DEFAULT 0,
    days INTEGER NOT NULL DEFAULT 0, size INTEGER NOT NULL DEFAULT 0) WITHOUT ROWID""",
    "CREATE INDEX sts_by_age ON sts(fetched)",
    "CREATE TABLE total(rows INTEGER NOT NULL, octets INTEGER NOT NULL)",
    "INSERT INTO total VALUES(0, 0)",
    """CREATE TRIGGER sts_more AFTER INSERT ON sts BEGIN
        UPDATE total SET rows = rows + 1, octets = octets + new.size; END""",
    """CREATE TRIGGER sts_less AFTER DELETE ON sts BEGIN
        UPDATE total SET rows = rows - 1, octets = octets - old.size; END""",
    """CREATE TRIGGER sts_other AFTER UPDATE OF size ON sts BEGIN
        UPDATE total SET octets = octets - old.size + new.size; END""",
    f"PRAGMA user_version = {_VERSION}",
)
_GET = "SELECT domain,id,mode,mx,text,until,fetched,failed,why,busy,word FROM sts WHERE domain = ?"
_CLAIM = """
INSERT INTO sts(domain,busy) VALUES(:domain,:until)
ON CONFLICT(domain) DO UPDATE SET busy = :until, failed = 0 WHERE busy <= :now
"""
_PUT = """
INSERT INTO sts(domain,id,mode,mx,text,until,fetched,busy,used,days,size)
VALUES(:domain,:id,:mode,:mx,:text,:until,:now,:calm,:now,1,:size)
ON CONFLICT(domain) DO UPDATE SET id=:id, mode=:mode, mx=:mx, text=:text, until=:until, fetched=:now, failed=0, why='',
    word='', busy=:calm, used=max(used, CASE WHEN days THEN 0 ELSE :now END), days=max(days, 1), size=:size
"""
_FAIL = """
INSERT INTO sts(domain,failed,why,word,busy) VALUES(:domain,:now,:why,:word,:calm)
ON CONFLICT(domain) DO UPDATE SET failed = :now, why = :why, word = :word, busy = :calm
"""
_USE = """
UPDATE sts SET used = :now, days = days + (CAST(used / :day AS INT) < CAST(:now / :day AS INT)) WHERE domain = :domain
"""
_DUE = """
SELECT domain FROM sts WHERE fetched > 0 AND fetched < :old AND until > :now AND used >= :since AND named <= :before
ORDER BY named, fetched LIMIT :limit
"""
_DEAD = "DELETE FROM sts WHERE until <= :now AND busy <= :old"
_LEAST = "DELETE FROM sts WHERE domain IN (SELECT domain FROM sts ORDER BY days, used LIMIT :count)"


class StsFile:
    """Implements seams.StsShelf in `path`, whose folder is made. One connection for each process, opened at first use.

    When it is full, dead policies go first, then those of domains that were used on the fewest days: whoever makes us
    fetch a thousand policies of domains of his own displaces those, not the ones of our correspondents.
    """

    def __init__(self, path: Path, *, most_rows: int = MOST_ROWS, most_octets: int = MOST_OCTETS) -> None:
        self._path = path
        self._most = most_rows, most_octets
        self._lock = threading.Lock()
        self._db: sqlite3.Connection | None = None
        self._owner = self._file = 0

    def get(self, domain: str) -> KeptSts | None:
        """See StsShelf."""
        with self._reading() as db:
            row = db.execute(_GET, (domain,)).fetchone()
        return None if row is None else _kept(row)

    def claim(self, domain: str, now: float, until: float) -> bool:
        """See StsShelf."""
        with self._writing() as db:
            changed = db.execute(_CLAIM, {"domain": domain, "now": now, "until": until}).rowcount
        return changed == 1

    def put(self, policy: StsPolicy, now: float, calm: float) -> None:
        """See StsShelf."""
        mx, text = " ".join(policy.mx), "\n".join(policy.text)
        values = {
            "domain": policy.domain, "id": policy.id, "mode": policy.mode.value, "mx": mx, "text": text,
            "until": policy.until, "now": now, "calm": calm, "size": len(mx) + len(text) + len(policy.domain),
        }  # fmt: skip
        with self._writing() as db:
            db.execute(_PUT, values)
            self._make_room(db, now)

    def fail(self, domain: str, now: float, why: str, word: str, calm: float) -> None:
        """See StsShelf."""
        with self._writing() as db:
            db.execute(_FAIL, {"domain": domain, "now": now, "why": why[:500], "word": word, "calm": calm})
            self._make_room(db, now)

    def use(self, domain: str, now: float) -> None:
        """See StsShelf."""
        with self._writing() as db:
            db.execute(_USE, {"domain": domain, "now": now, "day": _DAY})

    def due(self, now: float, age: float, used_since: float, pause: float, limit: int) -> tuple[str, ...]:
        """See StsShelf."""
        asked = {"now": now, "old": now - age, "since": used_since, "before": now - pause, "limit": limit}
        with self._writing() as db:
            found = [str(domain) for (domain,) in db.execute(_DUE, asked)]
            db.executemany("UPDATE sts SET named = ? WHERE domain = ?", [(now, domain) for domain in found])
        return tuple(found)

    def close(self) -> None:
        """Close the connection; the next use opens another."""
        with self._lock:
            self._drop()

    def _make_room(self, db: sqlite3.Connection, now: float) -> None:
        rows, octets = db.execute("SELECT rows, octets FROM total").fetchone()
        if rows <= self._most[0] and octets <= self._most[1]:
            return
        db.execute(_DEAD, {"now": now, "old": now - _FORGET})
        rows, octets = db.execute("SELECT rows, octets FROM total").fetchone()
        while rows and (rows > self._most[0] * _ROOM or octets > self._most[1] * _ROOM):
            db.execute(_LEAST, {"count": max(1, rows // 50)})
            rows, octets = db.execute("SELECT rows, octets FROM total").fetchone()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        """For one statement. Raises OSError."""
        with self._lock:
            try:
                yield self._open()
            except sqlite3.Error as trouble:
                damaged = isinstance(trouble, sqlite3.DatabaseError) and not isinstance(trouble, _PASSING)
                self._drop(damaged=damaged)
                raise OSError(f"{self._path}: {trouble}") from None

    @contextlib.contextmanager
    def _writing(self) -> Iterator[sqlite3.Connection]:
        """A transaction, durable once left without an exception. Raises OSError."""
        with self._reading() as db:
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                with contextlib.suppress(sqlite3.Error):
                    db.execute("ROLLBACK")
                raise

    def _open(self) -> sqlite3.Connection:
        if self._db is not None and self._owner == os.getpid():
            return self._db
        self._path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        db = sqlite3.connect(self._path, isolation_level=None, timeout=5.0, check_same_thread=False)
        # A connection that came with a fork is let be: closing it would end the locks of the process it belongs to.
        self._db, self._owner, self._file = db, os.getpid(), self._inode()
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version == 0:
            self._make(db)
        elif version > _VERSION:
            raise sqlite3.OperationalError(f"a newer version wrote it (format {version}); delete it to begin anew")
        return db

    def _make(self, db: sqlite3.Connection) -> None:
        db.execute("BEGIN IMMEDIATE")
        (version,) = db.execute("PRAGMA user_version").fetchone()
        if version == 0:  # another process may have been quicker
            for statement in _TABLES:
                db.execute(statement)
        db.execute("COMMIT")

    def _inode(self) -> int:
        try:
            return self._path.stat().st_ino
        except OSError:
            return 0

    def _drop(self, *, damaged: bool = False) -> None:
        """Close the connection. A damaged file is set aside, for it would deny every policy for good."""
        if self._db is not None and self._owner == os.getpid():
            with contextlib.suppress(sqlite3.Error):
                self._db.close()
            if damaged and self._inode() == self._file:  # else another process has done it already
                with contextlib.suppress(OSError):
                    self._path.replace(self._path.with_name(f"{self._path.name}.damaged"))
                    for ending in ("-wal", "-shm"):
                        self._path.with_name(self._path.name + ending).unlink(missing_ok=True)
        self._db = None


def _kept(row: tuple[str, str, str, str, str, float, float, float, str, float, str]) -> KeptSts:
    domain, name, mode, mx, text, until, fetched, failed, why, busy, word = row
    policy = None
    if fetched:
        with contextlib.suppress(ValueError):
            policy = StsPolicy(domain, StsMode(mode), tuple(mx.split()), name, until, tuple(text.splitlines()))
    return KeptSts(domain, policy, fetched, failed, why, busy, word)
