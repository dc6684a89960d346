"""The demonstration, and the command line on a real running service with real servers around it."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import smtplib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[2]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "PYTHONWARNINGS": "ignore"}
COMMAND = [sys.executable, "-m", "lockgate"]


def lockgate(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], env=ENVIRONMENT, capture_output=True, text=True, timeout=90)


def until(what: Callable[[], Any], patience: float = 30.0) -> Any:
    deadline = time.monotonic() + patience
    while not (found := what()):
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.2)
    return found


class Service:
    """A demonstration that goes on running."""

    def __init__(self, folder: Path, process: subprocess.Popen[str], port: int, said: str) -> None:
        self.folder, self.process, self.port, self.said = folder, process, port, said

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return lockgate("--config", str(self.folder / "lockgate.toml"), *arguments)

    def rows(self, *arguments: str) -> list[dict[str, Any]]:
        return json.loads(self.run(*arguments, "--json").stdout)

    def status(self, message: str) -> str:
        return self.rows("trace", "find", "--id", message)[0]["status"]

    def send(self, sender: str, recipient: str, peer: str) -> str:
        with smtplib.SMTP("127.0.0.1", self.port, "client.test", 20, source_address=(peer, 0)) as client:
            client.ehlo()
            client.mail(sender)
            client.rcpt(recipient)
            code, text = client.data(f"From: {sender}\r\nSubject: by hand\r\n\r\nHello\r\n")
        assert code == 250, text
        return text.decode().split()[-1]


@contextlib.contextmanager
def running(folder: Path) -> Iterator[Service]:
    process = subprocess.Popen(
        [*COMMAND, "demo", "--folder", str(folder)],
        env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    said = ""
    try:
        assert process.stdout is not None
        for line in process.stdout:
            said += line
            if "Ctrl-C stops" in line:
                break
        found = re.search(r"SMTP +127.0.0.1 port (\d+)", said)
        assert found, said
        yield Service(folder, process, int(found[1]), said)
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """One run with --once: its folder and its report."""
    folder = tmp_path_factory.mktemp("demo") / "run"
    began = time.monotonic()
    told = lockgate("demo", "--once", "--json", "--folder", str(folder))
    assert time.monotonic() - began < 60, "the demonstration is to be over in a minute"
    assert told.returncode == 0, told.stdout + told.stderr
    assert [line.split()[0] for line in told.stderr.splitlines()] == ["Starting", "Starting", "Importing", "Sending"]
    return folder, json.loads(told.stdout)


OUTCOMES = {
    "to a mailbox here, taken at the first try": (
        {"eva@contoso.test": "Delivered"},
        "eva@contoso.test [Delivered]: goes into the mailbox eva@contoso.test here",
        "because mailbox store: eva@contoso.test is a mailbox",
        "last: Deliver to mailboxes, 250 2.0.0 ",
    ),
    "to an alias, whose mailbox is at headquarters": (
        {"ann.smith@contoso.test": "Delivered"},
        "ann.smith@contoso.test [Delivered]: leaves by connector Headquarters ",
        "because connector Headquarters: it is for contoso.test",
        "last: Send to 127.0.0.1",
    ),
    "to two: one mailbox is here, one at headquarters": (
        {"eva@contoso.test": "Delivered", "ann@contoso.test": "Delivered"},
        "eva@contoso.test [Delivered]: goes into the mailbox",
        "because mailbox store: ",
        "last: Deliver to mailboxes, 250 ",
        "ann@contoso.test [Delivered]: leaves by connector Headquarters ",
        "because connector Headquarters: ",
        "last: Send to 127.0.0.1",
    ),
    "to two people in two cities; a rule leads one of the copies to its site": (
        {"luis@contoso.test": "Delivered", "ann@contoso.test": "Delivered"},
        "luis@contoso.test [Delivered]: leaves by connector New Orleans ",
        "because connector New Orleans: rule New Orleans by its own server names it",
        "last: Send to 127.0.0.1",
        "ann@contoso.test [Delivered]: leaves by connector Headquarters ",
        "because connector Headquarters: it is for contoso.test",
        "last: Send to 127.0.0.1",
    ),
    "to a group, whose members are here, at headquarters and at a partner": (
        {
            "sales@contoso.test": "Expanded",
            "eva@contoso.test": "Delivered",
            "ann@contoso.test": "Delivered",
            "buyer@partner.test": "Delivered",
        },
        "sales@contoso.test [Expanded]: expanded: 3 members of sales@contoso.test",
        "because group sales@contoso.test: it has 3 members",
        "last: Expand 3 members of sales@contoso.test",
        "eva@contoso.test, member of sales@contoso.test [Delivered]: goes into the mailbox",
        "because mailbox store: ",
        "last: Deliver to mailboxes, 250 ",
        "ann@contoso.test, member of sales@contoso.test [Delivered]: leaves by connector Headquarters ",
        "because connector Headquarters: ",
        "last: Send to 127.0.0.1",
        "buyer@partner.test, member of sales@contoso.test [Delivered]: leaves by connector Partner ",
        "because sender: it is sent on for sales@contoso.test, and alice@outside.test is not ours",
        "last: Send to 127.0.0.1",
    ),
    "to a mailbox that forwards, with its proof": (
        {"rita@contoso.test": "Delivered", "rita@home.test": "Delivered"},
        "rita@contoso.test [Delivered]: goes into the mailbox rita@contoso.test here",
        "because mailbox store: ",
        "last: Deliver to mailboxes, 250 ",
        "rita@home.test, forwarded by rita@contoso.test [Delivered]: leaves by the MX of home.test",
        "because sender: it is sent on for rita@contoso.test, and alice@outside.test is not ours",
        "last: Send to mx.home.test[127.0.0.1]",
    ),
    "from our own server to a partner, TLS forced": (
        {"buyer@partner.test": "Delivered"},
        "buyer@partner.test [Delivered]: leaves by connector Partner ",
        "because connector Partner: it is for partner.test",
        "last: Send to 127.0.0.1",
    ),
    "to a partner who has no TLS, TLS forced": (
        {"sam@plain.test": "Pending"},
        "sam@plain.test [Pending]: leaves by connector Plain partner ",
        "because connector Plain partner: it is for plain.test",
        "last: Defer 454 4.7.321 TLS is required",
    ),
    "to a partner who shows a wrong certificate": (
        {"kim@impostor.test": "Pending"},
        "kim@impostor.test [Pending]: leaves by connector Impostor ",
        "because connector Impostor: it is for impostor.test",
        "last: Defer 454 4.7.325 TLS with 127.0.0.1",
    ),
    "from a partner with its certificate": (
        {"eva@contoso.test": "Delivered"},
        "eva@contoso.test [Delivered]: goes into the mailbox",
        "because mailbox store: ",
        "last: Deliver to mailboxes, 250 ",
    ),
    "as that partner, with a wrong certificate": (
        {"eva@contoso.test": "Refused"},
        "eva@contoso.test [Refused]: refused",
        "because partner connector Bank: the certificate is for mail.stranger.test, not for mail.bank.test",
        "told: 550 5.7.51 ",
    ),
    "to somebody unknown": (
        {"nobody@contoso.test": "Refused"},
        "nobody@contoso.test [Refused]: refused",
        "because directory: it does not know nobody@contoso.test",
        "told: 550 5.4.1 Recipient address rejected",
    ),
    "a relay attempt": (
        {"eve@elsewhere.test": "Refused"},
        "eve@elsewhere.test [Refused]: refused",
        "because relay right: elsewhere.test is no accepted domain",
        "told: 550 5.4.1 Relay Access Denied",
    ),
    "from a blocked address": (
        {"": "Refused"},
        "everything is refused",
        "because the operator's block list: it names 127.0.0.66",
        "told: 550 5.7.513 ",
    ),
    "a spoof: From names somebody else's bank": (
        {"eva@contoso.test": "Refused"},
        "eva@contoso.test [Refused]: refused",
        "because DMARC: nothing that passed is aligned with payments.test, and payments.test asks for reject",
        "told: 550 5.7.509 ",
    ),
    "a spoof: From names our own chief": (
        {"eva@contoso.test": "Refused"},
        "eva@contoso.test [Refused]: refused",
        "because own domain as author: From names contoso.test, a domain of this organisation",
        "told: 550 5.7.68 ",
    ),
    "with a second message smuggled behind a bare line feed": (
        {"": "Refused"},
        "everything is refused",
        "because line ends: the message has a bare CR, a bare LF or NUL",
        "told: 550 5.6.11 ",
    ),
    "larger than allowed": (
        {"ann@contoso.test": "Refused"},
        "ann@contoso.test [Refused]: refused",
        "because size limit of the organisation: the message has 12",
        "told: 552 5.3.4 ",
    ),
}  # fmt: skip
"""What becomes of each message in the trace, and how the lines of its explanation begin, three a recipient."""


def test_nothing_is_a_surprise_and_every_message_is_known_here(shown: tuple[Path, dict[str, Any]]) -> None:
    report = shown[1]
    assert report["surprises"] == []
    assert [row["what"] for row in report["messages"]] == list(OUTCOMES)


@pytest.mark.parametrize("what", OUTCOMES)
def test_each_message_has_its_outcome_and_its_three_lines(what: str, shown: tuple[Path, dict[str, Any]]) -> None:
    became, *lines = OUTCOMES[what]
    row = next(row for row in shown[1]["messages"] if row["what"] == what)
    assert row["became"] == became
    assert len(row["explanation"]) == len(lines) == 3 * len(became)
    for said, expected in zip(row["explanation"], lines, strict=True):
        assert said.startswith(expected)
    assert row["command"].endswith(f" explain {row['id']}")
    refused = "Refused" in became.values()
    assert row["answer"].startswith(lines[2].removeprefix("told: ") if refused else "250 2.0.0 Queued as ")


def test_tls_is_told_where_it_was_and_where_it_was_not(shown: tuple[Path, dict[str, Any]]) -> None:
    last = {row["what"]: row["explanation"][-1] for row in shown[1]["messages"]}
    assert ", with TLSv1.3 " in last["from our own server to a partner, TLS forced"]
    assert last["to two people in two cities; a rule leads one of the copies to its site"].endswith(", in plain text")
    assert "is not for mx.impostor.test" in last["to a partner who shows a wrong certificate"]


def test_what_arrived_is_what_was_told(shown: tuple[Path, dict[str, Any]]) -> None:
    folder, _ = shown
    (kept,) = (folder / "sites" / "new-orleans").glob("*.eml")
    assert b"Received: from client.test ([127.0.0.10])" in kept.read_bytes()
    arrived = {site.name: len(list(site.glob("*.eml"))) for site in (folder / "sites").iterdir()}
    assert arrived == {"headquarters": 4, "new-orleans": 1, "partner": 2, "plain": 0, "impostor": 0, "home": 1}
    mails = [path.read_bytes() for path in (folder / "mail/contoso/contoso.test/eva/new").iterdir()]
    assert len(mails) == 4 and all(mail.startswith(b"Return-Path: <") for mail in mails)
    everything = b"".join([*mails, *(path.read_bytes() for path in folder.glob("sites/*/*.eml"))])
    assert b"Pay at once" not in everything
    assert lockgate("--config", str(folder / "lockgate.toml"), "status").returncode == 3


def test_the_lines_are_those_of_explain_and_what_is_proposed_can_be_done(tmp_path: Path) -> None:
    with running(tmp_path / "run") as service:
        commands = re.findall(r"all of it: .*--config \S+ (explain (\S+))", service.said)
        assert len(commands) == len(OUTCOMES)
        smuggling = list(OUTCOMES).index("with a second message smuggled behind a bare line feed")
        for identity in (commands[0][1], commands[smuggling][1]):
            told = service.run("explain", identity, "--short").stdout.splitlines()[1:]
            assert len(told) == 3 and all(f"\n{line}\n" in service.said for line in told)
        smuggled = json.loads(service.run("explain", commands[smuggling][1], "--json").stdout)["parts"][0]
        assert smuggled["judged"]["steps"] == "judged again" and not smuggled["differs"]
        proposed = service.said.partition("What to try next")[2]
        for words in ("explain", "what-if", "trace find", "trace follow", "hold list", "queue list", "recipient add",
                      "plan", "apply", "rollback", "mailbox show"):  # fmt: skip
            assert f"lockgate.toml {words}" in proposed, words
        doing = "explain|what-if|trace find|queue|hold|mailbox|recipient|plan"
        for line in re.findall(rf"--config \S+ ((?:{doing}) ?[^;\n]*)", proposed):
            told = service.run(*line.split())
            assert told.returncode == (1 if line.startswith("what-if") else 0), (line, told)
        maildir = re.search(r"^mailbox +(\S+) ", service.said, re.M)
        assert maildir and len(list((Path(maildir[1]) / "new").iterdir())) == 4


def test_what_was_forwarded_keeps_its_proof_and_its_way_back(tmp_path: Path) -> None:
    with running(tmp_path / "run") as service:
        (kept,) = (service.folder / "sites" / "home").glob("*.eml")
        sender = re.search(rb"X-Envelope-From: <(.*)>", kept.read_bytes())
        assert sender and re.fullmatch(rb"SRS0=\w+=\w+=outside\.test=alice@contoso\.test", sender[1])
        resolver = f"127.0.0.1:{(service.folder / 'names' / 'port').read_text()}"
        asked = ("auth", "check", str(kept), "--ip", "127.0.0.1", "--helo", "mx.contoso.test", "--resolver", resolver)
        told = json.loads(service.run(*asked, "--from", sender[1].decode(), "--json").stdout)
        assert told["arc"]["verdict"] == "pass" and told["arc"]["sealer"] == "contoso.test"
        assert "spf=pass" in told["arc"]["results"] and "header.from=outside.test" in told["arc"]["results"]
        with smtplib.SMTP("127.0.0.1", service.port, "client.test", 20, source_address=("127.0.0.30", 0)) as client:
            client.ehlo()
            client.mail("<>")
            assert client.rcpt(sender[1].decode())[0] == 250, "a report finds back"
            assert client.rcpt(sender[1].decode().replace("alice", "mallory"))[0] >= 500, "a forged one does not"


def test_a_surprise_is_told_and_ends_with_code_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lockgate.cli import demo, demo_documents

    monkeypatch.setitem(os.environ, "PYTHONPATH", ENVIRONMENT["PYTHONPATH"])
    open_to_all = demo_documents.POLICY.replace('ip_block_list = ["127.0.0.66"]', "ip_block_list = []")
    monkeypatch.setattr(demo_documents, "POLICY", open_to_all)
    before = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    try:
        code = demo.run(tmp_path / "run", once=True, as_json=True, interpreter=sys.executable)
    finally:
        signal.signal(signal.SIGINT, before[0])
        signal.signal(signal.SIGTERM, before[1])
    assert code == 1


def test_a_folder_of_somebody_else_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    told = lockgate("demo", "--once", "--folder", str(tmp_path))
    assert told.returncode == 1 and "is not empty" in told.stderr
    assert (tmp_path / "thesis.tex").read_text() == "precious"


def test_an_operator_sees_a_dead_partner_holds_repairs_and_releases(tmp_path: Path) -> None:
    with running(tmp_path / "run") as service:
        documents = service.folder / "policy" / "contoso.toml"
        sound = documents.read_text()
        port = re.search(r'name = "Partner".*?127\.0\.0\.1:(\d+)', sound, re.S)
        assert port is not None
        documents.write_text(sound.replace(f"127.0.0.1:{port[1]}", "127.0.0.1:1"))
        assert service.run("reload", "--what-if").returncode == 0
        assert service.rows("status")["policy_revision"] == 1  # type: ignore[call-overload]
        assert service.run("reload").returncode == 0
        time.sleep(1.2)  # every worker looks for a new policy twice a second

        message = service.send("ann@contoso.test", "buyer@partner.test", "127.0.0.3")
        lane = until(lambda: [row for row in service.rows("queue", "list")
                              if row["fails"] and "/Partner" in row["lane"]])[0]
        assert lane["lane"] == "contoso/Partner#domain_validation" and lane["tasks"] == 1 and "127.0.0.1" in lane["why"]
        assert message in service.run("queue", "list", "--lane", lane["lane"]).stdout
        assert service.status(message) == "Pending"

        assert service.run("queue", "hold", message, "--what-if").returncode == 0
        assert service.status(message) == "Pending"
        assert service.run("queue", "hold", message).returncode == 0
        until(lambda: service.status(message) == "Held")

        documents.write_text(sound)
        assert service.run("reload").returncode == 0
        assert service.run("queue", "release", message).returncode == 0
        assert service.run("queue", "retry", "--lane", lane["lane"]).returncode in (0, 1)
        until(lambda: service.status(message) == "Delivered")

        story = json.loads(service.run("trace", "show", message, "--json").stdout)
        kinds = [event["kind"] for event in story["rows"][0]["events"]]
        assert kinds[0] == "Receive" and kinds[-1] == "Send" and {"Defer", "Hold", "Release"} <= set(kinds)
        log = (service.folder / "lockgate.log").read_text()
        assert len(re.findall(r'audit: by="\d+ [^"]*", did="queue (?:hold|release|retry)"', log)) >= 2
        assert f"{message}: to=<buyer@partner.test>" in log and "status=sent (250" in log


def test_a_broken_document_changes_nothing(tmp_path: Path) -> None:
    with running(tmp_path / "run") as service:
        documents = service.folder / "policy" / "contoso.toml"
        documents.write_text(documents.read_text() + "\n[[accepted_domain]]\ndomian_name = 'x.test'\n")
        told = service.run("reload")
        assert told.returncode == 1
        assert re.search(r"contoso\.toml:\d+: .*domian_name", told.stderr), told.stderr
        assert service.send("alice@outside.test", "ann@contoso.test", "127.0.0.10")
        assert service.run("check").returncode == 1
