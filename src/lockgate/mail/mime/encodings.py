"""Octets of a part in every reading that some mail program has of its transfer encoding (RFC 2045 6)."""

from __future__ import annotations

import binascii
import codecs
import re
from collections.abc import Iterable, Iterator

_UNSAFE = frozenset(("punycode", "idna", "unicode_escape", "raw_unicode_escape", "undefined", "mbcs", "oem"))
"""Codecs that are no character sets of mail, or whose cost grows faster than their input."""

_ALPHABET = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"
_NOT_BASE64 = bytes(set(range(256)) - set(_ALPHABET))
_PLAIN = _ALPHABET + b"\r\n"
_SOFT_END = re.compile(rb"=[ \t]*\r?\n")
_OCTETS = {
    spelled.encode(): bytes([value])
    for value in range(256)
    for spelled in (f"{value:02X}", f"{value:02x}", f"{value:02X}".title(), f"{value:02X}".swapcase())
}
_FIRST_ALIEN = re.compile(rb"[^A-Za-z0-9+/]")


def decoded(raw: bytes, encodings: Iterable[str]) -> tuple[bytes, ...]:
    """The octets under each of these encodings (lower case; unknown ones change nothing), different ones once."""
    readings: dict[bytes, None] = {}
    for encoding in encodings:
        readings.update(dict.fromkeys(_readings(raw, encoding)))
    return tuple(readings) or (raw,)


def _readings(raw: bytes, encoding: str) -> Iterator[bytes]:
    """An encoding is known by its name, whatever stands around it ("x-quoted-printable", ": base64")."""
    known = False
    if "base64" in encoding:
        known = True
        yield from _base64(raw)
    if "quoted" in encoding or encoding == "qp":
        known = True
        yield _quoted(raw)
    if "uu" in encoding:
        known = True
        yield uudecoded(raw)
    if not known:
        yield raw


def _base64(raw: bytes) -> Iterator[bytes]:
    """Some readers leave out single letters that do not belong, others lines, others end at the padding."""
    letters = raw.translate(None, _NOT_BASE64)
    yield _letters(letters)
    alien = raw.translate(None, _PLAIN)
    if not alien:
        return
    padding = raw.find(b"=")
    if padding >= 0 and len(raw[:padding].translate(None, _NOT_BASE64)) < len(letters):
        yield _letters(raw[:padding].translate(None, _NOT_BASE64))
        # Pieces that were encoded one by one and put together, each with its own padding.
        yield b"".join(_letters(piece.translate(None, _NOT_BASE64)) for piece in raw.split(b"="))
    if alien.strip(b"="):
        lines = raw.split(b"\n")
        yield _letters(b"".join(line.strip() for line in lines if not line.strip().translate(None, _PLAIN + b"=")))
        yield _letters(b"".join(_FIRST_ALIEN.split(line, maxsplit=1)[0] for line in lines))


def _letters(letters: bytes) -> bytes:
    """Letters of the alphabet alone; a single last one says nothing."""
    letters = letters.translate(None, _NOT_BASE64)
    if len(letters) % 4 == 1:
        letters = letters[:-1]
    return binascii.a2b_base64(letters + b"=" * (-len(letters) % 4))


def _quoted(raw: bytes) -> bytes:
    """Quoted-printable; what follows "=" and is no hexadecimal number stays as it is (RFC 2045 6.7 note 1)."""
    head, *pieces = _SOFT_END.sub(b"", raw).split(b"=")
    found = [head]
    for piece in pieces:
        octet = _OCTETS.get(piece[:2])
        found.append(octet + piece[2:] if octet is not None else b"=" + piece)
    return b"".join(found)


def uudecoded(raw: bytes) -> bytes:
    """Lines of uuencoded text, from behind "begin" to "end"; lines that are none are left out."""
    found: list[bytes] = []
    begun = b"begin " not in raw
    for line in raw.split(b"\n"):
        line = line.rstrip(b"\r")
        if not begun:
            begun = line.startswith(b"begin ")
            continue
        if line == b"end":
            break
        try:
            found.append(binascii.a2b_uu(line))
        except binascii.Error:
            continue
    return b"".join(found)


def as_text(octets: bytes, charset: str) -> str:
    """Octets as text; an unknown character set is taken for UTF-8, else for Latin-1. Linear, never raises."""
    if charset:
        try:
            known = codecs.lookup(charset[:40])
            if known.name.replace("-", "_") not in _UNSAFE:
                return octets.decode(known.name, "replace")
        except (LookupError, ValueError, UnicodeError):
            pass  # no character set, or none that gives text
    try:
        return octets.decode("utf-8")
    except UnicodeDecodeError:
        return octets.decode("latin-1")
