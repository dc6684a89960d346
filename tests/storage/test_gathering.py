"""Messages on their way to the keeper: a lone one goes at once, many go together, and whatever happens meanwhile to
the keeper, the worker or the sender, each is either durable or put off."""

from __future__ import annotations

import asyncio

import pytest

from contracts.spools import RealScene
from lockgate.seams import Unavailable
from lockgate.storage import reclaim
from lockgate.storage.outbox import Outbox

FOREVER = 3600.0


@pytest.fixture
async def stage(tmp_path):
    real = RealScene(tmp_path)
    await real.start_keeper()
    real.spool = real.new_spool(gather_delay=FOREVER, gather_most=50)
    real.spool.receive_with(real.take)
    await real.spool.open()
    yield real
    await real.stop()


async def some_turns() -> None:
    for _ in range(20):
        await asyncio.sleep(0)


async def gathered(stage: RealScene, *names: str) -> list[asyncio.Task]:
    """Messages for these that wait at the worker for company."""
    await asyncio.gather(*[stage.accept("early") for _ in range(3)])  # many at a time: more are expected
    waiting = [asyncio.ensure_future(stage.accept(name)) for name in names]
    await some_turns()
    assert not any(one.done() for one in waiting)
    return waiting


async def traced(stage: RealScene, name: str) -> list:
    return await stage.keeping.trace_find({"recipient": f"{name}@contoso.com"}, 10)


async def ends(waiting: list[asyncio.Task]) -> list:
    """What became of them, soon."""
    async with asyncio.timeout(5):
        return await asyncio.gather(*waiting, return_exceptions=True)


async def test_a_lone_message_does_not_wait():
    said: list[bytes] = []
    out = Outbox(asyncio.get_running_loop(), said.append, delay=FOREVER, most=4)
    for number in range(3):
        out.put_accept(b"m%d" % number, 1)
        await some_turns()
    assert said == [b"m0", b"m1", b"m2"]


async def test_many_messages_under_way_go_in_one_write():
    said: list[bytes] = []
    out = Outbox(asyncio.get_running_loop(), said.append, delay=FOREVER, most=4)
    for under_way, word in enumerate((b"a", b"b", b"c", b"d", b"e", b"f"), 1):
        out.put_accept(word, under_way)
        await some_turns()
    assert said == [b"a", b"b", b"cdef"], "from the third on company is expected, until four are together"


async def test_company_that_does_not_come_is_not_waited_for_twice():
    said: list[bytes] = []
    out = Outbox(asyncio.get_running_loop(), said.append, delay=0.01, most=4)
    out.put_accept(b"a", 3)
    await some_turns()
    assert said == []
    await asyncio.sleep(0.05)
    out.put_accept(b"b", 1)
    await some_turns()
    assert said == [b"a", b"b"]


async def test_a_frame_in_a_hurry_takes_the_waiting_ones_along_in_order():
    said: list[bytes] = []
    out = Outbox(asyncio.get_running_loop(), said.append, delay=FOREVER, most=4)
    out.put(b"late", within=FOREVER)
    out.put(b"later", within=FOREVER)
    out.put(b"now")
    await some_turns()
    assert said == [b"latelaternow"]


async def test_a_nearer_deadline_moves_the_timer():
    said: list[bytes] = []
    out = Outbox(asyncio.get_running_loop(), said.append, delay=FOREVER, most=4)
    out.put(b"late", within=FOREVER)
    out.put(b"soon", within=0.01)
    await asyncio.sleep(0.05)
    assert said == [b"latesoon"]


async def test_gathered_messages_cost_one_sync_and_are_answered_after_it(stage, monkeypatch):
    waiting = await gathered(stage, "ann", "bob", "eve")
    order: list[str] = []
    sync, commit = reclaim.os.fdatasync, stage.keeper.ledger.commit
    monkeypatch.setattr(reclaim.os, "fdatasync", lambda fd: (order.append("sync"), sync(fd)))
    monkeypatch.setattr(stage.keeper.ledger, "commit", lambda: (commit(), order.append("commit")))
    for one in waiting:
        one.add_done_callback(lambda _: order.append("accepted"))
    stage.spool._out.flush()
    await ends(waiting)
    await some_turns()
    assert order[:5] == ["sync", "commit", "accepted", "accepted", "accepted"]
    assert order.count("sync") == 1


async def test_the_keeper_dies_while_messages_are_gathered(stage):
    waiting = await gathered(stage, "ann", "bob", "eve")
    await stage.stop_keeper(kill=True)
    await some_turns()
    await stage.start_keeper()
    results = await ends(waiting)
    assert all(isinstance(one, Unavailable) for one in results), "none was durable, so none may be accepted"
    assert [await traced(stage, name) for name in ("ann", "bob", "eve")] == [[], [], []]
    await stage.accept("joe")
    assert len(await traced(stage, "joe")) == 1


async def test_the_keeper_dies_and_does_not_come_back(tmp_path):
    stage = RealScene(tmp_path)
    await stage.start_keeper()
    stage.spool = stage.new_spool(gather_delay=FOREVER, gather_most=50, patience=0.3)
    await stage.spool.open()
    waiting = await gathered(stage, "ann", "bob")
    await stage.stop_keeper(kill=True)
    assert all(isinstance(one, Unavailable) for one in await ends(waiting))
    with pytest.raises(Unavailable):
        await stage.accept("joe")
    await stage.stop()


async def test_a_silent_keeper_is_waited_for_no_longer_than_patience(tmp_path):
    stage = RealScene(tmp_path)
    await stage.start_keeper()
    stage.spool = stage.new_spool(gather_delay=FOREVER, gather_most=50, patience=0.3)
    await stage.spool.open()
    waiting = await gathered(stage, "ann", "bob")
    assert all(isinstance(one, Unavailable) for one in await ends(waiting))
    await stage.settle()
    # They were told to come again: what reached the keeper afterwards must not go out.
    for name in ("ann", "bob"):
        assert [row["status"] for row in await traced(stage, name)] in ([], ["Failed"])
    assert not [task for task in stage.taken if task.recipients[0].target.local in ("ann", "bob")]
    await stage.stop()


async def test_an_accept_given_up_while_gathered_is_taken_back(stage):
    ann, bob = await gathered(stage, "ann", "bob")
    ann.cancel()
    results = await ends([ann, bob])
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1][0].id, "the other one is kept"
    await stage.settle()
    assert [row["status"] for row in await traced(stage, "ann")] == ["Failed"]
    assert [row["status"] for row in await traced(stage, "bob")] == ["Pending"]


async def test_what_is_gathered_when_the_worker_ends_is_kept(stage):
    waiting = await gathered(stage, "ann", "bob", "eve")
    stage.spool.stop_taking()
    await stage.spool.close()
    assert [len(tasks) for _, tasks in await ends(waiting)] == [1, 1, 1]
    assert [len(await traced(stage, name)) for name in ("ann", "bob", "eve")] == [1, 1, 1]


async def test_a_keeper_that_goes_before_it_is_greeted_is_looked_for_again(tmp_path, monkeypatch):
    stage = RealScene(tmp_path)
    (tmp_path / "run").mkdir()
    loop = asyncio.get_running_loop()
    rude = await loop.create_unix_server(HangsUp, str(tmp_path / "run" / "keeper.sock"))
    connect, met = loop.create_unix_connection, asyncio.Event()

    async def late(*given):
        made = await connect(*given)
        if not met.is_set():
            while not made[1].lost:
                await asyncio.sleep(0.001)
            met.set()
        return made

    monkeypatch.setattr(loop, "create_unix_connection", late)
    stage.spool = stage.new_spool(patience=5.0)
    opening = asyncio.ensure_future(stage.spool.open())
    await asyncio.wait_for(met.wait(), 5)
    rude.close()
    await stage.start_keeper()
    await asyncio.wait_for(opening, 5)
    await stage.accept("joe")
    await stage.stop()


class HangsUp(asyncio.Protocol):
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
