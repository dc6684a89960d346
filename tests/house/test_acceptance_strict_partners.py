"""T-TLS-7: two Lockgates as strict partners, each with a client certificate; and REQUIRETLS from one to the other."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from peers.certificates import Authority, Papers
from peers.contoso import contoso, mail_users
from peers.dns_server import DnsServer
from peers.dns_thread import dns
from peers.listening import recipients, sender
from peers.ports import free_port
from peers.service import Service, running
from peers.smtp_peer import Mail, Script, SmtpPeer

ON_PREMISES = "203.0.113.25"
SIDE = """
[[inbound_connector]]
name = "Own servers"
connector_type = "on_premises"
sender_domains = ["*"]
sender_ip_addresses = ["203.0.113.25"]

[[inbound_connector]]
name = "Partner in"
sender_domains = ["{partner}"]
restrict_domains_to_certificate = true
tls_sender_certificate_name = "mail.{partner}"
ca_file = "{ca}"

[[outbound_connector]]
name = "Partner out"
recipient_domains = ["{partner}"]
use_mx_record = false
smart_hosts = ["127.0.0.1:{port}"]
tls_settings = "domain_validation"
tls_domain = "mx.{partner}"
ca_file = "{ca}"
{own}
"""


@dataclass
class Side:
    domain: str
    service: Service
    inside: SmtpPeer

    def say(self, to: str, **more: Any) -> str:
        return self.service.send(f"ben@{self.domain}", to, peer=ON_PREMISES, **more)

    def got(self, to: str) -> list[Mail]:
        return [mail for mail in self.inside.mails if to in recipients(mail)]


@dataclass
class World:
    one: Side
    other: Side
    certificate: Path
    key: Path
    wrong: Papers
    right: Papers
    names: DnsServer
    outside: SmtpPeer


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder: Path = tmp_path_factory.mktemp("partners")
    ca = Authority(folder)
    shown = {domain: ca.issue(f"mx.{domain}") for domain in ("contoso.com", "fabrikam.com")}
    client = {domain: ca.issue(f"mail.{domain}") for domain in shown}
    # Contoso shows the certificate of the organisation, Fabrikam that of the connector.
    certificate, key = folder / "client.pem", folder / "client.key"
    _put(client["contoso.com"], certificate, key)
    wanted = [free_port(), free_port()]
    own = 'certificate_file = "{}"\nkey_file = "{}"'
    with (
        SmtpPeer(Script(extensions=("PIPELINING", "DSN"))) as first,
        SmtpPeer(Script(extensions=("PIPELINING", "DSN"))) as second,
        SmtpPeer(Script(context=shown["fabrikam.com"].server_context())) as outside,
        dns({("far.test", "MX"): ["10 mx.fabrikam.com."], ("mx.fabrikam.com", "A"): ["127.0.0.1"]}) as names,
    ):
        resolver = {"resolvers": [names.address[0]], "port": names.address[1], "timeout": "2s"}

        def side(domain: str, partner: str, inside: SmtpPeer, port: int, theirs: int, extra: str) -> Any:
            policy = contoso(inside.host).replace("contoso.com", domain)
            if not extra:
                policy = policy.replace('name = "contoso"', f'name = "contoso"\n{own.format(certificate, key)}', 1)
            policy += SIDE.format(partner=partner, ca=ca.file, port=theirs, own=extra)
            listeners = [
                {"address": "127.0.0.1", "port": port},
                {"address": "127.0.0.1", "port": 0, "proxies": ["127.0.0.0/8"]},
            ]
            return running(
                folder / domain, policy, recipients=mail_users("ben", "ana").replace("contoso.com", domain),
                hostname=f"mx.{domain}", listener=listeners, dns=resolver,
                certificate=[{"chain": shown[domain].chain, "key": shown[domain].key}],
                delivery={"ca_bundle": ca.file, "mx_port": int(outside.port)},
            )  # fmt: skip

        fabrikams = own.format(client["fabrikam.com"].chain, client["fabrikam.com"].key)
        with (
            side("contoso.com", "fabrikam.com", first, wanted[0], wanted[1], "") as one,
            side("fabrikam.com", "contoso.com", second, wanted[1], wanted[0], fabrikams) as other,
        ):
            yield World(
                Side("contoso.com", one, first), Side("fabrikam.com", other, second), certificate, key,
                ca.issue("mail.stranger.test"), client["contoso.com"], names, outside,
            )  # fmt: skip


def _put(papers: Papers, certificate: Path, key: Path) -> None:
    """As a renewal does it: a new file in the place of the old one."""
    for source, target in ((papers.chain, certificate), (papers.key, key)):
        fresh = target.with_suffix(".new")
        shutil.copy(source, fresh)
        fresh.replace(target)


def test_t_tls_7_both_ways_and_twice(world: World) -> None:
    for turn in (1, 2):
        for here, there in ((world.one, world.other), (world.other, world.one)):
            before = len(there.got(f"ana@{there.domain}"))
            message = here.say(f"ana@{there.domain}")
            (row,) = here.service.settled(message)
            assert row["outbound_connector"] == "Partner out" and row["tls"].startswith("TLS")
            there.service.until(lambda t=there, b=before: len(t.got(f"ana@{t.domain}")) > b, "it arrives")
            (seen,) = [r for r in there.service.trace(sender=f"ben@{here.domain}") if r["inbound_connector"]][:1]
            assert seen["inbound_connector"] == "Partner in"
        if turn == 1:
            time.sleep(1.5)  # the second time on a new connection


def test_without_the_certificate_the_partner_refuses(world: World) -> None:
    with world.other.service.client("192.0.2.99") as client:
        client.begin("ben@contoso.com")
        assert client.to("ana@fabrikam.com")[0] == 550


def test_the_organisations_certificate_is_replaced_while_running(world: World) -> None:
    time.sleep(1.5)
    _put(world.wrong, world.certificate, world.key)
    message = world.one.say("ana@fabrikam.com")
    (row,) = world.one.service.settled(message, "Failed")
    assert "5.7.51" in row["reply"], row
    time.sleep(1.5)
    _put(world.right, world.certificate, world.key)
    world.one.service.settled(world.one.say("ana@fabrikam.com"))


def _require(world: World, to: str) -> str:
    """One REQUIRETLS message from Contoso's own server, over TLS; its id."""
    content = f"Subject: secret plan\r\nFrom: ben@contoso.com\r\nTo: {to}\r\n\r\nthe plan\r\n".encode()
    with world.one.service.client(ON_PREMISES) as client:
        client.secure()
        code, text = client.letter("ben@contoso.com", to, content=content, options=("REQUIRETLS",))
        assert code == 250, text
        return text.rpartition(" ")[2]


def test_requiretls_is_offered_in_tls_only(world: World) -> None:
    with world.one.service.client(ON_PREMISES) as client:
        assert client.begin("ben@contoso.com", "REQUIRETLS")[0] >= 500
        assert client.has_extn("starttls") and not client.has_extn("requiretls")
        client.secure()
        assert client.has_extn("requiretls")


def test_requiretls_from_one_to_the_other(world: World) -> None:
    """The partner promises REQUIRETLS and proves its name; the server behind it does not, and the mail waits there."""
    message = _require(world, "ana@fabrikam.com")
    (row,) = world.one.service.settled(message)
    assert row["tls"].startswith("TLS")
    # Fabrikam's own server has no TLS at all: what was promised is kept, and its mail waits there.
    seen = world.other.service.until(
        lambda: [r for r in world.other.service.trace(sender="ben@contoso.com") if "4.7.321" in r["reply"]],
        "it waits at the partner",
    )  # fmt: skip
    assert "REQUIRETLS" in seen[0]["reply"]
    assert not any(b"secret plan" in mail.content for mail in world.other.inside.mails)
    code, out, _ = world.other.service.command("explain", seen[0]["id"])
    assert code == 0 and "REQUIRETLS" in out


def test_requiretls_fails_for_good_where_no_server_promises_it(world: World) -> None:
    message = _require(world, "x@far.test")
    (row,) = world.one.service.settled(message, "Failed")
    assert "5.7.30" in row["reply"], row
    for session in world.outside.sessions:
        assert b"MAIL" not in session.clear + session.secure
    # The report is as secret as the message: its way leads to a server that promises nothing, so it waits too.
    rows = world.one.service.until(
        lambda: [r for r in world.one.service.trace(recipient="ben@contoso.com") if "4.7.321" in r["reply"]],
        "the report waits",
    )  # fmt: skip
    assert rows[0]["sender_address"] == ""
    assert not any(b"secret plan" in mail.content for mail in world.one.inside.mails)


def test_tls_required_no_needs_nothing(world: World) -> None:
    content = b"TLS-Required: No\r\nSubject: open\r\n\r\nx\r\n"
    (row,) = world.one.service.settled(world.one.say("x@far.test", content=content))
    assert row["reply"].startswith("250")
    (mail,) = [mail for mail in world.outside.mails if b"Subject: open" in mail.content]
    assert sender(mail) == "ben@contoso.com" and b"TLS-Required: No" in mail.content
    code, out, _ = world.one.service.command("explain", row["id"])
    assert code == 0 and "TLS-Required: No" in out
