"""What is over a limit of policy is refused by the judge, and `trace find` finds it by the id that was told."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from peers.client import Raw
from peers.contoso import contoso
from peers.service import Service, running

LIMITS = "[operator.limits]\nmessage_size = 65536\nrecipients_per_message = 100\n"
SENDER, BEN = "alice@outside.example", "ben@contoso.com"


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    policy = contoso("127.0.0.1:1", domain_type="internal_relay")
    with running(tmp_path_factory.mktemp("limits"), LIMITS + policy) as service:
        yield service


def found(service: Service, reply: str) -> dict[str, Any]:
    """The only row of the refusal that told its id like this."""
    told = re.search(r"\(id ([^)]+)\)", reply)
    assert told, reply
    (row,) = service.until(lambda: service.trace(id=told[1]), f"a row for {reply}")
    assert row["status"] == "Refused" and row["sender_address"] == SENDER
    return row


def opened(raw: Raw) -> None:
    assert raw.reply().startswith("220 ")
    for command in ("EHLO raw.test", f"MAIL FROM:<{SENDER}>", f"RCPT TO:<{BEN}>"):
        assert raw.say(f"{command}\r\n".encode()).startswith("250 ")


@pytest.mark.parametrize("first", [b"", b"BDAT 65536\r\n" + b"x" * 65536], ids=["first", "later"])
def test_a_chunk_that_is_too_large(service: Service, first: bytes) -> None:
    with Raw(service.proxied) as raw:
        opened(raw)
        if first:
            assert raw.say(first).startswith("250 ")
        reply = raw.say(b"BDAT 65537 LAST\r\n" + b"x" * 65537)
        assert reply.startswith("552 5.3.4 The message is larger than is accepted here (id ")
        row = found(service, reply)
        assert row["recipient_address"] == "" and "552 5.3.4" in row["reply"]
        code, out, err = service.command("explain", row["id"])
        assert code == 0 and "size limit" in out, err
        assert raw.say(f"MAIL FROM:<{SENDER}>\r\n".encode()).startswith("250 "), "the conversation goes on"
    assert not list(Path(service.state, "queue", "segments").glob("*.big"))


def test_one_recipient_too_many(service: Service) -> None:
    with Raw(service.proxied) as raw:
        opened(raw)
        for number in range(99):
            assert raw.say(f"RCPT TO:<{number}@contoso.com>\r\n".encode()).startswith("250 ")
        assert raw.say(f"RCPT TO:<{BEN}>\r\n".encode()).startswith("250 "), "who is named twice is taken once"
        reply = raw.say(b"RCPT TO:<one.more@contoso.com>\r\n")
        assert reply.startswith("452 4.5.3 Too many recipients, send the others in another transaction (id ")
        row = found(service, reply)
        assert row["recipient_address"] == "one.more@contoso.com" and "452 4.5.3" in row["reply"]
        assert raw.say(b"DATA\r\n").startswith("354 ")
