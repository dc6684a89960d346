"""T-HYB-5 over the running service: standalone, converted while it runs, a mailbox here, and standalone again."""

from __future__ import annotations

from pathlib import Path

from peers.certificates import Authority
from peers.client import letter
from peers.onpremises import NAME, OnPremises
from peers.postfix import need_postfix
from peers.service import HOSTNAME, running
from peers.smtp_peer import SmtpPeer

STANDALONE = """\
# Contoso, standalone in front of its own Postfix.
[[organisation]]
name = "contoso"

[[accepted_domain]]
domain_name = "contoso.com"   # the only one
vouched_by_operator = true

[[outbound_connector]]
name = "Headquarters"
connector_type = "on_premises"
recipient_domains = ["contoso.com"]
use_mx_record = false
smart_hosts = ["{host}"]
"""
PEOPLE = "address,kind,city\njulie@contoso.com,mail_user,Boston\ndavid@contoso.com,mail_user,Seattle\n"
OUTSIDE = "x@home.test"


def test_t_hyb_5_from_standalone_to_hybrid_and_back(tmp_path: Path) -> None:
    need_postfix()
    ca = Authority(tmp_path)
    ours = ca.issue(HOSTNAME)
    (tmp_path / "mail").mkdir()
    with SmtpPeer() as internet, OnPremises(ca, internet.host, ("julie", "david"), ()) as onprem:
        standalone = STANDALONE.format(host=onprem.host)
        with running(
            tmp_path / "service", standalone, recipients=PEOPLE, mailboxes={"directory": str(tmp_path / "mail")},
            certificate=[{"chain": ours.chain, "key": ours.key}],
        ) as service:  # fmt: skip
            service.settled(service.send(OUTSIDE, "david@contoso.com", content=letter(OUTSIDE, "d@x", "before")))
            onprem.arrived("david", "before")
            policy = service.folder / "policy"
            wishes = (
                "--on-premises", onprem.host, "--certificate-name", NAME, "--coexistence-domain",
                "contoso.mail.example", "--transport", "direct", "--ca-file", str(ca.file), "--client-certificate",
                str(ours.chain), "--client-key", str(ours.key), "--vouch",
            )  # fmt: skip
            told = service.told("convert", "hybrid", *wishes, "--what-if")
            assert [*told["written"]] == ["hybrid.toml"] and not (policy / "hybrid.toml").exists()
            code, out, err = service.command("convert", "hybrid", *wishes)
            assert code == 0 and "Nothing is in force yet" in out, err
            assert (policy / "0.toml").read_text() == standalone

            code, out, err = service.command("check")
            assert code == 0, err
            plan = service.told("plan")
            assert {one["what"] for one in plan["differences"]} == {"added"}
            assert sorted(one["table"] for one in plan["differences"]) == [
                "accepted_domain", "inbound_connector", "outbound_connector",
            ]  # fmt: skip
            assert plan["files"] == {"added": ["hybrid.toml"], "changed": [], "removed": []}
            service.told("apply", "--reason", "to hybrid")
            onprem.reload(virtual_alias_maps="inline:{ {david@contoso.com = david@contoso.mail.example} }")
            onprem.leads_to(service.port)
            assert service.command("mailbox", "move", "david@contoso.com", "here")[0] == 0

            both = ("julie@contoso.com", "david@contoso.com")
            rows = service.settled(service.send(OUTSIDE, *both, content=letter(OUTSIDE, "d@x", "after")))
            connectors = {row["recipient_address"]: row["outbound_connector"] for row in rows}
            assert connectors == {"julie@contoso.com": "0 Hybrid to on-premises", "david@contoso.com": ""}
            assert next(row["tls"] for row in rows if row["outbound_connector"]).startswith("TLS")
            onprem.arrived("julie", "after")
            box = tmp_path / "mail" / "contoso" / "contoso.com" / "david" / "new"
            assert len([*box.glob("*")]) == 1

            assert service.command("mailbox", "move", "david@contoso.com", "there")[0] == 0
            code, out, err = service.command("convert", "standalone")
            assert code == 0 and "hybrid.toml is gone" in out and "recipients stay as they are" in out, err
            assert [path.name for path in policy.glob("*")] == ["0.toml"]
            assert {one["what"] for one in service.told("plan")["differences"]} == {"removed"}
            service.told("apply", "--reason", "back")
            assert (policy / "0.toml").read_text() == standalone


def test_what_is_missing_is_asked_for_and_nothing_is_written(tmp_path: Path) -> None:
    with running(tmp_path / "service", STANDALONE.format(host="127.0.0.1:2")) as service:
        code, _, err = service.command("convert", "hybrid", "--transport", "central")
        assert code == 2 and "give --on-premises" in err
        code, _, err = service.command(
            "convert", "hybrid", "--on-premises", "mail.contoso.com", "--certificate-name", "mail.elsewhere.test",
            "--coexistence-domain", "contoso.mail.example", "--transport", "central",
        )  # fmt: skip
        assert code == 1 and "does not tie back to an accepted domain" in err
        code, _, err = service.command("convert", "standalone")
        assert code == 1 and "there is nothing to take out" in err
        assert [path.name for path in (service.folder / "policy").glob("*")] == ["0.toml"]
