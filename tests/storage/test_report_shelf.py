"""Received reports are kept once, counted by domain, source and result, and bounded."""

from __future__ import annotations

from pathlib import Path

import pytest

from lockgate.mail.reports.aggregate import AggregateReport, Published, Row
from lockgate.mail.reports.carried import Reading
from lockgate.mail.reports.failure import FailureReport
from lockgate.mail.reports.tls import TlsFailure, TlsPolicy, TlsReport
from lockgate.storage import report_shelf
from lockgate.storage.report_schema import report_file
from lockgate.storage.report_shelf import Full, Shelf

DAY = 86400.0


def aggregate(name: str = "1", *, reporter: str = "Far", rows: tuple[Row, ...] = (), end: int = 1_000_000) -> Reading:
    found = rows or (
        Row("192.0.2.1", 3, "none", "pass", "fail", "d.test"),
        Row("192.0.2.1", 2, "none", "pass", "fail", "d.test"),
        Row("192.0.2.2", 4, "reject", "fail", "fail", "sub.d.test"),
    )
    return Reading("x", AggregateReport(reporter, "a@far.test", name, end - 100, end, Published("d.test"), found))


TLS = Reading(
    tls=TlsReport(
        "Far", "t1", "", "2026-11-01T00:00:00Z", "2026-11-01T23:59:59Z",
        (TlsPolicy("d.test", "sts", 10, 5, (TlsFailure("certificate-expired", 3, "192.0.2.7", "", "mx.d.test"),)),),
    )
)  # fmt: skip


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    return Shelf(report_file(tmp_path / "reports"))


def test_a_report_is_kept_once_for_each_organisation(shelf: Shelf) -> None:
    first = shelf.add("contoso", aggregate(), 50.0, "message m1")
    assert first > 0
    assert shelf.add("contoso", aggregate(), 60.0, "message m2") == 0
    assert shelf.knows("contoso", aggregate())
    assert not shelf.knows("fabrikam", aggregate())
    assert shelf.add("fabrikam", aggregate(), 60.0, "message m2") > 0
    assert shelf.add("contoso", aggregate(reporter="Near"), 60.0, "message m3") > 0
    rows = shelf.find("contoso")
    assert [(row["reporter"], row["messages"], row["failing"]) for row in rows] == [("Near", 9, 4), ("Far", 9, 4)]
    assert [row["reporter"] for row in shelf.find("contoso", since=55.0)] == ["Near"]
    found = shelf.show(first)
    assert found is not None and found[1] == aggregate()
    assert shelf.show(999) is None


def test_messages_are_counted_by_domain_source_and_result(shelf: Shelf) -> None:
    shelf.add("contoso", aggregate("1"), 50.0, "x")
    shelf.add("contoso", aggregate("2", end=2_000_000), 50.0, "x")
    rows = [(row["domain"], row["source"], row["result"], row["messages"], row["rejected"]) for row in shelf.summary()]
    assert rows == [("d.test", "192.0.2.1", "pass", 10, 0), ("sub.d.test", "192.0.2.2", "fail", 8, 8)]
    assert len(shelf.summary(domain="d.test")) == 2
    assert len(shelf.summary(domain="sub.d.test")) == 1
    assert shelf.summary(domain="ub.d.test") == []
    assert [row["source"] for row in shelf.summary(result="fail")] == ["192.0.2.2"]
    assert [row["result"] for row in shelf.summary(source="192.0.2.1")] == ["pass"]
    assert [row["messages"] for row in shelf.summary(since=1_500_000.0)] == [5, 4]
    assert shelf.summary("fabrikam") == []


def test_tls_sessions_are_counted(shelf: Shelf) -> None:
    shelf.add("contoso", TLS, 50.0, "x")
    rows = {row["result"]: (row["sessions"], row["receiving_mx"]) for row in shelf.tls("contoso", "d.test")}
    assert rows == {
        "success": (10, ""), "certificate-expired": (3, "mx.d.test"), "failure without details": (2, ""),
    }  # fmt: skip
    (row,) = shelf.find(kind="tls")
    assert (row["begin"], row["end"]) == (1_793_491_200.0, 1_793_577_599.0)


def test_failures_without_an_id_are_told_apart_by_what_they_say(shelf: Shelf) -> None:
    one, other = (Reading(failure=FailureReport("far.test", "", "auth-failure", name)) for name in ("a.test", "b.test"))
    assert [shelf.add("contoso", each, 1.0, "x") > 0 for each in (one, other, one)] == [True, True, False]


def test_numbers_that_cannot_be_are_no_trouble(shelf: Shelf) -> None:
    huge = tuple(Row(f"192.0.2.{n}", 10**15 - 1, "", "", "", "d.test") for n in range(250))
    shelf.add("contoso", aggregate(rows=huge, end=10**15 - 1), 1.0, "x")
    (row,) = shelf.find()
    assert (row["end"], row["messages"]) == (0.0, 250 * (10**15 - 1))


def test_by_mail_only_so_many_come_in_a_day(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_shelf, "MOST_A_DAY", 2)
    for name in ("1", "2"):
        shelf.add("contoso", aggregate(name), 100.0, "x")
    with pytest.raises(Full, match="within a day"):
        shelf.add("contoso", aggregate("3"), 100.0, "x")
    assert shelf.add("contoso", aggregate("3"), 100.0, "x", bounded=False)
    assert shelf.add("contoso", aggregate("4"), 100.0 + DAY, "x")


def test_by_mail_only_so_many_rows_come_in_a_day(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_shelf, "MOST_ROWS_A_DAY", 3)
    shelf.add("contoso", aggregate("1"), 100.0, "x")
    with pytest.raises(Full):
        shelf.add("contoso", aggregate("2"), 100.0, "x")


def test_what_could_not_be_read_is_remembered_for_a_while(shelf: Shelf, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_shelf, "MOST_UNREAD", 3)
    for number in range(10):
        shelf.unread("contoso", float(number), f"message {number}", "the XML is broken")
    shelf.unread("fabrikam", 1.0, "message x", "cut off")
    assert [row["at"] for row in shelf.unread_list("contoso", 100)] == [9.0, 8.0, 7.0]
    assert len(shelf.unread_list("", 100)) == 4


def test_old_reports_are_deleted_with_their_rows(shelf: Shelf) -> None:
    shelf.add("contoso", aggregate(), 0.0, "x")
    shelf.add("contoso", TLS, 20 * DAY, "x")
    shelf.unread("contoso", 0.0, "x", "y")
    assert shelf.prune(25 * DAY, lambda name: 10 * DAY) == 1
    assert shelf.summary() == []
    assert shelf.unread_list("", 10) == []
    assert [row["kind"] for row in shelf.find()] == ["tls"]
