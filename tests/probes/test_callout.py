"""The next hop is asked about a recipient: as for delivery, remembered within bounds, and silence is not a no."""

from __future__ import annotations

import asyncio

import pytest

from lockgate.couriers.settings import CourierSettings, Patience
from lockgate.couriers.verify import SmtpVerifier
from lockgate.mail.findings import Said, Unknown
from lockgate.mail.hop import NextHop, TlsDemand
from lockgate.mail.reply import Reply
from lockgate.mail.ruling import TlsLevel
from lockgate.probes.directory.callout import Memory, NextHopCallout
from lockgate.seams import Asked, Unreachable
from lockgate.testing.clock import HandClock
from lockgate.testing.dns import ZoneResolver
from lockgate.testing.journal import ListJournal
from lockgate.testing.recipients import ListedVerifier
from peers.smtp_peer import Script, SmtpPeer

OK = Reply(250, "2.1.5", "ok")
NOBODY = Reply(550, "5.1.1", "no such user")
LATER = Reply(451, "4.2.0", "greylisted")
HOP = NextHop("contoso/hq", TlsDemand(), "mx.lockgate.test", smart_hosts=("hq.test",))
GUESS = "lockgate-guess"


def asked(rcpt: Reply | None, mail: Reply = OK) -> Asked:
    return Asked(mail, rcpt, "hq.test")


class Callout:
    """A callout over listed answers."""

    def __init__(self, answers: dict[str, Asked], memory: Memory | None = None) -> None:
        self.clock, self.journal = HandClock(), ListJournal()
        self.verifier = ListedVerifier({"*": asked(NOBODY), **answers})
        self.callout = NextHopCallout(self.verifier, self.clock, self.journal, lambda: GUESS, memory)

    async def ask(self, address: str, organisation: str = "contoso") -> Said | Unknown:
        return await self.callout.ask(HOP, organisation, address)


async def test_a_yes_is_remembered_long_and_a_no_shortly():
    it = Callout({"ann@c.test": asked(OK)})
    assert await it.ask("ann@c.test") == Said(accepts=True, reply=str(OK), host="hq.test")
    assert await it.ask("bob@c.test") == Said(accepts=False, reply=str(NOBODY), host="hq.test")
    assert it.verifier.asked == ["ann@c.test", f"{GUESS}@c.test", "bob@c.test"]
    it.clock.move(299)
    assert (await it.ask("ann@c.test")).remembered and (await it.ask("bob@c.test")).remembered
    assert len(it.verifier.asked) == 3
    it.verifier.answers["bob@c.test"] = asked(OK)
    it.clock.move(2)
    assert (await it.ask("bob@c.test")).accepts, "somebody who was made meanwhile"
    await it.ask("ann@c.test", "fabrikam")
    assert it.verifier.asked[3:] == ["bob@c.test", "ann@c.test"], "organisations do not share answers"


async def test_an_outage_is_unknown_unless_there_was_a_yes():
    it = Callout({"ann@c.test": asked(OK)})
    await it.ask("ann@c.test")
    it.clock.move(25 * 3600)
    for trouble in (Unreachable(Reply(451, "4.4.316", "no connection")), None):
        it.verifier.trouble = trouble
        it.verifier.answers["ann@c.test"] = it.verifier.answers["*"] = asked(LATER)
        assert (await it.ask("ann@c.test")) == Said(accepts=True, reply=str(OK), host="hq.test", remembered=True)
        assert isinstance(await it.ask("carl@c.test"), Unknown)
    it.verifier.answers["*"] = asked(None, Reply(550, "5.7.1", "I do not talk to you"))
    refused = await it.ask("carl@c.test")
    assert isinstance(refused, Unknown) and "do not talk" in refused.why, "a no to MAIL is not about the recipient"
    it.clock.move(7 * 24 * 3600)
    assert isinstance(await it.ask("ann@c.test"), Unknown)


async def test_who_takes_everybody_is_found_out_told_once_and_not_remembered():
    it = Callout({"*": asked(OK)})
    for n in range(50):
        said = await it.ask(f"guess{n}@c.test")
        assert said.accepts and said.takes_all
    assert it.verifier.asked.count(f"{GUESS}@c.test") == 1
    assert not it.callout._yes
    assert [happening for happening, _ in it.journal.notes] == ["next hop takes everybody"]


async def test_memory_is_bounded_and_guesses_do_not_push_out_real_ones():
    it = Callout({"ann@c.test": asked(OK)}, Memory(most_yes=10, most_no=20))
    await it.ask("ann@c.test")
    for n in range(500):
        await it.ask(f"guess{n}@c.test")
    assert len(it.callout._no) == 20 and len(it.callout._yes) == 1
    assert (await it.ask("ann@c.test")).remembered


async def test_one_question_for_many_who_wait_and_no_more_than_the_bound():
    it = Callout({"ann@c.test": asked(OK)}, Memory(most_waiting=1, patience=0.2))
    gate = asyncio.Event()
    verify = it.verifier.verify

    async def slow(hop, address):
        await gate.wait()
        return await verify(hop, address)

    it.verifier.verify = slow
    waiting = [asyncio.ensure_future(it.ask("ann@c.test")) for _ in range(5)]
    await asyncio.sleep(0)
    other = await it.ask("bob@c.test")
    assert isinstance(other, Unknown) and "too many" in other.why
    waiting[0].cancel()
    gate.set()
    assert all(said.accepts for said in await asyncio.gather(*waiting[1:]))
    assert it.verifier.asked == ["ann@c.test", f"{GUESS}@c.test"]
    gate.clear()
    silent = await it.ask("dora@c.test")
    assert isinstance(silent, Unknown) and "within 0.2 seconds" in silent.why


@pytest.fixture
def verifier():
    settings = CourierSettings(allowed=("127.0.0.0/8",), ca_bundle="", patience=Patience(rcpt=5.0, connect=5.0))
    return SmtpVerifier(ZoneResolver({}), settings, HandClock())


def hop_to(peer: SmtpPeer, level: TlsLevel = TlsLevel.OPPORTUNISTIC) -> NextHop:
    return NextHop("contoso/hq", TlsDemand(level), "mx.lockgate.test", smart_hosts=(peer.host,))


async def test_on_the_wire_no_content_is_sent_and_the_connection_is_kept(verifier):
    script = Script(rcpt={"nobody@c.test": "550 5.1.1 no such user", "full@c.test": "452 4.2.2 full"})
    with SmtpPeer(script) as peer:
        hop = hop_to(peer)
        assert (await verifier.verify(hop, "ann@c.test")).rcpt.code == 250
        assert (await verifier.verify(hop, "nobody@c.test")).rcpt.code == 550
        assert (await verifier.verify(hop, "full@c.test")).rcpt.code == 452
        await verifier.close()
        await asyncio.sleep(0.1)
        (session,) = peer.sessions
        words = [line.split(b" ")[0] for line in session.clear.split(b"\r\n") if line]
        assert words[:8] == [b"EHLO", b"MAIL", b"RCPT", b"RSET", b"MAIL", b"RCPT", b"RSET", b"MAIL"]
        assert b"MAIL FROM:<>" in session.clear and b"DATA" not in words and b"BDAT" not in words
        assert not session.mails


async def test_on_the_wire_the_tls_demand_is_kept_and_a_dropped_connection_is_no_answer(verifier):
    with SmtpPeer() as plain:
        with pytest.raises(Unreachable):
            await verifier.verify(hop_to(plain, TlsLevel.ENCRYPTION_ONLY), "ann@c.test")
        await asyncio.sleep(0.1)
        assert all(b"MAIL" not in session.clear and b"ann" not in session.clear for session in plain.sessions)
    with SmtpPeer(Script(hang_up="rcpt")) as rude, pytest.raises(Unreachable):
        await verifier.verify(hop_to(rude), "ann@c.test")
    with SmtpPeer(Script(mail="550 5.7.1 go away")) as stern:
        said = await verifier.verify(hop_to(stern), "ann@c.test")
        assert said.rcpt is None and said.mail.code == 550
