"""T-RD-1 over the running service: an own server's automatic replies, and remote domains set at the terminal."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from peers.contoso import contoso, mail_users
from peers.listening import arrived, recipients
from peers.names import Names
from peers.service import Service, running
from peers.smtp_peer import Script, SmtpPeer

OWN, STRANGER = "203.0.113.25", "198.51.100.9"
INBOUND = f"""
[[inbound_connector]]
name = "Own servers"
connector_type = "on_premises"
sender_ip_addresses = ["{OWN}"]
"""
OOF = "Auto-Submitted: auto-replied\r\n"
EXCHANGE_OOF = "Auto-Submitted: auto-generated\r\nX-Auto-Response-Suppress: All\r\n"
REPORT = 'Content-Type: multipart/report; report-type=delivery-status;\r\n boundary="x"\r\n'


@dataclass
class World:
    service: Service
    outside: SmtpPeer


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("remote")
    hosts = ["partner.test", "branch.partner.test", "far.test"]
    with (
        SmtpPeer(Script(rcpt={"full@contoso.com": "550 5.2.1 this mailbox is closed"})) as own,
        SmtpPeer(Script(), "127.0.0.71") as outside,
        Names({name: [f"mx.{name}"] for name in hosts}, {f"mx.{name}": ["127.0.0.71"] for name in hosts}) as names,
        running(
            folder / "service", contoso(own.host) + INBOUND, recipients=mail_users("full", "ann"), dns=names.settings,
            delivery={"mx_port": outside.port},
        ) as service,
    ):  # fmt: skip
        yield World(service, outside)


def write(world: World, whom: str, fields: str, who: str = "ann@contoso.com", peer: str = OWN) -> str:
    head = f"From: ann@contoso.com\r\nTo: {whom}\r\nSubject: hello\r\n{fields}\r\nx\r\n"
    return world.service.send(who, whom, content=head.encode(), peer=peer)


def set_up(world: World, *words: str) -> None:
    """Change a remote domain at the terminal, and wait until the edge judges by it."""
    revision = int(world.service.told("remote-domain", *words)["revision"])

    def seen() -> bool:
        message = world.service.send("probe@probe.test", "ann@contoso.com", peer=STRANGER)
        return int(world.service.trace(id=message)[0]["revision"]) >= revision

    world.service.until(seen, f"revision {revision} is in force", pause=0.2)


def dropped(world: World, message: str, because: str) -> None:
    world.service.settled(message, "Dropped")
    code, out, err = world.service.command("explain", message)
    assert code == 0 and because in out, out + err


def test_t_rd_1(world: World) -> None:
    service, outside = world.service, world.outside
    assert [row["domain_name"] for row in service.told("remote-domain", "list")] == ["*"], "the Default is there"
    message = write(world, "x@partner.test", OOF)
    service.settled(message)
    set_up(world, "add", "partner.test", "auto_reply_enabled=no", "--reason", "they answer answers")
    before = len(outside.mails)
    dropped(
        world, write(world, "x@partner.test", OOF),
        "no automatic reply may leave to partner.test (remote domain partner.test: auto_reply_enabled = false)",
    )  # fmt: skip
    message = write(world, "x@partner.test", EXCHANGE_OOF, who="")
    dropped(world, message, "X-Auto-Response-Suppress: All from the null sender")
    for whom, fields in (("x@partner.test", ""), ("x@far.test", OOF), ("x@branch.partner.test", OOF)):
        service.settled(write(world, whom, fields))
    arrived(outside, before + 3)
    assert [recipients(mail) for mail in outside.mails[before:]] == [
        ["x@partner.test"], ["x@far.test"], ["x@branch.partner.test"],
    ]  # fmt: skip


def test_t_rd_1_the_specific_domain_beats_the_default(world: World) -> None:
    service = world.service
    set_up(world, "set", "*", "auto_reply_enabled=no")
    set_up(world, "set", "partner.test", "auto_reply_enabled=yes")
    service.settled(write(world, "x@partner.test", OOF))
    dropped(world, write(world, "x@far.test", OOF), "(remote domain *: auto_reply_enabled = false)")
    shown = service.told("remote-domain", "show", "partner.test")
    assert (shown["domain_name"], shown["auto_reply_enabled"]) == ("partner.test", True)
    code, _, err = service.command("remote-domain", "set", "partner.test", "domain_name=other.test")
    assert code == 2 and "cannot be changed" in err
    set_up(world, "remove", "partner.test")
    dropped(world, write(world, "x@partner.test", OOF), "(remote domain *: auto_reply_enabled = false)")
    set_up(world, "remove", "*")
    service.settled(write(world, "x@partner.test", OOF))
    assert [row["file"] for row in service.told("remote-domain", "list")] == ["built in"]


def test_automatic_forwards_and_reports_of_own_servers(world: World) -> None:
    forward = "X-MS-Exchange-Organization-AutoForwarded: true\r\n"
    set_up(world, "add", "partner.test", "auto_forward_enabled=no", "ndr_enabled=no")
    dropped(world, write(world, "x@partner.test", forward), "auto_forward_enabled = false")
    world.service.settled(write(world, "x@partner.test", REPORT, who=""))
    set_up(world, "set", "partner.test", "delivery_report_enabled=no")
    message = write(world, "x@partner.test", REPORT, who="")
    dropped(world, message, "ndr_enabled = false, delivery_report_enabled = false")
    set_up(world, "remove", "partner.test")


def test_a_report_of_ours_is_made_and_dropped_where_it_may_not_leave(world: World) -> None:
    """1.5 ndr_enabled: the own server refuses for good; the sender is told, until his domain gets no reports."""
    service, outside = world.service, world.outside
    before = len(outside.mails)
    service.settled(service.send("x@far.test", "full@contoso.com", peer=STRANGER), "Failed")
    report = arrived(outside, before + 1)[-1]
    assert recipients(report) == ["x@far.test"] and b"5.2.1 this mailbox is closed" in report.content
    set_up(world, "add", "far.test", "ndr_enabled=no")
    before = len(outside.mails)
    message = service.send("x@far.test", "full@contoso.com", peer=STRANGER)
    service.settled(message, "Failed")
    detail = service.show(message)["rows"][0]["events"][-1]["detail"]
    assert "the remote domain far.test lets no reports of failure out (ndr_enabled = false)" in detail, detail
    service.until(lambda: not sum(int(lane["tasks"]) for lane in service.queue()), "the queue is empty")
    assert len(outside.mails) == before
    set_up(world, "remove", "far.test")


def test_check_tells_what_is_only_carried_through(world: World) -> None:
    told = world.service.command("remote-domain", "add", "fmt.test", "content_type=mime_text", "--what-if")[1]
    assert "it is kept and shown, but changes nothing: formatted mail is passed on" in told, told
