"""Devices over the running service: a printer refused, listed and allowed; an old one that is mended; a server
that is taken over, whose relay stops while mail to own recipients flows (specification 1.3, 3.8).
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from lockgate.flow.asking import AlertList, Explain, Kind
from peers.client import Raw
from peers.contoso import mail_users
from peers.dns_thread import dns
from peers.listening import arrived
from peers.service import Service, running
from peers.smtp_peer import SmtpPeer

BRANCH, PRINTER, OLD, SERVER = "203.0.113.25", "203.0.113.40", "203.0.113.41", "203.0.113.26"
POLICY = """
[[organisation]]
name = "contoso"

[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true

[[inbound_connector]]
name = "Branch office"
connector_type = "on_premises"
sender_ip_addresses = ["203.0.113.25"]

[[inbound_connector]]
name = "Server"
connector_type = "on_premises"
sender_ip_addresses = ["203.0.113.26"]

[[outbound_connector]]
name = "Headquarters"
connector_type = "on_premises"
recipient_domains = ["contoso.com"]
use_mx_record = false
smart_hosts = ["{host}"]
"""
RECORDS = {("example.test", "MX"): ["10 mx.example.test."], ("mx.example.test", "A"): ["127.0.0.52"]}


class World:
    def __init__(self, service: Service, own: SmtpPeer, outside: SmtpPeer) -> None:
        self.service, self.own, self.outside = service, own, outside

    def say(self, peer: str, *whom: str, who: str = "scan@contoso.com", author: str = "") -> tuple[int, str]:
        with self.service.client(peer, "printer.local") as client:
            head = f"From: {author or who}\r\nSubject: scan\r\n\r\nhello\r\n".encode()
            return client.letter(who, *whom, content=head)

    def until(self, peer: str, *whom: str, code: int, patience: float = 20.0) -> float:
        """Seconds until the peer hears this."""
        began = time.monotonic()
        self.service.until(lambda: self.say(peer, *whom)[0] == code, f"{peer} hears {code}", patience, pause=0.1)
        return time.monotonic() - began

    def device(self, address: str, **wanted: Any) -> dict[str, Any]:
        """The device, once its row is as wanted; counts come after a moment."""
        found: dict[str, Any] = {}

        def seen() -> bool:
            code, out, _ = self.service.command("device", "show", address, "--json")
            if code == 0:
                (row,) = json.loads(out)
                found.clear()
                found.update(row)
            return bool(found) and all(found[name] == value for name, value in wanted.items())

        try:
            self.service.until(seen, f"{address} is {wanted}", 12.0, pause=0.3)
        except AssertionError as trouble:
            raise AssertionError(f"{found}\n{trouble}") from None
        return found

    def obey(self, advice: str) -> None:
        """Type the command that the list advises."""
        words = shlex.split(advice[advice.index("lockgate ") + len("lockgate ") :])
        code, out, err = self.service.command(*words)
        assert code == 0, f"{words}: {out} {err}"


@contextlib.contextmanager
def world(folder: Path, **operator: Any) -> Iterator[World]:
    with dns(RECORDS) as names, SmtpPeer() as own, SmtpPeer(address="127.0.0.52") as outside:
        settings = {
            "dns": {"resolvers": [names.address[0]], "port": names.address[1], "timeout": "500ms"},
            "delivery": {"mx_port": outside.port},
        }
        policy = POLICY.format(host=own.host)
        with running(folder / "service", policy, recipients=mail_users("a", "b"), **settings, **operator) as service:
            yield World(service, own, outside)


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with world(tmp_path_factory.mktemp("devices"), workers=2) as found, found.service.crowded(2):
        yield found


def test_a_forgotten_printer_is_refused_found_in_the_list_and_allowed(office: World) -> None:
    service = office.service
    code, text = office.say(PRINTER, "x@example.test")
    assert (code, text[:6]) == (550, "5.7.64"), text
    assert office.say(PRINTER, "a@contoso.com")[1].startswith("5.7.68")
    row = office.device(PRINTER, refused=2, messages=0, state="refused", helo="printer.local", tls="plain text")
    assert row["senders"] == [{"address": "scan@contoso.com", "messages": 2}]
    assert row["refusal"].startswith("550 5.7.68 ") and row["way"] == "not allowed"
    service.until(lambda: service.answer(Explain(row["refusal_id"])).kind == Kind.OK, "the refusal is written")
    code, out, _ = service.command("device", "list")
    assert code == 0 and "if it is yours, add it to connector Branch office" in out, out
    office.obey(row["advice"])
    office.until(PRINTER, "x@example.test", "a@contoso.com", code=250)
    row = office.device(PRINTER, inside=1, outside=1, messages=1, state="taken", way="connector Branch office")
    assert row["advice"] == "" and row["refusal_id"], "what was refused is still told"


def test_an_old_scanner_is_refused_for_its_line_ends_and_then_mended(office: World) -> None:
    service = office.service
    assert service.command("connector", "set", "Branch office", "--inbound", f"sender_ip_addresses+={OLD}")[0] == 0
    service.in_force()
    assert office.say(OLD, "x@example.test")[0] == 250

    def scan(end: bytes) -> str:
        with Raw(service.proxied, OLD) as raw:
            raw.transaction("scan@contoso.com", "x@example.test")
            answer = raw.say(b"From: scan@contoso.com\nSubject: old\n\nline\n.dot\n" + end)
            if end == b"\n.\n":
                assert raw.reply().startswith("421 4.7.0 The data did not end in")
                assert raw.reply() == ""
            return answer

    answer = scan(b"\r\n.\r\n")
    assert answer.startswith("550 5.6.11"), answer
    row = office.device(OLD, bare_refused=1, state="refused")
    assert "let its line ends be mended" in row["advice"], row
    office.obey(row["advice"])
    service.in_force()
    assert scan(b"\r\n.\r\n").startswith("250 "), "its line ends are mended"
    began = time.monotonic()
    answer = scan(b"\n.\n")
    assert answer.startswith("250 ") and time.monotonic() - began > 4
    message = answer.rpartition(" ")[2]
    service.settled(message)
    arrived(office.outside)
    mail = next(one for one in office.outside.mails if message.encode() in one.content)
    assert mail.content.endswith(b"Subject: old\r\n\r\nline\r\n.dot\r\n\r\n") or mail.content.endswith(b".dot\r\n")
    assert b"\n" not in mail.content.replace(b"\r\n", b"")
    row = office.device(OLD, mended=2, state="taken")
    told = service.done(Explain(message))
    assert "bare_newlines = normalise" in str(told), told
    # Nobody else: the same octets of another own server, and of a stranger
    for peer, who in ((SERVER, "scan@contoso.com"), ("198.51.100.9", "x@sender.test")):
        with Raw(service.proxied, peer) as raw:
            raw.transaction(who, "a@contoso.com")
            assert raw.say(b"From: x@sender.test\nSubject: old\n\nline\n\r\n.\r\n").startswith("550 5.6.11")


def test_a_block_by_hand_acts_in_every_worker_within_a_second_and_is_explained(office: World) -> None:
    service = office.service
    assert office.say(SERVER, "x@example.test")[0] == 250
    code, out, err = service.command("connector", "block", "Server", "--reason", "it was stolen", "--what-if")
    assert code == 0 and "nothing was changed" in out, err
    assert office.say(SERVER, "x@example.test")[0] == 250
    began = time.monotonic()
    code, out, err = service.command("connector", "block", "Server", "--reason", "it was stolen")
    assert code == 0 and "queue hold" in out, err
    assert all(office.say(SERVER, "x@example.test")[1].startswith("5.7.711") for _ in range(12)), "in every worker"
    assert time.monotonic() - began < 10
    code, text = office.say(SERVER, "x@example.test")
    (block,) = service_blocks(service)
    assert f"(block {block['id']})" in text and "an administrator has blocked it" in text and "stolen" not in text
    code, text = office.say(SERVER, "a@contoso.com")
    assert code == 250, text
    row, = service.settled(text.rpartition(" ")[2])
    assert row["inbound_connector"] == ""
    explained = str(service.done(Explain(text.rpartition(" ")[2])))
    assert "it is blocked since" in explained and "because it was stolen" in explained
    code, out, _ = service.command("what-if", "--ip", SERVER, "--from", "scan@contoso.com", "--to", "x@example.test")
    assert code == 1 and "5.7.711" in out
    assert service.command(
        "what-if", "--ip", SERVER, "--from", "scan@contoso.com", "--to", "x@example.test",
        "--suppose", "blocked Server = no",
    )[0] == 0  # fmt: skip
    service.until(lambda: "5.7.711" in office.device(SERVER)["refusal"], "its refusals are counted")
    service.until(
        lambda: any(row["what"] == "connector blocked" for row in service.done(AlertList())), "the alert", pause=0.5
    )
    assert service.command("connector", "blocked", "list")[0] == 1
    assert "because" in service.command("connector", "blocked", "show", "Server")[1]
    assert service.command("connector", "blocked", "unblock", "Server", "--reason", "it was found again")[0] == 0
    assert office.say(SERVER, "x@example.test")[0] == 250
    assert service.command("connector", "blocked", "list")[0] == 0
    rows = service.told("audit", "find", "--object", "Server")
    assert {row["what"] for row in rows} >= {"connector block", "connector unblock"}, rows


def test_a_kill_loses_a_few_seconds_of_counts_at_most(office: World) -> None:
    service = office.service
    for _ in range(4):
        assert office.say(BRANCH, "x@example.test")[0] == 250
    office.device(BRANCH, messages=4)
    for pid in re.findall(r"process ready: details=\"worker-\d+ \(pid (\d+)\)\"", service.said(10_000)):
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)
    office.until(BRANCH, "x@example.test", code=250)
    office.device(BRANCH, messages=5)


def test_the_list_survives_a_restart_of_the_service(office: World) -> None:
    service = office.service
    before = {row["host"]: row["messages"] for row in service.told("device", "list")}
    assert before
    service.stop()
    service.start()
    after = {row["host"]: row["messages"] for row in service.told("device", "list")}
    assert after == before


def test_a_server_that_is_taken_over_is_stopped_while_mail_to_own_recipients_flows(tmp_path: Path) -> None:
    watch = {"least_messages": 10, "window": "60s", "signs": 1, "mismatched": 0.5}
    with world(tmp_path, connector_watch=watch) as found:
        service = found.service
        for _ in range(12):
            assert found.say(SERVER, "x@example.test", author="ceo@bank.test")[0] == 250
        assert found.say(BRANCH, "x@example.test")[0] == 250
        found.until(SERVER, "x@example.test", code=550, patience=30.0)
        _, text = found.say(SERVER, "x@example.test")
        assert text.startswith("5.7.711 Access denied, bad inbound connector: Server, it is suspected of being"), text
        assert found.say(SERVER, "a@contoso.com")[0] == 250, "mail to own recipients goes on"
        assert found.say(BRANCH, "x@example.test")[0] == 250, "nobody else is concerned"
        (block,) = service_blocks(service)
        assert block["connector"] == "Server" and block["suspected"] and block["by"] == "lockgate"
        shown = service.told("connector", "blocked", "show", block["id"])
        assert set(shown["evidence"]) & {"mismatched", "unregistered"}, shown
        connection = re.search(r"\(id (\w+)\)", text)
        assert connection is not None
        service.until(lambda: service.answer(Explain(connection[1])).kind == Kind.OK, "the refusal is written")
        assert "because" in str(service.done(Explain(connection[1]))) and block["id"] in str(
            service.done(Explain(connection[1]))
        )
        assert service.command("connector", "blocked", "unblock", "Server", "--reason", "cleaned")[0] == 0
        for _ in range(3):
            assert found.say(SERVER, "x@example.test")[0] == 250
            time.sleep(3)
        assert service.command("connector", "blocked", "list")[0] == 0, "the same evidence does not block it again"
        rows = service.told("audit", "find", "--what", "connector block")
        assert [row["who"] for row in rows] == ["lockgate"]


def service_blocks(service: Service) -> list[dict[str, Any]]:
    _, out, _ = service.command("connector", "blocked", "list", "--json")
    rows: list[dict[str, Any]] = json.loads(out)
    return rows
