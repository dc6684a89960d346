"""Which addresses may be dialled? (amendments: outgoing connections; threats 3.5)"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

IpAddress = ipaddress.IPv4Address | ipaddress.IPv6Address
IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_CLOSED: tuple[tuple[str, str], ...] = (
    ("0.0.0.0/8", "an unspecified address"),
    ("127.0.0.0/8", "a loopback address"),
    ("169.254.0.0/16", "a link-local or metadata address"),
    ("224.0.0.0/4", "a multicast address"),
    ("240.0.0.0/4", "a reserved address"),
    ("::/128", "an unspecified address"),
    ("::1/128", "a loopback address"),
    ("fe80::/10", "a link-local address"),
    ("fec0::/10", "a site-local address"),
    ("fd00:ec2::/32", "a metadata address"),
    ("ff00::/8", "a multicast address"),
)
_NAT64 = ipaddress.IPv6Network("64:ff9b::/96")


def split_port(text: str) -> tuple[str, int]:
    """ "name", "name:port", "address", "[v6]", "[v6]:port" or a bare v6 address as (host, port); port 0: not given.

    Raises ValueError.
    """
    if text.startswith("["):
        host, closed, rest = text[1:].partition("]")
        if not closed or (rest and not rest.startswith(":")):
            raise ValueError(f"{text} is no [address]:port")
        return host, _port(rest[1:]) if rest else 0
    if text.count(":") > 1:
        return text, 0
    host, colon, port = text.partition(":")
    return host, _port(port) if colon else 0


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise ValueError(f"{text} is no port")
    return int(text)


def plain_address(text: str) -> IpAddress:
    """The address meant: an IPv4 address inside an IPv6 one (mapped, NAT64) is taken out. Raises ValueError."""
    address = ipaddress.ip_address(text)
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return address.ipv4_mapped
        if address in _NAT64:
            return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address


class Reach:
    """What may be dialled, made once from the operator's settings.

    `allowed` are exceptions: networks, addresses, or address:port. `own` are our addresses, with a port where only
    that listener is meant. Entries that are malformed raise ValueError at once: the operator must see it.
    """

    __slots__ = ("_closed", "_networks", "_own", "_ports")

    def __init__(self, allowed: Iterable[str] = (), own: Iterable[str] = ()) -> None:
        self._closed = tuple([(ipaddress.ip_network(network), why) for network, why in _CLOSED])
        self._networks: list[IpNetwork] = []
        self._ports: set[tuple[IpAddress, int]] = set()
        for entry in allowed:
            if "/" in entry:
                self._networks.append(ipaddress.ip_network(entry, strict=False))
                continue
            host, port = split_port(entry)
            if port:
                self._ports.add((plain_address(host), port))
            else:
                self._networks.append(ipaddress.ip_network(host))
        self._own = frozenset([(plain_address(host), port) for host, port in map(split_port, own)])

    def is_own(self, address: str, port: int) -> bool:
        """Whether this is one of our own listeners."""
        try:
            plain = plain_address(address)
        except ValueError:
            return False
        return (plain, port) in self._own or (plain, 0) in self._own

    def refuses(self, address: str, port: int) -> str:
        """Why this address may not be dialled, as the rest of a sentence; "" if it may."""
        try:
            plain = plain_address(address)
        except ValueError:
            return "no address at all"
        if self.is_own(address, port):
            return "an address of this server itself"
        if (plain, port) in self._ports or any(plain in network for network in self._networks):
            return ""
        return next((why for network, why in self._closed if plain in network), "")
