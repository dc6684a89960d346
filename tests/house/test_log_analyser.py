"""A log analyser for Postfix reads our lines, whatever is in them: deliveries, deferrals, failures, sizes, refusals."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.app.journal import LineJournal
from lockgate.app.lines import line
from peers.service import running
from peers.smtp_peer import Script, SmtpPeer

pflogsumm = pytest.mark.skipif(shutil.which("pflogsumm") is None, reason="pflogsumm is not installed")

POLICY = """
[[organisation]]
name = "contoso"
[[accepted_domain]]
domain_name = "contoso.test"
domain_type = "internal_relay"
vouched_by_operator = true
[[outbound_connector]]
name = "HQ"
connector_type = "on_premises"
recipient_domains = ["contoso.test"]
use_mx_record = false
smart_hosts = ["{host}"]
"""


def analysed(log: Path) -> str:
    done = subprocess.run(
        ["pflogsumm", "--syslog-name=lockgate", "--verbose-msg-detail", str(log)],
        capture_output=True, text=True, timeout=60, check=True,
    )  # fmt: skip
    return done.stdout


def total(report: str, what: str) -> str:
    found = re.search(rf"^\s*(\d+k?)\s+{what}", report, re.M)
    assert found, report
    return found[1]


class Clock:
    def now(self) -> float:
        return 1_700_000_000.25

    def monotonic(self) -> float:
        return 0.0


def written(path: Path, *notes: tuple[str, dict[str, object]]) -> None:
    data: list[bytes] = []
    journal = LineJournal(data.append, Clock(), role="worker-0", host="mx.contoso.test")
    for happening, details in notes:
        journal.note(happening, **details)
    journal.close()
    path.write_bytes(b"".join(data))


@pflogsumm
def test_the_running_service_is_summed_up(tmp_path):
    script = Script(rcpt={"later@contoso.test": "451 4.2.0 mailbox busy", "never@contoso.test": "550 5.1.1 gone"})
    with SmtpPeer(script) as peer, running(tmp_path / "s", POLICY.format(host=peer.host)) as service:
        for number in range(5):
            service.settled(service.send("sender@out.test", "ann@contoso.test", content=f"x{number}"))
        service.settled(service.send("sender@out.test", "never@contoso.test"), "Failed")
        service.send("", "later@contoso.test")
        with service.client() as client:
            client.begin("sender@out.test")
            client.to("eve@elsewhere.test")
        service.until(lambda: "status=deferred" in service.said(), "the deferral is in the log")
        service.until(lambda: "reject: RCPT" in service.said(), "the refusal is in the log")
    report = analysed(tmp_path / "s" / "lockgate.log")
    assert total(report, "delivered") == "5"
    assert total(report, "deferred") == "2"  # the busy mailbox, and our report to a sender whom no DNS knows
    assert total(report, "bounced") == "1"
    assert total(report, "rejected") == "1"
    assert re.search(r"^\s+5 +\d+.* contoso\.test", report, re.M), report
    assert re.search(r"5\s+ann@contoso\.test", report)
    assert "451 4.2.0 mailbox busy" in report and "550 5.1.1 gone" in report
    assert re.search(r"Relay Access Denied.*\n.*192\.0\.2\.10", report) or "Relay Access Denied" in report


EVIL = "x, relay=y, delay=1, dsn=2.0.0, status=sent (ok) reject: RCPT from z: 550 no; to=<v@v.test>, status=sent (a"


@pflogsumm
def test_no_value_is_counted_as_something_else(tmp_path):
    log = tmp_path / "log"
    notes: list[tuple[str, dict[str, object]]] = []
    for number in range(3):
        notes += [
            ("delivered", {"id": f"id-{number}", "to": f"ann{number}@contoso.test", "relay": EVIL, "delay": 0.1,
                           "lane": EVIL, "reply": f"250 2.0.0 {EVIL}"}),
            ("refused", {"id": f"C{number}", "point": "RCPT", "peer": "192.0.2.7", "sender": EVIL, "recipient": EVIL,
                         "reply": f"550 5.4.1 {EVIL}", "because": EVIL}),
            ("accepted", {"id": f"id-{number}", "sender": EVIL, "size": 1000, "recipients": 1, "peer": "192.0.2.7"}),
            ("early talker", {"id": EVIL, "peer": EVIL}),
        ]  # fmt: skip
    written(log, *notes)
    report = analysed(log)
    assert total(report, "delivered") == "3"
    assert total(report, "rejected") == "3"
    assert total(report, "bounced") == total(report, "deferred") == "0"
    assert not re.search(r"^\s+\d+\s+(v@v|z$)", report, re.M)


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["delivered", "refused", "accepted", "deferred"]),
    st.dictionaries(
        st.sampled_from(["id", "to", "relay", "lane", "reply", "point", "peer", "sender", "recipient", "size", "helo"]),
        st.text(max_size=60),
    ),
)
def test_a_line_is_one_line_and_has_one_status(happening, details):
    data = line("2026-11-24T08:00:00.000000Z", "mx lockgate/worker-0[1]", happening, details, alarm=False)
    text = data.decode()
    assert text.count("\n") == 1 and text.endswith("\n")
    assert all(c.isprintable() for c in text[:-1])
    if found := re.search(r": to=<([^>]*)>, (?:relay=([^,]+), )?(?:delay=([^,]+), )?dsn=[^,]+, status=(\S+) \(", text):
        assert found[4] == {"delivered": "sent", "deferred": "deferred"}[happening]
