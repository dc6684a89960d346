"""What is known of a signing key of ours: its name, its public half, and how far it has come (waiting to revoked)."""

from __future__ import annotations

import enum

import msgspec


class KeyState(enum.StrEnum):
    """A key signs once its record has been seen in DNS, and its record stays while mail it signed is under way."""

    WAITING = "waiting"
    ACTIVE = "active"
    RETIRING = "retiring"
    REVOKED = "revoked"


class HeldKey(msgspec.Struct, frozen=True):
    """One key. Times are seconds since the epoch, 0 for never.

    `algorithm` is "rsa" or "ed25519"; `record` the TXT record to publish. It is in `state` since `since`; `until` says
    until when the record of a retiring one has to stay published. `looked` is when DNS was last asked for it, `seen`
    when the right record was there, `said` what was wrong at the last look ("" for nothing); it says nothing about the
    record if DNS gave no answer (`silent`).
    """

    organisation: str
    domain: str
    selector: str
    algorithm: str
    bits: int
    record: str
    state: KeyState
    made: float
    since: float
    until: float = 0.0
    looked: float = 0.0
    seen: float = 0.0
    said: str = ""
    silent: bool = False

    @property
    def name(self) -> str:
        """Where its record is published (RFC 6376 3.6.2.1)."""
        return f"{self.selector}._domainkey.{self.domain}"

    @property
    def published(self) -> bool:
        """Whether its record has to be in DNS now."""
        return self.state is not KeyState.REVOKED

    @property
    def missing(self) -> bool:
        """Whether it signs and DNS is known not to have its record, so that its signatures prove nothing."""
        return self.state is KeyState.ACTIVE and bool(self.said) and not self.silent
