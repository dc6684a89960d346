"""TLS sessions are counted by day, and each is in one report."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from lockgate.mail.reports.counted import DAY, Batch, TlsPublished, TlsSeen
from lockgate.storage.own_file import OwnFile
from lockgate.storage.report_gathering import Gathering
from lockgate.storage.report_schema import report_file
from lockgate.storage.tls_reporting import TlsReporting

TODAY = 20_000
NOON = TODAY * DAY + DAY // 2


@pytest.fixture
def file(tmp_path: Path) -> OwnFile:
    return report_file(tmp_path)


def seen(day: int = TODAY, domain: str = "d.test", result: str = "success", count: int = 1, mx: str = "mx") -> TlsSeen:
    return TlsSeen("contoso", day, domain, "sts", result, mx, "192.0.2.1", count)


def take(file: OwnFile, name: str, *rows: TlsSeen, policy: tuple[str, ...] = ()) -> None:
    published = [TlsPublished("contoso", row.day, row.domain, row.kind, policy) for row in rows if policy]
    Gathering(file).take([(name, Batch(tls=rows, published=tuple(published)))])


def test_a_day_is_due_when_it_is_over_and_each_session_is_told_once(file: OwnFile) -> None:
    book = TlsReporting(file)
    take(file, "1", seen(count=3), seen(result="certificate-expired"), policy=("version: STSv1", "mx: mx"))
    take(file, "2", seen(count=2))
    take(file, "2", seen(count=2))  # the same file again
    assert book.due(NOON, 10) == []
    (period,) = book.due(NOON + DAY, 10)
    assert (period.domain, period.messages, period.report) == ("d.test", 6, "")
    assert [row.count for row in book.rows(period)] == [5, 1]
    closed = book.close(period, "r1", NOON)
    assert (closed.begin, closed.end, closed.messages) == (TODAY * DAY, NOON, 6)
    assert book.rows(closed) == book.rows(book.find(domain="d.test")[0])
    assert [one.policy for one in book.published(closed)] == [("version: STSv1", "mx: mx")]
    # What is counted afterwards belongs to a later report of the same day.
    take(file, "3", seen(count=4))
    later, first = book.find(domain="d.test")
    assert (later.messages, later.report, first.messages, first.report) == (4, "", 6, "r1")
    second = book.close(later, "r2", NOON + DAY)
    assert (second.begin, second.end, second.messages) == (NOON + 1, (TODAY + 1) * DAY - 1, 4)
    assert [row.count for row in book.rows(second)] == [4]
    assert {one.report for one in book.due(NOON + DAY, 10)} == {"r1", "r2"}
    assert book.named("r2") == second and book.named("r3") is None


def test_what_was_tried_waits_and_what_is_done_is_done(file: OwnFile) -> None:
    book = TlsReporting(file)
    take(file, "1", seen())
    period = book.close(book.find()[0], "r1", NOON)
    book.tried(period, NOON + DAY + 900, ["not yet"])
    assert book.due(NOON + DAY, 10) == []
    (again,) = book.due(NOON + DAY + 900, 10)
    assert (again.tries, again.outcome) == (1, ("not yet",))
    book.finished(again, NOON + DAY + 901, ["sent"])
    assert book.due(NOON + 2 * DAY, 10) == []
    assert book.find()[0].outcome == ("sent",)


def test_old_days_are_let_go_and_domains_below_are_found(file: OwnFile) -> None:
    book = TlsReporting(file)
    take(file, "1", seen(TODAY - 5), seen(domain="a.d.test"), seen(domain="bad.test"))
    assert {one.domain for one in book.find(domain="d.test")} == {"d.test", "a.d.test"}
    assert {one.domain for one in book.due(NOON + DAY, 10)} == {"a.d.test", "bad.test"}, "too old to be told"
    assert book.find("fabrikam") == []
    book.close(book.find(day=TODAY - 5)[0], "old", NOON)
    Gathering(file).prune(NOON, lambda _: 3.0 * DAY)
    assert {one.domain for one in book.find()} == {"a.d.test", "bad.test"}


def test_a_file_of_before_gets_the_tables_and_keeps_its_rows(tmp_path: Path, file: OwnFile) -> None:
    take(file, "1", seen(count=7))
    with sqlite3.connect(tmp_path / "reports.sqlite") as db:
        db.execute("DROP TABLE tls_period")
        db.execute("DROP TABLE tls_published")
    (period,) = TlsReporting(file).find()
    assert period.messages == 7
    with sqlite3.connect(tmp_path / "reports.sqlite") as db:
        assert db.execute("PRAGMA user_version").fetchone() == (1,), "the version before reads it still"
