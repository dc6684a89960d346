"""Waiting and held mail goes where its recipient lives at the next attempt, or when it is released (T-HYB-9)."""

from __future__ import annotations

from typing import Any

import msgspec

from flow.house import CONTOSO, House
from lockgate.flow.hops import Keeps, Pool, plan
from lockgate.mail.reply import Reply
from lockgate.policy.compile import compile_policy
from lockgate.testing.builders import people, who_of
from lockgate.testing.courier import RecordingCourier

RULE = '[[mail_flow_rule]]\nname = "Look"\nsubject_contains_words = ["hello"]\nquarantine = true\n'
MOVED = {"organisation": "contoso", "recipient": "ben@contoso.com\nbenjamin@contoso.com"}


class Hybrid(House):
    """A house with mailboxes of its own and a directory that a test may change. At first nothing can be carried."""

    def __init__(self, more: str = "") -> None:
        self.open = False
        down = Reply(451, "4.3.2", "not now")
        super().__init__(RecordingCourier(lambda hop, cargo: Reply(250, "2.0.0", "taken") if self.open else down))
        text = CONTOSO.replace("all_accepted_domains = true", 'all_accepted_domains = true\nrecipient_domains = ["*"]')
        self.policy = compile_policy(
            {"a": text + more}, hostname="mx.lockgate.test", revision=1, keeps_mailboxes=True
        )
        pools = {"main": Pool("main", "", "", "mx.lockgate.test")}
        self.delivery._with = msgspec.structs.replace(
            self.delivery._with, plan=lambda p, r: plan(p, r, pools, lambda name: name, Keeps(directory=True))
        )
        self.lives(ben="mail_user", amy="mailbox")

    def lives(self, *, external: str = "", **kinds: str) -> None:
        self.ask = people(
            *(who_of("contoso", f"{name}@contoso.com", kind=kind, external=external if kind == "mail_user" else "")
              for name, kind in kinds.items()),
            who_of("contoso", "both@contoso.com", kind="distribution_group"),
            who_of("contoso", "nick@contoso.com", external="ben@contoso.com"),
            members={"both@contoso.com": ["ben@contoso.com", "amy@contoso.com"]},
            aliases={"benjamin@contoso.com": "ben@contoso.com"},
        )  # fmt: skip

    async def sent(self, *recipients: str) -> None:
        replies = await self.send(*recipients)
        assert all(reply.code == 250 for reply in replies), replies
        await self.settle()

    async def carried(self) -> list[str]:
        """Whatever leaves from now on, as "lane address"."""
        self.open = True
        before = len(self.courier.carried)  # type: ignore[attr-defined]
        await self.later(1)
        await self.later(120)
        done: list[Any] = self.courier.carried[before:]  # type: ignore[attr-defined]
        return sorted(f"{hop.lane} {one.address}" for hop, cargo in done for one in cargo.recipients)


async def test_what_waits_for_the_other_side_comes_here() -> None:
    house = Hybrid()
    await house.sent("benjamin@contoso.com")
    house.lives(ben="mailbox", amy="mailbox")
    assert await house.spool.queue_edit("reroute", MOVED, "eva") == 1
    assert await house.carried() == ["contoso/mailboxes ben@contoso.com"]
    assert house.statuses() == {"benjamin@contoso.com": "Delivered"}


async def test_what_waits_for_a_mailbox_here_goes_to_the_other_side_by_her_new_address() -> None:
    house = Hybrid()
    await house.sent("ben@contoso.com", "amy@contoso.com")
    house.lives(ben="mail_user", amy="mail_user", external="amy@there.contoso.test")
    assert await house.spool.queue_edit("reroute", {"recipient": "amy@contoso.com"}, "eva") == 1
    assert await house.carried() == ["contoso/hq amy@there.contoso.test", "contoso/hq ben@contoso.com"]


async def test_a_member_of_a_group_and_who_is_reached_by_another_address() -> None:
    house = Hybrid()
    await house.sent("both@contoso.com", "nick@contoso.com")
    house.lives(ben="mailbox", amy="mailbox")
    assert await house.spool.queue_edit("reroute", MOVED, "eva") > 0
    assert await house.carried() == ["contoso/mailboxes amy@contoso.com", "contoso/mailboxes ben@contoso.com"]


async def test_what_a_rule_holds_goes_where_she_lives_when_it_is_released() -> None:
    house = Hybrid(RULE)
    await house.sent("ben@contoso.com")
    assert house.statuses() == {"ben@contoso.com": "Held"}
    house.lives(ben="mailbox", amy="mailbox")
    await house.spool.queue_edit("release", {"recipient": "ben@contoso.com"}, "eva")
    assert await house.carried() == ["contoso/mailboxes ben@contoso.com"]


async def test_what_a_person_holds_is_routed_anew_as_well() -> None:
    house = Hybrid()
    await house.sent("ben@contoso.com")
    await house.spool.queue_edit("hold", {"recipient": "ben@contoso.com"}, "eva")
    house.lives(ben="mailbox", amy="mailbox")
    assert await house.spool.queue_edit("reroute", MOVED, "eva") == 1
    assert await house.carried() == []
    await house.spool.queue_edit("release", {"recipient": "ben@contoso.com"}, "eva")
    assert await house.carried() == ["contoso/mailboxes ben@contoso.com"]


async def test_whoever_is_gone_or_cannot_be_asked_for_stays_where_she_was() -> None:
    for directory in (people(), people(failing="it is away")):
        house = Hybrid(RULE)
        await house.sent("ben@contoso.com")
        house.ask = directory
        await house.spool.queue_edit("release", {"recipient": "ben@contoso.com"}, "eva")
        assert await house.carried() == ["contoso/hq ben@contoso.com"]
