"""The trace of the running service: at once, live, for other programs, and what it keeps of people."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pace import slower
from peers.listening import arrived
from peers.service import SOURCE, Service, running
from peers.smtp_peer import Script, SmtpPeer

POLICY = """
[[organisation]]
name = "contoso"
{wishes}

[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true

[[outbound_connector]]
name = "Headquarters"
connector_type = "on_premises"
recipient_domains = ["contoso.com"]
use_mx_record = false
smart_hosts = ["{host}"]
"""
RECIPIENTS = "address,kind\nben@contoso.com,mail_user\namy@contoso.com,mail_user\n"


def cli(service: Service, *words: str, code: int = 0) -> str:
    command = [sys.executable, "-m", "lockgate", "--config", str(service.config), *words]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE), "COLUMNS": "200"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


def test_what_is_accepted_or_refused_is_found_within_a_second(tmp_path: Path) -> None:
    with SmtpPeer() as peer, running(
        tmp_path / "s", POLICY.format(host=peer.host, wishes=""), recipients=RECIPIENTS, pool=[{"name": "white"}]
    ) as service:  # fmt: skip
        found: list[float] = []
        for n in range(5):
            service.send(f"ann{n}@outside.example", "ben@contoso.com")
            found.append(_waited(service, f"ann{n}@outside.example"))
            with service.client() as client:
                client.begin(f"eve{n}@outside.example")
                assert client.to("nobody@contoso.com")[0] == 550
            found.append(_waited(service, f"eve{n}@outside.example"))
        # Medians, because a busy machine may stand still for a moment.
        assert statistics.median(found) < 1.0, found
        answers = []
        for _ in range(5):
            began = time.monotonic()
            service.trace(recipient="ben@contoso.com")
            answers.append(time.monotonic() - began)
        assert min(answers) < 0.1 * slower(), answers
        (row, *_) = service.until(lambda: service.trace(status="Delivered"), "a delivery")
        assert row["pool"] == "white" and row["to_ip"] == "127.0.0.1" and row["rules"] == []


def _waited(service: Service, sender: str) -> float:
    """Seconds until the row of this sender is found."""
    began = time.monotonic()
    service.until(lambda: service.trace(sender=sender), f"a row of {sender}", 20, 0.01)
    return time.monotonic() - began


def test_the_trace_is_followed_live_over_the_death_of_the_keeper(tmp_path: Path) -> None:
    with SmtpPeer(Script()) as peer, running(
        tmp_path / "s", POLICY.format(host=peer.host, wishes=""), recipients=RECIPIENTS
    ) as service:  # fmt: skip
        command = [sys.executable, "-m", "lockgate", "--config", str(service.config), "trace", "follow", "--json",
                   "--recipient", "ben@contoso.com"]  # fmt: skip
        environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
        follower = subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            # Where the tests run in the background of a shell, Ctrl-C is ignored, and its children would inherit that.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )  # fmt: skip
        try:
            _follow(service, follower)
        finally:
            follower.kill()
            follower.communicate()


def _follow(service: Service, follower: subprocess.Popen[str]) -> None:
    assert follower.stdout is not None and follower.stderr is not None
    assert follower.stderr.readline().startswith("Following")
    lines: list[dict] = []
    os.set_blocking(follower.stdout.fileno(), False)

    def heard(message: str, status: str) -> bool:
        while text := follower.stdout.readline():
            lines.append(json.loads(text))
        return any(row["id"] == message and row["status"] == status for row in lines)

    message = service.send("ann@outside.example", "ben@contoso.com", "amy@contoso.com")
    service.until(lambda: heard(message, "Delivered"), "the first message is told")
    assert {row["recipient_address"] for row in lines} == {"ben@contoso.com"}
    os.kill(_child(service, "lg:keeper"), signal.SIGKILL)
    sent = service.until(lambda: _send(service), "mail is taken again", 30)
    service.until(lambda: heard(sent, "Delivered"), "what came after the keeper's death is told", 30)
    follower.send_signal(signal.SIGINT)
    assert follower.wait(20) == 0


def _send(service: Service) -> str:
    with service.client() as client:
        code, text = client.letter("ann@outside.example", "ben@contoso.com", content="again")
        return text.rpartition(" ")[2] if code == 250 else ""


def _child(service: Service, name: str) -> int:
    assert service.process is not None
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:
            continue
        if f"({name})" in text and int(text.rpartition(")")[2].split()[1]) == service.process.pid:
            return int(stat.parent.name)
    raise AssertionError(f"there is no {name}")


HOSTILE = ("=cmd|' /C calc'!A0", "+1+1", "-2+3", "@SUM(1)", "\t=1", "＝1+1", '"=1', " =1", "plain, \"quoted\"")


def test_exports_are_whole_and_no_cell_is_active(tmp_path: Path) -> None:
    with SmtpPeer() as peer, running(
        tmp_path / "s", POLICY.format(host=peer.host, wishes=""), recipients=RECIPIENTS
    ) as service:  # fmt: skip
        for text in HOSTILE:
            service.send("=1+1@outside.example", "ben@contoso.com", content=f"Subject: {text}\r\n\r\nx\r\n".encode())
        arrived(peer, len(HOSTILE))
        told = list(csv.DictReader(io.StringIO(cli(service, "trace", "export", "--csv"), newline="")))
        assert len(told) == len(HOSTILE)
        for row in told:
            for name, value in row.items():
                assert not value.lstrip().startswith(tuple("=+-@＝＋－＠\t\r|%")), (name, value)
            assert row["sender_address"] == "'=1+1@outside.example" and row["received"].endswith("+00:00")
        assert {row["subject"] for row in told} >= {"plain, \"quoted\"", "'+1+1"}
        file = tmp_path / "trace.json"
        assert "9 rows" in cli(service, "trace", "export", "--json", "--recipient", "ben@contoso.com", str(file))
        rows = json.loads(file.read_text())
        assert [row["id"] for row in rows] == [row["id"] for row in service.trace(recipient="ben@contoso.com")]
        assert file.stat().st_mode & 0o777 == 0o600
        assert json.loads(cli(service, "trace", "export", "--json", "--sender", "x@y.test", code=1)) == []
        cli(service, "trace", "export", code=2)
        cli(service, "trace", "export", "--csv", str(tmp_path / "no" / "where"), code=2)


@pytest.mark.parametrize("masking", ["local_parts", "all"])
def test_what_an_organisation_hides_is_nowhere_to_be_read_and_still_found(tmp_path: Path, masking: str) -> None:
    wishes = f'trace_masking = "{masking}"'
    no = Script(rcpt={"amy@contoso.com": "550 5.1.1 <amy@contoso.com>: amy@contoso.com is unknown"})
    with SmtpPeer(no) as peer, running(
        tmp_path / "s", POLICY.format(host=peer.host, wishes=wishes), recipients=RECIPIENTS
    ) as service:  # fmt: skip
        message = service.send("carla@outside.example", "ben@contoso.com", content=b"Subject: Kuendigung\r\n\r\nx\r\n")
        failed = service.send("carla@outside.example", "amy@contoso.com", content=b"Subject: Kuendigung\r\n\r\nx\r\n")
        with service.client() as client:
            client.begin("carla@outside.example")
            assert client.to("stranger@contoso.com")[0] == 550
        service.settled(message)
        service.settled(failed, "Failed")
        refused = service.until(lambda: service.trace(recipient="stranger@contoso.com"), "the refusal")
        assert [row["id"] for row in service.trace(recipient="Ben@contoso.com")] == [message]
        assert {row["id"] for row in service.trace(sender="carla@outside.example")} >= {message, failed}
        told = repr(service.trace()) + repr(service.show(message)) + repr(service.show(failed)) + repr(refused)
        told += cli(service, "trace", "export", "--json") + cli(service, "trace", "find")
        shown = service.show(failed)
        assert shown["explanation"] == [] and "is unknown" in repr(shown["rows"])
        assert service.state.joinpath("trace.key").stat().st_mode & 0o777 == 0o600
        service.stop()
        log = (service.folder / "lockgate.log").read_text()
        # Waiting mail is carried by its envelope, so the queue may hold whole addresses for as long as mail waits.
        kept = b"".join(path.read_bytes() for path in service.state.glob("trace/*") if path.is_file())
        for name in ("carla", "ben@", "amy@", "stranger@", "Kuendigung"):
            assert name not in told and name not in log and name.encode() not in kept, name


def test_hiding_that_begins_later_hides_what_was_kept_before(tmp_path: Path) -> None:
    with SmtpPeer() as peer, running(
        tmp_path / "s", POLICY.format(host=peer.host, wishes=""), recipients=RECIPIENTS
    ) as service:  # fmt: skip
        message = service.send("carla@outside.example", "ben@contoso.com")
        service.settled(message)
        assert service.show(message)["explanation"] and "carla" in repr(service.trace())
        service.reload(POLICY.format(host=peer.host, wishes='trace_masking = "local_parts"\ntrace_subjects = false'))
        service.until(lambda: "carla" not in repr(service.trace()), "it is hidden", 5)
        assert [row["id"] for row in service.trace(recipient="ben@contoso.com")] == [message]
        assert service.show(message)["explanation"] == [] and service.trace()[0]["subject"] == ""
        wishes = service.state / "trace" / "kept.json"
        service.until(lambda: json.loads(wishes.read_text())["contoso"]["facts"] is False, "the keeper is told", 5)
