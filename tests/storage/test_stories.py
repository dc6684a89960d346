"""Stories in bulk: each once and none missed, wherever it lies, the newest first; and the next ones behind a mark."""

from __future__ import annotations

import pytest

from contracts.spools import RealScene
from lockgate.mail.task import Refusal
from lockgate.storage import stories
from lockgate.storage.stories import Mark, count_since, newest, stories_after, stories_since


@pytest.fixture
async def stage(tmp_path):
    real = RealScene(tmp_path)
    await real.start()
    yield real
    await real.stop()


def places(stage):
    return stage.state / "queue" / "keeper.sqlite", stage.state / "trace"


async def filled(stage, count=7):
    """Some that are done and lie in the day's file, the rest still in the queue; their ids in order."""
    ids = []
    for number in range(count):
        message, ((task, _),) = await stage.accept("bob")
        ids.append(message.id)
        if number % 2:
            stage.deliver(task)
    for _ in range(4):
        await stage.advance(175.0)
    return ids


def refused(stage, number, at):
    row = Refusal(
        at=at, id=f"C{number}", organisation="contoso", point="RCPT", peer=f"198.51.{number}.7", helo="h",
        sender="x@s.test", recipient="no@contoso.com", reply="550 5.4.1 No", reason="directory: no", connector="",
        tls="", revision=1,
    )  # fmt: skip
    stage.spool.refused(row, lambda: b"refused story")


async def test_every_story_comes_once_the_newest_first(stage, monkeypatch):
    monkeypatch.setattr(stories, "WINDOW", 3)
    ids = await filled(stage)
    found = list(stories_since(*places(stage), 0.0))
    assert [one.id for one in found] == ids[::-1]
    assert {(one.organisation, one.data) for one in found} == {("contoso", b"story")}
    assert count_since(*places(stage), 0.0) == 7
    assert list(stories_since(*places(stage), found[0].at + 1)) == []


async def test_what_moves_to_its_day_while_somebody_reads_comes_once(stage, monkeypatch):
    monkeypatch.setattr(stories, "WINDOW", 2)
    tasks = []
    ids = []
    for _ in range(6):
        message, ((task, _),) = await stage.accept("bob")
        ids.append(message.id)
        tasks.append(task)
    reading = stories_since(*places(stage), 0.0)
    first = next(reading).id
    for task in tasks:
        stage.deliver(task)
    for _ in range(4):
        await stage.advance(175.0)
    assert [first, *(one.id for one in reading)] == ids[::-1]


async def test_behind_a_mark_come_the_next_ones(stage, monkeypatch):
    monkeypatch.setattr(stories, "WINDOW", 3)
    before = await filled(stage, 2)
    mark = newest(*places(stage))
    assert stories_after(*places(stage), mark, mark) == ([], mark)
    ids = await filled(stage, 5)
    seen = []
    until = newest(*places(stage))
    while mark.message < until.message:
        more, mark = stories_after(*places(stage), mark, until)
        assert len(more) <= 3
        seen += [one.id for one in more]
    assert seen == ids and not set(seen) & set(before)
    assert stories_after(*places(stage), mark, until) == ([], mark)


async def test_a_damaged_day_hides_no_other(stage):
    ids = await filled(stage)
    (stage.state / "trace" / "2027-01-14.sqlite").write_bytes(b"no database" * 1000)
    assert [one.id for one in stories_since(*places(stage), 0.0)] == ids[::-1]


async def test_refusals_are_among_them(stage):
    await filled(stage, 1)
    for number in range(3):
        refused(stage, number, stage.clock.now() + number)
    for _ in range(4):
        await stage.advance(5.0)
    found = [one for one in stories_since(*places(stage), 0.0) if one.data == b"refused story"]
    assert [one.id for one in found] == ["C2", "C1", "C0"]
    more, mark = stories_after(*places(stage), Mark(), newest(*places(stage)))
    assert [one.id for one in more][-3:] == ["C0", "C1", "C2"] and mark == newest(*places(stage))
    assert count_since(*places(stage), 0.0) == 4
