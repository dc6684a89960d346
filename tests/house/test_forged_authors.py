"""T-AF-1 and spoofing of own domains over the running service, real SMTP and real DNS."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from lockgate.flow.asking import Explain, Kind
from lockgate.mail.dkim.canonical import Bodies
from lockgate.mail.dkim.sign import SigningKey, public_record, sign
from lockgate.mail.headers import read_headers
from peers.contoso import contoso, mail_users
from peers.dns_server import DnsServer
from peers.dns_thread import dns
from peers.listening import arrived
from peers.service import Service, running
from peers.smtp_peer import SmtpPeer

KEY = SigningKey("bank.test", "s", rsa.generate_private_key(65537, 2048))
RECORD = public_record(KEY)
ZONE = {
    ("bank.test", "TXT"): ['"v=spf1 ip4:192.0.2.10 -all"'],
    ("_dmarc.bank.test", "TXT"): ['"v=DMARC1; p=reject"'],
    ("s._domainkey.bank.test", "TXT"): [" ".join(f'"{RECORD[at : at + 200]}"' for at in range(0, len(RECORD), 200))],
    ("shop.test", "TXT"): ['"v=spf1 -all"'],
    ("_dmarc.shop.test", "TXT"): ['"v=DMARC1; p=quarantine"'],
    ("plain.test", "A"): ["192.0.2.99"],
}
POLICY = """
[[anti_phishing_policy]]
name = "Default"
own_domain_spoof_action = "reject"
"""
BEN = "ben@contoso.com"
FORGER = "203.0.113.66"


def letter(author: str, body: bytes = b"Pay this.\r\n") -> bytes:
    return f"From: {author}\r\nTo: {BEN}\r\nSubject: hello\r\n\r\n".encode() + body


def signed(octets: bytes) -> bytes:
    headers = read_headers(octets)
    return sign(headers.fields, Bodies(octets[headers.end :]), KEY, at=1_760_000_000) + octets


@dataclass
class World:
    service: Service
    names: DnsServer
    sink: SmtpPeer

    def say(self, author: str, sender: str, peer: str, *, octets: bytes = b"") -> tuple[int, str]:
        with self.service.client(peer) as client:
            return client.letter(sender, BEN, content=octets or letter(author))


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with dns(ZONE) as names, SmtpPeer() as sink:
        resolver = {"resolvers": [names.address[0]], "port": names.address[1], "timeout": "300ms"}
        folder = tmp_path_factory.mktemp("forged")
        with running(folder, contoso(sink.host) + POLICY, recipients=mail_users("ben"), dns=resolver) as service:
            yield World(service, names, sink)


def test_t_af_1(world: World) -> None:
    code, text = world.say("Bank <a@bank.test>", "a@bank.test", FORGER)
    assert code == 550
    assert text.startswith("5.7.509 Access denied")
    connection = text.rpartition("(id ")[2].rstrip(")")
    world.service.until(lambda: world.service.answer(Explain(connection)).kind == Kind.OK, "the refusal is written")
    (part,) = world.service.done(Explain(connection))["parts"]
    assert part["judged"]["steps"] == "judged again"
    assert part["differs"] == []
    (verdict,) = part["recipients"]
    assert verdict["reply"].startswith("550 5.7.509")
    assert "bank.test asks for reject (reason 000)" in verdict["because"]
    assert part["facts"]["authentication"]["spf"] == "fail (bank.test)"


def test_what_spf_or_a_signature_proves_arrives(world: World) -> None:
    assert world.say("Bank <a@bank.test>", "a@bank.test", "192.0.2.10")[0] == 250
    octets = signed(letter("Bank <a@bank.test>"))
    message = world.service.send("list@plain.test", BEN, content=octets, peer=FORGER)
    world.service.settled(message)
    told = world.service.told("explain", message)
    assert "bank.test is proven by dkim=bank.test" in str(told)


def test_a_large_signed_message_is_verified_as_well(world: World) -> None:
    octets = signed(letter("Bank <a@bank.test>", (b"x" * 76 + b"\r\n") * 40_000))
    message = world.service.send("list@plain.test", BEN, content=octets, peer=FORGER)
    world.service.settled(message)


def test_quarantine_is_held(world: World) -> None:
    code, text = world.say("Shop <s@shop.test>", "s@shop.test", FORGER)
    assert code == 250, text
    message = text.rpartition(" ")[2]
    world.service.settled(message, "Held")
    assert "shop.test asks for quarantine" in str(world.service.told("hold", "list"))
    code, out, err = world.service.command("hold", "release", message)
    assert code == 0, (out, err)
    world.service.settled(message)


def test_rubbish_in_the_header_is_no_way_round_dmarc(world: World) -> None:
    octets = letter("Bank <a@bank.test>").replace(b"Subject", b"rubbish without a colon\r\nSubject")
    code, text = world.say("", "x@plain.test", FORGER, octets=octets)
    assert code == 250, text
    world.service.settled(text.rpartition(" ")[2], "Held")


def test_an_own_author_from_outside_is_refused(world: World) -> None:
    code, text = world.say("The Boss <boss@contoso.com>", "x@plain.test", FORGER)
    assert (code, text[:6]) == (550, "5.7.68")


@pytest.mark.parametrize("mode", ["drop", "servfail", "refused", "garbage", "truncate-both"])
def test_dns_that_fails_is_temporary(world: World, mode: str) -> None:
    name = f"{mode}.test"
    world.names.modes |= {name: mode, f"_dmarc.{name}": mode}
    code, text = world.say(f"A <a@{name}>", f"a@{name}", FORGER)
    assert code == 451, text
    assert text.startswith("4.")


def test_what_if_says_the_same(world: World) -> None:
    asked = ("what-if", "--ip", FORGER, "--from", "a@bank.test", "--to", BEN, "--suppose")
    code, out, _ = world.service.command(*asked, "dmarc = fail reject bank.test")
    assert code == 1
    assert "5.7.509" in out
    code, out, _ = world.service.command(*asked, "dmarc = pass bank.test")
    assert code == 0, out
    code, out, _ = world.service.command(*asked, "who-sent = unknown no answer")
    assert code == 1
    assert "451" in out


def test_the_policy_is_an_object_like_others(world: World) -> None:
    (row,) = world.service.told("anti-phishing", "list")
    assert row["name"] == "Default"


def test_without_the_policy_dns_is_not_asked(tmp_path: Path) -> None:
    with dns(ZONE) as names, SmtpPeer() as sink:
        resolver = {"resolvers": [names.address[0]], "port": names.address[1]}
        with running(tmp_path / "s", contoso(sink.host), recipients=mail_users("ben"), dns=resolver) as service:
            service.send("a@bank.test", BEN, peer=FORGER)
            arrived(sink)
            assert names.asked == []
