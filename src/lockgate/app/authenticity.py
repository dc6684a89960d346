"""`lockgate auth check`: a message out of a file, looked at as if it had just arrived. Needs no running service."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from pathlib import Path
from typing import Any

import msgspec

from lockgate.app.clock import SystemClock
from lockgate.app.config import read_config, resolvers
from lockgate.mail.address import AddressError, parse_address
from lockgate.mail.authentication import Authenticated
from lockgate.mail.authentication_results import field, results
from lockgate.mail.composite import compose
from lockgate.probes.trust.resolver import DnsResolver, Server, servers_of
from lockgate.probes.trust.sender import SenderCheck

LARGEST = 256 * 1024 * 1024
"""Octets of a file that is read."""

PATIENCE = 60.0
"""Seconds for all look-ups; a person waits longer than a peer does."""

_BARE_LF = re.compile(rb"(?<!\r)\n")


class CannotCheck(Exception):
    """The request makes no sense; the message says why."""


def authenticate(
    file: Path, peer: str, helo: str, sender: str, config: Path | None, resolver: str
) -> dict[str, Any]:
    """Results and reasons as plain data, and the field that we would write.

    `resolver` ("ADDRESS:PORT") goes before those of the operator's file, and these before those of the system. A file
    with line ends of Unix is read as if it had those of mail. Raises CannotCheck, Invalid, OSError, TimeoutError.
    """
    try:
        ipaddress.ip_address(peer)
    except ValueError:
        raise CannotCheck(f"'{peer[:80]}' is no IP address") from None
    address, domain = _sender(sender)
    if file.stat().st_size > LARGEST:
        raise CannotCheck(f"{file} has more than {LARGEST} octets")
    octets = _BARE_LF.sub(b"\r\n", file.read_bytes())
    hostname, servers, timeout = _surroundings(config, resolver)
    clock = SystemClock()

    async def check() -> Authenticated:
        asked = DnsResolver(servers, clock, timeout=timeout)
        async with asyncio.timeout(PATIENCE):
            return await SenderCheck(asked, clock, hostname).authenticate(peer, helo, address, octets)

    return _told(asyncio.run(check()), hostname, peer, domain)


def _sender(text: str) -> tuple[str, str]:
    """The envelope sender and its domain as A-label; both "" for the null sender."""
    if text in ("", "<>"):
        return "", ""
    try:
        found = parse_address(text, utf8=True)
    except AddressError as trouble:
        raise CannotCheck(f"'{text[:80]}' is no address: {trouble}") from None
    return f"{found.local}@{found.domain}", found.domain


def _surroundings(config: Path | None, resolver: str) -> tuple[str, tuple[Server, ...], float]:
    """Our name, whom to ask, and seconds for one try."""
    named: tuple[Server, ...] = (server_of(resolver),) if resolver else ()
    if config is not None:
        found = read_config(config)
        return found.hostname, named or resolvers(found), found.dns.timeout
    if not named:
        named = servers_of(Path("/etc/resolv.conf").read_text("utf-8", "replace")) or (("127.0.0.1", 53),)
    return socket.gethostname(), named, 3.0


def server_of(text: str) -> Server:
    """A resolver written ADDRESS, ADDRESS:PORT or [ADDRESS]:PORT. Raises CannotCheck."""
    match = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](?::(\d{1,5}))?|([0-9.]+)(?::(\d{1,5}))?|([0-9A-Fa-f:.]+)", text)
    try:
        if match is None:
            raise ValueError
        address = str(ipaddress.ip_address(match[1] or match[3] or match[5]))
        port = int(match[2] or match[4] or 53)
        if not 0 < port < 65536:
            raise ValueError
    except ValueError:
        forms = "192.0.2.53, 192.0.2.53:53 or [2001:db8::53]:53"
        raise CannotCheck(f"'{text[:80]}' is no resolver; write {forms}") from None
    return address, port


def _told(found: Authenticated, hostname: str, peer: str, domain: str) -> dict[str, Any]:
    composed = compose(found)  # without a policy: no domain is our own, and nobody's seal is trusted
    parts = results(
        hostname,
        peer=peer,
        sender=domain,
        spf=found.spf,
        dkim=found.dkim,
        dmarc=found.dmarc,
        arc=found.arc,
        composite=(composed.verdict, composed.reason),
    )
    return {
        "spf": _plain(found.spf),
        "dkim": [_plain(one) for one in found.dkim],
        "dmarc": _plain(found.dmarc),
        "arc": _plain(found.arc),
        "composite": _plain(composed),
        "field": field(parts).decode("ascii"),
    }


def _plain(result: msgspec.Struct) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(result)
    return {name: value for name, value in plain.items() if name != "type"}
