"""MTA-STS policies of others, from a real web server with certificates of this run and a real DNS server (RFC 8461)."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from lockgate.couriers.reach import Reach
from lockgate.mail.sts import StsMode
from lockgate.probes.trust.resolver import DnsResolver
from lockgate.probes.trust.sts import StsKeeper, StsTimes
from lockgate.probes.trust.sts_fetch import FetchFailed, FetchSettings, HttpsFetch
from lockgate.storage.sts_shelf import StsFile
from lockgate.testing.journal import ListJournal
from lockgate.testing.sts import MemoryShelf
from peers.certificates import Authority, Papers
from peers.dns_server import DnsServer
from peers.policy_server import GOOD, PolicyServer

DAY = 86400.0


class MovedClock:
    """The real time, and as much more as the test says."""

    def __init__(self) -> None:
        self.more = 0.0

    def now(self) -> float:
        return time.time() + self.more

    def monotonic(self) -> float:
        return time.monotonic() + self.more


@dataclass
class World:
    """A web server, a DNS server, and what keeps policies; more keepers on the same shelf are other workers."""

    dns: DnsServer
    web: PolicyServer
    authority: Authority
    clock: MovedClock
    journal: ListJournal
    shelf: StsFile
    folder: Path

    def fetch(self, seconds: float = 5.0, allowed: tuple[str, ...] = ("127.0.0.0/8",), own: tuple[str, ...] = ()):
        reach = Reach(allowed, own)
        settings = FetchSettings(str(self.authority.file), self.web.port, seconds)
        return HttpsFetch(self.resolver(), settings, reach.refuses)

    def resolver(self) -> DnsResolver:
        return DnsResolver((self.dns.address,), self.clock, 2.0, size=0)

    def keeper(self, *, other_process: bool = False, **times: float) -> StsKeeper:
        shelf = StsFile(self.folder / "sts.sqlite") if other_process else self.shelf
        return StsKeeper(self.resolver(), self.fetch(), shelf, self.clock, self.journal, StsTimes(**times))

    def announce(self, domain: str, name: str = "1", address: str = "127.0.0.1") -> None:
        self.dns.zone[f"_mta-sts.{domain}", "TXT"] = [f'"v=STSv1; id={name};"']
        self.dns.zone[f"mta-sts.{domain}", "A"] = [address]

    def publish(self, domain: str, name: str = "1", text: str = "") -> None:
        self.announce(domain, name)
        self.web.publish(domain, text)


@contextlib.asynccontextmanager
async def world_of(
    folder: Path, papers: Papers | None = None, authority: Authority | None = None
) -> AsyncIterator[World]:
    authority = authority or Authority(folder)
    papers = papers or authority.issue(*[f"mta-sts.{name}.test" for name in ("far", "other", "d1")])
    async with DnsServer({}) as dns, PolicyServer(papers.server_context()) as web:
        shelf = StsFile(folder / "sts.sqlite")
        yield World(dns, web, authority, MovedClock(), ListJournal(), shelf, folder)
        shelf.close()


@pytest.fixture
async def world(tmp_path: Path) -> AsyncIterator[World]:
    async with world_of(tmp_path) as world:
        yield world


async def settled(keeper: StsKeeper) -> None:
    """Wait for what goes on in the background."""
    while keeper._looking:
        await asyncio.wait([task for _, task in keeper._looking.values()])


# --- finding and fetching


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


# --- living with what was found


async def test_a_policy_outlives_its_record_its_web_server_and_a_restart(world: World) -> None:
    world.publish("far.test")
    assert await world.keeper().policy_for("far.test") is not None
    del world.dns.zone["_mta-sts.far.test", "TXT"], world.dns.zone["mta-sts.far.test", "A"]
    world.web.texts.clear()
    fresh = world.keeper(other_process=True)  # a new process that knows nothing
    world.clock.more = 6.9 * DAY
    policy = await fresh.policy_for("far.test")
    assert policy is not None and policy.mode is StsMode.ENFORCE
    world.clock.more = 7.1 * DAY
    assert await fresh.policy_for("far.test") is None  # the end of its life
    assert await world.keeper(other_process=True).policy_for("far.test") is None


async def test_a_policy_outlives_an_outage_of_dns(world: World) -> None:
    world.publish("far.test")
    await world.keeper().policy_for("far.test")
    world.dns.modes["*"] = "servfail"
    assert await world.keeper(other_process=True).policy_for("far.test") is not None


async def test_a_changed_id_is_fetched_anew(world: World) -> None:
    world.publish("far.test")
    keeper = world.keeper()
    await keeper.policy_for("far.test")
    world.publish("far.test", "2", GOOD.format(domain="far.test").replace("mx.far", "new.far"))
    before = await keeper.policy_for("far.test")
    assert before is not None and before.id == "1"  # within the life of the record nobody asks
    world.clock.more = 400.0
    assert (await keeper.policy_for("far.test")) is before  # mail does not wait for the look
    await settled(keeper)
    after = await keeper.policy_for("far.test")
    assert after is not None and (after.id, after.mx) == ("2", ("new.far.test",))
    (told,) = world.journal.named("MTA-STS policy changed")
    assert (told["mx"], told["was_mx"]) == ("new.far.test", "mx.far.test")
    elsewhere = await world.keeper(other_process=True).policy_for("far.test")
    assert elsewhere is not None and elsewhere.id == "2" and len(world.web.asked) == 2


async def test_recheck_looks_at_once_and_not_more_often_than_once_a_minute(world: World) -> None:
    world.publish("far.test")
    keeper = world.keeper()
    await keeper.policy_for("far.test")
    world.publish("far.test", "2")
    keeper.recheck("far.test")
    assert not keeper._looking
    world.clock.more = 61.0
    keeper.recheck("far.test")
    keeper.recheck("far.test")
    await settled(keeper)
    policy = await keeper.policy_for("far.test")
    assert policy is not None and policy.id == "2" and len(world.web.asked) == 2


async def test_the_policy_with_mode_none_is_a_policy(world: World) -> None:
    world.publish("far.test", text="version: STSv1\nmode: none\nmax_age: 86400\n")
    policy = await world.keeper().policy_for("far.test")
    assert policy is not None and policy.mode is StsMode.NONE and policy.mx == ()


async def test_a_policy_is_refreshed_before_it_dies_and_at_most_daily(world: World) -> None:
    world.publish("far.test")
    world.publish("other.test", text=GOOD.format(domain="other.test").replace("604800", "3600"))
    mail, chore = world.keeper(), world.keeper(other_process=True)
    await mail.policy_for("far.test")
    await mail.policy_for("other.test")
    for hours in (1, 12, 23):
        world.clock.more = hours * 3600.0
        await chore.refresh()
    assert len(world.web.asked) == 2
    world.clock.more = 24.5 * 3600.0
    assert await chore.refresh() == 1
    assert len(world.web.asked) == 3 and "far.test" in world.web.asked[-1]
    await chore.refresh()
    assert len(world.web.asked) == 3
    kept = world.shelf.get("far.test")
    assert kept is not None and kept.policy is not None and kept.policy.until > world.clock.now() + 604000


async def test_what_nobody_mails_to_any_more_is_left_to_die(world: World) -> None:
    world.publish("far.test", text=GOOD.format(domain="far.test").replace("604800", "31557600"))
    chore = world.keeper()
    await chore.policy_for("far.test")
    for day in range(1, 80, 3):
        world.clock.more = day * DAY
        await chore.refresh()
    assert 15 < len(world.web.asked) < 25  # for sixty days, every third of them, and not for ever by its own doing


async def test_a_failure_is_remembered_for_five_minutes(world: World) -> None:
    world.announce("far.test")
    one, two = world.keeper(), world.keeper(other_process=True)
    for keeper in (one, two, one, two):
        assert await keeper.policy_for("far.test") is None
        assert keeper.missing("far.test") == "sts-policy-fetch-error"  # for reports (RFC 8460 4.3)
    assert len(world.web.asked) == 1  # for all processes of the machine
    world.web.publish("far.test")
    world.clock.more = 299.0
    assert await two.policy_for("far.test") is None
    world.clock.more = 310.0
    assert await two.policy_for("far.test") is not None
    assert two.missing("far.test") == ""
    assert await world.keeper(other_process=True).policy_for("far.test") is not None
    assert len(world.web.asked) == 2
    assert len(world.journal.named("MTA-STS policy not fetched")) == 1


async def test_a_domain_without_policy_is_asked_about_rarely(world: World) -> None:
    world.dns.zone["plain.test", "A"] = ["192.0.2.1"]
    keeper = world.keeper()
    for _ in range(50):
        assert await keeper.policy_for("plain.test") is None
    assert len(world.dns.asked) == 1 and not world.journal.notes


async def test_a_broken_record_is_told_once(world: World) -> None:
    world.dns.zone["_mta-sts.far.test", "TXT"] = ['"v=STSv1; id=1;"', '"v=STSv1; id=2;"']
    keeper = world.keeper()
    for minutes in (0, 70, 140):
        world.clock.more = minutes * 60.0
        assert await keeper.policy_for("far.test") is None
    assert [told["because"] for told in world.journal.named("MTA-STS record broken")] == [
        "2 TXT records begin with v=STSv1; and only one may"
    ]
    assert not world.web.connections


async def test_many_who_ask_at_once_make_one_fetch(world: World) -> None:
    world.publish("far.test")
    world.web.delay = 0.3
    keepers = [world.keeper(other_process=True) for _ in range(4)]
    found = await asyncio.gather(*[keeper.policy_for("far.test") for keeper in keepers for _ in range(25)])
    assert all(policy is not None and policy.id == "1" for policy in found)
    assert len(world.web.asked) == 1


async def test_mail_waits_no_longer_than_allowed_and_the_fetch_goes_on(world: World) -> None:
    world.publish("far.test")
    world.web.delay = 1.0
    keeper = world.keeper(first=0.3)
    began = time.monotonic()
    assert await keeper.policy_for("far.test") is None
    assert 0.25 < time.monotonic() - began < 0.8
    began = time.monotonic()
    assert await keeper.policy_for("far.test") is None  # the second one does not wait again
    assert time.monotonic() - began < 0.1
    await settled(keeper)
    assert await keeper.policy_for("far.test") is not None
    assert len(world.web.asked) == 1


async def test_a_worker_that_died_while_fetching_holds_nobody_up_for_long(world: World) -> None:
    world.publish("far.test")
    now = world.clock.now()
    assert world.shelf.claim("far.test", now, now + 75.0)
    keeper = world.keeper(first=0.3)
    assert await keeper.policy_for("far.test") is None
    world.clock.more = 76.0
    await settled(keeper)
    assert await keeper.policy_for("far.test") is not None


async def test_a_cancelled_asker_takes_nothing_from_the_others(world: World) -> None:
    world.publish("far.test")
    world.web.delay = 0.3
    keeper = world.keeper()
    one = asyncio.ensure_future(keeper.policy_for("far.test"))
    two = asyncio.ensure_future(keeper.policy_for("far.test"))
    await asyncio.sleep(0.1)
    one.cancel()
    assert await two is not None


async def test_closing_gives_the_fetch_back(world: World) -> None:
    world.publish("far.test")
    world.web.delay = 30.0
    keeper = world.keeper(first=0.2)
    assert await keeper.policy_for("far.test") is None
    await keeper.close()
    world.web.delay = 0.0
    assert await world.keeper(other_process=True).policy_for("far.test") is not None


async def test_a_known_domain_costs_microseconds(world: World) -> None:
    world.publish("far.test")
    keeper = world.keeper()
    await keeper.policy_for("far.test")
    await keeper.policy_for("plain.test")
    costs = []
    for _ in range(5):
        began = time.perf_counter()
        for _ in range(2000):
            await keeper.policy_for("far.test")
        costs.append((time.perf_counter() - began) / 2000)
    print(f"{min(costs) * 1e6:.2f} microseconds")
    assert min(costs) < 50e-6


async def test_a_shelf_that_fails_keeps_no_policy_from_being_obeyed(world: World) -> None:
    class Broken(MemoryShelf):
        def broken(self, *_):
            raise OSError("the disk is full")

        get = claim = put = fail = use = broken  # type: ignore[assignment]

    world.publish("far.test")
    keeper = StsKeeper(world.resolver(), world.fetch(), Broken(), world.clock, world.journal)
    assert await keeper.policy_for("far.test") is not None
    world.web.texts.clear()
    world.clock.more = 400.0
    await keeper.policy_for("far.test")
    await settled(keeper)
    assert await keeper.policy_for("far.test") is not None
    assert world.journal.named("MTA-STS policies cannot be kept")


async def test_what_a_person_is_shown(world: World) -> None:
    world.publish("far.test")
    keeper = world.keeper()
    look = await keeper.look("far.test", fetch=False)
    assert look.fetched_now and look.announced == "1" and look.kept is not None and look.kept.policy is not None
    look = await keeper.look("far.test", fetch=False)
    assert not look.fetched_now and look.kept is not None and len(world.web.asked) == 1
    world.web.mode = "redirect"
    look = await keeper.look("far.test", fetch=True)
    assert "redirects are not followed" in look.trouble and look.kept is not None and look.kept.policy is not None
    look = await keeper.look("plain.test", fetch=True)
    assert (look.announced, look.kept) == ("", None) and "there is no TXT record" in look.silent


async def test_slow_web_servers_are_not_all_connected_to_at_once(world: World) -> None:
    for number in range(120):
        world.dns.zone[f"_mta-sts.slow{number}.test", "TXT"] = ['"v=STSv1; id=1;"']
    under_way = most = 0

    async def fetch(domain: str) -> bytes:
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.2)
        under_way -= 1
        return GOOD.format(domain=domain).encode()

    keeper = StsKeeper(world.resolver(), fetch, MemoryShelf(), world.clock, world.journal)
    found = await asyncio.gather(*[keeper.policy_for(f"slow{number}.test") for number in range(120)])
    assert all(found) and most <= 50


async def test_a_domain_that_cannot_be_had_is_tried_again_hourly(world: World) -> None:
    world.publish("far.test")
    keeper = world.keeper()
    await keeper.policy_for("far.test")
    world.web.mode = "status-500"
    for minutes in range(0, 120, 5):
        world.clock.more = DAY + 60.0 * minutes + 100
        await keeper.refresh()
    assert len(world.web.asked) == 3
    assert world.journal.named("MTA-STS policy not fetched")[0]["still_in_force"] == "enforce"
