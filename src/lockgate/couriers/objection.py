"""Why a server's TLS is not what was demanded, for people, for the reply code and for the domain's own reports."""

from __future__ import annotations

import datetime as dt

import msgspec

from lockgate.mail.connection import Certificate

_SHOWN = 100


class Objection(msgspec.Struct, frozen=True):
    """`why` is the rest of a sentence, `code` the enhanced code (specification 1.20), `result` RFC 8460 4.3's word."""

    why: str
    code: str = "4.7.5"
    result: str = "certificate-not-trusted"


def seen(leaf: Certificate) -> str:
    """What the server showed, as a phrase: it is hostile text, and cut."""
    names = ", ".join(leaf.names[:5]) or "none"
    more = f" and {len(leaf.names) - 5} more" if len(leaf.names) > 5 else ""
    who = f"subject {_cut(leaf.subject) or 'none'}; issuer {_cut(leaf.issuer) or 'none'}"
    return f"seen: {who}; names {_cut(names)}{more}; valid {_day(leaf.not_before)} to {_day(leaf.not_after)}"


def shown(leaf: Certificate) -> str:
    """The certificate of a connection on which mail left, in few words and without commas."""
    name = leaf.names[0] if leaf.names else leaf.common_name or "nobody"
    return f"certificate of {_cut(name)} by {_cut(leaf.issuer).replace(',', ' ')} until {_day(leaf.not_after)}"


def _cut(text: str) -> str:
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def _day(at: float) -> str:
    try:
        return f"{dt.datetime.fromtimestamp(at, dt.UTC):%Y-%m-%d}"
    except (ValueError, OverflowError, OSError):
        return "an impossible day"
