"""One SMTP connection, start to reply: grows the facts, asks the judge, makes accepted mail durable."""

from __future__ import annotations

from typing import Protocol

from lockgate.mail.connection import Tls
from lockgate.mail.envelope import Envelope
from lockgate.mail.recipient import RecipientId
from lockgate.mail.reply import Reply
from lockgate.seams import BodyWriter


class Visit(Protocol):
    """One connection as the edge drives it. Every 4xx/5xx it returns comes from the judge or from our own failure.

    None of the methods raises; what is unforeseen becomes 451 4.3.0 with the id.
    """

    def connected(self) -> Reply | None:
        """Judge the connection; None = welcome, else the reply instead of the greeting (then close)."""

    def secured(self, tls: Tls) -> None:
        """The handshake is over: what is known of envelope and HELO is forgotten (RFC 3207 4.2)."""

    def greeted(self, helo: str, *, extended: bool) -> None:
        """HELO or EHLO was said; an open transaction is forgotten."""

    def mail(self, envelope: Envelope) -> Reply:
        """MAIL FROM; policy is pinned here."""

    def rcpt(self, recipient: RecipientId) -> Reply:
        """RCPT TO; a recipient named twice is taken once."""

    def begin(self) -> BodyWriter | Reply:
        """DATA or the first BDAT: where the octets go, or a reply if they cannot be kept now."""

    async def done(self, body: BodyWriter) -> Reply:
        """The end of data: judge, make durable, and only then 250."""

    def reset(self) -> None:
        """RSET, or the peer is gone: forget the transaction (the body included)."""
