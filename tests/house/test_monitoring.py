"""Metrics, readiness and alerts of the running service: figures add up over processes, and people are told."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import http.server
import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.error
import urllib.request
from base64 import b64decode

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lockgate.flow.asking import AlertAck, AlertList, AuditFind, Explain
from peers.service import SOURCE, Service, running
from peers.smtp_peer import SmtpPeer

POLICY = """
[[organisation]]
name = "contoso"
[[accepted_domain]]
domain_name = "contoso.test"
domain_type = "internal_relay"
vouched_by_operator = true
[[accepted_domain]]
domain_name = "ops.test"
domain_type = "internal_relay"
vouched_by_operator = true
[[outbound_connector]]
name = "HQ"
connector_type = "on_premises"
recipient_domains = ["contoso.test"]
use_mx_record = false
smart_hosts = ["{host}"]
[[outbound_connector]]
name = "Ops"
connector_type = "on_premises"
recipient_domains = ["ops.test"]
use_mx_record = false
smart_hosts = ["{ops}"]
"""


def page(service: Service, path: str) -> tuple[int, str]:
    host, port = json.loads((service.state / "run" / "metrics.json").read_text())
    try:
        with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=20) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as answer:
        return answer.code, answer.read().decode()


def metric(service: Service, name: str, *labels: str) -> float:
    for family in text_string_to_metric_families(page(service, "/metrics")[1]):
        for sample in family.samples:
            if sample.name == name and set(labels) <= set(sample.labels.values()):
                return sample.value
    raise AssertionError(f"no {name} {labels}")


def status(service: Service) -> int:
    command = [sys.executable, "-m", "lockgate", "--config", str(service.config), "status"]
    environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
    return subprocess.run(command, capture_output=True, timeout=60, env=environment).returncode


def test_figures_of_all_processes_and_readiness(tmp_path):
    with SmtpPeer() as peer, running(
        tmp_path / "s", POLICY.format(host=peer.host, ops="127.0.0.1:1"), workers=2, metrics={"port": 0}
    ) as service:  # fmt: skip
        with service.crowded(2):
            for _ in range(8):
                service.settled(service.send("x@out.test", "ann@contoso.test"))
        with service.client() as client:
            client.begin("x@out.test")
            assert client.to("eve@elsewhere.test")[0] >= 500
        assert metric(service, "lockgate_smtp_messages_accepted_total") == 8
        assert metric(service, "lockgate_smtp_connections_total") >= 9
        assert metric(service, "lockgate_smtp_refusals_total", "RCPT", "5xx") == 1
        assert metric(service, "lockgate_delivery_recipients_total", "delivered") == 8
        assert metric(service, "lockgate_keeper_commit_seconds_count") >= 8
        assert metric(service, "lockgate_judge_call_seconds_count") >= 16
        assert metric(service, "lockgate_policy_revision") == 1
        assert metric(service, "lockgate_service_workers_up") == 2
        assert page(service, "/healthz") == (200, "alive\n")
        assert page(service, "/readyz") == (200, "ready\n")
        assert status(service) == 0

        # A worker that dies loses no counts, is started again, and is counted as ended.
        (worker,) = (int(pid) for pid in re.findall(r"worker-0 \(pid (\d+)\)", service.said(1000))[:1])
        os.kill(worker, signal.SIGKILL)
        service.until(lambda: metric(service, "lockgate_process_ends_total", "worker") == 1, "the end is counted")
        service.until(lambda: service.said(1000).count("process ready") >= 5, "it is started again")
        assert metric(service, "lockgate_smtp_messages_accepted_total") == 8

        # Without its keeper the service is alive and not ready.
        (keeper,) = (int(pid) for pid in re.findall(r"keeper \(pid (\d+)\)", service.said(1000))[:1])
        os.kill(keeper, signal.SIGSTOP)
        try:
            service.until(lambda: page(service, "/readyz")[0] == 503, "it is not ready any more")
            assert "the keeper of the queue does not answer" in page(service, "/readyz")[1]
            assert page(service, "/healthz")[0] == 200
            assert status(service) == 1
        finally:
            os.kill(keeper, signal.SIGCONT)
        service.until(lambda: page(service, "/readyz")[0] == 200, "it is ready again")
    assert status(service) == 3


class Hook(http.server.BaseHTTPRequestHandler):
    """Takes posts; refuses the first one, so that it has to come again."""

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.calls.append((self.headers.get("X-Lockgate-Signature", ""), body))  # type: ignore[attr-defined]
        self.send_response(500 if len(self.server.calls) == 1 else 204)  # type: ignore[attr-defined]
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def hook():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        server.calls = []  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def letters(peer: SmtpPeer) -> list[tuple[str, str, str]]:
    """Envelope, subject and text of each letter."""
    found = []
    for mail in list(peer.mails):
        head, _, body = mail.content.decode().partition("\r\n\r\n")
        subject = re.search(r"^Subject: (.*)$", head, re.M)
        found.append((mail.mail, subject[1].strip() if subject else "", b64decode(body).decode()))
    return found


@pytest.mark.slow
def test_alerts_by_mail_and_webhook_taken_and_over(tmp_path):
    key = tmp_path / "hook.key"
    key.write_text("very secret\n")
    with hook() as server, SmtpPeer() as ops:
        webhook = {"url": f"http://127.0.0.1:{server.server_address[1]}/x?y=1", "secret": f"file:{key}"}
        folder = tmp_path / "s"
        folder.mkdir()
        alerts = {"connector_failures": 1, "settle": "0s", "mail_to": ["ops@ops.test", "ann@contoso.test"]}
        with contextlib.closing(SmtpPeer()) as down:
            host = down.host
        with running(folder, POLICY.format(host=host, ops=ops.host), alerts=alerts) as service:
            service.stop()
            text = service.config.read_text() + "".join(
                ["[[alerts.webhook]]\n", *(f"{name} = {json.dumps(value)}\n" for name, value in webhook.items())]
            )
            service.config.write_text(text)
            service.start()
            message = service.send("x@out.test", "bob@contoso.test")
            service.until(lambda: letters(ops), "a letter", patience=60)
            (envelope, subject, said) = letters(ops)[0]
            assert envelope.startswith("MAIL FROM:<>")
            assert subject.startswith("ALERT mx.lockgate.test: a next hop cannot be reached contoso/HQ")
            assert "lockgate alert ack" in said
            (row,) = service.trace(recipient="ops@ops.test")
            (part,) = service.done(Explain(row["id"]))["parts"]
            assert not part.get("differs"), "our own letters are explained as they were judged"
            # Never by the next hop that it is about.
            service.until(lambda: "which the letter is about" in service.said(1000), "the other letter is not sent")
            assert service.trace(recipient="ann@contoso.test") == []

            calls = server.calls
            service.until(lambda: len(calls) >= 2, "posted again after a failure", patience=30)
            signed, body = calls[1]
            told = json.loads(body)
            assert told["event"] == "raised" and told["which"] == "contoso/HQ"
            when, made = re.fullmatch(r"t=(\d+),v1=([0-9a-f]{64})", signed).groups()  # type: ignore[union-attr]
            expected = hmac.new(b"very secret", when.encode() + b"." + body, hashlib.sha256).hexdigest()
            assert hmac.compare_digest(made, expected)

            (alert,) = service.done(AlertList())
            assert alert["active"] and alert["id"] == told["id"]
            assert service.done(AlertAck(what_if=True))["ids"] == [alert["id"]]
            service.done(AlertAck((alert["id"],)))
            assert not service.done(AlertList())[0]["active"]
            assert service.done(AuditFind(what="alert ack"))[0]["details"]["alert"] == alert["id"]

            with SmtpPeer(port=int(host.rpartition(":")[2])):
                service.settled(message)
                service.until(lambda: any(s.startswith("OVER") for _, s, _ in letters(ops)), "it is over", patience=60)
            assert service.done(AlertList()) == []
            assert service.done(AlertList(over=True))[0]["over"]
            assert len(letters(ops)) == 2


def test_a_webhook_to_a_closed_address_is_not_dialled(tmp_path):
    from lockgate.couriers.post import NotPosted, post
    from lockgate.couriers.reach import Reach

    with hook() as server:
        url = f"http://127.0.0.1:{server.server_address[1]}/"
        with pytest.raises(NotPosted, match=r"a loopback address, which \[outgoing\] allow does not list"):
            post(url, b"{}", {}, reach=Reach(), timeout=2)
        assert server.calls == []
        with pytest.raises(NotPosted, match="answered 500"):
            post(url, b"{}", {}, reach=Reach(["127.0.0.0/8"]), timeout=2)
        assert post(url, b"{}", {}, reach=Reach(["127.0.0.0/8"]), timeout=2) == 204
        with pytest.raises(NotPosted, match="SSL"):
            post(url.replace("http:", "https:"), b"{}", {}, reach=Reach(["127.0.0.0/8"]), timeout=2)
