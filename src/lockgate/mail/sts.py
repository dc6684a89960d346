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


class KeptSts(msgspec.Struct, frozen=True):
    """What is kept of one domain; times in seconds since the epoch, 0: never.

    `policy` is the last one that was fetched, dead or alive, None if none ever was; `fetched` when it was last seen as
    it is, `failed` and `why` tell of a later attempt that failed ("": none did), in `word` as RFC 8460 4.3 has it.
    `busy` is until when nobody else needs to try: somebody fetches it now, or has failed a moment ago.
    """

    domain: str
    policy: StsPolicy | None = None
    fetched: float = 0.0
    failed: float = 0.0
    why: str = ""
    busy: float = 0.0
    word: str = ""

    def alive(self, now: float) -> StsPolicy | None:
        """The policy if it still holds."""
        return self.policy if self.policy is not None and now < self.policy.until else None


class StsLook(msgspec.Struct, frozen=True):
    """What a person is shown of one domain: what DNS announces now, and what came of it.

    `records` are all TXT records of _mta-sts.DOMAIN; `announced` the id in them, "" if there is none, `silent` why not
    ("" if there is one). `kept` is what is in force; `trouble` why a fetch of now failed; `fetched_now` whether one was
    made and succeeded.
    """

    domain: str
    records: tuple[str, ...] = ()
    announced: str = ""
    silent: str = ""
    kept: KeptSts | None = None
    trouble: str = ""
    fetched_now: bool = False
