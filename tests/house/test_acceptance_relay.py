"""T-EOP-1, T-EOP-3, T-EOP-5, T-TLS-4: mail for own servers, mail from own servers, and TLS without a connector."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from peers.certificates import Authority, Papers
from peers.contoso import mail_users
from peers.listening import arrived, recipients, sender
from peers.names import Names
from peers.partner import Partner
from peers.service import HOSTNAME, Service, running
from peers.smtp_peer import Script, SmtpPeer

ON_PREMISES, STRANGER = "203.0.113.25", "198.51.100.9"

POLICY = """
[[organisation]]
name = "contoso"
compatibility = "{compatibility}"

[[accepted_domain]]
domain_name = "contoso.com"
default = true
vouched_by_operator = true

[[inbound_connector]]
name = "Own servers by address"
connector_type = "on_premises"
sender_domains = ["*"]
sender_ip_addresses = ["203.0.113.25"]

[[inbound_connector]]
name = "Own servers by certificate"
connector_type = "on_premises"
sender_domains = ["*"]
tls_sender_certificate_name = "*.contoso.com"
ca_file = "{ca}"

[[outbound_connector]]
name = "Headquarters"
connector_type = "on_premises"
recipient_domains = ["contoso.com"]
use_mx_record = false
smart_hosts = ["{host}"]
tls_settings = "certificate_validation"
"""

RECIPIENTS = mail_users("ben")
NOBODY = {"nobody@example.net": "550 5.1.1 nobody of this name"}


@dataclass
class World:
    service: Service
    own: SmtpPeer
    example: SmtpPeer
    plain: SmtpPeer
    certificate: Papers


@pytest.fixture(scope="module", params=["", "exchange"], ids=["own compatibility", "Exchange's"])
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder: Path = tmp_path_factory.mktemp("relay")
    ca = Authority(folder)
    shown, good, self_signed = ca.issue(HOSTNAME), ca.issue("mail.contoso.com"), ca.issue("mx", self_signed=True)
    with (
        SmtpPeer(Script(context=good.server_context())) as own,
        SmtpPeer(Script(context=self_signed.server_context(), rcpt=NOBODY), "127.0.0.21") as example,
        SmtpPeer(Script(), "127.0.0.22", example.port) as plain,
        Names(
            {"example.net": ["mx.example.net"], "plain.example": ["mx.plain.example"]},
            {"mx.example.net": ["127.0.0.21"], "mx.plain.example": ["127.0.0.22"]},
        ) as names,
    ):
        policy = POLICY.format(compatibility=request.param, ca=ca.file, host=own.host)
        with running(
            folder / "service", policy, recipients=RECIPIENTS, dns=names.settings,
            delivery={"mx_port": example.port, "ca_bundle": ca.file},
            certificate=[{"chain": shown.chain, "key": shown.key}],
        ) as service:  # fmt: skip
            yield World(service, own, example, plain, good)


def still_owed(service: Service) -> int:
    """Copies that the queue still owes to somebody."""
    return sum(int(lane["tasks"]) for lane in service.queue())


def test_t_eop_1_own_server_over_verified_tls_and_nothing_is_kept(world: World) -> None:
    before = len(world.own.mails)
    message = world.service.send("alice@outside.example", "ben@contoso.com", content="t-eop-1")
    mail = arrived(world.own, before + 1)[-1]
    session = next(s for s in world.own.sessions if mail in s.mails)
    assert session.tls.startswith("TLS") and b"MAIL FROM" not in session.clear
    assert (sender(mail), recipients(mail)) == ("alice@outside.example", ["ben@contoso.com"])
    row, = world.service.settled(message)
    assert row["outbound_connector"] == "Headquarters" and row["tls"].startswith("TLS")
    assert row["reply"].startswith("250") and row["from_ip"] == "192.0.2.10" and row["subject"] == "t-eop-1"
    world.service.until(lambda: not still_owed(world.service), "the queue is empty")
    assert not world.service.queue(id=message)
    assert world.service.show(message)["rows"][0]["events"], "the trace stays"


def test_t_eop_1_a_certificate_that_does_not_verify_gets_nothing_and_mail_waits(world: World) -> None:
    before, verified = len(world.own.mails), world.own.script
    world.own.script = Script(context=world.example.script.context)
    world.own.drop_all()
    try:
        message = world.service.send("alice@outside.example", "ben@contoso.com", content="t-eop-1-unverified")
        tried = world.service.until(
            lambda: [row for row in world.service.trace(id=message) if row["reply"]], "the first attempt is over"
        )
        assert tried[0]["status"] == "Pending" and tried[0]["reply"].startswith("454 4.7.5 "), tried
        assert len(world.own.mails) == before
    finally:
        world.own.script = verified
    world.service.settled(message)
    assert b"Subject: t-eop-1-unverified\r\n" in arrived(world.own, before + 1)[-1].content


def test_t_eop_3_the_own_server_may_relay_for_own_senders(world: World) -> None:
    before = len(world.example.mails)
    message = world.service.send("ben@contoso.com", "x@example.net", peer=ON_PREMISES)
    assert recipients(arrived(world.example, before + 1)[-1]) == ["x@example.net"]
    row, = world.service.settled(message)
    assert row["inbound_connector"] == "Own servers by address" and row["outbound_connector"] == ""


def test_t_eop_3_the_own_server_may_not_relay_for_other_senders(world: World) -> None:
    before = len(world.example.mails)
    with world.service.client(ON_PREMISES) as client:
        code, text = client.letter("ben@other.example", "x@example.net")
    assert code == 550 and text.startswith("5.7.64 TenantAttribution; Relay Access Denied"), (code, text)
    assert len(world.example.mails) == before


def test_t_eop_3_strangers_may_not_relay(world: World) -> None:
    with world.service.client(STRANGER) as client:
        code, text = client.letter("ben@contoso.com", "x@example.net")
    assert (code, text[:6]) == (550, "5.7.64"), text
    with world.service.client(STRANGER) as client:
        code, text = client.letter("eve@other.example", "x@example.net")
    assert code == 550 and text.startswith("5.4.1 "), text


def test_t_eop_5_the_null_sender_by_address_has_the_right_only_outside_compatibility(world: World) -> None:
    exchange = "exchange" in (world.service.folder / "policy" / "0.toml").read_text()
    with world.service.client(ON_PREMISES) as client:
        code, text = client.letter("", "x@example.net", content="null by address")
    if exchange:
        assert code == 550 and text.startswith("5.7.64 "), text
    else:
        assert code == 250, text
        row, = world.service.settled(text.rpartition(" ")[2])
        assert row["sender_address"] == "" and row["inbound_connector"] == "Own servers by address"


def test_t_eop_5_the_null_sender_by_certificate_is_relayed(world: World) -> None:
    before = len(world.example.mails)
    with world.service.client(STRANGER) as client:
        client.secure(world.certificate.chain, world.certificate.key)
        code, text = client.letter("", "x@example.net", content="null by certificate")
    assert code == 250, text
    row, = world.service.settled(text.rpartition(" ")[2])
    assert row["inbound_connector"] == "Own servers by certificate"
    assert sender(arrived(world.example, before + 1)[-1]) == ""


def test_t_eop_5_a_report_that_cannot_be_delivered_begets_no_other(world: World) -> None:
    before = len(world.own.mails)
    with world.service.client(STRANGER) as client:
        client.secure(world.certificate.chain, world.certificate.key)
        code, text = client.letter("", "nobody@example.net", content="a report for nobody")
    assert code == 250, text
    message = text.rpartition(" ")[2]
    world.service.settled(message, "Failed")
    events = world.service.show(message)["rows"][0]["events"]
    assert "sender not told, because the message came from the null sender" in events[-1]["detail"]
    world.service.until(lambda: not still_owed(world.service), "the queue is empty")
    assert len(world.own.mails) == before


def test_t_tls_4_without_a_connector_tls_is_used_where_it_is_offered(world: World) -> None:
    for _ in range(2):
        once_with_and_once_without(world)


def once_with_and_once_without(world: World) -> None:
    secure, plain = len(world.example.mails), len(world.plain.mails)
    first = world.service.send("ben@contoso.com", "x@example.net", content="with", peer=ON_PREMISES)
    second = world.service.send("ben@contoso.com", "y@plain.example", content="without", peer=ON_PREMISES)
    mail = arrived(world.example, secure + 1)[-1]
    session = next(s for s in world.example.sessions if mail in s.mails)
    assert session.tls and b"MAIL FROM" not in session.clear
    mail = arrived(world.plain, plain + 1)[-1]
    assert not next(s for s in world.plain.sessions if mail in s.mails).tls
    assert world.service.settled(first)[0]["tls"].startswith("TLS")
    assert world.service.settled(second)[0]["tls"] == ""


def test_t_tls_4_inbound_tls_is_offered_and_not_demanded(world: World) -> None:
    with world.service.client() as client:
        client.ehlo()
        assert client.has_extn("starttls")
    for code, text in Partner(world.service, "192.0.2.10").sends("alice@outside.example", "ben@contoso.com"):
        assert code == 250, text
    assert world.service.send("alice@outside.example", "ben@contoso.com", content="in clear")
