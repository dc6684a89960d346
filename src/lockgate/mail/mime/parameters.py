"""Parameters of Content-Type and Content-Disposition in every reading that some mail program has (RFC 2045, 2231).

Strict readers respect quotes, careless ones cut at each semicolon; one takes comments out, another does not; one takes
the first of two parameters of the same name, the next one the last. Whoever hides something uses the difference, so
all readings are given.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterable, Iterator, Sequence

from lockgate.mail.headers import decode_words

MOST_PARAMETERS = 100
"""Of one field; more are not looked at."""

Parameter = tuple[str, str]
"""Name in lower case, and value."""

Reading = tuple[Parameter, ...]


def first_word(text: str) -> str:
    """The value in front of the parameters, in lower case without blanks and comments: "text/plain", "attachment"."""
    plain = without_comments(text).partition(";")[0]
    return "".join(plain.split()).lower()[:128]


def parameters(text: str) -> tuple[Reading, ...]:
    """The readings of a field's parameters, the strict one first; only one where nothing is ambiguous."""
    found = {tuple(_named(_respecting_quotes(text))): None}
    if '"' in text or "\\" in text:
        found[tuple(_named(text.split(";")[1 : MOST_PARAMETERS + 1]))] = None
    if "(" in text:
        found[tuple(_named(_respecting_quotes(without_comments(text))))] = None
    return tuple(found)


def values_of(reading: Reading, name: str) -> list[str]:
    """Every value that a reader may take for the parameter: as it stands, and put together of RFC 2231's pieces."""
    found = [value for given, value in reading if given == name]
    found += [_percent(value) for given, value in reading if given == f"{name}*"]
    pieces: list[tuple[int, str]] = []
    for given, value in reading:
        if given.startswith(f"{name}*") and given != f"{name}*":
            number = given[len(name) + 1 :].rstrip("*")
            if number.isascii() and number.isdigit() and len(number) < 4:
                plain = _percent(value, first="'" in value) if given.endswith("*") or "%" in value else value
                pieces.append((int(number), plain))
    if pieces:
        first = dict(reversed(pieces))
        last = dict(pieces)
        found.append("".join(first[number] for number in sorted(first)))
        found.append("".join(last[number] for number in sorted(last)))
        found.append("".join(value for _, value in pieces))
    return list(dict.fromkeys(found))


def tails_of(text: str, name: str) -> Iterator[str]:
    """What stands behind "name=" up to the end of the field: for readers to whom a semicolon is a letter."""
    head, equals, tail = text.lower().partition(f"{name}=")
    if equals and len(head) + len(equals) + len(tail) == len(text):
        yield text[len(head) + len(equals) :].strip()


def name_readings(values: Iterable[str]) -> Iterator[str]:
    """File names that these values may stand for: decoded, as they were written, and without quotes around them."""
    for value in values:
        decoded = decode_words(value)
        yield decoded
        if decoded != value:
            yield value
        if decoded[:1] in ("'", '"') or decoded[-1:] in ("'", '"'):
            yield decoded.strip("'\"")
        if "\0" in decoded:
            yield decoded.partition("\0")[0]


def pooled(readings: Sequence[Reading]) -> Reading:
    """The parameters of several fields of one name as if they were one field's."""
    return tuple(one for reading in readings for one in reading)[:MOST_PARAMETERS]


def without_comments(text: str) -> str:
    """The text without what stands in parentheses outside of quotes; an unclosed one stays. Linear."""
    if "(" not in text:
        return text
    found: list[str] = []
    start = depth = 0
    quoted = False
    for at, sign in enumerate(text):
        if sign == '"' and not depth:
            quoted = not quoted
        elif quoted:
            continue
        elif sign == "(":
            if not depth:
                found.append(text[start:at])
                start = at
            depth += 1
        elif sign == ")" and depth:
            depth -= 1
            if not depth:
                start = at + 1
    found.append(text[start:])
    return "".join(found)


def _respecting_quotes(text: str) -> Iterator[str]:
    """The pieces between semicolons that stand outside of quotes, the first one left out."""
    start = at = pieces = 0
    quoted = False
    size = len(text)
    while at < size:
        sign = text[at]
        if sign == "\\" and quoted:
            at += 1
        elif sign == '"':
            quoted = not quoted
        elif sign == ";" and not quoted:
            if pieces:
                yield text[start:at]
            pieces += 1
            if pieces > MOST_PARAMETERS:
                return
            start = at + 1
        at += 1
    if pieces:
        yield text[start:]


def _named(pieces: Iterable[str]) -> Iterator[Parameter]:
    for piece in pieces:
        name, equals, value = piece.partition("=")
        name = name.strip().lower()
        if equals and name:
            yield name[:80], _unquoted(value.strip())


def _unquoted(value: str) -> str:
    if not value.startswith('"'):
        return value
    inner = value[1:]
    if "\\" not in inner:
        return inner.partition('"')[0]
    found: list[str] = []
    at = 0
    while at < len(inner):
        sign = inner[at]
        if sign == "\\" and at + 1 < len(inner):
            at += 1
            sign = inner[at]
        elif sign == '"':
            break
        found.append(sign)
        at += 1
    return "".join(found)


def _percent(value: str, *, first: bool = True) -> str:
    """An extended value (RFC 2231 4); of a continued one only the first piece has charset and language."""
    charset = "utf-8"
    if first and value.count("'") >= 2:
        charset, _, value = value.split("'", 2)
    raw = urllib.parse.unquote_to_bytes(value)
    try:
        return raw.decode(charset or "utf-8", "replace")
    except (LookupError, ValueError):
        return raw.decode("utf-8", "replace")
