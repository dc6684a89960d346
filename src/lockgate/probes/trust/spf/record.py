"""The text of an SPF record to its terms, all of it checked before any of it counts (RFC 7208 4.6, 12)."""

from __future__ import annotations

import functools
import ipaddress
import re

import msgspec

from lockgate.mail.authentication import SpfVerdict

Network = ipaddress.IPv4Network | ipaddress.IPv6Network

QUALIFIERS = {
    "+": SpfVerdict.PASS,
    "-": SpfVerdict.FAIL,
    "~": SpfVerdict.SOFTFAIL,
    "?": SpfVerdict.NEUTRAL,
}

_LONGEST = 8192
_MACRO = re.compile(r"%(?:%|_|-|\{[slodiphcrtvSLODIPHCRTV][0-9]*[rR]?[-.+,/_=]*\})")
_TERM = re.compile(r"([-+~?]?)([A-Za-z][A-Za-z0-9_.-]*)(?:([:=/])(.*))?", re.S)
_CIDR = re.compile(r"(?:/(0|[1-9][0-9]?))?(?://(0|[1-9][0-9]{0,2}))?")
_LENGTHS = re.compile(r"(?:/[0-9]+)?(?://[0-9]+)?\Z")
_IPV4 = re.compile(r"(?:0|[1-9][0-9]{0,2})(?:\.(?:0|[1-9][0-9]{0,2})){3}(?:/(?:0|[1-9][0-9]?))?")


class BadRecord(ValueError):
    """The record breaks the grammar: "permerror"; the message says where."""


class Mechanism(msgspec.Struct, frozen=True):
    """One mechanism: `domain` is a macro string ("" for the current domain), `v4` and `v6` the lengths of a and mx."""

    kind: str
    verdict: SpfVerdict
    text: str
    domain: str = ""
    v4: int = 32
    v6: int = 128
    network: Network | None = None


class Record(msgspec.Struct, frozen=True):
    """A whole record. `redirect` and `explanation` are macro strings, "" if there are none."""

    mechanisms: tuple[Mechanism, ...]
    redirect: str = ""
    explanation: str = ""


def is_spf(text: str) -> bool:
    """Whether a TXT record is meant as an SPF record (RFC 7208 4.5)."""
    return text[:6].lower() == "v=spf1" and (len(text) == 6 or text[6] == " ")


@functools.lru_cache(maxsize=4096)
def parse_record(text: str) -> Record:
    """The terms of a record; the same text is read once. Raises BadRecord."""
    if not text.isascii() or len(text) > _LONGEST:
        raise BadRecord("the record is not ASCII" if len(text) <= _LONGEST else "the record is too long")
    mechanisms: list[Mechanism] = []
    modifiers: dict[str, str] = {}
    for term in text[6:].split(" "):
        if not term:
            continue
        found = _TERM.fullmatch(term)
        if found is None:
            raise BadRecord(f"'{term[:60]}' is no term")
        qualifier, name, sign, rest = found.groups()
        if sign == "=":
            _modifier(term, qualifier, name.lower(), rest, modifiers)
        else:
            mechanisms.append(_mechanism(term, qualifier, name.lower(), sign or "", rest or ""))
    return Record(tuple(mechanisms), modifiers.get("redirect", ""), modifiers.get("exp", ""))


def _modifier(term: str, qualifier: str, name: str, value: str, modifiers: dict[str, str]) -> None:
    if qualifier:
        raise BadRecord(f"'{term[:60]}': a modifier has no sign")
    if name in ("redirect", "exp"):
        if name in modifiers:
            raise BadRecord(f"there are two '{name}'")
        modifiers[name] = _domain(term, value)
    elif not _is_macro_string(value):
        raise BadRecord(f"'{term[:60]}' is no macro string")


def _mechanism(term: str, qualifier: str, name: str, sign: str, rest: str) -> Mechanism:
    verdict = QUALIFIERS[qualifier or "+"]
    match name:
        case "all" if not sign:
            return Mechanism("all", verdict, term)
        case "ip4" | "ip6" if sign == ":":
            return Mechanism(name, verdict, term, network=_network(term, name, rest))
        case "include" | "exists" if sign == ":":
            return Mechanism(name, verdict, term, _domain(term, rest))
        case "ptr" if sign in ("", ":"):
            return Mechanism("ptr", verdict, term, _domain(term, rest) if sign else "")
        case "a" | "mx":
            domain, v4, v6 = _dual(term, sign, rest)
            return Mechanism(name, verdict, term, domain, v4, v6)
        case _:
            raise BadRecord(f"'{term[:60]}' is no mechanism")


def _dual(term: str, sign: str, rest: str) -> tuple[str, int, int]:
    """The domain and the two prefix lengths of `a:domain/24//64`."""
    if sign == "/":
        domain, lengths = "", f"/{rest}"
    else:
        # Only what stands at the very end is a length: a slash may be part of a name, or of a macro ("%{d1/}").
        lengths = _LENGTHS.search(rest)[0]  # type: ignore[index]  # it matches nothing as well
        domain = rest.removesuffix(lengths)
        if sign == ":":
            domain = _domain(term, domain)
    found = _CIDR.fullmatch(lengths)
    if found is None or int(found[1] or 0) > 32 or int(found[2] or 0) > 128:
        raise BadRecord(f"'{term[:60]}' has a prefix length that does not exist")
    return domain, int(found[1] or 32), int(found[2] or 128)


def _network(term: str, name: str, text: str) -> Network:
    try:
        if name == "ip4" and _IPV4.fullmatch(text):
            return ipaddress.IPv4Network(text, strict=False)
        if name == "ip6" and "%" not in text and not re.search(r"/0[0-9]", text):
            return ipaddress.IPv6Network(text, strict=False)
    except ValueError:
        pass
    raise BadRecord(f"'{term[:60]}' is no {'IPv4' if name == 'ip4' else 'IPv6'} network")


def _domain(term: str, text: str) -> str:
    """A domain-spec: a macro string that ends in a top label or a macro (RFC 7208 7.1)."""
    if not text or not _is_macro_string(text) or not (text.endswith("}") or _has_top_label(text)):
        raise BadRecord(f"'{term[:60]}' has no domain that can exist")
    if text.endswith("}") and not _ends_in_macro(text):
        raise BadRecord(f"'{term[:60]}' has no domain that can exist")
    return text


def _has_top_label(text: str) -> bool:
    """Whether it ends in a top label, with a dot before it (RFC 7208 7.1)."""
    _, dot, label = text.removesuffix(".").rpartition(".")
    inner = label.replace("-", "")
    if not dot or not inner.isalnum() or not inner.isascii() or "-" in (label[0], label[-1]):
        return False
    return "-" in label or not label.isdigit()


def _ends_in_macro(text: str) -> bool:
    last = None
    for found in _MACRO.finditer(text):
        last = found
    return last is not None and last.end() == len(text)


def _is_macro_string(text: str) -> bool:
    """Visible characters, and every % begins a macro (RFC 7208 7.1)."""
    place = 0
    for found in _MACRO.finditer(text):
        if "%" in text[place : found.start()]:
            return False
        place = found.end()
    return "%" not in text[place:] and all("!" <= letter <= "~" for letter in text)
