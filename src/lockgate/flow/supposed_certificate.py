"""A certificate of which a person only says the names, and what else is supposed of it: trouble, CA files, key."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable
from types import MappingProxyType
from typing import NamedTuple

from lockgate.flow.asking.explain import WhatIf
from lockgate.flow.suppose import Unsupposable
from lockgate.mail.address import AddressError, parse_domain
from lockgate.mail.connection import Certificate
from lockgate.policy.policy import Policy
from lockgate.policy.problems import nearest

PUBLIC = "public"
SELF_SIGNED = "it is self-signed"
_DAY = 86400.0
_HEX = re.compile(r"[0-9a-f]{64}")
_NO_PATH = "the chain leads to no CA certificate that is trusted here"


class _Trouble(NamedTuple):
    """What is wrong in words, and the times between which such a certificate is valid, in days from now."""

    words: Callable[[float], str]
    begin: float = -1
    end: float = 1
    purposes: tuple[str, ...] = ()


TROUBLES = MappingProxyType(
    {
        "self-signed": _Trouble(lambda now: SELF_SIGNED),
        "expired": _Trouble(lambda now: f"the certificate expired on {_day(now - _DAY)}", -30, -1),
        "not-yet-valid": _Trouble(lambda now: f"the certificate is not valid before {_day(now + _DAY)}", 1, 30),
        "unknown-ca": _Trouble(lambda now: _NO_PATH),
        "no-intermediate": _Trouble(lambda now: f"{_NO_PATH}; the peer sent no intermediate certificate with it"),
        "wrong-purpose": _Trouble(
            lambda now: "the certificate is for another purpose than TLS", purposes=("1.3.6.1.5.5.7.3.4",)
        ),
    }
)
"""What may be supposed to be wrong with a certificate; then no CA file vouches for it."""


def named_certificate(said: WhatIf, policy: Policy, now: float) -> tuple[Certificate, tuple[str, ...], str]:
    """The leaf, the CA stores that vouch for it, and why the public one does not. Raises Unsupposable.

    Unless something is supposed of it, every CA store vouches for it.
    """
    names = tuple(_name(one) for one in said.certificate.split(",") if one.strip())
    if not names:
        raise Unsupposable("name the certificate by the host names that it bears: mail.bank.test, mx.bank.test")
    trouble = _trouble(said.certificate_trouble)
    key = said.certificate_key.lower().replace(":", "")
    if key and not _HEX.fullmatch(key):
        raise Unsupposable("a key is named by the SHA-256 of its SPKI, 64 hex digits")
    if trouble is None and said.untrusted:
        trouble = TROUBLES["self-signed"]
    words = trouble.words(now) if trouble is not None else ""
    trusted = () if words else _stores(said, policy)
    if not words and PUBLIC not in trusted:
        words = _NO_PATH
    subject = f"CN={names[0]}"
    issuer = subject if words == SELF_SIGNED else "supposed"
    valid = trouble or _Trouble(lambda now: "")
    leaf = Certificate(
        names, "", subject, issuer, "", now + valid.begin * _DAY, now + valid.end * _DAY, key, valid.purposes,
        words == SELF_SIGNED,
    )  # fmt: skip
    return leaf, trusted, words


def _trouble(word: str) -> _Trouble | None:
    if not word:
        return None
    found = TROUBLES.get(word.lower().replace("_", "-"))
    if found is None:
        raise Unsupposable(f"'{word[:40]}' is none of {', '.join(TROUBLES)}{nearest(word, TROUBLES)}")
    return found


def _stores(said: WhatIf, policy: Policy) -> tuple[str, ...]:
    inbound = [one for mine in policy.organisations.values() for one in mine.inbound.values()]
    known = sorted({PUBLIC} | {one.ca_file for one in inbound if one.ca_file})
    for name in said.certificate_trusted_by:
        if name not in known:
            raise Unsupposable(f"no inbound connector asks the CA file '{name[:200]}'; there are {', '.join(known)}")
    return said.certificate_trusted_by or tuple(known)


def _name(text: str) -> str:
    text = text.strip()
    star = "*." if text.startswith("*.") else ""
    try:
        return star + parse_domain(text.removeprefix("*.").rstrip("."))
    except AddressError:
        raise Unsupposable(f"'{text[:80]}' is neither a host name nor a file with a certificate") from None


def _day(at: float) -> str:
    return f"{dt.datetime.fromtimestamp(at, dt.UTC):%Y-%m-%d}"
