"""Can this message go to a server with these abilities, and as which octets? (RFC 6152 3, RFC 6531 3, RFC 5321 4.5.3.1)

The rules, in order:

1. Bare CR, bare LF or NUL never leave: such a message fails (RFC 5321 2.3.8; smuggling).
2. Internationalised header or sender, and no SMTPUTF8 at the server: the message fails; an internationalised recipient
   fails alone.
3. 8-bit octets and no 8BITMIME at the server: each MIME part with such octets becomes quoted-printable or base64, if no
   part is signed or encrypted and all of the structure is understood; else the message fails.
4. A body line over 998 octets: the part becomes quoted-printable, unless any signature (DKIM too) would break or the
   structure is not understood; then it goes as it is, because practically every server takes it.
"""

from __future__ import annotations

import base64
import binascii
import io
import re

import msgspec

from lockgate.mail import replies
from lockgate.mail.envelope import Envelope
from lockgate.mail.headers import Headers, read_headers
from lockgate.mail.octets import SeenOctets
from lockgate.mail.reply import Reply
from lockgate.wire.smtp.client import Capabilities

LINE = 998
"""Octets of a line without its CRLF (RFC 5321 4.5.3.1.6)."""

DEPTH = 20
PARTS = 500

_TOKEN = re.compile(rb'\s*(?:;\s*boundary\s*=\s*(?:"([^"\r\n]{1,200})"|([^\s;"]{1,200})))', re.IGNORECASE)


class Prepared(msgspec.Struct, frozen=True):
    """The octets to send, and whether they and the envelope need 8BITMIME or SMTPUTF8; `dotted` as in SeenOctets."""

    content: bytes
    eight_bit: bool
    utf8: bool
    dotted: bool = True


class _Stuck(Exception):
    """The message cannot be converted without guessing."""


def prepare(
    content: bytes, envelope: Envelope, offered: Capabilities, seen: SeenOctets | None = None
) -> Prepared | Reply:
    """What to send to a server that offers these capabilities, or why it cannot be sent at all."""
    if seen is None:
        seen = _look(content)
        if seen is None:
            return replies.UNSAFE_CONTENT
    plain = not seen.eight_bit
    long = has_long_line(content)
    if plain and not long and not envelope.utf8:
        return Prepared(content, eight_bit=False, utf8=False, dotted=seen.dotted)
    return _prepare_odd(content, envelope, offered, plain=plain, long=long)


def _look(content: bytes) -> SeenOctets | None:
    """What is to be known of octets that nobody has looked at; None if they must not leave."""
    # One pass of C over the octets tells which kinds of line end there are.
    ends = io.IncrementalNewlineDecoder(None, translate=False)
    ends.decode(content.decode("latin-1"), final=True)
    if ends.newlines not in (None, "\r\n") or b"\0" in content:
        return None
    return SeenOctets(eight_bit=not content.isascii(), dotted=True)


def has_long_line(content: bytes) -> bool:
    """Whether a line has more than 998 octets; looks at one place in a thousand octets, whatever the lines are like."""
    at, end, find = 0, len(content), content.rfind
    while end - at > LINE:
        line_end = find(b"\n", at, at + LINE + 2)
        if line_end < 0:
            return True
        at = line_end + 1
    return False


def _prepare_odd(
    content: bytes, envelope: Envelope, offered: Capabilities, *, plain: bool, long: bool
) -> Prepared | Reply:
    headers = read_headers(content)
    header_plain = content[: headers.end].isascii()
    international = envelope.utf8 and not (header_plain and envelope.sender_text.isascii())
    if international and not offered.utf8:
        return replies.NEEDS_UTF8
    utf8 = envelope.utf8 and offered.utf8
    if not plain and not offered.eight_bit:
        if not header_plain:
            return replies.NEEDS_EIGHT_BIT
        try:
            return Prepared(_seven_bit(content, headers, 0, [PARTS], long_lines=False), eight_bit=False, utf8=utf8)
        except _Stuck:
            return replies.NEEDS_EIGHT_BIT
    if long and not headers.count(b"dkim-signature"):
        try:
            content = _seven_bit(content, headers, 0, [PARTS], long_lines=True)
        except _Stuck:
            return Prepared(content, eight_bit=not plain, utf8=utf8)
    return Prepared(content, eight_bit=not content.isascii(), utf8=utf8)


def _seven_bit(entity: bytes, headers: Headers, depth: int, left: list[int], *, long_lines: bool) -> bytes:
    """The entity with each part encoded that needs it: for its 8-bit octets, or (`long_lines`) for its long lines."""
    left[0] -= 1
    if depth > DEPTH or left[0] < 0 or headers.malformed or headers.oversize:
        raise _Stuck
    body = entity[headers.end :]
    if not _needs(body, long_lines=long_lines):
        return entity
    kind = _one(headers, b"content-type") or b"text/plain"
    main, _, sub = kind.partition(b";")[0].strip().lower().partition(b"/")
    if main == b"multipart":
        if sub in (b"signed", b"encrypted"):
            raise _Stuck
        return _relabelled(entity, headers, _multipart(kind, body, depth, left, long_lines=long_lines), b"7bit")
    encoding = (_one(headers, b"content-transfer-encoding") or b"7bit").strip().lower()
    # Octets that are encoded already and yet not clean, and messages in messages, are nothing to guess about.
    if main == b"message" or encoding not in (b"7bit", b"8bit", b"binary"):
        raise _Stuck
    if main == b"text":
        return _relabelled(entity, headers, quoted_printable(body), b"quoted-printable")
    encoded = base64.encodebytes(body).replace(b"\n", b"\r\n")
    return _relabelled(entity, headers, encoded, b"base64")


def _needs(body: bytes, *, long_lines: bool) -> bool:
    return has_long_line(body) if long_lines else not body.isascii()


def _one(headers: Headers, name: bytes) -> bytes | None:
    """The only field of this name; two of them would be two readings."""
    if headers.count(name) > 1:
        raise _Stuck
    return headers.first(name)


def _multipart(kind: bytes, body: bytes, depth: int, left: list[int], *, long_lines: bool) -> bytes:
    found = _TOKEN.findall(kind)
    if len(found) != 1:
        raise _Stuck
    boundary = found[0][0] or found[0][1]
    # Every line that begins with the delimiter must be exactly a delimiter line: what only resembles one is ambiguous.
    pieces = re.split(rb"(?:\A|\r\n)(--" + re.escape(boundary) + rb"(?:--)?[ \t]*)(?=\r\n|\Z)", body)
    out = [pieces[0]]
    if not pieces[0].isascii() and not long_lines:
        raise _Stuck
    closed = False
    for delimiter, part in zip(pieces[1::2], pieces[2::2], strict=True):
        out.append((b"\r\n" if out != [b""] else b"") + delimiter)
        if closed or delimiter.rstrip(b" \t").endswith(boundary + b"--"):
            closed = True
            if _needs(part, long_lines=long_lines):
                raise _Stuck
            out.append(part)
            continue
        inner = part[2:]
        headers = read_headers(inner)
        if b"\r\n\r\n" not in inner and not inner.startswith(b"\r\n"):
            raise _Stuck
        if not inner[: headers.end].isascii():
            raise _Stuck
        out.append(b"\r\n" + _seven_bit(inner, headers, depth + 1, left, long_lines=long_lines))
    if not closed or len(pieces) < 3:
        raise _Stuck
    return b"".join(out)


def _relabelled(entity: bytes, headers: Headers, body: bytes, encoding: bytes) -> bytes:
    """The entity with another body and the encoding field that tells of it; all other fields stay to the octet."""
    block = entity[: headers.end]
    field = re.compile(rb"(?im)^content-transfer-encoding[ \t]*:[^\r\n]*(?:\r\n[ \t][^\r\n]*)*\r\n")
    label = b"Content-Transfer-Encoding: " + encoding + b"\r\n"
    if headers.count(b"content-transfer-encoding"):
        old = field.search(block)
        if old is None:
            raise _Stuck
        # A multipart that said 7bit stays as it was.
        if encoding == b"7bit" and b"7bit" in old[0].lower():
            return block + body
        return block[: old.start()] + label + block[old.end() :] + body
    if encoding == b"7bit":
        return block + body
    mime = b"" if headers.count(b"mime-version") or headers.count(b"content-type") else b"MIME-Version: 1.0\r\n"
    return block[:-2] + mime + label + block[-2:] + body


def quoted_printable(body: bytes) -> bytes:
    """RFC 2045 6.7, lines of at most 76 octets, line ends kept."""
    encoded = binascii.b2a_qp(body.replace(b"\r\n", b"\n"), istext=True).replace(b"\n", b"\r\n")
    # A lone dot at the start of a line trips careless software (RFC 2049 3).
    return re.sub(rb"(?m)^\.", b"=2E", encoded) if encoded.startswith(b".") or b"\r\n." in encoded else encoded
