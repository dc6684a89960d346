"""Outbound connectors whole (specification 1.2, 2.4): sharing, failover, size, ties, addresses, bounds, senders."""

from __future__ import annotations

import collections
import re
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from peers.listening import Down, arrived, recipients, sender
from peers.service import Service, running
from peers.smtp_peer import Mail, Script, SmtpPeer

ON_PREMISES = "203.0.113.25"
POLICY = """
[[organisation]]
name = "contoso"

[[accepted_domain]]
domain_name = "contoso.com"
default = true
vouched_by_operator = true

[[inbound_connector]]
name = "Own servers"
connector_type = "on_premises"
sender_domains = ["*"]
sender_ip_addresses = ["203.0.113.25"]
"""
NAMED = 'source_address_v4 = "127.0.0.77"\nhelo_name = "out.contoso.com"'
PEOPLE = (
    "address,kind,external_address\n"
    "kept@contoso.com,mail_user,kept@asis.test\nrewritten@contoso.com,mail_user,rewritten@srs.test\n"
)


def connector(name: str, domain: str, *hosts: str, lines: str = "") -> str:
    listed = ", ".join(f'"{host}"' for host in hosts)
    return (
        f'[[outbound_connector]]\nname = "{name}"\nrecipient_domains = ["{domain}"]\nuse_mx_record = false\n'
        f"smart_hosts = [{listed}]\n{lines}\n"
    )


@dataclass
class World:
    service: Service
    first: SmtpPeer
    second: SmtpPeer
    dead: Down
    six: SmtpPeer
    slow: SmtpPeer

    def say(self, to: str, size: int = 0) -> str:
        content = b"Subject: x\r\n\r\n" + b"0123456789\r\n" * (size // 12)
        return self.service.send("ben@contoso.com", to, peer=ON_PREMISES, content=content)

    def arrived(self, to: str, count: int = 1) -> list[tuple[str, Mail]]:
        """Which peer took mail for this recipient."""

        def seen() -> list[tuple[str, Mail]]:
            peers = {"first": self.first, "second": self.second, "six": self.six, "slow": self.slow}
            return [(name, mail) for name, peer in peers.items() for mail in peer.mails if to in recipients(mail)]

        return self.service.until(lambda: len(found := seen()) >= count and found, f"{count} for {to}")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    plain = Script(extensions=("PIPELINING", "8BITMIME"))
    with (
        SmtpPeer(plain) as first,
        SmtpPeer(plain, "127.0.0.2", first.port) as second,
        SmtpPeer(plain, "::1") as six,
        SmtpPeer(Script(extensions=("PIPELINING",), pause=0.1)) as slow,
        Down("127.0.0.3") as dead,
    ):
        a, b = first.host, second.host
        rewriting = 'connector_type = "on_premises"\nsender_rewriting_enabled = {}'
        policy = POLICY + "".join([
            connector("Shared", "shared.test", a, b, lines="concurrency = 10"),
            connector("Half dead", "halfdead.test", dead.host, a),
            connector("Small", "size.test", a, lines='size_limit = "1KB"\ncost = 1'),
            connector("Big", "size.test", b, lines='size_limit = "10KB"\ncost = 2'),
            connector("Dear", "tie.test", a, lines="cost = 20"),
            connector("Cheap", "tie.test", b, lines="cost = 10"),
            connector("From there", "named.test", a, lines=NAMED),
            connector("Six", "six.test", f"[::1]:{six.port}", lines='address_family = "ipv6"'),
            connector("Slow", "slow.test", slow.host, lines="concurrency = 2"),
            connector("Paced", "paced.test", a, lines="rate_per_minute = 120"),
            connector("As it is", "asis.test", a, lines=rewriting.format("false")),
            connector("Rewritten", "srs.test", a, lines=rewriting.format("true")),
        ])  # fmt: skip
        folder = tmp_path_factory.mktemp("outbound")
        outgoing = {"allow": ["127.0.0.0/8", "::1"]}
        with running(folder, policy, recipients=PEOPLE, outgoing=outgoing) as service:
            yield World(service, first, second, dead, six, slow)


def test_several_smart_hosts_share_the_load(world: World) -> None:
    """Each connection begins with another one of them; one that is kept takes what comes."""
    for _ in range(12):
        world.say("x@shared.test")
        time.sleep(0.1)
        for peer in (world.first, world.second):
            peer.drop_all()
    took = collections.Counter(name for name, _ in world.arrived("x@shared.test", 12))
    assert took["first"] >= 2 and took["second"] >= 2, took


def test_one_that_is_down_is_passed_over(world: World) -> None:
    for _ in range(4):
        message = world.say("x@halfdead.test")
        (row,) = world.service.settled(message)
        assert "127.0.0.1" in row["to_ip"] or row["reply"].startswith("250"), row
        world.first.drop_all()
    assert {name for name, _ in world.arrived("x@halfdead.test", 4)} == {"first"}


def test_the_size_of_a_message_chooses_and_refuses(world: World) -> None:
    world.say("small@size.test")
    world.say("big@size.test", 5_000)
    assert world.arrived("small@size.test")[0][0] == "first"
    assert world.arrived("big@size.test")[0][0] == "second"
    with world.service.client(ON_PREMISES) as client:
        huge = b"Subject: x\r\n\r\n" + b"x\r\n" * 9_000
        code, text = client.letter("ben@contoso.com", "huge@size.test", content=huge)
        assert code == 552, text


def test_of_two_equals_the_cheaper_one_is_taken(world: World) -> None:
    world.say("x@tie.test")
    assert world.arrived("x@tie.test")[0][0] == "second"
    code, out, _ = world.service.command("explain", world.say("x@tie.test"))
    assert code == 0 and "Cheap" in out


def test_source_address_and_name_are_the_connectors(world: World) -> None:
    before = len(world.first.sessions)
    (row,) = world.service.settled(world.say("x@named.test"))
    assert row["pool"] == "127.0.0.77"
    assert any(b"EHLO out.contoso.com\r\n" in session.clear for session in world.first.sessions[before:])


def test_the_address_family_is_the_connectors(world: World) -> None:
    world.say("x@six.test")
    assert world.arrived("x@six.test")[0][0] == "six"


def test_concurrency_is_bounded(world: World) -> None:
    before = len(world.slow.sessions)
    for number in range(8):
        world.say(f"x{number}@slow.test")
    for number in range(8):
        world.arrived(f"x{number}@slow.test")
    assert len(world.slow.sessions) - before <= 2


def test_rate_is_kept(world: World) -> None:
    """120 a minute: two seconds pass before the fifth leaves."""
    start = time.monotonic()
    for number in range(5):
        world.say(f"p{number}@paced.test")
    world.arrived("p4@paced.test")
    for number in range(5):
        world.arrived(f"p{number}@paced.test")
    assert time.monotonic() - start >= 1.9


def test_senders_are_rewritten_where_the_connector_says_so(world: World) -> None:
    for name in ("kept", "rewritten"):
        world.service.send("ann@bank.test", f"{name}@contoso.com", peer="198.51.100.7")
    assert sender(world.arrived("kept@asis.test")[0][1]) == "ann@bank.test"
    assert re.fullmatch(r"SRS0=\S+=bank\.test=ann@contoso\.com", sender(world.arrived("rewritten@srs.test")[0][1]))
    assert arrived(world.first)
