"""DMARC reports over the running service: counted, sent to whom asked and agrees, received and shown."""

from __future__ import annotations

import datetime as dt
import email
import gzip
import json
import re
import tarfile
import time
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import zstandard

from lockgate.mail.reports.carried import readings
from lockgate.storage.report_schema import report_file
from lockgate.storage.report_shelf import Shelf
from peers.contoso import contoso, mail_users
from peers.dns_server import DnsServer
from peers.dns_thread import dns
from peers.listening import arrived, recipients, sender, subject
from peers.service import Service, running
from peers.smtp_peer import Mail, SmtpPeer

ZONE = {
    ("bank.test", "TXT"): ['"v=spf1 ip4:192.0.2.10 -all"'],
    ("_dmarc.bank.test", "TXT"): ['"v=DMARC1; p=reject; sp=quarantine; aspf=s; rua=mailto:dmarc@bank.test!10m"'],
    ("bank.test", "MX"): ["10 mx.bank.test."],
    ("mx.bank.test", "A"): ["127.0.0.1"],
    ("shop.test", "TXT"): ['"v=spf1 -all"'],
    ("_dmarc.shop.test", "TXT"): [
        '"v=DMARC1; p=none; rua=mailto:a@collector.test,mailto:victim@other.test; ruf=mailto:f@shop.test; fo=1"'
    ],
    ("shop.test", "MX"): ["10 mx.bank.test."],
    ("collector.test", "MX"): ["10 mx.bank.test."],
    ("shop.test._report._dmarc.collector.test", "TXT"): ['"v=DMARC1; rua=mailto:reports@collector.test"'],
    ("other.test", "MX"): ["10 mx.bank.test."],
    ("quiet.test", "TXT"): ['"v=spf1 -all"'],
    ("_dmarc.quiet.test", "TXT"): ['"v=DMARC1; p=none"'],
}
POLICY = """
[[anti_phishing_policy]]
name = "Default"
send_aggregate_reports = true
send_failure_reports = true
report_organization_name = "Contoso & Co"
report_contact = "reports@contoso.com"
failure_reports_per_hour = 1
"""
BEN = "ben@contoso.com"
FORGER, BANK = "203.0.113.66", "192.0.2.10"


def letter(author: str, more: str = "") -> bytes:
    return f"From: {author}\r\nTo: {BEN}\r\nSubject: secret matter\r\n{more}\r\nPay this.\r\n".encode()


@dataclass
class World:
    service: Service
    names: DnsServer
    outside: SmtpPeer
    inside: SmtpPeer
    day: str

    def say(self, author: str, envelope: str, peer: str) -> int:
        with self.service.client(peer) as client:
            return client.letter(envelope, BEN, content=letter(author))[0]

    def got(self, address: str) -> list[Mail]:
        return [mail for mail in self.outside.mails if address in recipients(mail)]

    def until(self, address: str) -> Mail:
        return self.service.until(lambda: self.got(address), f"mail for {address}")[0]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with dns(ZONE) as names, SmtpPeer() as inside, SmtpPeer() as outside:
        resolver = {"resolvers": [names.address[0]], "port": names.address[1], "timeout": "2s"}
        policy = contoso(inside.host).replace(
            'name = "contoso"', f'name = "contoso"\nreport_addresses = ["{BEN.replace("ben", "dmarc")}"]', 1
        )
        folder = tmp_path_factory.mktemp("reports")
        port = int(outside.host.rpartition(":")[2])
        with running(
            folder, policy + POLICY, recipients=mail_users("ben", "dmarc"), dns=resolver, delivery={"mx_port": port}
        ) as service:
            _not_at_midnight()
            day = dt.datetime.now(dt.UTC).date().isoformat()
            yield World(service, names, outside, inside, day)


def _not_at_midnight() -> None:
    """What is counted must belong to one day."""
    left = 86400 - time.time() % 86400
    if left < 60:
        time.sleep(left + 1)


def independently(mail: Mail) -> tuple[ET.Element, str]:
    """The XML of a report, and the name of its file, by the standard library alone."""
    message = email.message_from_bytes(mail.content)
    (part,) = [part for part in message.walk() if part.get_content_type() == "application/gzip"]
    data = part.get_payload(decode=True)
    assert isinstance(data, bytes)
    root = ET.fromstring(gzip.decompress(data))
    for element in root.iter():
        element.tag = element.tag.removeprefix("{urn:ietf:params:xml:ns:dmarc-2.0}")
    return root, part.get_filename() or ""


def counting(world: World, domain: str) -> dict[str, Any]:
    """What is being counted about a domain now."""
    _, out, _ = world.service.command("reports", "list", "--sent", "--domain", domain, "--json")
    rows = [row for row in json.loads(out or "[]") if row["state"] == "counting"]
    return rows[0] if rows else {"messages": 0}


def test_a_day_is_reported_to_whom_asked(world: World) -> None:
    assert world.say("Bank <a@bank.test>", "a@bank.test", FORGER) == 550
    assert world.say("Bank <a@bank.test>", "a@bank.test", FORGER) == 550
    assert world.say("Bank <a@bank.test>", "a@bank.test", BANK) == 250
    assert world.say("Quiet <a@quiet.test>", "a@quiet.test", FORGER) == 250
    world.service.until(lambda: counting(world, "bank.test")["messages"] == 3, "three messages are counted", pause=0.5)
    assert counting(world, "quiet.test")["messages"] == 0
    asked = ("reports", "send", "--domain", "bank.test", "--day", world.day)
    (row,) = world.service.told(*asked, "--what-if")["reports"]
    assert row["outcome"] == ["dmarc@bank.test: would be sent"]
    assert row["state"] == "counting"
    assert not world.got("dmarc@bank.test")
    (row,) = world.service.told(*asked)["reports"]
    assert row["outcome"] == ["dmarc@bank.test: sent"], row
    mail = world.until("dmarc@bank.test")
    assert sender(mail) == ""
    _is_right(mail, row)
    code, _, err = world.service.command("reports", "send", "--domain", "nobody.test", "--day", world.day)
    assert (code, "nothing was counted" in err.lower()) == (1, True)


def _is_right(mail: Mail, row: dict[str, Any]) -> None:
    """What was sent, read by our reader and by another one."""
    (reading,) = readings(mail.content)
    report = reading.aggregate
    assert report is not None, reading.why
    assert (report.organisation, report.email, report.report_id) == (
        "Contoso & Co", "reports@contoso.com", row["report_id"],
    )  # fmt: skip
    published = report.published
    assert (published.policy, published.subdomains, published.spf, published.dkim) == ("reject", "quarantine", "s", "r")
    assert [(one.source, one.count, one.disposition, one.spf, one.dkim) for one in report.rows] == [
        (FORGER, 2, "reject", "fail", "fail"), (BANK, 1, "pass", "pass", "fail"),
    ]  # fmt: skip
    assert not any(one.reasons for one in report.rows)
    root, name = independently(mail)
    found = {
        record.findtext("row/source_ip"): (
            record.findtext("row/count"), record.findtext("row/policy_evaluated/disposition"),
            record.findtext("auth_results/spf/result"), record.findtext("identifiers/header_from"),
        )
        for record in root.iter("record")
    }  # fmt: skip
    assert found == {FORGER: ("2", "reject", "fail", "bank.test"), BANK: ("1", "pass", "pass", "bank.test")}
    assert re.fullmatch(r"mx\.lockgate\.test!bank\.test!\d+!\d+![\w.]+\.xml\.gz", name)
    assert subject(mail) == f"Report Domain: bank.test Submitter: mx.lockgate.test Report-ID: {report.report_id}"


def test_only_destinations_that_agree_get_it(world: World) -> None:
    assert world.say("Shop <s@shop.test>", "s@shop.test", FORGER) == 250
    world.service.until(lambda: counting(world, "shop.test")["messages"] == 1, "the message is counted", pause=0.5)
    (row,) = world.service.told("reports", "send", "--domain", "shop.test", "--day", world.day)["reports"]
    first, second = row["outcome"]
    assert first == "reports@collector.test: sent"
    assert second.startswith("victim@other.test: not sent, because other.test does not agree")
    (reading,) = readings(world.until("reports@collector.test").content)
    assert reading.aggregate is not None
    (only,) = reading.aggregate.rows
    assert (only.disposition, only.spf, only.dkim, only.count) == ("none", "fail", "fail", 1)
    assert not world.got("victim@other.test")


def test_a_failure_is_told_once_an_hour_and_names_nobody(world: World) -> None:
    mail = world.until("f@shop.test")
    assert b"secret matter" not in mail.content
    assert b"ben@" not in mail.content and b"s@shop.test" not in mail.content.replace(b"f@shop.test", b"")
    (reading,) = readings(mail.content)
    assert reading.failure is not None, reading.why
    assert (reading.failure.domain, reading.failure.source, reading.failure.failure) == ("shop.test", FORGER, "dmarc")
    assert dict(reading.failure.headers)["From"].endswith("@shop.test>")
    assert world.say("Shop <s@shop.test>", "s@shop.test", FORGER) == 250
    world.service.until(lambda: counting(world, "shop.test")["messages"] == 1, "the second is counted", pause=0.5)
    time.sleep(1.5)
    assert len(world.got("f@shop.test")) == 1


def test_what_is_received_is_delivered_and_read(world: World) -> None:
    report = world.until("dmarc@bank.test").content
    body = report.replace(b"From: ", b"From: x@plain.test\r\nX-Was: ", 1)
    for _ in range(2):
        with world.service.client(FORGER) as client:
            assert client.letter("", "dmarc@contoso.com", content=body)[0] == 250
    arrived(world.inside)
    world.service.until(
        lambda: any("dmarc@contoso.com" in recipients(mail) for mail in world.inside.mails), "it is delivered"
    )
    world.service.until(lambda: world.service.command("reports", "list")[0] == 0, "it is read", pause=0.5)
    (row,) = world.service.told("reports", "list")
    assert (row["kind"], row["domain"], row["reporter"], row["messages"]) == (
        "aggregate", "bank.test", "Contoso & Co", 3,
    )  # fmt: skip
    rows = world.service.told("reports", "dmarc", "--domain", "bank.test")
    assert [(one["source"], one["result"], one["messages"]) for one in rows] == [
        (FORGER, "fail", 2), (BANK, "pass", 1),
    ]  # fmt: skip
    assert len(world.service.told("reports", "dmarc", "--result", "pass")) == 1
    assert len(world.service.told("reports", "dmarc", "--source", FORGER)) == 1
    whole = world.service.told("reports", "show", str(row["number"]))
    assert [one["count"] for one in whole["rows"]] == [2, 1]
    code, out, _ = world.service.command("reports", "show", str(row["number"]))
    assert code == 0
    assert FORGER in out


def test_mail_with_reports_is_not_itself_reported(world: World) -> None:
    before = counting(world, "shop.test")["messages"]
    with world.service.client(FORGER) as client:
        content = letter("Shop <s@shop.test>")
        assert client.letter("s@shop.test", "dmarc@contoso.com", content=content)[0] == 250
    world.service.until(lambda: world.service.command("reports", "list", "--unread")[0] == 0, "it is looked at")
    (row,) = world.service.told("reports", "list", "--unread")
    assert row["why"] == "there is no report in it"
    assert counting(world, "shop.test")["messages"] == before


def test_files_are_imported(world: World, tmp_path: Path) -> None:
    report = world.until("reports@collector.test").content
    good, bad = tmp_path / "good.eml", tmp_path / "bad.xml"
    good.write_bytes(report)
    bad.write_bytes(b"<feedback>")
    code, out, _ = world.service.command("reports", "import", "--what-if", str(good))
    assert (code, "would be kept" in out) == (0, True)
    code, out, _ = world.service.command("reports", "import", str(good), str(bad))
    assert code == 1
    assert "number" in out and "not read: the XML is broken" in out
    code, out, _ = world.service.command("reports", "import", str(good))
    assert (code, "known already" in out) == (0, True)
    changes = world.service.told("audit", "find", "--what", "report")
    assert {"report import", "report send"} <= {row["what"] for row in changes}


def test_a_backup_holds_them(world: World, tmp_path: Path) -> None:
    file = tmp_path / "b.tar.zst"
    world.service.told("backup", str(file))
    with (
        file.open("rb") as packed,
        zstandard.ZstdDecompressor().stream_reader(packed) as plain,
        tarfile.open(fileobj=plain, mode="r|") as archive,
    ):
        for member in archive:
            content = archive.extractfile(member)
            if member.name == "state/reports/reports.sqlite" and content is not None:
                copy = tmp_path / "copy"
                copy.mkdir()
                (copy / "reports.sqlite").write_bytes(content.read())
                break
    shelf = Shelf(report_file(copy))
    assert {row["domain"] for row in shelf.find()} >= {"bank.test", "shop.test"}


def test_tls_reports_are_imported_and_counted(world: World, tmp_path: Path) -> None:
    file = tmp_path / "tls.json"
    file.write_text(
        '{"organization-name":"Far","report-id":"1","date-range":{"start-datetime":"2026-11-01T00:00:00Z",'
        '"end-datetime":"2026-11-01T23:59:59Z"},"policies":[{"policy":{"policy-type":"sts","policy-domain":'
        '"contoso.com"},"summary":{"total-successful-session-count":7,"total-failure-session-count":2},'
        '"failure-details":[{"result-type":"certificate-expired","failed-session-count":2,'
        '"receiving-mx-hostname":"mx.contoso.com"}]}]}'
    )
    world.service.told("reports", "import", str(file))
    rows = world.service.told("reports", "tls")
    assert [(row["result"], row["sessions"]) for row in rows] == [("success", 7), ("certificate-expired", 2)]
    own = world.service.command("reports", "tls", "--own", "--json")
    assert "certificate-expired" not in own[1], "what others saw is not what we saw"
