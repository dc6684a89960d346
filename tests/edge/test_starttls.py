"""STARTTLS: nothing crosses the border between clear text and TLS (RFC 3207 4.2, CVE-2011-0411)."""

from __future__ import annotations

import asyncio
import ssl

import pytest

from edge.fake_visit import Notes, Peer, open_door
from edge.test_client_certificates import ROOT, US, client_context, our_certificates, send_over_tls
from lockgate.edge.certificates import Certificates
from lockgate.edge.shown import CertificateFiles


@pytest.mark.parametrize(
    "behind",
    [b"EHLO evil.test\r\n", b"MAIL FROM:<evil@x.test>\r\n", b"N", b"\r\n", b"RSET\r\nQUIT\r\n", b"\x16\x03\x01"],
)
async def test_octets_behind_starttls_are_refused_and_forgotten(tmp_path, behind):
    async with open_door(tmp_path, certificates=our_certificates(tmp_path)) as opened:
        peer = await Peer.dial(opened.port)
        await peer.reply()
        await peer.ask("EHLO client.test")
        peer.send(b"STARTTLS\r\n" + behind)
        assert (await peer.rest()).startswith(b"554 5.5.1 Nothing may follow STARTTLS")
        assert [entry[0] for entry in opened.hall.told] == ["connected", "greeted", "reset"]


async def test_clear_text_sent_during_the_handshake_breaks_it(tmp_path):
    async with open_door(tmp_path, certificates=our_certificates(tmp_path)) as opened:
        peer = await Peer.dial(opened.port)
        await peer.reply()
        await peer.ask("EHLO client.test")
        await peer.ask("STARTTLS")
        peer.send(b"MAIL FROM:<evil@x.test>\r\n")
        assert b"250" not in await peer.rest()
        assert opened.notes.happened("TLS handshake failed")
        assert "mail" not in [entry[0] for entry in opened.hall.told]


async def test_what_was_said_before_is_forgotten(tmp_path):
    async with open_door(tmp_path, certificates=our_certificates(tmp_path)) as opened:
        peer = await Peer.dial(opened.port)
        await peer.reply()
        await peer.ask("EHLO client.test")
        await peer.ask("STARTTLS")
        context = client_context(tmp_path, None, ssl.TLSVersion.TLSv1_3)
        await peer.writer.start_tls(context, server_hostname="mx.lockgate.test")
        assert (await peer.ask("MAIL FROM:<>")).startswith("503 5.5.1 Say EHLO first")
        offers = await peer.ask("EHLO client.test")
        assert "STARTTLS" not in offers and "REQUIRETLS" in offers
        assert (await peer.ask("STARTTLS")).startswith("503 5.5.1 TLS is active")
        assert (await peer.ask("MAIL FROM:<> REQUIRETLS")).startswith("250")
        await peer.hang_up()


@pytest.mark.parametrize(
    "before,command,code",
    [
        ([], "STARTTLS", "503"),
        (["EHLO x"], "STARTTLS now", "501"),
        (["EHLO x", "MAIL FROM:<>"], "STARTTLS", "503"),
        (["EHLO x", "MAIL FROM:<>", "RCPT TO:<a@b.test>"], "STARTTLS", "503"),
    ],
)
async def test_starttls_at_the_wrong_moment(tmp_path, before, command, code):
    async with open_door(tmp_path, certificates=our_certificates(tmp_path)) as opened:
        peer = await Peer.dial(opened.port)
        await peer.reply()
        for each in before:
            assert (await peer.ask(each)).startswith("250")
        assert (await peer.ask(command)).startswith(code)
        await peer.hang_up()


async def test_without_a_certificate_starttls_is_not_there(tmp_path):
    async with open_door(tmp_path) as opened:
        peer = await Peer.dial(opened.port)
        await peer.reply()
        assert "STARTTLS" not in await peer.ask("EHLO x")
        assert (await peer.ask("STARTTLS")).startswith("502")
        await peer.hang_up()


async def test_old_protocols_are_refused(tmp_path):
    async with open_door(tmp_path, certificates=our_certificates(tmp_path)) as opened:
        peer = await Peer.dial(opened.port)
        await peer.reply()
        await peer.ask("EHLO client.test")
        await peer.ask("STARTTLS")
        context = client_context(tmp_path, None, ssl.TLSVersion.TLSv1_1)
        with pytest.raises((ssl.SSLError, ConnectionError)):
            await peer.writer.start_tls(context, server_hostname="mx.lockgate.test")
        assert opened.notes.happened("TLS handshake failed")


async def test_implicit_tls_greets_after_the_handshake(tmp_path):
    async with open_door(tmp_path, certificates=our_certificates(tmp_path), implicit_tls=True) as opened:
        context = client_context(tmp_path, None, ssl.TLSVersion.TLSv1_3)
        link = await asyncio.open_connection("127.0.0.1", opened.port, ssl=context, server_hostname="mx.lockgate.test")
        peer = Peer(*link)
        assert (await peer.reply()).startswith("220")
        assert (await send_over_tls(peer)).startswith("250 2.0.0 Queued")
        assert opened.hall.visits[0].connection.tls.version == "TLSv1.3"
        await peer.hang_up()


def test_implicit_tls_without_a_certificate_does_not_open(tmp_path):
    with pytest.raises(ValueError, match="needs a certificate"):
        asyncio.run(open_door(tmp_path, implicit_tls=True).__aenter__())


async def test_a_large_message_over_tls(tmp_path):
    async with open_door(tmp_path, certificates=our_certificates(tmp_path)) as opened:
        peer = await Peer.dial(opened.port)
        await peer.reply()
        await peer.ask("EHLO client.test")
        await peer.ask("STARTTLS")
        context = client_context(tmp_path, None, ssl.TLSVersion.TLSv1_3)
        await peer.writer.start_tls(context, server_hostname="mx.lockgate.test")
        message = b"0123456789\r\n" * 200_000
        await peer.ask("EHLO client.test")
        peer.send(b"MAIL FROM:<>\r\nRCPT TO:<b@x.test>\r\n")
        assert (await peer.reply())[:3] == (await peer.reply())[:3] == "250"
        peer.send(f"BDAT {len(message)} LAST\r\n".encode() + message)
        assert (await peer.reply()).startswith("250 2.0.0 Queued")
        assert opened.hall.taken == [message]
        await peer.hang_up()


async def presented(port: int, name: str) -> str:
    peer = await Peer.dial(port)
    await peer.reply()
    await peer.ask("EHLO client.test")
    await peer.ask("STARTTLS")
    context = ssl.create_default_context(cadata=ROOT.chain_pem.decode())
    context.check_hostname = False
    await peer.writer.start_tls(context, server_hostname=name)
    certificate = peer.writer.get_extra_info("peercert")
    await peer.hang_up()
    return certificate["subjectAltName"][0][1]


async def test_certificates_by_name_and_replaced_while_running(tmp_path):
    from edge.authority import make

    other = make("other.test", ["*.other.test"], issuer=ROOT)
    files = [CertificateFiles(*US.write(tmp_path, "us")), CertificateFiles(*other.write(tmp_path, "other"))]
    notes = Notes()
    certificates = Certificates(files, notes)
    async with open_door(tmp_path, certificates=certificates, notes=notes, refresh=10.0) as opened:
        assert await presented(opened.port, "mx.other.test") == "*.other.test"
        assert await presented(opened.port, "mx.lockgate.test") == "mx.lockgate.test"
        assert await presented(opened.port, "unknown.test") == "mx.lockgate.test"
        make("new.lockgate.test", ["new.lockgate.test"], issuer=ROOT).write(tmp_path, "us")
        await opened.pass_time(11)
        assert await presented(opened.port, "unknown.test") == "new.lockgate.test"
        assert notes.happened("certificate replaced")
        (tmp_path / "us.pem").write_text("garbage")
        assert not certificates.reload()
        assert notes.happened("certificate not replaced")
        assert await presented(opened.port, "unknown.test") == "new.lockgate.test"


def test_a_certificate_that_cannot_be_used_is_told_at_start(tmp_path):
    chain, _ = US.write(tmp_path, "us")
    _, key = ROOT.write(tmp_path, "root")
    with pytest.raises(ValueError, match=r"us\.pem"):
        Certificates([CertificateFiles(chain, key)], Notes())


def test_ca_files_are_read_again_when_they_change(tmp_path):
    notes = Notes()
    certificates = our_certificates(tmp_path, notes)
    file = tmp_path / "partner.pem"
    file.write_text("not a certificate")
    certificates.trust({})
    certificates.trust_files({"partner": str(file)})
    assert notes.happened("CA file not read") and certificates._stores == {}
    file.write_bytes(ROOT.chain_pem)
    certificates.refresh()
    assert certificates._stores["partner"].roots == (ROOT.certificate,)
    file.write_text("broken again")
    certificates.refresh()
    assert certificates._stores["partner"].roots == (ROOT.certificate,)
