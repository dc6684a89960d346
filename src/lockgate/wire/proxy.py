"""The PROXY protocol, versions 1 and 2: what a listed proxy says of the peer behind it. Bytes in, addresses out.

Specification: proxy-protocol.txt of HAProxy, sections 2.1 and 2.2. Only the driver knows whom to believe.
"""

from __future__ import annotations

import ipaddress

import msgspec

_SIGNATURE = b"\r\n\r\n\0\r\nQUIT\n"
_V1_LIMIT = 107
_V2_LIMIT = 4096
_HEAD = 16


class ProxyError(ValueError):
    """The octets are no PROXY header; the message says why."""


class Origin(msgspec.Struct, frozen=True):
    """The connection behind the proxy; `address` is "" if the proxy speaks for itself (LOCAL, UNKNOWN)."""

    address: str
    port: int
    to_address: str = ""
    to_port: int = 0


_ITSELF = Origin("", 0)


def read_header(data: bytes) -> tuple[Origin, int] | None:
    """The origin and the length of the header; None if octets are missing. Raises ProxyError."""
    if data[:12] == _SIGNATURE[: len(data)]:
        return _version_2(data) if len(data) >= _HEAD else None
    if data[:6] == b"PROXY "[: len(data)]:
        return _version_1(data)
    raise ProxyError("no PROXY header")


def _version_1(data: bytes) -> tuple[Origin, int] | None:
    end = data.find(b"\r\n", 0, _V1_LIMIT)
    if end < 0:
        if len(data) >= _V1_LIMIT:
            raise ProxyError("the PROXY line is too long")
        return None
    words = data[:end].split(b" ")
    if words[1] == b"UNKNOWN":
        return _ITSELF, end + 2
    if len(words) != 6 or words[1] not in (b"TCP4", b"TCP6"):
        raise ProxyError("the PROXY line is malformed")
    version = 4 if words[1] == b"TCP4" else 6
    try:
        source, target = (ipaddress.ip_address(word.decode("ascii")) for word in words[2:4])
        source_port, target_port = (_port(word) for word in words[4:])
    except ValueError:
        raise ProxyError("the PROXY line holds no addresses and ports") from None
    if source.version != version or target.version != version or "%" in str(source) + str(target):
        raise ProxyError("the PROXY line mixes address families")
    return Origin(str(source), source_port, str(target), target_port), end + 2


def _port(word: bytes) -> int:
    if not word.isdigit() or len(word) > 5 or int(word) > 65535:
        raise ValueError
    return int(word)


def _version_2(data: bytes) -> tuple[Origin, int] | None:
    version, command = data[12] >> 4, data[12] & 15
    length = int.from_bytes(data[14:16], "big")
    if version != 2 or command > 1 or length > _V2_LIMIT:
        raise ProxyError("the PROXY header is of an unknown version or too long")
    end = _HEAD + length
    if len(data) < end:
        return None
    if command == 0:
        return _ITSELF, end
    size = {0x11: 4, 0x21: 16}.get(data[13])
    if size is None:
        raise ProxyError("the PROXY header speaks of something else than TCP")
    if length < 2 * size + 4:
        raise ProxyError("the PROXY header is too short for its addresses")
    block = data[_HEAD : _HEAD + 2 * size + 4]
    ports = block[2 * size :]
    return (
        Origin(
            str(ipaddress.ip_address(block[:size])),
            int.from_bytes(ports[:2], "big"),
            str(ipaddress.ip_address(block[size : 2 * size])),
            int.from_bytes(ports[2:], "big"),
        ),
        end,
    )
