"""Postfix, the mail server most people run, as our next hop and as a sender to us, over verified TLS both ways."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from peers.certificates import Authority, Papers
from peers.contoso import mail_users
from peers.listening import arrived, recipients, sender, subject
from peers.postfix import Postfix, need_postfix
from peers.service import HOSTNAME, Service, running
from peers.smtp_peer import SmtpPeer

POLICY = """
[[organisation]]
name = "contoso"

[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true

[[inbound_connector]]
name = "Own Postfix"
connector_type = "on_premises"
sender_domains = ["*"]
tls_sender_certificate_name = "*.contoso.com"
ca_file = "{ca}"

[[outbound_connector]]
name = "To Postfix"
connector_type = "on_premises"
recipient_domains = ["contoso.com"]
use_mx_record = false
smart_hosts = ["{postfix}"]
tls_settings = "domain_validation"
tls_domain = "mail.contoso.com"
ca_file = "{ca}"
certificate_file = "{chain}"
key_file = "{key}"

[[outbound_connector]]
name = "Outside"
recipient_domains = ["*"]
use_mx_record = false
smart_hosts = ["{outside}"]
"""
RECIPIENTS = mail_users("ben", "sam")
EIGHT_BIT = (
    b"Subject: gr\xc3\xbc\xc3\x9fe\r\nFrom: alice@outside.example\r\nMessage-ID: <8bit@outside.example>\r\n"
    b"Date: Tue, 24 Nov 2026 10:00:00 +0000\r\n\r\n.dot\r\n\xe4\xf6\xfc\r\n\r\n"
)
"""With all that Postfix would add otherwise."""


@dataclass
class World:
    service: Service
    postfix: Postfix
    behind: SmtpPeer
    outside: SmtpPeer
    ca: Authority
    papers: Papers


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    need_postfix()
    folder = tmp_path_factory.mktemp("postfix")
    ca = Authority(folder)
    ours, theirs = ca.issue(HOSTNAME), ca.issue("mail.contoso.com")
    with (
        SmtpPeer() as behind,
        SmtpPeer() as outside,
        Postfix(
            behind.host,
            smtpd_tls_security_level="may", smtpd_tls_cert_file=theirs.chain, smtpd_tls_key_file=theirs.key,
            smtpd_tls_CAfile=ca.file, smtpd_tls_ask_ccert="yes", smtpd_tls_received_header="yes",
        ) as postfix,
    ):  # fmt: skip
        policy = POLICY.format(
            ca=ca.file, postfix=postfix.host, outside=outside.host, chain=ours.chain, key=ours.key
        )
        with running(
            folder / "service", policy, recipients=RECIPIENTS, certificate=[{"chain": ours.chain, "key": ours.key}]
        ) as service:
            yield World(service, postfix, behind, outside, ca, theirs)


def test_postfix_as_next_hop(world: World) -> None:
    message = world.service.send("alice@outside.example", "ben@contoso.com", "sam@contoso.com", content=EIGHT_BIT)
    rows = world.service.settled(message)
    assert {row["outbound_connector"] for row in rows} == {"To Postfix"}
    assert all("queued as" in row["reply"] and row["tls"].startswith("TLS") for row in rows), rows
    mail = arrived(world.behind)[0]
    assert sorted(recipients(mail)) == ["ben@contoso.com", "sam@contoso.com"], "one copy for both"
    assert mail.content.endswith(EIGHT_BIT), "through two servers, and still the octets that were sent"
    assert f"Client CN \"{HOSTNAME}\"".encode() in mail.content, "our client certificate was seen"


def test_postfix_as_next_hop_takes_many_on_kept_connections(world: World) -> None:
    before = len(world.behind.mails)
    sent = [f"many-{number}" for number in range(40)]
    with world.service.client() as client:
        for one in sent:
            code, text = client.letter("alice@outside.example", "ben@contoso.com", content=one)
            assert code == 250, text
    mails = arrived(world.behind, before + len(sent))[before:]
    assert sorted(subject(mail) for mail in mails) == sorted(sent)


def test_postfix_as_sender(world: World) -> None:
    with Postfix(
        f"127.0.0.1:{world.service.port}",
        smtp_tls_security_level="secure", smtp_tls_secure_cert_match=HOSTNAME, smtp_tls_CAfile=world.ca.file,
        smtp_tls_cert_file=world.papers.chain, smtp_tls_key_file=world.papers.key,
    ) as postfix:  # fmt: skip
        before = len(world.outside.mails)
        with smtplib.SMTP("127.0.0.1", postfix.port, "client.test", 20) as client:
            client.sendmail("ben@contoso.com", ["x@example.net", "y@example.net"], EIGHT_BIT, ["BODY=8BITMIME"])
        mail = arrived(world.outside, before + 1)[-1]
        assert (sender(mail), sorted(recipients(mail))) == ("ben@contoso.com", ["x@example.net", "y@example.net"])
        assert mail.content.endswith(EIGHT_BIT)
        postfix.logged(r"Verified TLS connection established to 127\.0\.0\.1")
        queued = postfix.logged(r"to=<x@example\.net>.*status=sent \(250 2\.0\.0 Queued as ([0-9a-f-]+)\)")
        assert {row["inbound_connector"] for row in world.service.settled(queued[1])} == {"Own Postfix"}

        with smtplib.SMTP("127.0.0.1", postfix.port, "client.test", 20) as client:
            client.sendmail("ben@contoso.com", ["nobody@contoso.com"], b"Subject: unknown\r\n\r\nhello\r\n")
        postfix.logged(r"to=<nobody@contoso\.com>.*dsn=5\.4\.1, status=bounced")
        # Postfix's own report has the null sender and comes back the same way; by certificate it may.
        postfix.logged(r"to=<ben@contoso\.com>.*status=sent \(250 2\.0\.0 Queued as")
