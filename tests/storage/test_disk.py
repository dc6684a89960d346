"""Full disks, failing syncs and failing databases: put off, told, never a success that is none, recovery by itself."""

from __future__ import annotations

import asyncio
import os
import sqlite3
import subprocess

import msgspec
import pytest

from contracts.spools import HQ, RealScene, message
from lockgate.seams import Unavailable
from lockgate.storage import reclaim


@pytest.fixture
async def stage(tmp_path):
    real = RealScene(tmp_path)
    await real.start()
    yield real
    await real.stop()


async def accepted_again(stage):
    for _ in range(60):
        await stage.settle()
        stage.clock.at += 0.5
        try:
            return await stage.accept("bob")
        except Unavailable:
            continue
    pytest.fail("mail is still put off")


async def test_a_failed_sync_is_never_retried_to_success(stage, monkeypatch):
    await stage.accept("bob")
    real, failing = os.fdatasync, [True]
    synced = []

    def fdatasync(fd):
        synced.append(fd)
        if failing[0]:
            failing[0] = False
            raise OSError(5, "Input/output error")
        real(fd)

    monkeypatch.setattr(reclaim.os, "fdatasync", fdatasync)
    segment = stage.spool._writer.name
    results = await asyncio.gather(*[stage.accept("eve") for _ in range(5)], return_exceptions=True)
    assert all(isinstance(r, Unavailable) for r in results)
    assert len(synced) == 1, "the segment was synced again after its sync had failed"
    assert any("segment" in told for told, _ in stage.journal.alarms)
    assert await stage.keeping.trace_find({"recipient": "eve@contoso.com"}, 10) == []
    new, _ = await stage.accept("joe")
    assert new.body.segment != segment
    assert len(await stage.keeping.trace_find({}, 10)) == 2


@pytest.mark.parametrize("really", [True, False])
@pytest.mark.parametrize("once", [True, False])
async def test_of_letters_whose_commit_fails_none_goes_out_unless_they_will_be_kept_again(stage, really, once):
    ledger, commit = stage.keeper.ledger, stage.keeper.ledger.commit

    def failing():
        if really:
            commit()
        raise sqlite3.OperationalError("disk I/O error")

    new, letter = (letter_to(stage, name, once=once) for name in ("bob", "soc"))
    ledger.commit = failing
    with pytest.raises(Unavailable):
        await stage.spool.accept(new, [letter])
    ledger.commit = commit
    await accepted_again(stage)
    there = [await stage.keeping.trace_find({"id": one.id}, 10) for one in (new, letter)]
    expected = ["Pending" if once else "Failed"] if really else []
    assert [[row["status"] for row in rows] for rows in there] == [expected, expected]
    if once:
        again = [msgspec.structs.replace(letter_to(stage, name, once=True), id=one.id)
                 for name, one in (("bob", new), ("soc", letter))]  # fmt: skip
        await stage.spool.accept(again[0], again[1:])
        there = [await stage.keeping.trace_find({"id": one.id}, 10) for one in (new, letter)]
        assert [[row["status"] for row in rows] for rows in there] == [["Pending"], ["Pending"]]


def letter_to(stage, name, *, once):
    writer = stage.spool.begin(b"Subject: x\r\n\r\n")
    new = message(stage.clock.now(), writer.finish(), writer.size, [name], HQ)
    return msgspec.structs.replace(new, once=once)


@pytest.mark.parametrize("really", [True, False])
async def test_a_commit_that_fails_keeps_nothing_even_if_it_reached_the_disk(stage, really):
    before, _ = await stage.accept("bob")
    ledger = stage.keeper.ledger
    commit = ledger.commit

    def failing():
        if really:
            commit()
        raise sqlite3.OperationalError("disk I/O error")

    ledger.commit = failing
    with pytest.raises(Unavailable):
        await stage.accept("eve")
    ledger.commit = commit
    assert any("could not be written" in told for told, _ in stage.journal.alarms)
    new, _ = await accepted_again(stage)
    rows = await stage.keeping.trace_find({"recipient": "eve@contoso.com"}, 10)
    assert [row["status"] for row in rows] == (["Failed"] if really else [])
    assert [t["id"] for t in await stage.keeping.queue_list({"sender": "ann@example.net"})] == [before.id, new.id]
    await stage.settle()
    assert not [t for t in stage.taken if t.recipients[0].target.local == "eve"]


async def test_tasks_held_by_a_worker_stay_its_own_over_a_failed_commit(stage):
    _, ((task, _),) = await stage.accept("bob")
    ledger = stage.keeper.ledger
    commit = ledger.commit
    ledger.commit = lambda: (_ for _ in ()).throw(sqlite3.OperationalError("disk I/O error"))
    stage.deliver(task)
    await asyncio.sleep(0.03)
    ledger.commit = commit
    for _ in range(30):
        stage.clock.at += 0.5
        await stage.settle()
    assert stage.taken == []
    assert await stage.keeping.queue_list({}) == []


async def test_little_room_puts_new_mail_off_before_the_disk_is_full(stage, monkeypatch):
    full = [True]

    class Room:
        f_frsize, f_files, f_favail = 4096, 1000, 1000

        @property
        def f_bavail(self):
            return 0 if full[0] else 1_000_000

    spool = stage.spool = stage.new_spool(3, low_space=1024 * 1024)
    await spool.open()
    monkeypatch.setattr(os, "statvfs", lambda path: Room())
    with pytest.raises(Unavailable, match=r"too little room.*1 MiB and 17 files have to stay free"):
        spool.begin(b"")
    ((told, details),) = stage.journal.alarms
    assert told == "new mail is put off because there is too little room"
    assert (details["free"], details["files"], details["needed"]) == ("0 MiB", 1000, "1 MiB and 17 files")
    full[0] = False
    stage.clock.at += 1.5
    await stage.accept("bob")


@pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
async def test_a_really_full_disk(tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=12m", "tmpfs", str(state)], check=False).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        stage = RealScene(state)
        await stage.start()
        kept = []
        filler = state / "filler"
        filler.write_bytes(bytes(6 * 1024 * 1024))
        with pytest.raises(Unavailable):
            for _ in range(2000):
                new, _ = await stage.accept("bob", body=os.urandom(20_000))
                kept.append(new)
        assert kept
        filler.unlink()
        new, _ = await accepted_again(stage)
        assert {row["id"] for row in await stage.keeping.trace_find({"status": "pending"}, 5000)} == {
            m.id for m in [*kept, new]
        }
        for message in kept:
            assert len(await stage.spool.read(message.body)) == message.size
        await stage.stop()
    finally:
        subprocess.run(["umount", "-l", str(state)], check=True)
