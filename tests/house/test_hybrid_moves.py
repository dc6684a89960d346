"""T-HYB-9: `mailbox move` keeps everything of a recipient, and waiting and held mail goes where she lives then."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from peers.hybrid import OUTSIDE, Hybrid, hybrid, path
from peers.listening import Down

HOLD = """
[[mail_flow_rule]]
name = "Look first"
subject_contains_words = ["held"]
quarantine = true
"""
DAVID, FRANK, JULIE, STAFF = "david@contoso.com", "frank@contoso.com", "julie@contoso.com", "staff@contoso.com"
PEOPLE = (
    "address,kind,aliases,members,forwarding_smtp_address,deliver_to_mailbox_and_forward,"
    "accept_messages_only_from,city\n"
    f"{DAVID},mailbox,,,,,,Seattle\n"
    f"{FRANK},mailbox,f@contoso.com,,frank@home.test,true,,Bonn\n"
    f"{JULIE},mail_user,j@contoso.com;jules@contoso.com,,,,,Boston\n"
    f"erin@contoso.com,mail_user,,,,,{DAVID},Rome\n"
    "gina@contoso.com,mail_user,,,,,,Oslo\n"
    f"{STAFF},distribution_group,,{JULIE};{DAVID},,,,\n"
)


@pytest.fixture
def world(tmp_path: Any) -> Iterator[Hybrid]:
    with hybrid(tmp_path, HOLD, recipients=PEOPLE) as made:
        yield made


def shown(world: Hybrid, address: str) -> dict[str, Any]:
    told = world.service.told("recipient", "show", address)
    return {name: value for name, value in told.items() if name != "kind"}


def test_t_hyb_9_here_with_waiting_and_held_mail(world: Hybrid) -> None:
    before = {one: shown(world, one) for one in (JULIE, "erin@contoso.com", FRANK, STAFF)}
    held = world.from_internet(OUTSIDE, JULIE, mark="held")
    world.service.settled(held, "Held")
    with Down() as nobody:
        world.reload(HOLD, host=nobody.host)
        waiting = world.from_internet(OUTSIDE, "jules@contoso.com", mark="waiting")
        group = world.from_internet(OUTSIDE, STAFF, "gina@contoso.com", mark="to the group")
        kept = world.from_internet(OUTSIDE, JULIE, mark="kept by a person")
        world.service.until(lambda: len(world.service.queue(recipient=JULIE)) == 4, "three wait, one is held")
        world.service.edit("hold", id=kept)

        told = world.service.told("mailbox", "move", "j@contoso.com", "here", "--what-if")
        assert told["waiting"] == 4 and told["mailboxes"][0]["changed"]
        assert world.service.told("recipient", "show", JULIE)["kind"] == "mail_user"
        told = world.service.people_changed("mailbox", "move", "j@contoso.com", "here")
        assert told["waiting"] == 3, "the rule's is judged again when it is released anyway"

        assert path(world.here("julie", "waiting")) == path(world.here("julie", "to the group")) == ["here"]
        (row,) = world.service.settled(waiting)
        assert row["outbound_connector"] == "" and row["status"] == "Delivered"
        events = [event["detail"] for event in world.service.show(waiting)["rows"][0]["events"]]
        assert any("the mailbox moved" in detail for detail in events), events
        assert {row["recipient_address"]: row["status"] for row in world.service.trace(id=group)} == {
            STAFF: "Expanded", JULIE: "Delivered", DAVID: "Delivered", "gina@contoso.com": "Pending",
        }  # fmt: skip
        assert world.service.trace(id=kept)[0]["status"] == "Held"
        world.service.edit("release", id=kept)
        world.service.edit("release", id=held)
        assert path(world.here("julie", "kept by a person")) == path(world.here("julie", "held")) == ["here"]
    world.from_internet(OUTSIDE, JULIE, mark="and from now on")
    world.here("julie", "and from now on")
    assert {one: shown(world, one) for one in before} == before, "addresses, memberships, forwarding, restrictions"


def test_t_hyb_9_there_and_nothing_is_deleted(world: Hybrid) -> None:
    world.from_internet(OUTSIDE, FRANK, mark="before")
    world.here("frank", "before")
    before = shown(world, FRANK)
    held = world.from_internet(OUTSIDE, "f@contoso.com", mark="held")
    world.service.settled(held, "Held")
    world.onprem.reload(virtual_mailbox_maps="inline:{ {frank@contoso.com = frank/} }", virtual_alias_maps="")

    code, out, err = world.service.command("mailbox", "move", FRANK, "there")
    assert code == 0, err
    folder = world.mail / "contoso" / "contoso.com" / "frank"
    assert f"{folder} keeps 1 message; nothing is deleted." in out
    assert len(world.mailbox("frank")) == 1
    world.service.edit("release", id=held)
    assert path(world.onprem.arrived("frank", "held")) == ["here", "there"]
    world.from_internet(OUTSIDE, FRANK, mark="after")
    assert path(world.onprem.arrived("frank", "after")) == ["here", "there"]
    assert path(world.outside("after", "frank@home.test").content) == ["here"], "his forwarding is where it was"
    assert len(world.mailbox("frank")) == 1 and shown(world, FRANK) == before

    rows = world.service.told("audit", "find", "--what", "mailbox move")
    assert rows[0]["before"]["kind"] == "mailbox" and rows[0]["after"]["kind"] == "mail_user"


def test_many_from_a_file(world: Hybrid) -> None:
    file = world.service.folder / "moves.csv"
    file.write_text(f"address\n{JULIE}\nerin@contoso.com\n{STAFF}\n")
    code, out, err = world.service.command("mailbox", "move", "here", "--file", str(file))
    assert code == 1 and "2 of 3 moved." in out and "only mailboxes and mail users move" in err
    for name in ("julie", "erin"):
        world.from_here(DAVID, f"{name}@contoso.com", mark=f"to {name}")
        world.here(name, f"to {name}")
