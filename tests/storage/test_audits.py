"""The audit: rows are durable at once, found by anything in them, and the keeper's own edits are never missing."""

from __future__ import annotations

import multiprocessing
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lockgate.storage.audits import LONGEST, AuditBook, AuditQuestion, AuditRow
from lockgate.storage.tables import open_tables

SOURCE = Path(__file__).resolve().parents[2] / "src"
ROWS = [
    AuditRow(100.0, "0 root", "reload", before=3, after=4, details={"digest": "abc"}),
    AuditRow(200.0, "1000 ann", "queue release", details={"count": 2, "for_id": "K7"}),
    AuditRow(300.0, "1001 bob", "was refused", refused=True, details={"asked": "reload", "because": "no right"}),
    AuditRow(400.0, "1000 ann", "connector set", before={"port": 25}, after={"port": 2525}, details={"name": "HQ"}),
]


@pytest.fixture
def book(tmp_path: Path) -> AuditBook:
    book = AuditBook(tmp_path)
    for row in ROWS:
        book.add(row)
    return book


@pytest.mark.parametrize(
    ("question", "found"),
    [
        (AuditQuestion(), [400, 300, 200, 100]),
        (AuditQuestion(who="ANN"), [400, 200]),
        (AuditQuestion(who="ann", what="Queue"), [200]),
        (AuditQuestion(object="k7"), [200]),
        (AuditQuestion(object="2525"), [400]),
        (AuditQuestion(object="hq"), [400]),
        (AuditQuestion(since=200.0, until=400.0), [300, 200]),
        (AuditQuestion(refused=True), [300]),
        (AuditQuestion(limit=2), [400, 300]),
        (AuditQuestion(object="' OR 1=1 --"), []),
    ],
)  # fmt: skip
def test_rows_are_found_by_anything_in_them_newest_first(book, question, found):
    assert [row["at"] for row in book.find(question)] == found


def test_a_row_comes_back_whole(book):
    (row,) = book.find(AuditQuestion(what="connector"))
    assert row == {
        "at": 400.0, "who": "1000 ann", "what": "connector set", "refused": False, "before": {"port": 25},
        "after": {"port": 2525}, "details": {"name": "HQ"},
    }  # fmt: skip
    (row,) = book.find(AuditQuestion(what="reload", refused=False))
    assert (row["before"], row["after"]) == (3, 4)


def test_what_is_too_long_is_cut_and_says_so(tmp_path):
    book = AuditBook(tmp_path)
    book.add(AuditRow(1.0, "0 root", "import", after=["x" * 100] * 10_000))
    (row,) = book.find(AuditQuestion())
    assert row["after"]["characters"] > 1_000_000
    assert len(row["after"]["cut"]) == LONGEST


def test_an_edit_that_only_the_keeper_knows_of_is_shown_and_no_other_twice(tmp_path):
    (tmp_path / "queue").mkdir()
    db = open_tables(tmp_path / "queue" / "keeper.sqlite")
    db.execute("INSERT INTO audit VALUES(199.5, '1000 ann', 'release', '{\"id\": \"K7\"}', 2)")
    db.execute("INSERT INTO audit VALUES(150.0, '1000 ann', 'delete', '{\"lane\": \"contoso/HQ\"}', 9)")
    db.close()
    book = AuditBook(tmp_path)
    book.add(ROWS[1])
    rows = book.find(AuditQuestion(who="ann"))
    assert [(row["what"], row["details"]["count"]) for row in rows] == [("queue release", 2), ("queue delete", 9)]
    assert book.find(AuditQuestion(object="contoso/hq"))[0]["what"] == "queue delete"
    assert book.find(AuditQuestion(refused=True)) == []


def _write(state: Path, number: int) -> None:
    book = AuditBook(state)
    for n in range(20):
        book.add(AuditRow(float(n), f"{number}", "x"))


def test_several_processes_write_at_once(tmp_path):
    writers = [multiprocessing.Process(target=_write, args=(tmp_path, n)) for n in range(3)]
    for one in writers:
        one.start()
    for one in writers:
        one.join(60)
        assert one.exitcode == 0
    assert len(AuditBook(tmp_path).find(AuditQuestion(limit=1000))) == 60


def test_every_row_whose_writing_was_acknowledged_survives_a_kill(tmp_path):
    script = (
        "import sys; from pathlib import Path; from lockgate.storage.audits import AuditBook, AuditRow\n"
        "book, n = AuditBook(Path(sys.argv[1])), 0\n"
        "while True:\n    book.add(AuditRow(float(n), 'a', 'b', details={'n': n})); print(n, flush=True); n += 1\n"
    )
    child = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdout=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": str(SOURCE)},
    )  # fmt: skip
    assert child.stdout is not None
    said = [int(child.stdout.readline()) for _ in range(50)]
    child.send_signal(signal.SIGKILL)
    said += [int(line) for line in child.stdout.read().split("\n") if line]
    child.wait()
    rows = AuditBook(tmp_path).find(AuditQuestion(limit=100_000))
    assert {row["details"]["n"] for row in rows} >= set(said)
