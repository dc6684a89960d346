"""What the operator sets for everything that leaves."""

from __future__ import annotations

import msgspec


class Patience(msgspec.Struct, frozen=True):
    """Seconds to wait for each step (RFC 5321 4.5.3.2), and how long an unused connection is kept (`idle`).

    `block` is the pause allowed while content is being written; `final` the wait for the answer to the content.
    """

    connect: float = 30.0
    greeting: float = 300.0
    hello: float = 300.0
    handshake: float = 60.0
    login: float = 120.0
    mail: float = 300.0
    rcpt: float = 300.0
    data: float = 120.0
    block: float = 180.0
    final: float = 600.0
    idle: float = 30.0


class CourierSettings(msgspec.Struct, frozen=True):
    """What all next hops have in common.

    `mx_port` is the port of mail exchangers and of smart hosts that name none. `ca_bundle` is the operator's file of
    trusted CAs (PEM), `crl_file` a PEM file of revocation lists ("": none); `certificate` and `key` are presented
    when a server asks and the hop has none of its own. `allowed` lists exceptions of what may be dialled (a network,
    an address, or address:port). `own_names` are the names under which we receive, `own_addresses` our addresses
    ("address", or "address:port" for one listener): an MX that is one of them is a loop, and none is ever dialled.
    `recipients` is the number of RCPT in one transaction, `messages` of messages over one connection, `hosts` of
    addresses tried in one attempt. `least_rate` in octets a second bounds how long content may take to be written.
    """

    mx_port: int = 25
    ca_bundle: str = "/etc/ssl/certs/ca-certificates.crt"
    crl_file: str = ""
    certificate: str = ""
    key: str = ""
    allowed: tuple[str, ...] = ()
    own_names: tuple[str, ...] = ()
    own_addresses: tuple[str, ...] = ()
    patience: Patience = Patience()
    recipients: int = 100
    messages: int = 1000
    hosts: int = 10
    least_rate: int = 1024
