"""The Authentication-Results field (RFC 8601): what we found, so written that nobody can add a word."""

from __future__ import annotations

import re
from collections.abc import Sequence

from lockgate.mail.authentication import Arc, ArcVerdict, Dkim, Dmarc, Spf

FIELD = b"Authentication-Results"
_LOOSE = re.compile(r"[\s\"\\]+")
_PLAIN = re.compile(r"[A-Za-z0-9!#$&'*+./^_`{|}~@:-]+")
_ODD = re.compile(r'[=;() \t"]')
_PIECES = re.compile(r'[^()"\\;]+|\\.?|[()";]', re.S)
_LINE = 76
_MOST = 5


def results(
    name: str,
    *,
    peer: str,
    sender: str,
    spf: Spf | None = None,
    dkim: Sequence[Dkim] = (),
    dmarc: Dmarc | None = None,
    action: str = "none",
    arc: Arc | None = None,
    composite: tuple[str, str] | None = None,
    trusted: bool = False,
) -> list[str]:
    """The parts of the field's value, our name first; to be joined by ";" (specification 1.19.3).

    `sender` is the envelope sender's domain or the HELO name that SPF checked, `action` what was done for DMARC,
    `composite` the verdict and reason of composite authentication, `trusted` that a trusted sealer's word overrode ours
    (oda=1, specification 1.13.3).
    """
    parts = [name]
    if spf is not None:
        identity = "smtp.mailfrom" if sender == spf.domain else "smtp.helo"
        parts.append(f"spf={spf.verdict} (sender IP is {_comment(peer)}) {identity}={_value(spf.domain)}")
    parts += [_signature(one) for one in dkim[:_MOST]]
    if spf is not None and not dkim:
        parts.append("dkim=none (message not signed)")
    if dmarc is not None:
        parts.append(f"dmarc={dmarc.verdict} action={action} header.from={_value(dmarc.domain)}")
    if arc is not None and arc.verdict is not ArcVerdict.NONE:
        overrode = " oda=1" if trusted else ""
        parts.append(f"arc={arc.verdict} (i={arc.sets} d={_comment(arc.sealer)}{overrode})")
    if composite is not None:
        parts.append(f"compauth={composite[0]} reason={composite[1]}")
    return parts


def _signature(one: Dkim) -> str:
    why = one.problem or "signature was verified"
    domain = f" header.d={_value(one.domain)} header.s={_value(one.selector)}" if one.domain else ""
    return f"dkim={one.verdict} ({_comment(why)}){domain}"


def field(parts: Sequence[str]) -> bytes:
    """The whole field with its line end, folded between the parts."""
    lines = [f"Authentication-Results: {parts[0]}"]
    for part in parts[1:]:
        lines[-1] += ";"
        if len(lines[-1]) + len(part) + 1 > _LINE:
            lines.append("\t" + part)
        else:
            lines[-1] += " " + part
    if len(parts) == 1:
        lines[-1] += "; none"
    return ("\r\n".join(lines) + "\r\n").encode("ascii", "replace")


def _comment(text: str) -> str:
    """Text inside a comment: no bracket, no backslash, no line end, nothing but ASCII."""
    return "".join(c if " " <= c <= "~" and c not in '()\\;"' else "?" for c in text[:120])


def _value(text: str) -> str:
    """A value as a token, quoted where it is none (RFC 8601 2.2)."""
    if _PLAIN.fullmatch(text):
        return text[:320]
    safe = "".join(c if " " <= c <= "~" and c not in '"\\' else "?" for c in text[:320])
    return f'"{safe}"'


def is_ours_by_name(kind: str) -> bool:
    """Whether only we may write a field of this name (lower case): all of ours but the pass mark of loops (2.5)."""
    return kind.startswith("x-lockgate-") and kind != "x-lockgate-hop"


def claims_to_be(value: bytes, name: str) -> bool:
    """Whether a field from outside might be taken for one of ours (RFC 8601 5): in doubt, yes.

    Comments, quotes and folds before the first semicolon are hiding places, so our name anywhere there counts. Linear.
    """
    text = value.decode("latin-1")
    ours = name.casefold()
    if ours in _squeezed(text.partition(";")[0]):
        return True
    if not any(mark in text for mark in '("'):
        return False
    # A semicolon in a comment or a string is no end; one that is never closed may hide anything.
    plain = without_comments(text, first=True)
    return ours in _squeezed(text if plain is None else plain)


def _squeezed(text: str) -> str:
    return _LOOSE.sub("", text).casefold()


def without_comments(text: str, *, first: bool = False) -> str | None:
    """The text without comments, and quoted strings without their quotes; None if one of them has no end. Linear.

    What could end a value is replaced inside strings, so that it cannot be taken for one outside. With `first` only the
    text before the first semicolon that is one.
    """
    kept: list[str] = []
    depth, quoted = 0, False
    for match in _PIECES.finditer(text):
        piece = match[0]
        mark = piece[0]
        if mark == "\\" and (depth or quoted):
            if len(piece) == 1:
                return None
            kept.append("?" if quoted else "")
        elif quoted:
            if mark == '"':
                quoted = False
            else:
                kept.append(_ODD.sub("?", piece))
        elif mark == "(":
            depth += 1
            kept.append(" ")
        elif mark == ")" and depth:
            depth -= 1
        elif not depth:
            if mark == ";" and first:
                break
            quoted = mark == '"'
            if not quoted:
                kept.append(piece)
    return None if depth or quoted else "".join(kept)
