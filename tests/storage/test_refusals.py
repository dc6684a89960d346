"""Refusal rows are bounded per peer network, reason and hour, and the file has a cap."""

from __future__ import annotations

import sqlite3

import msgspec
import pytest

from contracts.spools import START, RealScene
from lockgate.mail.task import Refusal
from lockgate.storage.refusals import MOST_KEYS, Full, RefusalBook, Tally, network_of


def refusal(at=START, peer="198.51.100.7", reason="directory: nobody is x", story=b""):
    return Refusal(at, "ID", "contoso", "RCPT", peer, "h", "a@b", "c@d", "550 5.4.1 no", reason, story=story)


def test_fifty_full_rows_per_network_reason_and_hour_then_a_counter():
    tally = Tally(50)
    full = [tally.full(refusal(peer=f"198.51.100.{n % 250}", reason=f"directory: nobody is {n}")) for n in range(500)]
    assert sum(full) == 50
    (counted,) = tally.take()
    assert counted.n == 450 and counted.network == "198.51.100.0/24"
    assert tally.full(refusal(peer="198.51.101.1")) and tally.full(refusal(reason="IP block list: listed"))
    assert tally.full(refusal(at=START + 3600))
    assert tally.take() == []


def test_ipv6_counts_per_64_and_nonsense_as_others():
    assert network_of("2001:db8::1") == network_of("2001:db8::ffff:2")
    assert network_of("2001:db8:0:1::1") != network_of("2001:db8::1")
    assert network_of("not an address") == "others"


def test_memory_is_bounded_under_a_flood_from_everywhere():
    tally = Tally(50)
    for n in range(MOST_KEYS + 5000):
        tally.full(refusal(peer=f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}".replace("10.", f"{n % 200 + 1}.", 1)))
    assert len(tally._seen) <= MOST_KEYS and len(tally._extra) <= MOST_KEYS


def test_the_file_has_a_cap_and_the_newest_rows_stay(tmp_path):
    book = RefusalBook(tmp_path, 100_000, 400_000)
    at = START
    for _ in range(200):
        for _ in range(20):
            at += 1
            book.take(msgspec.msgpack.encode(Full(refusal(at=at, story=bytes(1000)))))
        book.flush(at)
    book.close()
    assert (tmp_path / "refusals.sqlite").stat().st_size < 800_000
    with sqlite3.connect(tmp_path / "refusals.sqlite") as db:
        assert db.execute("SELECT max(at), count(*) < 600, count(*) > 100 FROM refusal").fetchone() == (at, 1, 1)


def test_a_damaged_file_gives_way_and_what_is_no_refusal_is_dropped(tmp_path):
    (tmp_path / "refusals.sqlite").write_bytes(b"garbage" * 1000)
    book = RefusalBook(tmp_path, 50, 1_000_000)
    book.take(b"\xc1 nonsense")
    book.take(msgspec.msgpack.encode(Full(refusal())))
    book.close()
    with sqlite3.connect(tmp_path / "refusals.sqlite") as db:
        assert db.execute("SELECT count(*) FROM refusal").fetchone() == (1,)


@pytest.fixture
async def stage(tmp_path):
    real = RealScene(tmp_path)
    await real.start()
    yield real
    await real.stop()


async def test_noting_a_refusal_never_raises_even_without_a_keeper(stage):
    for n in range(200):
        stage.spool.refused(refusal(reason=f"directory: {n}"))
    await stage.settle()
    await stage.advance(2)
    assert len(await stage.keeping.trace_find({"status": "Refused"}, 500)) == 50
    asked = []
    for _ in range(60):
        stage.spool.refused(refusal(peer="192.0.2.200"), lambda: asked.append(1) or b"story")
    assert len(asked) == 50, "the facts are written down only for rows that are kept in full"
    await stage.stop_keeper(kill=True)
    stage.spool.refused(refusal(peer="192.0.2.1"))
    stage.spool.refused(None)
    await stage.start_keeper()
