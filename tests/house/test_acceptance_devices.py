"""T-DEV-1, T-DEV-2: devices that relay by their address, and senders of an own domain that come from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lockgate.flow.asking import Explain, Kind
from peers.certificates import Authority, Papers
from peers.dns_thread import dns
from peers.listening import arrived, recipients, sender
from peers.service import HOSTNAME, Service, running
from peers.smtp_peer import Mail, SmtpPeer

SCANNER, STRANGER, MAILER = "203.0.113.40", "203.0.113.50", "203.0.113.60"
A, B, EVA, X = "a@contoso.com", "b@contoso.com", "eva@fabrikam.com", "x@example.test"

POLICY = """
[[organisation]]
name = "contoso"
{direct_send}

[[accepted_domain]]
organisation = "contoso"
domain_name = "contoso.com"
vouched_by_operator = true

[[inbound_connector]]
organisation = "contoso"
name = "Scanner"
connector_type = "on_premises"
sender_ip_addresses = ["{scanner}"]

[[inbound_connector]]
organisation = "contoso"
name = "Newsletters"
sender_domains = ["contoso.com"]
require_tls = false
sender_ip_addresses = ["203.0.113.60"]

[[inbound_connector]]
organisation = "contoso"
name = "Branch"
connector_type = "on_premises"
tls_sender_certificate_name = "branch.contoso.com"
ca_file = "{ca}"

[[outbound_connector]]
organisation = "contoso"
name = "Headquarters"
connector_type = "on_premises"
recipient_domains = ["contoso.com"]
use_mx_record = false
smart_hosts = ["{host}"]

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
{more}
"""
SPOOFS = """
[[anti_phishing_policy]]
organisation = "contoso"
name = "Default"
own_domain_spoof_action = "{action}"
"""
PEOPLE = {
    "contoso": "address,kind\na@contoso.com,mail_user\nb@contoso.com,mail_user\n",
    "fabrikam": "address,kind\neva@fabrikam.com,mail_user\n",
}
RECORDS = {
    ("contoso.com", "TXT"): ['"v=spf1 ip4:203.0.113.50 -all"'],
    ("example.test", "MX"): ["10 mx.example.test."],
    ("mx.example.test", "A"): ["127.0.0.51"],
}


@dataclass
class World:
    service: Service
    own: SmtpPeer
    outside: SmtpPeer
    ca: Authority
    branch: Papers

    def write(self, scanner: str = SCANNER, direct_send: str = "", more: str = "") -> str:
        return POLICY.format(scanner=scanner, direct_send=direct_send, ca=self.ca.file, host=self.own.host, more=more)

    def policy(self, **changes: str) -> None:
        """Put it in force and wait until the edge has it."""
        revision = int(self.service.reload(self.write(**changes))["revision"])

        def seen() -> bool:
            with self.service.client("198.51.100.1") as client:
                code, _ = client.letter("probe@probe.test", EVA)
            assert code == 250
            return int(self.service.trace(sender="probe@probe.test")[0]["revision"]) >= revision

        self.service.until(seen, f"revision {revision} is in force", pause=0.2)

    def say(self, who: str, peer: str, *whom: str, papers: Papers | None = None, author: str = "") -> tuple[int, str]:
        with self.service.client(peer) as client:
            if papers is not None:
                client.secure(papers.chain, papers.key)
            head = f"From: {author or who or A}\r\nSubject: hello\r\n\r\nhello\r\n".encode()
            return client.letter(who, *whom, content=head)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("devices")
    ca = Authority(folder)
    shown = ca.issue(HOSTNAME)
    with dns(RECORDS) as names, SmtpPeer() as own, SmtpPeer(address="127.0.0.51") as outside:
        first = World(None, own, outside, ca, ca.issue("branch.contoso.com"))  # type: ignore[arg-type]
        with running(
            folder / "service", first.write(), recipients=PEOPLE,
            dns={"resolvers": [names.address[0]], "port": names.address[1], "timeout": "500ms"},
            delivery={"mx_port": outside.port}, certificate=[{"chain": shown.chain, "key": shown.key}],
        ) as service:  # fmt: skip
            first.service = service
            yield first


def last(peer: SmtpPeer, message: str) -> Mail:
    arrived(peer)
    return next(mail for mail in peer.mails if message.encode() in mail.content)


def test_t_dev_1_a_scanner_relays_by_its_address_until_that_changes(world: World) -> None:
    code, text = world.say("scanner@contoso.com", SCANNER, X)
    assert code == 250, text
    message = text.rpartition(" ")[2]
    row, = world.service.settled(message)
    assert row["inbound_connector"] == "Scanner"
    mail = last(world.outside, message)
    assert (sender(mail), recipients(mail)) == ("scanner@contoso.com", [X])
    code, text = world.say("scanner@contoso.com", "203.0.113.41", X)
    assert (code, text[:6]) == (550, "5.7.64"), text


def test_t_dev_2_direct_send_is_refused_by_default_whatever_spf_says(world: World) -> None:
    with world.service.client(STRANGER) as client:
        assert client.begin(A)[0] == 250
        code, text = client.to(B)
        assert code == 550
        assert text.startswith(
            "5.7.68 TenantInboundAttribution; Direct Send not allowed for this organization from unauthorized sources"
        )
        assert client.to(EVA)[0] == 250, "fabrikam's recipients are not contoso's to guard"
    connection = text.rpartition("(id ")[2].rstrip(")")
    service = world.service
    service.until(lambda: service.answer(Explain(connection)).kind == Kind.OK, "the refusal is written")
    row, = service.trace(ip=STRANGER)
    assert (row["status"], row["organisation"], row["recipient_address"]) == ("Refused", "contoso", B)
    assert "contoso.com is a domain of this organisation, and no connector or login vouches" in str(
        service.done(Explain(connection))
    )
    code, out, _ = service.command("what-if", "--ip", STRANGER, "--from", A, "--to", B)
    assert code == 1
    assert "5.7.68" in out


def test_t_dev_2_who_is_vouched_for_may_and_others_are_not_concerned(world: World) -> None:
    for who, peer, papers in (
        (A, SCANNER, None),  # an own-server connector, by address
        (A, STRANGER, world.branch),  # an own-server connector, by certificate
        (A, MAILER, None),  # a partner connector, at its address
        ("", STRANGER, None),
        ("a@example.test", STRANGER, None),
        ("a@sub.contoso.com", STRANGER, None),  # no accepted domain
    ):
        code, text = world.say(who, peer, B, papers=papers)
        assert code == 250, (who, peer, text)
        world.service.settled(text.rpartition(" ")[2])


def test_t_dev_2_switched_off_the_policy_for_spoofs_decides(world: World) -> None:
    off = "reject_direct_send = false"
    try:
        world.policy(direct_send=off)
        code, text = world.say(A, "203.0.113.77", B)
        assert code == 250, text
        world.policy(direct_send=off, more=SPOOFS.format(action="reject"))
        assert world.say(A, "203.0.113.77", B)[0] == 550
        code, text = world.say(A, STRANGER, B)
        assert code == 250, "SPF proves this one"
        world.policy(direct_send=off, more=SPOOFS.format(action="quarantine"))
        code, text = world.say(A, "203.0.113.77", B)
        assert code == 250, text
        world.service.settled(text.rpartition(" ")[2], "Held")
        code, text = world.say("x@example.test", STRANGER, B, author=A)
        assert code == 250, text
        world.service.settled(text.rpartition(" ")[2], "Held")
    finally:
        world.policy()
    assert world.say(A, STRANGER, B)[0] == 550
