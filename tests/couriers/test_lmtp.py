"""To a store by LMTP (RFC 2033): one answer for each recipient after the content, and a store that dies between two."""

from __future__ import annotations

import asyncio
import itertools
from pathlib import Path

import pytest

from couriers.senders import CONTENT, cargo, courier
from lockgate.mail.hop import HopKind, NextHop, TlsDemand
from lockgate.mail.outcome import Fate, Outcome
from lockgate.mail.ruling import TlsLevel
from lockgate.seams import Unreachable
from peers.lmtp_peer import ALL, LmtpPeer, Store
from peers.smtp_peer import SmtpPeer

D, L, F = Fate.DELIVERED, Fate.DEFERRED, Fate.FAILED
PEOPLE = ("ana@here.test", "ben@here.test", "eve@here.test")


def hop(*servers: str, trusted: bool = False, tls: TlsDemand | None = None) -> NextHop:
    return NextHop("contoso/mailbox:store", tls or TlsDemand(), "mx.test", smart_hosts=servers, kind=HopKind.LMTP,
                   store="store", organisation="contoso", trusted=trusted)  # fmt: skip


Told = list[list[int]]
"""Who was told as taken, call by call."""


async def carried(where: NextHop, *people: str, allowed=("127.0.0.0/8",)) -> tuple[tuple[Outcome, ...], Told]:
    post = courier(allowed=allowed)
    told: Told = []
    try:
        outcomes = await post.carry(where, cargo(*people), lambda some: told.append([one.recipient for one in some]))
    finally:
        await post.close()
    return outcomes, told


@pytest.mark.parametrize("extensions", [ALL, ("PIPELINING",), ()], ids=["BDAT", "pipelined", "plain"])
async def test_each_recipient_has_its_own_answer(extensions: tuple[str, ...]) -> None:
    store = Store(
        extensions,
        rcpt={"nobody@here.test": "550 5.1.1 no such mailbox", "slow@here.test": "450 4.2.1 not now"},
        final={"ben@here.test": "452 4.2.2 full", "bad@here.test": "550 5.7.1 sieve says no"},
    )
    people = ("ana@here.test", "nobody@here.test", "ben@here.test", "bad@here.test", "slow@here.test", "eve@here.test")
    with LmtpPeer(store) as peer:
        outcomes, told = await carried(hop(peer.host), *people)
        assert [outcome.fate for outcome in outcomes] == [D, F, L, F, L, D]
        codes = [outcome.reply.enhanced for outcome in outcomes]
        assert codes == ["2.0.0", "5.1.1", "4.2.2", "5.7.1", "4.2.1", "2.0.0"]
        assert [outcome.final for outcome in outcomes if outcome.fate is D] == [True, True]
        assert told == [[0], [5]]
        assert peer.kept == [("ana@here.test", CONTENT), ("eve@here.test", CONTENT)]
        assert peer.commands[0] == "LHLO mx.test" and peer.connections == 1


@pytest.mark.parametrize("after", [0, 1, 2])
async def test_a_store_that_dies_leaves_only_those_without_an_answer(after: int) -> None:
    with LmtpPeer(Store(dies_after=after)) as peer:
        outcomes, told = await carried(hop(peer.host), *PEOPLE)
        assert [outcome.fate for outcome in outcomes] == [D] * after + [L] * (3 - after)
        assert told == [[number] for number in range(after)]
        assert [address for address, _ in peer.kept] == list(PEOPLE[:after])
        assert all(outcome.reply.enhanced == "4.4.2" for outcome in outcomes[after:])


async def test_a_store_that_closes_in_the_midst_speaks_for_the_rest() -> None:
    with LmtpPeer(Store(final={"ben@here.test": "421 4.3.2 going down"})) as peer:
        outcomes, told = await carried(hop(peer.host), *PEOPLE)
        assert [(outcome.fate, outcome.reply.code) for outcome in outcomes] == [(D, 250), (L, 421), (L, 421)]
        assert told == [[0]]


async def test_what_is_taken_is_told_before_the_next_answer() -> None:
    with LmtpPeer(Store(pause=0.3)) as peer:
        post = courier()
        told: list[float] = []
        loop = asyncio.get_running_loop()
        await post.carry(hop(peer.host), cargo(*PEOPLE), lambda some: told.append(loop.time()))
        await post.close()
        assert len(told) == 3 and all(later - before > 0.15 for before, later in itertools.pairwise(told))


async def test_the_connection_is_kept_and_none_is_mixed_up() -> None:
    with LmtpPeer(Store(final={"ben@here.test": "452 4.2.2 full"})) as peer:
        post = courier()
        for _ in range(5):
            outcomes = await post.carry(hop(peer.host), cargo(*PEOPLE))
            assert [outcome.fate for outcome in outcomes] == [D, L, D]
        await post.close()
        assert peer.connections == 1 and len(peer.kept) == 10


async def test_data_refused_is_the_answer_for_all() -> None:
    with LmtpPeer(Store(("PIPELINING",), data="451 4.3.0 not now")) as peer:
        outcomes, told = await carried(hop(peer.host), *PEOPLE)
        assert [outcome.fate for outcome in outcomes] == [L] * 3 and not told


async def test_no_recipient_at_all_is_taken() -> None:
    refused = dict.fromkeys(PEOPLE, "550 5.1.1 no")
    for extensions in (ALL, ("PIPELINING",), ()):
        with LmtpPeer(Store(extensions, rcpt=refused)) as peer:
            outcomes, _ = await carried(hop(peer.host), *PEOPLE)
            assert [outcome.fate for outcome in outcomes] == [F] * 3 and not peer.kept


async def test_a_unix_socket(tmp_path: Path) -> None:
    with LmtpPeer(path=tmp_path / "s") as peer:
        outcomes, _ = await carried(hop(peer.host), "ana@here.test", allowed=())
        assert [(o.fate, o.host) for o in outcomes] == [(D, f"store[{tmp_path}/s]")]


async def test_the_next_server_is_tried_when_one_is_away(tmp_path: Path) -> None:
    with LmtpPeer() as peer:
        both = hop(f"unix:{tmp_path}/nobody", peer.host, trusted=True)
        outcomes, _ = await carried(both, "ana@here.test", allowed=())
        assert outcomes[0].fate is D
    with pytest.raises(Unreachable, match=r"nobody"):
        await carried(hop(f"unix:{tmp_path}/nobody"), "ana@here.test")


async def test_only_the_operators_own_store_may_be_on_this_machine() -> None:
    with LmtpPeer() as peer:
        with pytest.raises(Unreachable, match="loopback"):
            await carried(hop(peer.host), "ana@here.test", allowed=())
        outcomes, _ = await carried(hop(peer.host, trusted=True), "ana@here.test", allowed=())
        assert outcomes[0].fate is D


async def test_an_smtp_server_is_no_store_and_helo_is_never_said() -> None:
    with SmtpPeer() as peer:
        with pytest.raises(Unreachable, match="500"):
            await carried(hop(peer.host), "ana@here.test")
        said = b"".join(session.clear for session in peer.sessions)
        assert said.startswith(b"LHLO ") and b"HELO" not in said.replace(b"LHLO", b"")
        assert not peer.mails


async def test_requiretls_ends_at_the_store(tmp_path: Path) -> None:
    """RFC 8689 is about the way to other servers; what the store's own connection must be like its owner says."""
    with LmtpPeer(Store(("PIPELINING",))) as peer:
        post = courier(allowed=("127.0.0.0/8",))
        (outcome,) = await post.carry(hop(peer.host), cargo("ana@here.test", require_tls=True))
        assert outcome.fate is D and not any("REQUIRETLS" in command for command in peer.commands)
        await post.close()


async def test_tls_is_demanded_as_of_everybody() -> None:
    with LmtpPeer() as peer:
        with pytest.raises(Unreachable, match=r"4\.7\.321"):
            await carried(hop(peer.host, tls=TlsDemand(TlsLevel.ENCRYPTION_ONLY)), "ana@here.test")
        assert not [command for command in peer.commands if command.startswith("MAIL")]
