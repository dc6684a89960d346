"""Ids: time-ordered and unguessable; entropy and time are handed in."""

from __future__ import annotations

_SAFE = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"  # no I, L, O, U: read aloud over the telephone
_PAIRS = tuple(second + first for first in _SAFE for second in _SAFE)


def network_id(entropy: bytes, now: float) -> str:
    """A UUID of version 7 (RFC 9562 5.7) from 10 random octets and seconds since the epoch."""
    value = int(now * 1000) & 0xFFFFFFFFFFFF
    tail = int.from_bytes(entropy[:10], "big")
    high = (value << 16) | 0x7000 | (tail >> 62 & 0x0FFF)
    low = 0x8000000000000000 | (tail & 0x3FFFFFFFFFFFFFFF)
    text = f"{high:016x}{low:016x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def connection_id(entropy: bytes) -> str:
    """Twelve letters and digits out of 8 random octets, for connections and refusals."""
    value, pairs = int.from_bytes(entropy[:8], "big"), _PAIRS
    return (
        f"{pairs[value & 1023]}{pairs[value >> 10 & 1023]}{pairs[value >> 20 & 1023]}"
        f"{pairs[value >> 30 & 1023]}{pairs[value >> 40 & 1023]}{pairs[value >> 50 & 1023]}"
    )
