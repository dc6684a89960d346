"""T-IPR-3, T-CONN-0, and the life of a policy by commands alone: planned, applied, written, proven, undone."""

from __future__ import annotations

import smtplib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from peers.acting import waited
from peers.listening import arrived, recipients
from peers.names import Names
from peers.service import Service, running
from peers.smtp_peer import SmtpPeer

POLICY = """\
# the company, by contract of 2026
[[organisation]]
name = "contoso"

[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true
"""
BANK = """
# the bank sends from its own network
[[inbound_connector]]
name = "Bank"
sender_domains = ["contosobank.com"]
restrict_domains_to_ip_addresses = true
sender_ip_addresses = ["203.0.113.0/24"]
require_tls = false
"""
HQ = """
# to headquarters
[[outbound_connector]]
name = "HQ"
recipient_domains = ["contoso.com", "fabrikam.test"]
use_mx_record = false
smart_hosts = ["{host}"]
"""
BEN, CARL, OUTSIDE = "ben@contoso.com", "carl@contoso.com", "alice@outside.example"
RECIPIENTS = (
    f"address,kind,external_address\nfay@fabrikam.test,mail_user,\n{CARL},mail_contact,carl@far.test\n{BEN},mail_user,\n"
)


@dataclass
class World:
    service: Service
    hq: SmtpPeer
    far: SmtpPeer
    names: Names


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with (
        SmtpPeer() as hq,
        SmtpPeer(address="127.0.0.21") as far,
        Names({"far.test": ["mx.far.test"]}, {"mx.far.test": ["127.0.0.21"]}) as names,
        running(
            tmp_path / "service", POLICY, recipients=RECIPIENTS, dns=names.settings, delivery={"mx_port": far.port}
        ) as service,
    ):
        yield World(service, hq, far, names)


def text_of(service: Service, name: str = "0.toml") -> str:
    return (service.folder / "policy" / name).read_text("utf-8")


def answer_to(service: Service, sender: str, recipient: str, peer: str = "192.0.2.10") -> tuple[int, str]:
    with service.client(peer) as client:
        code, text = client.begin(sender)
        return client.to(recipient) if code == 250 else (code, text)


@pytest.mark.parametrize("entry", ["203.0.112.0/23", "2001:db8::25", "2001:db8::/64"])
def test_t_ipr_3_in_compatibility_wide_and_ipv6_addresses_are_refused_on_save(world: World, entry: str) -> None:
    service = world.service
    service.write_policy(POLICY + BANK + HQ.format(host=world.hq.host))
    assert service.told("apply", "--reason", "the bank")["revision"] == 2
    service.told("organisation", "set", "contoso", "compatibility=exchange")
    before = text_of(service)
    for words in (["set", "Bank", f"sender_ip_addresses={entry}"], ["set", "Bank", f"sender_ip_addresses+={entry}"]):
        code, _, err = service.command("connector", *words)
        assert code == 1 and entry in err and "in compatibility" in err and "nothing was changed" in err
    code, _, err = service.command(
        "connector", "add", "Other", "--inbound", "sender_domains=x.test", f"sender_ip_addresses={entry}"
    )
    assert code == 1 and "in compatibility" in err
    assert service.status()["policy_revision"] == 3 and text_of(service) == before
    service.told("organisation", "set", "contoso", "--unset", "compatibility")
    told = service.told("connector", "set", "Bank", f"sender_ip_addresses+={entry}")
    assert told["object"]["sender_ip_addresses"] == ["203.0.113.0/24", entry], "otherwise it is accepted"
    assert "# the bank sends from its own network" in text_of(service)


def test_t_conn_0_mail_leaves_without_any_connector(world: World) -> None:
    """The half about mail to the outside; mail to hosted mailboxes needs no connector either, where there are any."""
    code, out, _ = world.service.command("connector", "advise", "all", "hosted")
    assert (code, out) == (0, "none\n")
    assert world.service.told("connector", "list") == []
    for count in (1, 2):  # the second time on a new connection of the same peer
        rows = world.service.settled(world.service.send(OUTSIDE, CARL))
        assert [(row["status"], row["outbound_connector"] or "") for row in rows] == [("Delivered", "")]
        assert [recipients(mail) for mail in arrived(world.far, count)] == [["carl@far.test"]] * count


def test_a_policy_is_planned_applied_and_undone(world: World) -> None:
    service = world.service
    service.write_policy(POLICY + HQ.format(host=world.hq.host))
    code, out, _ = service.command("plan")
    assert code == 0 and f"mail for contoso.com will now leave by connector HQ, to {world.hq.host}" in out
    assert service.status()["policy_revision"] == 1
    told = service.told("apply", "--reason", "headquarters has moved", "--expect", "1")
    assert told["revision"] == 2
    waited(lambda: service.trace(id=service.send(OUTSIDE, BEN))[0]["revision"] == 2, "revision 2 acts")
    service.until(lambda: world.hq.mails, "it left by the connector")
    code, _, err = service.command("apply", "--expect", "1")
    assert code == 1 and "Revision 2 is in force" in err
    assert service.told("ip-list", "block", "192.0.2.10", "--operator")["revision"] == 3

    def refused() -> bool:
        try:
            with service.client("192.0.2.10"):
                return False
        except smtplib.SMTPConnectError:
            return True

    waited(refused, "the block acts")
    service.told("rollback", "2", "--reason", "that was our own gateway")
    waited(lambda: not refused(), "the rollback acts")
    rows = service.told("revisions")
    assert [(row["revision"], row["reason"]) for row in rows[:2]] == [
        (4, "that was our own gateway"), (3, "operator add operator"),
    ]  # fmt: skip
    assert rows[0]["by"].split()[0].isdigit()
    assert text_of(service) == POLICY + HQ.format(host=world.hq.host), "the folder says what is in force"


def test_a_domain_is_proven_by_its_txt_record(world: World) -> None:
    service = world.service
    service.write_policy(POLICY + HQ.format(host=world.hq.host))
    service.told("apply")
    record = service.told("domain", "add", "fabrikam.test")["object"]["txt_record"]
    assert answer_to(service, OUTSIDE, "fay@fabrikam.test")[0] == 550, "it is not proven yet"
    code, _, err = service.command("domain", "verify", "fabrikam.test")
    assert code == 1 and record in err
    world.names.texts["fabrikam.test"] = ["v=spf1 -all", record.split('"')[1]]
    assert service.told("domain", "verify", "fabrikam.test")["object"]["proven_at"]
    waited(lambda: answer_to(service, OUTSIDE, "fay@fabrikam.test")[0] == 250, "its mail is taken")
    service.told("domain", "remove", "fabrikam.test")
    waited(lambda: answer_to(service, OUTSIDE, "fay@fabrikam.test")[0] == 550, "its mail is not taken")


def test_limits_act_on_new_connections_waited(world: World) -> None:
    service = world.service
    with service.client() as open_before:
        open_before.ehlo()
        service.told("rollback", "1")
        service.write_policy(POLICY + "[operator.limits]\nmessage_size = 65536\nrecipients_per_message = 100\n")
        service.told("apply")

        def advertised() -> str:
            with service.client() as client:
                client.ehlo()
                return client.esmtp_features["size"]

        waited(lambda: advertised() == "65536", "SIZE is the new one")
        code, text = open_before.letter(OUTSIDE, BEN, content="x" * 70_000)
        assert code == 552, f"{text}: the new limit holds for the next message of an open connection too"


def test_a_restart_undoes_nothing_and_overlooks_nothing(world: World) -> None:
    service = world.service
    service.told("ip-list", "block", "192.0.2.66", "--operator")
    assert service.stop() == 0
    service.start()
    assert service.status()["policy_revision"] == 2 and "192.0.2.66" in text_of(service)
    service.told("rollback", "1")
    assert service.stop() == 0
    service.start()
    assert service.status()["policy_revision"] == 3 and "192.0.2.66" not in text_of(service)
    service.stop()
    service.write_policy(POLICY + "# edited while nothing ran\n")
    service.start()
    assert service.status()["policy_revision"] == 4
    assert service.told("revisions")[0]["by"] == "start"


def test_edits_by_hand_are_never_overwritten(world: World) -> None:
    service = world.service
    service.write_policy(POLICY + "# half an idea\n")
    code, _, err = service.command("ip-list", "block", "192.0.2.66", "--operator")
    assert code == 1 and "was edited and not put in force yet (0.toml)" in err and "lockgate apply" in err
    assert text_of(service).endswith("# half an idea\n") and service.status()["policy_revision"] == 1
    service.told("apply")
    service.told("ip-list", "block", "192.0.2.66", "--operator")
    assert "# half an idea\n" in text_of(service) and "192.0.2.66" in text_of(service)


def test_a_broken_document_tells_every_mistake_and_changes_nothing(world: World, tmp_path: Path) -> None:
    folder = tmp_path / "other"
    folder.mkdir()
    (folder / "a.toml").write_text(POLICY + BANK.replace("sender_domains", "sender_domain"))
    (folder / "b.toml").write_text('[[mail_flow_rule]]\nname = "x"\nroute_message_outbound_connector = "HQ"\n')
    for words in (["check"], ["plan"], ["apply"], ["apply", "--what-if"]):
        code, out, err = world.service.command(words[0], str(folder), *words[1:])
        assert code == 1, out
        assert "a.toml:12: inbound_connector[0].sender_domain: there is no 'sender_domain' here; did you mean" in err
        assert "b.toml:3: mail_flow_rule[0].route_message_outbound_connector: there is no outbound connector" in err
    assert world.service.status()["policy_revision"] == 1 and text_of(world.service) == POLICY
