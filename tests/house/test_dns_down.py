"""DNS is dead, slow, lying or forged while mail comes in: 451 in time, the reason is told, and later it goes on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from lockgate.flow.asking import Explain, Kind
from peers.contoso import contoso, mail_users
from peers.dns_server import DnsServer
from peers.dns_thread import dns
from peers.listening import arrived
from peers.service import Service, running
from peers.smtp_peer import SmtpPeer

BEN, ANN, PEER = "ben@contoso.com", "ann@sender.test", "192.0.2.10"
ZONE = {
    ("sender.test", "TXT"): ['"v=spf1 ip4:192.0.2.10 -all"'],
    ("_dmarc.sender.test", "TXT"): ['"v=DMARC1; p=reject"'],
}
POLICY = '\n[[anti_phishing_policy]]\nname = "Default"\n'


@dataclass
class World:
    service: Service
    names: DnsServer
    sink: SmtpPeer

    def say(self, sender: str) -> tuple[int, str, float]:
        begun = time.monotonic()
        with self.service.client(PEER) as client:
            content = f"From: <{sender}>\r\nTo: {BEN}\r\nSubject: hello\r\n\r\nx\r\n".encode()
            code, text = client.letter(sender, BEN, content=content)
        return code, text, time.monotonic() - begun


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with dns(ZONE) as names, SmtpPeer() as sink:
        names.delay = 30.0
        resolver = {
            "resolvers": [names.address[0]], "port": names.address[1], "timeout": "800ms", "message_time": "6s",
        }  # fmt: skip
        folder = tmp_path_factory.mktemp("dead")
        with running(folder, contoso(sink.host) + POLICY, recipients=mail_users("ben"), dns=resolver) as service:
            yield World(service, names, sink)


@pytest.mark.parametrize(
    ("mode", "told"),
    [
        ("drop", "did not answer in time"), ("slow", "did not answer in time"), ("servfail", "SERVFAIL"),
        ("garbage", "did not answer in time"), ("truncate-both", "by TCP"), ("loop", "without end"),
        ("forged", "DNSSEC"),
    ],
)  # fmt: skip
def test_mail_is_put_off_with_the_reason_and_taken_later(world: World, mode: str, told: str) -> None:
    # Each with a domain of its own, so that nothing is remembered of another one's trouble.
    sender = f"ann@{mode}.sender.test"
    domain = f"{mode}.sender.test"
    world.names.zone = {**ZONE, (domain, "TXT"): ZONE["sender.test", "TXT"]}
    world.names.modes["*"] = mode
    code, text, seconds = world.say(sender)
    assert (code, text[:2]) == (451, "4."), text
    assert seconds < 20, "nobody is made to wait longer"
    connection = text.rpartition("(id ")[2].rstrip(")")
    world.service.until(lambda: world.service.answer(Explain(connection)).kind == Kind.OK, "the refusal is written")
    (part,) = world.service.done(Explain(connection))["parts"]
    (verdict,) = part["recipients"]
    assert verdict["reply"].startswith("451")
    assert told in verdict["because"], verdict
    assert domain in verdict["because"]
    before = len(world.sink.mails)
    world.names.modes.clear()

    def taken() -> bool:
        return world.say(sender)[0] == 250  # what failed is remembered for a second

    # Not too often: of fifty refusals alike only a count is kept.
    world.service.until(taken, "the same mail is taken when DNS is back", pause=1.1)
    arrived(world.sink, before + 1)


def test_a_pass_that_needs_no_dns_now_still_passes(world: World) -> None:
    """What was remembered goes on being true while DNS is dead."""
    assert world.say(ANN)[0] == 250
    world.names.modes["*"] = "drop"
    try:
        code, text, seconds = world.say(ANN)
        assert code == 250, text
        assert seconds < 3
    finally:
        world.names.modes.clear()
