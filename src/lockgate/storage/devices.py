"""Devices and the traffic of own-server connectors, as they were counted: a small SQLite that one process writes."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from lockgate.mail.devices import DeviceBatch, DeviceSeen, Traffic
from lockgate.storage.own_file import OwnFile, Plan

MOST_DEVICES = 5_000
"""Devices of one organisation; those that only were refused, longest ago, go first."""

MOST_SENDERS = 50
"""Senders of one device that are told apart."""

HISTORY = 30 * 86400
"""Seconds for which the traffic of connectors is kept, to compare with."""

_TABLES = """
CREATE TABLE taken(name TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE device(
    organisation TEXT NOT NULL, host TEXT NOT NULL, way TEXT NOT NULL, connector TEXT NOT NULL, helo TEXT NOT NULL,
    tls TEXT NOT NULL, messages INTEGER NOT NULL, inside INTEGER NOT NULL, outside INTEGER NOT NULL,
    others INTEGER NOT NULL, refused INTEGER NOT NULL, bare_refused INTEGER NOT NULL, mended INTEGER NOT NULL,
    first_seen REAL NOT NULL, last_seen REAL NOT NULL, last_taken REAL NOT NULL, last_refused REAL NOT NULL,
    refusal TEXT NOT NULL, refusal_id TEXT NOT NULL, more_senders INTEGER NOT NULL,
    PRIMARY KEY(organisation, host)) WITHOUT ROWID;
CREATE INDEX device_by_time ON device(organisation, last_seen);
CREATE TABLE sender(
    organisation TEXT NOT NULL, host TEXT NOT NULL, address TEXT NOT NULL, messages INTEGER NOT NULL,
    PRIMARY KEY(organisation, host, address)) WITHOUT ROWID;
CREATE TABLE traffic(
    organisation TEXT NOT NULL, connector TEXT NOT NULL, at INTEGER NOT NULL, messages INTEGER NOT NULL,
    outside INTEGER NOT NULL, mismatched INTEGER NOT NULL, unregistered INTEGER NOT NULL,
    PRIMARY KEY(organisation, connector, at)) WITHOUT ROWID;
"""
_COLUMNS = (
    "organisation", "host", "way", "connector", "helo", "tls", "messages", "inside", "outside", "others", "refused",
    "bare_refused", "mended", "first_seen", "last_seen", "last_taken", "last_refused", "refusal", "refusal_id",
    "more_senders",
)  # fmt: skip
_ADDED = ("messages", "inside", "outside", "others", "refused", "bare_refused", "mended")
_LATEST = ("last_seen", "last_taken", "last_refused")
_ADD = (
    f"INSERT INTO device({','.join(_COLUMNS)}) VALUES({','.join('?' * len(_COLUMNS))})"
    " ON CONFLICT DO UPDATE SET "
    + ", ".join(f"{one} = {one} + excluded.{one}" for one in (*_ADDED, "more_senders"))
    + ", first_seen = min(first_seen, excluded.first_seen)"
    + "".join(f", {one} = max({one}, excluded.{one})" for one in _LATEST)
    + ", connector = CASE excluded.connector WHEN '' THEN connector ELSE excluded.connector END"
    # what was refused does not say how a device sends that is otherwise taken
    + "".join(
        f", {one} = CASE WHEN excluded.last_taken = 0 AND last_taken > 0 OR excluded.last_seen < last_seen"
        f" THEN {one} ELSE excluded.{one} END"
        for one in ("way", "helo", "tls")
    )
    + "".join(
        f", {one} = CASE WHEN excluded.last_refused >= last_refused AND excluded.refused > 0"
        f" THEN excluded.{one} ELSE {one} END"
        for one in ("refusal", "refusal_id")
    )
)


class NewerDevices(Exception):
    """The file was written by a newer version; the message says what to do."""


_PLAN = Plan(1, _TABLES, NewerDevices, durable=False, erases=True)

NOT_KEPT = (sqlite3.Error, OSError, NewerDevices)
"""What looking and writing may raise."""


class DeviceBook:
    """What was counted, below `folder`. All methods block and raise what NOT_KEPT names."""

    def __init__(self, folder: Path) -> None:
        self._file = OwnFile(folder / "devices.sqlite", _PLAN)

    def take(self, batches: Iterable[tuple[str, DeviceBatch]]) -> None:
        """Add these; a file whose name was taken before is not added again."""
        with self._file.writing() as db:
            for name, batch in batches:
                if db.execute("INSERT OR IGNORE INTO taken VALUES(?)", (name,)).rowcount == 0:
                    continue
                for one in batch.devices:
                    _add(db, one)
                for organisation in {one.organisation for one in batch.devices}:
                    _bound(db, organisation)
                db.executemany(
                    "INSERT INTO traffic VALUES(?,?,?,?,?,?,?) ON CONFLICT DO UPDATE SET"
                    " messages = messages + excluded.messages, outside = outside + excluded.outside,"
                    " mismatched = mismatched + excluded.mismatched,"
                    " unregistered = unregistered + excluded.unregistered",
                    [(t.organisation, t.connector, t.at, t.messages, t.outside, t.mismatched, t.unregistered)
                     for t in batch.traffic],
                )  # fmt: skip

    def forget(self, names: Iterable[str]) -> None:
        """These files are gone."""
        with self._file.writing() as db:
            db.executemany("DELETE FROM taken WHERE name = ?", [(name,) for name in names])

    def devices(self, organisation: str = "", limit: int = MOST_DEVICES) -> list[dict[str, Any]]:
        """Devices without their senders, the latest first."""
        query = f"SELECT {','.join(_COLUMNS)} FROM device WHERE ?1 = '' OR organisation = ?1"
        with self._file.reading() as db:
            rows = db.execute(f"{query} ORDER BY last_seen DESC, host LIMIT ?2", (organisation, limit)).fetchall()
        return [dict(zip(_COLUMNS, row, strict=True)) for row in rows]

    def device(self, host: str, organisation: str = "") -> list[dict[str, Any]]:
        """One host with its senders, for each organisation that it sends for."""
        query = f"SELECT {','.join(_COLUMNS)} FROM device WHERE host = ?1 AND (?2 = '' OR organisation = ?2)"
        found = []
        with self._file.reading() as db:
            for row in db.execute(query, (host, organisation)).fetchall():
                device = dict(zip(_COLUMNS, row, strict=True))
                senders = db.execute(
                    "SELECT address, messages FROM sender WHERE organisation = ? AND host = ?"
                    " ORDER BY messages DESC, address", (device["organisation"], host),
                ).fetchall()  # fmt: skip
                device["senders"] = [{"address": address, "messages": count} for address, count in senders]
                found.append(device)
        return found

    def connectors(self, since: float) -> list[tuple[str, str]]:
        """Organisation and name of the connectors with traffic since then."""
        with self._file.reading() as db:
            query = "SELECT DISTINCT organisation, connector FROM traffic WHERE at >= ? AND messages > 0"
            return [(row[0], row[1]) for row in db.execute(query, (int(since),))]

    def traffic(self, organisation: str, connector: str, since: float, until: float = 1e15) -> list[Traffic]:
        """Its traffic in buckets that begin within this time, in order."""
        with self._file.reading() as db:
            query = "SELECT * FROM traffic WHERE organisation = ? AND connector = ? AND at >= ? AND at < ? ORDER BY at"
            return [Traffic(*row) for row in db.execute(query, (organisation, connector, int(since), int(until)))]

    def prune(self, now: float, life: Callable[[str], float | None]) -> int:
        """Delete what is older than it may get; `life` is None for who wants nothing kept. How many devices went."""
        with self._file.writing() as db:
            db.execute("DELETE FROM traffic WHERE at < ?", (int(now - HISTORY),))
            gone = 0
            for (organisation,) in db.execute("SELECT DISTINCT organisation FROM device").fetchall():
                wished = life(organisation)
                before = now + 1 if wished is None else now - wished
                query = "DELETE FROM device WHERE organisation = ? AND last_seen < ?"
                gone += db.execute(query, (organisation, before)).rowcount
                gone += _bound(db, organisation)
            db.execute(
                "DELETE FROM sender WHERE NOT EXISTS (SELECT 1 FROM device WHERE"
                " device.organisation = sender.organisation AND device.host = sender.host)"
            )
        return gone


def _add(db: sqlite3.Connection, one: DeviceSeen) -> None:
    known = {row[0] for row in db.execute(
        "SELECT address FROM sender WHERE organisation = ? AND host = ?", (one.organisation, one.host))}  # fmt: skip
    more = one.more_senders
    for address, count in one.senders.items():
        if address not in known and len(known) >= MOST_SENDERS:
            more += count
            continue
        known.add(address)
        db.execute(
            "INSERT INTO sender VALUES(?,?,?,?) ON CONFLICT DO UPDATE SET messages = messages + excluded.messages",
            (one.organisation, one.host, address, count),
        )
    db.execute(_ADD, (*[getattr(one, name) for name in _COLUMNS[:-1]], more))


def _bound(db: sqlite3.Connection, organisation: str) -> int:
    """Over the bound, those go first of which nothing was ever taken, the longest unseen first."""
    (count,) = db.execute("SELECT count(*) FROM device WHERE organisation = ?", (organisation,)).fetchone()
    if count <= MOST_DEVICES:
        return 0
    gone = db.execute(
        "DELETE FROM device WHERE organisation = ?1 AND host IN (SELECT host FROM device WHERE organisation = ?1"
        " ORDER BY messages > 0, last_seen LIMIT ?2)", (organisation, count - MOST_DEVICES),
    )  # fmt: skip
    return gone.rowcount
