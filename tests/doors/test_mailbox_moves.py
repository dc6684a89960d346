"""`lockgate mailbox move`: everything but the place stays, one mistake stops nobody else, nothing is deleted."""

from __future__ import annotations

import json

import msgspec
import pytest

from doors.desk_here import POLICY, desk_here
from lockgate.mail.findings import RecipientKind
from lockgate.policy.compile import compile_policy

HQ = """
[[outbound_connector]]
name = "HQ"
connector_type = "on_premises"
recipient_domains = ["contoso.test"]
use_mx_record = false
smart_hosts = ["hq.contoso.test"]
"""
PEOPLE = (
    "address,kind,aliases,external_address,members,forwarding_smtp_address,accept_messages_only_from,city\n"
    "julie@contoso.test,mail_user,j@contoso.test,,,assistant@contoso.test,boss@contoso.test,Seattle\n"
    "boss@contoso.test,mailbox,,,,,,\n"
    "assistant@contoso.test,mail_user,,a@there.contoso.test,,,,\n"
    "all@contoso.test,distribution_group,,,julie@contoso.test;boss@contoso.test,,,\n"
    "guest@contoso.test,mail_contact,,guest@far.test,,,,\n"
)


@pytest.fixture
async def here(tmp_path):
    async with desk_here(tmp_path) as made:
        made.policy = compile_policy({"a": POLICY + HQ}, hostname="mx.test", revision=1, keeps_mailboxes=True)
        file = tmp_path / "people.csv"
        file.write_text(PEOPLE)
        code, _, err = await made.run("recipient", "import", str(file))
        assert code == 0, err
        made.audit.rows.clear()
        made.keeping.tasks[0]["recipients"] = ["julie@contoso.test"]
        yield made


def row(here, address):
    return next(one for one in here.recipients.people["contoso"] if one.primary.text == address)


async def test_here_and_back_everything_else_stays(here):
    before = row(here, "julie@contoso.test")
    code, out, err = await here.run("mailbox", "move", "J@contoso.test", "here", "--what-if")
    assert (code, err) == (0, "") and row(here, "julie@contoso.test") == before and not here.audit.rows
    assert out.splitlines() == [
        "julie@contoso.test would live here.",
        "Mail that waited for them, would be routed anew: 1 message.",
        "Nothing was changed.",
    ]
    code, out, err = await here.run("mailbox", "move", "J@contoso.test", "here")
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "julie@contoso.test lives here.", "Mail that waited for them, routed anew: 1 message."
    ]  # fmt: skip
    assert row(here, "julie@contoso.test") == msgspec.structs.replace(before, kind=RecipientKind.MAILBOX)
    assert here.keeping.edits == [("reroute", "m1", here.audit.rows[0]["by"])]
    assert [one["did"] for one in here.audit.rows] == ["mailbox move", "queue reroute"]
    assert here.audit.rows[0]["before"]["kind"] == "mail_user" and here.audit.rows[0]["after"]["kind"] == "mailbox"
    assert here.audit.rows[1]["for_recipients"] == ["julie@contoso.test", "j@contoso.test"]

    here.left["julie@contoso.test"] = {"path": "/mail/contoso/contoso.test/julie", "messages": 3}
    code, out, err = await here.run("mailbox", "move", "julie@contoso.test", "there")
    assert code == 0 and out.splitlines()[:2] == [
        "julie@contoso.test lives on the other side.",
        "  /mail/contoso/contoso.test/julie keeps 3 messages; nothing is deleted.",
    ]
    assert row(here, "julie@contoso.test") == before


async def test_an_external_address_and_who_lives_there_already(here):
    code, out, _ = await here.run("mailbox", "move", "boss@contoso.test", "there", "--external", "boss@hq.contoso.test")
    assert code == 0 and out.startswith("boss@contoso.test lives on the other side as boss@hq.contoso.test.")
    assert row(here, "boss@contoso.test").external.text == "boss@hq.contoso.test"
    code, out, _ = await here.run("mailbox", "move", "assistant@contoso.test", "there")
    assert code == 0 and out.startswith("assistant@contoso.test lives on the other side already.")
    assert row(here, "assistant@contoso.test").external.text == "a@there.contoso.test"


async def test_many_from_a_file_with_one_mistake(here, tmp_path):
    file = tmp_path / "moves.csv"
    file.write_text("address,external_address\njulie@contoso.test,\nall@contoso.test\nnobody@contoso.test\n")
    code, out, err = await here.run("mailbox", "move", "here", "--file", str(file))
    assert code == 1 and out.splitlines()[-1] == "1 of 3 moved."
    assert err.splitlines() == [
        "all@contoso.test: all@contoso.test is a distribution group; only mailboxes and mail users move",
        "nobody@contoso.test: nobody has the address nobody@contoso.test",
    ]
    file.write_text("boss@contoso.test,b@there.contoso.test\n\njulie@contoso.test\n")
    code, out, _ = await here.run("mailbox", "move", "there", "--file", str(file), "--json")
    told = json.loads(out)
    assert code == 0 and [one["address"] for one in told["mailboxes"]] == ["boss@contoso.test", "julie@contoso.test"]
    assert row(here, "boss@contoso.test").external.text == "b@there.contoso.test"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("julie@contoso.test", "away"), "the last word is here or there"),
        (("here",), "Say who moves"),
        (("a@contoso.test", "b@contoso.test", "there", "--external", "x@y.test"), "--external is for one mailbox"),
        (("julie@contoso.test", "here", "--external", "x@y.test"), "A mailbox here has no external address"),
        (("here", "--file", "/nowhere/at/all.csv"), "cannot be read"),
    ],
)
async def test_what_makes_no_sense_changes_nothing(here, words, said):
    code, _, err = await here.run("mailbox", "move", *words)
    assert code == 2 and said in err and not here.audit.rows


async def test_a_line_without_an_address_is_told_with_its_number(here, tmp_path):
    file = tmp_path / "moves.csv"
    file.write_text("boss@contoso.test\n,x@there.test\n")
    code, _, err = await here.run("mailbox", "move", "there", "--file", str(file))
    assert code == 2 and f"{file}:2: an address is expected" in err and not here.audit.rows


async def test_nobody_moves_where_no_mailboxes_are_kept_and_a_missing_way_is_told(here):
    here.policy = compile_policy({"a": POLICY}, hostname="mx.test", revision=1)
    code, _, err = await here.run("mailbox", "move", "julie@contoso.test", "here")
    assert code == 2 and "No mailboxes are kept here" in err
    code, _, err = await here.run("mailbox", "move", "boss@contoso.test", "there")
    assert code == 0 and "warning: no outbound connector is for contoso.test" in err
