"""Searching ten million trace rows, cold and warm: day files are filled as the keeper's mover fills them, then asked.

    python bench/trace.py [--rows 10000000] [--days 10] [--folder DIR] [--keep]

Cold: the kernel is told to forget the files' pages before every single question. Nothing else of the service runs.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import msgspec

from lockgate.mail.events import Event, Happening
from lockgate.mail.identity import network_id
from lockgate.mail.message import Message
from lockgate.mail.record import Recorder
from lockgate.storage.day_schema import open_day, write_day
from lockgate.storage.frames import pack_event
from lockgate.storage.tables import open_tables
from lockgate.storage.traces import day_path, find, show
from lockgate.testing.builders import NOW, facts_of

PEOPLE = 200_000
"""Recipients; who is how busy falls off as in real places (Zipf)."""
FIRST_DAY = int(NOW // 86400)
BATCH = 20_000
REPLY = "250 2.0.0 Ok: queued as 4F1A2B3C4D"


def story() -> bytes:
    """Facts of a usual message with twenty header fields, as they are recorded."""
    noise = random.Random(1)
    fields = [("Received", f"from mx{n}.sender.test by mx.test; id {noise.getrandbits(96):x}") for n in range(4)]
    fields += [(f"X-Field-{n}", f"{noise.getrandbits(160):x}") for n in range(12)]
    fields += [("DKIM-Signature", f"v=1; a=rsa-sha256; d=sender.test; b={noise.getrandbits(2048):x}")]
    message = Message("0192-message", 40_000, tuple(fields), "<m1@sender.test>", "Quarterly numbers for all of you")
    from lockgate.mail.facts import Point
    from lockgate.mail.ruling import Ruling

    return Recorder().write_story(facts_of("x@sender.test", "bob@contoso.test", message=message), Ruling(Point.DATA))


def fill(folder: Path, rows: int, days: int) -> None:
    rng, told = random.Random(7), msgspec.msgpack.encode([("contoso", story())])
    encode = msgspec.msgpack.encode
    print(f"a story has {len(told)} octets")
    per_day, seq = rows // days, 0
    for day in range(days):
        bucket, began = FIRST_DAY - days + 1 + day, time.monotonic()
        file = open_day(day_path(folder, bucket))
        file.execute("PRAGMA synchronous = OFF")
        file.execute("PRAGMA cache_size = -1048576")
        file.execute("PRAGMA wal_autocheckpoint = 20000")
        for start in range(0, per_day, BATCH):
            messages, traces = [], []
            for n in range(start, min(start + BATCH, per_day)):
                seq += 1
                at = bucket * 86400 + n * 86000 / per_day
                number = min(PEOPLE - 1, int(PEOPLE ** rng.random()))
                ip = f"198.{rng.randrange(18, 20)}.{rng.randrange(256)}.{rng.randrange(256)}"
                events = pack_event(encode(Event(at, Happening.RECEIVE, f"from {ip} (mail.sender.test)")))
                sent = Event(at + 1, Happening.SEND, "", REPLY, "hq.contoso.test[192.0.2.25]:25", "TLSv1.3 AES_256_GCM")
                events += pack_event(encode(sent))
                messages.append((
                    seq, bucket, network_id(rng.randbytes(10), at), at, f"sender{rng.randrange(1_000_000)}@s.test",
                    "Quarterly numbers for all of you", 40_000, f"<{rng.getrandbits(96):x}@sender.test>", ip,
                    "TLSv1.3 TLS_AES_256_GCM_SHA384", 7, f"{rng.getrandbits(60):012X}", 1, told, "",
                ))  # fmt: skip
                traces.append((
                    seq << 20, "contoso", f"person{number}@contoso.test", "Delivered", "", "HQ", "192.0.2.25",
                    "TLSv1.3 TLS_AES_256_GCM", REPLY, events, "default", "",
                ))  # fmt: skip
            write_day(file, messages, traces)
        file.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        file.close()
        print(f"day {day + 1} of {days}: {per_day / (time.monotonic() - began):.0f} rows a second", flush=True)


def forget_pages(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            fd = os.open(path, os.O_RDONLY)
            os.fsync(fd)
            os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(fd)


def measure(name: str, ask: Callable[[int], int], folder: Path, rounds: int) -> None:
    times: dict[str, list[float]] = {"cold": [], "warm": []}
    count = 0
    for turn in range(rounds):
        forget_pages(folder)
        for state in ("cold", "warm"):
            began = time.perf_counter()
            count = ask(turn)
            times[state].append((time.perf_counter() - began) * 1000)
    cold, warm = (f"{statistics.median(times[s]):7.1f} / {max(times[s]):7.1f}" for s in ("cold", "warm"))
    print(f"{name:<44} {count:>5} rows  cold {cold}  warm {warm}   ms, median / worst of {rounds}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--days", type=int, default=10)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--folder", type=Path, help="Where the files are made, or already are")
    parser.add_argument("--keep", action="store_true", help="Leave the files there")
    given = parser.parse_args()
    folder = given.folder or Path(tempfile.mkdtemp(prefix="lockgate-trace-"))
    trace, queue = folder / "trace", folder / "queue" / "keeper.sqlite"
    try:
        if not trace.exists():
            trace.mkdir(parents=True)
            queue.parent.mkdir()
            open_tables(queue).close()
            fill(trace, given.rows, given.days)
        ask(folder, trace, queue, given.rows, given.rounds)
    finally:
        if not given.keep and not given.folder:
            shutil.rmtree(folder)


def ask(folder: Path, trace: Path, queue: Path, rows: int, rounds: int) -> None:
    octets = sum(path.stat().st_size for path in trace.iterdir())
    print(f"{octets / 1e9:.2f} GB, {octets / rows:.0f} octets a row")
    sample = [row["id"] for row in find(queue, trace, {"recipient": "person12345@contoso.test"}, 50)]
    addresses = [row["message_id"] for row in find(queue, trace, {"recipient": "person54321@contoso.test"}, 50)]
    questions: dict[str, Callable[[int], int]] = {
        "recipient, rare": lambda n: len(find(queue, trace, {"recipient": f"person{150_000 + n}@contoso.test"}, 100)),
        "recipient, usual": lambda n: len(find(queue, trace, {"recipient": f"person{1000 + n}@contoso.test"}, 100)),
        "recipient, the busiest": lambda n: len(find(queue, trace, {"recipient": "person1@contoso.test"}, 100)),
        "recipient, nobody": lambda n: len(find(queue, trace, {"recipient": f"nobody{n}@contoso.test"}, 100)),
        "recipient within one hour": lambda n: len(find(queue, trace, {
            "recipient": "person2@contoso.test", "since": f"{(FIRST_DAY - 1) * 86400 + 3600}",
            "until": f"{(FIRST_DAY - 1) * 86400 + 7200}"}, 100)),
        "sender": lambda n: len(find(queue, trace, {"sender": f"sender{n * 1000}@s.test"}, 100)),
        "address of the peer": lambda n: len(find(queue, trace, {"from_ip": f"198.18.{n}.7"}, 100)),
        "Message-ID": lambda n: len(find(queue, trace, {"id": addresses[n % len(addresses)]}, 100)),
        "the newest 100, no filter": lambda n: len(find(queue, trace, {}, 100)),
        "one message with events and facts": lambda n: len((show(queue, trace, sample[n % len(sample)]) or {})["rows"]),
    }  # fmt: skip
    for name, question in questions.items():
        measure(name, question, folder, rounds)


if __name__ == "__main__":
    main()
