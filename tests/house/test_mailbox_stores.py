"""An organisation's own mailbox store: Dovecot by LMTP, over TCP and a Unix socket, reached, dead, and alive again."""

from __future__ import annotations

from email import message_from_bytes
from pathlib import Path

import pytest

from house.test_mailboxes import HYBRID, ODD, ORGANISATION, OUTSIDE, PEOPLE, only
from peers.dovecot import Dovecot
from peers.listening import arrived
from peers.service import running
from peers.smtp_peer import SmtpPeer

STORE = """
[[mailbox_store]]
name = "Dovecot"
kind = "lmtp"
servers = ["{server}"]
"""


@pytest.fixture
def dovecot():
    with Dovecot() as one:
        yield one


@pytest.mark.parametrize("way", ["a store of the organisation, TCP", "a store of the organisation, socket", "operator"])
def test_into_dovecot_by_lmtp(way: str, tmp_path: Path, dovecot: Dovecot) -> None:
    tcp, socket = f"127.0.0.1:{dovecot.lmtp_port}", f"unix:{dovecot.socket}"
    policy, mailboxes = {
        "a store of the organisation, TCP": (STORE.format(server=tcp), {}),
        "a store of the organisation, socket": (STORE.format(server=socket), {"sockets": [socket]}),
        "operator": ("", {"servers": [socket]}),
    }[way]
    name = "Dovecot" if policy else "mailboxes"
    with running(tmp_path / "service", ORGANISATION + policy, recipients=PEOPLE, mailboxes=mailboxes) as service:
        message = service.send(OUTSIDE, "Ana.Smith@contoso.com", "david@contoso.com", content=ODD)
        service.settled(message)
        events = [row["events"][-1] for row in service.show(message)["rows"]]
        assert {event["kind"] for event in events} == {"Deliver"}
        host = tcp if "TCP" in way else f"{name}[{dovecot.socket}]"
        assert all(host.removeprefix("127.0.0.1") in event["host"] for event in events), events
        for user in ("ana@contoso.com", "david@contoso.com"):
            stored = only(dovecot.messages(user))
            assert stored.partition(b"From: alice@outside.example\r\n")[2].partition(b"\r\nSubject: ")[2] == (
                ODD.partition(b"\r\nSubject: ")[2]
            )
            parsed = message_from_bytes(stored)
            assert parsed.get_all("Return-Path") == [f"<{OUTSIDE}>"], "the store's, and no forged one"
            assert f"id {message}" in parsed.get_all("Received")[-1]


def test_a_dead_store_is_one_lane_that_waits(tmp_path: Path, dovecot: Dovecot) -> None:
    with SmtpPeer() as headquarters:
        policy = ORGANISATION + HYBRID.format(host=headquarters.host)
        policy += STORE.format(server=f"127.0.0.1:{dovecot.lmtp_port}")
        with running(tmp_path / "service", policy, recipients=PEOPLE) as service:
            dovecot.stop()
            messages = [service.send(OUTSIDE, "ana@contoso.com", "julie@contoso.com") for _ in range(5)]
            arrived(headquarters, 5)
            # Headquarters' lane may hold as many for a moment, until it is known that they were sent; it goes away.
            service.until(
                lambda: [(one["lane"], one["tasks"]) for one in service.queue()] == [("contoso/mailbox:Dovecot", 5)],
                "one lane waits, with all five",
            )
            dovecot.start()
            for message in messages:
                service.settled(message)
            assert len(dovecot.messages("ana@contoso.com")) == 5


def test_waiting_mail_follows_its_mailbox_to_another_store(tmp_path: Path, dovecot: Dovecot) -> None:
    off = STORE.format(server=f"127.0.0.1:{dovecot.lmtp_port}") + "enabled = false\n"
    with running(
        tmp_path / "service", ORGANISATION + off, recipients=PEOPLE, mailboxes={"directory": str(dovecot.mail)}
    ) as service:
        message = service.send(OUTSIDE, "ana@contoso.com")
        service.until(lambda: "switched off" in str(service.queue()), "it waits, and is told why")
        assert not dovecot.messages("ana@contoso.com"), "it goes nowhere else meanwhile"
        service.reload(ORGANISATION)
        service.settled(message)
        assert len(list(dovecot.mail.glob("contoso/contoso.com/ana/new/*"))) == 1


def test_a_socket_that_the_operator_does_not_list_is_not_touched(tmp_path: Path, dovecot: Dovecot) -> None:
    policy = ORGANISATION + STORE.format(server=f"unix:{dovecot.socket}")
    with running(tmp_path / "service", policy, recipients=PEOPLE) as service:
        service.send(OUTSIDE, "ana@contoso.com")
        service.until(lambda: "sockets does not list" in str(service.queue()), "it waits, and is told why")
