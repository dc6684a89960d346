"""The message by which a connector is tried: plain, honest, and answered by nobody."""

from __future__ import annotations

import datetime as dt
from email.utils import format_datetime

import msgspec


class ProofLetter(msgspec.Struct, frozen=True):
    """What the letter says. `sender` is the envelope sender ("" for none), `author` the address in From."""

    id: str
    organisation: str
    connector: str
    sender: str
    author: str
    recipients: tuple[str, ...]
    hostname: str
    now: float

    def octets(self) -> bytes:
        """The message with CRLF line ends; UTF-8 in the header only where an address needs it (RFC 6532)."""
        when = format_datetime(dt.datetime.fromtimestamp(self.now, dt.UTC))
        head = (
            f"From: Lockgate <{self.author}>",
            *_folded("To: ", [f"<{one}>" for one in self.recipients]),
            f"Date: {when}",
            f"Message-ID: <{self.id}@{self.hostname}>",
            f"Subject: Test of the connector {_ascii(self.connector)}",
            "Auto-Submitted: auto-generated",
            "X-Auto-Response-Suppress: All",
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=us-ascii",
            "Content-Transfer-Encoding: 7bit",
        )
        body = (
            f"An administrator of {_ascii(self.organisation)} has tried the outbound connector",
            f"{_ascii(self.connector)} of the mail server {self.hostname}.",
            "",
            "That you read this shows that mail takes this way and arrives.",
            "Nothing has to be done, and nobody reads answers to this message.",
            "",
            f"Sent {when}",
            f"Number {self.id}",
            "",
        )
        return "\r\n".join((*head, "", *body)).encode()


def _folded(name: str, entries: list[str]) -> list[str]:
    """One entry a line, so that no line grows long."""
    return [name + ",\r\n ".join(entries)]


def _ascii(text: str) -> str:
    """Printable ASCII on one line, bounded."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)[:100]
