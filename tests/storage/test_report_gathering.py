"""Counts for reports: nothing is counted twice, nothing that was sent is sent again, and there are bounds."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from lockgate.mail.reports.aggregate import Row
from lockgate.mail.reports.counted import DAY, Arrived, Batch, Failed, Period, Seen
from lockgate.mail.reports.failure import FailureReport
from lockgate.storage import report_batches, report_gathering
from lockgate.storage.report_batches import Letters, Tally, batches_waiting, letters_waiting
from lockgate.storage.report_gathering import Gathering
from lockgate.storage.report_schema import NewerReports, report_file
from lockgate.testing.clock import HandClock
from lockgate.testing.journal import ListJournal

ROW = Row("192.0.2.1", 1, "none", "fail", "fail", "d.test")
TODAY = 20_000


def seen(count: int = 1, *, source: str = "192.0.2.1", domain: str = "d.test", published: str = "p=none") -> Seen:
    row = msgspec.structs.replace(ROW, source=source)
    return Seen("contoso", TODAY, domain, published, row, count)


@pytest.fixture
def gathering(tmp_path: Path) -> Gathering:
    return Gathering(report_file(tmp_path / "reports"))


def test_counts_add_up_and_a_file_counts_once(gathering: Gathering) -> None:
    gathering.take([("a", Batch((seen(2), seen(1, source="192.0.2.9"))))])
    gathering.take([("b", Batch((seen(3, published="p=reject"),)))])
    gathering.take([("a", Batch((seen(2),)))])  # killed before the file was removed
    (period,) = gathering.find()
    assert (period.messages, period.report, period.published) == (6, "", "p=reject")
    assert [(row.source, row.count) for row in gathering.rows(period)] == [("192.0.2.1", 5), ("192.0.2.9", 1)]
    assert (period.begin, period.end) == (TODAY * DAY, (TODAY + 1) * DAY - 1)
    gathering.forget(["a", "b"])


def test_what_comes_after_a_report_belongs_to_the_next_one(gathering: Gathering) -> None:
    gathering.take([("a", Batch((seen(2),)))])
    (open_one,) = gathering.find()
    noon = TODAY * DAY + DAY // 2
    first = gathering.close(open_one, "r1", noon)
    assert (first.end, first.messages) == (noon, 2)
    gathering.take([("b", Batch((seen(5),)))])
    second = next(one for one in gathering.find() if not one.report)
    assert (second.begin, second.messages) == (noon + 1, 5)
    assert [row.count for row in gathering.rows(first)] == [2]
    assert gathering.named("r1") == first
    assert gathering.named("") is None


def test_what_is_due(gathering: Gathering) -> None:
    gathering.take([("a", Batch((seen(), seen(domain="e.test"))))])
    assert gathering.due(TODAY * DAY + 100, 10) == []
    tomorrow = (TODAY + 1) * DAY + 1.0
    first, second = gathering.due(tomorrow, 10)
    closed = gathering.close(first, "r1", tomorrow)
    gathering.tried(closed, tomorrow + 900, ["not yet: DNS"])
    assert [one.domain for one in gathering.due(tomorrow, 10)] == [second.domain]
    again = next(one for one in gathering.due(tomorrow + 901, 10) if one.report)
    assert (again.tries, again.outcome) == (1, ("not yet: DNS",))
    gathering.finished(again, tomorrow, ["x@y.test: sent"])
    assert [one.domain for one in gathering.due(tomorrow + 901, 10)] == [second.domain]


def test_rows_and_domains_are_bounded(gathering: Gathering, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_gathering, "MOST_ROWS", 3)
    monkeypatch.setattr(report_gathering, "MOST_DOMAINS", 2)
    gathering.take([("a", Batch(tuple(seen(source=f"192.0.2.{n}") for n in range(10))))])
    gathering.take([("b", Batch((seen(4, source="192.0.2.0"),)))])
    (period,) = gathering.find()
    assert (period.messages, period.beyond, len(gathering.rows(period))) == (14, 7, 3)
    gathering.take([("c", Batch((seen(domain="e.test"), seen(domain="f.test"))))])
    assert {one.domain for one in gathering.find()} == {"d.test", "e.test"}


def test_failures_are_told_so_often_an_hour(gathering: Gathering) -> None:
    assert [gathering.may_tell("contoso", "d.test", 7, 2) for _ in range(3)] == [True, True, False]
    assert gathering.may_tell("contoso", "e.test", 7, 2)
    assert gathering.may_tell("contoso", "d.test", 8, 2)


def test_old_counts_are_deleted(gathering: Gathering) -> None:
    gathering.take([("a", Batch((seen(),)))])
    assert gathering.prune((TODAY + 5) * DAY, lambda name: 10.0 * DAY) == 0
    assert gathering.prune((TODAY + 50) * DAY, lambda name: 10.0 * DAY) == 1
    assert gathering.find() == []


def test_a_newer_file_is_refused(tmp_path: Path) -> None:
    import sqlite3

    file = report_file(tmp_path)
    Gathering(file).find()
    db = sqlite3.connect(tmp_path / "reports.sqlite")
    db.execute("PRAGMA user_version = 99")
    db.close()
    with pytest.raises(NewerReports, match="newer version"):
        Gathering(file).find()


# --- from the workers -----------------------------------------------------------------------------------------------


def tally(folder: Path, slot: int = 0) -> tuple[Tally, HandClock, ListJournal]:
    clock, journal = HandClock(), ListJournal()
    clock.move(1000.0)
    return Tally(folder, slot, clock, journal), clock, journal


def test_a_worker_passes_on_what_it_counted(tmp_path: Path) -> None:
    one, clock, _ = tally(tmp_path)
    for _ in range(3):
        one.seen(seen())
    one.note("contoso", "far.test", "sts", "success", receiving_mx="mx.far.test")
    one.note("contoso", "far.test", "sts", "success", receiving_mx="mx.far.test")
    one.keep()
    one.keep()
    ((path, batch),) = batches_waiting(tmp_path)
    assert batch is not None
    assert [(each.domain, each.count) for each in batch.seen] == [("d.test", 3)]
    assert [(each.domain, each.result, each.count) for each in batch.tls] == [("far.test", "success", 2)]
    gathering = Gathering(report_file(tmp_path))
    gathering.take([(path.name, batch)])
    (row,) = gathering.tls()
    assert (row["domain"], row["kind"], row["receiving_mx"], row["count"]) == ("far.test", "sts", "mx.far.test", 2)
    one.seen(seen())
    one.keep()  # the pause is not over
    assert len(list(batches_waiting(tmp_path))) == 1
    clock.move(3.0)
    one.keep()
    assert len(list(batches_waiting(tmp_path))) == 2


def test_what_cannot_be_written_stays_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, clock, journal = tally(tmp_path)
    monkeypatch.setattr(report_batches, "MOST_WAITING", 0)
    one.seen(seen())
    one.keep()
    assert journal.named("counts for reports not kept yet")
    monkeypatch.setattr(report_batches, "MOST_WAITING", 10)
    clock.move(3.0)
    one.keep()
    ((_, batch),) = batches_waiting(tmp_path)
    assert batch is not None and batch.seen


def test_what_can_never_be_written_does_not_stay(tmp_path: Path) -> None:
    one, clock, journal = tally(tmp_path)
    one.seen(seen(domain="\ud800.test"))
    one.keep()
    assert journal.alarms[0][1]["at"] == "keeping counts for reports"
    one.seen(seen())
    clock.move(3.0)
    one.keep()
    ((_, batch),) = batches_waiting(tmp_path)
    assert batch is not None and [each.domain for each in batch.seen] == ["d.test"]


def test_a_worker_counts_within_bounds(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(report_batches, "MOST_COUNTED", 5)
    one, _, journal = tally(tmp_path)
    for number in range(50):
        one.seen(seen(source=f"192.0.2.{number}", domain=f"d{number % 2}.test"))
    one.keep()
    ((_, batch),) = batches_waiting(tmp_path)
    assert batch is not None
    assert sum(each.count for each in batch.seen) == 50
    assert len(batch.seen) == 7  # five rows, and one without for each domain
    assert not journal.named("counts for reports lost")


def test_failures_of_a_worker_are_bounded(tmp_path: Path) -> None:
    one, _, _ = tally(tmp_path)
    report = FailureReport("", "", "auth-failure", "d.test")
    for _ in range(10):
        one.failed(Failed("contoso", 3600.0, "d.test", report), 3)
    one.failed(Failed("contoso", 7200.0, "d.test", report), 3)
    one.keep()
    ((_, batch),) = batches_waiting(tmp_path)
    assert batch is not None and len(batch.failed) == 4


def test_a_damaged_file_is_told_and_not_read(tmp_path: Path) -> None:
    (tmp_path / "counts").mkdir()
    (tmp_path / "counts" / "1.msgpack").write_bytes(b"\xc1 nonsense")
    ((_, batch),) = batches_waiting(tmp_path)
    assert batch is None


def test_letters_wait_in_their_order_and_not_too_many(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = HandClock()
    letters = Letters(tmp_path, 0, clock)
    monkeypatch.setattr(report_batches, "MOST_LETTERS", 2)
    assert [letters.put(Arrived("contoso", n, f"message {n}", b"x")) for n in (1.0, 2.0, 3.0)] == [True, True, False]
    monkeypatch.setattr(report_batches, "MOST_LETTERS", 100)
    monkeypatch.setattr(report_batches, "MOST_OCTETS", 200)
    assert not letters.put(Arrived("contoso", 4.0, "message 4.0", b"x" * 200))
    assert [one.origin for _, one in letters_waiting(tmp_path) if one is not None] == ["message 1.0", "message 2.0"]


def test_a_period_is_found_by_its_day(gathering: Gathering) -> None:
    gathering.take([("a", Batch((seen(),)))])
    found: list[Period] = gathering.find("contoso", "d.test", TODAY)
    assert len(found) == 1
    assert gathering.find("contoso", "d.test", TODAY - 1) == gathering.find("fabrikam") == []
