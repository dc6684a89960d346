"""T-GW-1, T-GW-2, T-GW-3: mail by a gateway. The gateway is Postfix, whose Received fields are its own."""

from __future__ import annotations

import re
import smtplib
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes
from email.message import Message
from pathlib import Path

import pytest

from peers.contoso import contoso, mail_users
from peers.dns_thread import dns
from peers.listening import recipients, subject
from peers.postfix import Postfix, need_postfix
from peers.seen_from import SeenFrom
from peers.service import Service, running
from peers.smtp_peer import Mail, SmtpPeer

GATEWAY, SPAMMER, SHOP = "198.51.100.25", "192.0.2.66", "192.0.2.10"
ZONE = {
    ("shop.test", "TXT"): [f'"v=spf1 ip4:{SHOP} -all"'],
    ("_dmarc.shop.test", "TXT"): ['"v=DMARC1; p=reject; rua=mailto:dmarc@shop.test"'],
    # The gateway may send for this one, and the spammer may not.
    ("spoofed.test", "TXT"): [f'"v=spf1 ip4:{GATEWAY} -all"'],
    ("_dmarc.spoofed.test", "TXT"): ['"v=DMARC1; p=reject"'],
    ("plain.test", "TXT"): ['"v=spf1 -all"'],
}
POLICY = """
[[anti_phishing_policy]]
name = "Default"
authentication_fail_action = "none"
send_aggregate_reports = true
report_contact = "reports@contoso.com"

[[connection_filter]]
ip_allow_list = ["192.0.2.77"]
ip_block_list = ["192.0.2.88"]

[[inbound_connector]]
name = "Gateway"
sender_domains = ["*"]
sender_ip_addresses = ["198.51.100.0/24"]
restrict_domains_to_ip_addresses = true
require_tls = false
ef_skip_last_ip = true
{users}
"""
ANA, BOB = "ana@contoso.com", "bob@contoso.com"
ORIGINAL, COMPUTED = "X-MS-Exchange-ExternalOriginalInternetSender", "X-MS-Exchange-SkipListedInternetSender"


@dataclass
class World:
    service: Service
    gateway: Postfix
    sink: SmtpPeer

    def policy(self, users: str = "", compatibility: str = "") -> str:
        base = contoso(self.sink.host)
        if compatibility:
            base = base.replace('name = "contoso"\n', f'name = "contoso"\ncompatibility = "{compatibility}"\n', 1)
        return base + POLICY.format(users=users)

    def put(self, users: str = "", compatibility: str = "") -> None:
        """Put this policy in force; returns once mail is judged by it."""
        revision = int(self.service.reload(self.policy(users, compatibility))["revision"])

        def acts() -> bool:
            message = self.service.send("probe@plain.test", ANA, peer=GATEWAY)
            return int(self.service.trace(id=message)[0]["revision"]) >= revision

        self.service.until(acts, f"revision {revision} acts")

    def through(self, source: str, sender: str, *to: str, name: str, fields: str = "", helo: str = "spam.test") -> None:
        """A message from this address to the gateway, which passes it on."""
        author = sender or "a@plain.test"
        letter = f"{fields}From: {author}\r\nTo: {to[0]}\r\nSubject: {name}\r\n"
        letter += f"Message-ID: <{name}@x.test>\r\n\r\nhello\r\n"
        with smtplib.SMTP("127.0.0.1", self.gateway.port, "injector.test", 20) as client:
            client.ehlo()
            assert client.docmd("XCLIENT", f"ADDR={source} NAME=[UNAVAILABLE]")[0] == 220
            client.ehlo(helo)
            assert client.mail(sender)[0] == 250
            for one in to:
                assert client.rcpt(one)[0] == 250
            assert client.data(letter.encode())[0] == 250

    def got(self, name: str, count: int = 1) -> list[Mail]:
        self.service.until(lambda: len(self._all(name)) >= count, f"{count} copies of {name}")
        return self._all(name)

    def _all(self, name: str) -> list[Mail]:
        return [mail for mail in self.sink.mails if subject(mail) == name]

    def row(self, name: str) -> dict:
        return self.service.until(lambda: self.service.trace(message_id=f"{name}@x.test"), name)[0]


def header(mail: Mail) -> Message:
    return message_from_bytes(mail.content)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    need_postfix()
    folder: Path = tmp_path_factory.mktemp("gateway")
    with dns(ZONE) as names, SmtpPeer() as sink:
        resolver = {"resolvers": [names.address[0]], "port": names.address[1], "timeout": "500ms"}
        people = mail_users("ana", "bob")
        with (
            running(folder / "service", contoso(sink.host), recipients=people, dns=resolver) as service,
            SeenFrom(GATEWAY, service.proxied) as way,
            Postfix(
                way.host, smtpd_authorized_xclient_hosts="127.0.0.0/8", relay_domains="contoso.com",
                smtpd_relay_restrictions="reject_unauth_destination", smtpd_helo_required="no",
            ) as gateway,
        ):  # fmt: skip
            made = World(service, gateway, sink)
            made.put()
            yield made


def test_t_gw_1_spf_passes_for_the_true_source(world: World) -> None:
    world.through(SHOP, "a@shop.test", ANA, name="genuine", helo="mx.shop.test")
    told = header(world.got("genuine")[0])
    assert told[ORIGINAL] == told[COMPUTED] == f"ip=[{SHOP}];domain=mx.shop.test"
    assert f"spf=pass (sender IP is {SHOP}) smtp.mailfrom=shop.test" in told["Authentication-Results"]
    assert "dmarc=pass" in told["Authentication-Results"]


def test_t_gw_1_dmarc_fails_for_the_true_source_although_the_gateway_may_send(world: World) -> None:
    for domain in ("shop.test", "spoofed.test"):
        name = f"forged-{domain}"
        world.through(SPAMMER, f"a@{domain}", ANA, name=name)
        world.gateway.logged(rf"from=<a@{re.escape(domain)}>")
        world.gateway.logged(r"status=bounced \(host .* said: 550 5\.7\.509")
        (row,) = world.service.until(
            lambda sender=f"a@{domain}": world.service.trace(sender=sender, status="Refused"), f"{name} is refused"
        )
        assert row["reply"].startswith("550 5.7.509")
        (part,) = world.service.told("explain", row["id"])["parts"]
        assert part["judged"]["steps"] == "judged again" and part["differs"] == []
        assert part["facts"]["authentication"]["source"] == SPAMMER
        assert part["facts"]["authentication"]["spf"] == f"fail ({domain})"
        steps = {step["subject"]: step for step in part["recipients"][0]["steps"] if step["stage"] == "entitle"}
        assert steps[f"hop {GATEWAY}"]["because"] == "it is the connecting hop, which the connector skips"
        assert steps["true source"]["effect"] == f"judged as sent by {SPAMMER}"
    assert not world._all("forged-shop.test") and not world._all("forged-spoofed.test")


def test_t_gw_1_the_header_carries_the_true_source(world: World) -> None:
    forged = f"{ORIGINAL}: ip=[192.0.2.77];domain=good.test\r\nReceived: from x ([192.0.2.77]) by y; today\r\n"
    world.through(SPAMMER, "a@plain.test", ANA, name="plain", fields=forged)
    told = header(world.got("plain")[0])
    assert told.get_all(ORIGINAL) == [f"ip=[{SPAMMER}];domain=spam.test"]
    assert f"spf=fail (sender IP is {SPAMMER})" in told["Authentication-Results"]


def test_t_gw_1_direct_delivery_is_refused(world: World) -> None:
    with world.service.client(SPAMMER) as client:
        client.begin("a@plain.test")
        code, text = client.to(ANA)
    assert code == 550 and text.startswith("5.7.51 TenantInboundAttribution"), text


def test_the_ip_block_list_names_the_true_source(world: World) -> None:
    world.through("192.0.2.88", "b@plain.test", ANA, name="blocked")
    world.gateway.logged(r"said: 550 5\.7\.513 .*192\.0\.2\.88")


def test_a_name_that_breaks_the_field_wins_nothing(world: World) -> None:
    """Postfix cleans HELO names; whatever is left, only the address that it saw counts, or none."""
    world.through(SPAMMER, "c@plain.test", ANA, name="named", helo="[192.0.2.77]")
    assert header(world.got("named")[0])[ORIGINAL] == f"ip=[{SPAMMER}];domain=[192.0.2.77]"


def test_t_gw_2_users_are_a_matter_of_each_recipient(world: World) -> None:
    world.put(f'ef_users = ["{ANA}"]')
    world.through(SPAMMER, "a@plain.test", ANA, BOB, name="both")
    copies = {recipients(mail)[0]: header(mail) for mail in world.got("both", 2)}
    assert sorted(copies) == [ANA, BOB]
    value = f"ip=[{SPAMMER}];domain=spam.test"
    assert (copies[ANA][ORIGINAL], copies[ANA][COMPUTED]) == (value, value)
    assert (copies[BOB][ORIGINAL], copies[BOB][COMPUTED]) == (None, value)
    assert f"sender IP is {SPAMMER}" in copies[ANA]["Authentication-Results"]
    assert f"sender IP is {GATEWAY}" in copies[BOB]["Authentication-Results"]
    (part,) = world.service.told("explain", world.row("both")["id"], "--recipient", BOB)["parts"]
    assert "it is not among the ef_users of Gateway" in str(part)


def test_t_gw_2_in_compatibility_the_whole_message(world: World) -> None:
    world.put(f'ef_users = ["{ANA}"]', "exchange")
    world.through(SPAMMER, "a@plain.test", ANA, BOB, name="compatible")
    (mail,) = world.got("compatible")
    assert sorted(recipients(mail)) == [ANA, BOB] and header(mail)[ORIGINAL] is None
    world.through(SPAMMER, "a@plain.test", ANA, name="compatible-ana")
    assert header(world.got("compatible-ana")[0])[ORIGINAL] == f"ip=[{SPAMMER}];domain=spam.test"


def test_t_gw_3_private_ranges_are_not_saved(world: World) -> None:
    world.put()
    before = world.service.status()["policy_revision"]
    world.service.write_policy(world.policy().replace("ef_skip_last_ip = true", 'ef_skip_ips = ["10.0.0.0/8"]'))
    code, out, err = world.service.command("apply", "--reason", "skip private hops")
    assert code == 1 and "10.0.0.0/8 has private addresses" in out + err and "may not be listed" in out + err
    assert world.service.status()["policy_revision"] == before
    world.through(SHOP, "a@shop.test", ANA, name="afterwards")
    assert header(world.got("afterwards")[0])[ORIGINAL]


def test_what_if_shows_the_hops(world: World, tmp_path: Path) -> None:
    file = tmp_path / "letter.eml"
    file.write_bytes(
        b"Received: from spam.test (unknown [192.0.2.66]) by gw.example; today\r\nFrom: a@shop.test\r\n\r\n"
    )
    code, out, err = world.service.command(
        "what-if", "--ip", GATEWAY, "--from", "a@plain.test", "--to", ANA, "--suppose", "dmarc = none shop.test",
        str(file),
    )  # fmt: skip
    assert code == 0, (out, err)
    assert "judged as sent by 192.0.2.66" in out
