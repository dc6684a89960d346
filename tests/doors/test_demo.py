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

    def __init__(self, folder: Path, process: subprocess.Popen[str], port: int) -> None:
        self.folder, self.process, self.port = folder, process, port

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
            code, text = client.data(b"Subject: by hand\r\n\r\nHello\r\n")
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
            if "Ctrl-C" in line:
                break
        found = re.search(r"SMTP +127.0.0.1 port (\d+)", said)
        assert found, said
        yield Service(folder, process, int(found[1]))
    finally:
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=60)


def test_every_message_fares_as_it_should(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    told = lockgate("demo", "--once", "--json", "--folder", str(folder))
    assert told.returncode == 0, told.stdout + told.stderr
    report = json.loads(told.stdout)
    assert report["surprises"] == []
    became = {row["what"]: (row["became"], row["answer"].split()[0]) for row in report["messages"]}
    assert became["to somebody unknown"] == ("Refused", "550")
    assert became["from a blocked address"][0] == "Refused"
    assert became["by a rule"] == ("Delivered", "250")
    assert "New Orleans" in next(row["why"] for row in report["messages"] if row["what"] == "by a rule")
    (kept,) = (folder / "sites" / "new-orleans").glob("*.eml")
    assert b"Received: from client.test ([127.0.0.10])" in kept.read_bytes()
    assert lockgate("--config", str(folder / "lockgate.toml"), "status").returncode == 3


def test_a_surprise_is_told_and_ends_with_code_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from lockgate.cli import demo

    monkeypatch.setitem(os.environ, "PYTHONPATH", ENVIRONMENT["PYTHONPATH"])
    open_to_all = demo.POLICY.replace('ip_block_list = ["127.0.0.66"]', "ip_block_list = []")
    monkeypatch.setattr(demo, "POLICY", open_to_all)
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
        lane = until(lambda: [row for row in service.rows("queue", "list") if row["fails"]])[0]
        assert lane["lane"] == "contoso/Partner" and lane["tasks"] == 1 and "127.0.0.1" in lane["why"]
        assert message in service.run("queue", "list", "--lane", "contoso/Partner").stdout
        assert service.status(message) == "Pending"

        assert service.run("queue", "hold", message, "--what-if").returncode == 0
        assert service.status(message) == "Pending"
        assert service.run("queue", "hold", message).returncode == 0
        until(lambda: service.status(message) == "Held")

        documents.write_text(sound)
        assert service.run("reload").returncode == 0
        assert service.run("queue", "release", message).returncode == 0
        assert service.run("queue", "retry", "--lane", "contoso/Partner").returncode in (0, 1)
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
