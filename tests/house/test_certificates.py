"""Certificates of the running service: ordered from a real authority, renewed, replaced, told of before they end."""

from __future__ import annotations

import datetime as dt
import json
import smtplib
import socket
import ssl
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from edge.authority import make
from edge.test_client_certificates import KINDS, ROOT, VERSIONS, client_context
from peers.certificates import Authority
from peers.contoso import mail_users
from peers.pebble import Pebble, needs_pebble, pebble
from peers.service import HOSTNAME, Service, running

POLICY = """
[[organisation]]
name = "contoso"

[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true
default = true

[[outbound_connector]]
name = "World"
use_mx_record = false
smart_hosts = ["127.0.0.1:9"]
recipient_domains = ["*"]
"""


def acme_of(authority: Pebble, **more: Any) -> dict[str, Any]:
    settings = {
        "directory": authority.directory, "terms_agreed": True, "contact": ["admin@contoso.com"],
        "ca_file": str(authority.ca_file), "listener": [{"address": "127.0.0.1", "port": authority.http_port}],
        "timeout": "30s",
    }  # fmt: skip
    return {**settings, **more}


def shown(port: int, name: str = HOSTNAME, ciphers: str = "") -> x509.Certificate | None:
    """What a client that asks for this name is shown; None: nobody offers STARTTLS."""
    with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
        client.ehlo()
        if not client.has_extn("starttls"):
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        if ciphers:
            context.maximum_version = ssl.TLSVersion.TLSv1_2
            context.set_ciphers(ciphers)
        client._host = name  # what smtplib puts into SNI
        client.starttls(context=context)
        assert isinstance(client.sock, ssl.SSLSocket)
        return x509.load_der_x509_certificate(client.sock.getpeercert(binary_form=True) or b"")


def names_of(certificate: x509.Certificate | None) -> set[str]:
    assert certificate is not None
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return set(names.get_values_for_type(x509.DNSName))


@pytest.fixture
def authority(tmp_path: Path) -> Iterator[Pebble]:
    with pebble(tmp_path / "pebble", PEBBLE_WFE_NONCEREJECT="20") as here:
        yield here


@pytest.fixture
def service(tmp_path: Path, authority: Pebble) -> Iterator[Service]:
    acme = acme_of(authority, names=["mail.contoso.com"], mta_sts=True)
    with running(tmp_path / "service", POLICY, recipients=mail_users("ann"), acme=acme) as here:
        yield here


@needs_pebble
def test_ordered_shown_renewed(service: Service, authority: Pebble) -> None:
    """STARTTLS appears with the first certificate, without a restart; then both kinds by what clients can."""
    first = service.until(lambda: shown(service.port), "STARTTLS is offered", 60.0)
    service.until(lambda: settled(service), "all are there", 60.0)
    service.until(
        lambda: isinstance(kind(shown(service.port)), ec.EllipticCurvePublicKey)
        and isinstance(kind(shown(service.port, ciphers="aRSA")), rsa.RSAPublicKey),
        "ECDSA to who can, RSA to others",
    )
    assert names_of(first) == {HOSTNAME, "mail.contoso.com"}
    for name in (HOSTNAME, "mail.contoso.com", "unknown.test"):
        assert names_of(shown(service.port, name)) == {HOSTNAME, "mail.contoso.com"}
    sts = "mta-sts.contoso.com"
    service.until(lambda: names_of(shown(service.port, sts)) == {sts}, "its own name")
    verified(service.port, authority.root())

    code, out, _ = service.command("certificate", "list", "--json")
    assert code == 0, out
    rows = {row["order"]: row for row in json.loads(out)}
    assert set(rows) == {
        f"{HOSTNAME}.ecdsa", f"{HOSTNAME}.rsa", "mta-sts.contoso.com.ecdsa", "mta-sts.contoso.com.rsa", ""
    }  # fmt: skip
    ecdsa = rows[f"{HOSTNAME}.ecdsa"]
    assert ecdsa["matched"] == [HOSTNAME, "mail.contoso.com"] and ecdsa["key"] == "ecdsa" and ecdsa["days"] > 1
    assert rows[""]["kind"] == "CA certificate" and rows[""]["uses"] == ["[acme], ca_file"]
    assert Path(ecdsa["file"]).stat().st_mode & 0o777 == 0o600

    # A rehearsal and a dry run change nothing.
    before = Path(ecdsa["file"]).read_bytes()
    told = service.told("certificate", "renew", HOSTNAME, "--what-if")
    assert [row["certificate"] for row in told["certificates"]] == [f"{HOSTNAME}.ecdsa", f"{HOSTNAME}.rsa"]
    code, out, err = service.command("certificate", "order", f"{HOSTNAME}.ecdsa", "--staging", authority.directory)
    assert code == 0 and "nothing was put in place" in out, (out, err)
    assert Path(ecdsa["file"]).read_bytes() == before
    assert service.told("certificate", "renew")["certificates"] == []

    # A renewal reaches new connections within seconds, and who is here stays.
    with service.client() as client:
        client.secure()
        code, out, err = service.command("certificate", "renew", f"{HOSTNAME}.ecdsa")
        assert code == 0 and "is in place until" in out, (out, err)
        assert Path(ecdsa["file"]).read_bytes() != before
        service.until(lambda: serial(shown(service.port)) != serial(first), "the new one is shown", 15.0)
        assert client.letter("a@elsewhere.test", "ann@contoso.com")[0] == 250
    (row,) = service.told("certificate", "show", f"{HOSTNAME}.ecdsa")
    assert row["next_attempt"] > time.time() and row["failures"] == 0 and len(row["spki"]) == 64


def settled(service: Service) -> bool:
    _, out, _ = service.command("certificate", "list", "--json")
    return all(row["days"] for row in json.loads(out))


def kind(certificate: x509.Certificate | None) -> Any:
    return certificate.public_key() if certificate is not None else None


def serial(certificate: x509.Certificate | None) -> int:
    return certificate.serial_number if certificate is not None else 0


def verified(port: int, root: str) -> None:
    """The chain leads to the authority, intermediates included, as the standard library sees it."""
    context = ssl.create_default_context(cadata=root)
    for ciphers in ("aRSA", "aECDSA"):
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        context.set_ciphers(ciphers)
        with smtplib.SMTP("127.0.0.1", port, timeout=20) as client:
            client.ehlo()
            client._host = HOSTNAME
            assert client.starttls(context=context)[0] == 220


@needs_pebble
def test_what_cannot_be_ordered_is_told_and_rests(tmp_path: Path, authority: Pebble) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        listener = [{"address": "127.0.0.1", "port": taken.getsockname()[1]}]
        acme = acme_of(authority, key_types=["ecdsa"], listener=listener)
        with running(tmp_path / "service", POLICY, recipients=mail_users("ann"), acme=acme) as service:
            row = service.until(lambda: alerts(service, "certificate cannot be ordered"), "an alert", 30.0)[0]
            assert row["which"] == f"{HOSTNAME}.ecdsa" and "[[acme.listener]] 127.0.0.1" in row["details"]["because"]
            code, out, _ = service.command("certificate", "show", f"{HOSTNAME}.ecdsa", "--json")
            (row,) = json.loads(out)
            assert code == 1 and row["failures"] == 1 and row["next_attempt"] > time.time() + 3000
            code, out, _ = service.command("certificate", "renew")
            assert code == 1 and "was not ordered" in out
            assert service.send("a@elsewhere.test", "ann@contoso.com")  # mail does not wait for it
            service.stop()
            service.start()
            (row,) = json.loads(service.command("certificate", "show", f"{HOSTNAME}.ecdsa", "--json")[1])
            assert row["failures"] == 2  # the rest outlives a restart: authorities count failures


def alerts(service: Service, what: str) -> list[dict[str, Any]]:
    return [row for row in json.loads(service.command("alert", "list", "--json")[1]) if row["what"] == what]


def test_a_broken_pair_keeps_the_old_one_and_raises_an_alert(tmp_path: Path) -> None:
    folder = tmp_path / "tls"
    folder.mkdir()
    ca = Authority(folder)
    good, other = ca.issue(HOSTNAME), ca.issue(HOSTNAME)
    chain, key = folder / "us.pem", folder / "us.key"
    chain.write_bytes(good.chain.read_bytes())
    key.write_bytes(good.key.read_bytes())
    named = [{"chain": str(chain), "key": str(key)}]
    with running(tmp_path / "service", POLICY, recipients=mail_users("ann"), certificate=named) as service:
        assert serial(shown(service.port)) == good.certificate.serial_number
        chain.write_bytes(other.chain.read_bytes())  # its key does not come
        row = service.until(lambda: alerts(service, "certificate cannot be used"), "an alert", 45.0)[0]
        assert row["which"] == str(chain) and "the key is not that of the certificate" in row["details"]["because"]
        assert serial(shown(service.port)) == good.certificate.serial_number
        code, out, _ = service.command("certificate", "list")
        assert code == 1 and "the key is not that of the certificate" in out
        key.write_bytes(other.key.read_bytes())
        service.until(lambda: serial(shown(service.port)) == other.certificate.serial_number, "the new pair", 15.0)
        log = (service.folder / "lockgate.log").read_text()
        assert "certificate not replaced" in log and str(chain) in log


def test_odd_client_certificates_send_ordinary_mail(tmp_path: Path) -> None:
    """Every kind, under both versions, against the whole service: the handshake completes and the mail is taken."""
    folder = tmp_path / "tls"
    folder.mkdir()
    ours = make(HOSTNAME, [HOSTNAME], issuer=ROOT).write(folder, "us")
    named = [{"chain": ours[0], "key": ours[1]}]
    with running(tmp_path / "service", POLICY, recipients=mail_users("ann"), certificate=named) as service:
        for number, (name, (identity, *_)) in enumerate(KINDS.items()):
            for version in VERSIONS.values():
                context = client_context(folder, identity, version)
                with smtplib.SMTP("127.0.0.1", service.port, timeout=20) as client:
                    client._host = HOSTNAME
                    assert client.starttls(context=context)[0] == 220, name
                    letter = "Subject: x\r\n\r\nhello\r\n"
                    assert client.sendmail(f"a{number}@elsewhere.test", ["ann@contoso.com"], letter) == {}, name
        assert len(service.trace(recipient="ann@contoso.com")) == 2 * len(KINDS)


def test_commands_injected_behind_starttls_have_no_effect(tmp_path: Path) -> None:
    """CVE-2011-0411 against the whole service: refused, nothing is taken, nothing is answered inside TLS."""
    folder = tmp_path / "tls"
    folder.mkdir()
    ours = make(HOSTNAME, [HOSTNAME], issuer=ROOT).write(folder, "us")
    named = [{"chain": ours[0], "key": ours[1]}]
    injected = b"STARTTLS\r\nMAIL FROM:<evil@evil.test>\r\nRCPT TO:<ann@contoso.com>\r\nDATA\r\nSubject: x\r\n\r\n.\r\n"
    with running(tmp_path / "service", POLICY, recipients=mail_users("ann"), certificate=named) as service:
        with socket.create_connection(("127.0.0.1", service.port), 20) as sock:
            sock.recv(1000)
            sock.sendall(b"EHLO client.test\r\n")
            sock.recv(1000)
            sock.sendall(injected)
            said = b""
            while more := sock.recv(1000):
                said += more
        assert said.startswith(b"554 5.5.1 ") and said.count(b"\r\n") == 1
        assert service.trace(recipient="ann@contoso.com") == []


def test_what_ends_is_told_before_it_ends(tmp_path: Path) -> None:
    """Ours, a connector's client certificate, a CA file of a partner, and a revocation list in it."""
    folder = tmp_path / "tls"
    folder.mkdir()
    ca = Authority(folder)
    client, ours = ca.issue("client.contoso.com"), ca.issue(HOSTNAME)
    partner = folder / "partner.pem"
    partner.write_bytes(ca.file.read_bytes() + ca.revoke(client).read_bytes())
    policy = POLICY.replace('recipient_domains = ["*"]', f'recipient_domains = ["*"]\nca_file = "{partner}"\n'
                            f'certificate_file = "{client.chain}"\nkey_file = "{client.key}"')  # fmt: skip
    named = [{"chain": str(ours.chain), "key": str(ours.key)}]
    alarms = {"certificate_days": [60, 31, 7]}
    with running(tmp_path / "service", policy, certificate=named, alerts=alarms) as service:
        # These live for sixty days, thirty are left: more than a quarter, so nobody is told of them yet.
        rows = json.loads(service.command("certificate", "list", "--json")[1])
        by_kind = {row["kind"]: row for row in rows}
        assert set(by_kind) == {"certificate", "client certificate", "CA certificate", "revocation list"}
        assert by_kind["client certificate"]["uses"] == ["outbound connector contoso/World, certificate_file"]
        assert by_kind["CA certificate"]["uses"] == ["outbound connector contoso/World, ca_file"]
        assert by_kind["certificate"]["missing"] == ""  # a partner's CA file has its issuer
        assert 6 < by_kind["revocation list"]["days"] <= 7
        assert not alerts(service, "revocation list ends within 7 days")
        # Who changes the file is not asked to restart.
        now = dt.datetime.now(dt.UTC)
        partner.write_bytes(ca.file.read_bytes() + ca.revoke(until=now + dt.timedelta(hours=1)).read_bytes())
        row = service.until(lambda: alerts(service, "revocation list ends within 7 days"), "an alert", 45.0)[0]
        assert "put a newer list of Test CA" in row["details"]["do"]
