"""Every keeper finds, pages and follows the trace alike, and keeps of people only what it may."""

from __future__ import annotations

import msgspec
import pytest

from contracts.spools import HQ, SENDER, START, delivered, message, scene
from lockgate.mail.address import Address
from lockgate.mail.events import Event, Happening
from lockgate.mail.redaction import Masking, Redactor
from lockgate.mail.task import Finished, Refusal, Result

KEY = b"k" * 32


@pytest.fixture(params=["memory", "real"])
async def stage(request, tmp_path):
    async with scene(request.param, tmp_path) as made:
        yield made


def refusal(n=1, at=START, organisation="contoso"):
    return Refusal(at, f"REFUSED{n}", organisation, "RCPT", "198.51.100.7", "h", "spam@example.org",
                   "nobody@contoso.com", "550 5.4.1 <nobody@contoso.com> no", "rule Late: nobody@contoso.com is there",
                   connector="Edge", revision=9)  # fmt: skip


async def accepted(stage, name, *, rules=(), revision=7, sender=SENDER, subject="Numbers"):
    writer = stage.spool.begin(b"Received: here\r\n")
    writer.write(b"Subject: x\r\n\r\nhello\r\n")
    new = message(stage.clock.now(), writer.finish(), writer.size, (name,), HQ, sender=sender)
    traces = (msgspec.structs.replace(new.traces[0], rules=tuple(rules)),)
    new = msgspec.structs.replace(new, traces=traces, revision=revision, subject=subject)
    return new, (await stage.spool.accept(new)).tasks


async def ids(stage, **filters):
    return [row["id"] for row in await stage.keeping.trace_find(filters, 100)]


async def test_search_by_every_key(stage):
    new, ((task, _),) = await accepted(stage, "bob", rules=("Big", "Late, too"), revision=8, subject="Ärger um Köln")
    other, _ = await accepted(stage, "eve", sender=Address("joe", "fabrikam.com"))
    event = Event(START, Happening.SEND, "", "250 2.0.0 ok", "hq[192.0.2.25]:25", "TLSv1.3 AES", "main")
    stage.spool.finish(Finished(task, (msgspec.structs.replace(delivered(0, START), event=event),)))
    await stage.settle()
    for filters in (
        {"sender": "<ANN@Example.net>"}, {"recipient": "bob@CONTOSO.com"}, {"sender_domain": "EXAMPLE.net"},
        {"id": new.id}, {"message_id": new.message_id}, {"id": new.message_id.strip("<>")}, {"rule": "Big"},
        {"rule": "Late, too"}, {"revision": "8"}, {"status": "Delivered"}, {"pool": "main"}, {"subject": "ärger"},
        {"connector": "hq", "recipient": "bob@contoso.com"}, {"inbound_connector": "Partner", "status": "Delivered"},
        {"outbound_connector": "HQ", "revision": "8"}, {"from_ip": "192.0.2.1", "rule": "Big"},
    ):  # fmt: skip
        assert await ids(stage, **filters) == [new.id], filters
    for filters in ({"sender_domain": "ample.net"}, {"rule": "Late"}, {"message_id": new.id}, {"pool": "other"},
                    {"recipient_domain": "example.net"}, {"from_ip": "192.0.2.2"}):  # fmt: skip
        assert await ids(stage, **filters) == [], filters
    assert await ids(stage, sender_domain="fabrikam.com") == [other.id]
    assert len(await ids(stage, recipient_domain="contoso.com")) == 2
    (row,) = await stage.keeping.trace_find({"pool": "main"}, 10)
    assert row["rules"] == ["Big", "Late, too"] and row["pool"] == "main"


async def test_an_organisation_is_found_in_any_case_and_an_address_in_any_form(stage):
    writer = stage.spool.begin(b"Received: here\r\n")
    new = message(stage.clock.now(), writer.finish(), writer.size, ("bob",), HQ)
    await stage.spool.accept(msgspec.structs.replace(new, from_ip="2001:db8::7"))
    stage.spool.refused(msgspec.structs.replace(refusal(), peer="2001:db8::7"))
    stage.spool.refused(msgspec.structs.replace(refusal(2, organisation="fabrikam"), peer="192.0.2.9"))
    await stage.settle()
    await stage.advance(2)
    for filters in (
        {"organisation": "Contoso"}, {"organisation": "CONTOSO"}, {"ip": "2001:db8:0:0:0:0:0:7"},
        {"from_ip": "2001:DB8::0007"}, {"organisation": "conTOSO", "ip": "2001:0db8::7"},
    ):  # fmt: skip
        assert sorted(await ids(stage, **filters)) == sorted([new.id, "REFUSED1"]), filters
    assert await ids(stage, ip="::ffff:192.0.2.9") == await ids(stage, organisation="Fabrikam") == ["REFUSED2"]
    for text in ("2001:db8::8", "2001:db8:::7", "bob", "192.0.2"):
        assert await ids(stage, ip=text) == [] and await ids(stage, from_ip=text) == [], text


async def test_the_next_servers_address_is_found_in_any_form(tmp_path):
    async with scene("real", tmp_path) as stage:
        new, ((task, _),) = await stage.accept("bob")
        event = Event(START, Happening.SEND, "", "250 2.0.0 ok", "hq[2001:db8::25]:25")
        stage.spool.finish(Finished(task, (msgspec.structs.replace(delivered(0, START), event=event),)))
        await stage.settle()
        for _ in ("in the queue", "in its day's file"):
            for text in ("2001:db8::25", "2001:db8:0:0::25", "2001:0DB8::0025"):
                assert await ids(stage, to_ip=text) == await ids(stage, ip=text) == [new.id], text
            assert await ids(stage, to_ip="2001:db8::26") == [] and await ids(stage, organisation="ConToso") == [new.id]
            await stage.advance(200)
            await stage.settle()


async def test_refusals_are_searched_by_the_keys_they_have(stage):
    stage.spool.refused(refusal())
    await stage.settle()
    await stage.advance(2)
    for filters in (
        {"sender": "spam@example.org"}, {"recipient_domain": "contoso.com"}, {"id": "refused1"}, {"rule": "Late"},
        {"ip": "198.51.100.7"}, {"from_ip": "198.51.100.7"}, {"connector": "edge"}, {"revision": "9"},
        {"organisation": "contoso", "status": "refused"},
    ):  # fmt: skip
        assert await ids(stage, **filters) == ["REFUSED1"], filters
    for filters in ({"to_ip": "198.51.100.7"}, {"pool": "main"}, {"outbound_connector": "Edge"}, {"subject": "x"}):
        assert await ids(stage, **filters) == [], filters


async def test_pages_leave_nothing_out_and_repeat_nothing_whatever_comes_meanwhile(stage):
    expected = []
    for n in range(12):
        if n % 3 == 2:
            stage.spool.refused(refusal(n, stage.clock.now()))
            await stage.settle()
            await stage.advance(2)
            expected.append(f"REFUSED{n}")
        else:
            expected.append((await accepted(stage, "bob"))[0].id)
        await stage.advance(1)
    seen, after = [], ""
    while page := await stage.keeping.trace_find({}, 5, after):
        seen += [row["id"] for row in page]
        after = page[-1]["cursor"]
        await accepted(stage, "late")
    assert seen == expected[::-1]


async def test_following_tells_what_is_new_and_what_has_changed(stage):
    await accepted(stage, "earlier")
    await stage.settle()
    rows, mark = await stage.keeping.trace_follow({}, "")
    assert rows == []
    new, ((task, _),) = await accepted(stage, "bob")
    await stage.settle()
    rows, mark = await stage.keeping.trace_follow({}, mark)
    assert [(row["id"], row["status"]) for row in rows] == [(new.id, "Pending")]
    stage.deliver(task)
    stage.spool.refused(refusal(5, START + 1))
    await stage.settle()
    await stage.advance(2)
    rows, after = await stage.keeping.trace_follow({}, mark)
    assert [(row["id"], row["status"]) for row in rows] == [(new.id, "Delivered"), ("REFUSED5", "Refused")]
    assert (await stage.keeping.trace_follow({}, after))[0] == []
    rows, _ = await stage.keeping.trace_follow({"recipient": "eve@contoso.com"}, mark)
    assert rows == []
    rows, _ = await stage.keeping.trace_follow({"status": "Refused"}, mark)
    assert [row["id"] for row in rows] == ["REFUSED5"]


async def test_following_tells_what_a_person_did(stage):
    new, _ = await stage.accept("bob", route=None, held="why")
    await stage.settle()
    _, mark = await stage.keeping.trace_follow({}, "")
    await stage.keeping.queue_edit("delete", {"id": new.id}, "ada")
    rows, _ = await stage.keeping.trace_follow({}, mark)
    assert [row["status"] for row in rows] == ["Dropped"]


# -- what is kept of people --------------------------------------------------------------------------------------------


def discretion(masking, *, subjects=True, facts=True):
    redactor = Redactor(masking, subjects, facts, KEY)
    return lambda organisation: redactor if organisation in ("", "contoso") else None


@pytest.fixture(params=["memory", "real"])
async def masked(request, tmp_path):
    async with scene(request.param, tmp_path, discretion(Masking.LOCAL_PARTS), KEY) as made:
        yield made


@pytest.fixture(params=["memory", "real"])
async def hidden(request, tmp_path):
    async with scene(request.param, tmp_path, discretion(Masking.ALL), KEY) as made:
        yield made


async def fail(stage, task):
    event = Event(START, Happening.FAIL, "sender told", "550 5.1.1 <bob@contoso.com>: nobody, ask ann@example.net")
    stage.spool.finish(Finished(task, (Result(0, True, delivered(0, START).status, event),)))
    await stage.settle()


async def test_local_parts_are_hidden_everywhere_and_found_all_the_same(masked):
    new, ((task, _),) = await accepted(masked, "bob")
    masked.spool.refused(refusal())
    await fail(masked, task)
    await masked.advance(2)
    row, refused = sorted(await masked.keeping.trace_find({}, 10), key=lambda row: row["status"])
    assert row["recipient_address"].endswith("@contoso.com") and row["sender_address"].endswith("@example.net")
    assert row["subject"] == "***" and row["message_id"] == new.message_id
    whole = repr(row) + repr(refused) + repr(await masked.keeping.trace_show(new.id))
    for personal in ("bob", "ann", "spam@", "nobody@", "Numbers"):
        assert personal not in whole.replace("nobody, ask", ""), personal
    assert (await masked.keeping.trace_show(new.id))["stories"] == {}
    assert await ids(masked, recipient="BOB@contoso.com") == [new.id] == await ids(masked, sender="ann@example.net")
    assert await ids(masked, recipient="nobody@contoso.com") == ["REFUSED1"]
    assert await ids(masked, recipient="eve@contoso.com") == []
    assert await ids(masked, recipient=row["recipient_address"]) == [new.id]
    assert await ids(masked, recipient_domain="contoso.com", status="Delivered") == [new.id]


async def test_whole_addresses_and_message_ids_are_hidden_and_found_all_the_same(hidden):
    new, _ = await accepted(hidden, "bob")
    (row,) = await hidden.keeping.trace_find({}, 10)
    assert "@" not in row["recipient_address"] + row["sender_address"] + row["message_id"]
    assert await ids(hidden, recipient="bob@contoso.com") == [new.id] == await ids(hidden, sender="Ann@example.net")
    assert await ids(hidden, message_id=new.message_id) == [new.id] == await ids(hidden, id=new.message_id)


async def test_mail_is_carried_to_whole_addresses_and_judged_by_whole_facts(hidden):
    new, _ = await hidden.accept("bob", route=None, lane="contoso/pending", due=START + 5)
    await hidden.advance(6)
    (task,) = hidden.taken
    assert task.recipients[0].target.text == "bob@contoso.com" and task.envelope.sender_text == "ann@example.net"
    assert await hidden.spool.story(new.id, "contoso") == b"story"
    (row,) = await hidden.keeping.hold_list({"id": new.id}, 10)
    assert row["recipients"] == ["bob@contoso.com"] and row["sender_address"] == "ann@example.net"


async def test_following_shows_no_more_than_is_kept(hidden):
    _, mark = await hidden.keeping.trace_follow({}, "")
    await accepted(hidden, "bob")
    await hidden.settle()
    ((row,), _) = await hidden.keeping.trace_follow({"recipient": "bob@contoso.com"}, mark)
    assert "bob" not in repr(row)
