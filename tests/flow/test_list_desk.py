"""Who may look at lists and who may change what is on them; two organisations; what a lost file of lists means."""

from __future__ import annotations

from typing import Any, NamedTuple

import pytest

from lockgate.flow.asking import (
    Assignment,
    Kind,
    ListAdd,
    ListExport,
    ListFind,
    ListImport,
    ListRemove,
    ListShow,
    ListsList,
    ObjectWrite,
    Request,
)
from lockgate.flow.contents import answers
from lockgate.flow.desk.front import Desk
from lockgate.flow.desk.lists import ListDesk
from lockgate.flow.desk.objects import ObjectDesk
from lockgate.flow.desk.rights import EVERYTHING, ROLE_GROUPS, Caller
from lockgate.flow.list_files import read_list, written_list
from lockgate.flow.listed import on_list
from lockgate.flow.revising import Revising
from lockgate.mail.findings import InList, ListInText, OnList, Unknown
from lockgate.mail.lists import ListKind, ListName
from lockgate.policy.listed import read_entry
from lockgate.policy.problems import Invalid
from lockgate.testing.clock import HandClock
from lockgate.testing.journal import ListAudit, ListJournal
from lockgate.testing.lists import MemoryListKeeper, MemoryLists, MemoryView
from lockgate.testing.revisions import MemoryRevisions
from policies import CONTOSO, policy

VIP = '[[named_list]]\nname = "vip"\nkind = "addresses"\n'


class World(NamedTuple):
    audit: ListAudit
    keeper: MemoryListKeeper
    desk: Desk

    async def ask(self, request: Request, group: str = "", by: str = "7 ann") -> Any:
        return await self.desk.answer(request, Caller(by, ROLE_GROUPS[group] if group else EVERYTHING))


def world_of(text: str) -> World:
    audit, keeper = ListAudit(), MemoryListKeeper()
    revising = Revising(MemoryRevisions({"a.toml": text}), audit, HandClock(), "mx.lockgate.test")
    sections = (ListDesk(revising, audit, keeper), ObjectDesk(revising, lambda: "proof"))
    return World(audit, keeper, Desk(sections, audit, ListJournal()))


@pytest.fixture
def world() -> World:
    return world_of(CONTOSO + VIP)


LOOKS = [ListsList(), ListShow("vip"), ListExport("vip")]
WRITES = [
    ListAdd("vip", ("ann@contoso.com",)), ListRemove("vip", ("ann@contoso.com",)), ListRemove("vip", everything=True),
    ListImport("vip", "ann@contoso.com\n", "f"),
]  # fmt: skip
MAY_LOOK = {
    "OrganizationManagement", "RecordsManagement", "ListManagement", "ComplianceManagement",
    "ViewOnlyOrganizationManagement",
}  # fmt: skip
MAY_WRITE = {"OrganizationManagement", "RecordsManagement", "ListManagement"}


@pytest.mark.parametrize("group", ROLE_GROUPS)
async def test_each_role_may_what_is_its(world: World, group: str) -> None:
    for requests, may in ((LOOKS, MAY_LOOK), (WRITES, MAY_WRITE)):
        for request in requests:
            wanted = Kind.OK if group in may else Kind.FORBIDDEN
            assert (await world.ask(request, group)).kind == wanted, request
    refused = [row for row in world.audit.rows if row["did"] == "was refused"]
    assert len(refused) == len(LOOKS) * (group not in MAY_LOOK) + len(WRITES) * (group not in MAY_WRITE)


async def test_who_keeps_lists_cannot_touch_the_policy(world: World) -> None:
    declare = ObjectWrite("add", ("named_list",), "more", assignments=(Assignment("kind", "=", "words"),))
    rule = ObjectWrite("add", ("mail_flow_rule",), "R", assignments=(Assignment("delete_message", "=", "true"),))
    for request in (declare, rule):
        assert (await world.ask(request, "ListManagement")).kind == Kind.FORBIDDEN
    assert (await world.ask(declare, "RecordsManagement")).kind == Kind.OK


async def test_lists_of_two_organisations_are_apart() -> None:
    two = CONTOSO.replace("domain_name", 'organisation = "contoso"\ndomain_name') + '[[organisation]]\nname = "fab"\n'
    world = world_of(two + "".join(f'{VIP}organisation = "{one}"\n' for one in ("contoso", "fab")))
    entry = ("ann@contoso.com",)
    assert (await world.ask(ListAdd("vip", entry))).kind == Kind.MISUSE, "it has to be said whose"
    assert (await world.ask(ListAdd("vip", entry, "fab"))).kind == Kind.OK
    assert (await world.ask(ListFind("vip", entry[0], "fab"))).kind == Kind.OK
    assert (await world.ask(ListFind("vip", entry[0], "contoso"))).kind == Kind.FINDING
    assert [row["organisation"] for row in (await world.ask(ListsList())).result] == ["contoso", "fab"]


async def test_an_export_is_its_callers_own(world: World, monkeypatch) -> None:
    monkeypatch.setattr("lockgate.flow.desk.lists.PAGE", 1)
    await world.ask(ListAdd("vip", ("a@x.test", "b@x.test")))
    page = (await world.ask(ListExport("vip"))).result
    assert page["entries"] == ["a@x.test"] and page["ticket"]
    assert (await world.ask(ListExport(ticket=page["ticket"]), by="8 bob")).kind == Kind.MISUSE
    await world.ask(ListRemove("vip", everything=True))
    rest = (await world.ask(ListExport(ticket=page["ticket"]))).result
    assert rest["entries"] == ["b@x.test"], "as it was when the export began"


def test_what_is_asked_of_lists_that_nobody_has_is_unknown() -> None:
    question = ListInText("contoso", "names")
    told = answers(policy(), b"Subject: x\r\n\r\nfalcon\r\n", [question])
    assert isinstance(told[question], Unknown)
    lists = MemoryLists()
    lists.views[ListName("contoso", ListKind.WORDS, "names")] = MemoryView([read_entry(ListKind.WORDS, "Falcon")], 4)
    told = answers(policy(), b"Subject: x\r\n\r\nthe falcon\r\n", [question], lists)
    assert told[question] == OnList("Falcon", 4)
    lists.broken = "on fire"
    assert answers(policy(), b"\r\nfalcon\r\n", [question], lists)[question] == Unknown("on fire")
    assert on_list(lists, InList("contoso", "vip", ListKind.ADDRESSES, "a@b.test")) == Unknown("on fire")


def test_the_mistakes_of_a_file_are_told_with_their_lines() -> None:
    with pytest.raises(Invalid) as told:
        list(read_list('entry\n"a@b.test"\n"two\nlines"\n# no\n,x\nc\n', "csv", ListKind.ADDRESSES, "f.csv"))
    assert [(one.file, one.line) for one in told.value.problems] == [("f.csv", 4), ("f.csv", 7)]
    with pytest.raises(Invalid) as told:
        list(read_list("x\n" * 5000, "text", ListKind.ADDRESSES, "f"))
    assert len(told.value.problems) == 1001 and "there are more" in told.value.problems[-1].message
    assert list(written_list(["=1+1", "'a", "#b"], "csv")) == ["entry\n", "'=1+1\n", "''a\n", "\\#b\n"]
