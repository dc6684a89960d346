"""Hits of rules on the running service: told within seconds, by command and for monitoring, and kept over restarts."""

from __future__ import annotations

import json
import urllib.request
from pathlib import Path
from typing import Any

from peers.contoso import contoso
from peers.service import Service, running
from peers.smtp_peer import SmtpPeer

OUTSIDE = "alice@outside.example"
PEOPLE = "address,kind\nana@contoso.com,mail_user\nben@contoso.com,mail_user\n"


def letter(subject: str) -> bytes:
    return f"From: {OUTSIDE}\r\nTo: all\r\nSubject: {subject}\r\n\r\nHello\r\n".encode()


def stats(service: Service) -> dict[str, dict[str, Any]]:
    return {row["name"]: row for row in service.told("rule", "stats")}


def figures(service: Service) -> str:
    host, port = json.loads((service.state / "run" / "metrics.json").read_text())
    with urllib.request.urlopen(f"http://{host}:{port}/metrics", timeout=10) as page:
        return page.read().decode()


def test_hits_are_told_within_seconds_and_after_a_restart(tmp_path: Path) -> None:
    with SmtpPeer() as headquarters, running(
        tmp_path / "service", contoso(headquarters.host), recipients=PEOPLE, workers=2,
        metrics={"address": "127.0.0.1", "port": 0},
    ) as service:  # fmt: skip
        told = service.told
        told("rule", "add", "Mark", "subject_contains_words=invoice", 'set_header={name = "X-Mark", value = "1"}')
        told("rule", "add", "Watch", "subject_contains_words=invoice", 'sent_to=["ana@contoso.com"]', "mode=audit",
             "delete_message=true")  # fmt: skip
        service.in_force()
        with service.crowded(2):
            first = service.send(OUTSIDE, "ana@contoso.com", "ben@contoso.com", content=letter("an invoice"))
            service.send(OUTSIDE, "ben@contoso.com", content=letter("a letter"))
        service.until(lambda: stats(service)["Mark"]["hits"] == 1, "the hit is told", patience=8.0)
        found = stats(service)
        assert found["Mark"]["enforced"] == {"messages": 1, "recipients": 2}
        assert found["Watch"]["audit"] == {"messages": 1, "recipients": 1}
        assert [one["id"] for one in found["Watch"]["samples"]] == [first]
        service.until(lambda: stats(service)["Mark"]["timed"], "a rule was timed")
        assert 0 < stats(service)["Mark"]["microseconds"] < 10_000
        mark = 'lockgate_rule_messages_total{mode="enforced",organisation="contoso",rule="Mark"} 1.0'
        service.until(lambda: mark in figures(service), "monitoring sees it")
        (row,) = [one for one in told("rule", "list") if one["name"] == "Mark"]
        assert row["hits"] == 1 and row["last_hit"] == found["Mark"]["last_hit"]
        told("what-if", "--from", OUTSIDE, "--ip", "192.0.2.77", "--to", "ana@contoso.com")

        assert service.stop() == 0
        service.start()
        assert stats(service)["Mark"]["hits"] == 1
        told("rule", "promote", "Watch", "--reason", "it hit what it should")
        told("rule", "remove", "Mark")
        service.in_force()
        gone = service.send(OUTSIDE, "ana@contoso.com", content=letter("invoice"))
        service.until(lambda: service.trace(id=gone, status="Dropped"), "the rule acts now")
        service.until(lambda: stats(service)["Watch"]["enforced"]["messages"] == 1, "that is counted apart")
        found = stats(service)
        assert found["Watch"]["audit"]["messages"] == 1 and found["Watch"]["hits"] == 2
        assert found["Mark"]["state"] == "no more" and found["Mark"]["hits"] == 1
        code, out, _ = service.command("rule", "stats", "Watch")
        assert code == 0 and gone in out and "1 (1)" in out
        code, _, err = service.command("rule", "stats", "Nobody")
        assert code == 1 and "no mail flow rule 'Nobody'" in err
