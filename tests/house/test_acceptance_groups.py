"""T-TR-1 and T-DBEB-2 on the running service: groups in trace and explanation, and a contact that stands for one."""

from __future__ import annotations

import json
from pathlib import Path

from peers.contoso import contoso, mail_users
from peers.listening import arrived, recipients
from peers.service import running
from peers.smtp_peer import SmtpPeer

PEOPLE = mail_users("ana", "ben", "carl")
OUTSIDE = "alice@outside.example"
TEAM, ALL = "team@contoso.com", "all@contoso.com"


def test_t_tr_1(tmp_path: Path) -> None:
    with SmtpPeer() as headquarters, running(
        tmp_path / "service", contoso(headquarters.host), recipients=PEOPLE
    ) as service:  # fmt: skip
        team = [f"--member={name}@contoso.com" for name in ("ana", "ben")]
        service.told("group", "add", TEAM, *team, f"--member={ALL}")
        service.people_changed("group", "add", ALL, f"--member={TEAM}", "--member=carl@contoso.com")
        message = service.send(OUTSIDE, ALL)
        (mail,) = arrived(headquarters)
        assert recipients(mail) == ["carl@contoso.com", "ana@contoso.com", "ben@contoso.com"], "one copy for all"
        service.until(lambda: len(service.trace(id=message, status="Delivered")) == 3, "everybody has it")
        rows = service.trace(id=message)
        assert {row["recipient_address"]: row["status"] for row in rows} == {
            ALL: "Expanded", TEAM: "Expanded", "ana@contoso.com": "Delivered", "ben@contoso.com": "Delivered",
            "carl@contoso.com": "Delivered",
        }  # fmt: skip
        assert {row["network_message_id"] for row in rows} == {message}
        code, out, _ = service.command("trace", "find", "--status", "Expanded", "--json")
        assert code == 0 and {row["recipient_address"] for row in json.loads(out)} == {ALL, TEAM}
        shown = {row["recipient_address"]: [event["detail"] for event in row["events"]]
                 for row in service.show(message)["rows"]}  # fmt: skip
        assert f"member of {TEAM}" in shown["ana@contoso.com"] and f"member of {ALL}" in shown[TEAM]
        code, out, _ = service.command("explain", message, "--recipient", "ana@contoso.com")
        assert code == 0 and f"ana@contoso.com, member of {TEAM}: leaves by connector Headquarters" in out
        assert f"{ALL}: expanded: 2 members of {ALL} [Expanded]" in out and "[Delivered]" in out
        code, out, _ = service.command("what-if", "--from", OUTSIDE, "--to", ALL, "--ip", "192.0.2.10", "--short")
        assert code == 0 and f"carl@contoso.com, member of {ALL}" in out


def test_circles_and_restrictions_are_told_to_whoever_sends(tmp_path: Path) -> None:
    with SmtpPeer() as headquarters, running(
        tmp_path / "service", contoso(headquarters.host), recipients="address,kind\nann@contoso.com,mailbox\n"
        "bob@contoso.com,mailbox\n",
    ) as service:  # fmt: skip
        service.told("recipient", "set", "ann@contoso.com", "--forward-to", "bob@contoso.com", "--no-keep-copy")
        service.told("recipient", "set", "bob@contoso.com", "--forward-to", "ann@contoso.com", "--no-keep-copy")
        service.people_changed("group", "add", TEAM, "--member=ann@contoso.com", "--require-sender-authentication")
        with service.client() as client:
            client.begin(OUTSIDE)
            code, text = client.to(TEAM)
            assert code == 550 and text.startswith("5.7.133"), text
        with service.client() as client:
            code, text = client.letter(OUTSIDE, "ann@contoso.com")
            assert code == 554 and text.startswith("5.4.6"), text
        row = service.until(lambda: service.trace(recipient="bob@contoso.com", status="Refused"), "the refusal")[0]
        assert row["reply"].startswith("554 5.4.6")
        code, out, _ = service.command("explain", row["id"])
        assert "bob@contoso.com, forwarded by ann@contoso.com" in out and "nobody keeps a copy" in out


def test_t_dbeb_2(tmp_path: Path) -> None:
    news = "news@contoso.com"
    with SmtpPeer() as headquarters, running(
        tmp_path / "service", contoso(headquarters.host), recipients=PEOPLE
    ) as service:  # fmt: skip
        with service.client() as client:
            client.begin(OUTSIDE)
            assert client.to(news)[0] == 550
        service.people_changed("recipient", "add", news, "--kind", "mail_contact", f"external_address={news}")
        message = service.send(OUTSIDE, news)
        (row,) = service.settled(message)
        assert row["outbound_connector"] == "Headquarters" and row["recipient_address"] == news
        assert [recipients(mail) for mail in arrived(headquarters)] == [[news]] and len(headquarters.mails) == 1
