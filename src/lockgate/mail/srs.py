"""Sender rewriting for forwarded mail: an address of ours that leads back to the first sender, and to nobody else.

SRS0=HASH=DAY=domain=local@ours for a first forwarding, SRS1=HASH=forwarder==REST@ours for one by somebody who rewrote
already, so that addresses do not grow. The hash binds sender and day to our secret: nobody can make us relay to a
third party, and after some weeks an address leads nowhere. Reports come back in time; spam harvested later does not.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
from collections.abc import Sequence

from lockgate.mail.address import Address, AddressError, parse_address

DAYS = 21
"""How long a rewritten address leads back."""

_DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567"
_TURN = 1024
_HASH = 8
_DAY = 86400
_FIRST = re.compile(r"srs0[=+-]([^=]+)=([a-z2-7]{2})=([^=]+)=(.+)", re.I)
_AGAIN = re.compile(r"srs1[=+-]([^=]+)=([^=]+)=([=+-].+)", re.I)


class NoWayBack(ValueError):
    """The address is none of ours, too old, or somebody else's forgery; the message says which."""


def rewrite(sender: Address, domain: str, secret: bytes, now: float) -> Address:
    """The sender under our `domain`. A sender of `domain` itself, and one that would grow too long, stays as it is."""
    if sender.domain == domain:
        return sender
    again = _AGAIN.fullmatch(sender.local)
    first = _FIRST.fullmatch(sender.local)
    if again is not None:
        # Somebody rewrote a rewritten one: the first forwarder stays, its opaque rest too.
        local = _second(again[2], again[3], secret)
    elif first is not None:
        local = _second(sender.domain, sender.local[4:], secret)
    else:
        day = _day_text(now)
        local = f"SRS0={_hash(secret, day, sender.domain, sender.local)}={day}={sender.domain}={sender.local}"
    try:
        return parse_address(f"{local}@{domain}", utf8=True)
    except AddressError:
        return sender


def _second(forwarder: str, rest: str, secret: bytes) -> str:
    return f"SRS1={_hash(secret, forwarder, rest)}={forwarder}={rest}"


def is_rewritten(local: str) -> bool:
    """Whether a local part looks like one of these."""
    return _FIRST.fullmatch(local) is not None or _AGAIN.fullmatch(local) is not None


def way_back(address: Address, secrets: Sequence[bytes], now: float) -> Address:
    """Whom a report to this address is for. Old secrets still open what they closed. Raises NoWayBack."""
    again = _AGAIN.fullmatch(address.local)
    if again is not None:
        _check(again[1], secrets, again[2], again[3])
        return _made(f"SRS0{again[3]}@{again[2]}")
    first = _FIRST.fullmatch(address.local)
    if first is None:
        raise NoWayBack("it is no address of forwarded mail")
    _check(first[1], secrets, first[2], first[3], first[4])
    if (_day(now) - _number(first[2])) % _TURN > DAYS:
        raise NoWayBack(f"it is older than {DAYS} days")
    return _made(f"{first[4]}@{first[3]}")


def _made(text: str) -> Address:
    try:
        return parse_address(text, utf8=True)
    except AddressError as trouble:
        raise NoWayBack(f"what it leads to is no address ({trouble})") from None


def _check(given: str, secrets: Sequence[bytes], *parts: str) -> None:
    for secret in secrets:
        if hmac.compare_digest(given.casefold().encode(), _hash(secret, *parts).casefold().encode()):
            return
    raise NoWayBack("its hash is not ours")


def _hash(secret: bytes, *parts: str) -> str:
    # Some servers change the case of local parts, so neither the digits nor what is hashed may depend on it.
    text = "=".join(parts).casefold().encode()
    return base64.b32encode(hmac.new(secret, text, hashlib.sha256).digest())[:_HASH].decode()


def _day(now: float) -> int:
    return int(now // _DAY) % _TURN


def _day_text(now: float) -> str:
    day = _day(now)
    return _DIGITS[day >> 5] + _DIGITS[day & 31]


def _number(text: str) -> int:
    return _DIGITS.index(text[0].upper()) << 5 | _DIGITS.index(text[1].upper())
