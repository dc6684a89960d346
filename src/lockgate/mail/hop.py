"""A next hop: whom to dial and what must hold before a byte of mail leaves. And the cargo to carry there."""

from __future__ import annotations

import enum

import msgspec

from lockgate.mail.envelope import Envelope
from lockgate.mail.octets import SeenOctets
from lockgate.mail.ruling import TlsLevel


class TlsDemand(msgspec.Struct, frozen=True):
    """What TLS must be like (specification 1.2.1, DESIGN 5). Unmet means deferred, never plain text.

    `name` is the name to check at `domain_validation`: the configured one ("*.x" covers x and any depth), never one
    learned from DNS; empty = the smart host as configured. `ca_file` replaces the operator's bundle. `pins` are hex
    SHA-256 of SPKI. `certificate` and `key` are files of our client certificate, presented when asked.
    """

    level: TlsLevel = TlsLevel.OPPORTUNISTIC
    name: str = ""
    ca_file: str = ""
    pins: tuple[str, ...] = ()
    certificate: str = ""
    key: str = ""


class Login(msgspec.Struct, frozen=True):
    """SASL credentials for a smart host; the secret is read from its reference when it is needed, never logged."""

    user: str
    secret: str


class DaneMode(enum.StrEnum):
    """What is made of TLSA records (RFC 7672): used where there are some, demanded, or not looked at."""

    OPPORTUNISTIC = "opportunistic"
    MANDATORY = "mandatory"
    NONE = "none"


class HopKind(enum.StrEnum):
    """How a next hop takes mail: SMTP onward, LMTP into a store (RFC 2033), or the Maildirs of this machine."""

    SMTP = "smtp"
    LMTP = "lmtp"
    MAILDIR = "maildir"


class NextHop(msgspec.Struct, frozen=True):
    """One lane's next hop. Either `smart_hosts` ("name", "name:port", "address", "[v6]:port") or `mx_domain`.

    `dane` and `sts` say whether DNS and the recipients' domain may demand more (RFC 7672, RFC 8461); that is about
    servers found by MX, and mandatory DANE about smart hosts too. `require_tls`: only to a server that promises
    REQUIRETLS and whose certificate is verified (RFC 8689 4.2.1).
    For LMTP `smart_hosts` are the servers of the store, "unix:/path" too; with `trusted` the operator's own file names
    them, so that they may be on this machine. `store` is what the store is called in trace and log, `organisation`
    whose mail it is.
    `source_v4`, `source_v6`, `helo` and `family` ("any", "ipv4", "ipv6") come from the connector or pool;
    `concurrency` is the number of connections of one worker, `rate` messages a minute (0: no bound).
    `size_limit` in octets, 0: none but the server's own. `pool` says whose source addresses these are.
    """

    lane: str
    tls: TlsDemand
    helo: str
    smart_hosts: tuple[str, ...] = ()
    mx_domain: str = ""
    source_v4: str = ""
    source_v6: str = ""
    family: str = "any"
    concurrency: int = 20
    rate: int = 0
    login: Login | None = None
    size_limit: int = 0
    kind: HopKind = HopKind.SMTP
    store: str = ""
    organisation: str = ""
    trusted: bool = False
    pool: str = ""
    dane: DaneMode = DaneMode.NONE
    sts: bool = False
    require_tls: bool = False


class CargoRecipient(msgspec.Struct, frozen=True):
    """One recipient on the wire, with its DSN parameters (RFC 3461)."""

    address: str
    orcpt: str = ""
    notify: tuple[str, ...] = ()


class Cargo(msgspec.Struct, frozen=True):
    """One message for one next hop. `content` is its octets with CRLF line ends, not dot-stuffed.

    `seen` is what is known of them; where it is None, they are looked at before they leave.
    """

    id: str
    envelope: Envelope
    recipients: tuple[CargoRecipient, ...]
    content: bytes
    seen: SeenOctets | None = None
