"""Bodies on disk: exact, checked, bounded in memory, and gone when nobody needs them."""

from __future__ import annotations

import os
import tracemalloc

import pytest

from contracts.spools import RealScene, unreachable
from lockgate.mail.headers import HEAD
from lockgate.mail.message import BodyRef
from lockgate.seams import Unavailable
from lockgate.storage.segments import HEADER, LARGE, Body, SegmentFolder, SegmentWriter, read_body, scan


@pytest.fixture
def folder(tmp_path):
    made = SegmentFolder(tmp_path)
    made.make()
    return made


@pytest.fixture
async def stage(tmp_path):
    real = RealScene(tmp_path)
    await real.start()
    yield real
    await real.stop()


def write(folder, writer, *chunks):
    body = Body(folder, writer, b"", lambda size: True, lambda ref, body: None)
    for chunk in chunks:
        body.write(chunk)
    return body, body.finish()


def test_records_come_back_exactly_over_many_segments(folder):
    sealed = []
    writer = SegmentWriter(folder, 7, sealed.append, size=64 * 1024)
    written = []
    for n in range(200):
        content = os.urandom(n * 37 % 5000)
        body, ref = write(folder, writer, content[:100], content[100:])
        written.append((ref, content))
        body.settled()
    assert len({ref.segment for ref, _ in written}) > 5
    for ref, content in written:
        assert read_body(folder, ref) == content
    writer.close()
    assert set(sealed) == {ref.segment for ref, _ in written}
    assert set(folder.names()) == set(sealed), "an unused spare was left behind"


def test_a_segment_is_not_sealed_while_a_record_of_it_is_on_its_way(folder):
    sealed = []
    writer = SegmentWriter(folder, 7, sealed.append, size=8 * 1024, prepare=False)
    first, ref = write(folder, writer, bytes(5000))
    write(folder, writer, bytes(5000))
    assert sealed == []
    first.settled()
    assert sealed == [ref.segment]


def test_a_torn_tail_ends_the_segment(folder):
    writer = SegmentWriter(folder, 7, lambda name: None, size=1024 * 1024, prepare=False)
    refs = [write(folder, writer, os.urandom(1000))[1] for _ in range(5)]
    path = folder.path(refs[0].segment)
    assert len(scan(path)) == 5
    with path.open("r+b") as file:
        file.seek(refs[3].offset + 500)
        file.write(b"\0\0\0\0")
    assert [at for at, _, _ in scan(path)] == [ref.offset for ref in refs[:3]]
    os.truncate(path, refs[2].offset + 10)
    assert len(scan(path)) == 2


@pytest.mark.parametrize("at", [-HEADER.size, -HEADER.size + 4, -HEADER.size + 8, 0, 500, 999])
def test_one_flipped_bit_is_seen(folder, at):
    writer = SegmentWriter(folder, 7, lambda name: None, size=1024 * 1024, prepare=False)
    _, ref = write(folder, writer, bytes(1000))
    with folder.path(ref.segment).open("r+b") as file:
        file.seek(ref.offset + at)
        octet = file.read(1)
        file.seek(ref.offset + at)
        file.write(bytes([octet[0] ^ 1]))
    with pytest.raises(ValueError):
        read_body(folder, ref)


def test_a_name_that_leads_elsewhere_is_no_segment(folder):
    for name in ("../../etc/passwd", "x", "", "0000000000000001-000001.seg/../x"):
        with pytest.raises(ValueError):
            read_body(folder, BodyRef(name, 28, 1, 1))


def test_a_large_body_takes_bounded_memory(folder):
    writer = SegmentWriter(folder, 7, lambda name: None, size=64 * 1024, prepare=False)
    body = Body(folder, writer, b"Received: x\r\n", lambda size: True, lambda ref, body: None)
    chunk = os.urandom(64 * 1024)
    tracemalloc.start()
    for _ in range(800):
        body.write(chunk)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 * LARGE
    assert body.content() is None and body.head()[:13] == b"Received: x\r\n" and len(body.head()) == HEAD
    assert body.octets() == b"Received: x\r\n" + chunk * 800
    ref = body.finish()
    assert body.head()[:13] == b"Received: x\r\n"
    assert read_body(folder, ref) == b"Received: x\r\n" + chunk * 800 and ref.length == body.size


def test_an_aborted_large_body_leaves_no_file(folder):
    writer = SegmentWriter(folder, 7, lambda name: None, prepare=False)
    for finish in (False, True):
        body = Body(folder, writer, b"", lambda size: True, lambda ref, body: None)
        body.write(bytes(2 * LARGE))
        if finish:
            body.finish()
        assert len(folder.names()) == 1
        body.abort()
        assert folder.names() == []


def test_content_and_head_before_and_after_the_end(folder):
    writer = SegmentWriter(folder, 7, lambda name: None, prepare=False, size=64 * 1024)
    body = Body(folder, writer, b"A: b\r\n", lambda size: size < 100, lambda ref, body: None)
    body.write(b"x")
    body.write(memoryview(b"y"))
    assert body.head() == body.content() == body.octets() == b"A: b\r\nxy"
    body.finish()
    body.settled()
    assert body.content() == b"A: b\r\nxy"
    with pytest.raises(ValueError):
        body.write(b"z")
    bigger = Body(folder, writer, bytes(200), lambda size: size < 100, lambda ref, body: None)
    assert bigger.content() is None, "more than the worker has memory for"


def test_no_room_for_a_segment_is_unavailable(folder, monkeypatch):
    writer = SegmentWriter(folder, 7, lambda name: None, prepare=False)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(Unavailable):
        write(folder, writer, b"x")
    assert folder.names() == []
    monkeypatch.undo()
    assert read_body(folder, write(folder, writer, b"x")[1]) == b"x"


async def test_a_segment_goes_with_its_last_message_and_the_spool_does_not_grow(stage):
    queue = stage.state / "queue"

    def size():
        return sum(f.stat().st_blocks * 512 for f in queue.rglob("*") if f.is_file() and "sqlite" not in f.name)

    await stage.accept("bob")
    first = size()
    for _ in range(12):
        tasks = [(await stage.accept("bob", body=bytes(30_000)))[1][0][0] for _ in range(10)]
        for task in tasks:
            stage.deliver(task)
        await stage.settle()
    # The one being filled, the zeroed one that comes next, and the one in which the very first message still lies.
    assert len(list((queue / "segments").iterdir())) <= 3
    assert size() <= first + 3 * 256 * 1024


async def test_a_large_message_file_goes_with_its_last_task(stage):
    new, ((task, _),) = await stage.accept("bob", body=bytes(3 * LARGE))
    path = stage.spool._folder.path(new.body.segment)
    assert path.exists() and (await stage.spool.read(new.body))[-3 * LARGE :] == bytes(3 * LARGE)
    stage.deliver(task)
    await stage.settle()
    assert not path.exists()


async def test_orphans_are_swept_at_start_and_live_bodies_are_not(stage):
    new, _ = await stage.accept("bob")
    big, _ = await stage.accept("bob", body=bytes(2 * LARGE))
    orphan = stage.state / "queue" / "segments" / "00000000000000aa-000001.seg"
    orphan.write_bytes(bytes(100))
    await stage.stop_keeper(kill=True)
    await stage.start_keeper()
    assert not orphan.exists()
    assert await stage.spool.read(new.body) and await stage.spool.read(big.body)


async def test_a_damaged_body_is_set_aside_with_an_alarm_and_the_others_move_on(stage):
    good, _ = await stage.accept("bob", held="why")
    bad, _ = await stage.accept("eve", held="why")
    last, _ = await stage.accept("joe", held="why")
    with stage.spool._folder.path(bad.body.segment).open("r+b") as file:
        file.seek(bad.body.offset)
        file.write(b"\xff\xff")
    with pytest.raises(ValueError):
        await stage.spool.read(bad.body)
    await stage.advance(40)
    listed = {t["id"]: t for t in await stage.keeping.queue_list({"sender": "ann@example.net"})}
    assert listed[bad.id]["held"] == "the body is damaged"
    assert any("damaged" in told for told, _ in stage.journal.alarms)
    assert len(list((stage.state / "queue" / "hold").iterdir())) == 1
    for new in (good, last):
        assert listed[new.id]["held"] == "why"


async def test_held_bodies_move_aside_and_are_read_after_release(stage):
    new, _ = await stage.accept("bob", held="why", body=b"precious")
    await stage.advance(40)
    assert len(list((stage.state / "queue" / "hold").iterdir())) == 1
    await stage.keeping.queue_edit("release", {"id": new.id}, "eva")
    await stage.settle()
    (task,) = stage.taken
    assert task.body.segment.endswith(".hold")
    assert (await stage.spool.read(task.body)).endswith(b"precious")
    await stage.stop_keeper(kill=True)
    await stage.start_keeper()
    for _ in range(5):
        await stage.settle()
    assert (await stage.spool.read(task.body)).endswith(b"precious")
    stage.deliver(task.task)
    await stage.settle()
    await stage.settle()
    assert list((stage.state / "queue" / "hold").iterdir()) == []


async def test_sparse_segments_are_emptied(stage):
    survivors = []
    for n in range(12):
        new, ((task, _),) = await stage.accept("bob", body=bytes(10_000) + b"%d" % n)
        survivors.append((new, task))
        rest = [(await stage.accept("eve", body=bytes(24_000)))[1][0][0] for _ in range(9)]
        for one in rest:
            stage.deliver(one)
        await stage.settle()
    stage.spool.finish(unreachable(survivors[0][1], stage.clock.now()))
    await stage.settle()
    for _, task in survivors[1:]:
        from lockgate.mail.task import Finished

        stage.spool.finish(Finished(task, ()))
    await stage.settle()
    before = len(list((stage.state / "queue" / "segments").iterdir()))
    for _ in range(30):
        stage.clock.at += 0.1
        stage.keeper.upkeep._last = 0.0
        await stage.settle()
    after = len(list((stage.state / "queue" / "segments").iterdir()))
    assert before >= 8 and after <= 4, (before, after)
    await stage.advance(11)
    seen = {}
    while stage.taken:
        task = stage.taken.pop(0)
        seen[task.id] = await stage.spool.read(task.body)
        stage.deliver(task.task)
        await stage.settle()
    assert [seen[new.id][-2:] for new, _ in survivors] == [(b"\0" + b"%d" % n)[-2:] for n in range(12)]
