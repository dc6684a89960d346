"""Peer addresses in the one form in which they are compared and counted."""

from __future__ import annotations

import socket

_IPV4_SIZE = 4
_MAPPED = bytes(10) + b"\xff\xff"


def plain_address(text: str) -> tuple[str, bytes]:
    """An address as text and packed: IPv4-mapped IPv6 becomes IPv4, a zone is left out. Raises OSError."""
    text = text.partition("%")[0]
    if ":" not in text:
        return text, socket.inet_aton(text)
    packed = socket.inet_pton(socket.AF_INET6, text)
    if packed.startswith(_MAPPED):
        packed = packed[-_IPV4_SIZE:]
        return socket.inet_ntoa(packed), packed
    return socket.inet_ntop(socket.AF_INET6, packed), packed
