"""Servers that others wrote take our mail as it was; and the same mail under the other event loop."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
import uvloop
from aiosmtpd.smtp import SMTP

from couriers.senders import CONTENT, cargo, courier, hop
from lockgate.mail.hop import TlsDemand
from lockgate.mail.outcome import Fate
from lockgate.mail.ruling import TlsLevel
from peers.certificates import Authority
from peers.smtp_peer import PLAIN, Script, SmtpPeer


class Taker:
    def __init__(self) -> None:
        self.contents: list[bytes] = []

    async def handle_RCPT(self, server: Any, session: Any, envelope: Any, address: str, options: Any) -> str:
        if address.startswith("no"):
            return "550 5.1.1 nobody"
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 ok"

    async def handle_DATA(self, server: Any, session: Any, envelope: Any) -> str:
        self.contents.append(envelope.original_content)
        return "250 2.0.0 taken"


@pytest.mark.parametrize("tls", [False, True])
async def test_aiosmtpd_takes_it_octet_for_octet(tls: bool, tmp_path: Path) -> None:
    taker = Taker()
    authority = Authority(tmp_path)
    context = authority.issue("mail.partner.test").server_context() if tls else None
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(taker, hostname="x.test", tls_context=context), "127.0.0.1", 0)
    try:
        port = server.sockets[0].getsockname()[1]
        content = CONTENT + b".dot\r\n..\r\n.\r\n\xe4\r\n" + b"x" * 998 + b"\r\n"
        demand = TlsDemand(TlsLevel.DOMAIN_VALIDATION, name="mail.partner.test") if tls else TlsDemand()
        sender = courier(ca_bundle=str(authority.file))
        for _ in range(3):
            outcomes = await sender.carry(
                hop(f"127.0.0.1:{port}", tls=demand), cargo("a@x.test", "no@x.test", content=content)
            )
            assert [o.fate for o in outcomes] == [Fate.DELIVERED, Fate.FAILED]
            assert bool(outcomes[0].tls) is tls
        assert taker.contents == [content] * 3
        await sender.close()
        await asyncio.sleep(0.1)
    finally:
        server.close()


def test_the_same_under_uvloop(tmp_path: Path) -> None:
    """uvloop's transports and timers differ from asyncio's; mail may not."""
    authority = Authority(tmp_path)
    context = authority.issue("mail.partner.test").server_context()
    big = CONTENT + b"a line of an ordinary message, some seventy octets long, as they are\r\n" * 60000

    async def all_of_it() -> None:
        for script in (Script(), Script(extensions=PLAIN), Script(context=context)):
            with SmtpPeer(script) as peer:
                sender = courier(ca_bundle=str(authority.file))
                for content in (CONTENT, big, CONTENT):
                    (outcome,) = await sender.carry(hop(peer.host), cargo(content=content))
                    assert outcome.fate is Fate.DELIVERED
                assert [mail.content for mail in peer.mails] == [CONTENT, big, CONTENT]
                assert len(peer.sessions) == 1
                peer.drop_all()
                (outcome,) = await sender.carry(hop(peer.host), cargo())
                assert outcome.fate is Fate.DELIVERED
                await sender.close()

    uvloop.run(all_of_it())


async def test_a_large_message_reaches_a_slow_reader_whole() -> None:
    big = CONTENT + b"a line of an ordinary message, some seventy octets long, as they are\r\n" * 30000
    with SmtpPeer(Script(bite=100_000, pause=0.005)) as peer:
        (outcome,) = await courier().carry(hop(peer.host), cargo(content=big))
        assert outcome.fate is Fate.DELIVERED
        assert peer.mails[0].content == big
