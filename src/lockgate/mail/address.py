"""Mail addresses: parsed once, compared safely.

RFC 5321 4.1.2 (Mailbox), RFC 6531 3.3 (UTF-8), RFC 5890 (A-labels).
"""

from __future__ import annotations

import msgspec


class AddressError(ValueError):
    """The text is not an address; the message says why, in words for the person or peer who wrote it."""


class Address(msgspec.Struct, frozen=True):
    """One mailbox address.

    `local` is the local part as it goes on the wire (quoted if it was quoted), `domain` the domain in A-label,
    lower-case form without a trailing dot, or an address literal with its brackets. `<postmaster>` without a
    domain (RFC 5321 4.1.1.3) has the empty domain.
    """

    local: str
    domain: str

    @property
    def text(self) -> str:
        """The address as it is written in an envelope, without angle brackets."""
        return f"{self.local}@{self.domain}" if self.domain else self.local

    @property
    def key(self) -> str:
        """What two spellings of one recipient have in common (specification 1.6: case does not distinguish)."""
        return f"{self.local}@{self.domain}".casefold()

    def __str__(self) -> str:
        return self.text
