"""Fetching MTA-STS policies: web servers and certificates good and bad, and where connections may go (RFC 8461 3.3)."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from lockgate.couriers.reach import Reach
from lockgate.mail.sts import StsMode
from lockgate.probes.trust.resolver import DnsResolver
from lockgate.probes.trust.sts_fetch import FetchFailed, FetchSettings, HttpsFetch
from peers.certificates import Authority
from peers.dns_server import DnsServer
from peers.policy_server import PolicyServer
from probes.sts_world import MovedClock, World, world_of


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with world_of(tmp_path) as world:
        yield world


# --- fetching


async def test_a_policy_is_found_and_kept(world: World) -> None:
    world.publish("far.test")
    keeper = world.keeper()
    policy = await keeper.policy_for("far.test")
    assert policy is not None
    assert (policy.mode, policy.mx, policy.id) == (StsMode.ENFORCE, ("mx.far.test",), "1")
    assert abs(policy.until - world.clock.now() - 604800) < 5
    assert policy.text == ("version: STSv1", "mode: enforce", "mx: mx.far.test", "max_age: 604800")
    assert world.web.names == ["mta-sts.far.test"]
    (head,) = world.web.asked
    assert head.startswith("GET /.well-known/mta-sts.txt HTTP/1.1\r\n") and "Host: mta-sts.far.test\r\n" in head
    assert "cookie" not in head.lower()
    (told,) = world.journal.named("MTA-STS policy found")
    assert told == {"domain": "far.test", "mode": "enforce", "mx": "mx.far.test", "days": "7.0"}


async def test_aliases_are_followed(world: World) -> None:
    world.publish("far.test")
    world.dns.zone["_mta-sts.d1.test", "CNAME"] = ["_mta-sts.far.test."]
    world.dns.zone["mta-sts.d1.test", "CNAME"] = ["mta-sts.far.test."]
    world.web.publish("d1.test")
    policy = await world.keeper().policy_for("d1.test")
    assert policy is not None and policy.mx == ("mx.d1.test",)
    assert world.web.names == ["mta-sts.d1.test"]  # the name asked for, never one learned from DNS


@pytest.mark.parametrize("mode", ["chunked", "charset"])
async def test_ways_of_delivering_that_are_right(world: World, mode: str) -> None:
    world.publish("far.test")
    world.web.mode = mode
    assert await world.keeper().policy_for("far.test") is not None


@pytest.mark.parametrize(
    ("mode", "why"),
    [
        ("redirect", "status 301"), ("status-404", "status 404"), ("status-206", "status 206"),
        ("status-500", "status 500"), ("html", "text/html instead of text/plain"), ("no-type", "no media type"),
        ("huge", "more than 65536 octets"), ("endless", "more than 65536 octets"), ("huge-head", ""),
        ("slow", "within 2 s"), ("silent", "within 2 s"), ("cut", ""), ("gzip", "compressed"), ("garbage", ""),
    ],
)  # fmt: skip
async def test_a_web_server_that_fails(world: World, mode: str, why: str) -> None:
    world.publish("far.test")
    world.web.mode = mode
    began = time.monotonic()
    with pytest.raises(FetchFailed, match=why or None) as found:
        await world.fetch(seconds=2.0)("far.test")
    assert time.monotonic() - began < 4.0
    assert found.value.word == "sts-policy-fetch-error" and str(found.value).isprintable()
    assert await world.keeper(fetch=2.0, first=4.0).policy_for("far.test") is None


async def test_what_is_delivered_must_be_a_policy(world: World) -> None:
    world.publish("far.test", text="version: STSv1\nmode: enforce\nmax_age: 5\n")
    keeper = world.keeper()
    assert await keeper.policy_for("far.test") is None
    (told,) = world.journal.named("MTA-STS policy not fetched")
    assert keeper.missing("far.test") == "sts-policy-invalid" and keeper.missing("unknown.test") == ""
    assert told["because"] == "what mta-sts.far.test delivers is no policy: it names no mx"


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("wrong name", "ostname mismatch"), ("expired", "expired"), ("early", "not yet valid"),
        ("self-signed", "self-signed"), ("unknown", ""), ("common name only", ""), ("client only", ""),
    ],
)  # fmt: skip
async def test_a_certificate_that_proves_nothing(tmp_path: Path, kind: str, why: str) -> None:
    trusted, name = Authority(tmp_path), "mta-sts.far.test"
    papers = {
        "wrong name": lambda: trusted.issue("far.test", "www.far.test", "*.mta-sts.far.test"),
        "expired": lambda: trusted.issue(name, expired=True),
        "early": lambda: trusted.issue(name, early=True),
        "self-signed": lambda: trusted.issue(name, self_signed=True),
        "unknown": lambda: Authority(tmp_path, "Other CA").issue(name),
        "common name only": lambda: trusted.issue(common_name=name),
        "client only": lambda: trusted.issue(name, purposes=("client",)),
    }[kind]()
    async with world_of(tmp_path, papers, trusted) as world:
        world.publish("far.test")
        with pytest.raises(FetchFailed, match=why or None) as found:
            await world.fetch()("far.test")
        assert found.value.word == "sts-webpki-invalid"
        assert not world.web.asked  # not even the question was sent
        assert await world.keeper().policy_for("far.test") is None


async def test_a_wildcard_certificate_is_right(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    async with world_of(tmp_path, authority.issue("*.far.test"), authority) as world:
        world.publish("far.test")
        assert await world.keeper().policy_for("far.test") is not None


async def test_without_a_bundle_there_is_no_fetch(world: World) -> None:
    world.publish("far.test")
    fetch = HttpsFetch(world.resolver(), FetchSettings("", world.web.port), lambda address, port: "")
    with pytest.raises(FetchFailed, match=r"no bundle of public CA certificates \(delivery.ca_bundle\)"):
        await fetch("far.test")
    fetch = HttpsFetch(world.resolver(), FetchSettings("/nowhere.pem", world.web.port), lambda address, port: "")
    with pytest.raises(FetchFailed, match="cannot be read"):
        await fetch("far.test")


async def test_a_bundle_that_was_replaced_is_taken_up(world: World, tmp_path: Path) -> None:
    world.publish("far.test")
    bundle = tmp_path / "bundle.pem"
    bundle.write_bytes(Authority(tmp_path, "Nobody").file.read_bytes())
    fetch = HttpsFetch(world.resolver(), FetchSettings(str(bundle), world.web.port), lambda address, port: "")
    with pytest.raises(FetchFailed):
        await fetch("far.test")
    fresh = tmp_path / "fresh.pem"
    fresh.write_bytes(world.authority.file.read_bytes())
    fresh.replace(bundle)
    assert (await fetch("far.test")).startswith(b"version")


# --- where connections may go (threats 3.5)


@pytest.mark.parametrize("address", ["127.0.0.1", "169.254.169.254", "0.0.0.0"])
async def test_a_policy_host_that_leads_inside_is_not_dialled(world: World, address: str) -> None:
    world.publish("far.test")
    world.announce("far.test", address=address)
    with pytest.raises(FetchFailed, match="may not be dialled"):
        await world.fetch(allowed=())("far.test")
    assert not world.web.connections


async def test_our_own_listeners_are_never_dialled(world: World) -> None:
    world.publish("far.test")
    with pytest.raises(FetchFailed, match="an address of this server itself"):
        await world.fetch(own=(f"127.0.0.1:{world.web.port}",))("far.test")
    assert not world.web.connections


async def test_of_several_addresses_only_those_that_may_be_dialled_are(world: World) -> None:
    world.publish("far.test")
    world.dns.zone["mta-sts.far.test", "A"] = ["169.254.169.254", "127.0.0.1"]
    world.dns.zone["mta-sts.far.test", "AAAA"] = ["::1", "fe80::1"]
    assert await world.fetch(allowed=("127.0.0.1",))("far.test")


async def test_by_ipv6(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    context = authority.issue("mta-sts.far.test").server_context()
    async with DnsServer({}) as names, PolicyServer(context, host="::1") as web:
        names.zone["mta-sts.far.test", "AAAA"] = ["::1"]
        web.publish("far.test")
        resolver = DnsResolver((names.address,), MovedClock(), 2.0, size=0)
        settings = FetchSettings(str(authority.file), web.port, 5.0)
        assert await HttpsFetch(resolver, settings, Reach(("::1",)).refuses)("far.test")
        with pytest.raises(FetchFailed, match="a loopback address"):
            await HttpsFetch(resolver, settings, Reach(()).refuses)("far.test")


async def test_the_address_that_was_checked_is_the_one_dialled(world: World) -> None:
    """A name that changes its address between two questions (DNS rebinding): there is only one question."""
    world.publish("far.test")
    await world.fetch()("far.test")
    assert [(name, kind) for name, kind, _ in world.dns.asked if name == "mta-sts.far.test"].count(
        ("mta-sts.far.test", "A")
    ) == 1


async def test_no_proxy_of_the_environment_is_used(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTPS_PROXY", "https_proxy", "ALL_PROXY", "SSL_CERT_FILE"):
        monkeypatch.setenv(name, "http://192.0.2.1:3128")
    world.publish("far.test")
    assert await world.keeper().policy_for("far.test") is not None
