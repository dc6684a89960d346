"""Where mail goes: MX order, null MX, loops, and what may not be dialled."""

from __future__ import annotations

import pytest

from couriers.senders import cargo, courier, hop
from lockgate.couriers.reach import Reach, split_port
from lockgate.mail.outcome import Fate
from lockgate.probes.trust.resolver import DnsResolver
from lockgate.seams import Unreachable
from lockgate.testing.clock import HandClock
from lockgate.testing.dns import ZoneResolver
from peers.dns_server import DnsServer
from peers.smtp_peer import Script, SmtpPeer


async def refusal(resolver: ZoneResolver, domain: str, **settings: object) -> Unreachable:
    with pytest.raises(Unreachable) as told:
        await courier(resolver, **settings).carry(hop(mx=domain), cargo())
    return told.value


async def test_domains_without_a_place_to_send_to() -> None:
    resolver = ZoneResolver(
        {
            "null.test": [(0, "")],
            "literal.test": [(10, "192.0.2.1")],
            "ghost.test": [(10, "nowhere.test")],
            "empty.test": [(10, "bare.test")],
            "mute.test": [(10, "silent.test")],
        },
        {"bare.test": ()},
        silent={"silent.test"},
    )
    for domain, enhanced, permanent in (
        ("null.test", "5.1.10", True),
        ("nxdomain.test", "5.1.2", True),
        ("literal.test", "5.4.4", True),
        ("ghost.test", "5.4.4", True),
        ("empty.test", "5.4.4", True),
        ("bare.test", "5.4.4", True),
        ("silent.test", "4.4.3", False),
        ("mute.test", "4.4.3", False),
    ):
        told = await refusal(resolver, domain)
        assert (told.reply.enhanced, told.permanent) == (enhanced, permanent), domain


async def test_exchangers_in_order_of_preference_and_implicit_mx() -> None:
    with SmtpPeer() as peer, SmtpPeer(address="::1") as six:
        hosts = {"a.test": ("127.0.0.2",), "b.test": ("127.0.0.1",), "d.test": ("127.0.0.1",)}
        resolver = ZoneResolver({"d1.test": [(20, "b.test"), (10, "a.test")]}, hosts)
        # Nobody listens on 127.0.0.2: the second exchanger takes it.
        (outcome,) = await courier(resolver, mx_port=peer.port).carry(hop(mx="d1.test"), cargo())
        assert outcome.fate is Fate.DELIVERED
        assert outcome.host == f"b.test[127.0.0.1]:{peer.port}"
        (outcome,) = await courier(resolver, mx_port=peer.port).carry(hop(mx="d.test"), cargo())
        assert outcome.host.startswith("d.test[")
        resolver = ZoneResolver({}, {"six.test": ("127.0.0.1", "::1")})
        (outcome,) = await courier(resolver, mx_port=six.port).carry(hop(mx="six.test"), cargo())
        assert outcome.host == f"six.test[::1]:{six.port}"
        (outcome,) = await courier(resolver, mx_port=peer.port).carry(hop(mx="six.test", family="ipv4"), cargo())
        assert outcome.host == f"six.test[127.0.0.1]:{peer.port}"


async def test_a_better_exchanger_wins_and_equals_share() -> None:
    with SmtpPeer() as one:
        resolver = ZoneResolver(
            {"e.test": [(10, "x.test"), (10, "y.test"), (5, "best.test")]},
            {"x.test": ("127.0.0.1",), "y.test": ("127.0.0.1",), "best.test": ("127.0.0.1",)},
        )
        (outcome,) = await courier(resolver, mx_port=one.port).carry(hop(mx="e.test"), cargo())
        assert outcome.host.startswith("best.test[")
        resolver.exchangers["e.test"] = ((10, "x.test"), (10, "y.test"))
        used = set()
        sender = courier(resolver, mx_port=one.port, messages=1)
        for _ in range(20):
            (outcome,) = await sender.carry(hop(mx="e.test"), cargo())
            used.add(outcome.host.partition("[")[0])
        assert used == {"x.test", "y.test"}


async def test_we_are_never_our_own_next_hop() -> None:
    zone = {
        "loop.test": [(10, "mx.here.test"), (20, "backup.test")],
        "half.test": [(5, "better.test"), (10, "mx.here.test")],
    }
    hosts = {"mx.here.test": ("127.0.0.1",), "backup.test": ("127.0.0.1",), "better.test": ("127.0.0.1",)}
    with SmtpPeer() as peer:
        by_name = {"own_names": ("MX.here.test.",), "mx_port": peer.port}
        told = await refusal(ZoneResolver(zone, hosts), "loop.test", **by_name)
        assert (told.reply.enhanced, told.permanent) == ("5.4.14", True)
        assert peer.sessions == []
        (outcome,) = await courier(ZoneResolver(zone, hosts), **by_name).carry(hop(mx="half.test"), cargo())
        assert outcome.host.startswith("better.test[")
    by_address = {"own_addresses": ("127.0.0.1",)}
    told = await refusal(ZoneResolver(zone, hosts), "loop.test", **by_address)
    assert (told.reply.enhanced, told.permanent) == ("5.4.14", True)
    mapped = ZoneResolver(zone, {**hosts, "mx.here.test": ("::ffff:127.0.0.1",), "backup.test": ("127.0.0.2",)})
    told = await refusal(mapped, "loop.test", **by_address)
    assert (told.reply.enhanced, told.permanent) == ("5.4.14", True)
    with SmtpPeer() as peer:
        with pytest.raises(Unreachable) as smart:
            await courier(own_addresses=(peer.host,)).carry(hop(peer.host), cargo())
        assert not smart.value.permanent
        assert "this server itself" in smart.value.reply.text
        assert peer.sessions == []


@pytest.mark.parametrize(
    ("address", "closed"),
    [
        ("127.0.0.1", True), ("127.9.9.9", True), ("0.0.0.0", True), ("0.1.2.3", True), ("::1", True), ("::", True),
        ("169.254.169.254", True), ("fd00:ec2::254", True), ("fe80::1", True), ("224.0.0.1", True), ("ff02::1", True),
        ("::ffff:127.0.0.1", True), ("::ffff:169.254.169.254", True), ("64:ff9b::7f00:1", True),
        ("255.255.255.255", True),
        ("nonsense", True), ("10.1.2.3", False), ("192.168.1.1", False), ("172.16.0.1", False), ("203.0.113.5", False),
        ("fd12::1", False), ("2001:db8::1", False), ("::ffff:10.0.0.1", False),
    ],
)  # fmt: skip
def test_what_may_be_dialled_by_default(address: str, closed: bool) -> None:
    assert bool(Reach().refuses(address, 25)) is closed


def test_exceptions_are_networks_or_ports_and_never_ourselves() -> None:
    reach = Reach(("127.0.0.2:2525", "169.254.0.0/16", "[::1]:26"), ("127.0.0.2:26", "10.0.0.1"))
    assert reach.refuses("127.0.0.2", 2525) == ""
    assert reach.refuses("127.0.0.2", 25) != ""
    assert reach.refuses("169.254.1.1", 25) == ""
    assert reach.refuses("::1", 26) == ""
    assert reach.refuses("10.0.0.1", 9999) != ""
    with pytest.raises(ValueError):
        Reach(("not a network",))
    assert split_port("[2001:db8::1]:26") == ("2001:db8::1", 26)
    assert split_port("2001:db8::1") == ("2001:db8::1", 0)
    for wrong in ("host:", "host:0", "host:70000", "[::1", "host:٢٥"):
        with pytest.raises(ValueError):
            split_port(wrong)


async def test_an_address_that_is_closed_is_not_dialled() -> None:
    with SmtpPeer() as peer:
        resolver = ZoneResolver({"ssrf.test": [(10, "inside.test")]}, {"inside.test": ("127.0.0.1",)})
        told = await refusal(resolver, "ssrf.test", allowed=(), mx_port=peer.port)
        assert (told.reply.enhanced, told.permanent) == ("4.4.1", False)
        with pytest.raises(Unreachable):
            await courier(resolver, allowed=()).carry(hop(f"inside.test:{peer.port}"), cargo())
        with pytest.raises(Unreachable):
            await courier(resolver, allowed=(), mx_port=peer.port).carry(hop(mx="[127.0.0.1]"), cargo())
        assert peer.sessions == []
        (outcome,) = await courier(resolver, allowed=(peer.host,)).carry(hop(f"inside.test:{peer.port}"), cargo())
        assert outcome.fate is Fate.DELIVERED


async def test_the_address_checked_is_the_address_dialled() -> None:
    """A name that changes its address between two questions is asked once."""
    with SmtpPeer(Script()) as peer:
        resolver = ZoneResolver({}, {"rebind.test": ("127.0.0.1",)})
        await courier(resolver, allowed=(peer.host,)).carry(hop(f"rebind.test:{peer.port}"), cargo())
        assert [name for name, _ in resolver.asked] == ["rebind.test"]


async def test_a_name_server_that_changes_its_mind_is_asked_once_for_each_dial() -> None:
    """Rebinding (W4): the first answer is harmless, every later one leads inside; what was checked is dialled."""

    class Rebinding(DnsServer):
        def answers(self, wire: bytes, transport: str, port: int) -> list[bytes]:
            found = super().answers(wire, transport, port)
            if self.asked[-1][1] == "A":
                self.zone = {("mx.two.test", "A"): ["127.0.0.9"], ("two.test", "MX"): ["10 mx.two.test."]}
            return found

    zone = {("mx.two.test", "A"): ["127.0.0.1"], ("two.test", "MX"): ["10 mx.two.test."]}
    with SmtpPeer() as peer, SmtpPeer(address="127.0.0.9", port=peer.port) as inner:
        async with Rebinding(zone, ttl=0) as server:
            clock = HandClock()
            resolver = DnsResolver((server.address,), clock, 2.0)
            (outcome,) = await courier(resolver, allowed=("127.0.0.1/32",), mx_port=peer.port).carry(
                hop(mx="two.test"), cargo()
            )
            assert outcome.host == f"mx.two.test[127.0.0.1]:{peer.port}"
            assert [kind for _, kind, _ in server.asked].count("A") == 1
            clock.move(2.0)
            with pytest.raises(Unreachable) as told:
                await courier(resolver, allowed=("127.0.0.1/32",), mx_port=peer.port).carry(
                    hop(mx="two.test"), cargo()
                )
            assert "loopback" in told.value.reply.text
        assert inner.sessions == []


async def test_what_leads_outside_and_inside_is_dialled_outside_only() -> None:
    """The answer of a rebinding server has both; and asked again it would have the inner one alone."""
    with SmtpPeer() as peer, SmtpPeer(address="127.0.0.9", port=peer.port) as inner:
        resolver = ZoneResolver({"two.test": [(10, "mx.two.test")]}, {"mx.two.test": ("127.0.0.9", "127.0.0.1")})
        for _ in range(5):
            sender = courier(resolver, allowed=("127.0.0.1/32",), mx_port=peer.port)
            (outcome,) = await sender.carry(hop(mx="two.test"), cargo())
            assert outcome.host == f"mx.two.test[127.0.0.1]:{peer.port}"
        resolver.hosts["mx.two.test"] = ("127.0.0.9", "::ffff:127.0.0.9", "169.254.169.254", "0.0.0.0")
        with pytest.raises(Unreachable):
            await courier(resolver, allowed=("127.0.0.1/32",), mx_port=peer.port).carry(hop(mx="two.test"), cargo())
        assert inner.sessions == []


async def test_several_smart_hosts_share_the_load_and_one_that_is_down_is_passed_over() -> None:
    with SmtpPeer() as one, SmtpPeer() as two:
        sender = courier(messages=1)
        for _ in range(30):
            (outcome,) = await sender.carry(hop(one.host, two.host, "127.0.0.2:9"), cargo())
            assert outcome.fate is Fate.DELIVERED
        assert len(one.mails) > 5
        assert len(two.mails) > 5


async def test_smart_hosts_that_dns_does_not_know_only_delay() -> None:
    for host, enhanced in (("gone.test", "4.4.316"), ("silent.test", "4.4.3"), ("bad:port", "4.3.5")):
        with pytest.raises(Unreachable) as told:
            await courier(ZoneResolver(silent={"silent.test"})).carry(hop(host), cargo())
        assert (told.value.reply.enhanced, told.value.permanent) == (enhanced, False)


async def test_source_address() -> None:
    with SmtpPeer() as peer:
        (outcome,) = await courier().carry(hop(peer.host, source_v4="127.0.0.9"), cargo())
        assert outcome.fate is Fate.DELIVERED
        with pytest.raises(Unreachable):
            await courier().carry(hop(peer.host, source_v4="192.0.2.77"), cargo())
