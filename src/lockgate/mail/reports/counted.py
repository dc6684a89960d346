"""What is passed on between those who see mail and those who report on it: counts, failures, and letters to be read."""

from __future__ import annotations

import msgspec

from lockgate.mail.reports.aggregate import Row
from lockgate.mail.reports.failure import FailureReport

DAY = 86400
"""Seconds of a day of reports; days are those of UTC."""


class Seen(msgspec.Struct, frozen=True):
    """Messages of one organisation that fared alike on one day (days since the epoch).

    `domain` is the one whose DMARC record counted, `published` what that record said (mail/dmarc.py). A `row` of None
    counts messages whose rows were too many to be told apart.
    """

    organisation: str
    day: int
    domain: str
    published: str
    row: Row | None
    count: int = 1


class Failed(msgspec.Struct, frozen=True):
    """One message that failed, ready to be told to whom `domain` names; nobody is named in it."""

    organisation: str
    at: float
    domain: str
    report: FailureReport


class TlsSeen(msgspec.Struct, frozen=True):
    """Sessions with one domain's servers that went alike (RFC 8460 4); see seams.TlsResults."""

    organisation: str
    day: int
    domain: str
    kind: str
    result: str
    receiving_mx: str = ""
    sending_ip: str = ""
    count: int = 1


class TlsPublished(msgspec.Struct, frozen=True):
    """What a domain had published when sessions were under it (RFC 8460 4.4 policy-string)."""

    organisation: str
    day: int
    domain: str
    kind: str
    policy: tuple[str, ...]


class Batch(msgspec.Struct, frozen=True):
    """What one worker has counted within a moment."""

    seen: tuple[Seen, ...] = ()
    failed: tuple[Failed, ...] = ()
    tls: tuple[TlsSeen, ...] = ()
    published: tuple[TlsPublished, ...] = ()


class Arrived(msgspec.Struct, frozen=True):
    """A message to an address whose mail is read as reports. `origin` says where it comes from, for people."""

    organisation: str
    at: float
    origin: str
    octets: bytes


class Period(msgspec.Struct, frozen=True):
    """What one report will be, or was, about: one domain and (part of) one day.

    `report` is its id, "" while it is still being counted. `beyond` counts messages without a row. `begin` and `end`
    are seconds since the epoch. `tries` were made to send it; `done` is when that ended (0: it has not), `outcome` what
    came of it.
    """

    organisation: str
    day: int
    domain: str
    report: str
    published: str
    begin: int
    end: int
    messages: int
    beyond: int = 0
    tries: int = 0
    done: float = 0.0
    outcome: tuple[str, ...] = ()
