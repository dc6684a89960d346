"""Counts that will be reports of ours: by organisation, day and domain, closed when a report is made of them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterable
from typing import Any

import msgspec

from lockgate.mail.reports.aggregate import Row
from lockgate.mail.reports.counted import DAY, Batch, Period, Seen
from lockgate.storage.own_file import OwnFile

MOST_ROWS = 5_000
"""Different rows of one report; further messages are counted without theirs."""

MOST_DOMAINS = 5_000
"""Domains that are reported on for one organisation and day; whoever forges more is not counted."""

_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE = msgspec.msgpack.Decoder(Row).decode
_COLUMNS = "organisation,day,domain,report,published,begun,ended,messages,beyond,tries,done,outcome"


class Gathering:
    """What was counted. All methods block and raise sqlite3.Error, OSError."""

    def __init__(self, file: OwnFile) -> None:
        self._file = file

    def take(self, batches: Iterable[tuple[str, Batch]]) -> None:
        """Add these; a file whose name was taken before is not added again."""
        with self._file.writing() as db:
            for name, batch in batches:
                if db.execute("INSERT OR IGNORE INTO taken VALUES(?)", (name,)).rowcount == 0:
                    continue
                for one in batch.seen:
                    _add(db, one)
                db.executemany(
                    "INSERT INTO tls_result VALUES(?,?,?,?,?,?,?,?) ON CONFLICT DO UPDATE SET"
                    " count = count + excluded.count",
                    [(t.organisation, t.day, t.domain, t.kind, t.result, t.receiving_mx, t.sending_ip, t.count)
                     for t in batch.tls],
                )  # fmt: skip
                db.executemany(
                    "INSERT OR REPLACE INTO tls_published VALUES(?,?,?,?,?)",
                    [(p.organisation, p.day, p.domain, p.kind, json.dumps(p.policy)) for p in batch.published],
                )

    def forget(self, names: Iterable[str]) -> None:
        """These files are gone."""
        with self._file.writing() as db:
            db.executemany("DELETE FROM taken WHERE name = ?", [(name,) for name in names])

    def may_tell(self, organisation: str, domain: str, hour: int, most: int) -> bool:
        """Count one failure report about a domain, if fewer than `most` have gone out in this hour."""
        with self._file.writing() as db:
            db.execute("DELETE FROM told WHERE hour < ?", (hour - 1,))
            values = (organisation, domain, hour)
            db.execute("INSERT OR IGNORE INTO told VALUES(?,?,?,0)", values)
            changed = db.execute(
                "UPDATE told SET count = count + 1 WHERE organisation=? AND domain=? AND hour=? AND count < ?",
                (*values, most),
            )
            return changed.rowcount == 1

    def due(self, now: float, most: int) -> list[Period]:
        """What can be sent: days that are over, and reports that were tried before and may be tried again."""
        with self._file.reading() as db:
            query = f"SELECT {_COLUMNS} FROM period WHERE done = 0 AND next <= ? AND (report != '' OR day < ?)"
            rows = db.execute(f"{query} ORDER BY next, day LIMIT ?", (now, int(now) // DAY, most)).fetchall()
        return [_period(row) for row in rows]

    def find(
        self, organisation: str = "", domain: str = "", day: int | None = None, most: int = 1000, *, below: bool = False
    ) -> list[Period]:
        """Reports that were or will be sent, the latest first; `below`: about domains below this one as well."""
        where, values = ["1"], list[Any]()
        name = "lockgate_below(domain, ?)" if below else "domain = ?"
        for condition, value in (("organisation = ?", organisation), (name, domain), ("day = ?", day)):
            if value not in ("", None):
                where.append(condition)
                values.append(value)
        query = f"SELECT {_COLUMNS} FROM period WHERE {' AND '.join(where)} ORDER BY day DESC, domain, begun LIMIT ?"
        with self._file.reading() as db:
            return [_period(row) for row in db.execute(query, (*values, most))]

    def named(self, report: str) -> Period | None:
        """The report with this id."""
        with self._file.reading() as db:
            row = db.execute(f"SELECT {_COLUMNS} FROM period WHERE report = ? AND report != ''", (report,)).fetchone()
        return _period(row) if row is not None else None

    def close(self, period: Period, report: str, now: float) -> Period:
        """Give an open period its report's id; what is counted from now on belongs to a later one."""
        key = (period.organisation, period.day, period.domain)
        end = min((period.day + 1) * DAY - 1, int(now))
        with self._file.writing() as db:
            db.execute(
                "UPDATE gathered SET report = ? WHERE organisation=? AND day=? AND domain=? AND report=''",
                (report, *key),
            )
            db.execute(
                "UPDATE period SET report = ?, ended = ? WHERE organisation=? AND day=? AND domain=? AND report=''",
                (report, max(end, period.begin), *key),
            )
        return next(one for one in self.find(*_named(period)) if one.report == report)

    def rows(self, period: Period) -> tuple[Row, ...]:
        """Its rows, the most frequent first."""
        key = (period.organisation, period.day, period.domain, period.report)
        with self._file.reading() as db:
            query = "SELECT row, count FROM gathered WHERE organisation=? AND day=? AND domain=? AND report=?"
            found = db.execute(f"{query} ORDER BY count DESC, row", key).fetchall()
        return tuple([msgspec.structs.replace(_DECODE(row), count=count) for row, count in found])

    def tried(self, period: Period, again: float, outcome: Iterable[str]) -> None:
        """It could not be sent now; it is tried again then."""
        self._set(period, "tries = tries + 1, next = ?, outcome = ?", again, json.dumps(list(outcome)))

    def finished(self, period: Period, at: float, outcome: Iterable[str]) -> None:
        """It was sent, or never will be."""
        self._set(period, "done = ?, outcome = ?", at, json.dumps(list(outcome)))

    def _set(self, period: Period, what: str, *values: Any) -> None:
        key = (period.organisation, period.day, period.domain, period.report)
        with self._file.writing() as db:
            db.execute(
                f"UPDATE period SET {what} WHERE organisation=? AND day=? AND domain=? AND report=?", (*values, *key)
            )

    def tls(self, organisation: str = "", domain: str = "", since: float = 0.0) -> list[dict[str, Any]]:
        """TLS results of our own deliveries, by day."""
        query = (
            "SELECT organisation, day, domain, kind, result, mx, sender, count FROM tls_result WHERE"
            " (?1 = '' OR organisation = ?1) AND (?2 = '' OR lockgate_below(domain, ?2)) AND day >= ?3"
            " ORDER BY day DESC, count DESC LIMIT 10000"
        )
        names = ("organisation", "day", "domain", "kind", "result", "receiving_mx", "sending_ip", "count")
        with self._file.reading() as db:
            return [
                dict(zip(names, row, strict=True)) for row in db.execute(query, (organisation, domain, since // DAY))
            ]

    def prune(self, now: float, life: Callable[[str], float]) -> int:
        """Delete what is older than its organisation keeps reports; how many periods."""
        gone = 0
        with self._file.writing() as db:
            for (organisation,) in db.execute(
                "SELECT organisation FROM period UNION SELECT organisation FROM tls_result"
            ).fetchall():
                before = (organisation, int(now - life(organisation)) // DAY)
                gone += db.execute("DELETE FROM period WHERE organisation=? AND day < ?", before).rowcount
                db.execute("DELETE FROM gathered WHERE organisation=? AND day < ?", before)
                for table in ("tls_result", "tls_published", "tls_period"):
                    db.execute(f"DELETE FROM {table} WHERE organisation=? AND day < ?", before)
        return gone


def _add(db: sqlite3.Connection, one: Seen) -> None:
    key = (one.organisation, one.day, one.domain)
    found = db.execute("SELECT rows FROM period WHERE organisation=? AND day=? AND domain=? AND report=''", key)
    known = found.fetchone()
    if known is None:
        query = "SELECT count(*), max(ended) FILTER (WHERE domain = ?3) FROM period WHERE organisation=?1 AND day=?2"
        domains, ended = db.execute(query, key).fetchone()
        if domains >= MOST_DOMAINS:
            return
        begun = min(max(one.day * DAY, (ended or 0) + 1), (one.day + 1) * DAY - 1)
        db.execute(
            "INSERT INTO period(organisation,day,domain,report,published,rows,messages,beyond,begun,ended)"
            " VALUES(?,?,?,'',?,0,0,0,?,?)",
            (*key, one.published, begun, (one.day + 1) * DAY - 1),
        )
        known = (0,)
    new = beyond = 0
    if one.row is None:
        beyond = one.count
    else:
        row = _ENCODE(msgspec.structs.replace(one.row, count=1))
        changed = db.execute(
            "UPDATE gathered SET count = count + ? WHERE organisation=? AND day=? AND domain=? AND report='' AND row=?",
            (one.count, *key, row),
        )
        if changed.rowcount == 0 and known[0] >= MOST_ROWS:
            beyond = one.count
        elif changed.rowcount == 0:
            new = 1
            db.execute("INSERT INTO gathered VALUES(?,?,?,'',?,?)", (*key, row, one.count))
    db.execute(
        "UPDATE period SET rows = rows + ?, messages = messages + ?, beyond = beyond + ?,"
        " published = CASE ? WHEN '' THEN published ELSE ? END"
        " WHERE organisation=? AND day=? AND domain=? AND report=''",
        (new, one.count, beyond, one.published, one.published, *key),
    )


def _named(period: Period) -> tuple[str, str, int]:
    return period.organisation, period.domain, period.day


def _period(row: tuple[Any, ...]) -> Period:
    organisation, day, domain, report, published, begun, ended, messages, beyond, tries, done, outcome = row
    told = tuple(json.loads(outcome))
    return Period(organisation, day, domain, report, published, begun, ended, messages, beyond, tries, done, told)
