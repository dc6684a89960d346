"""Every keeper of the queue keeps these promises (seams.Spool, seams.Keeping)."""

from __future__ import annotations

import msgspec
import pytest

from contracts.spools import HQ, START, deferred, delivered, scene, unreachable
from lockgate.mail.events import Event, Happening, Status
from lockgate.mail.message import BodyRef
from lockgate.mail.ruling import Route, Via
from lockgate.mail.task import Finished, NewTask, Refusal, Result


@pytest.fixture(params=["memory", "real"])
async def stage(request, tmp_path):
    async with scene(request.param, tmp_path) as made:
        yield made


async def statuses(stage, new):
    return [row["status"] for row in await stage.keeping.trace_find({"id": new.id}, 10)]


async def test_a_fresh_task_of_an_idle_lane_is_born_owned_and_its_body_is_readable(stage):
    new, ((task, owned),) = await stage.accept("bob", body=b"x" * 3000)
    assert owned and task > 0
    assert await stage.spool.read(new.body) == b"Received: here\r\n" + b"x" * 3000
    assert await stage.spool.story(new.id, "contoso") == b"story"
    assert await stage.spool.story(new.id, "fabrikam") is None
    await stage.settle()
    assert stage.taken == []


async def test_a_delivered_task_is_gone_and_the_trace_says_so(stage):
    new, ((task, _),) = await stage.accept("bob")
    stage.deliver(task)
    await stage.settle()
    assert await stage.keeping.queue_list({"id": new.id}) == []
    (row,) = await stage.keeping.trace_find({"id": new.id}, 10)
    assert row["status"] == "Delivered" and row["reply"] == "250 2.0.0 taken"
    shown = await stage.keeping.trace_show(new.id)
    assert [event["kind"] for event in shown["rows"][0]["events"]] == [Happening.RECEIVE, Happening.SEND]
    assert shown["stories"] == {"contoso": b"story"}


async def test_the_trace_row_is_the_documented_object(stage):
    new, _ = await stage.accept("bob")
    (row,) = await stage.keeping.trace_find({"recipient": "BOB@contoso.com"}, 10)
    assert {name: row[name] for name in row if name not in ("size", "reply", "pool", "to_ip", "cursor")} == {
        "id": new.id, "received": START, "organisation": "contoso", "sender_address": "ann@example.net",
        "recipient_address": "bob@contoso.com", "subject": "Quarterly numbers", "status": "Pending",
        "from_ip": "192.0.2.1", "message_id": new.message_id, "network_message_id": new.id,
        "inbound_connector": "Partner", "outbound_connector": "HQ", "tls": "TLSv1.3 AES", "revision": 7,
        "rules": [],
    }  # fmt: skip
    assert row["size"] == new.size


async def test_recipients_done_leave_the_task_and_the_rest_comes_back_numbered_anew(stage):
    new, ((task, _),) = await stage.accept("bob", "eve", "joe")
    stage.deliver(task, 1, keep=True)
    now = stage.clock.now()
    stage.spool.finish(Finished(task, (deferred(0, now), deferred(2, now)), due=now + 30))
    await stage.settle()
    assert stage.taken == []
    await stage.advance(31)
    (again,) = stage.taken
    assert [r.target.local for r in again.recipients] == ["bob", "joe"] and again.attempts == 1
    stage.deliver(task, 0, 1)
    await stage.settle()
    assert await statuses(stage, new) == ["Delivered"] * 3
    assert await stage.keeping.queue_list({}) == []


async def test_a_task_whose_last_recipient_is_done_is_gone_even_if_kept(stage):
    _, ((task, _),) = await stage.accept("bob", "eve")
    stage.deliver(task, 0, keep=True)
    stage.deliver(task, 1, keep=True)
    await stage.settle()
    assert await stage.keeping.queue_list({}) == []


async def test_given_back_untouched_keeps_its_place_and_counts_no_attempt(stage):
    _, ((task, _),) = await stage.accept("bob")
    stage.spool.finish(Finished(task, ()))
    await stage.settle()
    await stage.advance(2)
    (again,) = stage.taken
    assert again.task == task and again.attempts == 0


async def test_a_lane_that_is_down_waits_as_a_whole_and_goes_on_in_order(stage):
    _, ((first, _),) = await stage.accept("bob")
    stage.spool.finish(unreachable(first, stage.clock.now()))
    await stage.settle()
    others = [(await stage.accept("bob"))[1][0] for _ in range(5)]
    assert not any(owned for _, owned in others)
    await stage.settle()
    assert stage.taken == []
    (lane,) = await stage.keeping.queue_list({})
    assert lane["tasks"] == 6 and lane["fails"] == 1 and lane["why"] == "451 4.4.1 no connection"
    await stage.advance(11)
    assert stage.taken[0].task == first and stage.taken[0].attempts == 0
    seen = 0
    while seen < len(stage.taken):
        stage.deliver(stage.taken[seen].task)
        seen += 1
        await stage.settle()
    assert [t.task for t in stage.taken] == [first, *(task for task, _ in others)]
    assert (await stage.accept("bob"))[1][0][1], "the lane is healthy again"


async def test_another_lane_is_not_held_up(stage):
    _, ((task, _),) = await stage.accept("bob")
    stage.spool.finish(unreachable(task, stage.clock.now()))
    await stage.settle()
    _, ((_, owned),) = await stage.accept("bob", route=Route(Via.MX, "contoso", "", "fabrikam.com"))
    assert owned


async def test_a_task_due_later_is_not_owned_and_comes_when_it_is_due(stage):
    _, ((task, owned),) = await stage.accept("bob", route=None, lane="contoso/pending", due=START + 60)
    assert not owned
    await stage.advance(59)
    assert stage.taken == []
    await stage.advance(2)
    assert [t.task for t in stage.taken] == [task] and stage.taken[0].route is None


async def test_a_held_task_is_never_due_until_released(stage):
    new, ((task, owned),) = await stage.accept("bob", route=None, held="looks like malware")
    assert not owned
    await stage.advance(90_000)
    assert stage.taken == []
    assert await statuses(stage, new) == ["Held"]
    assert await stage.keeping.queue_edit("release", {"id": new.id}, "eva") == 1
    await stage.settle()
    (again,) = stage.taken
    assert again.task == task and again.route is None and not again.expired
    assert await statuses(stage, new) == ["Pending"]


async def test_replace_puts_new_tasks_in_the_place_of_the_rest(stage):
    new, ((task, _),) = await stage.accept("bob", "eve", route=None, lane="contoso/pending")
    now = stage.clock.now()
    r = new.tasks[0].recipients
    moved = tuple(Result(n, False, Status.PENDING, Event(now, Happening.RELEASE, "")) for n in (0, 1))
    there = NewTask(HQ.lane, HQ, r[:1], now)
    held = NewTask("contoso/hold", None, r[1:], now, "wait")
    stage.spool.finish(Finished(task, moved, replace=(there, held)))
    await stage.settle()
    (again,) = stage.taken
    assert again.route == HQ and [x.target.local for x in again.recipients] == ["bob"]
    stage.deliver(again.task)
    await stage.settle()
    (left,) = await stage.keeping.queue_list({"id": new.id})
    assert left["held"] == "wait" and left["recipients"] == ["eve@contoso.com"]


async def test_the_notice_and_the_end_of_life_come_although_the_lane_is_down(stage):
    _, ((task, _),) = await stage.accept("bob", life=1000)
    stage.spool.finish(unreachable(task, stage.clock.now()))
    await stage.settle()
    for _ in range(60):
        await stage.advance(19)
        while stage.taken:
            got = stage.taken.pop()
            late = stage.clock.now() - START >= 400
            if got.expired:
                assert got.warned and stage.clock.now() >= START + 1000
                return
            stage.spool.finish(
                Finished(task, (deferred(0, stage.clock.now(), host=""),), lane_down="451 4.4.1 down", warned=late)
            )
    pytest.fail("the task was never handed out as expired")


async def test_what_is_handed_out_for_a_last_word_says_that_the_lane_is_down(stage):
    _, ((task, _),) = await stage.accept("bob", life=1000)
    await stage.advance(995)
    stage.spool.finish(msgspec.structs.replace(unreachable(task, stage.clock.now()), warned=True))
    await stage.settle()
    assert not stage.taken
    await stage.advance(6)
    (got,) = stage.taken
    assert got.expired and got.lane_down == "451 4.4.1 no connection"


async def test_an_unknown_task_is_ignored(stage):
    stage.spool.finish(Finished(12345, (delivered(0, 1.0),)))
    await stage.settle()


async def test_what_waits_is_listed_and_counted_by_address_with_and_without_brackets(stage):
    await stage.accept("bob", "joe", held="why")
    await stage.accept("bob", sender=None)
    for filters, count in (
        ({"recipient": "bob@contoso.com"}, 2),
        ({"recipient": "<Bob@contoso.com>"}, 2),
        ({"recipient": "<joe@contoso.com>", "held": "yes"}, 1),
        ({"sender": "<>"}, 1),
        ({"sender": "<ann@example.net>"}, 1),
        ({"lane": HQ.lane}, 2),
        ({"id": "unknown"}, 0),
    ):
        assert len(await stage.keeping.queue_list(filters)) == count, filters
        assert await stage.keeping.queue_count(filters) == count, filters
    assert await stage.keeping.queue_edit("delete", {"recipient": "<bob@contoso.com>"}, "eva") == 2


async def test_deleting_leaves_status_and_event(stage):
    new, ((task, _),) = await stage.accept("bob", held="why")
    assert await stage.keeping.queue_edit("delete", {"task": str(task)}, "eva") == 1
    assert await stage.keeping.queue_list({}) == []
    assert await statuses(stage, new) == ["Dropped"]
    shown = await stage.keeping.trace_show(new.id)
    assert "eva" in shown["rows"][0]["events"][-1]["detail"]


async def test_hold_takes_a_waiting_task_out_of_line_and_retry_hurries_the_others(stage):
    _, ((first, _),) = await stage.accept("bob")
    stage.spool.finish(unreachable(first, stage.clock.now()))
    await stage.settle()
    second, _ = await stage.accept("bob", sender=None)
    assert await stage.keeping.queue_edit("hold", {"id": second.id}, "eva") == 1
    assert await statuses(stage, second) == ["Held"]
    assert await stage.keeping.queue_edit("retry", {"lane": HQ.lane}, "eva") == 1
    await stage.settle()
    assert [t.task for t in stage.taken] == [first]


async def test_an_edit_without_sense_is_refused(stage):
    with pytest.raises(ValueError):
        await stage.keeping.queue_edit("explode", {"lane": "x"}, "eva")
    with pytest.raises(ValueError):
        await stage.keeping.queue_edit("delete", {}, "eva")


async def test_refusals_are_found_beside_messages(stage):
    new, _ = await stage.accept("bob")
    stage.spool.refused(Refusal(START + 1, "REFUSED1", "contoso", "RCPT", "198.51.100.7", "h", "spam@example.org",
                                "nobody@contoso.com", "550 5.4.1 no", "directory: nobody is there"))  # fmt: skip
    await stage.settle()
    await stage.advance(2)
    rows = await stage.keeping.trace_find({}, 10)
    assert [row["id"] for row in rows] == ["REFUSED1", new.id]
    (row,) = await stage.keeping.trace_find({"status": "refused", "ip": "198.51.100.7"}, 10)
    assert row["recipient_address"] == "nobody@contoso.com" and row["reply"] == "550 5.4.1 no"


async def test_each_refusal_of_a_connection_is_shown_with_its_own_story(stage):
    def refusal(recipient: str, at: float) -> Refusal:
        return Refusal(at, "REFUSED2", "contoso", "RCPT", "198.51.100.7", "h", "spam@example.org", recipient,
                       "550 5.4.1 no", f"directory: {recipient}")  # fmt: skip

    stage.spool.refused(refusal("a@contoso.com", START + 1), lambda: b"story of a")
    stage.spool.refused(refusal("b@contoso.com", START + 2), lambda: b"story of b")
    await stage.settle()
    await stage.advance(2)
    found = await stage.keeping.trace_show("REFUSED2")
    told = [(row["organisation"], row["row"]["recipient_address"], row["story"]) for row in found["refusals"]]
    assert told == [("contoso", "b@contoso.com", b"story of b"), ("contoso", "a@contoso.com", b"story of a")]
    new, _ = await stage.accept("bob")
    shown = await stage.keeping.trace_show(new.id)
    assert shown["id"] == new.id and "refusals" not in shown


async def test_trace_search_by_every_key(stage):
    new, _ = await stage.accept("bob")
    await stage.accept("eve", sender=None)
    for filters in (
        {"sender": "ANN@example.net"}, {"recipient": "bob@contoso.com"}, {"id": new.id}, {"id": new.message_id},
        {"id": new.message_id.strip("<>")}, {"ip": "192.0.2.1", "sender": "ann@example.net"},
        {"status": "pending", "recipient": "bob@contoso.com"}, {"since": str(START), "recipient": "bob@contoso.com"},
    ):  # fmt: skip
        assert [row["id"] for row in await stage.keeping.trace_find(filters, 10)] == [new.id], filters
    assert await stage.keeping.trace_find({"until": str(START)}, 10) == []
    assert len(await stage.keeping.trace_find({}, 1)) == 1


async def test_a_body_that_is_not_there_is_said_to_be_missing(stage):
    with pytest.raises((FileNotFoundError, ValueError)):
        await stage.spool.read(BodyRef("0000000000000001-000001.seg", 28, 5, 1))
