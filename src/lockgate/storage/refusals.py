"""Refusals before 250: a bounded number of full rows, then counters; never synced, in a file of their own."""

from __future__ import annotations

import contextlib
import ipaddress
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec

from lockgate.mail.task import Refusal
from lockgate.storage.kept import Lives

_TABLES = """
CREATE TABLE IF NOT EXISTS refusal(at REAL, id TEXT, organisation TEXT, point TEXT, peer TEXT, helo TEXT, sender TEXT,
    recipient TEXT, reply TEXT, reason TEXT, connector TEXT, tls TEXT, revision INTEGER, story BLOB);
CREATE INDEX IF NOT EXISTS refusal_by_time ON refusal(at);
CREATE INDEX IF NOT EXISTS refusal_by_id ON refusal(id COLLATE NOCASE);
CREATE TABLE IF NOT EXISTS counted(hour INTEGER, network TEXT, reason TEXT, organisation TEXT, n INTEGER,
    PRIMARY KEY(hour, network, reason, organisation)) WITHOUT ROWID;
"""
MOST_KEYS = 20_000
"""Networks and reasons told apart within an hour; more are counted together, so that memory is bounded."""

OTHERS = "others"


class Counted(msgspec.Struct, frozen=True, tag="counted"):
    """Refusals that got no row of their own any more."""

    hour: int
    network: str
    reason: str
    organisation: str
    n: int


class Full(msgspec.Struct, frozen=True, tag="full"):
    """A refusal with everything about it."""

    row: Refusal


Told = Counted | Full
_TOLD = msgspec.msgpack.Decoder(Told)


def network_of(peer: str) -> str:
    """The peer's network: /24 for IPv4, /64 for IPv6 (DESIGN 4)."""
    try:
        address = ipaddress.ip_address(peer)
    except ValueError:
        return OTHERS
    width = 24 if address.version == 4 else 64
    return str(ipaddress.ip_network((address, width), strict=False))


def _key(row: Refusal) -> tuple[int, str, str, str]:
    reason = f"{row.point} {' '.join(row.reply.split(' ', 2)[:2])} {row.reason.partition(':')[0]}"[:120]
    return int(row.at // 3600), network_of(row.peer), reason, row.organisation


class Tally:
    """Which refusals get a row, and how many did not. At most MOST_KEYS keys an hour."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._hour = 0
        self._seen: dict[tuple[int, str, str, str], int] = {}
        self._extra: dict[tuple[int, str, str, str], int] = {}

    def full(self, row: Refusal) -> bool:
        """Whether this one gets a row; otherwise it is counted."""
        key = _key(row)
        if key[0] != self._hour:
            self._hour, self._seen = key[0], {}
        seen = self._seen.get(key)
        if seen is None and len(self._seen) >= MOST_KEYS:
            key = (key[0], OTHERS, key[2][:40], "")
            if key not in self._extra and len(self._extra) >= MOST_KEYS:
                key = (key[0], OTHERS, OTHERS, "")
            seen = self._most
        else:
            self._seen[key] = (seen or 0) + 1
        if (seen or 0) < self._most:
            return True
        self._extra[key] = self._extra.get(key, 0) + 1
        return False

    def take(self) -> list[Counted]:
        """What was counted since the last call."""
        extra, self._extra = self._extra, {}
        return [Counted(*key, n) for key, n in extra.items()]


class RefusalBook:
    """The keeper's side: a file with `synchronous=OFF`, written at most thrice a second, with a cap on its size."""

    def __init__(self, folder: Path, most: int, size: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / "refusals.sqlite"
        self._size = size
        self._tally = Tally(most)
        self._rows: list[tuple[Any, ...]] = []
        self._counts: list[tuple[Any, ...]] = []
        self._written = 0.0
        self._forgot = 0.0
        self._dropped = 0
        self._db = self._open()

    def _open(self) -> sqlite3.Connection | None:
        """The file; one that is damaged gives way to a new one, for these rows are not worth a stop."""
        for _ in (1, 2):
            try:
                db = sqlite3.connect(self._path, isolation_level=None, check_same_thread=False)
                db.execute("PRAGMA journal_mode = WAL")
                db.execute("PRAGMA synchronous = OFF")
                db.execute("PRAGMA auto_vacuum = NONE")
                db.execute("PRAGMA secure_delete = ON")
                db.executescript(_TABLES)
            except sqlite3.Error:
                with contextlib.suppress(OSError):
                    self._path.unlink()
            else:
                return db
        return None

    def take(self, packed: bytes) -> None:
        """One frame of a worker; what cannot be read or does not fit is dropped."""
        try:
            told = _TOLD.decode(packed)
        except msgspec.MsgspecError:
            return
        match told:
            case Counted(hour, network, reason, organisation, n):
                self._counts.append((hour, network, reason, organisation, n))
            case Full(row) if len(self._rows) < 10_000 and self._tally.full(row):
                self._rows.append(msgspec.structs.astuple(row))
            case _:
                pass

    @property
    def waiting(self) -> bool:
        """Whether something was taken that is not written yet."""
        return bool(self._rows or self._counts)

    def flush(self, now: float) -> None:
        """Write what has come, at most three times a second. Never raises."""
        if 0 <= now - self._written < 0.3 or self._db is None:
            return
        self._written = now
        self._counts += [(c.hour, c.network, c.reason, c.organisation, c.n) for c in self._tally.take()]
        if not self._rows and not self._counts:
            return
        rows, self._rows, counts, self._counts = self._rows, [], self._counts, []
        try:
            self._db.execute("BEGIN")
            self._db.executemany(f"INSERT INTO refusal VALUES({','.join('?' * 14)})", rows)
            self._db.executemany(
                "INSERT INTO counted VALUES(?,?,?,?,?) ON CONFLICT DO UPDATE SET n = n + excluded.n", counts
            )
            self._db.execute("COMMIT")
            self._keep_small()
        except sqlite3.Error:
            with contextlib.suppress(sqlite3.Error):
                self._db.execute("ROLLBACK")

    def _keep_small(self) -> None:
        """At the cap the oldest tenth goes; freed pages are used again."""
        if self._db is None:
            return
        (pages,) = self._db.execute("PRAGMA page_count").fetchone()
        (free,) = self._db.execute("PRAGMA freelist_count").fetchone()
        (page,) = self._db.execute("PRAGMA page_size").fetchone()
        if (pages - free) * page > self._size:
            self._db.execute(
                "DELETE FROM refusal WHERE rowid IN (SELECT rowid FROM refusal ORDER BY at"
                " LIMIT (SELECT count(*) / 10 + 1 FROM refusal))"
            )
            self._db.execute("DELETE FROM counted WHERE hour < (SELECT max(hour) - 24 * 7 FROM counted)")

    def forget(self, now: float, lives: Lives) -> None:
        """Once an hour: remove rows whose organisation does not keep them any longer. Never raises."""
        if 0 <= now - self._forgot < 3600 or self._db is None:
            return
        self._forgot = now
        own = ["", *lives.organisations()]
        with contextlib.suppress(sqlite3.Error):
            for name in own:
                query = "DELETE FROM refusal WHERE at < ? AND organisation = ?"
                self._db.execute(query, (now - lives(name).life, name))
            others = f"organisation NOT IN ({','.join('?' * len(own))})"
            self._db.execute(f"DELETE FROM refusal WHERE at < ? AND {others}", (now - lives("\0").life, *own))

    def close(self) -> None:
        """Write the rest and end."""
        self._written = float("-inf")
        self.flush(0.0)
        if self._db is not None:
            self._db.close()


def find_refusals(path: Path, where: str, values: tuple[Any, ...], limit: int) -> list[Mapping[str, Any]]:
    """Refusal rows, newest first; () if there is no file yet."""
    if not path.exists():
        return []
    db = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=1.0)
    try:
        db.row_factory = sqlite3.Row
        return [dict(row) for row in db.execute(f"SELECT * FROM refusal WHERE {where} ORDER BY at DESC LIMIT ?",
                                                (*values, limit))]  # fmt: skip
    finally:
        db.close()
