"""Lists of tags, "v=1; a=rsa-sha256; ...", of signatures and key records (RFC 6376 3.2)."""

from __future__ import annotations

import base64
import binascii
import functools
import re

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_LABEL = r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?"
_DOMAIN = re.compile(rf"(?:{_LABEL}\.)*{_LABEL}")
_KNOWN = frozenset(("v", "a", "b", "bh", "c", "d", "h", "i", "l", "q", "s", "t", "x", "k", "p", "n", "cv"))
_LONGEST_NAME = 254
_REMEMBERED = 500
MOST_TAGS = 64


class BadTags(ValueError):
    """The text is no list of tags, or a tag says what it must not; the message says which."""


def read_tags(text: str) -> dict[str, str]:
    """Tags in order; blanks around names and values are gone. Raises BadTags, also for a tag given twice."""
    found: dict[str, str] = {}
    parts = text.split(";")
    if len(parts) > MOST_TAGS:
        raise BadTags("there are too many tags")
    if not parts[-1].strip(" \t\r\n"):
        parts.pop()  # a last semicolon is allowed
    for part in parts:
        name, sign, value = part.partition("=")
        name = name.strip(" \t\r\n")
        if not sign or not (name in _KNOWN or _NAME.fullmatch(name)):
            raise BadTags(f"'{name[:40]}' is no tag")
        if name in found:
            raise BadTags(f"the tag {name}= is given twice")
        found[name] = value.strip(" \t\r\n")
    return found


def read_base64(text: str) -> bytes:
    """The octets of a value that may be folded anywhere. Raises BadTags."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError):
        raise BadTags("a value is no base64") from None


def read_words(text: str) -> tuple[str, ...]:
    """A colon-separated list, without blanks, lower case."""
    return _words(text) if len(text) <= _REMEMBERED else _split(text)


def _split(text: str) -> tuple[str, ...]:
    return tuple([word.strip(" \t\r\n") for word in text.lower().split(":")])


# Most senders list the same names in every message.
_words = functools.lru_cache(maxsize=4096)(_split)


def read_domain(text: str) -> str:
    """A domain or selector, lower case. Raises BadTags for what DNS or a reader could take for something else."""
    if len(text) > _LONGEST_NAME:
        raise BadTags(f"'{text[:60]}' is no domain")
    return _domain(text)


@functools.lru_cache(maxsize=4096)
def _domain(text: str) -> str:
    name = text.rstrip(".").lower() if text.count(".") else text.lower()
    if len(name) > 253 or not _DOMAIN.fullmatch(name):
        raise BadTags(f"'{name[:60]}' is no domain")
    return name


def read_number(text: str) -> int:
    """A number of at most 76 digits (RFC 6376 3.5). Raises BadTags."""
    if not (text.isascii() and text.isdigit() and len(text) <= 76):
        raise BadTags(f"'{text[:40]}' is no number")
    return int(text)
