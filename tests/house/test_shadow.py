"""A draft in the shadow and recorded mail replayed, on the running service: what would change, while nothing does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from peers.contoso import contoso
from peers.listening import arrived
from peers.service import Service, running
from peers.smtp_peer import SmtpPeer

OUTSIDE = "alice@outside.example"
PEOPLE = "address,kind\nana@contoso.com,mail_user\nben@contoso.com,mail_user\n"
RULE = '\n[[mail_flow_rule]]\nname = "{}"\npriority = {}\n{}\ndelete_message = true\n'


def letter(subject: str) -> bytes:
    return f"From: {OUTSIDE}\r\nTo: all\r\nSubject: {subject}\r\n\r\nHello\r\n".encode()


def said(service: Service, *words: str, code: int) -> Any:
    """What a command that ends with this code prints as JSON."""
    ended, out, err = service.command(*words, "--json")
    assert ended == code, f"{words}: {ended} {out} {err}\n{service.said()}"
    return json.loads(out)


def written(folder: Path, text: str) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "0.toml").write_text(text)
    return str(folder)


def shown(service: Service) -> dict[str, Any]:
    _, out, _ = service.command("shadow", "show", "--json")
    return json.loads(out)


def test_the_shadow_finds_what_a_draft_changes_and_promote_puts_it_in_force(tmp_path: Path) -> None:
    with SmtpPeer() as headquarters, running(
        tmp_path / "service", contoso(headquarters.host), recipients=PEOPLE
    ) as service:  # fmt: skip
        told = service.told
        before = service.send(OUTSIDE, "ana@contoso.com", content=letter("an invoice, earlier"))
        service.settled(before)
        draft = contoso(headquarters.host) + RULE.format("Invoices", 0, 'subject_contains_words = ["invoice"]')
        folder = written(tmp_path / "draft", draft)
        code, _, err = service.command("shadow", "show")
        assert code == 1 and "no draft is in the shadow" in err.casefold()
        begun = told("shadow", "start", "--policy", folder, "--note", "no more invoices")
        assert [row["name"] for row in begun["differences"]] == ["Invoices"] and begun["share"] == 1.0
        code, _, err = service.command("shadow", "start", "--policy", folder)
        assert code == 1 and "in the shadow already" in err

        one = service.send(OUTSIDE, "ana@contoso.com", "ben@contoso.com", content=letter("an invoice"))
        other = service.send(OUTSIDE, "ben@contoso.com", content=letter("a letter"))
        service.settled(one)
        service.settled(other)
        service.until(lambda: shown(service)["messages"] == 2, "the shadow has judged both")
        found = said(service, "shadow", "show", code=1)
        assert (found["recipients"], found["changed"], found["unknown"], found["dropped"]) == (3, 2, 0, 0)
        (group,) = found["groups"]
        assert group["now"] == "dropped: rule Invoices" and {row["id"] for row in group["examples"]} == {one}
        assert [(row["rule"], row["newly"]) for row in found["rules"]] == [("Invoices", 2)]
        assert len(arrived(headquarters)) == 3, "live mail goes as ever"

        assert service.stop() == 0
        service.start()
        assert shown(service)["changed"] == 2
        later = service.send(OUTSIDE, "ana@contoso.com", content=letter("invoice again"))
        service.settled(later)
        service.until(lambda: shown(service)["changed"] == 3, "it goes on after a restart")
        code, out, _ = service.command("shadow", "show")
        assert code == 1 and "3 recipients would have fared otherwise" in out and "outside.example" in out

        assert told("shadow", "promote", "--what-if")["what_if"] is True and shown(service)["changed"] == 3
        number = told("shadow", "promote")["revision"]
        assert [(row["revision"], row["reason"]) for row in told("revisions", "--limit", "1")] == [
            (number, "no more invoices")
        ]
        taken_up = f"policy taken up: revision={number}\n"
        service.until(lambda: taken_up in service.said(400), "the worker has it")
        gone = service.send(OUTSIDE, "ana@contoso.com", content=letter("the last invoice"))
        service.until(lambda: service.trace(id=gone, status="Dropped"), "the draft is in force")
        assert service.command("shadow", "stop")[0] == 1
        done = [row["what"] for row in told("audit", "find")]
        assert {"shadow start", "shadow promote", "shadow end"} <= set(done)


def test_a_share_is_chosen_by_message_and_an_overtaken_draft_is_not_promoted(tmp_path: Path) -> None:
    with SmtpPeer() as headquarters, running(
        tmp_path / "service", contoso(headquarters.host), recipients=PEOPLE
    ) as service:  # fmt: skip
        told = service.told
        draft = contoso(headquarters.host) + RULE.format("All", 0, 'sender_domain_is = ["outside.example"]')
        told("shadow", "start", "--policy", written(tmp_path / "draft", draft), "--share", "50%")
        sent = [service.send(OUTSIDE, "ana@contoso.com", "ben@contoso.com", content=letter("x")) for _ in range(24)]
        service.until(lambda: shown(service)["messages"] + shown(service)["passed"] == len(sent), "all were looked at")
        found = shown(service)
        assert 0 < found["messages"] < len(sent) and found["changed"] == 2 * found["messages"]
        told("rule", "add", "Meanwhile", "subject_contains_words=y", "delete_message=true")
        code, _, err = service.command("shadow", "promote")
        assert code == 1 and "--expect" in err
        told("shadow", "stop")
        told("shadow", "start", "--policy", str(tmp_path / "draft"))
        told("shadow", "stop")
        assert {row["name"] for row in told("rule", "list")} == {"Meanwhile"}


def test_recorded_mail_is_replayed_and_a_plan_warns(tmp_path: Path) -> None:
    with SmtpPeer() as headquarters, running(
        tmp_path / "service", contoso(headquarters.host), recipients=PEOPLE
    ) as service:  # fmt: skip
        invoice = service.send(OUTSIDE, "ana@contoso.com", "ben@contoso.com", content=letter("an invoice"))
        plain = service.send("bob@other.example", "ben@contoso.com", content=letter("a letter"))
        service.settled(invoice)
        service.settled(plain)
        with service.client() as client:
            client.begin(OUTSIDE)
            assert client.to("nobody@contoso.com")[0] == 550
        service.until(lambda: service.trace(status="Refused"), "the refusal is recorded")
        base = contoso(headquarters.host)
        rules = RULE.format("Invoices", 0, 'subject_contains_words = ["invoice"]')
        rules += RULE.format("Secrets", 1, 'subject_or_body_contains_words = ["secret"]\nsent_to = ["ben@contoso.com"]')
        folder = written(tmp_path / "draft", base + rules)
        found = said(service, "replay", "--policy", folder, "--since", "7d", code=1)
        assert (found["messages"], found["changed"], found["unknown"]) == (3, 2, 1)
        assert {row["rule"]: (row["newly"], row["unknown"]) for row in found["rules"]} == {
            "Invoices": (2, 0), "Secrets": (0, 1),
        }  # fmt: skip
        assert [(row["domain"], row["changed"], row["unknown"]) for row in found["senders"]] == [
            ("outside.example", 2, 0), ("other.example", 0, 1),
        ]  # fmt: skip
        code, out, _ = service.command("replay", "--policy", folder)
        assert code == 1 and invoice in out and "1 recipient of whom it cannot be told" in out

        code, out, _ = service.command("plan", folder, "--replay", "1d")
        assert code == 0 and "warning: 2 of 4 recipients of recorded mail would fare otherwise" in out
        assert "+ mail_flow_rule 'Invoices'" in out
        code, out, _ = service.command("plan", folder, "--replay", "1d", "--exit-code", "--json")
        told = json.loads(out)
        assert code == 1 and told["replay"]["changed"] == 2 and len(told["differences"]) == 2
        same = written(tmp_path / "same", base)
        code, out, _ = service.command("plan", same, "--replay", "1d")
        assert code == 0 and "nobody would fare otherwise" in out
