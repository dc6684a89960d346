"""The shelf of MTA-STS policies: one contract for both, shared by processes, whole after a kill, bounded."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from lockgate.mail.sts import StsMode, StsPolicy
from lockgate.seams import StsShelf
from lockgate.storage.sts_shelf import StsFile
from lockgate.testing.sts import MemoryShelf

SOURCE = Path(__file__).resolve().parents[2] / "src"
NOW = 1_700_000_000.0
DAY = 86400.0


def policy(domain: str = "far.test", name: str = "1", until: float = NOW + 7 * DAY, size: int = 0) -> StsPolicy:
    text = ("version: STSv1", "mode: enforce", "x: " + "y" * size)
    return StsPolicy(domain, StsMode.ENFORCE, (f"mx.{domain}", f"*.{domain}"), name, until, text)


def rows_of(path: Path) -> int:
    db = sqlite3.connect(path)
    try:
        return int(db.execute("SELECT count(*) FROM sts").fetchone()[0])
    finally:
        db.close()


@pytest.fixture(params=["file", "memory"])
def shelf(request: pytest.FixtureRequest, tmp_path: Path) -> StsShelf:
    return StsFile(tmp_path / "sts" / "sts.sqlite") if request.param == "file" else MemoryShelf()


def test_what_is_put_is_there(shelf: StsShelf) -> None:
    assert shelf.get("far.test") is None
    shelf.put(policy(), NOW, 0.0)
    kept = shelf.get("far.test")
    assert kept is not None and kept.policy == policy()
    assert (kept.fetched, kept.failed, kept.why) == (NOW, 0.0, "")
    assert kept.alive(NOW) == policy() and kept.alive(NOW + 8 * DAY) is None


def test_one_fetches_and_the_others_wait_for_the_outcome(shelf: StsShelf) -> None:
    assert shelf.claim("far.test", NOW, NOW + 75)
    assert not shelf.claim("far.test", NOW + 1, NOW + 76)
    assert shelf.claim("other.test", NOW, NOW + 75)
    shelf.put(policy(), NOW + 2, 0.0)
    assert shelf.claim("far.test", NOW + 3, NOW + 78)
    assert not shelf.claim("far.test", NOW + 4, NOW + 79)
    assert shelf.claim("far.test", NOW + 80, NOW + 160)  # who claimed it has died


def test_a_failure_calms_and_leaves_the_policy(shelf: StsShelf) -> None:
    shelf.put(policy(), NOW, 0.0)
    assert shelf.claim("far.test", NOW + 1, NOW + 75)
    shelf.fail("far.test", NOW + 2, "status 404", "sts-policy-fetch-error", NOW + 302)
    kept = shelf.get("far.test")
    assert kept is not None and (kept.failed, kept.why, kept.policy, kept.word) == (
        NOW + 2, "status 404", policy(), "sts-policy-fetch-error"
    )  # fmt: skip
    assert not shelf.claim("far.test", NOW + 300, NOW + 400)
    assert shelf.claim("far.test", NOW + 303, NOW + 400)
    shelf.put(policy(name="2"), NOW + 304, 0.0)
    kept = shelf.get("far.test")
    assert kept is not None and (kept.failed, kept.why, kept.word) == (0.0, "", "")
    shelf.fail("new.test", NOW, "no answer", "", NOW + 300)
    kept = shelf.get("new.test")
    assert kept is not None and kept.policy is None and kept.fetched == 0.0


def test_what_is_due(shelf: StsShelf) -> None:
    shelf.put(policy("old.test"), NOW, 0.0)
    shelf.put(policy("older.test"), NOW - 10, 0.0)
    shelf.put(policy("fresh.test"), NOW + DAY, 0.0)
    shelf.put(policy("dead.test", until=NOW + 60), NOW, 0.0)
    shelf.put(policy("unused.test"), NOW - 100, 0.0)
    for name in ("old.test", "older.test", "fresh.test", "dead.test"):
        shelf.use(name, NOW + DAY)
    shelf.fail("never.test", NOW, "why", "", NOW)
    later = NOW + 1.5 * DAY
    assert shelf.due(later, DAY, NOW + 1, 3600, 10) == ("older.test", "old.test")
    assert shelf.due(later + 60, DAY, NOW + 1, 3600, 10) == ()
    assert shelf.due(later + 60, DAY, 0.0, 3600, 1) == ("unused.test",)
    # Who was named long ago comes first: those that cannot be had take no turn from the others.
    assert shelf.due(later + 3700, DAY, 0.0, 3600, 2) == ("older.test", "old.test")
    assert shelf.due(later + 3700, DAY, 0.0, 3600, 2) == ("unused.test",)


def test_it_is_there_after_a_restart_and_for_other_processes(tmp_path: Path) -> None:
    path = tmp_path / "sts.sqlite"
    one, two = StsFile(path), StsFile(path)
    one.put(policy(), NOW, 0.0)
    assert two.get("far.test") is not None
    two.put(policy(name="2"), NOW, 0.0)
    kept = one.get("far.test")
    assert kept is not None and kept.policy is not None and kept.policy.id == "2"
    one.close()
    two.close()
    assert StsFile(path).get("far.test") is not None and rows_of(path) == 1
    assert path.parent.stat().st_mode & 0o7 in (0, 5)


def test_a_fork_opens_its_own(tmp_path: Path) -> None:
    shelf = StsFile(tmp_path / "sts.sqlite")
    shelf.put(policy(), NOW, 0.0)
    pid = os.fork()
    if pid == 0:
        try:
            shelf.put(policy("child.test"), NOW, 0.0)
            os._exit(0 if shelf.get("far.test") is not None else 1)
        finally:
            os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert shelf.get("child.test") is not None


def test_threads_share_one(tmp_path: Path) -> None:
    shelf, took = StsFile(tmp_path / "sts.sqlite"), []

    def claim() -> None:
        if shelf.claim("far.test", NOW, NOW + 75):
            took.append(threading.get_ident())

    threads = [threading.Thread(target=claim) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(took) == 1


def test_it_is_bounded_and_what_was_used_on_many_days_stays(tmp_path: Path) -> None:
    path = tmp_path / "sts.sqlite"
    shelf = StsFile(path, most_rows=100)
    shelf.put(policy("friend.test"), NOW, 0.0)
    for day in range(1, 4):
        shelf.use("friend.test", NOW + day * DAY)
    for number in range(400):
        shelf.put(policy(f"junk{number}.test"), NOW + 4 * DAY + number, 0.0)
    assert rows_of(path) <= 100
    assert shelf.get("friend.test") is not None and shelf.get("junk399.test") is not None
    assert shelf.get("junk0.test") is None


def test_its_octets_are_bounded_too_and_the_dead_go_first(tmp_path: Path) -> None:
    path = tmp_path / "sts.sqlite"
    shelf = StsFile(path, most_octets=100_000)
    for number in range(20):
        shelf.put(policy(f"alive{number}.test", until=NOW + 90 * DAY, size=2000), NOW, 0.0)
        shelf.put(policy(f"dead{number}.test", until=NOW + 60, size=2000), NOW, 0.0)
    for number in range(20, 30):
        shelf.put(policy(f"alive{number}.test", until=NOW + 90 * DAY, size=2000), NOW + 2 * DAY, 0.0)
    assert all(shelf.get(f"alive{number}.test") is not None for number in range(30))
    assert all(shelf.get(f"dead{number}.test") is None for number in range(20))


def test_a_newer_format_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "sts.sqlite"
    StsFile(path).put(policy(), NOW, 0.0)
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version = 9")
    db.close()
    with pytest.raises(OSError, match="a newer version wrote it"):
        StsFile(path).get("far.test")


def test_a_damaged_file_is_set_aside(tmp_path: Path) -> None:
    path = tmp_path / "sts.sqlite"
    path.write_bytes(b"this is no database, whatever it is\n" * 200)
    shelf = StsFile(path)
    with pytest.raises(OSError, match="not a database"):
        shelf.get("far.test")
    shelf.put(policy(), NOW, 0.0)
    assert shelf.get("far.test") is not None
    assert (tmp_path / "sts.sqlite.damaged").exists()


def test_a_damaged_row_is_no_policy(tmp_path: Path) -> None:
    path = tmp_path / "sts.sqlite"
    shelf = StsFile(path)
    shelf.put(policy(), NOW, 0.0)
    with sqlite3.connect(path) as db:
        db.execute("UPDATE sts SET mode = 'sometimes'")
    db.close()
    kept = shelf.get("far.test")
    assert kept is not None and kept.policy is None


def test_a_folder_that_cannot_be_written_is_an_oserror(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError):
        StsFile(tmp_path / "file" / "sts.sqlite").get("far.test")


WRITER = """
import os, sys
from pathlib import Path
from lockgate.mail.sts import StsMode, StsPolicy
from lockgate.storage.sts_shelf import StsFile
shelf, worker = StsFile(Path(sys.argv[1]), most_rows=400), sys.argv[2]
for number in range(100000):
    domain, hosts = f"w{worker}-{number % 300}.test", tuple(f"mx{number}-{one}.test" for one in range(5))
    until = 1.8e9 + number
    shelf.claim(domain, until - 1e8, until - 1e8 + 5)
    shelf.put(StsPolicy(domain, StsMode.ENFORCE, hosts, str(number), until, (f"n: {number}",)), float(number + 1), 0.0)
    os.write(1, f"{domain} {number}\\n".encode())
"""


def test_killed_while_it_writes_it_has_all_that_was_promised(tmp_path: Path) -> None:
    path = tmp_path / "sts.sqlite"
    for life in range(4):
        writers = [
            subprocess.Popen(
                [sys.executable, "-c", WRITER, str(path), f"{life}{one}"], stdout=subprocess.PIPE,
                env={**os.environ, "PYTHONPATH": str(SOURCE)},
            )
            for one in range(2)
        ]  # fmt: skip
        promised: dict[str, int] = {}
        for writer in writers:
            assert writer.stdout is not None
            writer.stdout.readline()
        time.sleep(0.15)
        for writer in writers:
            os.kill(writer.pid, signal.SIGKILL)
            out, _ = writer.communicate()
            promised |= {line.split()[0]: int(line.split()[1]) for line in out.decode().splitlines() if " " in line}
        shelf = StsFile(path, most_rows=10_000)
        assert len(promised) > 5
        lost = 0
        for domain, number in promised.items():
            kept = shelf.get(domain)
            if kept is None or kept.policy is None:
                lost += 1  # dropped for want of room, nothing else
                continue
            mine = int(kept.policy.id)
            assert mine >= number
            assert kept.policy.mx == tuple(f"mx{mine}-{one}.test" for one in range(5))
            assert (kept.policy.until, kept.policy.text) == (1.8e9 + mine, (f"n: {mine}",))
        assert lost == 0 or rows_of(path) > 350
        with sqlite3.connect(path) as db:
            assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)
            rows, octets = db.execute("SELECT rows, octets FROM total").fetchone()
            assert (rows, octets) == db.execute("SELECT count(*), coalesce(sum(size), 0) FROM sts").fetchone()
        db.close()
        shelf.close()
