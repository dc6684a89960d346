"""T-TLS-3, T-TLS-5, T-TLS-6: what a connector demands of TLS is met, or the mail waits and its sender hears of it."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from peers.certificates import Authority, Papers
from peers.contoso import contoso, mail_users
from peers.listening import arrived, recipients
from peers.service import Service, running
from peers.smtp_peer import Mail, Script, SmtpPeer

ON_PREMISES = "203.0.113.25"
OWN_SERVER = """
[[inbound_connector]]
name = "Own servers"
connector_type = "on_premises"
sender_domains = ["*"]
sender_ip_addresses = ["203.0.113.25"]
"""
CONNECTOR = """
[[outbound_connector]]
name = "{name}"
recipient_domains = ["{name}.test"]
use_mx_record = false
smart_hosts = ["{host}"]
{lines}
"""
NAMED = 'tls_settings = "domain_validation"\ntls_domain = "*.contosobank.com"'
LEVELS = {
    "opportunistic": "",
    "encryption": 'tls_settings = "encryption_only"',
    "chain": 'tls_settings = "certificate_validation"',
    "name": NAMED,
}
# peer -> level -> "tls", "clear", or the enhanced code for which mail waits
TABLE = {
    "good": {"opportunistic": "tls", "encryption": "tls", "chain": "tls", "name": "tls"},
    "self-signed": {"opportunistic": "tls", "encryption": "tls", "chain": "4.7.5", "name": "4.7.5"},
    "other": {"opportunistic": "tls", "encryption": "tls", "chain": "tls", "name": "4.7.325"},
    "expired": {"opportunistic": "tls", "encryption": "tls", "chain": "4.7.322", "name": "4.7.322"},
    "plain": {"opportunistic": "clear", "encryption": "4.7.321", "chain": "4.7.321", "name": "4.7.321"},
}


@dataclass
class World:
    service: Service
    own: SmtpPeer
    peers: dict[str, SmtpPeer]
    ca: Authority
    pinned: tuple[Papers, ...]
    revocable: Papers
    crl: Path

    def say(self, domain: str, **more: Any) -> str:
        return self.service.send("ben@contoso.com", f"x@{domain}.test", peer=ON_PREMISES, **more)

    def at(self, peer: str, domain: str) -> list[Mail]:
        return [mail for mail in self.peers[peer].mails if recipients(mail) == [f"x@{domain}.test"]]

    def waits(self, message: str, code: str) -> dict[str, Any]:
        """The trace row of a message that waits because of this."""
        seen = self.service.until(
            lambda: [row for row in self.service.trace(id=message) if code in row["reply"]], f"it waits for {code}"
        )
        return seen[0]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    folder = tmp_path_factory.mktemp("outbound-tls")
    ca = Authority(folder)
    bank = "mail.contosobank.com"
    papers = {
        "good": ca.issue(bank),
        "self-signed": ca.issue(bank, self_signed=True),
        "other": ca.issue("mail.other.example"),
        "expired": ca.issue(bank, expired=True),
    }
    scripts = {kind: Script(context=one.server_context()) for kind, one in papers.items()} | {"plain": Script()}
    pinned = tuple(ca.issue(bank, self_signed=True) for _ in range(3))
    revocable = ca.issue(bank)
    scripts |= {"pinned": Script(), "revoked": Script(context=revocable.server_context())}
    peers = {kind: SmtpPeer(script) for kind, script in scripts.items()}
    with SmtpPeer() as own:
        lines = [
            CONNECTOR.format(name=f"{kind}-{level}", host=peers[kind].host, lines=LEVELS[level])
            for kind in TABLE for level in LEVELS
        ]  # fmt: skip
        pins = f'tls_settings = "certificate_validation"\npinned_keys = ["{pinned[0].pin}", "{pinned[1].pin}"]'
        lines.append(CONNECTOR.format(name="pinned", host=peers["pinned"].host, lines=pins))
        lines.append(CONNECTOR.format(name="revoked", host=peers["revoked"].host, lines=LEVELS["chain"]))
        policy = contoso(own.host) + OWN_SERVER + "".join(lines)
        crl = ca.revoke()
        try:
            with running(
                folder / "service", policy, recipients=mail_users("ben"),
                delivery={"ca_bundle": ca.file, "crl_file": crl, "message_life": "15s", "delay_notice": "0s"},
                alerts={"connector_failures": 2},
            ) as service:  # fmt: skip
                yield World(service, own, peers, ca, pinned, revocable, crl)
        finally:
            for peer in peers.values():
                peer.close()


def _spoken_in_clear(peer: SmtpPeer) -> set[bytes]:
    return {line.split(b" ")[0].upper() for session in peer.sessions for line in session.clear.split(b"\r\n") if line}


def test_t_tls_3_every_level_against_every_peer_twice(world: World) -> None:
    """The second time on a new connection (`idle_connection` is a second), so that resumption hides no lost chain."""
    cases = [(kind, level, expected) for kind, levels in TABLE.items() for level, expected in levels.items()]
    before = {kind: len(peer.sessions) for kind, peer in world.peers.items()}
    for turn in (1, 2):
        sent = {(kind, level): world.say(f"{kind}-{level}") for kind, level, _ in cases}
        for kind, level, expected in cases:
            if expected in ("tls", "clear"):
                (row,) = world.service.settled(sent[kind, level])
                assert ("tls" if row["tls"] else "clear") == expected, (kind, level)
                assert len(world.at(kind, f"{kind}-{level}")) == turn
            else:
                row = world.waits(sent[kind, level], expected)
                assert row["status"] == "Pending" and not world.at(kind, f"{kind}-{level}"), (kind, level)
                if kind != "plain":
                    name = "mail.other.example" if kind == "other" else "mail.contosobank.com"
                    assert f"names {name}" in row["reply"] and "issuer CN=" in row["reply"], row["reply"]
        if turn == 1:
            time.sleep(1.5)
    for kind, peer in world.peers.items():
        assert kind in ("pinned", "revoked") or len(peer.sessions) > before[kind] + 4, kind
    # Not a byte of an envelope or a message left in clear, but where plain text was allowed.
    for kind in ("good", "self-signed", "other", "expired"):
        assert _spoken_in_clear(world.peers[kind]) <= {b"EHLO", b"STARTTLS", b"QUIT"}, kind
    clear = b"".join(session.clear for session in world.peers["plain"].sessions)
    assert set(re.findall(rb"RCPT TO:<x@([a-z-]+)\.test>", clear)) == {b"plain-opportunistic"}


def test_t_tls_3_an_unmet_demand_is_told_everywhere(world: World) -> None:
    message = world.say("self-signed-chain", content="Subject: t-tls-3 unmet\r\n\r\nsecret\r\n")
    row = world.waits(message, "4.7.5")
    assert row["reply"].startswith("454 4.7.5 TLS with 127.0.0.1")
    code, out, _ = world.service.command("explain", message)
    flat = " ".join(out.split())
    assert code == 0 and "certificate_validation" in flat, out
    assert "self-signed certificate" in flat and "names mail.contosobank.com" in flat, out
    world.service.until(
        lambda: "self-signed-chain" in world.service.command("alert", "list", "--json")[1], "an alert", pause=0.5
    )
    report = world.service.until(
        lambda: [m for m in world.own.mails if b"t-tls-3 unmet" in m.content and b"Action: failed" in m.content],
        "the sender is told at the end of its life", 40,
    )[0]  # fmt: skip
    assert b"Status: 5.4.300" in report.content
    diagnostic = re.sub(rb"\r\n[ \t]+", b" ", report.content)
    assert b"4.7.5 TLS with" in diagnostic and b"certificate_validation" in diagnostic
    assert not any(b"secret" in s.clear + s.secure for s in world.peers["self-signed"].sessions)


def test_t_tls_5_pins_and_roll_over(world: World) -> None:
    peer = world.peers["pinned"]
    for number, papers in enumerate(world.pinned[:2], 1):
        for turn in (1, 2):
            peer.script = Script(context=papers.server_context())
            world.service.settled(world.say("pinned"))
            assert len(peer.mails) == 2 * number - 2 + turn
            assert peer.sessions[-1].tls
            time.sleep(1.5)
    peer.script = Script(context=world.pinned[2].server_context())
    reply = world.waits(world.say("pinned"), "4.7.5")["reply"]
    assert "none of those pinned" in reply and f"it is {world.pinned[2].pin}" in reply
    assert "certificate_validation, pinned_keys" in reply
    assert len(peer.mails) == 4


def test_t_tls_6_a_revocation_list_is_obeyed_once_it_is_there(world: World) -> None:
    for _ in range(2):
        world.service.settled(world.say("revoked"))
        time.sleep(1.5)
    assert len(world.peers["revoked"].mails) == 2
    assert world.ca.revoke(world.revocable) == world.crl
    for _ in range(2):
        assert "revoked" in world.waits(world.say("revoked"), "4.7.5")["reply"]
    assert len(world.peers["revoked"].mails) == 2
    # The service goes on; what was not revoked is as good as before.
    world.service.settled(world.say("good-chain"))
    assert arrived(world.peers["good"])
