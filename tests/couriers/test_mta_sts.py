"""MTA-STS applied (RFC 8461 4, 5), and how sessions are told of (RFC 8460)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from couriers.senders import cargo, courier, hop
from lockgate.mail.hop import DaneMode, TlsDemand
from lockgate.mail.outcome import Fate
from lockgate.mail.sts import StsMode, StsPolicy
from lockgate.seams import Unreachable
from lockgate.testing.dns import ZoneResolver
from lockgate.testing.reports import ListedTlsResults
from lockgate.testing.sts import ListedStsPolicies
from peers.certificates import Authority, Papers
from peers.ports import free_port
from peers.smtp_peer import Script, SmtpPeer

DOMAIN, NAME = "partner.test", "mx.partner.test"


@dataclass
class World:
    ca: Authority
    good: Papers
    intermediate: Authority


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    folder = tmp_path_factory.mktemp("ca")
    ca = Authority(folder)
    return World(ca, ca.issue(NAME), Authority(folder, "Sub CA", under=ca))


def policy(mode: StsMode = StsMode.ENFORCE, *mx: str) -> ListedStsPolicies:
    return ListedStsPolicies([StsPolicy(DOMAIN, mode, mx or (NAME,), "1", 2e10)])


async def attempt(peer: SmtpPeer, world: World, sts: ListedStsPolicies, **more: object):
    """What became of it, twice and each time on a new connection, and what was noted of each."""
    results = ListedTlsResults()
    resolver = ZoneResolver({DOMAIN: [(10, NAME)]}, {NAME: ["127.0.0.1"]})
    settings = {"ca_bundle": str(world.ca.file), "mx_port": peer.port, "messages": 1}
    sender = courier(resolver, results=results, sts=sts, **settings)
    before, came = len(peer.mails), list[str]()
    for _ in range(2):
        try:
            (outcome,) = await sender.carry(hop(mx=DOMAIN, sts=True, organisation="contoso", **more), cargo())
        except Unreachable as trouble:
            assert not trouble.permanent
            came.append(trouble.reply.enhanced)
        else:
            assert outcome.fate is Fate.DELIVERED
            came.append("tls" if outcome.tls else "clear")
    await sender.close()
    assert came[0] == came[1]
    noted = [(kind, result) for organisation, domain, kind, result, _, _ in results.noted]
    assert all(one[:2] == ("contoso", DOMAIN) for one in results.noted)
    assert all(not one[5] or one[5] == "127.0.0.1" for one in results.noted)
    if came[0] not in ("tls", "clear"):
        assert len(peer.mails) == before
        for session in peer.sessions:
            spoken = {line.split(b" ")[0] for line in session.clear.split(b"\r\n") if line}
            assert spoken <= {b"EHLO", b"STARTTLS", b"QUIT"}
    return came[0], noted[: len(noted) // 2]


def scripts(world: World) -> dict[str, tuple[Script, str, str, str]]:
    """peer -> its script, what becomes of mail under enforce and under testing, and the word for the failure."""
    ca = world.ca

    def tls(papers: Papers) -> Script:
        return Script(context=papers.server_context())

    other = Authority(ca.file.parent, "Other CA")
    return {
        "good": (tls(world.good), "tls", "tls", "success"),
        "wildcard": (tls(ca.issue("*.partner.test")), "tls", "tls", "success"),
        "intermediate": (tls(world.intermediate.issue(NAME)), "tls", "tls", "success"),
        "its chain is not whole": (
            tls(world.intermediate.issue(NAME, alone=True)), "4.7.5", "tls", "certificate-not-trusted"
        ),
        "self-signed": (tls(ca.issue(NAME, self_signed=True)), "4.7.5", "tls", "certificate-not-trusted"),
        "other CA": (tls(other.issue(NAME)), "4.7.5", "tls", "certificate-not-trusted"),
        "expired": (tls(ca.issue(NAME, expired=True)), "4.7.322", "tls", "certificate-expired"),
        "wrong name": (tls(ca.issue(DOMAIN)), "4.7.325", "tls", "certificate-host-mismatch"),
        "no STARTTLS": (Script(), "4.7.321", "clear", "starttls-not-supported"),
        "refused": (Script(offer_tls=True, starttls="454 4.7.0 no"), "4.7.5", "clear", "starttls-not-supported"),
        "broken": (Script(offer_tls=True, broken_tls=True), "4.7.5", "clear", "validation-failure"),
    }  # fmt: skip


NAMES = ("good", "wildcard", "intermediate", "its chain is not whole", "self-signed", "other CA", "expired",
         "wrong name", "no STARTTLS", "refused", "broken")  # fmt: skip


@pytest.mark.parametrize("kind", NAMES)
async def test_enforce_waits_and_testing_only_notes(world: World, kind: str) -> None:
    script, enforced, tested, word = scripts(world)[kind]
    for mode, expected in ((StsMode.ENFORCE, enforced), (StsMode.TESTING, tested)):
        with SmtpPeer(script) as peer:
            sts = policy(mode)
            assert await attempt(peer, world, sts) == (expected, [("sts", word)]), mode
            # What does not fit is looked up anew (RFC 8461 3.3).
            assert sts.rechecked == ([] if word == "success" else [DOMAIN, DOMAIN])
    with SmtpPeer(script) as peer:
        came, noted = await attempt(peer, world, policy(StsMode.NONE))
        assert came == tested and noted[0][0] == "no-policy-found"
    with SmtpPeer(script) as peer:
        assert (await attempt(peer, world, ListedStsPolicies()))[0] == tested


async def test_only_hosts_of_the_policy_get_mail(world: World) -> None:
    with SmtpPeer(Script(context=world.good.server_context())) as peer:
        for mx, expected in ((("*.partner.test",), "tls"), (("other.test", "*.test"), "4.7.325")):
            sts = policy(StsMode.ENFORCE, *mx)
            found = await attempt(peer, world, sts)
            assert found == (expected, [("sts", "success" if expected == "tls" else "validation-failure")])
        before = len(peer.sessions)
        sts = policy(StsMode.ENFORCE, "other.test")
        assert (await attempt(peer, world, sts))[0] == "4.7.325"
        assert len(peer.sessions) == before, "it was not even dialled"
        assert sts.rechecked == [DOMAIN, DOMAIN]
        found = await attempt(peer, world, policy(StsMode.TESTING, "other.test"))
        assert found == ("tls", [("sts", "validation-failure")])


async def test_of_several_hosts_the_first_that_fits_is_taken(world: World) -> None:
    port = free_port()
    b = world.ca.issue("b.partner.test")
    with (
        SmtpPeer(Script(context=world.good.server_context()), port=port) as first,
        SmtpPeer(Script(context=b.server_context()), "127.0.0.2", port) as second,
        SmtpPeer(Script(context=b.server_context()), "127.0.0.3", port) as third,
    ):
        hosts = {"a.test": ["127.0.0.1"], "a.partner.test": ["127.0.0.3"], "b.partner.test": ["127.0.0.2"]}
        exchangers = [(10, "a.test"), (20, "a.partner.test"), (30, "b.partner.test")]
        results = ListedTlsResults()
        sender = courier(
            ZoneResolver({DOMAIN: exchangers}, hosts), sts=policy(StsMode.ENFORCE, "*.partner.test"), results=results,
            ca_bundle=str(world.ca.file), mx_port=port, hosts=2,
        )  # fmt: skip
        for _ in range(3):  # kept connections are no new sessions
            (outcome,) = await sender.carry(hop(mx=DOMAIN, sts=True, organisation="contoso"), cargo())
            assert outcome.host.startswith("b.partner.test")
            assert outcome.tls.startswith("TLSv1.3 ") and outcome.tls.endswith("; checked by MTA-STS")
            assert "; certificate of b.partner.test by CN=Test CA until 20" in outcome.tls
        assert [len(peer.sessions) for peer in (first, second, third)] == [0, 1, 1]
        assert [(result, mx) for _, _, _, result, mx, _ in results.noted] == [
            ("validation-failure", "a.test"), ("certificate-host-mismatch", "a.partner.test"),
            ("success", "b.partner.test"),
        ]  # fmt: skip
        await sender.close()


async def test_smart_hosts_and_switched_off_connectors_do_not_ask(world: World) -> None:
    class Loud(ListedStsPolicies):
        async def policy_for(self, domain: str) -> StsPolicy | None:
            raise AssertionError(domain)

    with SmtpPeer(Script(context=world.ca.issue(NAME, self_signed=True).server_context())) as peer:
        results = ListedTlsResults()
        resolver = ZoneResolver({DOMAIN: [(10, NAME)]}, {NAME: ["127.0.0.1"]})
        sender = courier(resolver, sts=Loud(), results=results, mx_port=peer.port)
        for where in (hop(f"{NAME}:{peer.port}", sts=True, organisation="contoso"), hop(mx=DOMAIN)):
            (outcome,) = await sender.carry(where, cargo())
            assert outcome.fate is Fate.DELIVERED
        assert resolver.asked[0] == (NAME, "any"), "nothing is asked about a smart host but its address"
        assert {kind for _, kind in resolver.asked} == {"any", "MX"}
        assert results.noted == []
        await sender.close()


# --- REQUIRETLS ------------------------------------------------------------------------------------------------------


async def test_requiretls_tries_every_server_before_it_fails(world: World) -> None:
    """RFC 8689 4.2.1: another server may promise it; 5.7.30 when none does, and trouble that may pass is waited for."""
    port = free_port()
    a, b = world.ca.issue("a.partner.test"), world.ca.issue("b.partner.test")
    promises = ("PIPELINING", "REQUIRETLS")
    with (
        SmtpPeer(Script(context=a.server_context()), port=port) as first,
        SmtpPeer(Script(context=b.server_context(), extensions=promises), "127.0.0.2", port) as second,
    ):
        hosts = {"a.partner.test": ["127.0.0.1"], "b.partner.test": ["127.0.0.2"]}
        resolver = ZoneResolver({DOMAIN: [(10, "a.partner.test"), (20, "b.partner.test")]}, hosts)
        settings = {"ca_bundle": str(world.ca.file), "mx_port": port}
        sender = courier(resolver, **settings)
        (outcome,) = await sender.carry(hop(mx=DOMAIN, require_tls=True), cargo(require_tls=True))
        assert outcome.host.startswith("b.partner.test")
        assert second.mails[0].mail.endswith("REQUIRETLS") and first.mails == []
        await sender.close()
        # The one that promises it shows a name that is not its own: that may be mended.
        second.script = Script(context=a.server_context(), extensions=promises)
        with pytest.raises(Unreachable) as told:
            await courier(resolver, **settings).carry(hop(mx=DOMAIN, require_tls=True), cargo(require_tls=True))
        assert (told.value.permanent, told.value.reply.enhanced) == (False, "4.7.325")
        assert "(REQUIRETLS)" in told.value.reply.text
        second.script = Script(context=b.server_context())
        with pytest.raises(Unreachable) as told:
            await courier(resolver, **settings).carry(hop(mx=DOMAIN, require_tls=True), cargo(require_tls=True))
        assert (told.value.permanent, told.value.reply.enhanced) == (True, "5.7.30")
        # Promised in clear only: a promise of whoever sits in between.
        assert all(b"MAIL" not in session.clear for session in (*first.sessions, *second.sessions))


async def test_requiretls_is_content_with_what_dns_proves(world: World) -> None:
    own = world.ca.issue("other.test", self_signed=True)
    with SmtpPeer(Script(context=own.server_context(), extensions=("REQUIRETLS",))) as peer:
        base = f"_{peer.port}._tcp.{NAME}"
        digest = hashlib.sha256(own.certificate.public_bytes(Encoding.DER)).hexdigest()
        resolver = ZoneResolver(
            {DOMAIN: [(10, NAME)]}, {NAME: ["127.0.0.1"]}, keys={base: [f"3 0 1 {digest}"]}, signed=(DOMAIN, NAME, base)
        )
        sender = courier(resolver, mx_port=peer.port, ca_bundle=str(world.ca.file))
        where = hop(mx=DOMAIN, require_tls=True, dane=DaneMode.OPPORTUNISTIC)
        (outcome,) = await sender.carry(where, cargo(require_tls=True))
        assert outcome.fate is Fate.DELIVERED
        pinned = hop(peer.host, tls=TlsDemand(pins=(own.pin,)), require_tls=True)
        (outcome,) = await courier().carry(pinned, cargo(require_tls=True))
        assert outcome.fate is Fate.DELIVERED
        await sender.close()
