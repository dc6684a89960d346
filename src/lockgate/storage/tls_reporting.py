"""TLS sessions that will be reports of ours (RFC 8460): by organisation, day and policy domain.

A report holds what was counted until it was made; what is counted afterwards, of the same day too, belongs to a later
one. So what is still to be told of a day is what was counted, less what its reports hold.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from lockgate.mail.reports.counted import DAY, Period, TlsPublished, TlsSeen
from lockgate.storage.own_file import OwnFile

DAYS = 3
"""So many days back a day is looked at that has not been reported."""

_ENCODE = msgspec.msgpack.Encoder().encode
_DECODE = msgspec.msgpack.Decoder(tuple[TlsSeen, ...]).decode
_COLUMNS = "organisation, day, domain, report, begun, ended, sessions, tries, done, outcome"
_OPEN = """
SELECT organisation, day, domain, sum(count) - coalesce((SELECT sum(p.sessions) FROM tls_period p WHERE
    p.organisation = t.organisation AND p.day = t.day AND p.domain = t.domain), 0) AS left
FROM tls_result t WHERE day >= ?1 AND day < ?2 AND (?3 = '' OR organisation = ?3)
    AND (?4 = '' OR lockgate_below(domain, ?4))
GROUP BY organisation, day, domain HAVING left > 0 ORDER BY day DESC, domain LIMIT ?5
"""


class TlsReporting:
    """What was counted of sessions and told. All methods block and raise sqlite3.Error, OSError."""

    def __init__(self, file: OwnFile) -> None:
        self._file = file

    def due(self, now: float, most: int) -> list[Period]:
        """Days that are over and not told, and reports whose next attempt is due."""
        with self._file.reading() as db:
            query = f"SELECT {_COLUMNS} FROM tls_period WHERE done = 0 AND next <= ? ORDER BY next LIMIT ?"
            begun = [_period(row) for row in db.execute(query, (now, most))]
        today = int(now) // DAY
        return begun + self._open(today - DAYS, today, "", "", most)

    def find(self, organisation: str = "", domain: str = "", day: int | None = None, most: int = 1000) -> list[Period]:
        """Reports that were or will be made, the latest first; about domains below this one as well."""
        first, last = (0, 1 << 40) if day is None else (day, day + 1)
        query = (
            f"SELECT {_COLUMNS} FROM tls_period WHERE (?1 = '' OR organisation = ?1) AND"
            " (?2 = '' OR lockgate_below(domain, ?2)) AND day >= ?3 AND day < ?4"
            " ORDER BY day DESC, domain, begun LIMIT ?5"
        )
        with self._file.reading() as db:
            made = [_period(row) for row in db.execute(query, (organisation, domain, first, last, most))]
        return (self._open(first, last, organisation, domain, most) + made)[:most]

    def named(self, report: str) -> Period | None:
        """The report with this id."""
        with self._file.reading() as db:
            row = db.execute(f"SELECT {_COLUMNS} FROM tls_period WHERE report = ?", (report,)).fetchone()
        return _period(row) if row is not None else None

    def close(self, period: Period, report: str, now: float) -> Period:
        """Make it a report with this id, of all that was counted and not told; what is counted now on is for later."""
        key = (period.organisation, period.day, period.domain)
        end = max(min((period.day + 1) * DAY - 1, int(now)), period.day * DAY)
        with self._file.writing() as db:
            query = "SELECT ended FROM tls_period WHERE organisation=? AND day=? AND domain=?"
            earlier = [ended for (ended,) in db.execute(query, key)]
            begin = min(max([period.day * DAY, *[ended + 1 for ended in earlier]]), end)
            rows = self._left(db, key)
            sessions = sum(row.count for row in rows)
            values = (*key, report, begin, end, sessions, _ENCODE(rows))
            db.execute(
                "INSERT INTO tls_period(organisation,day,domain,report,begun,ended,sessions,rows)"
                " VALUES(?,?,?,?,?,?,?,?)",
                values,
            )
        return Period(*key, report, "", begin, end, sessions)

    def rows(self, period: Period) -> tuple[TlsSeen, ...]:
        """What it holds, or what it would hold if it were made now; the most frequent first."""
        key = (period.organisation, period.day, period.domain)
        with self._file.reading() as db:
            if not period.report:
                return self._left(db, key)
            query = "SELECT rows FROM tls_period WHERE organisation=? AND day=? AND domain=? AND report=?"
            found = db.execute(query, (*key, period.report)).fetchone()
        return _DECODE(found[0]) if found is not None else ()

    def published(self, period: Period) -> tuple[TlsPublished, ...]:
        """What the domain had published on that day."""
        key = (period.organisation, period.day, period.domain)
        with self._file.reading() as db:
            query = "SELECT kind, policy FROM tls_published WHERE organisation=? AND day=? AND domain=?"
            return tuple([TlsPublished(*key, kind, tuple(json.loads(text))) for kind, text in db.execute(query, key)])

    def tried(self, period: Period, again: float, outcome: Iterable[str]) -> None:
        """It could not be sent now; it is tried again then."""
        self._set(period, "tries = tries + 1, next = ?, outcome = ?", again, json.dumps(list(outcome)))

    def finished(self, period: Period, at: float, outcome: Iterable[str]) -> None:
        """It was sent, or never will be."""
        self._set(period, "done = ?, outcome = ?", at, json.dumps(list(outcome)))

    def _open(self, first: int, last: int, organisation: str, domain: str, most: int) -> list[Period]:
        with self._file.reading() as db:
            found = db.execute(_OPEN, (first, last, organisation, domain, most)).fetchall()
        return [
            Period(mine, day, name, "", "", day * DAY, (day + 1) * DAY - 1, left) for mine, day, name, left in found
        ]

    def _left(self, db: Any, key: tuple[str, int, str]) -> tuple[TlsSeen, ...]:
        where = "organisation=? AND day=? AND domain=?"
        counted = {
            TlsSeen(*key, kind, result, mx, sender): count
            for kind, result, mx, sender, count in db.execute(
                f"SELECT kind, result, mx, sender, count FROM tls_result WHERE {where}", key
            )
        }
        for (rows,) in db.execute(f"SELECT rows FROM tls_period WHERE {where}", key):
            for row in _DECODE(rows):
                one = msgspec.structs.replace(row, count=1)
                counted[one] = counted.get(one, 0) - row.count
        left = [msgspec.structs.replace(one, count=count) for one, count in counted.items() if count > 0]
        return tuple(sorted(left, key=lambda row: (-row.count, row.kind, row.result, row.receiving_mx)))

    def _set(self, period: Period, what: str, *values: Any) -> None:
        key = (period.organisation, period.day, period.domain, period.report)
        with self._file.writing() as db:
            where = "organisation=? AND day=? AND domain=? AND report=?"
            db.execute(f"UPDATE tls_period SET {what} WHERE {where}", (*values, *key))


def _period(row: tuple[Any, ...]) -> Period:
    organisation, day, domain, report, begun, ended, sessions, tries, done, outcome = row
    told = tuple(json.loads(outcome))
    return Period(
        organisation, day, domain, report, "", begun, ended, sessions, tries=tries, done=done, outcome=told
    )
