"""A real validating resolver tells what is proven, what is not, and what is forged."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from lockgate.app.checkup.names import validates
from lockgate.app.clock import SystemClock
from lockgate.app.config import parse_config
from lockgate.flow.checkup import Level
from lockgate.mail.authentication import DmarcVerdict, SpfVerdict
from lockgate.probes.trust.resolver import DnsResolver
from lockgate.probes.trust.sender import SenderCheck
from lockgate.seams import DnsBogus, DnsNone, DnsState, MxHost
from peers.unbound import unbound


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int]]:
    with unbound(tmp_path_factory.mktemp("unbound")) as address:
        yield address


@pytest.fixture
def ask(server: tuple[str, int]) -> DnsResolver:
    return DnsResolver((server,), SystemClock(), 5.0)


async def test_secure(ask: DnsResolver) -> None:
    for name, kind, records in (
        ("signed.test", "MX", (MxHost(10, "mx.signed.test"),)),
        ("mx.signed.test", "A", ("192.0.2.25",)),
        ("alias.signed.test", "A", ("192.0.2.25",)),
        ("_25._tcp.mx.signed.test", "TLSA", ("3 1 1 " + "ab" * 32,)),
        ("signed.test", "TXT", ("v=spf1 ip4:192.0.2.1 -all",)),
        ("mx.signed.test", "AAAA", ()),
    ):
        found = await ask.look_up(name, kind)
        assert (found.state, found.records, found.validated) == (DnsState.SECURE, records, True), (name, kind)
    found = await ask.look_up("nowhere.signed.test", "A")
    assert (found.state, found.validated) == (DnsState.NONE, True), "that there is no such name is proven too"
    with pytest.raises(DnsNone):
        await ask.mx("nowhere.signed.test")


async def test_insecure(ask: DnsResolver) -> None:
    found = await ask.look_up("www.plain.test", "A")
    assert (found.state, found.records, found.validated) == (DnsState.INSECURE, ("192.0.2.80",), False)
    found = await ask.look_up("nowhere.plain.test", "A")
    assert (found.state, found.validated) == (DnsState.NONE, False)
    found = await ask.look_up("outside.signed.test", "A")
    assert (found.state, found.records) == (DnsState.INSECURE, ("192.0.2.80",)), "a proven alias of what is not proven"


async def test_bogus(ask: DnsResolver) -> None:
    for kind in ("A", "MX", "TXT"):
        found = await ask.look_up("forged.signed.test", kind)
        assert (found.state, found.records, found.validated) == (DnsState.BOGUS, (), False), kind
        assert "DNSSEC validation failed" in found.why
    with pytest.raises(DnsBogus):
        await ask.addresses("forged.signed.test")


async def test_a_zone_that_cannot_be_asked_is_temporary_and_not_bogus(ask: DnsResolver) -> None:
    found = await ask.look_up("name.elsewhere.test", "A")
    assert (found.state, found.validated) == (DnsState.TEMPORARY, False)


async def test_what_is_forged_proves_nobody_and_condemns_nobody(ask: DnsResolver) -> None:
    check = SenderCheck(ask, SystemClock(), "mx.us.test")
    octets = b"From: a@forged.signed.test\r\nTo: b@us.test\r\n\r\nx\r\n"
    found = await check.authenticate("192.0.2.1", "h.test", "a@forged.signed.test", octets)
    assert (found.spf.verdict, found.dmarc.verdict) == (SpfVerdict.TEMPERROR, DmarcVerdict.TEMPERROR)
    assert "DNSSEC" in found.spf.problem and "DNSSEC" in found.dmarc.problem
    honest = octets.replace(b"forged.", b"")
    found = await check.authenticate("192.0.2.1", "h.test", "a@signed.test", honest)
    assert found.spf.verdict is SpfVerdict.PASS


async def test_doctor_says_whether_it_validates(ask: DnsResolver, server: tuple[str, int], tmp_path) -> None:
    def config(probe: str):
        text = f'hostname = "mx.us.test"\n[dns]\nresolvers = ["127.0.0.1"]\nport = {server[1]}\n{probe}'
        return parse_config(text, tmp_path / "lockgate.toml")

    found = await validates(ask, config('probe = "mx.signed.test"'), (server,))
    assert (found.level, found.what) == (Level.PASS, "the answer for mx.signed.test was validated")
    found = await validates(ask, config('probe = "www.plain.test"'), (server,))
    assert found.level is Level.WARN and "unbound" in found.mend
    found = await validates(ask, config('probe = "forged.signed.test"'), (server,))
    assert found.level is Level.WARN and "DNSSEC" in found.what
    found = await validates(ask, config(""), (server,))
    assert found.level is Level.PASS and "not looked at" in found.what
    found = await validates(ask, config('probe = "mx.signed.test"'), (("192.0.2.53", 53),))
    assert found.level is Level.WARN and "192.0.2.53" in found.what and "not on this machine" in found.what
