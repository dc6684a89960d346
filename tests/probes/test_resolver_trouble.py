"""How far an answer may be believed, what is remembered, and that no server and no answer can hold us up."""

from __future__ import annotations

import asyncio
import time

import dns.message
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.app.clock import SystemClock
from lockgate.probes.trust.allowance import Allowance
from lockgate.probes.trust.dns import servers
from lockgate.probes.trust.dns.memory import Memory
from lockgate.probes.trust.dns.message import packed, question, read
from lockgate.probes.trust.dns.servers import on_this_machine
from lockgate.probes.trust.resolver import DnsResolver
from lockgate.seams import DnsAnswer, DnsBogus, DnsNone, DnsState, DnsTemporary
from lockgate.testing.clock import HandClock
from lockgate.testing.dns import ZoneResolver
from pace import slower
from peers.dns_server import DnsServer

ZONE = {
    ("a.test", "A"): ["192.0.2.1"],
    ("a.test", "TXT"): ['"v=spf1 -all"'],
    ("alias.test", "CNAME"): ["a.test."],
    ("tlsa.test", "TLSA"): ["3 1 1 " + "ab" * 32],
    ("1.2.0.192.in-addr.arpa", "PTR"): ["Host1.test."],
}


def resolver(*servers: DnsServer, timeout: float = 0.4, **more: object) -> DnsResolver:
    return DnsResolver(tuple(server.address for server in servers), SystemClock(), timeout, **more)  # type: ignore[arg-type]


async def test_five_kinds_of_answer() -> None:
    modes = {"proven.test": "validated", "absent.test": "validated", "bad.test": "forged", "mute.test": "drop"}
    zone = {**ZONE, ("proven.test", "A"): ["192.0.2.2"], ("bad.test", "A"): ["192.0.2.3"]}
    async with DnsServer(zone, modes) as server:
        ask = resolver(server)
        found = await ask.look_up("Proven.test", "A")
        assert (found.state, found.records, found.validated) == (DnsState.SECURE, ("192.0.2.2",), True)
        found = await ask.look_up("a.test", "A")
        assert (found.state, found.validated) == (DnsState.INSECURE, False)
        found = await ask.look_up("absent.test", "A")
        assert (found.state, found.validated) == (DnsState.NONE, True)
        assert (await ask.look_up("gone.test", "A")).validated is False
        found = await ask.look_up("proven.test", "MX")
        assert (found.state, found.records) == (DnsState.SECURE, ()), "no such record, and that is proven"
        found = await ask.look_up("bad.test", "A")
        assert (found.state, found.records) == (DnsState.BOGUS, ())
        assert "DNSSEC" in found.why
        found = await ask.look_up("mute.test", "A")
        assert (found.state, found.records) == (DnsState.TEMPORARY, ())
        assert "in time" in found.why
        found = await ask.look_up("alias.test", "A")
        assert (found.canonical, found.records) == ("a.test", ("192.0.2.1",))
        assert (await ask.look_up("tlsa.test", "TLSA")).records == ("3 1 1 " + "ab" * 32,)
        assert await ask.names("192.0.2.1") == ("host1.test",)


async def test_what_is_forged_is_temporary_for_all_and_nobody_else_is_asked() -> None:
    zone = {("bad.test", "A"): ["192.0.2.66"], ("bad.test", "MX"): ["1 a.test."], ("bad.test", "TXT"): ['"x"']}
    async with DnsServer(zone, {"bad.test": "forged"}) as validating, DnsServer(zone) as careless:
        ask = resolver(validating, careless)
        for look_up in (ask.addresses, ask.mx, ask.txt):
            with pytest.raises(DnsBogus):
                await look_up("bad.test")
        assert careless.asked == []


async def test_what_a_server_says_about_a_failure_is_told_and_cleaned() -> None:
    async with DnsServer(ZONE, {"old.test": "explained"}) as server:
        found = await resolver(server).look_up("old.test", "A")
        assert found.state is DnsState.BOGUS
        assert "signature expired: the key is old" in found.why
        assert len(server.asked) == 1, "it said so itself: no second question without validation"


async def test_one_unproven_link_makes_the_chain_unproven() -> None:
    zone = {("start.test", "CNAME"): ["end.test."], ("end.test", "A"): ["192.0.2.4"]}

    class Chain(DnsServer):
        def answers(self, wire: bytes, transport: str, port: int) -> list[bytes]:
            self.modes = {"start.test": "short-chain"}
            answers = super().answers(wire, transport, port)
            if self.asked[-1][0] == "start.test":
                answers = [answers[0][:3] + bytes((answers[0][3] | 0x20,)) + answers[0][4:]]
            return answers

    async with Chain(zone) as server:
        found = await resolver(server).look_up("start.test", "A")
        assert (found.state, found.records, found.canonical) == (DnsState.INSECURE, ("192.0.2.4",), "end.test")


def test_only_a_resolver_on_this_machine_is_believed_unless_the_operator_says_so() -> None:
    assert on_this_machine(("127.0.0.1", 53))
    assert on_this_machine(("::1", 53))
    assert not on_this_machine(("192.0.2.53", 53))
    assert not on_this_machine(("fe80::1%eth0", 53))
    far = (("192.0.2.53", 53),)
    assert DnsResolver(far, SystemClock())._trusted == frozenset()
    assert DnsResolver(far, SystemClock(), trusted=True)._trusted == frozenset(far)


async def test_a_slow_server_is_not_waited_for_and_not_forgotten() -> None:
    async with DnsServer(ZONE, {"*": "slow"}, delay=1.5) as slow, DnsServer(ZONE) as quick:
        begun = time.monotonic()
        assert await resolver(slow, quick, timeout=2.0).addresses("a.test", "ipv4") == ("192.0.2.1",)
        assert time.monotonic() - begun < 1.4
    async with DnsServer(ZONE, {"*": "slow"}, delay=0.6) as slow, DnsServer(ZONE, {"*": "drop"}) as dead:
        assert await resolver(slow, dead, timeout=2.0).addresses("a.test", "ipv4") == ("192.0.2.1",)
        assert len(slow.asked) == 1, "its first answer still counted, although the other was asked meanwhile"


async def test_time_that_is_left_is_for_who_is_slow() -> None:
    async with DnsServer(ZONE, {"*": "slow"}, delay=1.0) as slow, DnsServer(ZONE, {"*": "servfail"}) as sad:
        assert await resolver(slow, sad, timeout=1.6).addresses("a.test", "ipv4") == ("192.0.2.1",)


async def test_who_was_silent_is_asked_last_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = HandClock()
    async with DnsServer(ZONE, {"*": "drop"}) as dead, DnsServer(ZONE) as good:
        # The servers of a test are on this machine; here they stand for others.
        monkeypatch.setattr(servers, "on_this_machine", lambda server: False)
        ask = DnsResolver((dead.address, good.address), clock, 0.4, tries=1)
        for number in range(5):
            with pytest.raises(DnsNone):
                await ask.mx(f"n{number}.test")
        assert (len(dead.asked), len(good.asked)) == (1, 5)
        clock.move(3.0)
        dead.modes.clear()
        with pytest.raises(DnsNone):
            await ask.mx("later.test")
        assert (len(dead.asked), len(good.asked)) == (2, 5), "and then first again"


async def test_slow_names_do_not_put_the_resolver_of_this_machine_last() -> None:
    async with DnsServer(ZONE, {"slow.test": "drop"}) as ours, DnsServer(ZONE) as other:
        ask = resolver(ours, other, timeout=0.4)
        for _ in range(3):
            await ask.look_up("slow.test", "A")
        assert (await ask.look_up("a.test", "A")).records == ("192.0.2.1",)
        assert ("a.test", "A", "udp") in ours.asked
        assert ("a.test", "A", "udp") not in other.asked


@pytest.mark.parametrize(
    "mode", ["drop", "servfail", "garbage", "truncate-both", "wrong-port", "loop", "giant", "badvers"]
)
async def test_one_question_takes_no_longer_than_its_time_whatever_servers_do(mode: str) -> None:
    async with DnsServer(ZONE, {"*": mode}) as one, DnsServer(ZONE, {"*": mode}) as two:
        begun = time.monotonic()
        found = await resolver(one, two, timeout=0.8).look_up("a.test", "A")
        assert (found.state, found.records) == (DnsState.TEMPORARY, ())
        assert time.monotonic() - begun < 3.0  # 0.8, and what a busy machine adds


async def test_a_giant_answer_costs_next_to_nothing() -> None:
    asked = question("a.test", "A")
    assert asked is not None
    record = bytes.fromhex("c00c00010001000000ff0004c0000201")
    head = bytes.fromhex("1234818000010fa000000000")
    best = 1.0
    for _ in range(5):
        begun = time.process_time()
        response = read(head + asked.octets + record * 4000, asked, 0x1234)
        best = min(best, time.process_time() - begun)
    assert response is not None and response.rcode not in (0, 2, 3) and not response.sets
    assert best < 0.002 * slower()
    many = read(head[:6] + (900).to_bytes(2, "big") + head[8:] + asked.octets + record * 900, asked, 0x1234)
    assert many is not None and len(many.sets["a.test", 1][1]) == 256


async def test_a_failure_is_remembered_for_a_moment() -> None:
    clock = HandClock()
    async with DnsServer(ZONE, {"sad.test": "servfail"}) as server:
        ask = DnsResolver((server.address,), clock, 0.4, tries=1)
        for _ in range(10):
            with pytest.raises(DnsTemporary):
                await ask.txt("sad.test")
        first = len(server.asked)
        assert first == 2, "once, and once without validation"
        clock.move(1.1)
        del server.modes["sad.test"]
        with pytest.raises(DnsNone):
            await ask.txt("sad.test")


async def test_names_that_cannot_exist_are_not_asked_for() -> None:
    async with DnsServer(ZONE) as server:
        ask = resolver(server)
        for name in ("a..test", "x" * 64 + ".test", ".".join(["x" * 60] * 5), "bücher.test", ".a.test"):
            assert (await ask.look_up(name, "A")).state is DnsState.NONE
        assert server.asked == []
        assert (await ask.look_up("a\\b c.test", "A")).state is DnsState.NONE  # odd, but a name


def test_a_flood_of_names_does_not_push_out_what_is_of_use() -> None:
    memory = Memory(100)
    answer = DnsAnswer(DnsState.NONE, until=1e9)
    for number in range(50):
        memory.keep((f"used{number}", "MX"), answer)
        assert memory.recall((f"used{number}", "MX"), 0.0) is answer
    for number in range(10_000):
        memory.keep((f"flood{number}", "TXT"), answer)
    assert all(memory.recall((f"used{number}", "MX"), 0.0) for number in range(50))
    assert len(memory) <= 100
    for number in range(1000):
        memory.keep((f"new{number}", "MX"), answer)
        memory.recall((f"new{number}", "MX"), 0.0)
    assert len(memory) <= 100


def test_large_answers_count_for_more() -> None:
    memory = Memory(1000)
    large = DnsAnswer(DnsState.INSECURE, ("x" * 50_000,), until=1e9)
    for number in range(100):
        memory.keep((f"n{number}", "TXT"), large)
        memory.recall((f"n{number}", "TXT"), 0.0)
    assert len(memory) <= 10
    memory.keep(("huge", "TXT"), DnsAnswer(DnsState.INSECURE, ("x" * 600_000,), until=1e9))
    assert memory.recall(("huge", "TXT"), 0.0) is None


@given(st.lists(st.tuples(st.integers(0, 30), st.integers(0, 3000), st.booleans(), st.integers(0, 50))))
def test_memory_never_holds_more_than_it_may_nor_what_is_over(
    steps: list[tuple[int, int, bool, int]],
) -> None:
    memory, now = Memory(12), 0.0
    for name, octets, put, seconds in steps:
        now += seconds / 10
        if put:
            memory.keep((str(name), "A"), DnsAnswer(DnsState.SECURE, ("x" * octets,), until=now + 2.0))
        known = memory.recall((str(name), "A"), now)
        assert known is None or known.until > now
        assert len(memory) <= 12
        assert sum(part.weight for part in (memory._new, memory._used)) <= 12
        for part in (memory._new, memory._used):
            assert part.weight >= len(part.answers)


SOUND = dns.message.from_text(
    "id 4660\nopcode QUERY\nflags QR RD RA\n;QUESTION\na.test. IN MX\n;ANSWER\na.test. 300 IN CNAME b.test.\n"
    "b.test. 300 IN MX 10 c.test.\nb.test. 60 IN MX 5 d.test.\n;AUTHORITY\ntest. 60 IN SOA a. b. 1 2 3 4 5\n"
).to_wire()


@given(st.binary(max_size=200), st.integers(0, len(SOUND)), st.integers(0, 60))
def test_no_octets_make_the_reader_raise(noise: bytes, place: int, cut: int) -> None:
    asked = question("a.test", "MX")
    assert asked is not None
    for data in (noise, SOUND[:place] + noise + SOUND[place + cut :], SOUND[:12] + noise):
        response = read(data, asked, 0x1234)
        assert response is None or isinstance(response.sets, dict)


def test_queries_are_sound() -> None:
    asked = question("A.test.", "TXT")
    assert asked is not None and asked.name == "a.test"
    query = dns.message.from_wire(packed(asked, 77))
    assert (query.id, query.edns, query.payload, str(query.question[0])) == (77, 0, 1232, "a.test. IN TXT")
    assert dns.message.from_wire(packed(asked, 77, edns=False)).edns == -1
    assert read(SOUND, asked, 0x1234) is None, "it answers another question"


async def test_one_message_may_ask_so_much_and_so_long() -> None:
    zone = ZoneResolver(texts={"a.test": ["x"]})
    allowance = Allowance(zone, 5.0, 3)
    for _ in range(3):
        assert await allowance.txt("a.test") == ("x",)
    for look_up in (allowance.txt, allowance.mx, allowance.addresses):
        with pytest.raises(DnsTemporary, match="more than 3"):
            await look_up("a.test")
    found = await allowance.look_up("a.test", "TXT")
    assert (found.state, len(zone.asked)) == (DnsState.TEMPORARY, 3)
    async with DnsServer(ZONE, {"*": "drop"}) as server:
        begun = time.monotonic()
        ask = Allowance(resolver(server, timeout=5.0), 0.3, 100)
        results = await asyncio.gather(ask.txt("a.test"), ask.mx("b.test"), return_exceptions=True)
        assert all(isinstance(result, DnsTemporary) for result in results)
        with pytest.raises(DnsTemporary, match=r"0\.3 seconds"):
            await ask.txt("c.test")
        assert time.monotonic() - begun < 2.0
