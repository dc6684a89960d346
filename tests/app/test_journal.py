"""The journal: lines that parsers know, that no value can forge, and that never hold anybody up."""

from __future__ import annotations

import json
import os
import re
import threading
import time

from lockgate.app.clock import SystemClock
from lockgate.app.journal import WAITING, LineJournal, recent_alarms, start_journal, writer_to
from lockgate.app.lines import LONGEST_LINE, json_line
from lockgate.app.storms import EVERY, OVER, VARIANTS
from lockgate.testing.clock import HandClock


class Fixed:
    """A clock that stands still."""

    def now(self) -> float:
        return 1_700_000_000.25

    def monotonic(self) -> float:
        return 0.0


def written(tell, **options) -> str:
    data: list[bytes] = []
    journal = LineJournal(data.append, Fixed(), role="worker-1", **options)
    tell(journal)
    journal.close()
    return b"".join(data).decode()


def test_a_delivery_is_the_line_that_postfix_parsers_know():
    text = written(
        lambda j: j.note(
            "delivered", id="0193-a", to="ann@contoso.test", relay="mx.contoso.test[192.0.2.1]:25", delay=0.42,
            tls="TLSv1.3", reply="250 2.0.0 OK (queued)",
        )
    )  # fmt: skip
    assert text == (
        f"2023-11-14T22:13:20.250000Z lockgate/worker-1[{os.getpid()}]: 0193-a: to=<ann@contoso.test>, "
        "relay=mx.contoso.test[192.0.2.1]:25, delay=0.42, dsn=2.0.0, "
        "status=sent (250 2.0.0 OK [queued]), tls=TLSv1.3\n"
    )


def test_failed_and_deferred_have_postfix_words():
    text = written(lambda j: (j.note("failed", to="a@b.test", reply="550 5.1.1 no"),
                              j.note("deferred", to="a@b.test", reply="451 4.3.0 later")))  # fmt: skip
    assert "dsn=5.1.1, status=bounced (550 5.1.1 no)" in text
    assert "dsn=4.3.0, status=deferred (451 4.3.0 later)" in text


def test_hostile_values_forge_neither_line_nor_pair():
    evil = 'x\r\n2023 forged: to=<v@v>, status=sent (ok)\x1b[31m\x00\u202e'
    text = written(lambda j: j.note("refused", id=evil, peer="192.0.2.9", helo=evil, sender='"a, status=sent"@b.test'))
    assert text.count("\n") == 1
    assert all(c.isprintable() for c in text[:-1])
    body = text.split("]: ", 1)[1]
    assert body.startswith('"x??2023 forged')
    assert 'helo="x??2023 forged: to=<v@v>, status=sent (ok)?[31m??"' in body
    assert r'sender="\"a, status=sent\"@b.test"' in body


def test_lines_are_bounded():
    text = written(lambda j: j.note("refused", **{f"k{n}": "ü" * 10_000 for n in range(50)}))
    assert len(text.encode()) <= LONGEST_LINE
    assert text.endswith("\n")


def test_what_changes_behind_is_told_as_it_was():
    names = ["first"]

    def tell(journal):
        journal.note("started", names=names)
        names[0] = "second"

    assert written(tell).endswith("started: names=\"['first']\"\n")


def test_an_exception_says_where():
    def fail(journal):
        try:
            raise KeyError("lane")
        except KeyError as trouble:
            journal.alarm("unforeseen", trouble=trouble)

    text = written(fail)
    assert "ALARM unforeseen: trouble=" in text
    assert "KeyError: 'lane' (at fail:" in text


def test_json_lines_are_objects_with_numbers():
    text = written(lambda j: j.note("accepted", id="1", size=4096, subject="\x1b]0;x", time="mine"), form=json_line)
    record = json.loads(text)
    assert (record["happening"], record["size"], record["alarm"]) == ("accepted", 4096, False)
    assert record["subject"] == "?]0;x"
    assert record["time"].startswith("2023-") and record["time_"] == "mine"


def test_a_blocked_pipe_blocks_nobody_and_drops_are_told():
    gate = threading.Event()
    data: list[bytes] = []

    def slow(batch: bytes) -> None:
        gate.wait(20)
        data.append(batch)

    journal = LineJournal(slow, SystemClock(), role="t")
    journal.note("first")
    time.sleep(0.1)  # the writer thread is in `slow` now
    began = time.monotonic()
    for _ in range(WAITING + 500):
        journal.note("x")
    assert time.monotonic() - began < 5
    assert journal.dropped >= 400
    gate.set()
    journal.note("last")
    journal.close()
    text = b"".join(data).decode()
    assert "ALARM lines dropped: count=" in text


def test_nothing_raises():
    class Nasty:
        def __str__(self) -> str:
            raise RuntimeError("no")

    def broken(_: bytes) -> None:
        raise OSError("disk full")

    journal = LineJournal(broken, SystemClock(), role="t")
    journal.note("x", value=Nasty())
    journal.note("y")
    journal.close()
    assert journal.dropped == 2


def test_alarms_are_kept_for_every_process(tmp_path):
    path = tmp_path / "run" / "alarms.jsonl"
    for role in ("keeper", "worker-1"):
        journal = start_journal(
            SystemClock(), role=role, form="lines", destination=str(tmp_path / "log"), alarms=path
        )
        for number in range(3):
            journal.alarm("disk full", number=number)
            journal.note("accepted")
        journal.close()
    with path.open("a") as file:
        file.write("damaged {\n")
    found = recent_alarms(path, 4)
    assert [row["number"] for row in found] == [2, 0, 1, 2]
    assert found[-1]["origin"].startswith("lockgate/worker-1")
    assert recent_alarms(tmp_path / "none") == []


class Storm:
    """A journal whose clock is moved by hand; its writer thread looks every second."""

    def __init__(self, tmp_path) -> None:
        self.data: list[bytes] = []
        self.clock = HandClock()
        self.kept = tmp_path / "alarms.jsonl"
        self.journal = LineJournal(self.data.append, self.clock, role="worker-0", alarms=self.kept)

    def strike(self, seconds: float, *, gap: float = 0.05) -> None:
        for number in range(round(seconds / gap)):
            self.journal.alarm("cannot keep mail", id=f"0193-{number}", peer="192.0.2.7", because="the keeper is away")
            self.clock.move(gap)

    def lines(self, wanted: int) -> list[str]:
        """The lines once there are so many; whatever came after that is seen as well."""
        end = time.monotonic() + 10
        while time.monotonic() < end and b"".join(self.data).count(b"\n") < wanted:
            time.sleep(0.02)
        self.journal.flush()
        return b"".join(self.data).decode().splitlines()


def test_a_storm_of_alarms_is_told_once_then_counted_and_then_over(tmp_path):
    storm = Storm(tmp_path)
    storm.strike(12.0)
    assert storm.lines(3)[0].endswith("ALARM 0193-0: cannot keep mail: peer=192.0.2.7, because=\"the keeper is away\"")
    assert len(storm.lines(3)) == 3, "the first one, and two counts"
    storm.clock.move(OVER)
    last = storm.lines(5)
    assert len(last) == 5
    counts = [int(found[1]) for line in last[:4] if (found := re.search(r"times=(\d+)", line))]
    assert 1 + sum(counts) == 240, "not one is lost in the counting"
    assert all("ALARM" in line for line in last[:4]) and "ALARM" not in last[4]
    assert "over: what=\"cannot keep mail\"" in last[4] and "times=240" in last[4]
    shown = recent_alarms(storm.kept, 200)
    assert [row["alarm"] for row in shown] == [True] * 4 + [False]
    assert storm.journal.dropped == 0
    storm.strike(0.05)
    assert len(storm.lines(6)) == 6, "after it was over, the next one is told at once"
    storm.journal.close()


def test_a_single_alarm_is_not_said_to_be_over_and_the_next_of_its_kind_is_told_at_once(tmp_path):
    storm = Storm(tmp_path)
    storm.strike(0.05)
    storm.clock.move(OVER + 1)
    time.sleep(1.3)  # the writer has looked
    assert len(storm.lines(1)) == 1
    storm.strike(0.05)
    assert len(storm.lines(2)) == 2
    storm.journal.close()


def test_different_troubles_are_told_apart_but_not_without_end(tmp_path):
    storm = Storm(tmp_path)
    for number in range(100):
        storm.journal.alarm("mailbox cannot be written", id=f"{number}", mailbox=f"box{number}")
    storm.journal.alarm("disk nearly full", folder="/srv")
    storm.clock.move(EVERY - 1)
    text = "\n".join(storm.lines(VARIANTS + 2))
    assert text.count("mailbox cannot be written") == VARIANTS + 1
    assert "disk nearly full" in text
    storm.journal.close()
    assert f"times={100 - VARIANTS - 1}" in "\n".join(storm.lines(VARIANTS + 3)), "told before the process ends"


def test_a_rotated_log_is_opened_anew(tmp_path):
    path = tmp_path / "log"
    write = writer_to(str(path))
    write(b"one\n")
    path.rename(tmp_path / "log.1")
    write(b"two\n")
    assert (tmp_path / "log.1").read_text() == "one\n"
    assert path.read_text() == "two\n"
