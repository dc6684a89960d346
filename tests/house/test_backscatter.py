"""Nobody hears of mail that he did not send: the DSN rule over the running service, with real DNS, DKIM and servers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes

import pytest

from house.test_forged_authors import ZONE, letter, signed
from lockgate.flow.asking import Explain, Kind
from peers.dns_thread import dns
from peers.listening import recipients, sender
from peers.service import Service, running
from peers.smtp_peer import Mail, Script, SmtpPeer

GONE, BEN, EVA, SMALL = "gone@contoso.com", "ben@contoso.com", "eva@fabrikam.com", 100_000
FORGER, HONEST = "203.0.113.66", "192.0.2.10"
NO = "550 5.1.1 nobody of this name"
OUTSIDE = "127.0.0.41"
WORLD = {
    **ZONE,
    **{(f"{name}.test", "MX"): ["10 mx.sinks.test."] for name in ("bank", "shop", "plain")},
    ("mx.sinks.test", "A"): [OUTSIDE],
    ("shop.test", "TXT"): ['"v=spf1 -all"'],
    ("_dmarc.shop.test", "TXT"): ['"v=DMARC1; p=none"'],
    ("plain.test", "TXT"): ['"v=spf1 ~all"'],
}
POLICY = """
[[organisation]]
name = "contoso"
max_receive_size = {small}
[[accepted_domain]]
organisation = "contoso"
domain_name = "contoso.com"
vouched_by_operator = true
[[outbound_connector]]
organisation = "contoso"
name = "Headquarters"
connector_type = "on_premises"
recipient_domains = ["contoso.com"]
use_mx_record = false
smart_hosts = ["{host}"]
[[anti_phishing_policy]]
organisation = "contoso"
name = "Default"
[[organisation]]
name = "fabrikam"
[[accepted_domain]]
organisation = "fabrikam"
domain_name = "fabrikam.com"
vouched_by_operator = true
[[outbound_connector]]
organisation = "fabrikam"
name = "Fabrikam"
connector_type = "on_premises"
recipient_domains = ["fabrikam.com"]
use_mx_record = false
smart_hosts = ["{host}"]
"""
PEOPLE = {
    "contoso": "address,kind\ngone@contoso.com,mail_user\nben@contoso.com,mail_user\n",
    "fabrikam": "address,kind\neva@fabrikam.com,mail_user\n",
}


@dataclass
class World:
    service: Service
    own: SmtpPeer
    outside: SmtpPeer

    def detail(self, message: str, whom: str) -> str:
        """Every word of the trace about one recipient."""
        (row,) = [row for row in self.service.show(message)["rows"] if row["recipient_address"] == whom]
        return " | ".join(event["detail"] for event in row["events"])

    def fate(self, message: str, whom: str, status: str) -> str:
        """Its words, once its status is this."""

        def there() -> bool:
            return any(
                row["recipient_address"] == whom and row["status"] == status for row in self.service.trace(id=message)
            )

        self.service.until(there, f"{message} for {whom} is {status}")
        return self.detail(message, whom)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with (
        dns(WORLD) as names,
        SmtpPeer(Script(rcpt={GONE: NO})) as own,
        SmtpPeer(address=OUTSIDE) as outside,
        running(
            tmp_path_factory.mktemp("backscatter"), POLICY.format(host=own.host, small=SMALL), recipients=PEOPLE,
            dns={"resolvers": [names.address[0]], "port": names.address[1], "timeout": "500ms"},
            delivery={"mx_port": outside.port},
        ) as service,
    ):  # fmt: skip
        yield World(service, own, outside)


def told(world: World, message: str) -> str:
    """Who got the report about this message, its Final-Recipient and status."""

    def there() -> Mail | None:
        return next((mail for mail in world.outside.mails if message.encode() in mail.content), None)

    report = world.service.until(there, f"there is a report about {message}")
    assert sender(report) == ""
    fields = message_from_bytes(report.content).get_payload()[1].get_payload()[1]
    return f"{recipients(report)[0]}: {fields['Final-Recipient']} {fields['Status']}"


def test_a_failure_at_the_next_hop_is_told_to_proven_and_unproven_senders(world: World) -> None:
    for person, peer in (("a@bank.test", HONEST), ("a@plain.test", FORGER)):
        message = world.service.send(person, GONE, content=letter(f"A <{person}>"), peer=peer)
        assert "sender told by report" in world.fate(message, GONE, "Failed")
        assert told(world, message) == f"{person}: rfc822; {GONE} 5.1.1"


def test_a_forged_sender_is_told_nothing_and_the_trace_says_why(world: World) -> None:
    before = len(world.outside.mails)
    for author in ("A <a@shop.test>", "A <a@plain.test>"):
        message = world.service.send("a@shop.test", GONE, content=letter(author), peer=FORGER)
        why = world.fate(message, GONE, "Failed")
        assert "sender not told, because it may be forged: SPF or DMARC failed for it" in why
    assert "shop.test" in str(world.service.told("explain", message))
    assert len(world.outside.mails) == before


def test_a_signature_of_the_sender_s_domain_is_a_proof_where_forwarding_broke_spf(world: World) -> None:
    octets = signed(letter("Bank <a@bank.test>"))
    message = world.service.send("a@bank.test", GONE, content=octets, peer=FORGER)
    assert "sender told by report" in world.fate(message, GONE, "Failed")
    assert told(world, message) == f"a@bank.test: rfc822; {GONE} 5.1.1"


def test_a_refusal_after_acceptance_is_told_to_the_proven_and_held_for_others(world: World) -> None:
    large = b"x" * 70 + b"\r\n"
    cases = (
        ("a@bank.test", HONEST, "Failed", ""),
        ("a@plain.test", FORGER, "Held", "neither SPF nor a signature proves plain.test"),
        ("a@shop.test", FORGER, "Held", "SPF failed for shop.test"),
        ("", FORGER, "Held", "the message came from the null sender"),
    )
    for person, peer, status, because in cases:
        before = len(world.outside.mails)
        content = letter(f"A <{person or 'x@plain.test'}>", large * 3000)
        message = world.service.send(person, BEN, EVA, content=content, peer=peer)
        world.fate(message, EVA, "Delivered")
        words = world.fate(message, BEN, status)
        if status == "Failed":
            assert told(world, message) == f"{person}: rfc822; {BEN} 5.3.4"
            continue
        assert "refused (552 5.3.4 " in words
        assert f"sender not told, because {because}" in words
        (row,) = [row for row in world.service.told("hold", "list") if row["id"] == message]
        assert because in row["why"]
        assert len(world.outside.mails) == before


def test_a_declared_size_is_refused_where_it_is_said_and_stands_in_the_trace(world: World) -> None:
    with world.service.client("198.51.100.77") as client:
        code, text = client.begin("a@plain.test", "SIZE=999999999")
        assert (code, text[:6]) == (552, "5.3.4 "), text
        assert client.begin("a@plain.test", f"SIZE={SMALL + 1}")[0] == 250
        at_rcpt, words = client.to(BEN)
        assert (at_rcpt, words[:6]) == (552, "5.3.4 "), words
        assert client.to(EVA)[0] == 250, "fabrikam has no limit of its own"
    connection = text.rpartition("(id ")[2].rstrip(")")
    service = world.service
    rows = service.until(lambda: len(found := service.trace(ip="198.51.100.77")) == 2 and found, "both are written")
    assert {(row["status"], row["recipient_address"]) for row in rows} == {("Refused", ""), ("Refused", BEN)}
    service.until(lambda: service.answer(Explain(connection)).kind == Kind.OK, "the refusal is written")
    explained = str(service.done(Explain(connection)))
    assert "the message is said to have 999999999 octets" in explained
    asked = ("what-if", "--ip", FORGER, "--from", "a@plain.test", "--to", BEN, "--declared-size")
    code, out, _ = service.command(*asked, str(SMALL + 1))
    assert code == 1
    assert f"the message is said to have {SMALL + 1} octets, contoso allows {SMALL}" in " ".join(out.split())
    code, out, err = service.command(*asked, str(SMALL), "--suppose", "dmarc = none plain.test")
    assert code == 0, (out, err)
