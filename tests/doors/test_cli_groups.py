"""lockgate group, and who names whom when recipients come, change their addresses and go."""

from __future__ import annotations

import csv
import io
import json

import pytest

from doors.desk_here import EVIL, Here, desk_here
from lockgate.flow.desk import directory_writes
from lockgate.mail.address import Address
from lockgate.mail.findings import Forwarding, RecipientKind, Restriction
from lockgate.storage.recipients import RecipientStore
from lockgate.testing.recipients import MemoryRecipients


@pytest.fixture(params=["memory", "disk"])
async def here(request, tmp_path):
    """The desk over both stores."""
    store = MemoryRecipients()
    if request.param == "disk":
        store = RecipientStore(tmp_path / "directory")
        store.ensure()
    async with desk_here(tmp_path, store) as found:
        ann = ("ann@c.test", "--kind", "mailbox", "--alias", "a@c.test", "display_name=Ann")
        await ok(found, "recipient", "add", *ann)
        await ok(found, "recipient", "add", "bob@c.test", "--kind", "mailbox")
        found.audit.rows.clear()
        yield found


async def ok(here: Here, *command: str) -> str:
    code, out, err = await here.run(*command)
    assert code == 0, (out, err)
    return out + err


async def no(here: Here, *command: str) -> str:
    code, out, err = await here.run(*command)
    assert code == 2 and not out, (code, out, err)
    return err


async def told(here: Here, *command: str):
    return json.loads((await here.run(*command, "--json"))[1])


def row(here: Here, name: str):
    found = here.recipients.row("contoso", f"{name}@c.test")
    assert found is not None
    return found


def names(addresses) -> list[str]:
    return [address.local if address.domain == "c.test" else address.text for address in addresses]


async def test_a_group_is_made_shown_and_removed(here, tmp_path):
    file = tmp_path / "members.txt"
    file.write_text("# the crew\nbob@c.test  x@far.test;\n\n")
    add = ("group", "add", "team@c.test", "display_name=The team", "--member", "a@c.test", "--members-file", str(file),
           "--alias", "crew@c.test", "--managed-by", "bob@c.test", "--members-only")  # fmt: skip
    out = await ok(here, *add, "--what-if")
    assert "team@c.test would be added; nothing was changed" in out and not here.audit.rows
    out = await ok(here, *add)
    assert "team@c.test is added" in out and "are taken in: ann@c.test, bob@c.test, x@far.test" in out
    assert "no recipients of this organisation: x@far.test" in out
    assert names(row(here, "crew").members) == ["ann", "bob", "x@far.test"]
    assert row(here, "team").restriction == Restriction(members_only=True)
    assert [(one["did"], one["after"]["member_count"], one["added"]) for one in here.audit.rows] == [
        ("group add", 3, ["ann@c.test", "bob@c.test", "x@far.test"])
    ]
    shown = await told(here, "group", "show", "crew@c.test")
    assert shown == {
        "organisation": "contoso", "address": "team@c.test", "kind": "distribution_group", "aliases": ["crew@c.test"],
        "external_address": "", "members": ["ann@c.test", "bob@c.test", "x@far.test"], "member_count": 3,
        "managed_by": ["bob@c.test"], "members_only": True, "attributes": {"display_name": "The team"},
        "member_of": [], "contains_itself": [],
    }  # fmt: skip
    out = await ok(here, "group", "list")
    assert "The team" in out and "members" in out.splitlines()[1]
    assert [one["address"] for one in await told(here, "group", "list", "--member", "a@c.test")] == ["team@c.test"]
    assert "no groups" in await ok(here, "group", "list", "--member", "nobody@c.test")
    listed = await told(here, "group", "member", "list", "team@c.test")
    assert listed == [
        {"address": "ann@c.test", "kind": "mailbox", "display_name": "Ann"},
        {"address": "bob@c.test", "kind": "mailbox", "display_name": ""},
        {"address": "x@far.test", "kind": "", "display_name": ""},
    ]
    assert "team@c.test" in await ok(here, "recipient", "show", "ann@c.test")
    assert "is no distribution group but a mailbox" in await no(here, "group", "show", "ann@c.test")
    assert "is no distribution group but a mailbox" in await no(here, "group", "remove", "ann@c.test")
    assert "alias of team@c.test" in await no(here, "group", "remove", "crew@c.test")
    await ok(here, "group", "remove", "team@c.test")
    assert here.recipients.row("contoso", "crew@c.test") is None and list(here.recipients.groups("contoso")) == []
    assert (await here.run("group", "show", "team@c.test"))[0] == 1


async def test_members_come_and_go_by_any_of_their_addresses(here):
    await ok(here, "group", "add", "team@c.test")
    out = await ok(here, "group", "member", "add", "team@c.test", "A@C.test", "bob@c.test", "ann@c.test", "x@far.test")
    assert "are members already: ann@c.test" in out and "member_count: 0 -> 3" in out
    assert here.audit.rows[-1]["did"] == "group member" and here.audit.rows[-1]["added_count"] == 3
    out = await ok(here, "group", "member", "add", "team@c.test", "bob@c.test")
    assert "is so already" in out and len(here.audit.rows) == 2
    out = await ok(here, "group", "member", "remove", "team@c.test", "a@c.test", "nobody@c.test", "--what-if")
    assert "would be taken out: ann@c.test" in out and "are no members: nobody@c.test" in out
    assert names(row(here, "team").members) == ["ann", "bob", "x@far.test"]
    await ok(here, "group", "member", "remove", "team@c.test", "a@c.test", "X@far.test")
    assert names(row(here, "team").members) == ["bob"]
    out = await ok(here, "group", "member", "add", "team@c.test", "ann@c.test", "--replace")
    assert names(row(here, "team").members) == ["ann"] and here.audit.rows[-1]["removed_count"] == 1
    assert "'nonsense' is no address" in await no(here, "group", "member", "add", "team@c.test", "nonsense")
    assert "member of itself" in await no(here, "group", "member", "add", "team@c.test", "TEAM@c.test")
    assert "Say which members" in await no(here, "group", "member", "add", "team@c.test")
    assert "cannot be read" in await no(here, "group", "member", "add", "team@c.test", "--members-file", "/no/such")
    await ok(here, "group", "member", "remove", "team@c.test", "--everybody")
    assert row(here, "team").members == ()


async def test_who_changes_its_address_stays_where_it_was_named(here):
    await ok(here, "group", "add", "team@c.test", "--member", "ann@c.test", "--managed-by", "ann@c.test")
    await ok(here, "group", "set", "team@c.test", "--accept-from", "a@c.test", "--reject-from", "bob@c.test")
    assert row(here, "team").restriction.accept_from == ("ann@c.test",)
    await ok(here, "recipient", "set", "bob@c.test", "--forward-to", "a@c.test", "--no-keep-copy")
    out = await ok(here, "recipient", "set", "ann@c.test", "address=anna@c.test", "aliases=", "--what-if")
    assert "would be named by its new address in 1 group: team@c.test" in out
    assert names(row(here, "team").members) == ["ann"]
    await ok(here, "recipient", "set", "ann@c.test", "address=anna@c.test", "aliases=")
    team = row(here, "team")
    assert names(team.members) == names(team.managed_by) == ["anna"]
    assert team.restriction == Restriction(accept_from=("anna@c.test",), reject_from=("bob@c.test",))
    assert row(here, "bob").forwarding == Forwarding(Address("anna", "c.test"), False)
    assert sorted(here.audit.rows[-1]["followed"]) == ["bob@c.test", "team@c.test"]
    await ok(here, "group", "set", "team@c.test", "accept_messages_only_from=team@c.test")
    await ok(here, "group", "set", "team@c.test", "address=crew@c.test")
    assert row(here, "crew").restriction.accept_from == ("crew@c.test",)


async def test_who_is_removed_is_taken_out_of_all_groups_and_no_restriction_opens(here):
    for name in ("one", "two"):
        await ok(here, "group", "add", f"{name}@c.test", "--member", "ann@c.test", "--member", "bob@c.test")
    await ok(here, "group", "add", "other@c.test", "--member", "bob@c.test", "--managed-by", "ann@c.test",
             "--accept-from", "ann@c.test")  # fmt: skip
    await ok(here, "recipient", "set", "bob@c.test", "--forward-to", "ann@c.test")
    out = await ok(here, "recipient", "remove", "ann@c.test", "--what-if")
    assert "It would be taken out of 2 groups: " in out and names(row(here, "one").members) == ["ann", "bob"]
    out = await ok(here, "recipient", "remove", "ann@c.test")
    assert "It is taken out of 2 groups: " in out and "one@c.test" in out
    assert "warning: who may send to other@c.test still names ann@c.test" in out
    assert "warning: bob@c.test still forwards to ann@c.test" in out
    assert names(row(here, "one").members) == names(row(here, "two").members) == ["bob"]
    other = row(here, "other")
    assert other.managed_by == () and other.restriction == Restriction(accept_from=("ann@c.test",))
    assert here.audit.rows[-1]["followed_count"] == 3
    assert "taken out of 1 group: one@c.test" in await ok(
        here, "group", "member", "add", "one@c.test", "two@c.test"
    ) + await ok(here, "group", "remove", "two@c.test")


async def test_very_many_members_follow_in_several_changes(here, monkeypatch):
    monkeypatch.setattr(directory_writes, "MOST_AT_ONCE", 5)
    for n in range(6):
        await ok(here, "group", "add", f"g{n}@c.test", *(f"--member={m}@c.test" for m in ("ann", "x", "y", "z")))
    before = here.recipients.revision
    assert "taken out of 6 groups" in await ok(here, "recipient", "remove", "ann@c.test")
    assert here.recipients.revision == before + 6
    assert all(names(group.members) == ["x", "y", "z"] for group in here.recipients.groups("contoso"))
    assert here.recipients.row("contoso", "ann@c.test") is None


async def test_forwarding_and_who_may_send(here):
    ann = ("recipient", "set", "ann@c.test")
    out = await ok(here, *ann, "--forward-to", "ann@far.test", "--no-keep-copy", "--by-user")
    assert "forwarding_smtp_address: - -> ann@far.test" in out
    assert row(here, "ann").forwarding == Forwarding(Address("ann", "far.test"), False, True)
    await ok(here, *ann, "--keep-copy")
    assert row(here, "ann").forwarding == Forwarding(Address("ann", "far.test"), True, True)
    # What an administrator sets up anew is the administrator's.
    await ok(here, *ann, "--forward-to", "x@far.test")
    assert row(here, "ann").forwarding == Forwarding(Address("x", "far.test"))
    await ok(here, *ann, "--no-forward", "--require-sender-authentication")
    assert row(here, "ann").forwarding is None and row(here, "ann").restriction == Restriction(True)
    assert row(here, "ann").attributes == {"display_name": "Ann"} and names(row(here, "ann").proxies) == ["a"]
    assert "does not forward" in await no(here, *ann, "--no-keep-copy")
    assert "goes with none of" in await no(here, *ann, "--no-forward", "--keep-copy")
    assert "forward to itself" in await no(here, *ann, "--forward-to", "A@c.test")
    assert "'x' is no address" in await no(here, *ann, "--forward-to", "x")
    out = await ok(here, *ann, "--accept-from", "ghost@c.test", "--accept-from", "bob@c.test")
    assert "warning: who may send to ann@c.test names ghost@c.test, which is no recipient here" in out
    assert "ghost" not in await ok(here, *ann, "city=Bonn")
    await ok(here, *ann, "accept_messages_only_from=", "--no-require-sender-authentication")
    assert row(here, "ann").restriction is None
    assert "make the address a member instead" in await no(
        here, "recipient", "add", "g@c.test", "--kind", "distribution_group", "--forward-to", "x@far.test"
    )
    assert "only a distribution group" in await no(here, *ann, "members_only=true")
    await ok(here, "group", "add", "team@c.test", "--member", "bob@c.test")
    err = await no(here, "recipient", "set", "team@c.test", "--kind", "mailbox")
    assert "members: only a distribution group" in err
    assert row(here, "team").kind is RecipientKind.GROUP


async def test_groups_in_a_circle_are_allowed_and_told(here):
    for name in ("one", "two", "three"):
        await ok(here, "group", "add", f"{name}@c.test")
    for inner, outer in (("one", "two"), ("two", "three"), ("three", "one")):
        await ok(here, "group", "member", "add", f"{inner}@c.test", f"{outer}@c.test")
    out = await ok(here, "group", "show", "one@c.test")
    assert "It contains itself: one@c.test -> two@c.test -> three@c.test -> one@c.test" in out
    assert "member_of" in out


async def test_a_large_group_is_shown_in_part_and_exported_whole(here, tmp_path):
    members = [f"u{n}@c.test" for n in range(12_000)]
    file = tmp_path / "members"
    file.write_text("\n".join(members))
    await ok(here, "group", "add", "big@c.test", "--members-file", str(file), "--alias", "large@c.test")
    shown = await told(here, "group", "show", "big@c.test")
    assert shown["member_count"] == 12_000 and len(shown["members"]) == 1000
    assert "and 11980 more" in await ok(here, "group", "show", "big@c.test")
    assert len(await told(here, "group", "member", "list", "big@c.test")) == 12_000
    await ok(here, "group", "set", "large@c.test", "city=Bonn")
    assert len(row(here, "big").members) == 12_000
    assert len(json.dumps(here.audit.rows)) < 50_000
    out = io.StringIO(await ok(here, "recipient", "export"), newline="")
    csv.field_size_limit(10_000_000)
    exported = {one["address"]: one for one in csv.DictReader(out)}
    assert exported["big@c.test"]["members"].split() == members and exported["ann@c.test"]["members"] == ""
    before = sorted(here.recipients.rows("contoso"), key=str)
    (tmp_path / "out.csv").write_text(out.getvalue(), newline="")
    assert "as before" in await ok(here, "recipient", "import", str(tmp_path / "out.csv"))
    assert sorted(here.recipients.rows("contoso"), key=str) == before


async def test_what_is_shown_of_hostile_values_is_harmless(here):
    await ok(here, "group", "add", "team@c.test", f"display_name={EVIL}")
    for command in (("group", "list"), ("group", "show", "team@c.test")):
        out = await ok(here, *command)
        assert "\x1b" not in out and "\u202e" not in out and "\nFORGED" not in out
    for limit in ("0", "100001"):
        assert (await here.run("group", "list", "--limit", limit))[0] == 2


async def test_a_group_may_find_its_members(here):
    await ok(here, "recipient", "set", "ann@c.test", "city=Oslo")
    out = await ok(here, "group", "add", "north@c.test", "--filter", "City=oslo", "--what-if")
    assert "recipient_filter: - -> city=oslo" in out and "member_count: - -> 1" in out
    await ok(here, "group", "add", "north@c.test", "--filter", "City=oslo")
    assert names(row(here, "north").members) == ["ann"]
    out = await ok(here, "recipient", "set", "bob@c.test", "city=Oslo", "--what-if")
    assert "It would be taken into 1 group: north@c.test" in out and names(row(here, "north").members) == ["ann"]
    assert "It is taken into 1 group: north@c.test" in await ok(here, "recipient", "set", "bob@c.test", "city=Oslo")
    await ok(here, "recipient", "add", "eve@c.test", "city=Oslo")
    out = await ok(here, "recipient", "set", "ann@c.test", "address=zoe@c.test")
    assert "named by its new address in 1 group: north@c.test" in out
    assert names(row(here, "north").members) == ["bob", "eve", "zoe"]
    assert "taken out of 1 group" in await ok(here, "recipient", "set", "zoe@c.test", "city=Bonn")
    assert "taken out of 1 group" in await ok(here, "recipient", "remove", "eve@c.test")
    assert names(row(here, "north").members) == ["bob"]
    for command in (("add", "north@c.test", "zoe@c.test"), ("remove", "north@c.test", "bob@c.test")):
        assert "are found by its filter (city=oslo)" in await no(here, "group", "member", *command)
    assert "leave one of the two out" in await no(here, "group", "set", "north@c.test", "members=zoe@c.test")
    await ok(here, "group", "set", "north@c.test", "--filter", "city=Bonn", "--filter", "kind=mailbox")
    assert names(row(here, "north").members) == ["zoe"]
    shown = await told(here, "group", "show", "north@c.test")
    assert shown["recipient_filter"] == {"city": "Bonn", "kind": "mailbox"}
    exported = await ok(here, "recipient", "export")
    assert "city=Bonn;kind=mailbox" in exported and '"zoe@c.test"' not in exported
    await ok(here, "group", "set", "north@c.test", "recipient_filter=")
    await ok(here, "group", "member", "add", "north@c.test", "bob@c.test")
    assert names(row(here, "north").members) == ["zoe", "bob"]
    assert "city has no value" in await no(here, "group", "set", "north@c.test", "--filter", "city")
