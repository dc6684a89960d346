"""What a Received field says of the host that handed the message over (RFC 5321 4.4): read strictly, because half of
it was dictated by that host. What can be read in two ways is not believed.
"""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Iterator
from typing import NamedTuple

from lockgate.mail.address import AddressError, parse_domain

LONGEST = 2000
"""Characters of a field that is read; real ones have a few hundred."""


class Unbelievable(ValueError):
    """The field does not say clearly which host handed the message over; the message says why."""


class HandedOver(NamedTuple):
    """The host that handed the message over: its address as text and in network byte order (a mapped one as IPv4), and
    the name it gave in HELO ("" where that is no name).
    """

    address: str
    packed: bytes
    helo: str


_PIECES = re.compile(r'[^()"\\\s;]+|\\.?|[()";]|\s+', re.S)
_HELO = re.compile(r"(?:HELO|EHLO)[ \t]+(\S+)", re.I)
_SAID = re.compile(r"\b(helo|ident|port|auth)=(\S*)", re.I)
_LITERAL = re.compile(r"\[([^\[\]]*)\]")
_DATE = re.compile(r"(?:(?!\bby\b)[A-Za-z0-9,:+ \t-])*(?:\([^()\[\]]*\)\s*)*")
_BESIDES = re.compile(r"(?:envelope-|using |authenticated|no client|verified|version=|cipher)", re.I)


def handed_over(value: str) -> HandedOver:
    """The host of the field's from clause, as the host that wrote the field saw it. Raises Unbelievable. Linear.

    The address counts that stands in a comment as the address of the connection, in the forms of the servers there are
    (`name (name [address])`, `name (address)`, `unknown (HELO name) (address)`, `[address] (helo=name)`). An address
    that the host only gave as its name is what the host says, not what was seen.
    """
    name, comments = _clause(value)
    said, seen = name, list[str]()
    told = False
    claimed: list[str] = []
    for comment in comments:
        if match := _HELO.fullmatch(comment):
            said = match[1]
            claimed += _LITERAL.findall(said)
            continue
        for key, text in _SAID.findall(comment):
            if _brackets(text):
                raise Unbelievable(f"what stands behind {key.lower()}= may be an address, or a part of a name")
            if key.lower() == "helo":
                said, told = text, True
        rest = _SAID.sub("", comment).strip()
        literals = _LITERAL.findall(rest)
        if _BESIDES.match(comment) and not literals:
            continue
        seen += literals or ([rest] if _looks_like_one(rest) else [])
    if not seen and told and (match := _LITERAL.fullmatch(name)):
        seen.append(match[1])  # as Exim writes it where the host has no name
    addresses = {_address(text) for text in seen}
    if not {_address(text) for text in claimed} <= addresses:
        # A bracket that the sender put into its reverse name may have turned what was seen into what is claimed.
        raise Unbelievable("the name given in HELO is another address")
    if not addresses:
        raise Unbelievable("it does not say from which address the message came")
    if len(addresses) > 1:
        raise Unbelievable("it names more than one address")
    address = addresses.pop()
    return HandedOver(str(address), address.packed, _name(said))


def _clause(value: str) -> tuple[str, list[str]]:
    """The word of the from clause and its comments. Raises Unbelievable."""
    if len(value) > LONGEST:
        raise Unbelievable("it is longer than any server writes it")
    words: list[str] = []
    comments: list[str] = []
    receivers = 0
    for kind, text in _parts(value):
        if kind is _Kind.WORD and text.casefold() == "by":
            receivers += 1
        elif receivers:
            continue
        elif kind is _Kind.COMMENT:
            comments.append(text)
        elif kind is _Kind.QUOTED:
            raise Unbelievable("its from clause has quotes")
        else:
            words.append(text)
    if not words or words[0].casefold() != "from":
        raise Unbelievable("it does not say from which host the message came")
    if receivers != 1:
        raise Unbelievable("it does not say, or says more than once, which host wrote it")
    if len(words) != 2:
        raise Unbelievable("its from clause is not one name")
    return words[1], comments


class _Kind(enum.Enum):
    WORD = enum.auto()
    COMMENT = enum.auto()
    QUOTED = enum.auto()


def _parts(value: str) -> Iterator[tuple[_Kind, str]]:
    """Words, comments (without outer brackets, nested ones as blanks) and quoted strings before the semicolon."""
    pieces = (match[0] for match in _PIECES.finditer(value))
    for piece in pieces:
        if piece == ";":
            if not _DATE.fullmatch("".join(pieces)):
                raise Unbelievable("what stands behind its semicolon is no date")
            return
        if piece == "(":
            yield _Kind.COMMENT, _comment(pieces)
        elif piece == '"':
            if '"' not in pieces:  # this goes on to where it ends
                raise Unbelievable(_UNCLOSED)
            yield _Kind.QUOTED, ""
        elif piece == ")":
            raise Unbelievable(_UNCLOSED)
        elif piece[0] == "\\":
            yield _Kind.QUOTED, ""
        elif not piece.isspace():
            yield _Kind.WORD, piece


def _comment(pieces: Iterator[str]) -> str:
    kept: list[str] = []
    depth = 1
    for piece in pieces:
        depth += (piece == "(") - (piece == ")")
        if not depth:
            return " ".join("".join(kept).split())
        kept.append(" " if piece in "()" else "?" if piece[0] == "\\" else piece)
    raise Unbelievable(_UNCLOSED)


_UNCLOSED = "its brackets or quotes do not match"

_Address = ipaddress.IPv4Address | ipaddress.IPv6Address


def _brackets(text: str) -> bool:
    """Whether brackets stand in a word that is no address literal as a whole."""
    return ("[" in text or "]" in text) and not _LITERAL.fullmatch(text)


def _looks_like_one(text: str) -> bool:
    """Whether a whole comment is an address."""
    return " " not in text and (":" in text or text.replace(".", "").isdigit())


def _address(text: str) -> _Address:
    plain = text[5:] if text[:5].casefold() == "ipv6:" else text
    plain = plain.partition("%")[0]  # the zone of a link-local address
    try:
        address = ipaddress.ip_address(plain)
    except ValueError:
        raise Unbelievable(f"'{_shown(text)}' is no address") from None
    mapped = address.ipv4_mapped if isinstance(address, ipaddress.IPv6Address) else None
    return mapped or address


def _shown(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:60])


def _name(text: str) -> str:
    """The HELO name as A-label or address literal; "" for anything else."""
    if _LITERAL.fullmatch(text):
        return text if len(text) < 60 and text.isascii() and text.isprintable() else ""
    try:
        return parse_domain(text.rstrip("."))
    except AddressError:
        return ""
