"""Replays in processes of their own: what ends well, what cannot be done, and how many there may be."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from flow.house import CONTOSO
from lockgate.app import replays
from lockgate.app.replays import MOST, ReplayRoom
from lockgate.flow.desk.section import Misuse, Nothing
from lockgate.flow.replay import Job
from lockgate.seams import Unavailable

JOB = Job({"a.toml": CONTOSO}, 0, 0.0, 1000)


@pytest.fixture
async def room(tmp_path: Path):
    (tmp_path / "lockgate.toml").write_text('hostname = "mx.lockgate.test"\n')
    (tmp_path / "state" / "trace").mkdir(parents=True)
    found = ReplayRoom(tmp_path / "lockgate.toml")
    yield found
    await found.close()


async def test_nothing_recorded_is_soon_judged(room: ReplayRoom) -> None:
    name = await room.begin(JOB, "a draft")
    named, job, progress = await room.look(name, 0.0)
    assert (named, job, progress.result) == ("a draft", JOB, None)
    _, _, progress = await room.look(name, None)
    assert progress.result is not None and progress.result["messages"] == 0
    assert (await room.look(name, 0.0))[2] == progress, "the result stays for a while"


async def test_what_cannot_be_done_is_said(room: ReplayRoom, tmp_path: Path) -> None:
    with pytest.raises(Nothing, match="no such replay"):
        await room.look("never", 0.0)
    wrong = await room.begin(Job({"a.toml": "x ="}, 0, 0.0, 10), "a draft")
    with pytest.raises(Unavailable, match="recorded mail cannot be judged"):
        await room.look(wrong, None)
    (tmp_path / "lockgate.toml").unlink()
    gone = await room.begin(JOB, "a draft")
    with pytest.raises(Unavailable, match="recorded mail cannot be judged"):
        await room.look(gone, None)


async def test_there_are_a_few_at_a_time_and_none_that_nobody_asks_after(
    room: ReplayRoom, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = [await room.begin(JOB, "a draft") for _ in range(MOST)]
    with pytest.raises(Misuse, match="under way already"):
        await room.begin(JOB, "a draft")
    await asyncio.gather(*(room.look(name, None) for name in names))
    await room.begin(JOB, "a draft")
    monkeypatch.setattr(replays, "PATIENCE", -1.0)
    last = await room.begin(JOB, "a draft")
    with pytest.raises(Nothing):
        await room.look(names[0], 0.0)
    running = room._jobs[last]
    await running.over.wait()
    assert "nobody asked" in running.trouble
