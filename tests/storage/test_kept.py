"""What is kept of each organisation, for how long, and how files of the first version go on."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing

import msgspec
import pytest

from contracts.spools import HQ, RealScene, message
from lockgate.mail.events import Event, Happening
from lockgate.mail.redaction import Kept, Masking, Redactor
from lockgate.mail.task import Refusal
from lockgate.storage import day_schema
from lockgate.storage.frames import pack_event
from lockgate.storage.kept import KeptFile, write_kept
from lockgate.storage.tables import STEPS, open_tables
from lockgate.storage.traces import day_files, find, show

DAY = 86400.0
FOREVER = Kept(365 * DAY)


class Wishes:
    """Lives as a test says them."""

    def __init__(self, **wishes: Kept) -> None:
        self.wishes = wishes

    def __call__(self, organisation: str) -> Kept:
        return self.wishes.get(organisation, FOREVER)

    def organisations(self) -> list[str]:
        return [*self.wishes]


@pytest.fixture
async def stage(tmp_path):
    real = RealScene(tmp_path, lives=Wishes(fabrikam=Kept(10 * DAY), silent=Kept(365 * DAY, facts=False)))
    await real.start()
    yield real
    await real.stop()


async def upkeep(stage, seconds=400.0):
    for _ in range(6):
        await stage.advance(seconds / 6)


async def done(stage, *organisations):
    """A delivered message with one recipient in each of these organisations."""
    writer = stage.spool.begin(b"")
    writer.write(b"Subject: x\r\n\r\nhello\r\n")
    names = [f"bob{n}" for n in range(len(organisations))]
    new = message(stage.clock.now(), writer.finish(), writer.size, names, HQ)
    traces = tuple(
        msgspec.structs.replace(trace, organisation=name)
        for trace, name in zip(new.traces, organisations, strict=True)
    )
    new = msgspec.structs.replace(new, traces=traces, stories=tuple((name, name.encode()) for name in organisations))
    accepted = await stage.spool.accept(new)
    stage.deliver(accepted.tasks[0][0], *range(len(organisations)))
    return new


async def found(stage, **filters):
    return [(row["id"], row["organisation"]) for row in await stage.keeping.trace_find(filters, 100)]


async def test_an_organisations_rows_go_when_its_time_is_over_and_the_others_stay(stage):
    both = await done(stage, "contoso", "fabrikam")
    mine = await done(stage, "contoso")
    theirs = await done(stage, "fabrikam")
    await upkeep(stage)
    assert len(await found(stage)) == 4
    await upkeep(stage, 9 * DAY)
    assert len(await found(stage)) == 4
    await upkeep(stage, 2.5 * DAY)
    await upkeep(stage)
    assert sorted(await found(stage)) == sorted([(both.id, "contoso"), (mine.id, "contoso")])
    assert (await stage.keeping.trace_show(both.id))["stories"] == {}
    assert await stage.keeping.trace_show(theirs.id) is None
    (file,) = day_files(stage.state / "trace")
    with closing(sqlite3.connect(file[1])) as db:
        assert db.execute("SELECT count(*) FROM message").fetchone() == (2,)
        assert dict(db.execute("SELECT name, purged FROM organisation"))["fabrikam"] == -1
    await upkeep(stage, 370 * DAY)
    assert day_files(stage.state / "trace") == []


async def test_rows_that_come_late_are_removed_as_well(stage):
    await done(stage, "contoso", "fabrikam")
    late, ((task, _),) = await stage.accept("eve")
    await upkeep(stage)
    await upkeep(stage, 12 * DAY)
    assert {whose for _, whose in await found(stage)} == {"contoso"}
    stage.keeper.ledger.db.execute("UPDATE trace SET organisation='fabrikam'")
    stage.deliver(task)
    await upkeep(stage)
    await upkeep(stage)
    assert late.id not in [row for row, _ in await found(stage)]


async def test_refusals_go_likewise(stage):
    for n, name in enumerate(("contoso", "fabrikam", "")):
        stage.spool.refused(Refusal(stage.clock.now(), f"R{n}", name, "RCPT", "198.51.100.7", "h", "a@b.test",
                                    "c@d.test", "550 5.4.1 no", "directory: nobody"))  # fmt: skip
    await upkeep(stage)
    assert len(await found(stage)) == 3
    await upkeep(stage, 11 * DAY)
    assert sorted(await found(stage)) == [("R0", "contoso"), ("R2", "")]
    await upkeep(stage, 360 * DAY)
    assert await found(stage) == []


async def test_facts_of_those_who_keep_none_do_not_reach_the_days_file(stage):
    new = await done(stage, "contoso", "silent")
    await upkeep(stage)
    shown = await stage.keeping.trace_show(new.id)
    assert shown["stories"] == {"contoso": b"contoso"} and len(shown["rows"]) == 2
    only = await done(stage, "silent")
    await upkeep(stage)
    shown = await stage.keeping.trace_show(only.id)
    assert shown["stories"] == {} and shown["rows"][0]["status"] == "Delivered"


async def test_facts_are_not_even_taken_in_where_nothing_is_left_to_judge(tmp_path):
    redactor = Redactor(Masking.NONE, subjects=False, facts=False, key=b"k")
    real = RealScene(tmp_path, lambda organisation: redactor)
    await real.start()
    try:
        carried, _ = await real.accept("bob")
        held, _ = await real.accept("eve", route=None, held="why")
        assert await real.spool.story(carried.id, "contoso") is None
        assert await real.spool.story(held.id, "contoso") == b"story"
        rows = await real.keeping.trace_find({}, 10)
        assert [row["subject"] for row in rows] == ["", ""] and rows[0]["recipient_address"] == "eve@contoso.com"
        assert (await real.keeping.trace_show(held.id))["stories"] == {}
    finally:
        await real.stop()


def test_wishes_reach_the_keeper_by_a_file(tmp_path):
    path = tmp_path / "trace" / "kept.json"
    lives = KeptFile(path, FOREVER)
    assert lives("contoso") == FOREVER and lives.organisations() == []
    write_kept(path, {"contoso": Kept(5.0, facts=False)})
    assert lives("contoso") == Kept(5.0, facts=False) and lives("other") == FOREVER
    path.write_bytes(b"{ broken")
    os.utime(path, ns=(1, 1))
    assert lives("contoso") == Kept(5.0, facts=False), "what cannot be read changes nothing"


# -- schemas -----------------------------------------------------------------------------------------------------------

EVENTS = pack_event(msgspec.msgpack.encode(Event(1.0, Happening.RECEIVE)))
STORIES = msgspec.msgpack.encode([("contoso", b"old story")])


def old_day(path):
    db = sqlite3.connect(path, isolation_level=None)
    db.executescript(day_schema._FIRST)
    db.execute("PRAGMA user_version = 1")
    row = (5, 20000, "id-5", 20000 * DAY + 30, "ann@example.net", "s", 10, "<m5@x>", "192.0.2.1", "", 3, "C5", 1,
           STORIES, day_schema.fingerprint("ann@example.net"), day_schema.fingerprint("m5@x"))  # fmt: skip
    db.execute(f"INSERT INTO message VALUES({','.join('?' * 16)})", row)
    trace = (5 << 20, "contoso", "bob@contoso.com", "Delivered", "", "HQ", "", "", "250 ok", EVENTS, "",
             day_schema.fingerprint("bob@contoso.com"))  # fmt: skip
    db.execute(f"INSERT INTO trace VALUES({','.join('?' * 12)})", trace)
    db.close()


def test_a_days_file_of_the_first_version_is_read_as_it_is_and_written_after_one_step(tmp_path):
    path = tmp_path / "2024-10-04.sqlite"
    old_day(path)
    queue = tmp_path / "keeper.sqlite"
    open_tables(queue).close()
    search = {"recipient": "bob@contoso.com", "since": str(20000 * DAY), "until": str(20001 * DAY)}
    for _ in ("as it is", "after the step", "with a new row"):
        assert "id-5" in [row["id"] for row in find(queue, tmp_path, search, 10)]
        assert show(queue, tmp_path, "id-5")["stories"] == {"contoso": b"old story"}
        assert find(queue, tmp_path, {**search, "until": str(20000 * DAY)}, 10) == []
        day = day_schema.open_day(path)
        assert day.execute("PRAGMA user_version").fetchone() == (day_schema.VERSION,)
        fresh = (6, 20000, "id-6", 20000 * DAY + 40, "ann@example.net", "s", 10, "<m6@x>", "192.0.2.1", "", 3, "C6",
                 1, None, "")  # fmt: skip
        trace = (6 << 20, "contoso", "bob@contoso.com", "Held", "", "", "", "", "", EVENTS, "", "A rule")
        day_schema.write_day(day, [fresh], [trace])
        assert day_schema.organisations(day) == {"contoso": 0}
        day.close()
    rows = find(queue, tmp_path, search, 10)
    assert [(row["id"], row["rules"]) for row in rows] == [("id-6", ["A rule"]), ("id-5", [])]
    assert show(queue, tmp_path, "id-6")["stories"] == {}


def test_the_queue_goes_from_version_2_to_3_with_held_mail_present(tmp_path):
    old = open_tables(tmp_path / "q.sqlite", STEPS[:2])
    insert = (
        "INSERT INTO task(id,bucket,lane,owner,due,attention,received,expires,held,segment,at,length,crc,what)"
        " VALUES(?,1,'contoso/hold',0,1e18,1e18,5,9,?,'s',0,1,1,x'00')"
    )
    old.execute(insert, (1, "why"))
    trace = (
        "INSERT INTO trace(number,organisation,recipient,status,inbound,outbound,events)"
        " VALUES(?,'c','r','Held','','',x'')"
    )
    old.execute(trace, (1,))
    old.close()
    new = open_tables(tmp_path / "q.sqlite")
    assert new.execute("SELECT held, held_at, held_until FROM task").fetchall() == [("why", 0.0, 0.0)]
    assert new.execute("SELECT rules, pool FROM trace").fetchall() == [("", "")]
    # What the version before wrote still works: it names its columns.
    new.execute(insert, (2, ""))
    new.execute(trace, (2,))
    plan = new.execute("EXPLAIN QUERY PLAN SELECT id FROM task WHERE held<>'' AND held_until>0 AND held_until<=5")
    assert "task_held_until" in plan.fetchone()[3]
    new.close()
