"""Every keeper holds, shows, releases, deletes and expires alike, for all recipients of a task or for some."""

from __future__ import annotations

import msgspec
import pytest

from contracts.spools import HQ, START, deferred, delivered, message, scene
from lockgate.mail.events import Happening
from lockgate.mail.task import Finished


@pytest.fixture(params=["memory", "real"])
async def stage(request, tmp_path):
    async with scene(request.param, tmp_path) as made:
        yield made


async def statuses(stage, new):
    rows = await stage.keeping.trace_find({"id": new.id}, 10)
    return {row["recipient_address"].partition("@")[0]: row["status"] for row in rows}


async def hold(stage, *names, why="looks odd", until=0.0):
    """A message that policy holds for these recipients."""
    writer = stage.spool.begin(b"Received: here\r\n")
    writer.write(b"Subject: x\r\n\r\nhello\r\n")
    new = message(stage.clock.now(), writer.finish(), writer.size, names, None, "contoso/hold", why)
    new = msgspec.structs.replace(new, tasks=(msgspec.structs.replace(new.tasks[0], until=until),))
    await stage.spool.accept(new)
    return new


async def test_what_is_held_is_shown_with_its_reason_its_headers_and_its_facts(stage):
    new = await hold(stage, "bob", "eve", until=START + 500)
    await stage.settle()
    (row,) = await stage.keeping.hold_list({}, 10)
    assert row["id"] == new.id and row["state"] == "held" and row["why"] == "looks odd"
    assert row["recipients"] == ["bob@contoso.com", "eve@contoso.com"] and row["sender_address"] == "ann@example.net"
    assert (row["held_at"], row["held_until"], row["organisation"]) == (START, START + 500, "contoso")
    assert row["subject"] == "Quarterly numbers" and row["next"] == "judged on from where it stopped"
    shown = await stage.keeping.hold_show(new.id)
    assert shown["rows"] == [row] and shown["stories"] == {"contoso": b"story"}
    assert bytes(shown["head"]).startswith(b"Received: here\r\nSubject: x")
    assert await stage.keeping.hold_body(row["task"]) == b"Received: here\r\nSubject: x\r\n\r\nhello\r\n"
    assert await stage.keeping.hold_show("nothing") is None
    assert await stage.keeping.hold_body(row["task"] + 77) is None


async def test_held_mail_is_searched_by_every_key_and_paged(stage):
    first = await hold(stage, "bob", why="malware")
    await stage.advance(100)
    second = await hold(stage, "eve", why="a rule")
    await stage.accept("joe")
    await stage.settle()
    everything = [row["id"] for row in await stage.keeping.hold_list({}, 10)]
    assert everything == [second.id, first.id]
    for filters in (
        {"id": first.id}, {"recipient": "BOB@contoso.com"}, {"why": "Malware"}, {"until": str(START + 50)},
        {"state": "held", "why": "malware"}, {"organisation": "contoso", "recipient": "bob@contoso.com\nx@y.test"},
    ):  # fmt: skip
        assert [row["id"] for row in await stage.keeping.hold_list(filters, 10)] == [first.id], filters
    assert await stage.keeping.hold_list({"organisation": "fabrikam"}, 10) == []
    (newest,) = await stage.keeping.hold_list({}, 1)
    assert [row["id"] for row in await stage.keeping.hold_list({}, 9, newest["task"])] == [first.id]


async def test_a_release_of_one_recipient_leaves_the_others_held(stage):
    new = await hold(stage, "bob", "eve", "joe")
    assert await stage.keeping.queue_edit("release", {"id": new.id, "recipient": "eve@contoso.com"}, "ada") == 1
    await stage.settle()
    (got,) = stage.taken
    assert [r.target.local for r in got.recipients] == ["eve"] and got.route is None and got.lane == "contoso/hold"
    assert await statuses(stage, new) == {"bob": "Held", "eve": "Pending", "joe": "Held"}
    (left,) = await stage.keeping.hold_list({"id": new.id}, 10)
    assert left["recipients"] == ["bob@contoso.com", "joe@contoso.com"]
    assert await stage.spool.read(got.body) == b"Received: here\r\nSubject: x\r\n\r\nhello\r\n"
    stage.deliver(got.task)
    await stage.settle()
    assert await statuses(stage, new) == {"bob": "Held", "eve": "Delivered", "joe": "Held"}
    assert await stage.keeping.queue_edit("release", {"id": new.id, "recipient": "eve@contoso.com"}, "ada") == 0
    assert await stage.keeping.queue_edit("release", {"id": new.id}, "ada") == 1
    await stage.settle()
    assert [r.target.local for r in stage.taken[-1].recipients] == ["bob", "joe"]


async def test_a_deletion_of_some_recipients_spares_the_others(stage):
    new = await hold(stage, "bob", "eve", "joe")
    chosen = {"id": new.id, "held": "yes", "recipient": "bob@contoso.com\nJOE@contoso.com"}
    assert await stage.keeping.queue_edit("delete", chosen, "ada") == 1
    await stage.settle()
    assert await statuses(stage, new) == {"bob": "Dropped", "eve": "Held", "joe": "Dropped"}
    (left,) = await stage.keeping.hold_list({}, 10)
    assert left["recipients"] == ["eve@contoso.com"]
    assert await stage.keeping.hold_body(left["task"]) is not None


async def test_an_order_for_held_mail_touches_nothing_else(stage):
    waiting, _ = await stage.accept("bob")
    held = await hold(stage, "bob")
    assert await stage.keeping.queue_edit("delete", {"recipient": "bob@contoso.com", "held": "yes"}, "ada") == 1
    await stage.settle()
    assert await statuses(stage, waiting) == {"bob": "Pending"} and await statuses(stage, held) == {"bob": "Dropped"}


async def test_a_hold_of_one_waiting_recipient_lets_the_others_go_on(stage):
    new, ((task, _),) = await stage.accept("bob", "eve")
    now = stage.clock.now()
    stage.spool.finish(Finished(task, (deferred(0, now), deferred(1, now)), due=now + 30))
    await stage.settle()
    assert await stage.keeping.queue_edit("hold", {"id": new.id, "recipient": "bob@contoso.com"}, "ada") == 1
    assert await statuses(stage, new) == {"bob": "Held", "eve": "Pending"}
    await stage.advance(31)
    (got,) = stage.taken
    assert [r.target.local for r in got.recipients] == ["eve"]
    (row,) = await stage.keeping.hold_list({}, 10)
    assert row["why"] == "held by ada" and row["held_until"] is None and row["next"] == f"carried to {HQ.lane}"
    stage.deliver(got.task)
    await stage.keeping.queue_edit("release", {"id": new.id}, "ada")
    await stage.settle()
    assert stage.taken[-1].route == HQ and [r.target.local for r in stage.taken[-1].recipients] == ["bob"]


async def test_what_policy_holds_is_deleted_when_its_time_is_over_and_what_a_person_holds_stays(stage):
    new = await hold(stage, "bob", "eve", until=START + 500)
    other, ((task, _),) = await stage.accept("joe")
    stage.spool.finish(Finished(task, (deferred(0, START),), due=START + 5))
    await stage.settle()
    await stage.keeping.queue_edit("hold", {"id": other.id}, "ada")
    await stage.advance(499)
    assert await statuses(stage, new) == {"bob": "Held", "eve": "Held"}
    await stage.advance(40)
    await stage.advance(40)
    assert await statuses(stage, new) == {"bob": "Dropped", "eve": "Dropped"}
    shown = await stage.keeping.trace_show(new.id)
    last = shown["rows"][0]["events"][-1]
    assert last["kind"] == Happening.DROP and "the sender was not told" in last["detail"]
    assert [row["id"] for row in await stage.keeping.hold_list({}, 10)] == [other.id]


async def test_what_waits_for_the_judge_is_shown_and_comes_by_itself(stage):
    new, _ = await stage.accept("bob", route=None, lane="contoso/pending", due=START + 60)
    await stage.settle()
    (row,) = await stage.keeping.hold_list({"state": "pending"}, 10)
    assert row["id"] == new.id and row["state"] == "pending" and row["due"] == START + 60
    assert await stage.keeping.hold_list({"state": "held"}, 10) == []
    await stage.advance(61)
    assert [task.id for task in stage.taken] == [new.id]


async def test_an_order_for_one_recipient_of_a_task_that_is_under_way_is_carried_out_when_it_comes_back(stage):
    new, ((task, owned),) = await stage.accept("bob", "eve", "joe")
    assert owned
    await stage.keeping.queue_edit("delete", {"id": new.id, "recipient": "eve@contoso.com"}, "ada")
    now = stage.clock.now()
    stage.spool.finish(Finished(task, (delivered(0, now),), keep=True))
    stage.spool.finish(Finished(task, (deferred(1, now), deferred(2, now)), due=now + 30))
    await stage.settle()
    await stage.advance(31)
    assert [r.target.local for t in stage.taken for r in t.recipients] == ["joe"]
    assert await statuses(stage, new) == {"bob": "Delivered", "eve": "Dropped", "joe": "Pending"}


async def held_for(stage, new, seconds):
    assert await stage.keeping.queue_edit("hold", {"id": new.id}, "ada") == 1
    await stage.advance(seconds)
    assert await stage.keeping.queue_edit("release", {"id": new.id}, "ada") == 1
    await stage.settle()


async def put_off(stage, task, seconds, *, warned=False):
    now = stage.clock.now()
    stage.spool.finish(Finished(task, (deferred(0, now),), due=now + seconds, warned=warned))
    await stage.settle()


async def test_the_life_of_a_message_is_longer_by_the_time_it_was_held_and_no_more(stage):
    new, ((task, _),) = await stage.accept("bob", life=1000)
    await put_off(stage, task, 300)
    for seconds in (0, 30, 7):
        await stage.advance(100)
        await held_for(stage, new, seconds)
        (got,) = stage.taken
        stage.taken.clear()
        await put_off(stage, got.task, 300)
    assert got.expires == new.expires + 37
    await stage.advance(new.expires + 38 - stage.clock.now())
    assert stage.taken.pop().expired


async def test_a_short_hold_does_not_silence_the_notice_of_delay(stage):
    new, ((task, _),) = await stage.accept("bob", life=1000)
    await put_off(stage, task, 5)
    await held_for(stage, new, 50)
    got = stage.taken.pop()
    assert not got.warned, "it is not late yet, so somebody has to be told when it is"
    await put_off(stage, got.task, 500)
    await stage.advance(501)
    assert not stage.taken.pop().warned


async def test_the_notice_that_was_sent_is_not_sent_again_after_a_hold(stage):
    new, ((task, _),) = await stage.accept("bob", life=1000)
    await stage.advance(420)
    await put_off(stage, task, 5, warned=True)
    await held_for(stage, new, 20)
    assert stage.taken.pop().warned


async def test_nobody_is_told_of_a_delay_that_fell_due_while_the_message_was_held(stage):
    new, ((task, _),) = await stage.accept("bob", life=1000)
    await put_off(stage, task, 5)
    await held_for(stage, new, 450)
    assert stage.taken.pop().warned
    late, ((task, _),) = await stage.accept("bob", life=1000)
    await stage.advance(450)
    await put_off(stage, task, 5)
    await held_for(stage, late, 20)
    assert not stage.taken.pop().warned, "it was late before it was held"
