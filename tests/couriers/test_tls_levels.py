"""T-TLS-3, T-TLS-4: a table of peers and levels, with the peer's log: no MAIL, RCPT or body octet in clear."""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from pathlib import Path

import pytest

from couriers.senders import cargo, courier, hop
from lockgate.mail.hop import TlsDemand
from lockgate.mail.outcome import Fate
from lockgate.mail.ruling import TlsLevel
from lockgate.seams import Unreachable
from peers.certificates import Authority, Papers
from peers.smtp_peer import Script, SmtpPeer

NAME = "mail.partner.test"
LEVELS = {
    "opportunistic": TlsDemand(),
    "encryption": TlsDemand(TlsLevel.ENCRYPTION_ONLY),
    "chain": TlsDemand(TlsLevel.CERTIFICATE_VALIDATION),
    "name": TlsDemand(TlsLevel.DOMAIN_VALIDATION, name=f"*.{NAME.partition('.')[2]}"),
}

# peer -> level -> "tls" (delivered over TLS), "clear" (delivered in plain text), or the enhanced code of the refusal
TABLE = {
    "good": {"opportunistic": "tls", "encryption": "tls", "chain": "tls", "name": "tls"},
    "self-signed": {"opportunistic": "tls", "encryption": "tls", "chain": "4.7.5", "name": "4.7.5"},
    "other CA": {"opportunistic": "tls", "encryption": "tls", "chain": "4.7.5", "name": "4.7.5"},
    "expired": {"opportunistic": "tls", "encryption": "tls", "chain": "4.7.322", "name": "4.7.322"},
    "whole chain": {"opportunistic": "tls", "encryption": "tls", "chain": "tls", "name": "tls"},
    "no intermediate": {"opportunistic": "tls", "encryption": "tls", "chain": "4.7.5", "name": "4.7.5"},
    "not yet valid": {"opportunistic": "tls", "encryption": "tls", "chain": "4.7.5", "name": "4.7.5"},
    "wrong name": {"opportunistic": "tls", "encryption": "tls", "chain": "tls", "name": "4.7.325"},
    "common name only": {"opportunistic": "tls", "encryption": "tls", "chain": "tls", "name": "4.7.325"},
    "wrong purpose": {"opportunistic": "tls", "encryption": "tls", "chain": "4.7.5", "name": "4.7.5"},
    "client purpose": {"opportunistic": "tls", "encryption": "tls", "chain": "4.7.5", "name": "4.7.5"},
    "no STARTTLS": {"opportunistic": "clear", "encryption": "4.7.321", "chain": "4.7.321", "name": "4.7.321"},
    "no EHLO": {"opportunistic": "clear", "encryption": "4.4.316", "chain": "4.4.316", "name": "4.4.316"},
    "STARTTLS refused": {"opportunistic": "clear", "encryption": "4.7.5", "chain": "4.7.5", "name": "4.7.5"},
    "STARTTLS 5xx": {"opportunistic": "clear", "encryption": "4.7.5", "chain": "4.7.5", "name": "4.7.5"},
    "TLS broken": {"opportunistic": "clear", "encryption": "4.7.5", "chain": "4.7.5", "name": "4.7.5"},
    "TLS 1.0 only": {"opportunistic": "clear", "encryption": "4.7.5", "chain": "4.7.5", "name": "4.7.5"},
    "alert with 220": {"opportunistic": "clear", "encryption": "4.7.5", "chain": "4.7.5", "name": "4.7.5"},
    "hangs up": {"opportunistic": "clear", "encryption": "4.7.5", "chain": "4.7.5", "name": "4.7.5"},
    "hangs up at STARTTLS": {"opportunistic": "clear", "encryption": "4.7.5", "chain": "4.7.5", "name": "4.7.5"},
    "nonsense to STARTTLS": {"opportunistic": "clear", "encryption": "4.7.5", "chain": "4.7.5", "name": "4.7.5"},
    "leaves at STARTTLS": {"opportunistic": "4.7.5", "encryption": "4.7.5", "chain": "4.7.5", "name": "4.7.5"},
    "nonsense with 220": {"opportunistic": "4.7.5", "encryption": "4.7.5", "chain": "4.7.5", "name": "4.7.5"},
    "injection": {"opportunistic": "4.7.5", "encryption": "4.7.5", "chain": "4.7.5", "name": "4.7.5"},
}


@dataclass
class World:
    ca: Authority
    other: Authority
    below: Authority


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("ca")
    ca = Authority(folder)
    return World(ca, Authority(folder, "Other CA"), Authority(folder, "Sub CA", under=ca))


def tls_one() -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1
    context.maximum_version = ssl.TLSVersion.TLSv1
    return context


def script(kind: str, world: World) -> Script:
    ca = world.ca
    papers = {
        "good": lambda: ca.issue(NAME),
        "self-signed": lambda: ca.issue(NAME, self_signed=True),
        "other CA": lambda: world.other.issue(NAME),
        "expired": lambda: ca.issue(NAME, expired=True),
        "whole chain": lambda: world.below.issue(NAME),
        "no intermediate": lambda: world.below.issue(NAME, alone=True),
        "not yet valid": lambda: ca.issue(NAME, early=True),
        "wrong name": lambda: ca.issue("mail.other.example"),
        "common name only": lambda: ca.issue(common_name=NAME),
        "wrong purpose": lambda: ca.issue(NAME, purposes=("mail",)),
        "client purpose": lambda: ca.issue(NAME, purposes=("client",)),
    }
    if kind in papers:
        return tls(papers[kind]())
    if kind == "TLS 1.0 only":
        context, old = tls_one(), ca.issue(NAME)
        context.load_cert_chain(old.chain, old.key)
        return Script(context=context)
    if kind == "alert with 220":
        return Script(offer_tls=True, inject=b"\x15\x03\x03\x00\x02\x02\x46", broken_tls=True)
    if kind == "injection":
        return Script(context=ca.issue(NAME).server_context(), inject=b"250-peer.test\r\n250 AUTH PLAIN\r\n")
    return {
        "no STARTTLS": Script(),
        "no EHLO": Script(ehlo="500 5.5.1 what"),
        "STARTTLS refused": Script(offer_tls=True, starttls="454 4.7.0 not now"),
        "STARTTLS 5xx": Script(offer_tls=True, starttls="502 5.5.1 no"),
        "TLS broken": Script(offer_tls=True, broken_tls=True),
        "hangs up": Script(offer_tls=True, hang_up="handshake"),
        "hangs up at STARTTLS": Script(offer_tls=True, hang_up="starttls"),
        "nonsense to STARTTLS": Script(offer_tls=True, starttls="<html>"),
        "leaves at STARTTLS": Script(offer_tls=True, starttls="421 4.3.2 bye"),
        "nonsense with 220": Script(offer_tls=True, inject=b"<html>\r\n"),
    }[kind]


def tls(papers: Papers) -> Script:
    return Script(context=papers.server_context())


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", TABLE)
async def test_level_is_met_or_nothing_leaves(kind: str, level: str, world: World) -> None:
    """Twice, each time on a new connection: the second one may be resumed, and is judged all the same."""
    expected = TABLE[kind][level]
    with SmtpPeer(script(kind, world)) as peer:
        sender = courier(ca_bundle=str(world.ca.file), messages=1)
        where = hop(peer.host, tls=LEVELS[level])
        for turn in (1, 2):
            try:
                (outcome,) = await sender.carry(where, cargo())
            except Unreachable as trouble:
                assert trouble.reply.enhanced == expected, trouble.reply
                assert not trouble.permanent
                assert trouble.reply.temporary
                assert peer.mails == []
            else:
                assert outcome.fate is Fate.DELIVERED
                assert ("tls" if outcome.tls else "clear") == expected
                assert len(peer.mails) == turn
                assert bool(outcome.tls.startswith("TLSv1.")) == (expected == "tls")
        assert len(peer.sessions) >= 2
        await sender.close()
    if expected != "clear":
        for session in peer.sessions:
            said = session.clear.upper()
            spoken = [line for line in said.split(b"\r\n") if line]
            assert all(line.split(b" ")[0] in (b"EHLO", b"STARTTLS", b"QUIT") for line in spoken), said
            assert b"HELLO" not in said
            assert b"BODY" not in said


async def test_the_name_defaults_to_the_smart_host_as_configured(world: World) -> None:
    from lockgate.testing.dns import ZoneResolver

    resolver = ZoneResolver({}, {NAME: ("127.0.0.1",), "alias.test": ("127.0.0.1",)})
    demand = TlsDemand(TlsLevel.DOMAIN_VALIDATION)
    with SmtpPeer(tls(world.ca.issue(NAME))) as peer:
        sender = courier(resolver, ca_bundle=str(world.ca.file))
        (outcome,) = await sender.carry(hop(f"{NAME}.:{peer.port}", tls=demand), cargo())
        assert outcome.fate is Fate.DELIVERED
        assert peer.sessions[0].sni == NAME
        with pytest.raises(Unreachable) as told:
            await courier(resolver, ca_bundle=str(world.ca.file)).carry(
                hop(f"alias.test:{peer.port}", tls=demand), cargo()
            )
        assert told.value.reply.enhanced == "4.7.325"


async def test_a_name_learned_from_mx_is_never_enough(world: World) -> None:
    from lockgate.testing.dns import ZoneResolver

    resolver = ZoneResolver({"partner.test": [(10, NAME)]}, {NAME: ("127.0.0.1",)})
    with SmtpPeer(tls(world.ca.issue(NAME))) as peer:
        sender = courier(resolver, ca_bundle=str(world.ca.file), mx_port=peer.port)
        with pytest.raises(Unreachable) as told:
            await sender.carry(hop(mx="partner.test", tls=TlsDemand(TlsLevel.DOMAIN_VALIDATION)), cargo())
        assert told.value.reply.enhanced == "4.7.325"
        named = TlsDemand(TlsLevel.DOMAIN_VALIDATION, name="*.partner.test")
        (outcome,) = await sender.carry(hop(mx="partner.test", tls=named), cargo())
        assert outcome.fate is Fate.DELIVERED


async def test_pins_stand_in_for_the_chain(world: World) -> None:
    mine, next_key = world.ca.issue(NAME, self_signed=True), world.ca.issue(NAME, self_signed=True)
    demand = TlsDemand(TlsLevel.CERTIFICATE_VALIDATION, pins=(mine.pin, next_key.pin))
    for papers in (mine, next_key):
        with SmtpPeer(tls(papers)) as peer:
            (outcome,) = await courier().carry(hop(peer.host, tls=demand), cargo())
            assert outcome.fate is Fate.DELIVERED
    for papers in (world.ca.issue(NAME, self_signed=True), world.ca.issue(NAME)):
        with SmtpPeer(tls(papers)) as peer:
            with pytest.raises(Unreachable):
                await courier(ca_bundle=str(world.ca.file)).carry(hop(peer.host, tls=demand), cargo())
            assert peer.mails == []


async def test_a_connectors_own_ca_replaces_the_bundle(world: World) -> None:
    demand = TlsDemand(TlsLevel.CERTIFICATE_VALIDATION, ca_file=str(world.other.file))
    sender = courier(ca_bundle=str(world.ca.file))
    with SmtpPeer(tls(world.other.issue(NAME))) as peer:
        (outcome,) = await sender.carry(hop(peer.host, tls=demand), cargo())
        assert outcome.fate is Fate.DELIVERED
    with SmtpPeer(tls(world.ca.issue(NAME))) as peer, pytest.raises(Unreachable):
        await sender.carry(hop(peer.host, tls=demand), cargo())


async def test_a_revoked_certificate_is_refused(world: World) -> None:
    bad, good = world.ca.issue(NAME), world.ca.issue(NAME)
    settings = {"ca_bundle": str(world.ca.file), "crl_file": str(world.ca.revoke(bad))}
    demand = TlsDemand(TlsLevel.CERTIFICATE_VALIDATION)
    with SmtpPeer(tls(bad)) as peer:
        with pytest.raises(Unreachable) as told:
            await courier(**settings).carry(hop(peer.host, tls=demand), cargo())
        assert "revoked" in told.value.reply.text
    with SmtpPeer(tls(good)) as peer:
        (outcome,) = await courier(**settings).carry(hop(peer.host, tls=demand), cargo())
        assert outcome.fate is Fate.DELIVERED


async def test_our_certificate_is_presented_when_asked(world: World) -> None:
    ours = world.ca.issue("mail.here.test")
    context = world.ca.issue(NAME).server_context()
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(world.ca.file)
    demand = TlsDemand(TlsLevel.ENCRYPTION_ONLY, certificate=str(ours.chain), key=str(ours.key))
    with SmtpPeer(Script(context=context)) as peer:
        (outcome,) = await courier().carry(hop(peer.host, tls=demand), cargo())
        assert outcome.fate is Fate.DELIVERED
        assert peer.sessions[0].client_certificate == ours.certificate.public_bytes(_der())
        default = courier(certificate=str(ours.chain), key=str(ours.key))
        (outcome,) = await default.carry(hop(peer.host, tls=TlsDemand(TlsLevel.ENCRYPTION_ONLY)), cargo())
        assert outcome.fate is Fate.DELIVERED


async def test_missing_files_hold_the_mail(tmp_path: Path, world: World) -> None:
    with SmtpPeer(tls(world.ca.issue(NAME))) as peer:
        for demand in (
            TlsDemand(TlsLevel.CERTIFICATE_VALIDATION, ca_file=str(tmp_path / "none.pem")),
            TlsDemand(TlsLevel.ENCRYPTION_ONLY, certificate=str(tmp_path / "none.pem")),
        ):
            with pytest.raises(Unreachable) as told:
                await courier().carry(hop(peer.host, tls=demand), cargo())
            assert "none.pem" in told.value.reply.text
            assert not told.value.permanent
        assert peer.mails == []


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_sessions_are_resumed_and_judged_all_the_same(world: World, version: ssl.TLSVersion) -> None:
    good = world.ca.issue(NAME)
    context = good.server_context()
    context.maximum_version = version
    settings = {"ca_bundle": str(world.ca.file), "messages": 1, "crl_file": str(world.ca.revoke())}
    demand = TlsDemand(TlsLevel.DOMAIN_VALIDATION, name=NAME)
    with SmtpPeer(Script(context=context)) as peer:
        sender = courier(**settings)
        for _ in range(3):
            (outcome,) = await sender.carry(hop(peer.host, tls=demand), cargo())
            assert outcome.fate is Fate.DELIVERED
        assert [session.resumed for session in peer.sessions] == [False, True, True]
        # The session outlives the trust: the chain it began with is judged by the list of now.
        world.ca.revoke(good)
        with pytest.raises(Unreachable) as told:
            await sender.carry(hop(peer.host, tls=demand), cargo())
        assert "revoked" in told.value.reply.text
        # Another demand begins a session of its own.
        other = TlsDemand(TlsLevel.DOMAIN_VALIDATION, name="mail.other.example")
        with pytest.raises(Unreachable):
            await courier(**{**settings, "crl_file": ""}).carry(hop(peer.host, tls=other), cargo())
        assert len(peer.mails) == 3


async def test_requiretls_goes_only_to_servers_that_promise_it(world: World) -> None:
    named = TlsDemand(name=NAME)
    with SmtpPeer(tls(world.ca.issue(NAME))) as peer:
        sender = courier(ca_bundle=str(world.ca.file))
        with pytest.raises(Unreachable) as told:
            await sender.carry(hop(peer.host, tls=named), cargo(require_tls=True))
        assert (told.value.permanent, told.value.reply.enhanced) == (True, "5.7.30")
        assert b"MAIL" not in peer.sessions[0].clear + peer.sessions[0].secure
        peer.script = Script(context=peer.script.context, extensions=("PIPELINING", "REQUIRETLS"))
        with pytest.raises(Unreachable) as told:  # the name that was dialled is that of the address
            await courier(ca_bundle=str(world.ca.file)).carry(hop(peer.host), cargo(require_tls=True))
        assert (told.value.permanent, told.value.reply.enhanced) == (False, "4.7.325")
        sender = courier(ca_bundle=str(world.ca.file))
        (outcome,) = await sender.carry(hop(peer.host, tls=named), cargo(require_tls=True))
        assert outcome.fate is Fate.DELIVERED
        assert peer.mails[0].mail.endswith("REQUIRETLS")
        assert outcome.tls
    with SmtpPeer() as peer:
        with pytest.raises(Unreachable):
            await courier().carry(hop(peer.host), cargo(require_tls=True))
        assert b"MAIL" not in peer.sessions[0].clear


async def test_login_over_tls(world: World, tmp_path: Path) -> None:
    from lockgate.mail.hop import Login

    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    context = world.ca.issue(NAME).server_context()
    ways = {"AUTH PLAIN LOGIN": b"AUTH PLAIN AHUAczNjcmV0", "AUTH=LOGIN": b"AUTH LOGIN\r\ndQ==\r\nczNjcmV0"}
    for offered, said in ways.items():
        with SmtpPeer(Script(context=context, extensions=("PIPELINING", offered))) as peer:
            where = hop(peer.host, login=Login("u", f"file:{secret}"))
            (outcome,) = await courier().carry(where, cargo())
            assert outcome.fate is Fate.DELIVERED
            assert said in peer.sessions[0].secure
            assert b"czNjcmV0" not in peer.sessions[0].clear
    with SmtpPeer(Script(context=context, extensions=("AUTH PLAIN",), auth="535 5.7.8 wrong")) as peer:
        with pytest.raises(Unreachable) as told:
            await courier().carry(hop(peer.host, login=Login("u", f"file:{secret}")), cargo())
        assert told.value.reply.enhanced == "4.7.0"
        assert "s3cret" not in str(told.value)
    with SmtpPeer() as peer:
        with pytest.raises(Unreachable) as told:
            await courier().carry(hop(peer.host, login=Login("u", f"file:{secret}.gone")), cargo())
        assert peer.sessions == []


def _der() -> object:
    from cryptography.hazmat.primitives.serialization import Encoding

    return Encoding.DER
