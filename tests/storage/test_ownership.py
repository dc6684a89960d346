"""Who carries what: two workers, deaths, restarts of the keeper, order after recovery."""

from __future__ import annotations

import asyncio
import os

import pytest

from contracts.spools import HQ, RealScene, deferred, delivered, unreachable
from lockgate.mail.task import Finished
from lockgate.seams import Unavailable
from lockgate.storage.completions import CompletionLog, read_log
from lockgate.storage.links import Link


@pytest.fixture
async def stage(tmp_path):
    real = RealScene(tmp_path)
    await real.start()
    yield real
    await real.stop()


class Second:
    """Another worker of the same queue."""

    def __init__(self, stage: RealScene) -> None:
        self.spool = stage.new_spool(1)
        self.taken = []
        self.spool.receive_with(self.taken.extend)

    def die(self) -> None:
        """What the kernel does for a killed process: the socket and the lock go, nothing is said."""
        self.spool._runner.cancel()
        self.spool._wire.transport.abort()
        for fd in self.spool._log._files:
            os.close(fd)


async def test_a_dead_workers_tasks_go_to_another_after_its_noted_outcomes(stage):
    second = Second(stage)
    await second.spool.open()
    mine, stage.spool = stage.spool, second.spool
    _, ((done, _),) = await stage.accept("bob")
    _, ((undone, _),) = await stage.accept("bob")
    stage.spool = mine
    second.spool._wire.transport.pause_reading()
    second.spool._send = lambda *a, **k: None  # the outcome gets into the log but never to the keeper
    second.spool.finish(Finished(done, (delivered(0, stage.clock.now()),)))
    second.die()
    await stage.settle()
    await stage.settle()
    assert [t.task for t in stage.taken] == [undone]
    assert [t["task"] for t in await stage.keeping.queue_list({"lane": HQ.lane})] == [undone]


async def test_a_backlog_goes_to_one_worker_in_order_while_two_are_there(stage):
    second = Second(stage)
    await second.spool.open()
    _, ((first, _),) = await stage.accept("bob")
    stage.spool.finish(unreachable(first, stage.clock.now()))
    await stage.settle()
    expected = [first]
    for n in range(60):
        stage.spool, second.spool = (second.spool, stage.spool) if n % 2 else (stage.spool, second.spool)
        expected.append((await stage.accept("bob"))[1][0][0])
    await stage.advance(11)
    carried = []
    for _ in range(200):
        for taken, spool in ((stage.taken, stage.spool), (second.taken, second.spool)):
            while taken:
                task = taken.pop(0)
                carried.append(task.task)
                spool.finish(Finished(task.task, (delivered(0, stage.clock.now()),)))
        await stage.settle()
        if len(carried) == len(expected):
            break
    assert carried == expected


async def test_while_a_backlog_is_carried_nothing_fresh_overtakes_it(stage):
    _, ((first, _),) = await stage.accept("bob")
    stage.spool.finish(unreachable(first, stage.clock.now()))
    await stage.settle()
    for _ in range(30):
        await stage.accept("bob")
    await stage.advance(11)
    stage.deliver(stage.taken.pop(0).task)
    await stage.settle()
    _, ((_, owned),) = await stage.accept("bob")
    assert not owned


async def test_windows_bound_what_a_worker_holds_of_one_lane(stage):
    owned = [(await stage.accept("bob"))[1][0] for _ in range(25)]
    assert [o for _, o in owned] == [True] * 20 + [False] * 5
    for task, _ in owned[:12]:
        stage.deliver(task)
    await stage.settle()
    assert [t.task for t in stage.taken] == [task for task, _ in owned[20:]]


async def test_the_keeper_is_restarted_and_nothing_changes_hands(stage):
    _, ((kept, _),) = await stage.accept("bob")
    _, ((done, _),) = await stage.accept("bob")
    second = Second(stage)
    await second.spool.open()
    await stage.stop_keeper(kill=True)
    await asyncio.sleep(0.05)
    stage.spool.finish(Finished(done, (delivered(0, stage.clock.now()),)))
    await stage.start_keeper()
    for _ in range(20):
        await stage.settle()
    assert stage.taken == [] and second.taken == []
    assert [t["task"] for t in await stage.keeping.queue_list({"lane": HQ.lane})] == [kept]
    stage.deliver(kept)
    await stage.settle()
    assert await stage.keeping.queue_list({}) == []
    await second.spool.close()


async def test_without_a_keeper_mail_is_put_off_at_once_and_taken_again_by_itself(stage):
    await stage.stop_keeper(kill=True)
    await asyncio.sleep(0.05)
    with pytest.raises(Unavailable):
        await stage.accept("bob")
    await stage.start_keeper()
    for _ in range(30):
        await stage.settle()
        try:
            await stage.accept("bob")
            return
        except Unavailable:
            continue
    pytest.fail("mail is still put off")


async def test_an_accept_under_way_when_the_keeper_dies_is_looked_up_present(stage):
    keeper = stage.keeper
    keeper._tell = lambda batch, given: None  # committed, and then it dies before it can answer
    waiting = asyncio.ensure_future(stage.accept("bob"))
    await asyncio.sleep(0.05)
    await stage.stop_keeper(kill=True)
    await stage.start_keeper()
    new, ((task, owned),) = await waiting
    assert not owned
    for _ in range(5):
        await stage.settle()
    assert [t.task for t in stage.taken] == [task]
    assert await stage.spool.read(new.body)


async def test_an_accept_under_way_when_the_keeper_dies_is_looked_up_absent(stage):
    keeper = stage.keeper
    keeper.gather = lambda link, kind, item: None
    waiting = asyncio.ensure_future(stage.accept("bob"))
    await asyncio.sleep(0.05)
    await stage.stop_keeper(kill=True)
    await stage.start_keeper()
    with pytest.raises(Unavailable):
        await waiting
    assert await stage.keeping.trace_find({}, 10) == []


async def test_an_accept_that_comes_too_late_is_withdrawn(stage):
    slow = stage.new_spool(2, patience=0.2)
    await slow.open()
    mine, stage.spool = stage.spool, slow
    turn, stage.keeper.turn = stage.keeper.turn, lambda: None
    with pytest.raises(Unavailable):
        await stage.accept("bob")
    stage.keeper.turn = turn
    turn()
    await stage.settle()
    stage.spool = mine
    await stage.settle()
    (row,) = await stage.keeping.trace_find({}, 10)
    assert row["status"] == "Failed"
    assert await stage.keeping.queue_list({}) == []
    assert stage.taken == []
    await slow.close()


async def test_an_outcome_heard_twice_counts_once(stage):
    new, ((task, _),) = await stage.accept("bob", "eve")
    stage.deliver(task, 0, keep=True)
    await stage.settle()
    stage.spool._unapplied[1] = read_log(stage.state / "queue" / "completions", stage.spool._incarnation)[0][1]
    stage.spool._wire.transport.abort()
    for _ in range(10):
        await stage.settle()
    shown = await stage.keeping.trace_show(new.id)
    assert [len(row["events"]) for row in shown["rows"]] == [2, 1]


async def test_a_worker_that_is_closing_gets_nothing_more(stage):
    _, ((task, _),) = await stage.accept("bob")
    stage.spool.finish(Finished(task, (deferred(0, stage.clock.now()),), due=stage.clock.now() + 5))
    stage.spool.stop_taking()
    await stage.settle()
    await stage.advance(6)
    assert stage.taken == []
    second = Second(stage)
    await second.spool.open()
    await stage.settle()
    assert [t.task for t in second.taken] == [task]
    await second.spool.close()


def test_a_torn_tail_ends_the_log(tmp_path):
    log = CompletionLog(tmp_path, 5)
    for n in range(10):
        log.note(b"payload %d" % n)
    path = tmp_path / f"{5:016x}.a"
    whole = path.read_bytes()
    for cut in range(1, 20):
        path.write_bytes(whole[:-cut])
        assert [s for s, _ in read_log(tmp_path, 5)] == list(range(1, 10))
    path.write_bytes(whole[:60] + b"\xff" + whole[61:])
    assert len(read_log(tmp_path, 5)) == 2
    log.close(remove=True)


def test_the_log_stays_small_and_keeps_what_is_not_applied(tmp_path):
    log = CompletionLog(tmp_path, 5)
    for n in range(1, 5001):
        log.note(bytes(1000))
        if n % 100 == 0:
            log.applied(n - 50)
        assert [s for s, _ in read_log(tmp_path, 5)][-1] == n if n % 500 == 0 else True
    assert sum(f.stat().st_size for f in tmp_path.iterdir()) < 3 * 1024 * 1024
    assert {s for s, _ in read_log(tmp_path, 5)} >= set(range(4951, 5001))
    log.close(remove=True)


@pytest.mark.parametrize("kill", [False, True])
async def test_a_keeper_that_has_ended_does_nothing_more_and_raises_no_alarm(stage, kill):
    """Tasks wait, a worker is connected, outcomes have just come: each of these wakes a keeper soon."""
    for n in range(25):
        _, ((task, _),) = await stage.accept("bob")
        if n < 3:
            stage.spool.finish(Finished(task, (deferred(0, stage.clock.now()),), due=stage.clock.now() + 0.01))
    keeper = stage.keeper
    stage.clock.at += 1
    keeper._at(stage.clock.now() + 0.01)
    asyncio.get_running_loop().call_soon(keeper.turn)
    await stage.stop_keeper(kill=kill)
    keeper.left(next(iter(keeper.links), Link(keeper)))
    await asyncio.sleep(0.1)
    assert stage.journal.alarms == []
    await stage.start_keeper()
    for _ in range(30):
        await stage.settle()
    assert len(await stage.keeping.queue_list({"lane": HQ.lane})) == 25


async def test_outcomes_that_wait_for_company_are_kept_when_the_keeper_ends(stage):
    _, ((task, _),) = await stage.accept("bob")
    stage.deliver(task)
    await asyncio.sleep(0)
    await stage.stop_keeper()
    assert stage.journal.alarms == []
    await stage.start_keeper()
    for _ in range(10):
        await stage.settle()
    assert await stage.keeping.queue_list({}) == []
