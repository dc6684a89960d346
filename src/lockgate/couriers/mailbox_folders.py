"""From an organisation and an address to the folder of the mailbox, and back: safe, one to one, readable.

`contoso`, `Ana.Smith@contoso.com` lies in `contoso/contoso.com/ana.smith`. Case does not distinguish mailboxes
(specification 1.6), so names are folded and everything is lower case; what is not a plain letter, digit or one of
`+-._=` is written as %XX with the capital hexadecimal digits of its UTF-8 octets, a leading dot too. So no name is
`.` or `..`, holds a slash, or means two mailboxes, also on a file system that ignores case.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
from urllib.parse import unquote

_PLAIN = frozenset("abcdefghijklmnopqrstuvwxyz0123456789+-._=")
_LONGEST = 200
"""Octets of one folder name; file systems take 255."""

_ESCAPED = re.compile(r"(?:[a-z0-9+\-_=.]|%[0-9A-F]{2})+")

Folders = tuple[str, str, str]
"""The folders of organisation, domain and local part, from the operator's directory downwards."""


def folders_of(organisation: str, address: str) -> Folders:
    """Where the mailbox of this address lies below the operator's directory. Raises ValueError if it is no address."""
    local, at, domain = address.rpartition("@")
    if not (at and local and domain):
        raise ValueError(f"'{address[:80]}' is no address of a mailbox")
    return escaped(organisation), escaped(domain), escaped(local)


def escaped(name: str) -> str:
    """One name as the name of a folder."""
    folded = unicodedata.normalize("NFC", name.casefold())
    # Lower case is the one form of a letter; what has no lower case form is escaped like all that is not ASCII.
    text = "".join(c if c in _PLAIN else "".join(f"%{octet:02X}" for octet in c.encode()) for c in folded)
    if text.startswith("."):
        text = "%2E" + text[1:]
    if len(text) <= _LONGEST:
        return text
    # "~" is never written otherwise, so a shortened name is nobody's whole one.
    return f"{text[:120]}~{hashlib.sha256(folded.encode()).hexdigest()[:32]}"


def plain(folder: str) -> str | None:
    """The name that a folder was made of; None if it is none of ours, or was shortened."""
    if not _ESCAPED.fullmatch(folder):
        return None
    name = unquote(folder, errors="strict")
    return name if escaped(name) == folder else None
