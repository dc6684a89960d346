"""A7: whatever is wrong with DNS, every look-up says "temporary": never a pass, never a refusal, and in time."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from couriers.senders import cargo, courier, hop
from lockgate.app.clock import SystemClock
from lockgate.app.config import Dns
from lockgate.flow.inquire import BUDGET
from lockgate.mail.arc import seal
from lockgate.mail.authentication import ArcVerdict, DkimVerdict, DmarcVerdict, SpfVerdict
from lockgate.mail.dkim.canonical import Bodies
from lockgate.mail.dkim.sign import SigningKey, public_record, sign
from lockgate.mail.headers import read_headers
from lockgate.probes.trust.arc import check_chain
from lockgate.probes.trust.dkim import check_signatures
from lockgate.probes.trust.dmarc import DmarcCheck
from lockgate.probes.trust.resolver import DnsResolver
from lockgate.probes.trust.sender import SenderCheck
from lockgate.probes.trust.spf.check import check_host
from lockgate.seams import Resolver, Unreachable
from peers.dns_server import DnsServer

TROUBLES = [
    "down", "drop", "slow", "garbage", "servfail", "refused", "badvers", "wrong-id", "wrong-question", "wrong-port",
    "truncate-both", "loop", "giant", "forged", "explained",
]  # fmt: skip

KEY = SigningKey("d.test", "s", rsa.generate_private_key(65537, 2048))
BODY = b"x\r\n"
HEAD = b"From: a@d.test\r\nTo: b@c.test\r\nSubject: x\r\n\r\n"
ONCE = sign(read_headers(HEAD + BODY).fields, Bodies(BODY), KEY, at=1) + HEAD + BODY
MESSAGE = (
    seal(
        read_headers(ONCE).fields, Bodies(BODY), KEY, state=ArcVerdict.NONE, results=b"d.test; none",
        names=[b"from", b"subject"], at=1,
    )
    + ONCE
)  # fmt: skip
HEADERS = read_headers(MESSAGE)
ZONE = {("d.test", "TXT"): ['"v=spf1 +all"'], ("d.test", "A"): ["192.0.2.1"], ("d.test", "MX"): ["1 d.test."]}


@asynccontextmanager
async def broken(trouble: str) -> AsyncIterator[DnsResolver]:
    """A resolver with two servers, both of which have this trouble with every name."""
    if trouble == "down":
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as taken:
            taken.bind(("127.0.0.1", 0))
            port = taken.getsockname()[1]
        yield DnsResolver((("127.0.0.1", port), ("127.0.0.2", port)), SystemClock(), 0.4)
        return
    async with DnsServer(ZONE, {"*": trouble}, delay=5.0) as one, DnsServer(ZONE, {"*": trouble}, delay=5.0) as two:
        yield DnsResolver((one.address, two.address), SystemClock(), 0.4)


async def _spf(resolver: Resolver) -> str:
    return (await check_host(resolver, "192.0.2.1", "d.test", "a@d.test", "h.test")).verdict.value


async def _dkim(resolver: Resolver) -> str:
    return (await check_signatures(resolver, HEADERS, Bodies(BODY), 1e9))[0].verdict.value


async def _arc(resolver: Resolver) -> str:
    return (await check_chain(resolver, HEADERS, Bodies(BODY))).verdict.value


async def _dmarc(resolver: Resolver) -> str:
    return (await DmarcCheck(resolver).check(HEADERS, None, ())).verdict.value


async def _mx(resolver: Resolver) -> str:
    return await _carried(resolver, mx="d.test")


async def _smart_host(resolver: Resolver) -> str:
    return await _carried(resolver, "d.test:2525")


async def _carried(resolver: Resolver, *hosts: str, **more: str) -> str:
    with pytest.raises(Unreachable) as told:
        await courier(resolver).carry(hop(*hosts, **more), cargo())
    # Specification 1.20: what DNSSEC proves wrong has a code of its own.
    code = (454, "4.7.324") if "DNSSEC" in told.value.reply.text else (451, "4.4.3")
    assert (told.value.reply.code, told.value.reply.enhanced, told.value.permanent) == (*code, False)
    assert "d.test" in told.value.reply.text, "it says what was asked, and what went wrong"
    return "temperror"


async def _reverse(resolver: Resolver) -> str:
    found = await resolver.look_up("1.2.0.192.in-addr.arpa", "PTR")
    assert found.state.value in ("temporary", "bogus") and found.why
    return "temperror"


LOOK_UPS: dict[str, Callable[[Resolver], Awaitable[str]]] = {
    "SPF": _spf, "DKIM": _dkim, "ARC": _arc, "DMARC": _dmarc, "MX": _mx, "smart host": _smart_host, "PTR": _reverse,
}  # fmt: skip


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_every_look_up_is_temporary_and_in_time(trouble: str) -> None:
    async with broken(trouble) as resolver:
        begun = time.monotonic()
        results = await asyncio.gather(*(look_up(resolver) for look_up in LOOK_UPS.values()))
        assert dict(zip(LOOK_UPS, results, strict=True)) == dict.fromkeys(LOOK_UPS, "temperror")
        assert time.monotonic() - begun < 8.0  # some questions of 0.4 s one after the other, on a busy machine


@pytest.mark.parametrize("trouble", TROUBLES)
async def test_the_whole_check_is_temporary_and_in_time(trouble: str) -> None:
    async with broken(trouble) as resolver:
        begun = time.monotonic()
        check = SenderCheck(resolver, SystemClock(), "mx.us.test", seconds=1.5)
        found = await check.authenticate("192.0.2.1", "h.test", "a@d.test", MESSAGE)
        assert time.monotonic() - begun < 6.0
    assert found.spf.verdict is SpfVerdict.TEMPERROR and found.spf.problem
    assert [one.verdict for one in found.dkim] == [DkimVerdict.TEMPERROR]
    assert found.arc.verdict is ArcVerdict.TEMPERROR
    assert found.dmarc.verdict is DmarcVerdict.TEMPERROR and found.dmarc.problem


async def test_what_was_found_out_in_time_counts() -> None:
    """SPF fails to be known, the signature holds: the author is proven, and nothing has to wait."""
    record = f"v=DKIM1; p={_public()}"
    zone = {
        ("s._domainkey.d.test", "TXT"): [" ".join(f'"{record[at : at + 200]}"' for at in range(0, len(record), 200))],
        ("_dmarc.d.test", "TXT"): ['"v=DMARC1; p=reject"'], ("_dmarc.test", "TXT"): [],
    }  # fmt: skip
    async with DnsServer(zone, {"d.test": "drop"}) as server:
        resolver = DnsResolver((server.address,), SystemClock(), 1.0)
        check = SenderCheck(resolver, SystemClock(), "mx.us.test", seconds=5.0)
        found = await check.authenticate("192.0.2.1", "h.test", "a@d.test", MESSAGE)
    assert found.spf.verdict is SpfVerdict.TEMPERROR
    assert (found.dkim[0].verdict, found.dmarc.verdict) == (DkimVerdict.PASS, DmarcVerdict.PASS)


async def test_a_forger_cannot_make_the_author_s_record_unreadable() -> None:
    """Neither by silence of his own name servers nor by a thousand questions is a "fail" turned into "try again"."""
    zone = {
        ("bank.test", "TXT"): ['"v=spf1 -all"'], ("_dmarc.bank.test", "TXT"): ['"v=DMARC1; p=reject"'],
        ("_dmarc.test", "TXT"): [],
    }  # fmt: skip
    fields = b"".join(
        b"DKIM-Signature: v=1; a=rsa-sha256; d=forger.test; s=s%d; h=from; bh=YWI=; b=YWI=\r\n" % n for n in range(10)
    )
    octets = fields + b"From: a@bank.test\r\n\r\nx\r\n"
    silent = dict.fromkeys(["forger.test", *[f"s{n}._domainkey.forger.test" for n in range(10)]], "drop")
    async with DnsServer(zone, silent) as server:
        resolver = DnsResolver((server.address,), SystemClock(), 5.0)
        check = SenderCheck(resolver, SystemClock(), "mx.us.test", seconds=3.0)
        found = await check.authenticate("192.0.2.1", "h.test", "a@forger.test", octets)
        assert found.spf.verdict is SpfVerdict.TEMPERROR
        assert {one.verdict for one in found.dkim} == {DkimVerdict.TEMPERROR}
        assert (found.dmarc.verdict, found.dmarc.wish) == (DmarcVerdict.FAIL, "reject")
        greedy = SenderCheck(resolver, SystemClock(), "mx.us.test", seconds=3.0, questions=3)
        found = await greedy.authenticate("192.0.2.1", "h.test", "a@forger.test", octets)
        assert "more than 3" in found.dkim[-1].problem
        assert (found.dmarc.verdict, found.dmarc.wish) == (DmarcVerdict.FAIL, "reject")


def _public() -> str:
    return public_record(KEY).rpartition("p=")[2]


def test_the_longest_time_is_less_than_a_peer_is_made_to_wait() -> None:
    assert BUDGET <= 20
    assert Dns().message_time < BUDGET
    with pytest.raises(ValueError):
        Dns(message_time=21.0)
    with pytest.raises(ValueError):
        Dns(timeout=11.0)
