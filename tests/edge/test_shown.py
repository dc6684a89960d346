"""What is shown to whom: by name, by what the client can, and while files are being replaced."""

from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from OpenSSL import SSL

from edge.authority import Identity, make
from edge.fake_visit import Notes, Peer, open_door
from edge.test_client_certificates import ROOT, send_over_tls
from lockgate.edge.certificates import Certificates
from lockgate.edge.shown import CertificateFiles, Shown
from lockgate.wire.tls import TlsPipe
from peers.certificates import Authority

NAME = "mx.lockgate.test"
MIDDLE = {kind: make(f"Middle {kind}", issuer=ROOT, ca=True) for kind in ("ecdsa", "rsa")}


def pair(folder: Path, file: str, kind: str, *names: str) -> CertificateFiles:
    identity = make(names[0], list(names), issuer=MIDDLE[kind], rsa_key=kind == "rsa")
    return CertificateFiles(*identity.write(folder, file))


def shake(shown: Shown, name: str, version: int = SSL.TLS1_3_VERSION, ciphers: bytes = b"") -> list[x509.Certificate]:
    """The chain that a client is shown, over memory."""
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(version)
    context.set_max_proto_version(version)
    if ciphers:
        context.set_cipher_list(ciphers)
    assert shown.context is not None
    client = TlsPipe(context, server=False, server_name=name)
    server = TlsPipe(shown.context, server=True)
    for _ in range(5):
        client.handshake()
        server.feed(client.take())
        server.handshake()
        client.feed(server.take())
    assert client.handshake() and server.handshake()
    assert server.server_name == name
    return [x509.load_der_x509_certificate(der) for der in client.peer_chain()]


def is_rsa(chain: list[x509.Certificate]) -> bool:
    return isinstance(chain[0].public_key(), rsa.RSAPublicKey)


@pytest.mark.parametrize("order", [("ecdsa", "rsa"), ("rsa", "ecdsa")])
def test_ecdsa_to_who_can_and_rsa_to_others_each_with_its_own_chain(tmp_path, order):
    files = [pair(tmp_path, kind, kind, NAME) for kind in order]
    shown = Shown(files, Notes())
    for name in (NAME, "unknown.test"):
        for version in (SSL.TLS1_2_VERSION, SSL.TLS1_3_VERSION):
            chain = shake(shown, name, version)
            assert not is_rsa(chain)
            assert [one.subject for one in chain[1:]] == [MIDDLE["ecdsa"].certificate.subject]
        chain = shake(shown, name, SSL.TLS1_2_VERSION, b"ECDHE-RSA-AES128-GCM-SHA256")
        assert is_rsa(chain) and [one.subject for one in chain[1:]] == [MIDDLE["rsa"].certificate.subject]


def names_of(chain: list[x509.Certificate]) -> list[str]:
    names = chain[0].extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    return names.get_values_for_type(x509.DNSName)


def test_a_full_name_wins_over_a_wildcard_and_the_first_is_for_all_others(tmp_path):
    files = [
        pair(tmp_path, "wild", "ecdsa", "*.lockgate.test"),
        pair(tmp_path, "full", "ecdsa", NAME),
        pair(tmp_path, "wild-rsa", "rsa", "*.lockgate.test"),
    ]
    shown = Shown(files, Notes())
    assert names_of(shake(shown, NAME)) == [NAME]
    assert names_of(shake(shown, "mail.lockgate.test")) == ["*.lockgate.test"]
    assert names_of(shake(shown, "a.b.lockgate.test")) == ["*.lockgate.test"]  # the first, for want of a better one
    assert names_of(shake(shown, "other.test")) == ["*.lockgate.test"]
    # Who can only RSA gets the wildcard for the full name as well.
    chain = shake(shown, NAME, SSL.TLS1_2_VERSION, b"ECDHE-RSA-AES128-GCM-SHA256")
    assert is_rsa(chain) and names_of(chain) == ["*.lockgate.test"]


def test_names_of_others_are_never_shown_beside_ours(tmp_path):
    """The RSA certificate of another name does not stand in for ours, not even for clients that can nothing else."""
    files = [pair(tmp_path, "us", "ecdsa", NAME), pair(tmp_path, "other", "rsa", "other.test")]
    shown = Shown(files, Notes())
    with pytest.raises(Exception, match=r"alert handshake failure|no shared cipher|no suitable"):
        shake(shown, NAME, SSL.TLS1_2_VERSION, b"ECDHE-RSA-AES128-GCM-SHA256")


def test_one_broken_pair_costs_no_other_and_keeps_its_old_content(tmp_path):
    files = [pair(tmp_path, "us", "ecdsa", NAME), pair(tmp_path, "other", "ecdsa", "other.test")]
    notes = Notes()
    shown = Shown(files, notes)
    (tmp_path / "us.pem").write_text("garbage")
    new = pair(tmp_path, "other", "ecdsa", "other.test", "new.test")
    assert new == files[1]
    shown.refresh()
    assert names_of(shake(shown, NAME)) == [NAME] and names_of(shake(shown, "new.test")) == ["other.test", "new.test"]
    assert not notes.alarms  # half of a replacement, perhaps
    shown.refresh()
    (told,) = notes.alarms
    assert told[0] == "certificate not replaced" and told[1]["file"] == str(tmp_path / "us.pem")
    shown.refresh()
    assert len(notes.alarms) == 1
    assert not shown.reload() and len(notes.alarms) == 2
    pair(tmp_path, "us", "ecdsa", "back.test")
    shown.refresh()
    assert names_of(shake(shown, "unknown.test")) == ["back.test"]


def test_a_replacement_in_two_steps_is_no_alarm(tmp_path):
    (files,) = [pair(tmp_path, "us", "ecdsa", NAME)]
    notes = Notes()
    shown = Shown([files], notes)
    new = make("new.test", ["new.test"], issuer=ROOT)
    (tmp_path / "us.pem").write_bytes(new.chain_pem)
    shown.refresh()
    assert names_of(shake(shown, NAME)) == [NAME]
    (tmp_path / "us.key").write_bytes(new.key_pem)
    shown.refresh()
    assert names_of(shake(shown, NAME)) == ["new.test"] and not notes.alarms


def test_files_that_come_and_go(tmp_path):
    """The list may change while running; what is awaited need not be there."""
    listed: list[CertificateFiles] = [CertificateFiles(str(tmp_path / "a.pem"), str(tmp_path / "a.pem"), awaited=True)]
    notes = Notes()
    shown = Shown(listed, notes, lambda: listed)
    assert shown.context is None and notes.alarms
    one = make(NAME, [NAME], issuer=ROOT)
    (tmp_path / "a.pem").write_bytes(one.key_pem + one.chain_pem)  # key and chain in one file
    shown.refresh()
    assert names_of(shake(shown, NAME)) == [NAME]
    listed.append(pair(tmp_path, "b", "ecdsa", "b.test"))
    shown.refresh()
    assert names_of(shake(shown, "b.test")) == ["b.test"] and names_of(shake(shown, NAME)) == [NAME]
    del listed[0]
    shown.refresh()
    assert names_of(shake(shown, NAME)) == ["b.test"]


def test_a_key_of_another_certificate_is_refused_in_words(tmp_path):
    chain, _ = make(NAME, [NAME]).write(tmp_path, "us")
    for other in (make(NAME, [NAME]), make(NAME, [NAME], rsa_key=True)):
        _, key = other.write(tmp_path, "other")
        with pytest.raises(ValueError, match=r"us\.pem: .*the key is not that of the certificate"):
            Shown([CertificateFiles(chain, key)], Notes())


async def test_starttls_is_offered_from_the_first_certificate_on_and_nobody_is_dropped(tmp_path):
    files = CertificateFiles(str(tmp_path / "us.pem"), str(tmp_path / "us.key"), awaited=True)
    certificates = Certificates([files], Notes(), lambda: [files])
    async with open_door(tmp_path, certificates=certificates, refresh=5.0) as opened:
        early = await Peer.dial(opened.port)
        await early.reply()
        assert "STARTTLS" not in await early.ask("EHLO client.test")
        identity: Identity = make(NAME, [NAME], issuer=ROOT)
        identity.write(tmp_path, "us")
        await opened.pass_time(6)
        late = await Peer.dial(opened.port)
        await late.reply()
        assert "STARTTLS" in await late.ask("EHLO client.test")
        assert (await late.ask("STARTTLS")).startswith("220")
        context = ssl.create_default_context(cadata=ROOT.chain_pem.decode())
        await late.writer.start_tls(context, server_hostname=NAME)
        make(NAME, [NAME], issuer=ROOT).write(tmp_path, "us")  # replaced meanwhile
        await opened.pass_time(6)
        for peer in (early, late):
            assert (await send_over_tls(peer)).startswith("250 2.0.0 Queued")
            await peer.hang_up()
        await asyncio.sleep(0)


def test_a_revocation_list_in_the_ca_file_or_beside_it(tmp_path):
    ca = Authority(tmp_path)
    good, bad = ca.issue("good.test"), ca.issue("bad.test")
    us = pair(tmp_path, "us", "ecdsa", NAME)
    both = tmp_path / "both.pem"
    both.write_bytes(ca.file.read_bytes() + ca.revoke(bad).read_bytes())
    beside = ca.revoke(bad)
    for files, lists in (({"partner": str(both)}, ""), ({"partner": str(ca.file)}, str(beside))):
        certificates = Certificates([us], Notes())
        certificates.trust_files(files, lists)
        seen = {name: facts_of(certificates, papers) for name, papers in (("good", good), ("bad", bad))}
        assert seen == {"good": ("partner",), "bad": ()}
    beside.write_bytes(ca.revoke().read_bytes())
    certificates.refresh()
    assert facts_of(certificates, bad) == ("partner",)


def facts_of(certificates: Certificates, papers) -> tuple[str, ...]:
    from lockgate.wire.tls import client_context

    client = TlsPipe(client_context(papers.chain.read_bytes(), papers.key.read_bytes()), server=False)
    assert certificates.context is not None
    server = TlsPipe(certificates.context, server=True)
    for _ in range(5):
        client.handshake()
        server.feed(client.take())
        server.handshake()
        client.feed(server.take())
    return certificates.facts(server, papers.certificate.not_valid_before_utc.timestamp() + 30 * 86400).trusted_by
