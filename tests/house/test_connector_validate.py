"""Specification 1.2.2 in the running service: it dials, mail arrives, the result is kept, and delivery agrees."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from peers.certificates import Authority
from peers.contoso import mail_users
from peers.dns_thread import dns
from peers.listening import arrived
from peers.ports import free_port
from peers.postfix import Postfix
from peers.service import Service, running
from peers.smtp_peer import Script, SmtpPeer

HEAD = """
[[organisation]]
name = "contoso"
[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true
default = true
"""
CONNECTOR = """
[[outbound_connector]]
name = "{name}"
connector_type = "on_premises"
recipient_domains = ["{domain}"]
use_mx_record = false
smart_hosts = ["{host}"]
{more}
"""
STRICT = 'tls_settings = "domain_validation"\ntls_domain = "mail.contoso.com"\nca_file = "{ca}"\n'


def connector(host: str, name: str = "HQ", domain: str = "contoso.com", more: str = "") -> str:
    return CONNECTOR.format(host=host, name=name, domain=domain, more=more)


@dataclass
class World:
    service: Service
    peer: SmtpPeer
    ca: Authority


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    ca = Authority(tmp_path)
    with SmtpPeer(Script(context=ca.issue("mail.contoso.com").server_context())) as peer:
        text = HEAD + connector(peer.host, more=STRICT.format(ca=ca.file))
        with running(tmp_path / "service", text, recipients=mail_users("ben", "sam")) as service:
            yield World(service, peer, ca)


def validate(service: Service, *words: str) -> tuple[int, dict[str, Any]]:
    code, out, err = service.command("connector", "validate", *words, "--json")
    assert code in (0, 1), f"{out}{err}\n{service.said()}"
    return code, json.loads(out)


def wrong(result: dict[str, Any]) -> list[str]:
    return [step["step"] for step in result["steps"] if step["outcome"] == "failed"]


def test_a_validation_is_kept_shown_audited_and_grows_stale(world: World) -> None:
    service = world.service
    assert service.told("connector", "show", "HQ")["is_validated"] is False
    assert "never" in service.command("connector", "list")[1]
    code, result = validate(service, "HQ", "--to", "ben@contoso.com", "--to", "sam@contoso.com")
    assert (code, result["success"], result["kept"], result["test_mail"]) == (0, True, True, True)
    assert result["sender"] == "connectorvalidation@contoso.com" and result["policy"] == "revision 1"
    steps = {step["step"] for step in result["steps"]}
    assert {"scope", "resolve", "dial", "ehlo", "starttls", "chain", "name", "client_certificate", "login", "recipient",
            "test_mail"} <= steps  # fmt: skip
    (mail,) = arrived(world.peer)
    assert b"Auto-Submitted: auto-generated" in mail.content and len(mail.rcpt) == 2
    assert "FROM:<connectorvalidation@contoso.com>" in mail.mail
    assert all(not session.clear.upper().count(b"MAIL FROM") for session in world.peer.sessions)

    shown = service.told("connector", "show", "HQ")
    assert shown["is_validated"] is True and shown["last_validation_timestamp"] == result["at"]
    assert shown["validation_recipients"] == ["ben@contoso.com", "sam@contoso.com"]
    assert shown["validation"]["stale"] is False and shown["validation"]["by"]
    assert "yes (" in service.command("connector", "list")[1]
    rows = service.told("audit", "find", "--what", "connector validate")
    assert rows[0]["what"] == "connector validate" and rows[0]["details"]["success"] is True

    # Recipients are those of the last time; nothing of the administrator's documents is rewritten.
    before = (service.folder / "policy" / "0.toml").read_text()
    code, result = validate(service, "hq", "--no-mail", "--from", "admin@contoso.com")
    assert (code, result["test_mail"], result["sender"]) == (0, False, "admin@contoso.com")
    assert result["recipients"] == ["ben@contoso.com", "sam@contoso.com"]
    assert (service.folder / "policy" / "0.toml").read_text() == before

    assert service.command("connector", "set", "HQ", "tls_domain=other.contoso.com")[0] == 0
    shown = service.told("connector", "show", "HQ")
    assert shown["is_validated"] is False and shown["validation"]["stale"] is True
    assert "changed since" in service.command("connector", "list")[1]
    code, result = validate(service, "HQ")
    assert (code, wrong(result)) == (1, ["name"]), "a failure is a result, and the connector stays in force"
    assert service.told("connector", "show", "HQ")["validation"]["success"] is False

    service.stop()
    service.start()
    assert service.told("connector", "show", "HQ")["validation"]["failed"][0]["step"] == "name"


def test_out_of_scope_inbound_and_unknown_ones(world: World) -> None:
    service = world.service
    code, result = validate(service, "HQ", "--to", "x@elsewhere.example")
    assert (code, wrong(result), result["kept"]) == (1, ["scope"], False)
    assert "elsewhere.example is not part of the connector HQ" in result["steps"][0]["seen"]
    assert service.told("connector", "show", "HQ").get("validation") is None
    assert service.command("connector", "validate", "HQ")[0] == 2, "nobody to send to"
    assert service.command("connector", "validate", "HQ", "--to", "no address")[0] == 2
    code, _, err = service.command("connector", "validate", "Nope", "--to", "a@contoso.com")
    assert code == 1 and "there is no outbound connector 'Nope'" in err.lower().replace("nope", "Nope")
    own = ("connector_type=on_premises", "sender_ip_addresses=192.0.2.1")
    assert service.command("connector", "add", "In", "--inbound", *own)[0] == 0
    code, _, err = service.command("connector", "validate", "In", "--to", "a@contoso.com")
    assert code == 2 and "only outbound connectors can be validated" in err
    code, result = validate(service, "HQ", "--to", "ben@contoso.com", "--what-if")
    assert code == 0 and result["kept"] is False and "would be dialled" in result["steps"][-1]["seen"]
    assert world.peer.sessions == []
    code, out, _ = service.command("connector", "validate", "HQ", "--to", "ben@contoso.com")
    assert code == 0 and "+ test mail" in out and "HQ of contoso (revision" in out


def test_a_draft_is_tried_before_it_is_in_force(world: World, tmp_path: Path) -> None:
    draft = tmp_path / "draft"
    draft.mkdir()
    with SmtpPeer() as other:
        text = (world.service.folder / "policy" / "0.toml").read_text()
        (draft / "a.toml").write_text(text + connector(other.host, "New", "new.example"))
        words = ("New", "--to", "x@new.example", "--policy", str(draft))
        code, result = validate(world.service, *words)
        assert (code, result["success"]) == (0, True) and result["policy"].startswith("a draft")
        assert len(arrived(other)) == 1
        assert "New" not in world.service.command("connector", "list")[1]
        assert world.service.command("apply", str(draft))[0] == 0
        shown = world.service.told("connector", "show", "New")
        assert shown["is_validated"] is True and not shown["validation"]["stale"], "it is the same connector"
        (draft / "a.toml").write_text(text + connector(other.host, "New", "new.example", "nonsense = 1"))
        code, _, err = world.service.command("connector", "validate", *words)
        assert code == 1 and "a.toml" in err and "nonsense" in err


PEERS = ("good", "self-signed", "expired", "wrong name", "no STARTTLS", "refused recipient", "dead host")


@pytest.mark.parametrize("kind", PEERS)
def test_delivery_does_what_validation_says(kind: str, tmp_path: Path) -> None:
    """The same peer, the same connector: mail sent a moment later arrives if and only if validation went well."""
    ca = Authority(tmp_path)
    papers = {
        "self-signed": lambda: ca.issue("mail.contoso.com", self_signed=True),
        "expired": lambda: ca.issue("mail.contoso.com", expired=True),
        "wrong name": lambda: ca.issue("mail.other.example"),
    }.get(kind, lambda: ca.issue("mail.contoso.com"))()
    refusals = {"ben@contoso.com": "550 5.1.1 nobody here"} if kind == "refused recipient" else {}
    context = None if kind == "no STARTTLS" else papers.server_context()
    at = {"self-signed": "chain", "expired": "chain", "wrong name": "name", "no STARTTLS": "starttls",
          "refused recipient": "recipient", "dead host": "dial"}  # fmt: skip
    with SmtpPeer(Script(context=context, rcpt=refusals)) as peer:
        host = f"127.0.0.1:{free_port()}" if kind == "dead host" else peer.host
        text = HEAD + connector(host, more=STRICT.format(ca=ca.file))
        with running(tmp_path / "service", text, recipients=mail_users("ben")) as service:
            code, result = validate(service, "HQ", "--to", "ben@contoso.com")
            assert wrong(result) == ([at[kind]] if kind in at else []) and code == (kind in at)
            mails = len(peer.mails)
            message = service.send("alice@outside.example", "ben@contoso.com")
            if kind in at:
                status = "Failed" if kind == "refused recipient" else "Pending"
                row = service.until(lambda: [r for r in service.trace(id=message) if r["reply"]], "an answer")[0]
                assert row["status"] == status and len(peer.mails) == mails
            else:
                service.settled(message)
                assert len(peer.mails) == mails + 1


def test_postfix_answers_with_its_queue_id(tmp_path: Path) -> None:
    ca = Authority(tmp_path)
    good, other = ca.issue("mail.contoso.com"), ca.issue("mail.other.example")
    for papers, failing in ((good, []), (other, ["name"])):
        tls = {"smtpd_tls_security_level": "may", "smtpd_tls_chain_files": f"{papers.key}, {papers.chain}"}
        with SmtpPeer() as mailbox, Postfix(mailbox.host, **tls) as postfix:
            text = HEAD + connector(postfix.host, more=STRICT.format(ca=ca.file))
            folder = tmp_path / f"service-{len(failing)}"
            with running(folder, text, recipients=mail_users("ben")) as service:
                code, result = validate(service, "HQ", "--to", "ben@contoso.com")
                assert (code, wrong(result)) == (bool(failing), failing)
                if failing:
                    continue
                mail = result["steps"][-1]
                queue_id = mail["details"]["queue_id"]
                assert mail["step"] == "test_mail" and queue_id
                postfix.logged(rf"{queue_id}: from=<connectorvalidation@contoso.com>")
                assert b"Test of the connector HQ" in arrived(mailbox)[0].content


def test_a_login_reaches_the_smart_host(tmp_path: Path) -> None:
    """The secret is a reference all the way to the courier; delivery logs in as validation does."""
    ca = Authority(tmp_path)
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    more = f'tls_settings = "encryption_only"\nlogin_user = "relay"\nlogin_secret = "file:{secret}"\n'
    script = Script(context=ca.issue("mail.contoso.com").server_context(), extensions=("AUTH PLAIN",))
    with SmtpPeer(script) as peer:
        text = HEAD + connector(peer.host, more=more)
        with running(tmp_path / "service", text, recipients=mail_users("ben")) as service:
            code, result = validate(service, "HQ", "--to", "ben@contoso.com")
            assert (code, wrong(result)) == (0, [])
            assert "logged in as relay" in str(result) and "s3cret" not in str(result)
            service.settled(service.send("alice@outside.example", "ben@contoso.com"))
            assert all(b"AUTH PLAIN" in session.secure for session in peer.sessions)


def test_by_mx_every_exchanger_is_tried(tmp_path: Path) -> None:
    zone = {
        ("bank.example", "MX"): ["10 dead.bank.example.", "20 live.bank.example."],
        ("dead.bank.example", "A"): ["127.0.0.9"],
        ("live.bank.example", "A"): ["127.0.0.1"],
    }
    bank = '\n[[outbound_connector]]\nname = "Bank"\nrecipient_domains = ["bank.example"]\n'
    with SmtpPeer() as peer, dns(zone) as server:
        address, port = server.address
        settings = {"dns": {"resolvers": [address], "port": port}, "delivery": {"mx_port": peer.port}}
        with running(tmp_path / "service", HEAD + bank, **settings) as service:
            code, result = validate(service, "Bank", "--to", "x@bank.example")
            assert (code, wrong(result)) == (1, ["dial"])
            (dead,) = [step for step in result["steps"] if step["outcome"] == "failed"]
            assert dead["server"].startswith("dead.bank.example[127.0.0.9]") and dead["fix"]
            assert "MX of bank.example: 10 dead.bank.example, 20 live.bank.example" in str(result["steps"])
            assert result["test_mail"] is True and len(arrived(peer)) == 1, "delivery goes on to the next exchanger"
