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
from lockgate.seams import Unreachable
from peers.certificates import Authority, Papers
from peers.listening import arrived
from peers.postfix import Postfix
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


NAME = "mail.partner.test"
LEVELS = {
    "opportunistic": TlsDemand(),
    "encryption": TlsDemand(TlsLevel.ENCRYPTION_ONLY),
    "chain": TlsDemand(TlsLevel.CERTIFICATE_VALIDATION),
    "name": TlsDemand(TlsLevel.DOMAIN_VALIDATION, name="*.partner.test"),
}
# T-TLS-3: certificate -> what becomes of mail at each of the four levels, "" for delivered over TLS
CERTIFICATES = {
    "good": ("", "", "", ""),
    "wrong name": ("", "", "", "4.7.325"),
    "self-signed": ("", "", "4.7.5", "4.7.5"),
    "no intermediate": ("", "", "4.7.5", "4.7.5"),
    "expired": ("", "", "4.7.322", "4.7.322"),
}


def papers(kind: str, folder: Path) -> tuple[Authority, Papers]:
    ca = Authority(folder)
    made = {
        "good": lambda: ca.issue(NAME),
        "wrong name": lambda: ca.issue("mail.other.example"),
        "self-signed": lambda: ca.issue(NAME, self_signed=True),
        "no intermediate": lambda: Authority(folder, "Sub CA", under=ca).issue(NAME, alone=True),
        "expired": lambda: ca.issue(NAME, expired=True),
    }
    return ca, made[kind]()


async def levels_at(host: str, ca: Authority) -> tuple[str, ...]:
    """What becomes of mail at each level; the same twice, on new connections."""
    sender = courier(ca_bundle=str(ca.file), messages=1)
    came: list[str] = []
    for level, demand in LEVELS.items():
        both = set()
        for _ in range(2):
            try:
                (outcome,) = await sender.carry(hop(host, tls=demand, lane=f"org/{level}"), cargo("a@x.test"))
                assert outcome.fate is Fate.DELIVERED and outcome.tls, (level, outcome)
                both.add("")
            except Unreachable as trouble:
                both.add(trouble.reply.enhanced)
        (only,) = both
        came.append(only)
    await sender.close()
    return tuple(came)


@pytest.mark.parametrize("kind", CERTIFICATES)
async def test_t_tls_3_with_aiosmtpd(kind: str, tmp_path: Path) -> None:
    taker = Taker()
    ca, shown = papers(kind, tmp_path)
    context = shown.server_context()
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: SMTP(taker, hostname="x.test", tls_context=context), "127.0.0.1", 0)
    try:
        assert await levels_at(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", ca) == CERTIFICATES[kind]
        assert len(taker.contents) == 2 * CERTIFICATES[kind].count("")
        await asyncio.sleep(0.1)
    finally:
        server.close()


@pytest.mark.parametrize("kind", CERTIFICATES)
async def test_t_tls_3_with_postfix(kind: str, tmp_path: Path) -> None:
    ca, shown = papers(kind, tmp_path)
    tmp_path.chmod(0o755)
    with (
        SmtpPeer() as behind,
        Postfix(
            behind.host, smtpd_tls_security_level="may", smtpd_tls_cert_file=shown.chain, smtpd_tls_key_file=shown.key
        ) as postfix,
    ):
        assert await levels_at(postfix.host, ca) == CERTIFICATES[kind]
        many = 2 * CERTIFICATES[kind].count("")
        await asyncio.to_thread(arrived, behind, many)
        assert len(behind.mails) == many


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
