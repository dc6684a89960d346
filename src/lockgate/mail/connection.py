"""The peer at the other end: address, name, TLS and certificate. A handshake decides nothing; it is recorded."""

from __future__ import annotations

import msgspec


class Certificate(msgspec.Struct, frozen=True):
    """The leaf certificate a peer presented, as far as judging needs it. Times are seconds since the epoch.

    `names` are the SAN dNSName entries, A-label, lower case, without trailing dot; names with NUL or control
    bytes are left out. `purposes` are the short names of the extended key usages ("serverAuth", "clientAuth",
    otherwise the dotted object identifier); empty means the certificate does not restrict its use.
    """

    names: tuple[str, ...]
    common_name: str
    subject: str
    issuer: str
    serial: str
    not_before: float
    not_after: float
    spki_sha256: str
    purposes: tuple[str, ...] = ()
    self_signed: bool = False


class Tls(msgspec.Struct, frozen=True):
    """What the TLS handshake showed.

    `trusted_by` names the CA stores under which the chain verifies at handshake time: "public" for the
    operator's bundle, otherwise the CA file as the connector names it. `trouble` is the reason why the chain
    does not verify under "public" (empty if it does, or if no certificate was presented).
    """

    version: str
    cipher: str
    server_name: str = ""
    certificate: Certificate | None = None
    trusted_by: tuple[str, ...] = ()
    trouble: str = ""


class Load(msgspec.Struct, frozen=True):
    """Counts over all workers at the moment of judging; IPv6 peers count per /64."""

    from_peer: int = 0
    in_all: int = 0


OWN_REPORT = "own report"
"""Stands for the listener where no peer was: mail that we make ourselves."""


class Connection(msgspec.Struct, frozen=True):
    """One SMTP connection as known now.

    `id` is unguessable and what the administrator searches for. `peer` is the textual address (an IPv4-mapped
    IPv6 address is given as IPv4), `packed` the same in network byte order (4 or 16 octets). `listener` is the
    address and port we were reached at; `proxied_by` the listed proxy that told us the peer (PROXY protocol).
    """

    id: str
    peer: str
    packed: bytes
    port: int
    listener: str
    proxied_by: str = ""
    helo: str = ""
    extended: bool = False
    tls: Tls | None = None
    login: str = ""
    load: Load = Load()

    @property
    def own_report(self) -> bool:
        """Whether there was no connection: we made the message."""
        return self.listener == OWN_REPORT
