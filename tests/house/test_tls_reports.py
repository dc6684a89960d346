"""TLS reports over the running service (RFC 8460): sessions counted, told by mail and by HTTPS, and read."""

from __future__ import annotations

import datetime as dt
import email
import gzip
import hashlib
import http.server
import json
import ssl
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from peers.certificates import Authority
from peers.contoso import mail_users
from peers.dns_server import DnsServer
from peers.dns_thread import dns
from peers.listening import recipients, sender, subject
from peers.ports import free_port
from peers.service import Service, running
from peers.smtp_peer import Mail, Script, SmtpPeer

ON_PREMISES = "203.0.113.25"
POLICY = """
[[organisation]]
name = "contoso"
display_name = "Contoso Ltd"
send_tls_reports = true
report_addresses = ["tls@contoso.com"]

[[accepted_domain]]
domain_name = "contoso.com"
default = true
vouched_by_operator = true

[[inbound_connector]]
name = "Own servers"
connector_type = "on_premises"
sender_domains = ["*"]
sender_ip_addresses = ["203.0.113.25"]

[[outbound_connector]]
name = "Headquarters"
connector_type = "on_premises"
recipient_domains = ["contoso.com"]
use_mx_record = false
smart_hosts = ["{host}"]
"""


@dataclass
class World:
    service: Service
    names: DnsServer
    good: SmtpPeer
    bad: SmtpPeer
    posted: list[tuple[str, str, bytes]]
    web: str
    day: str

    def say(self, to: str) -> str:
        return self.service.send("ben@contoso.com", to, peer=ON_PREMISES)

    def counted(self, domain: str) -> list[dict[str, Any]]:
        code, out, _ = self.service.command("reports", "tls", "--own", "--domain", domain, "--json")
        return json.loads(out) if code == 0 else []

    def got(self, address: str) -> list[Mail]:
        return [mail for mail in self.good.mails if address in recipients(mail)]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder: Path = tmp_path_factory.mktemp("tls-reports")
    ca = Authority(folder)
    mine, other = ca.issue("mx.good.test"), ca.issue("mx.bad.test", self_signed=True)
    port = free_port()
    digest = hashlib.sha256(mine.certificate.public_bytes(Encoding.DER)).hexdigest()
    posted: list[tuple[str, str, bytes]] = []
    with (
        _web(ca.issue("127.0.0.1", self_signed=True), posted) as web,
        SmtpPeer(Script(context=mine.server_context()), port=port) as good,
        SmtpPeer(Script(context=other.server_context()), "127.0.0.2", port) as bad,
    ):
        zone = {
            ("good.test", "MX"): ["10 mx.good.test."],
            ("mx.good.test", "A"): ["127.0.0.1"],
            (f"_{port}._tcp.mx.good.test", "TLSA"): [f"3 0 1 {digest}"],
            ("_smtp._tls.good.test", "TXT"): ['"v=TLSRPTv1; rua=mailto:tls@good.test"'],
            ("bad.test", "MX"): ["10 mx.bad.test."],
            ("mx.bad.test", "A"): ["127.0.0.2"],
            (f"_{port}._tcp.mx.bad.test", "TLSA"): [f"3 0 1 {digest}"],
            ("_smtp._tls.bad.test", "TXT"): [
                f'"v=TLSRPTv1;rua=mailto:tls@bad.test,https://127.0.0.1:{web}/v1/tlsrpt,ftp://bad.test/"'
            ],
            ("twice.test", "MX"): ["10 mx.good.test."],
            ("_smtp._tls.twice.test", "TXT"): [
                f'"v=TLSRPTv1; rua=mailto:{name}@twice.test"' for name in "ab"
            ],
        }
        signed = {name: "validated" for name, _ in zone}
        with dns(zone, **signed) as names:
            resolver = {"resolvers": [names.address[0]], "port": names.address[1], "timeout": "2s"}
            with running(
                folder / "service", POLICY.format(host=good.host), recipients=mail_users("tls"), dns=resolver,
                delivery={"mx_port": port},
            ) as service:  # fmt: skip
                if (left := 86400 - time.time() % 86400) < 60:
                    time.sleep(left + 1)  # what is counted must belong to one day
                day = dt.datetime.now(dt.UTC).date().isoformat()
                yield World(service, names, good, bad, posted, str(web), day)


class _web:
    """A web server with a certificate that nobody vouches for, which takes reports."""

    def __init__(self, papers: Any, posted: list[tuple[str, str, bytes]]) -> None:
        class Taker(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                posted.append((self.path, self.headers["Content-Type"], body))
                self.send_response(201)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Taker)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(papers.chain, papers.key)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)

    def __enter__(self) -> int:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self._server.server_address[1]

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


def test_sessions_are_counted_and_kept_connections_are_none(world: World) -> None:
    for number in range(3):
        world.service.settled(world.say(f"u{number}@good.test"))
    sessions = len(world.good.sessions)
    assert sum(bool(session.tls) for session in world.good.sessions) == sessions
    world.service.until(lambda: world.counted("good.test"), "sessions are counted", pause=0.5)
    (row,) = world.counted("good.test")
    assert (row["kind"], row["result"], row["receiving_mx"]) == ("tlsa", "success", "mx.good.test")
    assert row["count"] == sessions and row["sending_ip"] == "127.0.0.1"


def _read(octets: bytes) -> dict[str, Any]:
    found = json.loads(gzip.decompress(octets))
    assert isinstance(found, dict)
    return found


def test_a_day_is_told_by_mail(world: World) -> None:
    asked = ("reports", "send", "--tls", "--domain", "good.test", "--day", world.day)
    (row,) = world.service.told(*asked, "--what-if")["reports"]
    assert (row["outcome"], row["state"]) == (["tls@good.test: would be sent"], "counting")
    assert not world.got("tls@good.test")
    counted = world.counted("good.test")[0]["count"]
    (row,) = world.service.told(*asked)["reports"]
    assert (row["outcome"], row["messages"]) == (["tls@good.test: sent"], counted)
    mail = world.service.until(lambda: world.got("tls@good.test"), "the report arrives")[0]
    assert sender(mail) == ""
    assert subject(mail).startswith("Report Domain: good.test Submitter: mx.lockgate.test Report-ID: <")
    message = email.message_from_bytes(mail.content)
    assert message.get_content_type() == "multipart/report" and message.get_param("report-type") == "tlsrpt"
    assert (message["TLS-Report-Domain"], message["TLS-Report-Submitter"]) == ("good.test", "mx.lockgate.test")
    (part,) = [part for part in message.walk() if part.get_content_type() == "application/tlsrpt+gzip"]
    assert (part.get_filename() or "").startswith("mx.lockgate.test!good.test!")
    payload = part.get_payload(decode=True)
    assert isinstance(payload, bytes)
    report = _read(payload)
    assert (report["organization-name"], report["contact-info"]) == ("Contoso Ltd", "postmaster@contoso.com")
    assert report["report-id"] == row["report_id"]
    assert report["date-range"]["start-datetime"] == f"{world.day}T00:00:00Z"
    (policy,) = report["policies"]
    assert policy["policy"]["policy-type"] == "tlsa" and policy["policy"]["policy-domain"] == "good.test"
    assert policy["policy"]["policy-string"][0].startswith("3 0 1 ")
    assert policy["summary"] == {"total-successful-session-count": counted, "total-failure-session-count": 0}
    shown = world.service.told("reports", "show", row["report_id"])
    assert [(one["policy"], one["kind"], one["count"]) for one in shown["rows"]] == [("tlsa", "success", counted)]


def test_each_session_is_in_one_report(world: World) -> None:
    """Sending the report was a session itself (without a policy: it needs no TLS); what was told is not told again."""
    world.service.until(lambda: len(world.service.told(*_list("good.test"))) == 2, "a later period", pause=0.5)
    later, told = world.service.told(*_list("good.test"))
    assert (later["state"], told["state"]) == ("counting", "done")
    assert later["messages"] + told["messages"] == sum(row["count"] for row in world.counted("good.test"))


def _list(domain: str) -> tuple[str, ...]:
    return ("reports", "list", "--sent", "--kind", "tls", "--domain", domain)


def test_what_went_wrong_is_told_by_mail_that_needs_no_tls_and_by_https(world: World) -> None:
    """RFC 8460 3: a report arrives although the domain's TLS is out of order, which is what it tells of."""
    message = world.say("x@bad.test")
    row = world.service.until(lambda: [r for r in world.service.trace(id=message) if r["reply"]], "it is put off")[0]
    assert row["status"] == "Pending" and row["reply"].startswith("454 4.7.323"), row
    assert b"MAIL" not in b"".join(session.clear + session.secure for session in world.bad.sessions)
    world.service.until(lambda: world.counted("bad.test"), "the failure is counted", pause=0.5)
    asked = ("reports", "send", "--tls", "--domain", "bad.test", "--day", world.day)
    (row,) = world.service.told(*asked)["reports"]
    url = f"https://127.0.0.1:{world.web}/v1/tlsrpt"
    assert row["outcome"][:2] == ["tls@bad.test: sent", f"{url}: sent"]
    assert row["outcome"][2].startswith("ftp://bad.test/: not sent, because only mailto and https")
    world.service.until(lambda: world.bad.mails, "the report arrives where nothing else does")
    (path, kind, body), = world.posted
    assert (path, kind) == ("/v1/tlsrpt", "application/tlsrpt+gzip")
    (policy,) = _read(body)["policies"]
    (detail,) = policy["failure-details"]
    assert detail["result-type"] == "validation-failure" and detail["receiving-mx-hostname"] == "mx.bad.test"
    assert policy["summary"]["total-failure-session-count"] == detail["failed-session-count"] >= 1
    assert recipients(world.bad.mails[0]) == ["tls@bad.test"]
    assert b"\r\nTLS-Required: No\r\n" in world.bad.mails[0].content
    world.service.edit("delete", id=message)


def test_two_records_are_none(world: World) -> None:
    world.service.settled(world.say("x@twice.test"))
    world.service.until(lambda: world.counted("twice.test"), "the session is counted", pause=0.5)
    (row,) = world.service.told("reports", "send", "--tls", "--domain", "twice.test", "--day", world.day)["reports"]
    assert row["outcome"] == ["twice.test wants no TLS reports"]
    code, _, err = world.service.command("reports", "send", "--tls", "--domain", "none.test", "--day", world.day)
    assert (code, "nothing was counted" in err.lower()) == (1, True)


def test_the_very_report_is_read_when_it_comes_back(world: World) -> None:
    """What we send others can read, and so can we: by mail to a report address, and shown."""
    (mail,) = world.got("tls@good.test")
    with world.service.client("192.0.2.10") as client:
        assert client.letter("", "tls@contoso.com", content=mail.content)[0] == 250
    listing = ("reports", "list", "--kind", "tls")
    world.service.until(lambda: world.service.command(*listing)[0] == 0, "it is read", pause=0.5)
    (row,) = world.service.told("reports", "list", "--kind", "tls")
    assert (row["domain"], row["reporter"]) == ("good.test", "Contoso Ltd")
    code, out, _ = world.service.command("reports", "tls", "--domain", "good.test")
    assert code == 0 and "tlsa" in out and "success" in out
