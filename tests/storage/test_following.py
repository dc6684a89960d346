"""Following the trace goes on over a restart of the keeper and over moves to the day's file."""

from __future__ import annotations

import pytest

from contracts.spools import START, RealScene
from lockgate.seams import Unavailable
from lockgate.storage.changes import KEPT, Changes
from lockgate.storage.traces import UnknownFilter


@pytest.fixture
async def stage(tmp_path):
    real = RealScene(tmp_path)
    await real.start()
    yield real
    await real.stop()


async def test_nothing_is_left_out_over_a_restart_of_the_keeper(stage):
    new, ((task, _),) = await stage.accept("bob")
    await stage.settle()
    _, mark = await stage.keeping.trace_follow({}, "")
    stage.deliver(task)
    await stage.settle()
    await stage.stop_keeper()
    with pytest.raises(Unavailable):
        await stage.keeping.trace_follow({}, mark)
    await stage.start_keeper()
    rows, mark = await stage.keeping.trace_follow({}, mark)
    assert [(row["id"], row["status"]) for row in rows] == [(new.id, "Delivered")]
    rows, mark = await stage.keeping.trace_follow({}, mark)
    assert rows == []
    for _ in range(40):
        await stage.advance(0.2)
    later, _ = await stage.accept("eve")
    await stage.settle()
    rows, _ = await stage.keeping.trace_follow({}, mark)
    assert [row["id"] for row in rows] == [later.id]


async def test_a_change_is_told_although_its_row_has_moved_to_the_days_file(stage):
    _, mark = await stage.keeping.trace_follow({}, "")
    new, ((task, _),) = await stage.accept("bob")
    stage.deliver(task)
    for _ in range(4):
        await stage.advance(100)
    assert list((stage.state / "trace").glob("2*.sqlite"))
    rows, _ = await stage.keeping.trace_follow({}, mark)
    assert [(row["id"], row["status"]) for row in rows] == [(new.id, "Delivered")]


async def test_a_failed_commit_tells_nothing(stage):
    _, mark = await stage.keeping.trace_follow({}, "")
    stage.keeper.ledger.changes.note([1 << 20])
    stage.keeper.ledger.changes.forget()
    assert (await stage.keeping.trace_follow({}, mark))[0] == []


async def test_nonsense_is_no_mark_and_no_cursor(stage):
    for mark in ("x", "1-2-zz-4"):
        with pytest.raises(UnknownFilter, match="no mark"):
            await stage.keeping.trace_follow({}, mark)
    with pytest.raises(UnknownFilter, match="no cursor"):
        await stage.keeping.trace_find({}, 10, "nonsense")
    assert stage.clock.now() == START


def test_memory_is_bounded_and_whoever_is_too_far_behind_is_told_so():
    changes = Changes()
    epoch, batch, _ = changes.since("", "")
    for n in range(KEPT // 100 + 50):
        changes.note(range(n * 100, n * 100 + 100))
        changes.committed()
    assert changes.since(epoch, str(batch))[2] is None
    _, newest, numbers = changes.since(epoch, str(changes.since("", "")[1] - 1))
    assert len(numbers) == 100
    assert changes.since(epoch, str(newest))[2] == []
    assert changes.since("another", str(newest))[2] is None
    assert changes.since(epoch, str(newest + 1))[2] is None
