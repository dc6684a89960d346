"""Lines that begin with a dot, found in whatever is said after DATA (RFC 5321 4.5.2).

Both libraries find a literal faster than `bytes.find` does. RE2 takes 0.7 us to begin and is three times as fast from
then on: it looks through long octets, where mostly there is no such line. Where there is one, there may be thousands.
"""

from __future__ import annotations

import re

import re2

_LONG = 8 * 1024
"""Octets from which on RE2 is the faster one."""

_short = re.compile(rb"\r\n\.").search
_long = re2.compile(rb"\r\n\.").search


def first_dot_line(octets: bytes) -> int:
    """Where the first CRLF before a dot lies; -1 if there is none."""
    found = _long(octets) if len(octets) >= _LONG else _short(octets)
    return -1 if found is None else found.start()


def next_dot_line(octets: bytes, at: int) -> int:
    """The same from `at` on, behind one that was found."""
    found = _short(octets, at)
    return -1 if found is None else found.start()
