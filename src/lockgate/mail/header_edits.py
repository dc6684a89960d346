"""Changes of header fields that mail flow rules ask for: as data, and carried out on octets (specification 1.15.9).

Rules see what earlier ones changed (`fields_after`), and copies leave changed (`edited`); the stored octets never are.
"""

from __future__ import annotations

import base64
import enum
from collections.abc import Sequence

import msgspec

from lockgate.mail.headers import decode_words, unfold

_LINE = 76
_LONGEST = 998
"""Octets of a line without its end, at most (RFC 5322 2.1.1)."""
_CHUNK = 39
"""Octets of one encoded word, so that it fits with its frame into 75 characters (RFC 2047 2)."""


class Change(enum.StrEnum):
    """What is done to a field."""

    SET = "set"
    REMOVE = "remove"
    PREPEND = "prepend"
    JOIN = "join"


class HeaderEdit(msgspec.Struct, frozen=True, array_like=True):
    """One change. SET puts `value` in the place of every field of this name; PREPEND writes it before the value.

    JOIN adds it to the list of the last field of this name (an address to To), or makes the field.
    """

    change: Change
    name: str
    value: str = ""


def fields_after(fields: Sequence[tuple[str, str]], edits: Sequence[HeaderEdit]) -> tuple[tuple[str, str], ...]:
    """Unfolded header fields as they are after the changes, in order."""
    found = tuple(fields)
    for edit in edits:
        found = _changed(found, edit)
    return found


def _changed(fields: tuple[tuple[str, str], ...], edit: HeaderEdit) -> tuple[tuple[str, str], ...]:
    name = edit.name.lower()
    if edit.change is Change.PREPEND:
        if not any(field.lower() == name for field, _ in fields):
            return ((edit.name, edit.value), *fields)
        return tuple(
            (field, f"{edit.value}{decode_words(value)}") if field.lower() == name else (field, value)
            for field, value in fields
        )
    if edit.change is Change.JOIN:
        last = max((n for n, (field, _) in enumerate(fields) if field.lower() == name), default=-1)
        if last < 0:
            return ((edit.name, edit.value), *fields)
        field, value = fields[last]
        return (*fields[:last], (field, f"{value}, {edit.value}" if value.strip() else edit.value), *fields[last + 1 :])
    rest = tuple((field, value) for field, value in fields if field.lower() != name)
    return rest if edit.change is Change.REMOVE else ((edit.name, edit.value), *rest)


def edited(content: bytes, edits: Sequence[HeaderEdit]) -> bytes:
    """The message with its header changed; all other lines and the body stay octet by octet. Linear."""
    if not edits:
        return content
    end = 0 if content.startswith(b"\r\n") else content.find(b"\r\n\r\n") + 2
    if end == 1:  # nothing but a header
        content = content if content.endswith(b"\r\n") else content + b"\r\n"
        end = len(content)
    fields = _split(content[:end])
    for edit in edits:
        fields = _edited(fields, edit)
    return b"".join(fields) + content[end:]


def _split(header: bytes) -> list[bytes]:
    """The fields with their folded lines and line ends."""
    fields: list[bytes] = []
    folds: list[bytes] = []
    for line in header.split(b"\r\n")[:-1]:
        if folds and line[:1] not in (b" ", b"\t"):
            fields.append(b"".join(folds))
            folds = []
        folds.append(line + b"\r\n")
    return [*fields, b"".join(folds)] if folds else fields


def _edited(fields: list[bytes], edit: HeaderEdit) -> list[bytes]:
    name = edit.name.lower().encode()
    if edit.change is Change.PREPEND:
        if not any(_is(field, name) for field in fields):
            return [field_of(edit.name, edit.value), *fields]
        return [_prepended(field, edit) if _is(field, name) else field for field in fields]
    if edit.change is Change.JOIN:
        last = max((n for n, field in enumerate(fields) if _is(field, name)), default=-1)
        if last < 0:
            return [field_of(edit.name, edit.value), *fields]
        plain = fields[last].rstrip(b"\r\n")
        comma = b"," if plain.partition(b":")[2].strip() else b""
        return [*fields[:last], plain + comma + b"\r\n " + edit.value.encode() + b"\r\n", *fields[last + 1 :]]
    rest = [field for field in fields if not _is(field, name)]
    return rest if edit.change is Change.REMOVE else [field_of(edit.name, edit.value), *rest]


def _is(field: bytes, name: bytes) -> bool:
    return field.partition(b":")[0].strip(b" \t").lower() == name


def _prepended(field: bytes, edit: HeaderEdit) -> bytes:
    name, _, value = field.partition(b":")
    return field_of(name.decode("latin-1"), edit.value + decode_words(unfold(value.rstrip(b"\r\n"))))


def field_of(name: str, value: str) -> bytes:
    """One field with its line end: folded at blanks; encoded words where it is not ASCII, or cannot be folded
    otherwise (RFC 2047)."""
    if value.isascii() and value.isprintable():
        text = _folded(name, value.split(" "))
        if len(text) <= _LONGEST or all(len(line) <= _LONGEST for line in text.split("\r\n")):
            return text.encode("ascii")
    octets = value.encode("utf-8", "replace")
    words = [f"=?utf-8?b?{base64.b64encode(part).decode('ascii')}?=" for part in _parts(octets)]
    return (f"{name}: " + "\r\n ".join(words) + "\r\n").encode("ascii", "replace")


def _parts(octets: bytes) -> list[bytes]:
    """Pieces that each end at the end of a character."""
    parts: list[bytes] = []
    start = 0
    while start < len(octets):
        stop = min(start + _CHUNK, len(octets))
        while stop < len(octets) and octets[stop] & 0xC0 == 0x80:
            stop -= 1
        parts.append(octets[start:stop])
        start = stop
    return parts


def _folded(name: str, words: list[str]) -> str:
    text, width = f"{name}:", len(name) + 1
    for word in words:
        if width + 1 + len(word) > _LINE and width > len(name) + 1 and word:
            text, width = f"{text}\r\n", 0
        text, width = f"{text} {word}", width + 1 + len(word)
    return f"{text}\r\n"
