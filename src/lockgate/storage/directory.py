"""Who the recipients are: a sorted, memory-mapped table that all workers share and that is replaced as a whole.

Layout (little endian): header, bucket starts (32 bits each), sorted index words (32 bits of keyed hash, 32 bits of
place), records. A record is a head of lengths, the key, the answer's texts in one piece, and its packed attributes.
Each address has an index word of its own, so proxy addresses cost no second look-up; a hash is only a hint, the
address is compared.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import struct
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import msgspec

from lockgate.mail.address import Address
from lockgate.mail.directory import RecipientRow
from lockgate.mail.findings import Known, Members, RecipientKind, Unknown, Who
from lockgate.seams import Clock
from lockgate.storage.directory_log import Overlay

_HEADER = struct.Struct("<8sIIIQQ16sQQ")
"""Magic, format, bits of the bucket index, which hash, revision, words, hash key, starts of words and records."""

_MAGIC = b"LGDIRECT"
FORMAT = 1
_RECORD = struct.Struct("<IIBBBHI")
"""Octets of the key and of the texts, kind, characters of primary local part, of its domain, of the external local
part, octets of the attributes. The texts are these four in a row; what follows the third is the external domain."""

_UNPACK = _RECORD.unpack_from
_HEAD = _RECORD.size
_WORTH_SEARCHING = 4
"""A bucket with fewer words is looked through from its beginning."""

_KINDS = tuple(RecipientKind)
_LOOK = 0.5
"""A replaced table and a change are noticed within this many seconds."""
CHANGES = ".changes"
"""What the name of a table's log of changes ends in."""


class TwoOwners(ValueError):
    """One address belongs to two recipients of an organisation; the message names it."""


_ENCODE = msgspec.msgpack.Encoder().encode
_ATTRIBUTES = msgspec.msgpack.Decoder(dict[str, str]).decode
_NO_EXTERNAL = 0xFFFF
_UNIT = 4
"""Records begin at multiples of this many octets."""


def _key(organisation: str, address: str) -> bytes:
    return f"{organisation}\0{address}".encode()


def _strong(key: bytes, salt: bytes) -> int:
    """A keyed hash for a table into which somebody has put collisions on purpose."""
    return int.from_bytes(hashlib.blake2b(key, digest_size=4, key=salt).digest(), "little")


def _hash_of(which: int, salt: bytes) -> tuple[Callable[[bytes, Any], int], int | bytes]:
    """The hash of this number, and what it is salted with.

    The first is a quick 32-bit hash: four times cheaper than the strong one, but collisions can be made on purpose.
    """
    return (zlib.crc32, int.from_bytes(salt[:4], "little")) if which == 0 else (_strong, salt)


_HASHES = 2
LONGEST = 32
"""More recipients than this with one hash, and the table uses the strong hash."""


def _write_records(rows: Iterable[RecipientRow], records: bytearray) -> list[tuple[bytes, int]]:
    """(key, place of its record) per address. Raises TwoOwners, ValueError for what is too long to be an address."""
    places: dict[bytes, int] = {}
    for row in rows:
        primary, external = row.primary, row.external
        text = primary.local + primary.domain + (external.local + external.domain if external else "")
        texts = text.encode()
        attributes = _ENCODE(row.attributes) if row.attributes else b""
        if max(len(primary.local), len(primary.domain), len(external.local) if external else 0) > 255:
            raise ValueError(f"{primary} or its external address is longer than an address can be")
        lengths = (
            _KINDS.index(row.kind), len(primary.local), len(primary.domain),
            len(external.local) if external else _NO_EXTERNAL, len(attributes),
        )  # fmt: skip
        for address in {primary.key: None, **{proxy.key: None for proxy in row.proxies}}:
            key = _key(row.organisation, address)
            if key in places:
                raise TwoOwners(f"{address} belongs to two recipients of {row.organisation}; give it to one of them.")
            places[key] = len(records) // _UNIT
            records += _RECORD.pack(len(key), len(texts), *lengths) + key + texts + attributes
            records += bytes(-len(records) % _UNIT)
    if len(records) // _UNIT > 0xFFFFFFFF:
        raise ValueError("the recipients are more than one table can hold")
    return list(places.items())


def _words(places: list[tuple[bytes, int]], salt: bytes) -> tuple[int, array[int]]:
    """Which hash, and the sorted index words."""
    for which in range(_HASHES):
        hashed, start = _hash_of(which, salt)
        words = array("Q", sorted(hashed(key, start) << 32 | place for key, place in places))
        crowded = any(words[n] >> 32 == words[n + LONGEST] >> 32 for n in range(len(words) - LONGEST))
        if not crowded:
            return which, words
    raise ValueError("the recipients cannot be told apart by any hash")


def build_table(path: Path, rows: Iterable[RecipientRow]) -> int:
    """Write a table and put it in the place of the one at `path`, atomically; returns the new revision.

    Raises TwoOwners, ValueError, OSError; then the old table is untouched.
    """
    revision = _revision(path) + 1
    salt = os.urandom(16)
    records = bytearray()
    which, words = _words(_write_records(rows, records), salt)
    count = len(words)
    bits = max(1, min(24, count.bit_length()))
    starts = array("I", bytes(4 * ((1 << bits) + 1)))
    bucket = 0
    for n, word in enumerate(words):
        while bucket <= word >> (64 - bits):
            starts[bucket] = n
            bucket += 1
    for rest in range(bucket, len(starts)):
        starts[rest] = count
    at_words = -(-(_HEADER.size + 4 * len(starts)) // 8) * 8
    at_records = at_words + 8 * count
    header = _HEADER.pack(_MAGIC, FORMAT, bits, which, revision, count, salt, at_words, at_records)
    path.parent.mkdir(parents=True, exist_ok=True)
    early = path.with_name(path.name + ".new")
    with early.open("wb") as file:
        file.write(header)
        file.write(starts.tobytes())
        file.write(bytes(at_words - file.tell()))
        file.write(words.tobytes())
        file.write(records)
        file.flush()
        os.fsync(file.fileno())
    early.replace(path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
    return revision


def _revision(path: Path) -> int:
    with contextlib.suppress(OSError, struct.error):
        with path.open("rb") as file:
            magic, _, _, _, revision, *_ = _HEADER.unpack(file.read(_HEADER.size))
        if magic == _MAGIC:
            return int(revision)
    return 0


class _Table:
    """One mapped table. Raises OSError, ValueError when it cannot be one."""

    __slots__ = ("_at_records", "_bits", "_hash", "_map", "_salt", "_starts", "_words", "revision")

    def __init__(self, file: int) -> None:
        size = os.fstat(file).st_size
        if size < _HEADER.size:
            raise ValueError("the recipient table is cut off")
        self._map = mmap.mmap(file, 0, access=mmap.ACCESS_READ)
        view = memoryview(self._map)
        magic, version, bits, which, revision, count, salt, at_words, at_records = _HEADER.unpack_from(view)
        if magic != _MAGIC or version != FORMAT:
            raise ValueError("this is not a recipient table that this version can read")
        end_of_starts = _HEADER.size + 4 * ((1 << min(bits, 24)) + 1)
        if not (
            1 <= bits <= 24
            and which < _HASHES
            and end_of_starts <= at_words
            and at_words + 8 * count == at_records <= size
        ):
            raise ValueError("the recipient table is damaged")
        self.revision: int = revision
        self._bits = 32 - bits
        self._starts = view[_HEADER.size : end_of_starts].cast("I")
        self._words = view[at_words:at_records].cast("Q")
        self._at_records = at_records
        self._hash, self._salt = _hash_of(which, salt)

    def find(self, organisation: str, key: bytes) -> Who | None:
        """The recipient with exactly this key. Raises on a damaged table."""
        hashed = self._hash(key, self._salt)
        bucket = hashed >> self._bits
        starts, words = self._starts, self._words
        at, high = starts[bucket], starts[bucket + 1]
        if high - at >= _WORTH_SEARCHING:
            at = bisect_left(words, hashed << 32, at, high)
        while at < high:
            word = words[at]
            at += 1
            if word >> 32 != hashed:
                if word >> 32 > hashed:
                    break
                continue
            view = self._map
            start = self._at_records + (word & 0xFFFFFFFF) * _UNIT
            length, texts, kind, local, domain, there, attributes = _UNPACK(view, start)
            start += _HEAD
            end = start + length
            if view[start:end] == key:
                start = end + texts
                text = view[end:start].decode()
                external = None
                if there != _NO_EXTERNAL:
                    rest = text[local + domain :]
                    external = Address(rest[:there], rest[there:])
                known = _ATTRIBUTES(view[start : start + attributes]) if attributes else {}
                address = Address(text[:local], text[local : local + domain])
                return Who(organisation, _KINDS[kind], address, external, known)
        return None


class DirectoryTable:
    """seams.Directory over the table at `path` and the log of changes beside it; both are taken up within a second."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._now = clock.monotonic
        self._table: _Table | None = None
        self._why = "no recipient table has been loaded yet"
        self._sign: tuple[int, int, int] | None = None
        self._looked = float("-inf")
        self._overlay = Overlay(path.with_name(path.name + CHANGES))
        self._changed: dict[bytes, Who | None] = {}
        self._revision = 0

    def who_is(self, organisation: str, address: str) -> Known | Unknown:
        """Whose is this address (`Address.key` form)? Unknown if the table cannot be read; never raises."""
        now = self._now()
        if now - self._looked >= _LOOK or now < self._looked:
            self._looked = now
            self._look()
        table = self._table
        if table is None:
            return Unknown(self._why)
        try:
            key = _key(organisation, address)
            if self._changed and key in self._changed:
                return Known(self._changed[key], self._revision)
            return Known(table.find(organisation, key), self._revision)
        except UnicodeEncodeError:
            return Known(None, self._revision)  # what cannot be written as UTF-8 is nobody's address
        except Exception as trouble:
            return Unknown(f"the recipient table is damaged ({trouble})")

    def members_of(self, organisation: str, address: str) -> Members | Unknown:
        """The direct members of this group; tables of format 1 keep none, and what is not kept is not known."""
        return Unknown("the recipient table keeps no members of groups")

    def _look(self) -> None:
        """Take up the table and the changes that lie there now, if they are other ones."""
        try:
            self._take_up()
            if self._table is not None and self._overlay.start > self._table.revision:
                # The table was replaced between the two looks: the log goes on from the new one.
                self._take_up()
                if self._overlay.start > self._table.revision:
                    raise ValueError("the recipient table is older than the log of its changes")
        except (OSError, ValueError, struct.error) as trouble:
            # What cannot be read is unknown, never "nobody": an outage is not a verdict.
            self._table, self._sign = None, None
            self._why = f"the recipient table cannot be read ({trouble})"

    def _take_up(self) -> None:
        there = self._path.stat()
        sign = (there.st_ino, there.st_mtime_ns, there.st_size)
        table = self._table
        if sign != self._sign or table is None:
            file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                table = _Table(file)
            finally:
                os.close(file)
        anew = table is not self._table
        self._overlay.follow(table.revision, anew=anew)
        self._table, self._sign = table, sign
        self._changed, self._revision = self._overlay.owners, max(table.revision, self._overlay.revision)
