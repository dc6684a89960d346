"""Who the recipients are: a sorted, memory-mapped table that all workers share and that is replaced as a whole.

Layout (little endian): header, bucket starts (32 bits each), sorted hashes (64 bits), record offsets (64 bits),
records. A record is the length of its key, the key, and the packed answer. One index entry per address, so proxy
addresses cost no second look-up.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
import os
import struct
from array import array
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from lockgate.mail.address import Address
from lockgate.mail.findings import Known, RecipientKind, Unknown, Who
from lockgate.seams import Clock

_HEADER = struct.Struct("<8sIIQQ16sQQQ")
"""Magic, format, bits of the bucket index, revision, entries, hash key, starts of hashes, offsets and records."""

_MAGIC = b"LGDIRECT"
FORMAT = 1
_RECORD = struct.Struct("<HI")
_CACHED = 8192
_LOOK = 1.0
"""A replaced table is noticed within this many seconds."""


class RecipientRow(msgspec.Struct, frozen=True):
    """One recipient object as a source gives it.

    `proxies` are its further addresses; `attributes` those of specification 1.15.2, lower_snake_case.
    """

    organisation: str
    kind: RecipientKind
    primary: Address
    external: Address | None = None
    proxies: tuple[Address, ...] = ()
    attributes: dict[str, str] = {}


class TwoOwners(ValueError):
    """One address belongs to two recipients of an organisation; the message names it."""


class _Packed(msgspec.Struct, frozen=True, array_like=True, gc=False):
    organisation: str
    kind: RecipientKind
    local: str
    domain: str
    external: Address | None
    attributes: dict[str, str]


_ENCODE = msgspec.msgpack.Encoder().encode


def _key(organisation: str, address: str) -> bytes:
    return f"{organisation}\0{address}".encode("utf-8", "surrogatepass")


def _entries(rows: Iterable[RecipientRow], records: bytearray, salt: bytes) -> Iterator[tuple[int, int]]:
    """(hash, offset of the record) per address; the records go into `records`."""
    for row in rows:
        answer = _ENCODE(
            _Packed(row.organisation, row.kind, row.primary.local, row.primary.domain, row.external, row.attributes)
        )
        for address in {row.primary.key: None, **{proxy.key: None for proxy in row.proxies}}:
            key = _key(row.organisation, address)
            offset = len(records)
            records += _RECORD.pack(len(key), len(answer)) + key + answer
            yield int.from_bytes(hashlib.blake2b(key, digest_size=8, key=salt).digest(), "little"), offset


def build_table(path: Path, rows: Iterable[RecipientRow]) -> int:
    """Write a table and put it in the place of the one at `path`, atomically; returns the new revision.

    Raises TwoOwners, OSError; then the old table is untouched.
    """
    revision = _revision(path) + 1
    salt = os.urandom(16)
    records = bytearray()
    entries = sorted(_entries(rows, records, salt))
    _refuse_two_owners(entries, records)
    count = len(entries)
    bits = max(1, min(24, count.bit_length()))
    starts = array("I", bytes(4 * ((1 << bits) + 1)))
    bucket = 0
    for n, (hashed, _) in enumerate(entries):
        while bucket <= hashed >> (64 - bits):
            starts[bucket] = n
            bucket += 1
    for rest in range(bucket, len(starts)):
        starts[rest] = count
    at_hashes = -(-(_HEADER.size + 4 * len(starts)) // 8) * 8
    at_offsets = at_hashes + 8 * count
    at_records = at_offsets + 8 * count
    header = _HEADER.pack(_MAGIC, FORMAT, bits, revision, count, salt, at_hashes, at_offsets, at_records)
    path.parent.mkdir(parents=True, exist_ok=True)
    early = path.with_name(path.name + ".new")
    with early.open("wb") as file:
        file.write(header)
        file.write(starts.tobytes())
        file.write(bytes(at_hashes - file.tell()))
        file.write(array("Q", (hashed for hashed, _ in entries)).tobytes())
        file.write(array("Q", (offset for _, offset in entries)).tobytes())
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


def _refuse_two_owners(entries: list[tuple[int, int]], records: bytearray) -> None:
    keys: set[bytes] = set()
    before = -1
    for hashed, offset in entries:
        if hashed != before:
            keys.clear()
            before = hashed
        length, _ = _RECORD.unpack_from(records, offset)
        key = bytes(records[offset + _RECORD.size : offset + _RECORD.size + length])
        if key in keys:
            organisation, _, address = key.decode("utf-8", "surrogatepass").partition("\0")
            raise TwoOwners(f"{address} belongs to two recipients of {organisation}; give it to one of them.")
        keys.add(key)


def _revision(path: Path) -> int:
    with contextlib.suppress(OSError, struct.error):
        with path.open("rb") as file:
            magic, _, _, revision, *_ = _HEADER.unpack(file.read(_HEADER.size))
        if magic == _MAGIC:
            return int(revision)
    return 0


class _Table:
    """One mapped table. Raises OSError, ValueError when it cannot be one."""

    __slots__ = ("_at_records", "_bits", "_decode", "_hashes", "_map", "_offsets", "_salted", "_starts", "revision")

    def __init__(self, file: int) -> None:
        size = os.fstat(file).st_size
        if size < _HEADER.size:
            raise ValueError("the recipient table is cut off")
        view = memoryview(mmap.mmap(file, 0, access=mmap.ACCESS_READ))
        magic, version, bits, revision, count, salt, at_hashes, at_offsets, at_records = _HEADER.unpack_from(view)
        if magic != _MAGIC or version != FORMAT:
            raise ValueError("this is not a recipient table that this version can read")
        at_starts = _HEADER.size
        if not 1 <= bits <= 24 or not (
            at_starts + 4 * ((1 << bits) + 1) <= at_hashes
            and at_hashes + 8 * count == at_offsets
            and at_offsets + 8 * count == at_records <= size
        ):
            raise ValueError("the recipient table is damaged")
        self._map = view
        self.revision: int = revision
        self._bits = 64 - bits
        self._starts = view[at_starts : at_starts + 4 * ((1 << bits) + 1)].cast("I")
        self._hashes = view[at_hashes:at_offsets].cast("Q")
        self._offsets = view[at_offsets:at_records].cast("Q")
        self._at_records = at_records
        self._salted = hashlib.blake2b(digest_size=8, key=salt)
        self._decode = msgspec.msgpack.Decoder(_Packed).decode

    def find(self, key: bytes) -> Who | None:
        """The recipient with exactly this key. Raises on a damaged table."""
        salted = self._salted.copy()
        salted.update(key)
        hashed = int.from_bytes(salted.digest(), "little")
        bucket = hashed >> self._bits
        low, high = self._starts[bucket], self._starts[bucket + 1]
        hashes, view = self._hashes, self._map
        at = low if high - low < 2 else bisect_left(hashes, hashed, low, high)
        while at < high and hashes[at] == hashed:
            start = self._at_records + self._offsets[at]
            length, answer = _RECORD.unpack_from(view, start)
            start += _RECORD.size
            if view[start : start + length] == key:
                packed = self._decode(view[start + length : start + length + answer])
                return Who(packed.organisation, packed.kind, Address(packed.local, packed.domain), packed.external,
                           packed.attributes)  # fmt: skip
            at += 1
        return None


class DirectoryTable:
    """seams.Directory over the table at `path`; a table that is put in its place is taken up within a second."""

    def __init__(self, path: Path, clock: Clock) -> None:
        self._path = path
        self._clock = clock
        self._table: _Table | None = None
        self._why = "no recipient table has been loaded yet"
        self._sign: tuple[int, int, int] | None = None
        self._looked = float("-inf")
        self._answers: dict[tuple[str, str], Known] = {}

    def who_is(self, organisation: str, address: str) -> Known | Unknown:
        """Whose is this address (`Address.key` form)? Unknown if the table cannot be read; never raises."""
        now = self._clock.monotonic()
        if now - self._looked >= _LOOK or now < self._looked:
            self._looked = now
            self._look()
        answer = self._answers.get((organisation, address))
        if answer is not None:
            return answer
        table = self._table
        if table is None:
            return Unknown(self._why)
        try:
            answer = Known(table.find(_key(organisation, address)), table.revision)
        except Exception as trouble:
            return Unknown(f"the recipient table is damaged ({trouble})")
        if len(self._answers) >= _CACHED:
            self._answers.clear()
        self._answers[organisation, address] = answer
        return answer

    def _look(self) -> None:
        """Take up the table that lies there now, if it is another one."""
        try:
            there = self._path.stat()
            sign = (there.st_ino, there.st_mtime_ns, there.st_size)
            if sign == self._sign:
                return
            file = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
            try:
                table = _Table(file)
            finally:
                os.close(file)
        except (OSError, ValueError, struct.error) as trouble:
            # What cannot be read is unknown, never "nobody": an outage is not a verdict.
            self._table, self._sign = None, None
            self._why = f"the recipient table cannot be read ({trouble})"
            self._answers.clear()
            return
        self._table, self._sign = table, sign
        self._answers.clear()
