"""DANE for SMTP (RFC 7672): what DNS proves opens the door, what it proves wrong or will not say keeps it shut."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from couriers.senders import WallClock, cargo, courier, hop
from lockgate.couriers.dane import usable
from lockgate.mail.hop import DaneMode, TlsDemand
from lockgate.mail.outcome import Fate
from lockgate.mail.ruling import TlsLevel
from lockgate.mail.sts import StsMode, StsPolicy
from lockgate.probes.trust.resolver import DnsResolver
from lockgate.seams import Unreachable
from lockgate.testing.dns import ZoneResolver
from lockgate.testing.reports import ListedTlsResults
from lockgate.testing.sts import ListedStsPolicies
from peers.certificates import Authority, Papers
from peers.ports import free_port
from peers.smtp_peer import Script, SmtpPeer
from peers.unbound import unbound

DOMAIN, NAME = "partner.test", "mx.partner.test"


@dataclass
class World:
    ca: Authority
    own: Papers
    expired: Papers
    anchored: Papers
    stranger: Papers
    elsewhere: Papers


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    ca = Authority(tmp_path_factory.mktemp("ca"))
    return World(
        ca=ca,
        own=ca.issue("not.the.name.test", self_signed=True),
        expired=ca.issue("not.the.name.test", self_signed=True, expired=True),
        anchored=ca.issue(NAME, root=True),
        stranger=ca.issue("mail.other.example", root=True),
        elsewhere=ca.issue(NAME, self_signed=True),
    )


def tlsa(papers: Papers | Authority, usage: int = 3, selector: int = 1, matching: int = 1) -> str:
    certificate = papers.certificate
    octets = certificate.public_bytes(Encoding.DER)
    if selector == 1:
        octets = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    digest = {0: octets, 1: hashlib.sha256(octets).digest(), 2: hashlib.sha512(octets).digest()}[matching]
    return f"{usage} {selector} {matching} {digest.hex()}"


def zone(peer: SmtpPeer, *records: str, signed: tuple[str, ...] | None = None, **more: object) -> ZoneResolver:
    base = f"_{peer.port}._tcp.{NAME}"
    given: dict[str, object] = {"signed": (DOMAIN, NAME, base) if signed is None else signed, **more}
    return ZoneResolver(
        {DOMAIN: [(10, NAME)]}, {NAME: ["127.0.0.1"]}, keys={base: records}, **given,  # type: ignore[arg-type]
    )  # fmt: skip


def by_mx(mode: DaneMode = DaneMode.OPPORTUNISTIC, **more: object):
    return hop(mx=DOMAIN, dane=mode, organisation="contoso", **more)


def said_in_clear(peer: SmtpPeer) -> set[bytes]:
    return {line.split(b" ")[0] for session in peer.sessions for line in session.clear.split(b"\r\n") if line}


async def attempt(peer: SmtpPeer, resolver: ZoneResolver, mode: DaneMode = DaneMode.OPPORTUNISTIC, **settings: object):
    """What became of it twice, the second time on a new connection: "tls", "clear" or the code, and what was noted."""
    results, before = ListedTlsResults(), len(peer.mails)
    sender = courier(resolver, results=results, mx_port=peer.port, messages=1, **settings)
    came: list[str] = []
    for _ in range(2):
        try:
            (outcome,) = await sender.carry(by_mx(mode), cargo())
        except Unreachable as trouble:
            assert not trouble.permanent
            came.append(trouble.reply.enhanced)
        else:
            assert outcome.fate is Fate.DELIVERED
            came.append("tls" if outcome.tls else "clear")
    await sender.close()
    assert came[0] == came[1], came
    noted = {(kind, result) for _, _, kind, result, _, _ in results.noted}
    if came[0] not in ("tls", "clear"):
        assert len(peer.mails) == before
    if came[0] != "clear":
        assert said_in_clear(peer) <= {b"EHLO", b"STARTTLS", b"QUIT"}
    return came[0], noted


GOOD = {("tlsa", "success")}
BAD = {("tlsa", "validation-failure")}


@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("matching", [0, 1, 2])
@pytest.mark.parametrize("shown", ["own", "expired", "anchored"])
async def test_the_servers_own_key_says_nothing_of_name_and_time(
    world: World, selector: int, matching: int, shown: str
) -> None:
    papers: Papers = getattr(world, shown)
    with SmtpPeer(Script(context=papers.server_context())) as peer:
        resolver = zone(peer, tlsa(papers, 3, selector, matching))
        assert await attempt(peer, resolver) == ("tls", GOOD)
        assert await attempt(peer, resolver, DaneMode.MANDATORY) == ("tls", GOOD)
        assert peer.sessions[0].sni == NAME
        wrong = zone(peer, tlsa(world.elsewhere, 3, selector, matching))
    with SmtpPeer(Script(context=papers.server_context()), port=peer.port) as again:
        assert await attempt(again, wrong) == ("4.7.323", BAD)


@pytest.mark.parametrize(("selector", "matching"), [(0, 0), (0, 1), (1, 1), (1, 2)])
async def test_a_trust_anchor_needs_chain_name_and_time(world: World, selector: int, matching: int) -> None:
    record = tlsa(world.ca, 2, selector, matching)
    expired = world.ca.issue(NAME, expired=True, root=True)
    for papers, expected in (
        (world.anchored, ("tls", GOOD)),
        (world.stranger, ("4.7.325", {("tlsa", "certificate-host-mismatch")})),
        (expired, ("4.7.322", {("tlsa", "certificate-expired")})),
        (world.elsewhere, ("4.7.323", BAD)),
    ):
        with SmtpPeer(Script(context=papers.server_context())) as peer:
            assert await attempt(peer, zone(peer, record)) == expected


async def test_names_that_do_below_a_trust_anchor(world: World) -> None:
    """RFC 7672 3.2.2: the base domain and the domain whose MX it is; a wildcard is one label."""
    record = tlsa(world.ca, 2)
    for name, expected in ((DOMAIN, "tls"), (f"*.{DOMAIN}", "tls"), ("*.test", "tls"), (f"*.{NAME}", "4.7.325")):
        papers = world.ca.issue(name, root=True)
        with SmtpPeer(Script(context=papers.server_context())) as peer:
            assert (await attempt(peer, zone(peer, record)))[0] == expected, name


async def test_without_proof_nothing_is_asked_and_nothing_demanded(world: World) -> None:
    with SmtpPeer(Script(context=world.own.server_context())) as peer:
        resolver = zone(peer, tlsa(world.elsewhere), signed=())
        assert await attempt(peer, resolver) == ("tls", {("no-policy-found", "success")})
        assert not [name for name, kind in resolver.asked if kind == "TLSA"]
        half = zone(peer, tlsa(world.elsewhere), signed=(DOMAIN,))
        assert (await attempt(peer, half))[0] == "tls", "the addresses are not proven"
        unproven = zone(peer, tlsa(world.elsewhere), signed=(DOMAIN, NAME))
        assert (await attempt(peer, unproven))[0] == "tls", "the TLSA records are not proven"
        assert (await attempt(peer, zone(peer)))[0] == "tls", "there is none"
        assert (await attempt(peer, zone(peer, tlsa(world.elsewhere)), DaneMode.NONE))[0] == "tls"
    with SmtpPeer() as peer:
        assert await attempt(peer, zone(peer)) == ("clear", {("no-policy-found", "starttls-not-supported")})


async def test_records_of_no_use_demand_encryption_and_no_more(world: World) -> None:
    for useless in (tlsa(world.elsewhere, 1), tlsa(world.elsewhere, 0), "3 1 7 abcd", "3 1 1 abcd", "255 1 1 00"):
        with SmtpPeer(Script(context=world.own.server_context())) as peer:
            assert await attempt(peer, zone(peer, useless)) == ("tls", GOOD)
            assert (await attempt(peer, zone(peer, useless), DaneMode.NONE))[0] == "tls"
        with SmtpPeer() as peer:
            resolver = zone(peer, useless)
            assert await attempt(peer, resolver) == ("4.7.321", {("tlsa", "starttls-not-supported")})
            assert await attempt(peer, resolver, DaneMode.MANDATORY) == ("4.7.323", {("tlsa", "tlsa-invalid")})


async def test_whoever_suppresses_the_answer_gets_no_mail(world: World) -> None:
    for kind in ("silent", "forged"):
        with SmtpPeer(Script(context=world.own.server_context())) as peer:
            resolver = zone(peer, tlsa(world.own), **{kind: [f"_{peer.port}._tcp.{NAME}"]})
            assert await attempt(peer, resolver) == ("4.7.324", {("tlsa", "dnssec-invalid")})
            assert peer.sessions == []
            for name in (DOMAIN, NAME):
                unproven = zone(peer, tlsa(world.own), **{kind: [name]})
                invalid = [("tlsa", "dnssec-invalid")] if kind == "forged" and name == DOMAIN else []
                code = "4.7.324" if kind == "forged" else "4.4.3"
                came, noted = await attempt(peer, unproven)
                assert (came, noted >= set(invalid)) == (code, True), (kind, name)
            assert peer.sessions == []


async def test_mandatory_waits_where_there_is_no_dane(world: World) -> None:
    with SmtpPeer(Script(context=world.anchored.server_context())) as peer:
        required = {("tlsa", "dane-required")}
        settings = {"ca_bundle": str(world.ca.file)}
        assert await attempt(peer, zone(peer), DaneMode.MANDATORY, **settings) == ("4.7.323", required)
        unsigned = zone(peer, signed=())
        assert await attempt(peer, unsigned, DaneMode.MANDATORY, **settings) == ("4.7.324", required)
        assert peer.sessions == []
        # A smart host is looked up only then, and needs no MX.
        for mode, expected in ((DaneMode.MANDATORY, "4.7.323"), (DaneMode.OPPORTUNISTIC, "tls")):
            resolver = zone(peer)
            where = hop(f"{NAME}:{peer.port}", dane=mode)
            try:
                (outcome,) = await courier(resolver).carry(where, cargo())
                assert outcome.tls and expected == "tls"
                assert resolver.asked == [(NAME, "any")]
            except Unreachable as trouble:
                assert trouble.reply.enhanced == expected
        where = hop(f"{NAME}:{peer.port}", dane=DaneMode.MANDATORY)
        (outcome,) = await courier(zone(peer, tlsa(world.anchored))).carry(where, cargo())
        assert outcome.tls
        with pytest.raises(Unreachable) as told:
            await courier(zone(peer)).carry(hop(peer.host, dane=DaneMode.MANDATORY), cargo())
        assert told.value.reply.enhanced == "4.7.324" and "by its address" in told.value.reply.text


async def test_starttls_missing_refused_or_broken_never_means_plain_text(world: World) -> None:
    for script, code in (
        (Script(), "4.7.321"),
        (Script(offer_tls=True, starttls="454 4.7.0 not now"), "4.7.5"),
        (Script(offer_tls=True, broken_tls=True), "4.7.5"),
        (Script(ehlo="500 5.5.1 what"), "4.4.316"),
    ):
        with SmtpPeer(script) as peer:
            assert (await attempt(peer, zone(peer, tlsa(world.own))))[0] == code


async def test_the_next_host_is_tried_when_one_does_not_prove_itself(world: World) -> None:
    port = free_port()
    with (
        SmtpPeer(Script(context=world.own.server_context()), port=port) as first,
        SmtpPeer(Script(context=world.anchored.server_context()), "127.0.0.2", port) as second,
    ):
        keys = {f"_{first.port}._tcp.{name}": [tlsa(world.anchored)] for name in ("a.test", "b.test")}
        resolver = ZoneResolver(
            {DOMAIN: [(10, "a.test"), (20, "b.test")]}, {"a.test": ["127.0.0.1"], "b.test": ["127.0.0.2"]},
            keys=keys, signed=(DOMAIN, "a.test", "b.test", *keys),
        )  # fmt: skip
        results = ListedTlsResults()
        sender = courier(resolver, mx_port=first.port, results=results)
        for _ in range(2):  # a kept connection is no new session
            (outcome,) = await sender.carry(by_mx(), cargo())
            assert outcome.host.startswith("b.test")
        assert first.mails == [] and len(second.mails) == 2
        assert results.noted == [
            ("contoso", DOMAIN, "tlsa", "validation-failure", "a.test", "127.0.0.1"),
            ("contoso", DOMAIN, "tlsa", "success", "b.test", results.noted[1][5]),
        ]
        await sender.close()


async def test_an_mx_that_is_an_alias(world: World) -> None:
    """RFC 7672 2.2.3: records at the end of a proven chain first, then at the name itself; never behind unproven."""
    real = "real.host.test"
    with SmtpPeer(Script(context=world.own.server_context())) as peer:
        at_end, at_name = f"_{peer.port}._tcp.{real}", f"_{peer.port}._tcp.{NAME}"

        def names(keys: dict[str, list[str]], *signed: str) -> ZoneResolver:
            return ZoneResolver(
                {DOMAIN: [(10, NAME)]}, {real: ["127.0.0.1"]}, aliases={NAME: real}, keys=keys, signed=signed
            )

        good, bad = [tlsa(world.own)], [tlsa(world.elsewhere)]
        proven = (DOMAIN, NAME, real, at_end, at_name)
        assert (await attempt(peer, names({at_end: good, at_name: bad}, *proven)))[0] == "tls"
        assert peer.sessions[-1].sni == real
        assert (await attempt(peer, names({at_name: good}, *proven)))[0] == "tls"
        assert peer.sessions[-1].sni == NAME
        # The alias is proven, what it leads to is not: the name itself counts, the other end does not.
        half = (DOMAIN, NAME, at_name, at_end)
        assert (await attempt(peer, names({at_end: bad, at_name: good}, *half)))[0] == "tls"
        unproven = (DOMAIN, real, at_name, at_end)
        found = await attempt(peer, names({at_end: bad, at_name: bad}, *unproven))
        assert found == ("tls", {("no-policy-found", "success")})
    with SmtpPeer(Script(context=world.own.server_context())) as peer:
        bad_name = {f"_{peer.port}._tcp.{NAME}": [tlsa(world.elsewhere)]}
        resolver = ZoneResolver(
            {DOMAIN: [(10, NAME)]}, {real: ["127.0.0.1"]}, aliases={NAME: real}, keys=bad_name,
            signed=(DOMAIN, NAME, *bad_name),
        )  # fmt: skip
        assert (await attempt(peer, resolver))[0] == "4.7.323"


async def test_dane_goes_before_mta_sts(world: World) -> None:
    """RFC 8461 2: neither a policy that would be met lifts DANE, nor one that would not be stands beside it."""
    enforce = StsPolicy(DOMAIN, StsMode.ENFORCE, ("other.test",), "1", 2e10)
    covers = StsPolicy(DOMAIN, StsMode.ENFORCE, (NAME,), "1", 2e10)
    with SmtpPeer(Script(context=world.own.server_context())) as peer:
        sender = courier(zone(peer, tlsa(world.own)), mx_port=peer.port, sts=ListedStsPolicies([enforce]))
        (outcome,) = await sender.carry(by_mx(sts=True), cargo())
        assert outcome.fate is Fate.DELIVERED
    with SmtpPeer(Script(context=world.anchored.server_context())) as peer:
        resolver = zone(peer, tlsa(world.elsewhere))
        settings = {"mx_port": peer.port, "ca_bundle": str(world.ca.file)}
        sender = courier(resolver, sts=ListedStsPolicies([covers]), **settings)
        with pytest.raises(Unreachable) as told:
            await sender.carry(by_mx(sts=True), cargo())
        assert told.value.reply.enhanced == "4.7.323"


async def test_the_connectors_own_level_holds_beside_dane(world: World) -> None:
    with SmtpPeer(Script(context=world.own.server_context())) as peer:
        sender = courier(zone(peer, tlsa(world.own)), mx_port=peer.port, ca_bundle=str(world.ca.file))
        with pytest.raises(Unreachable) as told:
            await sender.carry(by_mx(tls=TlsDemand(TlsLevel.CERTIFICATE_VALIDATION)), cargo())
        assert "certificate_validation, DANE" in told.value.reply.text


def test_which_records_are_usable() -> None:
    a, b = "ab" * 32, "cd" * 64
    every = [f"{usage} 1 1 {a}" for usage in range(5)]
    assert [one.usage for one in usable(every)] == [2, 3]
    # Only the strongest digest of a kind counts (RFC 7671 9); what is not a digest always does.
    found = usable([f"3 1 1 {a}", f"3 1 2 {b[:64]} {b[64:]}", "3 1 0 00", f"3 0 1 {a}"])
    assert [(one.selector, one.matching) for one in found] == [(1, 2), (1, 0), (0, 1)]
    for nonsense in ("", "3", "3 1 1", "3 1 1 xyz", "x 1 1 00", "3 2 1 " + a, "3 1 0", "3 1 1 " + a + "ab"):
        assert usable([nonsense]) == ()


# --- with a resolver that really validates ---------------------------------------------------------------------------


async def test_with_unbound_and_a_zone_signed_for_this_run(world: World, tmp_path: Path) -> None:
    port = free_port()
    lines = "".join(
        f"{name} 300 IN MX 10 mx.{name}\nmx.{name} 300 IN A 127.0.0.1\n_{port}._tcp.mx.{name} 300 IN TLSA {data}\n"
        for name, data in (("good", tlsa(world.own)), ("wrong", tlsa(world.elsewhere)), ("odd", tlsa(world.own, 1)))
    )
    lines += "none 300 IN MX 10 mx.none\nmx.none 300 IN A 127.0.0.1\nhop 300 IN CNAME mx.good\nvia 300 IN MX 10 hop\n"
    with unbound(tmp_path, lines) as server, SmtpPeer(Script(context=world.own.server_context()), port=port) as peer:
        resolver = DnsResolver((server,), WallClock(), 5.0)
        sender = courier(resolver, mx_port=port)

        async def came(domain: str, mode: DaneMode = DaneMode.OPPORTUNISTIC) -> str:
            try:
                (outcome,) = await sender.carry(hop(mx=domain, dane=mode), cargo())
            except Unreachable as trouble:
                return trouble.reply.enhanced
            return "tls" if outcome.tls else "clear"

        assert await came("good.signed.test", DaneMode.MANDATORY) == "tls"
        assert peer.sessions[-1].sni == "mx.good.signed.test"
        assert await came("via.signed.test", DaneMode.MANDATORY) == "tls", "an MX that is an alias"
        assert await came("wrong.signed.test") == "4.7.323"
        assert await came("odd.signed.test") == "tls"
        assert await came("odd.signed.test", DaneMode.MANDATORY) == "4.7.323"
        assert await came("none.signed.test") == "tls"
        assert await came("none.signed.test", DaneMode.MANDATORY) == "4.7.323"
        await sender.close()
