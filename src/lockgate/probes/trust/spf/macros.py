"""Macros of SPF: %{i}, %{d2}, %{l1r-} and their like (RFC 7208 7)."""

from __future__ import annotations

import ipaddress
import re
from urllib.parse import quote

import msgspec

_MACRO = re.compile(r"%(?:([%_-])|\{([slodiphcrtvSLODIPHCRTV])([0-9]*)([rR]?)([-.+,/_=]*)\})")
_LONGEST_NAME = 253
_UNRESERVED = "-._~"


class Names(msgspec.Struct, frozen=True):
    """What macros may stand for. `validated` is the name the address leads to and back ("unknown" if none does)."""

    sender: str
    local: str
    sender_domain: str
    address: ipaddress.IPv4Address | ipaddress.IPv6Address
    helo: str
    receiver: str
    validated: str = "unknown"
    now: int = 0


def expand(text: str, names: Names, domain: str, *, explaining: bool = False) -> str:
    """The text with its macros replaced; `domain` is the current one. c, r and t only in explanations (7.2)."""
    if "%" not in text:
        return text

    def replaced(found: re.Match[str]) -> str:
        if found[1]:
            return {"%": "%", "_": " ", "-": "%20"}[found[1]]
        letter = found[2]
        value = _transformed(_value(letter.lower(), names, domain, explaining=explaining), found)
        return quote(value, safe=_UNRESERVED) if letter.isupper() else value

    return _MACRO.sub(replaced, text)


def expand_domain(text: str, names: Names, domain: str) -> str:
    """A domain with its macros replaced, cut from the left to what DNS can hold (RFC 7208 7.3)."""
    name = expand(text, names, domain).rstrip(".")
    if len(name) <= _LONGEST_NAME or "." not in name:
        return name
    # The first dot from which on the rest fits; where none does, the last label is too long, and no name.
    first = name.find(".", len(name) - _LONGEST_NAME - 1)
    return name[first + 1 :] if first >= 0 else name.rpartition(".")[2]


def needs_validated_name(text: str) -> bool:
    """Whether the text uses %{p}, which costs several questions."""
    return any(found[2] and found[2] in "pP" for found in _MACRO.finditer(text))


def _value(letter: str, names: Names, domain: str, *, explaining: bool) -> str:
    match letter:
        case "s":
            return names.sender
        case "l":
            return names.local
        case "o":
            return names.sender_domain
        case "d":
            return domain
        case "i":
            return dotted(names.address)
        case "p":
            return names.validated
        case "v":
            return "in-addr" if names.address.version == 4 else "ip6"
        case "h":
            return names.helo
        case "c" if explaining:
            return str(names.address)
        case "r" if explaining:
            return names.receiver
        case "t" if explaining:
            return str(names.now)
        case _:
            return "unknown"


def dotted(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> str:
    """The address as macros want it: IPv6 nibble by nibble (RFC 7208 7.3)."""
    return str(address) if address.version == 4 else ".".join(address.exploded.replace(":", "").upper())


def _transformed(value: str, found: re.Match[str]) -> str:
    digits, reverse, signs = found[3], found[4], found[5]
    if not (digits or reverse or signs):
        return value
    parts = re.split(f"[{re.escape(signs or '.')}]", value)
    if reverse:
        parts.reverse()
    if digits:
        parts = parts[-max(1, min(int(digits[:4]), 128)) :]
    return ".".join(parts)
