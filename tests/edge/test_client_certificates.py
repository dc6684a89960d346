"""A handshake never decides: with every odd client certificate it completes, mail is taken, the facts are right."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import ssl
import subprocess

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from edge.authority import CLIENT, DAY, EMAIL, SERVER, long_chain, make
from edge.fake_visit import Hall, Notes, Peer, open_door
from lockgate.edge.certificates import NO_PUBLIC_STORE, PUBLIC, Certificates
from lockgate.edge.shown import CertificateFiles
from lockgate.wire.certificates import NO_PATH, SELF_SIGNED, read_store

ROOT = make("Public Root", ca=True)
PRIVATE = make("Partner Root", ca=True)
STRANGER = make("Nobody's Root", ca=True)
US = make("mx.lockgate.test", ["mx.lockgate.test"], issuer=ROOT)
NAME = "mail.partner.test"

KINDS = {
    "good": (make(NAME, [NAME], issuer=ROOT, purposes=[SERVER, CLIENT]), (PUBLIC,), ""),
    "serverAuth only": (make(NAME, [NAME], issuer=ROOT, purposes=[SERVER]), (PUBLIC,), ""),
    "private CA": (make(NAME, [NAME], issuer=PRIVATE), ("partner",), NO_PATH),
    "self-signed": (make(NAME, [NAME]), (), SELF_SIGNED),
    "expired": (make(NAME, [NAME], issuer=ROOT, start=-2 * DAY, end=-DAY), (), "expired on"),
    "not yet valid": (make(NAME, [NAME], issuer=ROOT, start=DAY, end=2 * DAY), (), "not valid before"),
    "unknown CA": (make(NAME, [NAME], issuer=STRANGER), (), NO_PATH),
    "wrong purpose": (make(NAME, [NAME], issuer=ROOT, purposes=[EMAIL]), (), "another purpose"),
    "no SAN": (make(NAME, issuer=ROOT), (PUBLIC,), ""),
    "small key": (make(NAME, [NAME], issuer=ROOT, small=True), (), "key"),
    "long chain": (long_chain(ROOT, 5, NAME), (PUBLIC,), ""),
    "very long chain": (long_chain(ROOT, 25, NAME), (), "depth"),
    "absent": (None, (), ""),
}
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def our_certificates(folder, notes=None) -> Certificates:
    certificates = Certificates([CertificateFiles(*US.write(folder, "us"))], notes or Notes())
    certificates.trust({PUBLIC: read_store(ROOT.chain_pem), "partner": read_store(PRIVATE.chain_pem)})
    return certificates


def client_context(folder, identity, version) -> ssl.SSLContext:
    context = ssl.create_default_context(cadata=ROOT.chain_pem.decode())
    context.set_ciphers("DEFAULT:@SECLEVEL=0")
    context.minimum_version = context.maximum_version = version
    if identity is not None:
        context.load_cert_chain(*identity.write(folder, "client"))
    return context


async def send_over_tls(peer: Peer) -> str:
    assert (await peer.ask("EHLO client.test")).startswith("250")
    assert (await peer.ask("MAIL FROM:<a@partner.test>")).startswith("250")
    assert (await peer.ask("RCPT TO:<b@lockgate.test>")).startswith("250")
    assert (await peer.ask("DATA")).startswith("354")
    return await peer.ask("Subject: x\r\n\r\nover TLS\r\n.")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("kind", KINDS)
async def test_any_certificate_completes_and_becomes_facts(tmp_path, kind, version):
    identity, trusted_by, trouble = KINDS[kind]
    async with open_door(tmp_path, certificates=our_certificates(tmp_path)) as opened:
        peer = await Peer.dial(opened.port)
        await peer.reply()
        assert "STARTTLS" in await peer.ask("EHLO client.test")
        assert (await peer.ask("STARTTLS")).startswith("220")
        context = client_context(tmp_path, identity, VERSIONS[version])
        await peer.writer.start_tls(context, server_hostname="mx.lockgate.test")
        assert (await send_over_tls(peer)).startswith("250 2.0.0 Queued")
        assert (await peer.ask("QUIT")).startswith("221")
        await peer.hang_up()
        (visit,) = opened.hall.visits
    tls = visit.tls
    assert tls.version == f"TLSv{version}" and tls.cipher and tls.server_name == "mx.lockgate.test"
    assert tls.trusted_by == trusted_by
    if identity is None:
        assert tls.certificate is None and tls.trouble == ""
        return
    assert (trouble in tls.trouble) if trouble else tls.trouble == ""
    facts, certificate = tls.certificate, identity.certificate
    assert facts.names == (() if kind == "no SAN" else (NAME,)) and facts.common_name == NAME
    assert facts.subject == f"CN={NAME}" and facts.serial == f"{certificate.serial_number:x}"
    assert facts.not_after == certificate.not_valid_after_utc.timestamp()
    spki = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    assert facts.spki_sha256 == hashlib.sha256(spki).hexdigest()
    assert facts.self_signed == (kind == "self-signed")
    assert opened.hall.taken == [b"Subject: x\r\n\r\nover TLS\r\n"]


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
async def test_openssl_s_client_sends_mail(tmp_path, version):
    chain, key = KINDS["self-signed"][0].write(tmp_path, "client")
    async with open_door(tmp_path, certificates=our_certificates(tmp_path)) as opened:
        process = await asyncio.create_subprocess_exec(
            *("openssl", "s_client", "-quiet", "-crlf", "-starttls", "smtp", version, "-cert", chain, "-key", key),
            *("-connect", f"127.0.0.1:{opened.port}"),
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        peer = Peer(process.stdout, process.stdin)
        for command in ("EHLO s.test", "MAIL FROM:<>", "RCPT TO:<b@x.test>", "DATA"):
            peer.send(command.encode() + b"\n")
            assert (await peer.reply()).startswith("354" if command == "DATA" else "250")
        peer.send(b"Subject: x\n\n.\n")
        assert (await peer.reply()).startswith("250 2.0.0 Queued")
        process.kill()
        await process.wait()
        assert opened.hall.visits[0].tls.certificate.self_signed


async def test_nothing_is_resumed(tmp_path):
    """A resumed session has lost the chain of the peer (DESIGN 5)."""
    for version in VERSIONS.values():
        async with open_door(tmp_path, certificates=our_certificates(tmp_path)) as opened:
            context = client_context(tmp_path, KINDS["good"][0], version)
            session = None
            for _ in range(2):
                peer = await Peer.dial(opened.port)
                await peer.reply()
                await peer.ask("EHLO c.test")
                await peer.ask("STARTTLS")
                link, out = ssl.MemoryBIO(), ssl.MemoryBIO()
                tls = context.wrap_bio(link, out, server_hostname="mx.lockgate.test", session=session)
                while True:
                    try:
                        tls.do_handshake()
                        break
                    except ssl.SSLWantReadError:
                        peer.send(out.read())
                        link.write(await peer.reader.read(65536))
                tls.write(b"EHLO c.test\r\n")
                peer.send(out.read())
                answer = b""
                while not answer:
                    link.write(await peer.reader.read(65536))
                    with contextlib.suppress(ssl.SSLWantReadError):
                        answer = tls.read(10)
                assert answer.startswith(b"250")
                assert not tls.session_reused
                session = tls.session
                await peer.hang_up()
            for visit in opened.hall.visits:
                assert visit.tls.trusted_by == (PUBLIC,)


async def test_without_a_bundle_the_facts_say_so(tmp_path):
    certificates = our_certificates(tmp_path)
    certificates.trust({})
    async with open_door(tmp_path, Hall(), certificates) as opened:
        peer = await Peer.dial(opened.port)
        await peer.reply()
        await peer.ask("EHLO client.test")
        await peer.ask("STARTTLS")
        context = client_context(tmp_path, KINDS["good"][0], VERSIONS["1.3"])
        await peer.writer.start_tls(context, server_hostname="mx.lockgate.test")
        await send_over_tls(peer)
        assert (opened.hall.visits[0].tls.trusted_by, opened.hall.visits[0].tls.trouble) == ((), NO_PUBLIC_STORE)
        await peer.hang_up()
