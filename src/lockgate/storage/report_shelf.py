"""Reports that others sent: kept once each, counted by domain, source and result, and shown whole."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable
from typing import Any

import msgspec
import zstandard

from lockgate.mail.reports.aggregate import AggregateReport
from lockgate.mail.reports.carried import Reading
from lockgate.mail.reports.failure import FailureReport
from lockgate.mail.reports.tls import TlsReport
from lockgate.storage.own_file import OwnFile

MOST_A_DAY = 5_000
"""Reports that one organisation gets by mail within a day; whoever sends more is filling the disk."""

MOST_ROWS_A_DAY = 2_000_000
"""Rows of all these reports together."""

MOST_UNREAD = 1_000
"""Letters without a readable report that are remembered for one organisation."""

_LARGEST = 64 * 1024 * 1024
_LATEST = 4_102_444_800.0  # 2100: a stranger's date beyond it says nothing
_ENCODE = msgspec.json.Encoder().encode
_LISTED = "number,organisation,kind,reporter,report,domain,begun,ended,arrived,origin,messages,failing"
_NAMES = (
    "number", "organisation", "kind", "reporter", "report_id", "domain", "begin", "end", "arrived", "origin",
    "messages", "failing",
)  # fmt: skip


class Full(Exception):
    """The organisation has got as many reports today as are kept; the message says so."""


class Shelf:
    """What was received. All methods block and raise sqlite3.Error, OSError."""

    def __init__(self, file: OwnFile) -> None:
        self._file = file

    def add(self, organisation: str, reading: Reading, at: float, origin: str, *, bounded: bool = True) -> int:
        """Keep one report; its number, 0 if it is known already. `bounded`: it came by mail. Raises Full."""
        entry, rows = _entry(reading), _rows(reading)
        with self._file.writing() as db:
            if bounded:
                query = "SELECT count(*), coalesce(sum(rows), 0) FROM received WHERE organisation = ? AND arrived > ?"
                count, kept = db.execute(query, (organisation, at - 86400)).fetchone()
                if count >= MOST_A_DAY or kept + len(rows) > MOST_ROWS_A_DAY:
                    raise Full(f"{organisation} has got {count} reports within a day, and keeps no more")
            content = zstandard.ZstdCompressor(level=6).compress(_ENCODE(reading))
            done = db.execute(
                "INSERT OR IGNORE INTO received(organisation,kind,reporter,report,domain,begun,ended,arrived,origin,"
                "messages,failing,rows,content) VALUES(?,?,?,?,?,?,?,?,?,?,?,?,?)",
                (organisation, *entry, at, origin[:500], *_weight(reading), len(rows), content),
            )
            if done.rowcount == 0:
                return 0
            number = int(done.lastrowid or 0)
            table, marks = ("received_tls", 7) if reading.tls is not None else ("received_row", 6)
            insert = f"INSERT INTO {table} VALUES({','.join('?' * marks)})"
            db.executemany(insert, [(number, *key, min(count, 1 << 53)) for key, count in rows.items()])
        return number

    def knows(self, organisation: str, reading: Reading) -> bool:
        """Whether this report is here already."""
        kind, reporter, report, *_ = _entry(reading)
        with self._file.reading() as db:
            query = "SELECT 1 FROM received WHERE organisation=? AND kind=? AND reporter=? AND report=?"
            return db.execute(query, (organisation, kind, reporter, report)).fetchone() is not None

    def unread(self, organisation: str, at: float, origin: str, why: str) -> None:
        """Remember that something could not be read."""
        with self._file.writing() as db:
            values = (organisation, at, origin[:500], why[:500])
            db.execute("INSERT INTO unread(organisation,at,origin,why) VALUES(?,?,?,?)", values)
            db.execute(
                "DELETE FROM unread WHERE organisation = ?1 AND number <= (SELECT number FROM unread WHERE"
                " organisation = ?1 ORDER BY number DESC LIMIT 1 OFFSET ?2)",
                (organisation, MOST_UNREAD),
            )

    def unread_list(self, organisation: str, limit: int) -> list[dict[str, Any]]:
        """What could not be read, the latest first."""
        query = "SELECT organisation, at, origin, why FROM unread WHERE (?1 = '' OR organisation = ?1)"
        with self._file.reading() as db:
            found = db.execute(f"{query} ORDER BY number DESC LIMIT ?2", (organisation, limit))
            return [dict(zip(("organisation", "at", "origin", "why"), row, strict=True)) for row in found]

    def find(
        self, organisation: str = "", kind: str = "", domain: str = "", since: float = 0.0, limit: int = 100
    ) -> list[dict[str, Any]]:
        """Reports without their rows, the latest first; `since` looks at when they arrived."""
        query = (
            f"SELECT {_LISTED} FROM received WHERE (?1 = '' OR organisation = ?1) AND (?2 = '' OR kind = ?2)"
            " AND (?3 = '' OR lockgate_below(domain, ?3)) AND arrived >= ?4 ORDER BY number DESC LIMIT ?5"
        )
        with self._file.reading() as db:
            found = db.execute(query, (organisation, kind, domain, since, limit))
            return [dict(zip(_NAMES, row, strict=True)) for row in found]

    def show(self, number: int) -> tuple[dict[str, Any], Reading] | None:
        """One report, whole."""
        with self._file.reading() as db:
            found = db.execute(f"SELECT {_LISTED}, content FROM received WHERE number = ?", (number,)).fetchone()
        if found is None:
            return None
        plain = zstandard.ZstdDecompressor().decompress(found[-1], max_output_size=_LARGEST)
        return dict(zip(_NAMES, found[:-1], strict=True)), msgspec.json.decode(plain, type=Reading)

    def summary(
        self, organisation: str = "", domain: str = "", source: str = "", result: str = "", since: float = 0.0,
        limit: int = 1000,
    ) -> list[dict[str, Any]]:
        """Messages by domain, source and result, the most first; `since` looks at the end of what a report covers."""
        query = (
            "SELECT w.domain, w.source, w.result, sum(w.count), count(DISTINCT r.number),"
            " sum(w.count) FILTER (WHERE w.disposition = 'quarantine'),"
            " sum(w.count) FILTER (WHERE w.disposition = 'reject'), max(r.ended), count(DISTINCT r.reporter)"
            " FROM received_row w JOIN received r ON r.number = w.number"
            " WHERE (?1 = '' OR r.organisation = ?1) AND (?2 = '' OR lockgate_below(w.domain, ?2))"
            " AND (?3 = '' OR w.source = ?3) AND (?4 = '' OR w.result = ?4) AND r.ended >= ?5"
            " GROUP BY w.domain, w.source, w.result ORDER BY 4 DESC, 1, 2 LIMIT ?6"
        )
        names = (
            "domain", "source", "result", "messages", "reports", "quarantined", "rejected", "last_seen", "reporters",
        )  # fmt: skip
        with self._file.reading() as db:
            rows = db.execute(query, (organisation, domain, source, result, since, limit))
            return [{name: value or 0 if name in names[3:] else value for name, value in zip(names, row, strict=True)}
                    for row in rows]  # fmt: skip

    def tls(
        self, organisation: str = "", domain: str = "", since: float = 0.0, limit: int = 1000
    ) -> list[dict[str, Any]]:
        """Sessions by domain, kind of policy and result, out of received TLS reports."""
        query = (
            "SELECT w.domain, w.kind, w.result, w.mx, w.sender, sum(w.count), count(DISTINCT r.number), max(r.ended)"
            " FROM received_tls w JOIN received r ON r.number = w.number"
            " WHERE (?1 = '' OR r.organisation = ?1) AND (?2 = '' OR lockgate_below(w.domain, ?2)) AND r.ended >= ?3"
            " GROUP BY w.domain, w.kind, w.result, w.mx, w.sender ORDER BY 6 DESC, 1 LIMIT ?4"
        )
        names = ("domain", "kind", "result", "receiving_mx", "sending_ip", "sessions", "reports", "last_seen")
        with self._file.reading() as db:
            found = db.execute(query, (organisation, domain, since, limit))
            return [dict(zip(names, row, strict=True)) for row in found]

    def prune(self, now: float, life: Callable[[str], float]) -> int:
        """Delete what is older than its organisation keeps reports; how many."""
        gone = 0
        with self._file.writing() as db:
            organisations = db.execute("SELECT organisation FROM received UNION SELECT organisation FROM unread")
            for (organisation,) in organisations.fetchall():
                before = (organisation, now - life(organisation))
                old = "(SELECT number FROM received WHERE organisation = ? AND arrived < ?)"
                for table in ("received_row", "received_tls"):
                    db.execute(f"DELETE FROM {table} WHERE number IN {old}", before)
                gone += db.execute("DELETE FROM received WHERE organisation = ? AND arrived < ?", before).rowcount
                db.execute("DELETE FROM unread WHERE organisation = ? AND at < ?", before)
        return gone


def _entry(reading: Reading) -> tuple[str, str, str, str, float, float]:
    """kind, reporter, report id, domain, begin and end. A report without an id is known by what it says."""
    match reading:
        case Reading(aggregate=AggregateReport() as one):
            domain, begin, end = one.published.domain, float(one.begin), float(one.end)
            return "aggregate", one.organisation, one.report_id or _digest(one), domain, _sane(begin), _sane(end)
        case Reading(failure=FailureReport() as one):
            return "failure", one.reporter, one.report_id or _digest(one), one.domain, 0.0, 0.0
        case Reading(tls=TlsReport() as one):
            domain = one.policies[0].domain if one.policies else ""
            begin, end = _sane(one.began), _sane(one.ended)
            return "tls", one.organisation, one.report_id or _digest(one), domain, begin, end
    raise ValueError("there is no report in it")


def _digest(report: msgspec.Struct) -> str:
    return hashlib.sha256(_ENCODE(report)).hexdigest()[:32]


def _sane(moment: float) -> float:
    return moment if 0 <= moment < _LATEST else 0.0


def _weight(reading: Reading) -> tuple[int, int]:
    """Messages (or sessions) in all, and those of them that failed; what cannot be right counts as nothing."""
    messages = failing = 0
    if reading.aggregate is not None:
        messages = sum(row.count for row in reading.aggregate.rows)
        failing = sum(row.count for row in reading.aggregate.rows if result_of(row.dkim, row.spf) == "fail")
    elif reading.failure is not None:
        messages = failing = reading.failure.incidents
    elif reading.tls is not None:
        failing = sum(policy.bad for policy in reading.tls.policies)
        messages = failing + sum(policy.good for policy in reading.tls.policies)
    return min(messages, 1 << 60), min(failing, 1 << 60)


def result_of(dkim: str, spf: str) -> str:
    """What DMARC came to: one aligned proof is enough."""
    return "pass" if "pass" in (dkim, spf) else "fail"


def _rows(reading: Reading) -> Counter[tuple[str, ...]]:
    """What is counted of a report: messages by domain, source, result and disposition, or sessions by what they met."""
    rows = Counter[tuple[str, ...]]()
    if reading.aggregate is not None:
        for row in reading.aggregate.rows:
            rows[row.header_from, row.source, result_of(row.dkim, row.spf), row.disposition] += row.count
    elif reading.tls is not None:
        for policy in reading.tls.policies:
            rows[policy.domain, policy.kind, "success", "", ""] += policy.good
            for one in policy.failures:
                rows[policy.domain, policy.kind, one.kind, one.host, one.sender] += one.count
            untold = policy.bad - sum(one.count for one in policy.failures)
            rows[policy.domain, policy.kind, "failure without details", "", ""] += max(0, untold)
    return Counter({key: count for key, count in rows.items() if count})
