"""Who sent it and with which SMTP promises."""

from __future__ import annotations

import enum

import msgspec

from lockgate.mail.address import Address


class Body(enum.StrEnum):
    """The BODY parameter of MAIL (RFC 6152, RFC 3030)."""

    SEVEN_BIT = "7BIT"
    EIGHT_BIT = "8BITMIME"
    BINARY = "BINARYMIME"


class Envelope(msgspec.Struct, frozen=True):
    """MAIL FROM and its parameters; `sender` None is the null sender <>.

    `size` is the declared SIZE in octets (0: not declared, RFC 1870); `ret` ("FULL", "HDRS" or "") and `envid`
    belong to DSN (RFC 3461 4.3-4.4); `utf8` is SMTPUTF8 (RFC 6531); `require_tls` is REQUIRETLS (RFC 8689).
    """

    sender: Address | None
    body: Body = Body.SEVEN_BIT
    utf8: bool = False
    size: int = 0
    ret: str = ""
    envid: str = ""
    require_tls: bool = False

    @property
    def sender_text(self) -> str:
        """The reverse path without angle brackets; empty for the null sender."""
        return "" if self.sender is None else self.sender.text

    @property
    def sender_domain(self) -> str:
        """The sender's domain, empty for the null sender."""
        return "" if self.sender is None else self.sender.domain
