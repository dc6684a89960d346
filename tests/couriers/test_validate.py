"""Every server of a next hop looked over: which step fails, and that delivery does the same a moment later."""

from __future__ import annotations

import asyncio
import random
import socket
import ssl
from collections.abc import Sequence
from pathlib import Path

import pytest
from aiosmtpd.smtp import SMTP

from couriers.senders import QUICK, WallClock, cargo, courier, hop
from couriers.test_independent_servers import Taker
from couriers.test_tls_levels import LEVELS, NAME, TABLE, World, script, tls
from lockgate.couriers.settings import CourierSettings
from lockgate.couriers.validate import SmtpExaminer
from lockgate.mail.address import parse_address
from lockgate.mail.envelope import Envelope
from lockgate.mail.hop import DaneMode, Login, NextHop, TlsDemand
from lockgate.mail.outcome import Fate
from lockgate.mail.ruling import TlsLevel
from lockgate.mail.sts import StsMode, StsPolicy
from lockgate.mail.validation import StepName, StepOutcome, ValidationStep
from lockgate.probes.trust.resolver import DnsResolver
from lockgate.seams import Resolver, Unreachable
from lockgate.testing.clock import HandClock
from lockgate.testing.dns import ZoneResolver
from lockgate.testing.sts import ListedStsPolicies
from peers.certificates import Authority
from peers.dns_server import DnsServer
from peers.ports import free_port
from peers.smtp_peer import Script, SmtpPeer

BOB = "bob@there.test"
FROM = Envelope(parse_address("connectorvalidation@here.test"))

FAILS_AT = {
    "good": {},
    "whole chain": {},
    "no intermediate": {"chain": "chain", "name": "chain"},
    "self-signed": {"chain": "chain", "name": "chain"},
    "other CA": {"chain": "chain", "name": "chain"},
    "expired": {"chain": "chain", "name": "chain"},
    "not yet valid": {"chain": "chain", "name": "chain"},
    "wrong name": {"name": "name"},
    "common name only": {"name": "name"},
    "wrong purpose": {"chain": "chain", "name": "chain"},
    "client purpose": {"chain": "chain", "name": "chain"},
    "no EHLO": dict.fromkeys(("encryption", "chain", "name"), "ehlo"),
    "injection": dict.fromkeys(LEVELS, "starttls"),
    "nonsense with 220": dict.fromkeys(LEVELS, "starttls"),
    "leaves at STARTTLS": dict.fromkeys(LEVELS, "starttls"),
}
"""kind -> level -> the step that fails; for a kind that is not here STARTTLS fails at every level that demands TLS."""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("ca")
    ca = Authority(folder)
    return World(ca, Authority(folder, "Other CA"), Authority(folder, "Sub CA", under=ca))


def examiner(
    resolver: Resolver | None = None, sts: ListedStsPolicies | None = None, **settings: object
) -> SmtpExaminer:
    given: dict[str, object] = {"allowed": ("127.0.0.0/8", "::1"), "patience": QUICK, **settings}
    return SmtpExaminer(
        lambda: resolver or ZoneResolver(), CourierSettings(**given),  # type: ignore[arg-type]
        WallClock(), chance=random.Random(7), sts=sts,
    )  # fmt: skip


async def steps(where: NextHop, *recipients: str, look: SmtpExaminer | None = None, **settings: object):
    return await (look or examiner(**settings)).examine(where, FROM, recipients or (BOB,), 500)


def failures(found: Sequence[ValidationStep]) -> list[str]:
    return [step.step.value for step in found if step.outcome is StepOutcome.FAILED]


def the(found: Sequence[ValidationStep], step: StepName, server: str = "") -> ValidationStep:
    (one,) = [one for one in found if one.step is step and server in one.server]
    return one


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", TABLE)
async def test_the_verdict_is_what_delivery_does_a_moment_later(kind: str, level: str, world: World) -> None:
    with SmtpPeer(script(kind, world)) as peer:
        where = hop(peer.host, tls=LEVELS[level])
        found = await steps(where, ca_bundle=str(world.ca.file))
        looked = list(peer.sessions)
        sender = courier(ca_bundle=str(world.ca.file))
        try:
            (outcome,) = await sender.carry(where, cargo())
            delivered, told = outcome.fate is Fate.DELIVERED, ""
        except Unreachable as trouble:
            delivered, told = False, trouble.reply.text
        await sender.close()
        assert len(peer.mails) == delivered, "the look itself sends no mail"
    wrong = failures(found)
    assert (not wrong) is delivered, (wrong, told)
    demands = dict.fromkeys(("encryption", "chain", "name"), "starttls")
    expected = FAILS_AT.get(kind, demands).get(level)
    assert wrong == ([expected] if expected else [])
    assert all(step.fix for step in found if step.outcome is StepOutcome.FAILED)
    assert bool(the(found, StepName.STARTTLS).details.get("tls")) is (TABLE[kind][level] == "tls") or wrong
    if level != "opportunistic":  # neither MAIL nor RCPT in clear, not even to ask
        for session in looked:
            said = {line.split(b" ")[0] for line in session.clear.upper().split(b"\r\n") if line}
            assert all(word in (b"EHLO", b"STARTTLS", b"QUIT") or word.startswith(b"\x16") for word in said), said


async def test_a_certificate_is_told_whole(world: World) -> None:
    with SmtpPeer(tls(world.ca.issue(NAME, "other.partner.test"))) as peer:
        found = await steps(hop(peer.host, tls=LEVELS["name"]), ca_bundle=str(world.ca.file))
    chain = the(found, StepName.CHAIN)
    assert chain.outcome is StepOutcome.OK and str(world.ca.file) in chain.seen
    details = chain.details
    assert details["subject"] == f"CN={NAME}" and details["issuer"] == "CN=Test CA"
    assert details["names"] == [NAME, "other.partner.test"] and 28 <= details["days_left"] <= 30
    assert details["ca_file"] == str(world.ca.file) and not details["missing_issuer"]
    assert the(found, StepName.NAME).details["wanted"] == "*.partner.test"
    dial = the(found, StepName.DIAL)
    assert dial.details["greeting"] == "220 peer.test ESMTP" and dial.details["milliseconds"] >= 0
    ehlo = the(found, StepName.EHLO).details
    assert "STARTTLS" in ehlo["offered_in_clear"] and "PIPELINING" in ehlo["offered"]
    assert the(found, StepName.STARTTLS).seen.startswith("TLSv1.")


async def test_a_missing_intermediate_is_recognised(tmp_path: Path) -> None:
    root = Authority(tmp_path)
    middle = Authority(tmp_path, "Middle CA", under=root)
    with SmtpPeer(tls(middle.issue(NAME))) as peer:
        assert failures(await steps(hop(peer.host, tls=LEVELS["name"]), ca_bundle=str(root.file))) == []
    with SmtpPeer(tls(middle.issue(NAME, alone=True))) as peer:
        where = hop(peer.host, tls=LEVELS["name"])
        found = await steps(where, ca_bundle=str(root.file))
        with pytest.raises(Unreachable):
            await courier(ca_bundle=str(root.file)).carry(where, cargo())
    chain = the(found, StepName.CHAIN)
    assert chain.outcome is StepOutcome.FAILED
    assert chain.details["missing_issuer"] == "CN=Middle CA"
    assert "sent only its own certificate" in chain.seen and "intermediate certificate CN=Middle CA" in chain.fix
    assert the(found, StepName.NAME).outcome is StepOutcome.OK, "what is right is told as right"


async def test_a_pin_to_copy(world: World) -> None:
    mine, other = world.ca.issue(NAME, self_signed=True), world.ca.issue(NAME, self_signed=True)
    with SmtpPeer(tls(mine)) as peer:
        unpinned = await steps(hop(peer.host, tls=LEVELS["chain"]), ca_bundle=str(world.ca.file))
        assert f'pinned_keys = ["{mine.pin}"]' in the(unpinned, StepName.CHAIN).fix
        good = TlsDemand(TlsLevel.CERTIFICATE_VALIDATION, pins=(other.pin, mine.pin))
        found = await steps(hop(peer.host, tls=good), ca_bundle=str(world.ca.file))
        assert failures(found) == [] and mine.pin in the(found, StepName.PIN).seen
        wrong = TlsDemand(TlsLevel.CERTIFICATE_VALIDATION, pins=(other.pin,))
        found = await steps(hop(peer.host, tls=wrong), ca_bundle=str(world.ca.file))
        assert failures(found) == ["pin"] and mine.pin in the(found, StepName.PIN).fix
        with pytest.raises(Unreachable):
            await courier().carry(hop(peer.host, tls=wrong), cargo())
    with SmtpPeer(tls(world.ca.issue(NAME, self_signed=True, expired=True))) as peer:
        late = TlsDemand(TlsLevel.CERTIFICATE_VALIDATION, pins=("ab" * 32,))
        found = await steps(hop(peer.host, tls=late), ca_bundle=str(world.ca.file))
        assert failures(found) == ["pin"] and "expired" in the(found, StepName.PIN).seen


async def test_answers_to_sender_and_recipients() -> None:
    answers = {"no@there.test": "550 5.1.1 nobody", "later@there.test": "450 4.7.1 greylisted"}
    with SmtpPeer(Script(rcpt=answers)) as peer:
        found = await steps(hop(peer.host), BOB, "no@there.test", "later@there.test")
        asked = [step for step in found if step.step is StepName.RECIPIENT]
        assert [step.outcome.value for step in asked] == ["ok", "failed", "failed"]
        assert "550 5.1.1 nobody" in asked[1].seen and "greylisting" in asked[2].fix
        assert len(peer.sessions) == 1 and peer.mails == []
        assert peer.sessions[0].clear.count(b"MAIL FROM:<connectorvalidation@here.test>") == 3
        assert b"DATA" not in peer.sessions[0].clear and b"BDAT" not in peer.sessions[0].clear
    with SmtpPeer(Script(mail="550 5.7.1 go away")) as peer:
        found = await steps(hop(peer.host))
        assert failures(found) == ["recipient"] and "550 5.7.1 go away" in the(found, StepName.RECIPIENT).seen
    closing = {BOB: "421 4.7.0 too much", "next@there.test": "250 2.1.5 ok"}
    with SmtpPeer(Script(rcpt=closing)) as peer:
        found = await asyncio.wait_for(steps(hop(peer.host), BOB, "next@there.test"), 4)
        assert failures(found) == ["recipient", "recipient"], "what follows a farewell is not waited for"
    for moment in ("mail", "rcpt"):
        with SmtpPeer(Script(hang_up=moment)) as peer:
            found = await steps(hop(peer.host))
            assert failures(found) == ["recipient"] and "hung up" in the(found, StepName.RECIPIENT).seen


async def test_every_server_is_tried_and_not_only_the_first() -> None:
    dead = free_port()
    with SmtpPeer() as good, SmtpPeer(Script(greeting="554 5.7.1 no")) as rude:
        where = hop(f"127.0.0.1:{dead}", good.host, rude.host)
        found = await steps(where)
        assert the(found, StepName.DIAL, str(dead)).outcome is StepOutcome.FAILED
        assert "refused" in the(found, StepName.DIAL, str(dead)).seen.lower()
        assert the(found, StepName.DIAL, str(good.port)).outcome is StepOutcome.OK
        assert the(found, StepName.RECIPIENT, str(good.port)).outcome is StepOutcome.OK
        refused = the(found, StepName.DIAL, str(rude.port))
        assert refused.outcome is StepOutcome.FAILED and "554 5.7.1 no" in refused.seen
        assert len([step for step in found if step.step is StepName.RESOLVE]) == 3
        assert the(found, StepName.RECIPIENT, str(dead)).seen == "not reached"
        (outcome,) = await courier().carry(where, cargo())
        assert outcome.fate is Fate.DELIVERED, "delivery is content with one"


async def test_a_silent_server_is_waited_for_no_longer_than_delivery_waits() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        where = hop(f"127.0.0.1:{silent.getsockname()[1]}")
        patience = type(QUICK)(connect=1, greeting=0.3, hello=1, handshake=1)
        found = await asyncio.wait_for(steps(where, patience=patience), 5)
    assert failures(found) == ["dial"] and "did not answer in time" in the(found, StepName.DIAL).seen


def zone(peer: SmtpPeer, **records: list[str]) -> dict[tuple[str, str], list[str]]:
    return {
        ("two.test", "MX"): ["20 second.two.test.", "10 first.two.test."],
        ("first.two.test", "A"): ["127.0.0.1"],
        ("second.two.test", "A"): ["127.0.0.2"],
        ("null.test", "MX"): ["0 ."],
        ("half.test", "MX"): ["10 gone.half.test.", "20 first.two.test."],
        ("inside.test", "MX"): ["10 inside.test."],
        ("inside.test", "A"): ["169.254.169.254"],
        ("self.test", "MX"): ["10 mx.here.test."],
        ("mx.here.test", "A"): ["127.0.0.1"],
    }


async def test_by_mx_with_a_dns_of_the_tests_own() -> None:
    with SmtpPeer() as peer, SmtpPeer(Script(), "127.0.0.2", peer.port):
        async with DnsServer(zone(peer)) as server:
            resolver = DnsResolver([server.address], HandClock())
            settings = {"mx_port": peer.port, "own_names": ("mx.here.test",), "resolver": resolver}
            found = await steps(hop(mx="two.test"), **settings)
            assert failures(found) == []
            first = found[0]
            assert first.seen == "MX of two.test: 10 first.two.test, 20 second.two.test"
            assert {step.server.partition("[")[0] for step in found if step.step is StepName.DIAL} == {
                "first.two.test", "second.two.test",
            }  # fmt: skip
            found = await steps(hop(mx="half.test"), **settings)
            assert failures(found) == ["resolve"] and "gone.half.test" in str([s.seen for s in found])
            assert the(found, StepName.RECIPIENT).outcome is StepOutcome.OK
            for domain, said in (
                ("null.test", "MX of null.test: 0 ."),
                ("nowhere.test", "there is no such name"),
                ("inside.test", "a link-local or metadata address"),
                ("self.test", "this server itself"),
            ):
                found = await steps(hop(mx=domain), **settings)
                assert failures(found)[0] == "resolve", domain
                assert any(said in step.seen for step in found), (domain, found)
                assert not any(step.step is StepName.DIAL for step in found)
                with pytest.raises(Unreachable):
                    await courier(resolver, mx_port=peer.port, own_names=("mx.here.test",)).carry(
                        hop(mx=domain), cargo()
                    )


async def test_smart_hosts_that_lead_nowhere() -> None:
    hosts = {"bare.test": (), "inner.test": ("127.0.0.1",)}
    resolver = ZoneResolver({}, hosts, silent={"mute.test"}, forged={"lie.test"})
    for host, said in (
        ("ghost.test", "there is no such name in DNS"),
        ("bare.test", "has no address"),
        ("mute.test", "DNS gave no answer"),
        ("lie.test", "what DNS says is forged"),
        ("inner.test", "a loopback address"),
    ):
        found = await steps(hop(host), resolver=resolver, allowed=())
        assert failures(found) == ["resolve"] and said in found[0].seen and found[0].fix, found


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
async def test_is_our_certificate_asked_for(version: ssl.TLSVersion, world: World) -> None:
    def peer_that(asks: ssl.VerifyMode) -> Script:
        context = world.ca.issue(NAME).server_context()
        context.maximum_version = version
        context.load_verify_locations(world.ca.file)
        context.verify_mode = asks
        return Script(context=context)

    ours = world.ca.issue("mail.here.test")
    mine = TlsDemand(TlsLevel.ENCRYPTION_ONLY, certificate=str(ours.chain), key=str(ours.key))
    nothing = TlsDemand(TlsLevel.ENCRYPTION_ONLY)
    for asks, demand, outcome, said in (
        (ssl.CERT_NONE, mine, "skipped", "does not ask"),
        (ssl.CERT_OPTIONAL, nothing, "ok", "we have none, and it went on"),
        (ssl.CERT_OPTIONAL, mine, "ok", str(ours.chain)),
        (ssl.CERT_REQUIRED, mine, "ok", str(ours.chain)),
        (ssl.CERT_REQUIRED, nothing, "failed", "we have none, and ended the session"),
    ):
        with SmtpPeer(peer_that(asks)) as peer:
            where = hop(peer.host, tls=demand)
            found = await steps(where, ca_bundle=str(world.ca.file))
            step = the(found, StepName.CLIENT_CERTIFICATE)
            assert (step.outcome.value, said in step.seen) == (outcome, True), (asks, step)
            try:
                (carried,) = await courier(ca_bundle=str(world.ca.file)).carry(where, cargo())
                assert carried.fate is Fate.DELIVERED and failures(found) == []
            except Unreachable:
                assert failures(found) == ["client_certificate"]


async def test_a_login_and_files_that_are_missing(tmp_path: Path, world: World) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cret\n")
    login = Login("relay", f"file:{secret}")
    context = world.ca.issue(NAME).server_context()
    demand = TlsDemand(TlsLevel.ENCRYPTION_ONLY)
    for peer_script, failing in (
        (Script(context=context, extensions=("AUTH PLAIN",)), []),
        (Script(context=context, extensions=("AUTH PLAIN",), auth="535 5.7.8 no"), ["login"]),
        (Script(context=context), ["login"]),
    ):
        with SmtpPeer(peer_script) as peer:
            found = await steps(hop(peer.host, tls=demand, login=login))
            assert failures(found) == failing, found
            assert "s3cret" not in str(found)
    with SmtpPeer(Script(context=context)) as peer:
        gone = Login("relay", f"file:{secret}.gone")
        assert failures(await steps(hop(peer.host, tls=demand, login=gone))) == ["login"]
        missing = TlsDemand(TlsLevel.CERTIFICATE_VALIDATION, ca_file=str(tmp_path / "none.pem"))
        found = await steps(hop(peer.host, tls=missing))
        assert failures(found) == ["plan"] and "none.pem" in the(found, StepName.PLAN).seen
        assert peer.sessions == []


async def test_aiosmtpd_says_the_same(world: World) -> None:
    loop = asyncio.get_running_loop()
    context = world.ca.issue(NAME).server_context()
    server = await loop.create_server(lambda: SMTP(Taker(), hostname="x.test", tls_context=context), "127.0.0.1", 0)
    try:
        host = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        found = await steps(hop(host, tls=LEVELS["name"]), "a@x.test", "no@x.test", ca_bundle=str(world.ca.file))
        assert failures(found) == ["recipient"]
        assert [step.recipient for step in found if step.outcome is StepOutcome.FAILED] == ["no@x.test"]
        await asyncio.sleep(0.1)
    finally:
        server.close()


async def test_what_dns_and_the_domain_demand_are_steps(tmp_path: Path) -> None:
    from couriers.test_dane import DOMAIN, tlsa
    from couriers.test_dane import NAME as EXCHANGER
    from couriers.test_dane import zone as proven

    ca = Authority(tmp_path)
    own, other = ca.issue("not.the.name.test", self_signed=True), ca.issue(EXCHANGER, self_signed=True)
    by_mx = hop(mx=DOMAIN, dane=DaneMode.OPPORTUNISTIC, sts=True, organisation="contoso")
    mandatory = hop(mx=DOMAIN, dane=DaneMode.MANDATORY, organisation="contoso")
    enforced = ListedStsPolicies([StsPolicy(DOMAIN, StsMode.ENFORCE, (EXCHANGER,), "1", 2e10)])
    elsewhere = ListedStsPolicies([StsPolicy(DOMAIN, StsMode.ENFORCE, ("mx.else.test",), "1", 2e10)])
    testing = ListedStsPolicies([StsPolicy(DOMAIN, StsMode.TESTING, (EXCHANGER,), "1", 2e10)])
    for where, records, policies, failing in (
        (by_mx, (own,), None, []),
        (by_mx, (other,), None, ["dane"]),
        (by_mx, (), None, []),
        (mandatory, (), None, ["dane"]),
        (mandatory, (own,), None, []),
        (by_mx, (), enforced, ["mta_sts"]),
        (by_mx, (), elsewhere, ["mta_sts"]),
        (by_mx, (), testing, []),
    ):
        with SmtpPeer(tls(own)) as peer:
            resolver = proven(peer, *[tlsa(papers) for papers in records])
            look = examiner(resolver, policies, mx_port=peer.port, ca_bundle=str(ca.file))
            found = await steps(where, look=look)
            assert failures(found) == failing, (where.dane, records, policies, found)
            sender = courier(resolver, sts=policies, mx_port=peer.port, ca_bundle=str(ca.file))
            try:
                (outcome,) = await sender.carry(where, cargo())
                assert outcome.fate is Fate.DELIVERED and not failing
            except Unreachable:
                assert failing
            await sender.close()


async def test_an_address_that_this_machine_cannot_reach_is_no_failure_if_another_is(monkeypatch) -> None:
    import errno

    from lockgate.couriers import dial

    dialled = dial._connected

    async def without_v6(loop: object, link: object, where: object) -> None:
        if ":" in link.target.address:  # type: ignore[attr-defined]
            raise OSError(errno.ENETUNREACH, "Network is unreachable")
        await dialled(loop, link, where)  # type: ignore[arg-type]

    monkeypatch.setattr(dial, "_connected", without_v6)
    with SmtpPeer() as peer:
        both = ZoneResolver({}, {"both.test": ("127.0.0.1", "2001:db8::25"), "six.test": ("2001:db8::25",)})
        found = await steps(hop(f"both.test:{peer.port}"), resolver=both)
        assert failures(found) == []
        away = the(found, StepName.DIAL, "2001:db8::25")
        assert away.outcome is StepOutcome.SKIPPED and "address_family" in away.fix
        assert failures(await steps(hop(f"six.test:{peer.port}"), resolver=both)) == ["dial"]
