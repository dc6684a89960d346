"""SMTP replies: the only place where three-digit codes are written.

RFC 5321 4.2 (codes), RFC 3463 (enhanced codes), specification 1.20 (Exchange's texts).
"""

from __future__ import annotations

import msgspec


class Reply(msgspec.Struct, frozen=True):
    """One SMTP reply. It refuses to exist if code and enhanced code disagree in their class.

    `text` is one sentence for the peer; it never holds CR, LF or NUL (checked). `enhanced` is "" only for
    replies to which RFC 2034 gives none (greeting, HELO, EHLO, intermediate 3xx).
    """

    code: int
    enhanced: str
    text: str

    def __post_init__(self) -> None:
        if not 200 <= self.code <= 599:
            raise ValueError(f"{self.code} is not an SMTP reply code")
        if self.enhanced and not self.enhanced.startswith(f"{self.code // 100}."):
            raise ValueError(f"enhanced code {self.enhanced} does not belong to {self.code}")
        if not self.text.isprintable():
            raise ValueError("a reply is one printable line")

    @property
    def permanent(self) -> bool:
        """Whether the peer shall not try again (5xx)."""
        return self.code >= 500

    @property
    def temporary(self) -> bool:
        """Whether the peer may try again later (4xx)."""
        return 400 <= self.code < 500

    @property
    def accepts(self) -> bool:
        """Whether this is a 2xx or 3xx reply."""
        return self.code < 400

    @property
    def closes(self) -> bool:
        """Whether the connection ends with this reply (421, RFC 5321 3.8)."""
        return self.code == 421

    def wire(self) -> bytes:
        """The reply as it is sent: one line with CRLF, pure ASCII."""
        middle = f" {self.enhanced} " if self.enhanced else " "
        return f"{self.code}{middle}{self.text}\r\n".encode("ascii", "replace")

    def with_id(self, reference: str) -> Reply:
        """The same reply with the id under which the administrator finds it in trace and log."""
        return Reply(self.code, self.enhanced, f"{self.text} (id {reference})")

    def __str__(self) -> str:
        return f"{self.code} {self.enhanced} {self.text}" if self.enhanced else f"{self.code} {self.text}"
