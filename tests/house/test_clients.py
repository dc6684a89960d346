"""Other people's sending programs: swaks, openssl, smtplib; a client certificate is recorded and never fatal."""

from __future__ import annotations

import shutil
import smtplib
import ssl
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import EmailMessage

import pytest

from peers.certificates import Authority, Papers
from peers.client import letter
from peers.contoso import contoso, mail_users
from peers.listening import arrived, recipients
from peers.service import HOSTNAME, Service, running
from peers.smtp_peer import SmtpPeer


@dataclass
class World:
    service: Service
    sink: SmtpPeer
    ca: Authority
    papers: dict[str, Papers]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("clients")
    ca = Authority(folder)
    shown = ca.issue(HOSTNAME)
    papers = {
        "good": ca.issue("mail.partner.example"),
        "expired": ca.issue("mail.partner.example", expired=True),
        "self-signed": ca.issue("mail.partner.example", self_signed=True),
        "other purpose": ca.issue("mail.partner.example", purposes=("mail",)),
    }
    with (
        SmtpPeer() as sink,
        running(
            folder / "service", contoso(sink.host), recipients=mail_users("ben", "sam"),
            certificate=[{"chain": shown.chain, "key": shown.key}], delivery={"ca_bundle": ca.file},
        ) as service,
    ):  # fmt: skip
        yield World(service, sink, ca, papers)


def program(name: str) -> str:
    path = shutil.which(name)
    if path is None:
        pytest.skip(f"{name} is not installed (Debian: apt-get install {name})")
    return path


@pytest.mark.parametrize("options", [[], ["--tls"], ["--pipeline"], ["--protocol", "SMTP"]], ids=str)
def test_swaks(world: World, options: list[str]) -> None:
    before = len(world.sink.mails)
    command = [
        program("swaks"), "--server", f"127.0.0.1:{world.service.port}", "--from", "a@outside.example",
        "--to", "ben@contoso.com,sam@contoso.com", "--body", "..dots\n.", *options,
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, timeout=30, check=False)
    assert done.returncode == 0, done.stdout.decode()
    assert b"Queued as" in done.stdout
    mail = arrived(world.sink, before + 1)[-1]
    assert recipients(mail) == ["ben@contoso.com", "sam@contoso.com"]
    assert b"\r\n..dots\r\n.\r\n" in mail.content


def test_swaks_is_told_why_not(world: World) -> None:
    command = [
        program("swaks"), "--server", f"127.0.0.1:{world.service.port}", "--from", "a@outside.example",
        "--to", "nobody@contoso.com",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, timeout=30, check=False)
    assert done.returncode == 24, done.stdout.decode()  # swaks: no recipient was accepted
    assert b"550 5.4.1 Recipient address rejected: Access denied" in done.stdout


@pytest.mark.parametrize("kind", ["good", "expired", "self-signed", "other purpose"])
def test_openssl_with_a_client_certificate(world: World, kind: str) -> None:
    papers, before = world.papers[kind], len(world.sink.mails)
    talk = (
        b"EHLO openssl.test\r\nMAIL FROM:<a@outside.example>\r\nRCPT TO:<ben@contoso.com>\r\nDATA\r\n"
        + letter("a@outside.example", "ben@contoso.com", kind.replace(" ", "-")) + b".\r\nQUIT\r\n"
    )  # fmt: skip
    with subprocess.Popen(
        [
            program("openssl"), "s_client", "-starttls", "smtp", "-connect", f"127.0.0.1:{world.service.port}",
            "-cert", str(papers.chain), "-key", str(papers.key), "-CAfile", str(world.ca.file),
            "-verify_return_error", "-verify_hostname", HOSTNAME, "-nocommands", "-ign_eof",
        ],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    ) as process:  # fmt: skip
        output, _ = process.communicate(talk, timeout=30)
    assert b"Verification: OK" in output and b"Queued as" in output, output.decode("utf-8", "replace")
    arrived(world.sink, before + 1)
    message = output.partition(b"Queued as ")[2].split()[0].decode()
    row, = world.service.settled(message)
    assert row["inbound_connector"] == ""
    known = world.service.show(message)["known"]["certificate_in"]
    verdicts = {
        "good": "verifies under public",
        "expired": "does not verify: the certificate expired on",
        "self-signed": "does not verify: the certificate is self-signed",
        "other purpose": "does not verify: the certificate is for another purpose",
    }
    assert known.startswith("for mail.partner.example, ") and verdicts[kind] in known, known


def test_smtplib_in_verified_tls_with_a_name_in_utf8(world: World) -> None:
    before = len(world.sink.mails)
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = "jörg@outside.example", "ben@contoso.com", "Grüße"
    message.set_content("Häßlich\n.\n")
    context = ssl.create_default_context(cafile=str(world.ca.file))
    context.check_hostname = False  # the address is a number here; the chain is checked
    with smtplib.SMTP("127.0.0.1", world.service.port, "client.test", 20) as client:
        client.starttls(context=context)
        client.send_message(message)
    mail = arrived(world.sink, before + 1)[-1]
    assert "SMTPUTF8" in mail.mail and "jörg@outside.example" in mail.mail
    assert "UTF8SMTPS" in mail.content.decode()
