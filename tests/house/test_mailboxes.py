"""Hosted mailboxes, from the wire to a mail program: SMTP in, Dovecot's IMAP out, octets compared."""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import subprocess
import time
from email import message_from_bytes
from pathlib import Path

import pytest

from peers.dovecot import Dovecot
from peers.listening import arrived, recipients, sender
from peers.names import Names
from peers.service import HOSTNAME, Service, running
from peers.smtp_peer import SmtpPeer
from proof.injected import Injected

ORGANISATION = """
[[organisation]]
name = "contoso"

[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true
"""
PEOPLE = (
    "address,kind,aliases,external_address\n"
    "ana@contoso.com,mailbox,Ana.Smith@contoso.com,\n"
    "david@contoso.com,mailbox,,\n"
    "julie@contoso.com,mail_user,,\n"
)
OUTSIDE = "alice@outside.example"
OWN = "192.0.2.25"
HYBRID = f"""
[[inbound_connector]]
name = "From headquarters"
connector_type = "on_premises"
sender_ip_addresses = ["{OWN}"]

[[outbound_connector]]
name = "Headquarters"
connector_type = "on_premises"
recipient_domains = ["contoso.com"]
use_mx_record = false
smart_hosts = ["{{host}}"]
"""
ODD = (
    b"From: alice@outside.example\r\nTo: ana@contoso.com\r\nReturn-Path: <forged@outside.example>\r\n"
    b"Return-path:\r\n\t<folded@outside.example>\r\nSubject: =?utf-8?Q?Gr=C3=BC=C3=9Fe?=\r\n"
    b"MIME-Version: 1.0\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: 8bit\r\n\r\n"
    b"From the first line on:\r\n.\r\n..\r\n\r\n>From here\r\n\xc3\xa4\xc3\xb6\xc3\xbc\t \r\n" + b"x" * 998
    + b"\r\n\r\n\r\n"
)


def only(messages: list[bytes]) -> bytes:
    (message,) = messages
    return message


def files(dovecot: Dovecot, user: str) -> list[Path]:
    local, _, domain = user.partition("@")
    box = dovecot.mail / "contoso" / domain / local
    return sorted([*box.glob("new/*"), *box.glob("cur/*")])


@pytest.fixture
def dovecot():
    with Dovecot("contoso/%Ld/%Ln") as one:
        yield one


def test_t_host_2_and_the_delivery_of_t_host_1(tmp_path: Path, dovecot: Dovecot) -> None:
    boxes = {"directory": str(dovecot.mail)}
    with running(tmp_path / "service", ORGANISATION, recipients=PEOPLE, mailboxes=boxes) as service:
        with service.client() as client:
            client.begin(OUTSIDE)
            code, text = client.to("nobody@contoso.com")
            assert code == 550 and text.startswith("5.4.1 Recipient address rejected: Access denied")
            assert client.to("ana@contoso.com")[0] == 250
            code, text = client.content(ODD)
            assert code == 250, text
        message = text.rpartition(" ")[2]
        (row,) = service.settled(message)
        assert (row["recipient_address"], row["outbound_connector"]) == ("ana@contoso.com", "")
        told = service.show(message)
        event = told["rows"][0]["events"][-1]
        assert (event["kind"], event["host"]) == ("Deliver", "mailboxes") and event["reply"].startswith("250 2.0.0")

        stored = only(dovecot.messages("ana@contoso.com"))
        head, _, rest = stored.partition(b"From: alice@outside.example\r\n")
        assert rest == re.sub(rb"Return-Path: .*\r\n|Return-path:\r\n.*\r\n", b"", ODD.partition(b"\r\n")[2])
        fields = message_from_bytes(head).items()
        internal = [f"X-MS-Exchange-Organization-{one}" for one in (
            "Network-Message-Id", "AuthAs", "AuthSource", "MessageDirectionality",
        )]  # fmt: skip
        ours = ["Return-Path", "Delivered-To", *internal, "Received", "X-Lockgate-Hop"]
        assert [name for name, _ in fields] == ours
        parsed = message_from_bytes(stored)
        assert parsed.get_all("Return-Path") == [f"<{OUTSIDE}>"]
        assert parsed["Delivered-To"] == "ana@contoso.com"
        received = parsed["Received"]
        assert f"by {HOSTNAME}" in received and f"id {message}" in received and "for <ana@contoso.com>" in received

        line = next(line for line in service.said(400).splitlines() if message in line and "status=" in line)
        assert "to=<ana@contoso.com>, relay=mailboxes," in line and "dsn=2.0.0, status=sent (250" in line


def test_the_size_in_the_name_is_the_size_that_imap_tells(tmp_path: Path, dovecot: Dovecot) -> None:
    with running(
        tmp_path / "service", ORGANISATION, recipients=PEOPLE, mailboxes={"directory": str(dovecot.mail)}
    ) as service:
        service.settled(service.send(OUTSIDE, "ana@contoso.com", content=ODD))
        (file,) = files(dovecot, "ana@contoso.com")
        assert file.stat().st_mode & 0o777 == 0o600
        size, virtual = map(int, re.search(r",S=(\d+),W=(\d+)$", file.name).groups())
        assert size == file.stat().st_size
        with dovecot.inbox("ana@contoso.com") as session:
            item = "RFC" + "822.SIZE"  # IMAP's name for it, and no standard that is cited here
            assert f"{item} {virtual}".encode() in session.fetch("1", f"({item})")[1][0]
        assert len(only(dovecot.messages("ana@contoso.com"))) == virtual


def test_t_conn_0_one_mail_each_way_without_any_connector(tmp_path: Path, dovecot: Dovecot) -> None:
    """Inwards to a mailbox; outwards by MX, with what leaves before people can submit mail: a report to a sender."""
    names = Names({"fabrikam.com": ["mx.fabrikam.com"]}, {"mx.fabrikam.com": ["127.0.0.1"]})
    with names, SmtpPeer() as fabrikam, running(
        tmp_path / "service", ORGANISATION, recipients=PEOPLE, mailboxes={"directory": str(dovecot.mail)},
        dns=names.settings, delivery={"mx_port": fabrikam.port, "message_life": "4s", "delay_notice": "0s"},
    ) as service:  # fmt: skip
        assert "connector" not in "".join(path.read_text() for path in (service.folder / "policy").iterdir())
        service.settled(service.send("bob@fabrikam.com", "ana@contoso.com"))
        assert b"\r\nDelivered-To: ana@contoso.com\r\n" in only(dovecot.messages("ana@contoso.com"))

        away = dovecot.mail.rename(dovecot.mail.with_name("away"))
        message = service.send("bob@fabrikam.com", "ana@contoso.com")
        waiting = service.until(lambda: service.queue(), "the lane")
        assert [lane["lane"] for lane in waiting] == ["contoso/mailboxes"]
        report = arrived(fabrikam)[0]
        assert (sender(report), recipients(report)) == ("", ["bob@fabrikam.com"])
        assert b"Action: failed\r\nStatus: 5.4.300\r\n" in report.content
        service.settled(message, "Failed")
        assert "ALARM " + message + ": mailboxes cannot be written" in service.said(400)
        assert not dovecot.mail.exists(), "what is not mounted is never made"
        away.rename(dovecot.mail)


def test_a_message_is_split_between_here_and_on_premises(tmp_path: Path, dovecot: Dovecot) -> None:
    with SmtpPeer() as headquarters:
        policy = ORGANISATION + HYBRID.format(host=headquarters.host)
        with running(
            tmp_path / "service", policy, recipients=PEOPLE, mailboxes={"directory": str(dovecot.mail)}
        ) as service:
            message = service.send(OUTSIDE, "julie@contoso.com", "Ana.Smith@contoso.com", "david@contoso.com")
            rows = {row["recipient_address"]: row for row in service.settled(message)}
            assert recipients(arrived(headquarters)[0]) == ["julie@contoso.com"]
            assert rows["julie@contoso.com"]["outbound_connector"] == "Headquarters"
            for user in ("ana@contoso.com", "david@contoso.com"):
                assert f"Delivered-To: {user}\r\n".encode() in only(dovecot.messages(user))
            assert len(headquarters.mails) == 1


def test_swaks_in_and_imap_out_of_a_large_message(tmp_path: Path, dovecot: Dovecot) -> None:
    swaks = shutil.which("swaks")
    if swaks is None:
        pytest.skip("swaks is not installed (Debian: apt-get install swaks)")
    letter = tmp_path / "letter.eml"
    lines = b"".join(b"%06d %s\r\n" % (number, b".".join([b"x" * 30, b"y" * 30])) for number in range(40_000))
    content = b"From: alice@outside.example\r\nSubject: large\r\n\r\n" + lines
    letter.write_bytes(content)
    with running(
        tmp_path / "service", ORGANISATION, recipients=PEOPLE, mailboxes={"directory": str(dovecot.mail)}
    ) as service:
        done = subprocess.run(
            [swaks, "--server", f"127.0.0.1:{service.port}", "--from", OUTSIDE, "--to", "ANA@contoso.com",
             "--data", f"@{letter}", "--suppress-data"],
            capture_output=True, check=False, timeout=60,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout.decode()
        service.until(lambda: files(dovecot, "ana@contoso.com"), "the message")
        stored = only(dovecot.messages("ana@contoso.com"))
        assert stored.partition(b"Subject: large\r\n\r\n")[2].startswith(lines)
        assert stored[len(stored.partition(b"Subject: large\r\n\r\n")[0]) :].rstrip() == content[29:].rstrip()


def test_mutt_reads_it(tmp_path: Path) -> None:
    mutt = shutil.which("mutt")
    if mutt is None:
        pytest.skip("mutt is not installed (Debian: apt-get install mutt)")
    boxes, out = tmp_path / "mail", tmp_path / "out"
    boxes.mkdir()
    with running(tmp_path / "service", ORGANISATION, recipients=PEOPLE, mailboxes={"directory": str(boxes)}) as service:
        for subject in ("one", "two"):
            service.settled(service.send(OUTSIDE, "ana@contoso.com", content=subject))
        typed(
            mutt, "-n", "-F", "/dev/null", "-f", str(boxes / "contoso/contoso.com/ana"),
            "-e", "set mbox_type=mbox confirmappend=no confirmcreate=no quit=yes move=no delete=no",
            "-e", f"push '1<enter><copy-message>{out}1<enter>2<enter><copy-message>{out}2<enter><quit>'",
        )  # fmt: skip
        text = "".join(Path(f"{out}{number}").read_text() for number in (1, 2))
        subjects = sorted(line for line in text.splitlines() if line.startswith("Subject:"))
        assert subjects == ["Subject: one", "Subject: two"]
        assert text.count("This is the body.") == 2


def typed(*words: str) -> None:
    """Run a program that wants a terminal, and look away from what it draws there."""
    screen, terminal = os.openpty()
    environment = {**os.environ, "TERM": "vt100", "HOME": "/nonexistent"}
    program = subprocess.Popen(
        words, stdin=terminal, stdout=terminal, stderr=terminal, env=environment, start_new_session=True
    )
    os.close(terminal)
    drawn, deadline = b"", time.monotonic() + 20
    while program.poll() is None and time.monotonic() < deadline:
        if select.select([screen], [], [], 0.1)[0]:
            with contextlib.suppress(OSError):  # the other end is closed
                drawn += os.read(screen, 4096)
    os.close(screen)
    if program.poll() is None:
        program.kill()
        program.wait()
        raise AssertionError(f"{words[0]} does not end: {drawn[-2000:]!r}")


def test_a_full_disk_makes_mail_wait_and_loses_nothing(tmp_path: Path) -> None:
    """The workers' syncs are those of mailboxes; the kernel says to each of them that there is no room."""
    boxes = tmp_path / "mail"
    boxes.mkdir()
    with running(tmp_path / "service", ORGANISATION, recipients=PEOPLE, mailboxes={"directory": str(boxes)}) as service:
        service.settled(service.send(OUTSIDE, "ana@contoso.com"))
        with Injected(worker_of(service), "fdatasync", "error=ENOSPC", "1+"):
            messages = [service.send(OUTSIDE, "ana@contoso.com") for _ in range(3)]
            service.until(lambda: "4.3.1 There is no room for mailboxes" in str(service.queue()), "the lane waits")
            service.until(lambda: "mailboxes cannot be written" in service.said(), "the alarm")
            assert "ALARM " in service.said()
        for message in messages:
            service.settled(message)
        assert len(list(boxes.glob("contoso/contoso.com/ana/new/*"))) == 4


def worker_of(service: Service) -> int:
    """The pid of its only worker."""
    assert service.process is not None
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            text = stat.read_text()
            if "(lg:worker-0)" in text and text.rpartition(")")[2].split()[1] == str(service.process.pid):
                return int(stat.parent.name)
    raise AssertionError("there is no worker")
