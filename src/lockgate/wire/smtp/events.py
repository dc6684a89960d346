"""What a listening SMTP session tells its driver."""

from __future__ import annotations

import enum

import msgspec

from lockgate.mail.envelope import Envelope
from lockgate.mail.recipient import RecipientId
from lockgate.mail.reply import Reply


class Hello(msgspec.Struct, frozen=True):
    """HELO or EHLO was said and is answered already; the transaction is forgotten."""

    name: str
    extended: bool


class Signal(enum.Enum):
    """Events without content."""

    STARTTLS = "the 220 is in the output: send it, then begin the handshake and call secured()"
    BEGIN = "octets of a message follow: call take_body(write), or answer with a refusal"
    END = "the message is complete: answer"
    FORGET = "the transaction is to be forgotten, the peer has its answer"


class Spoiled(msgspec.Struct, frozen=True):
    """The octets cannot become a message: forget the transaction and answer.

    They have come to their end, or a chunk begins that is too large; its octets are awaited and thrown away then.

    `reply` says why to the peer; it is None if the writer failed, then `trouble` is what it raised.
    """

    reply: Reply | None
    trouble: Exception | None = None


Event = Hello | Envelope | RecipientId | Signal | Spoiled
"""Envelope (MAIL) and RecipientId (RCPT) want a reply, and so do BEGIN, END and Spoiled; the others do not."""
