"""Every keeper of the queue keeps a message and the letters about it together, and what is to be kept once, once."""

from __future__ import annotations

import asyncio

import msgspec
import pytest

from contracts.spools import HQ, Scene, message, scene
from lockgate.mail.task import NewMessage


@pytest.fixture(params=["memory", "real"])
async def stage(request, tmp_path):
    async with scene(request.param, tmp_path) as made:
        yield made


def written(stage: Scene, name: str, *, once: bool = False, size: int = 10) -> NewMessage:
    writer = stage.spool.begin(b"")
    writer.write(b"Subject: x\r\n\r\n" + bytes(size))
    new = message(stage.clock.now(), writer.finish(), writer.size, [name], HQ)
    return msgspec.structs.replace(new, once=once)


async def found(stage: Scene, new: NewMessage) -> int:
    return len(await stage.keeping.trace_find({"id": new.id}, 10))


async def test_a_message_and_its_letters_are_there_and_all_are_carried(stage):
    new, first, second = (written(stage, name, size=size) for name, size in
                          (("bob", 10), ("soc", 20), ("ann", 3 * 1024 * 1024)))  # fmt: skip
    ((task, owned),) = (await stage.spool.accept(new, [first, second])).tasks
    assert owned and [await found(stage, one) for one in (new, first, second)] == [1, 1, 1]
    stage.deliver(task)
    await stage.advance(1.0)
    assert sorted(one.id for one in stage.taken) == sorted([first.id, second.id]), "whoever carries them next"
    for one in stage.taken:
        octets = await stage.spool.read(one.body)
        assert len(octets) == one.size
        stage.deliver(one.task)
    await stage.settle()
    assert await stage.keeping.queue_list({}) == []


async def test_what_is_to_be_kept_once_is_there_once(stage):
    first, letter = written(stage, "soc", once=True), written(stage, "ann", once=True)
    await stage.spool.accept(first, [letter])
    for _ in range(2):
        again = msgspec.structs.replace(written(stage, "soc", once=True), id=first.id)
        fresh = msgspec.structs.replace(written(stage, "ann", once=True), id=letter.id)
        ((_, owned),) = (await stage.spool.accept(again, [fresh])).tasks
        assert not owned
    assert [await found(stage, one) for one in (first, letter)] == [1, 1]
    other = written(stage, "eve")
    await stage.spool.accept(other, [msgspec.structs.replace(written(stage, "ann", once=True), id=letter.id)])
    assert [await found(stage, one) for one in (other, letter)] == [1, 1]


async def test_at_the_same_time_it_is_there_once_too(stage):
    letters = [msgspec.structs.replace(written(stage, "soc", once=True), id="letter") for _ in range(3)]
    await asyncio.gather(*[stage.spool.accept(written(stage, "bob"), [letter]) for letter in letters])
    assert await found(stage, letters[0]) == 1
