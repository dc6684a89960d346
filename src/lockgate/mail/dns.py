"""What DNS may answer, as data: hosts, and how far an answer may be believed (RFC 4035 4.3)."""

from __future__ import annotations

import enum

import msgspec


class MxHost(msgspec.Struct, frozen=True):
    """One mail exchanger, A-label without trailing dot."""

    preference: int
    name: str


class DnsTemporary(Exception):
    """No usable answer: time-out, SERVFAIL, refused, garbage. Never a verdict."""


class DnsBogus(DnsTemporary):
    """There is an answer, and DNSSEC says that it is forged or badly signed. For all who ask that is temporary too:
    never taken for an answer, never for "there is none".
    """


class DnsNone(Exception):
    """The name does not exist (NXDOMAIN)."""


class DnsState(enum.StrEnum):
    """How far an answer may be believed (RFC 4035 4.3). NONE: there is no such name; TEMPORARY: no usable answer."""

    SECURE = "secure"
    INSECURE = "insecure"
    BOGUS = "bogus"
    TEMPORARY = "temporary"
    NONE = "none"


class DnsAnswer(msgspec.Struct, frozen=True):
    """Everything about one answer.

    `records` are in presentation form without trailing dots, of MX the hosts; () for a name that has none of this type.
    `validated`: proven by DNSSEC, as SECURE is; it also tells a proven NONE from one that is merely said. `canonical`
    is the last name of the chain of aliases, `why` the trouble of BOGUS and TEMPORARY, `until` when the answer stops
    being true, by the monotonic clock.
    """

    state: DnsState
    records: tuple[str, ...] | tuple[MxHost, ...] = ()
    validated: bool = False
    canonical: str = ""
    why: str = ""
    until: float = 0.0
