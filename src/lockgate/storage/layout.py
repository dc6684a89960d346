"""How the recipient table lies on disk: what those who look up in it and those who write it have in common.

Layout (little endian): header, bucket starts (32 bits each), in format 2 the notes, sorted index words (32 bits of
keyed hash, 32 bits of place), records. A record is a head of lengths, the key, the answer's texts in one piece, and a
tail of packed attributes. Each address has a record and an index word of its own, so proxy addresses cost no second
look-up; a hash is only a hint, the address is compared.

A recipient with more than attributes has MORE in its kind. Its tail is then two lengths, the attributes, the extras
(forwarding, restriction, managers, filter: a few octets that a look-up decodes) and the members, which a look-up leaves
alone and which only the record of the primary address has. The notes are the places of all groups and of all recipients
with extras, so that who is named by whom is found without reading a million plain recipients.

Format 1 has neither MORE nor notes; a table that needs neither is written in format 1.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable, Collection
from typing import Any

import msgspec

from lockgate.mail.address import Address
from lockgate.mail.directory import RecipientRow, are_named
from lockgate.mail.findings import Forwarding, RecipientKind, Restriction

MAGIC = b"LGDIRECT"
PLAIN, NOTED = 1, 2
"""The formats: the first knows no MORE and has no notes."""

HEADER = struct.Struct("<8sIIIQQ16sQQ")
"""Magic, format, bits of the bucket index, which hash, revision, words, hash key, starts of words and records."""

RECORD = struct.Struct("<IIBBBHI")
"""Octets of the key and of the texts, kind, characters of primary local part, of its domain, of the external local
part, octets of the tail. The texts are these four in a row; what follows the third is the external domain."""

NO_EXTERNAL = 0xFFFF
UNIT = 4
"""Records begin at multiples of this many octets."""

KINDS = tuple(RecipientKind)
PLACE = {kind: number for number, kind in enumerate(KINDS)}
_GROUP = PLACE[RecipientKind.GROUP]
MORE = 0x80
"""In a record's kind: the tail holds more than attributes."""

_SIZES = struct.Struct("<II")
"""Before the tail of a record with MORE: octets of the attributes and of the extras; the rest are the members."""

HASHES = 2
LONGEST = 32
"""More recipients than this with one hash, and the table uses the strong hash."""


class Extras(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """What a few recipients have besides: what a look-up tells, and who manages a group and how members are found."""

    forwarding: Forwarding | None = None
    restriction: Restriction | None = None
    managed_by: tuple[str, ...] = ()
    recipient_filter: dict[str, str] = {}

    def names(self, keys: Collection[str]) -> bool:
        """Whether one of these addresses (`Address.key` forms) is named here."""
        managed = self.managed_by and any(text.casefold() in keys for text in self.managed_by)
        return bool(managed) or are_named(keys, self.forwarding, self.restriction)


NO_EXTRAS = Extras()

encode = msgspec.msgpack.Encoder().encode
attributes_of = msgspec.msgpack.Decoder(dict[str, str]).decode
_EXTRAS = msgspec.msgpack.Decoder(Extras).decode
_MEMBERS = msgspec.msgpack.Decoder(tuple[list[str], dict[int, str]]).decode


def strong(key: bytes, salt: bytes) -> int:
    """A keyed hash for a table into which somebody has put collisions on purpose."""
    return int.from_bytes(hashlib.blake2b(key, digest_size=4, key=salt).digest(), "little")


def hash_of(which: int, salt: bytes) -> tuple[Callable[[bytes, Any], int], int | bytes]:
    """The hash of this number, and what it is salted with.

    The first is a quick 32-bit hash: four times cheaper than the strong one, but collisions can be made on purpose.
    """
    return (zlib.crc32, int.from_bytes(salt[:4], "little")) if which == 0 else (strong, salt)


def tails(row: RecipientRow) -> tuple[int, bytes, bytes]:
    """The kind as a record has it, the tail of the primary address's record, and that of the other addresses."""
    attributes = encode(row.attributes) if row.attributes else b""
    kind = PLACE[row.kind]
    plain = row.forwarding is None and row.restriction is None
    if plain and kind != _GROUP and not row.members and not row.managed_by and not row.recipient_filter:
        return kind, attributes, attributes
    plain = plain and not row.managed_by and not row.recipient_filter
    managers = tuple(address.text for address in row.managed_by)
    extras = b"" if plain else encode(Extras(row.forwarding, row.restriction, managers, row.recipient_filter))
    tail = _SIZES.pack(len(attributes), len(extras)) + attributes + extras
    return kind | MORE, tail + _packed(row.members), tail


def read_tail(kind: int, tail: bytes | memoryview) -> tuple[dict[str, str], Extras, tuple[Address, ...]]:
    """Attributes, extras and members of a tail. Raises ValueError, struct.error at damage."""
    if not kind & MORE:
        return (attributes_of(tail) if tail else {}), NO_EXTRAS, ()
    known, extras = read_short(tail, 0)
    keys, spelled = members_in(tail)
    return known, extras, tuple([addressed(spelled.get(n, key)) for n, key in enumerate(keys)])


def read_short(data: Any, start: int) -> tuple[dict[str, str], Extras]:
    """Attributes and extras of a tail with MORE that begins at `start`; the members are not looked at."""
    octets, more = _SIZES.unpack_from(data, start)
    start += _SIZES.size
    end = start + octets
    return (
        attributes_of(data[start:end]) if octets else {},
        _EXTRAS(data[end : end + more]) if more else NO_EXTRAS,
    )


def members_in(tail: bytes | memoryview) -> tuple[list[str], dict[int, str]]:
    """The members in a tail with MORE: the forms by which they are looked up, and the spelling of those that differ."""
    octets, more = _SIZES.unpack_from(tail)
    rest = tail[_SIZES.size + octets + more :]
    return _MEMBERS(rest) if rest else ([], {})


def alike(kind: int, tail: bytes) -> bytes:
    """What the tails of all records of one recipient have in common: everything but the members."""
    if not kind & MORE:
        return tail
    octets, more = _SIZES.unpack_from(tail)
    return tail[: _SIZES.size + octets + more]


def needle(text: str) -> bytes:
    """The text as it stands within a tail."""
    return encode(text)


def addressed(text: str) -> Address:
    """The address that was written as this text; it was parsed before it came into a table."""
    local, at, domain = text.rpartition("@")
    return Address(local, domain) if at else Address(domain, "")


def _packed(members: tuple[Address, ...]) -> bytes:
    if not members:
        return b""
    keys = [member.key for member in members]
    spelled = {
        n: text for n, (member, key) in enumerate(zip(members, keys, strict=True)) if (text := member.text) != key
    }
    return encode((keys, spelled))
