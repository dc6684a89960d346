"""SMTP commands and their parameters: read from hostile bytes, and written from what we know.

RFC 5321 4.1 (commands), RFC 1870 (SIZE), RFC 6152 (8BITMIME), RFC 3461 (DSN), RFC 6531 (SMTPUTF8), RFC 3030 (BDAT),
RFC 8689 (REQUIRETLS). Readers never raise: what cannot be read becomes the reply that says so.
"""

from __future__ import annotations

import re

import msgspec

from lockgate.mail import replies
from lockgate.mail.address import Address, AddressError, parse_address
from lockgate.mail.envelope import Body, Envelope
from lockgate.mail.recipient import RecipientId
from lockgate.mail.reply import Reply

MAX_CHUNK_DIGITS = 18

_PATH = re.compile(
    r" *(?:<(?:@[^\s<>\":]*+:)?((?:[^\s<>\"]|\"(?:[^\"\\]|\\.)*+\")*+)>"  # <path>, a source route left out
    r"|((?:[^\s<>\"]|\"(?:[^\"\\]|\\.)*+\")++))"  # or the bare address that some devices send
    r"(?: +(.*))?"
)
_HELLO = re.compile(rb"[\x21-\x7e]{1,255}")
_XTEXT = re.compile(r"(?:[\x21-\x2a\x2c-\x3c\x3e-\x7e\u0080-\U0010ffff]|\+[0-9A-F]{2})*")
_HEX = re.compile(r"\+([0-9A-F]{2})")
_UNSAFE = re.compile(r"[^\x21-\x2a\x2c-\x3c\x3e-\x7e\u0080-\U0010ffff]")
_ADDRESS_TYPE = re.compile(r"[A-Za-z0-9-]{1,40}")
_BODIES = {"7BIT": Body.SEVEN_BIT, "8BITMIME": Body.EIGHT_BIT}
_BODY_EXTENSIONS = {Body.EIGHT_BIT: "8BITMIME", Body.BINARY: "BINARYMIME"}
_NOTIFY = frozenset(("SUCCESS", "FAILURE", "DELAY"))


class Terms(msgspec.Struct, frozen=True):
    """What a command may ask for on this connection now: `extended` after EHLO, `secured` under TLS."""

    extended: bool
    secured: bool
    require_tls: bool = True


def split_command(line: bytes) -> tuple[bytes, bytes]:
    """The verb in upper case and the rest, blanks at the ends left out."""
    verb, _, rest = line.partition(b" ")
    return verb.upper(), rest.strip(b" ")


def read_hello(rest: bytes) -> str | Reply:
    """The name a peer gives itself. Any printable ASCII word is taken: honest peers misname themselves (4.1.4)."""
    if _HELLO.fullmatch(rest):
        return rest.decode("ascii")
    return replies.syntax("say your own name after HELO or EHLO, one word of ASCII, at most 255 characters")


def read_mail(rest: bytes, terms: Terms) -> Envelope | Reply:
    """MAIL: `rest` is what follows the verb."""
    read = _path(rest, "FROM:")
    if isinstance(read, Reply):
        return read
    path, given = read
    envelope = Envelope(None)
    if given:
        asked = _mail_parameters(given, terms)
        if isinstance(asked, Reply):
            return asked
        envelope = asked
    if not path:
        return envelope
    try:
        sender = parse_address(path, utf8=envelope.utf8)
    except AddressError as trouble:
        return replies.bad_sender(str(trouble))
    return Envelope(
        sender, envelope.body, envelope.utf8, envelope.size, envelope.ret, envelope.envid, envelope.require_tls
    )


def read_rcpt(rest: bytes, terms: Terms, *, utf8: bool) -> RecipientId | Reply:
    """RCPT: `utf8` tells that the transaction has SMTPUTF8."""
    read = _path(rest, "TO:")
    if isinstance(read, Reply):
        return read
    path, given = read
    orcpt: str = ""
    notify: tuple[str, ...] = ()
    if given:
        asked = _rcpt_parameters(given, terms, utf8=utf8)
        if isinstance(asked, Reply):
            return asked
        orcpt, notify = asked
    if path.casefold() == "postmaster":
        return RecipientId(Address("postmaster", ""), None, orcpt, notify)
    try:
        return RecipientId(parse_address(path, utf8=utf8), None, orcpt, notify)
    except AddressError as trouble:
        return replies.bad_recipient(str(trouble))


def read_bdat(rest: bytes) -> tuple[int, bool] | None:
    """The size of a chunk in octets and whether it is the last (RFC 3030 2); None if it cannot be read."""
    size, _, last = rest.partition(b" ")
    if not size.isdigit() or len(size) > MAX_CHUNK_DIGITS or last.strip().upper() not in (b"", b"LAST"):
        return None
    return int(size), bool(last)


def xtext(text: str) -> str:
    """Encode for ENVID and ORCPT (RFC 3461 4)."""
    return _UNSAFE.sub(lambda found: "".join(f"+{octet:02X}" for octet in found[0].encode()), text)


def unxtext(text: str) -> str | None:
    """Decode xtext; None if it is not well-formed or hides what is not printable."""
    if not _XTEXT.fullmatch(text):
        return None
    decoded = _HEX.sub(lambda found: chr(int(found[1], 16)), text) if "+" in text else text
    return decoded if decoded.isprintable() else None


def write_mail(envelope: Envelope, extensions: frozenset[str]) -> bytes:
    """MAIL as a client sends it, CRLF included; parameters only as far as the server offers their extension.

    `extensions` are keywords in upper case: SIZE, 8BITMIME, SMTPUTF8, DSN, REQUIRETLS, BINARYMIME. The caller has
    made sure that nothing indispensable is missing.
    """
    words = [f"MAIL FROM:<{envelope.sender_text}>"]
    if envelope.size and "SIZE" in extensions:
        words.append(f"SIZE={envelope.size}")
    if _BODY_EXTENSIONS.get(envelope.body, "") in extensions:
        words.append(f"BODY={envelope.body}")
    if envelope.utf8 and "SMTPUTF8" in extensions:
        words.append("SMTPUTF8")
    if "DSN" in extensions:
        if envelope.ret:
            words.append(f"RET={envelope.ret}")
        if envelope.envid:
            words.append(f"ENVID={xtext(envelope.envid)}")
    if envelope.require_tls and "REQUIRETLS" in extensions:
        words.append("REQUIRETLS")
    return _line(words)


def write_rcpt(address: str, orcpt: str, notify: tuple[str, ...], extensions: frozenset[str]) -> bytes:
    """RCPT as a client sends it, CRLF included; `orcpt` and `notify` as RecipientId holds them."""
    words = [f"RCPT TO:<{address}>"]
    if "DSN" in extensions:
        if notify:
            words.append(f"NOTIFY={','.join(notify)}")
        if orcpt:
            kind, _, original = orcpt.partition(";")
            words.append(f"ORCPT={kind};{xtext(original)}")
    return _line(words)


def _line(words: list[str]) -> bytes:
    line = " ".join(words).encode()
    # The last border before the wire: whatever an address was made of, a command is one line.
    if b"\r" in line or b"\n" in line or b"\0" in line:
        raise ValueError("a command would hold a line end or NUL")
    return line + b"\r\n"


def _path(rest: bytes, keyword: str) -> tuple[str, str] | Reply:
    """The path without its brackets, and the parameters as text."""
    try:
        text = rest.decode("ascii" if rest.isascii() else "utf-8")
    except UnicodeDecodeError:
        return replies.syntax("the command is not valid UTF-8")
    if not text.isprintable():
        return replies.syntax("the command holds a control character")
    size = len(keyword)
    if text[:size].upper() != keyword:
        return replies.syntax(f"{keyword} is missing")
    found = _PATH.fullmatch(text, size)
    if found is None:
        return replies.syntax(f"{keyword} wants an address in angle brackets")
    bracketed, bare, given = found.groups()
    return (bracketed if bare is None else bare), given or ""


def _parameters(given: str, terms: Terms) -> dict[str, str] | Reply:
    if not terms.extended:
        return replies.BAD_PARAMETER
    found: dict[str, str] = {}
    for word in given.split():
        key, _, value = word.partition("=")
        key = key.upper()
        if key in found:
            return replies.syntax(f"the parameter {key} is given twice")
        found[key] = value
    return found


def _mail_parameters(given: str, terms: Terms) -> Envelope | Reply:
    found = _parameters(given, terms)
    if isinstance(found, Reply):
        return found
    size, body = found.pop("SIZE", "0"), found.pop("BODY", "7BIT").upper()
    ret, envid = found.pop("RET", "").upper(), found.pop("ENVID", "")
    utf8, require_tls = found.pop("SMTPUTF8", None), found.pop("REQUIRETLS", None)
    if found or (require_tls is not None and not (terms.secured and terms.require_tls)):
        return replies.BAD_PARAMETER
    if utf8 or require_tls:
        return replies.syntax("SMTPUTF8 and REQUIRETLS take no value")
    if not (size.isascii() and size.isdigit()) or len(size) > MAX_CHUNK_DIGITS:
        return replies.syntax("SIZE wants a number of octets")
    if body not in _BODIES:
        return replies.BAD_PARAMETER
    if ret not in ("", "FULL", "HDRS"):
        return replies.syntax("RET is FULL or HDRS")
    decoded = unxtext(envid) if len(envid) <= 300 else None
    if decoded is None or len(decoded) > 100 or not decoded.isascii():
        return replies.syntax("ENVID wants at most 100 characters of xtext")
    return Envelope(
        None,
        body=_BODIES[body],
        utf8=utf8 is not None,
        size=int(size),
        ret=ret,
        envid=decoded,
        require_tls=require_tls is not None,
    )


def _rcpt_parameters(given: str, terms: Terms, *, utf8: bool) -> tuple[str, tuple[str, ...]] | Reply:
    found = _parameters(given, terms)
    if isinstance(found, Reply):
        return found
    wanted, orcpt = found.pop("NOTIFY", None), found.pop("ORCPT", None)
    if found:
        return replies.BAD_PARAMETER
    notify: tuple[str, ...] = ()
    if wanted is not None:
        notify = tuple(dict.fromkeys(wanted.upper().split(",")))
        if notify != ("NEVER",) and not _NOTIFY.issuperset(notify):
            return replies.syntax("NOTIFY is NEVER, or a list of SUCCESS, FAILURE and DELAY")
    if orcpt is None:
        return "", notify
    kind, semicolon, original = orcpt.partition(";")
    decoded = unxtext(original) if len(orcpt) <= 500 else None
    if not (semicolon and decoded and _ADDRESS_TYPE.fullmatch(kind)) or not (utf8 or decoded.isascii()):
        return replies.syntax("ORCPT wants an address type, a semicolon and xtext")
    return f"{kind};{decoded}", notify
