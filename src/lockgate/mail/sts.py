"""What a domain demands of those who send to it: its MTA-STS policy (RFC 8461)."""

from __future__ import annotations

import enum

import msgspec


class StsMode(enum.StrEnum):
    """What follows where no server of the policy can be reached as it demands (RFC 8461 5)."""

    ENFORCE = "enforce"
    TESTING = "testing"
    NONE = "none"


class StsPolicy(msgspec.Struct, frozen=True):
    """One policy as it was published and kept.

    `mx` are the names of mail hosts, A-label, lower case, without trailing dot; "*.x" stands for one label before x
    (RFC 8461 4.1). `id` is that of the TXT record under which it was fetched; `until` the end of its life in seconds
    since the epoch (fetched plus max_age); `text` its lines as published, for reports (RFC 8460 4.4 policy-string).
    """

    domain: str
    mode: StsMode
    mx: tuple[str, ...]
    id: str
    until: float
    text: tuple[str, ...] = ()

    def covers(self, host: str) -> bool:
        """Whether mail may go to this host, an A-label without trailing dot in lower case."""
        _, _, above = host.partition(".")
        return host in self.mx or (above != "" and f"*.{above}" in self.mx)
