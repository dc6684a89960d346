"""IP networks as administrators write them: one address, a CIDR network, or a range from-to."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple


class NetworkError(ValueError):
    """The text is no address, network or range; the message says what would be right."""


class Network(NamedTuple):
    """A network: its first address in network byte order (4 or 16 octets) and the prefix length in bits.

    IPv4-mapped IPv6 (::ffff:0:0/96) is given as IPv4, because a peer is compared in that form too.
    """

    packed: bytes
    length: int

    @property
    def text(self) -> str:
        """The network in CIDR form; a single address without a slash."""
        address = ipaddress.ip_address(self.packed)
        return str(address) if self.length == len(self.packed) * 8 else f"{address}/{self.length}"


_OCTET = r"(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_IPV4 = re.compile(rf"{_OCTET}\.{_OCTET}\.{_OCTET}\.{_OCTET}", re.ASCII)
_IPV4_LOOSE = re.compile(r"\d+\.\d+\.\d+\.\d+", re.ASCII)
_LENGTH = re.compile(r"0|[1-9]\d{0,2}", re.ASCII)


def parse_address(text: str) -> bytes:
    """One IPv4 or IPv6 address in network byte order (a mapped one as IPv4). Raises NetworkError.

    Leading zeros are refused, because some programs read them as octal; so are zones (fe80::1%eth0).
    """
    if match := _IPV4.fullmatch(text):
        return bytes(map(int, match.groups()))
    if _IPV4_LOOSE.fullmatch(text):
        why = "has a part with leading zeros or above 255"
        raise NetworkError(f"{text} {why}; write each part as a plain number from 0 to 255")
    if ":" not in text or "%" in text or len(text) > 45:
        raise NetworkError(f"'{text[:60]}' is not an IP address; write one like 192.0.2.25 or 2001:db8::25")
    try:
        packed = ipaddress.IPv6Address(text).packed
    except ValueError:
        raise NetworkError(f"'{text[:60]}' is not an IPv6 address; write one like 2001:db8::25") from None
    return packed[12:] if packed[:12] == _MAPPED else packed


_MAPPED = bytes(10) + b"\xff\xff"


def parse_networks(text: str) -> tuple[Network, ...]:
    """The networks that one entry of a list means; a range may need several. Raises NetworkError.

    Host bits in a CIDR are cleared (192.168.0.1/25 means 192.168.0.0/25).
    """
    if "-" in text:
        return _range(text)
    if "/" in text:
        return (_cidr(text),)
    packed = parse_address(text)
    return (Network(packed, len(packed) * 8),)


def has_host_bits(text: str) -> bool:
    """Whether a valid entry is a CIDR network with bits set behind the prefix."""
    if "/" not in text:
        return False
    return parse_address(text.partition("/")[0]) != parse_networks(text)[0].packed


def _cidr(text: str) -> Network:
    head, _, tail = text.partition("/")
    packed = parse_address(head.strip())
    if not _LENGTH.fullmatch(tail.strip()):
        raise NetworkError(f"'{text[:60]}' needs a plain number behind the slash, as in 192.0.2.0/24")
    length, width = int(tail), len(packed) * 8
    if ":" in head and width == 32:
        if length < 96:
            raise NetworkError(f"'{text[:60]}' mixes IPv4-mapped and other addresses; write the IPv4 network plainly")
        length -= 96
    if length > width:
        raise NetworkError(f"'{text[:60]}' has a prefix longer than {width} bits")
    return Network(_cleared(packed, length), length)


def _cleared(packed: bytes, length: int) -> bytes:
    behind = len(packed) * 8 - length
    return (int.from_bytes(packed, "big") >> behind << behind).to_bytes(len(packed), "big")


def _range(text: str) -> tuple[Network, ...]:
    first, _, last = (part.strip() for part in text.partition("-"))
    low, high = parse_address(first), parse_address(last)
    if len(low) != len(high):
        raise NetworkError(f"the range '{text[:100]}' begins with IPv4 and ends with IPv6, or the other way round")
    if low > high:
        raise NetworkError(f"the range '{text[:100]}' ends before it begins; write the lower address first")
    width = len(low) * 8
    start, end = int.from_bytes(low, "big"), int.from_bytes(high, "big")
    found: list[Network] = []
    while start <= end:
        aligned = width if start == 0 else (start & -start).bit_length() - 1
        size = min(aligned, (end - start + 1).bit_length() - 1)
        found.append(Network(start.to_bytes(width // 8, "big"), width - size))
        start += 1 << size
    return tuple(found)
