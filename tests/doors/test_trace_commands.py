"""Held mail, exports and paging at the terminal, over a desk of rows; who may do what."""

from __future__ import annotations

import csv
import io
import json

import pytest

from doors.desk_here import EVIL, desk_here
from lockgate.cli.trace_export import COLUMNS, cell, csv_row
from lockgate.flow.asking import HoldBody, HoldEdit, HoldList, HoldShow, Kind, TraceFollow
from lockgate.flow.desk.rights import ROLE_GROUPS, Caller

HELD = [
    {"id": "h1", "task": 7, "organisation": "contoso", "state": "held", "why": EVIL, "received": 1_700_000_000.0,
     "held_at": 1_700_000_000.0, "held_until": 1_700_864_000.0, "due": None, "sender_address": "x@out.test",
     "recipients": ["ann@contoso.test", "bob@contoso.test"], "subject": EVIL, "size": 40, "lane": "contoso/hold"},
    {"id": "p1", "task": 9, "organisation": "contoso", "state": "pending", "why": "asked", "received": 1.7e9,
     "held_at": None, "held_until": None, "due": 1.7e9, "sender_address": "y@out.test",
     "recipients": ["ann@contoso.test"], "subject": "s", "size": 4, "lane": "contoso/pending"},
]  # fmt: skip
BODY = b"From: x\r\nSubject: =?utf-8?q?=1B[2Jred?=\r\n\x1b]0;owned\x07: odd\r\n\r\nthe secret body\r\n"


@pytest.fixture
async def here(tmp_path):
    async with desk_here(tmp_path) as made:
        made.keeping.held = [dict(row) for row in HELD]
        made.keeping.bodies = {7: BODY}
        yield made


def harmless(text: str) -> bool:
    return all(c.isprintable() or c == "\n" for c in text)


async def test_hold_list_and_show_are_safe_to_look_at(here):
    code, out, _ = await here.run("hold", "list")
    assert code == 0 and "h1" in out and "p1" in out and "2023-11-24" in out and harmless(out)
    code, out, _ = await here.run("hold", "list", "--state", "pending", "--json")
    assert [row["id"] for row in json.loads(out)] == ["p1"]
    code, out, _ = await here.run("hold", "show", "h1")
    assert code == 0 and "Subject" in out and "secret" not in out and harmless(out)
    code, out, _ = await here.run("hold", "show", "h1", "--json")
    assert "secret" not in out and harmless(json.loads(out)["headers"][1]["value"])
    code, out, _ = await here.run("hold", "list", "--organisation", "nobody")
    assert code == 1 and "Nothing that is held matches" in out
    for wrong in (["hold", "list", "--state", "odd"], ["hold", "list", "--since", "yesterday"]):
        assert (await here.run(*wrong))[0] == 2
    code, _, err = await here.run("hold", "show", "gone")
    assert code == 1 and "No message gone is held" in err


async def test_held_messages_by_id_are_decided_about_one_by_one(here):
    here.keeping.held.append({**HELD[0], "id": "h2", "task": 8})
    code, out, err = await here.run("hold", "release", "h1", "gone", "h2", "--what-if", "--json")
    told = json.loads(out)
    assert (code, told["count"], [row["id"] for row in told["held"]]) == (1, 2, ["h1", "h2"])
    assert told["unknown"] == ["gone"] and err == "Nothing that is held matches: gone\n"
    code, out, err = await here.run("hold", "release", "h1", "gone", "h2")
    assert (code, out, err) == (1, "2 held tasks released.\n", "Nothing that is held matches: gone\n")


async def test_what_if_counts_all_that_is_held(here):
    here.keeping.held = [{**HELD[0], "id": f"h{number}", "task": number} for number in range(5030, 0, -1)]
    code, out, err = await here.run("hold", "delete", "--organisation", "contoso", "--what-if")
    assert code == 0 and "5030 held tasks would be deleted; nothing was changed." in out
    assert err == "The first 5000 of 5030 held tasks are shown.\n"


@pytest.mark.parametrize("action", ["release", "delete"])
async def test_what_if_touches_nothing_and_the_real_thing_is_audited(here, action):
    code, out, _ = await here.run("hold", action, "h1", "--recipient", "ann@contoso.test", "--what-if")
    assert code == 0 and "nothing was changed" in out and here.keeping.edits == [] and here.audit.rows == []
    code, out, _ = await here.run("hold", action, "h1", "--recipient", "ann@contoso.test")
    assert code == 0 and f"1 held task {action}d." in out
    assert [(did, task) for did, task, _ in here.keeping.edits] == [(action, "h1")]
    (row,) = here.audit.rows
    assert row["did"] == f"hold {action}" and row["for_recipient"] == "ann@contoso.test" and row["count"] == 1


async def test_an_order_without_sense_is_refused(here):
    for wrong in (["hold", "release"], ["hold", "delete", "h1", "--sender", "x@out.test"]):
        assert (await here.run(*wrong))[0] == 2
    code, _, err = await here.run("hold", "release", "gone")
    assert code == 1 and "Nothing that is held matches" in err
    answer = await here.desk.answer(HoldEdit("release", {"state": "pending", "id": "p1"}), Caller("eva"))
    assert answer.kind == Kind.MISUSE and "queue retry" in answer.sentence
    assert (await here.desk.answer(HoldEdit("explode", {"id": "h1"}), Caller("eva"))).kind == Kind.MISUSE
    assert here.keeping.edits == []


async def test_the_body_is_given_piece_by_piece_and_audited(here, tmp_path):
    raw = tmp_path / "raw.eml"
    code, out, _ = await here.run("hold", "show", "h1", "--raw", str(raw))
    assert code == 0 and raw.read_bytes() == BODY and "secret" not in out
    assert [row["did"] for row in here.audit.rows] == ["hold read"]
    assert (await here.desk.answer(HoldBody("h1", 10_000), Caller("eva"))).kind == Kind.MISUSE
    here.keeping.bodies = {}
    assert (await here.desk.answer(HoldBody("h1"), Caller("eva"))).kind == Kind.FINDING


async def test_rights(here):
    reader = Caller("ann", ROLE_GROUPS["SecurityReader"])
    assert (await here.desk.answer(HoldList(), reader)).kind == Kind.OK
    assert (await here.desk.answer(HoldShow("h1"), reader)).kind == Kind.OK
    for more in (HoldEdit("delete", {"id": "h1"}), HoldBody("h1"), TraceFollow()):
        assert (await here.desk.answer(more, reader)).kind == Kind.FORBIDDEN, more
    keeper = Caller("eva", ROLE_GROUPS["QuarantineAdministrator"])
    assert (await here.desk.answer(HoldEdit("release", {"id": "h1"}), keeper)).kind == Kind.OK


async def test_pages_at_the_terminal(here):
    for number, row in enumerate(here.keeping.rows):
        row["cursor"] = f"{number}.0"
    code, out, err = await here.run("trace", "find", "--limit", "1")
    assert code == 0 and "m1" in out and "--after 0.0" in err
    code, out, err = await here.run("trace", "find", "--limit", "1", "--after", "0.0")
    assert code == 0 and "K2" in out and "m1" not in out
    code, _, err = await here.run("trace", "find", "--revision", "x", "--connector", "HQ")
    assert here.keeping.asked[-1]["connector"] == "HQ" and here.keeping.asked[-1]["revision"] == "x"


async def test_export_over_the_terminal(here, tmp_path):
    code, out, _ = await here.run("trace", "export", "--csv")
    rows = list(csv.DictReader(io.StringIO(out, newline="")))
    assert code == 0 and [row["network_message_id"] for row in rows] == ["", ""] and tuple(rows[0]) == COLUMNS
    assert harmless(rows[0]["subject"])
    code, out, _ = await here.run("trace", "export", "--json", str(tmp_path / "t.json"))
    assert code == 0 and len(json.loads((tmp_path / "t.json").read_text())) == 2
    here.keeping.away = True
    code, _, _ = await here.run("trace", "export", "--csv", str(tmp_path / "no.csv"))
    assert code == 3 and not (tmp_path / "no.csv").exists() and list(tmp_path.glob(".*new")) == []


ACTIVE = ("=1", "+1", "-1", "@x", "\tx", "\rx", "\n=x", "  =x", "＝1", "＋1", "－1", "＠x", "|x", "%x")


@pytest.mark.parametrize("text", ACTIVE)
def test_no_cell_is_active(text):
    assert cell(text).startswith("'") and cell(text).isprintable()
    assert cell([text, "b"]).startswith("'") and cell("a" + text)[0] == "a"


def test_a_csv_line():
    line = csv_row({"received": 0.5, "size": 7, "rules": ["a", "b"], "revision": 3, "tls": None})
    assert line[0] == "1970-01-01T00:00:00.500+00:00" and "7" in line and "a, b" in line and "None" not in line
