"""What is counted of devices and applications that send through us, and of the own-server connectors they use.

A device is a host that sends as an organisation's own domain: over one of its own-server connectors, by a login, or
straight to its recipients (specification 3.8). IPv6 hosts are told apart by their /64.
"""

from __future__ import annotations

import ipaddress
from typing import NamedTuple

import msgspec

BUCKET = 300
"""Seconds of one count of a connector's traffic."""

DIRECT, LOGIN, NOT_ALLOWED = "direct send", "login", "not allowed"
"""Ways to send, besides "connector NAME"; the last one: all of it was refused."""


class DeviceSeen(msgspec.Struct):
    """What one host did for one organisation within some time. Times are seconds since the epoch, 0: never.

    `messages` were taken, `inside` and `outside` count their recipients; `others` counts messages with a sender of
    another domain (without a connector they are not among `messages`). `refused` counts refusals for good, of which
    `bare_refused` for their line ends; `mended` messages came with bare line feeds. `helo`, `tls` (its version, "" for
    plain text) and `way` are those of the last message that was
    taken, or else of the last refusal; `refusal` tells the last refusal and `refusal_id` finds it in the trace.
    `senders` counts messages by envelope sender, hidden as the organisation wishes, `more_senders` those beyond.
    """

    organisation: str
    host: str
    way: str = ""
    connector: str = ""
    helo: str = ""
    tls: str = ""
    messages: int = 0
    inside: int = 0
    outside: int = 0
    others: int = 0
    refused: int = 0
    bare_refused: int = 0
    mended: int = 0
    first_seen: float = 0.0
    last_seen: float = 0.0
    last_taken: float = 0.0
    last_refused: float = 0.0
    refusal: str = ""
    refusal_id: str = ""
    senders: dict[str, int] = {}
    more_senders: int = 0


class Told(NamedTuple):
    """One message that was taken, or one refusal, of one device."""

    organisation: str
    host: str
    way: str
    connector: str
    helo: str
    tls: str
    at: float
    sender: str = ""
    inside: int = 0
    outside: int = 0
    other: bool = False
    mended: bool = False
    refusal: str = ""
    refusal_id: str = ""
    bare: bool = False


class Traffic(msgspec.Struct):
    """What came over one own-server connector within one bucket of BUCKET seconds that begins at `at`.

    `outside` counts recipients outside; `mismatched` messages whose author's domain is not that of the envelope sender;
    `unregistered` messages whose envelope sender or author is of a domain that the organisation does not have.
    """

    organisation: str
    connector: str
    at: int
    messages: int = 0
    outside: int = 0
    mismatched: int = 0
    unregistered: int = 0

    def plus(self, other: Traffic) -> Traffic:
        """Both together, from the earlier begin on."""
        return Traffic(
            self.organisation,
            self.connector,
            min(self.at, other.at),
            self.messages + other.messages,
            self.outside + other.outside,
            self.mismatched + other.mismatched,
            self.unregistered + other.unregistered,
        )


class DeviceBatch(msgspec.Struct):
    """What one worker has counted since it last wrote it down."""

    devices: tuple[DeviceSeen, ...] = ()
    traffic: tuple[Traffic, ...] = ()


def host_of(peer: str, packed: bytes) -> str:
    """The host as it is counted: the address, of IPv6 the /64 that it is in."""
    if len(packed) == 4:
        return peer
    return str(ipaddress.ip_network((packed[:8] + bytes(8), 64)))
