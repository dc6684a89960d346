"""Header fields in order, split once by offsets; raw bytes are kept (RFC 5322 2.2, RFC 2047)."""

from __future__ import annotations

import base64
import binascii
import re

import msgspec

from lockgate.mail.authentication_results import is_ours_by_name
from lockgate.mail.internal_headers import letters_of, may_hold_any
from lockgate.mail.message import Message

HEADER_LIMIT = 256 * 1024
"""Octets of a header block (specification 1.22)."""

HEAD = HEADER_LIMIT + 8 * 1024
"""Octets of the beginning of a message that show every header within the limit whole, behind our trace fields too."""

FIELD_LIMIT = 1000
"""Number of header fields (threats 3.1)."""

HOP_FIELD = "X-Lockgate-Hop"
"""Our own pass mark: installation name, semicolon, network message id."""

_BLANKS = b" \t"
_READ = frozenset((b"received", b"message-id", b"subject", b"x-lockgate-hop", b"authentication-results"))
_OURS = b"xlockgate"
_KEPT = HEADER_LIMIT
_FOLD = re.compile(r"\r?\n(?=[ \t])")
_WORD = re.compile(r"=\?([A-Za-z0-9._:+-]{1,40})(?:\*[A-Za-z0-9-]{1,20})?\?([bBqQ])\?([!->@-~]{0,8000})\?=")
_BETWEEN = re.compile(r"(\?=)[ \t]+(?==\?)")


class Headers(msgspec.Struct, frozen=True):
    """A header block. `fields` holds (name, raw value) as bytes; `end` is the offset of the first body octet.

    `oversize` tells that the block or the number of fields is over the limit, `crowded` that it is the number;
    `malformed` that a line is no header field (missing colon, blank before the colon, NUL), so that parsers may
    disagree about what it says.
    """

    fields: tuple[tuple[bytes, bytes], ...]
    end: int
    oversize: bool = False
    malformed: bool = False
    crowded: bool = False

    def count(self, name: bytes) -> int:
        """How many fields have this name (lower case)."""
        return sum(1 for field, _ in self.fields if field.lower() == name)

    def first(self, name: bytes) -> bytes | None:
        """The raw value of the first field of this name (lower case)."""
        return next((value for field, value in self.fields if field.lower() == name), None)


def read_headers(head: bytes) -> Headers:
    """Split a header block. Never raises; an odd block is marked, not repaired."""
    if head.startswith(b"\r\n"):
        return Headers((), 2)
    end = head.find(b"\r\n\r\n")
    block, after = (head, len(head)) if end < 0 else (head[:end], end + 4)
    oversize, crowded = len(block) > HEADER_LIMIT, False
    block = block[:HEADER_LIMIT]
    malformed = b"\0" in block
    fields: list[tuple[bytes, bytes]] = []
    folded: list[bytes] = []
    for line in block.split(b"\r\n"):
        if line and line[0] in _BLANKS and fields:
            # Joined at once at the end: line by line, a field of a hundred thousand lines would be copied as often.
            folded.append(line)
            continue
        if folded:
            _join(fields, folded)
        name, colon, value = line.partition(b":")
        if not colon or not name or name[-1] in _BLANKS or name[0] in _BLANKS:
            malformed = malformed or bool(line)
            name = name.strip() if colon else b""
            if not name:
                continue
        if len(fields) >= FIELD_LIMIT:
            oversize = crowded = True
            break
        fields.append((name, value))
    if folded:
        _join(fields, folded)
    return Headers(tuple(fields), after, oversize, malformed, crowded)


def _join(fields: list[tuple[bytes, bytes]], folded: list[bytes]) -> None:
    name, value = fields[-1]
    fields[-1] = (name, b"\r\n".join([value, *folded]))
    folded.clear()


def unfold(value: bytes) -> str:
    """A field's value as one line of text; octets that are no UTF-8 become the replacement character."""
    text = value.decode("utf-8", "replace")
    if "\n" in text or "\r" in text:
        text = text.replace("\r\n ", " ").replace("\r\n\t", "\t")
        if "\n" in text or "\r" in text:  # what is left is no clean fold
            text = _FOLD.sub("", text).replace("\r", " ").replace("\n", " ")
    return text.strip(" \t")


def decode_words(text: str) -> str:
    """Decode RFC 2047 encoded words; what cannot be decoded stays as it is. Linear.

    Neighbours of one character set are decoded together: section 5 wants whole characters in each, and many senders cut
    where the line is full.
    """
    if "=?" not in text:
        return text
    text = _BETWEEN.sub(r"\1", text)
    parts: list[str] = []
    words: list[re.Match[str]] = []
    place = 0
    for match in _WORD.finditer(text):
        if words and (match.start() != place or match[1].lower() != words[0][1].lower()):
            parts.append(_decoded(words))
            words = []
        parts.append(text[place : match.start()])
        words.append(match)
        place = match.end()
    return "".join((*parts, _decoded(words), text[place:]))


def _decoded(words: list[re.Match[str]]) -> str:
    try:
        return b"".join(map(_octets, words)).decode(words[0][1], "replace") if words else ""
    except (LookupError, ValueError):
        # One that is broken leaves the others readable.
        return words[0][0] if len(words) == 1 else "".join([_decoded([word]) for word in words])


def _octets(word: re.Match[str]) -> bytes:
    data = word[3]
    if word[2] in "bB":
        return base64.b64decode(data + "=" * (-len(data) % 4))
    return binascii.a2b_qp(data.replace("_", " ").encode(), header=True)


def message_of(network_id: str, head: bytes, size: int, installation: str) -> Message:
    """The facts of a message from its first octets (`size` octets in all, as received).

    `head` is the whole message or HEAD octets of it: a header that has no end there goes on where nobody looks.
    """
    headers = read_headers(head)
    fields: list[tuple[str, str]] = []
    kept, hops, own, claims = 0, 0, 0, 0
    message_id = subject = ""
    block = head[: headers.end]
    letters = letters_of(block)
    ours = _OURS in letters
    mark = f"{installation};".casefold()
    for raw_name, raw_value in headers.fields:
        value = raw_value.decode("utf-8", "replace").strip(" \t")
        if "\n" in value or "\r" in value:
            value = unfold(raw_value)
        lower = raw_name.lower()
        if lower in _READ:
            if lower == b"received":
                hops += 1
            elif lower == b"message-id":
                message_id = message_id or value[:998]
            elif lower == b"subject":
                subject = subject or decode_words(value)[:256]
            elif lower == b"authentication-results":
                claims += 1
            elif value.casefold().startswith(mark):
                own += 1
        elif ours:
            claims += is_ours_by_name(lower.decode("latin-1"))
        kept += len(raw_name) + len(raw_value)
        if kept <= _KEPT:
            fields.append((raw_name.decode("ascii", "replace"), value))
    return Message(
        id=network_id,
        size=size,
        fields=tuple(fields),
        message_id=message_id,
        subject=subject,
        hops=hops,
        own_hops=own,
        claims=claims,
        cut=headers.oversize or kept > HEADER_LIMIT or (len(head) < size and _unended(head, headers.end)),
        crowded=headers.crowded,
        eight_bit=not head.isascii(),
        internal=may_hold_any(block, letters),
    )


def _unended(head: bytes, end: int) -> bool:
    """Whether no empty line follows the fields, as far as `head` goes; `end` is where the header was taken to end."""
    return end == len(head) and not head.endswith(b"\r\n\r\n")
