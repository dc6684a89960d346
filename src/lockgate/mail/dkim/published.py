"""The TXT record of a key of ours: how it is written into a zone, and whether what DNS says is just that."""

from __future__ import annotations

from collections.abc import Sequence

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from lockgate.mail.dkim.key import BadKey, PublicKey, read_key

STRING = 255
"""Octets of one string of a TXT record (RFC 1035 3.3.14)."""

TTL = 3600
_SHOWN = 24


def strings(record: str) -> tuple[str, ...]:
    """The record as the strings of a TXT record, none of which is too long."""
    return tuple(record[at : at + STRING] for at in range(0, len(record), STRING))


def zone_line(name: str, record: str) -> str:
    """The line of a zone file (RFC 1035 5.1) that publishes it."""
    return f"{name}. {TTL} IN TXT " + " ".join(f'"{string}"' for string in strings(record))


def what_is_wrong(name: str, record: str, found: Sequence[str]) -> str:
    """Why the TXT records `found` at `name` do not publish our `record`, as a sentence; "" if they do."""
    if not found:
        return f"there is no TXT record at {name}"
    if len(found) > 1:
        return f"there are {len(found)} TXT records at {name}; verifiers may take any of them, so leave only ours"
    text = found[0]
    ours = read_key(record)
    try:
        theirs = read_key(text)
    except BadKey as trouble:
        return _printable(f"the TXT record at {name} publishes no key: {trouble} (it begins '{text[:60]}')")
    if theirs.kind != ours.kind:
        return f"the TXT record at {name} is for a key of kind {theirs.kind}, ours is {ours.kind}"
    if _octets(theirs) != _octets(ours):
        return f"the TXT record at {name} publishes another key ({_key(text)}, ours is {_key(record)})"
    if theirs.testing:
        return f"the TXT record at {name} says t=y, a test that proves nothing to anybody; take that out"
    return ""


def _octets(key: PublicKey) -> bytes:
    if key.kind == "ed25519":
        return key.key.public_bytes(Encoding.Raw, PublicFormat.Raw)
    return key.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def _key(record: str) -> str:
    """The end of the key: all RSA keys begin alike."""
    value = "".join(record.partition("p=")[2].partition(";")[0].split())
    return _printable(f"p=...{value[-_SHOWN:]}")


def _printable(text: str) -> str:
    """The text without what could move a cursor: anybody may answer for a name."""
    return "".join([character if character.isprintable() else "?" for character in text])
