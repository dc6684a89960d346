"""Recipients as records of the table: read in order, found for changing, and written without holding them in memory.

One group of records stands for one recipient, a record for each of its addresses, that of the primary one first; all
records of a group are the same behind the key, but for the members, which only the first has. `layout.py` tells how a
record lies on disk.
"""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import zlib
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec

from lockgate.mail.address import Address, AddressError, parse_address
from lockgate.mail.directory import RecipientRow
from lockgate.mail.findings import RecipientKind
from lockgate.storage.directory_log import key_of, sync_folder
from lockgate.storage.layout import (
    HEADER,
    KINDS,
    LONGEST,
    MAGIC,
    MORE,
    NO_EXTERNAL,
    NO_EXTRAS,
    NOTED,
    PLACE,
    PLAIN,
    RECORD,
    UNIT,
    Extras,
    addressed,
    alike,
    hash_of,
    read_short,
    read_tail,
    tails,
)

_KIND_AT = 8
"""Where the kind stands in a record."""


class Group(NamedTuple):
    """The records of one recipient: their octets, and (key, place within the octets) for each address."""

    octets: bytes
    keys: list[tuple[bytes, int]]


def pack(row: RecipientRow) -> Group:
    """The records of a recipient. Raises ValueError for what is too long to be an address."""
    primary, external = row.primary, row.external
    if external is None:
        texts, there = f"{primary.local}{primary.domain}".encode(), NO_EXTERNAL
    else:
        texts = f"{primary.local}{primary.domain}{external.local}{external.domain}".encode()
        there = len(external.local)
    if len(primary.local) > 255 or len(primary.domain) > 255 or (external is not None and there > 255):
        raise ValueError(f"{primary} or its external address is longer than an address can be")
    kind, tail, short = tails(row)
    texts_octets = len(texts)
    octets = bytearray()
    keys: list[tuple[bytes, int]] = []
    for address in row.keys:
        key = key_of(row.organisation, address)
        keys.append((key, len(octets)))
        octets += RECORD.pack(
            len(key), texts_octets, kind, len(primary.local), len(primary.domain), there, len(tail)
        )
        octets += key + texts + tail
        octets += bytes(-len(octets) % UNIT)
        tail = short
    return Group(bytes(octets), keys)


def unpack(group: Group) -> RecipientRow:
    """The recipient of a group; its further addresses come back in the form in which they are looked up.

    Raises ValueError at damage.
    """
    try:
        return _unpacked(group)
    except (struct.error, msgspec.MsgspecError, IndexError) as trouble:
        raise ValueError(f"the recipient table is damaged ({trouble})") from None


def _unpacked(group: Group) -> RecipientRow:
    length, texts, kind, local, domain, there, size = RECORD.unpack_from(group.octets)
    start = RECORD.size + length
    text = group.octets[start : start + texts].decode()
    rest = text[local + domain :]
    external = None if there == NO_EXTERNAL else Address(rest[:there], rest[there:])
    attributes, extras, members = read_tail(kind, group.octets[start + texts : start + texts + size])
    organisation = group.keys[0][0].partition(b"\0")[0].decode()
    return RecipientRow(
        organisation,
        KINDS[kind & ~MORE],
        Address(text[:local], text[local : local + domain]),
        external,
        tuple(_address(key) for key, _ in group.keys[1:]),
        attributes,
        members,
        tuple(addressed(manager) for manager in extras.managed_by),
        extras.forwarding,
        extras.restriction,
        extras.recipient_filter,
    )


def is_group(group: Group) -> bool:
    """Whether these are the records of a distribution group."""
    return group.octets[_KIND_AT] & ~MORE == PLACE[RecipientKind.GROUP]


def extras_of(group: Group) -> Extras:
    """What the recipient of these records has besides; its members are not looked at. Raises ValueError at damage."""
    try:
        length, texts, kind, _, _, _, _ = RECORD.unpack_from(group.octets)
        return read_short(group.octets, RECORD.size + length + texts)[1] if kind & MORE else NO_EXTRAS
    except (struct.error, msgspec.MsgspecError) as trouble:
        raise ValueError(f"the recipient table is damaged ({trouble})") from None


def _address(key: bytes) -> Address:
    text = key.partition(b"\0")[2].decode()
    try:
        return parse_address(text, utf8=True)
    except AddressError:
        local, _, domain = text.rpartition("@")
        return Address(local, domain)


class Records:
    """A table opened for whoever changes it; a missing one is empty. Raises OSError, ValueError if it is none.

    The mapping stays valid when the file is replaced, so what was begun on it can be ended.
    """

    def __init__(self, path: Path) -> None:
        self.revision = 0
        self._at = self._end = 0
        self._map: mmap.mmap | bytes = b""
        self._notes: Sequence[int] | None = ()
        if not path.exists():
            return
        with path.open("rb") as file:
            self._map = _mapped(file.fileno())
        if len(self._map) < HEADER.size:
            raise ValueError(f"{path} is cut off")
        magic, version, bits, which, revision, count, salt, at_words, at = HEADER.unpack_from(self._map)
        if magic != MAGIC or version not in (PLAIN, NOTED) or at_words + 8 * count != at or at > len(self._map):
            raise ValueError(f"{path} is no recipient table that this version can read, or it is damaged")
        view = memoryview(self._map)
        self.revision = int(revision)
        self._hash, self._salt = hash_of(which, salt)
        self._shift = 32 - bits
        behind = HEADER.size + 4 * ((1 << bits) + 1)
        self._starts = view[HEADER.size : behind].cast("I")
        self._notes = _notes(view[behind:at_words], behind) if version == NOTED else None
        self._words = view[at_words:at].cast("Q")
        self._at, self._end = at, len(self._map)

    def groups(self) -> Iterator[Group]:
        """Every recipient in the order of writing. Raises ValueError at damage."""
        at = self._at
        while at < self._end:
            group = self._group(at)
            at += len(group.octets)
            yield group

    def noted(self) -> Iterator[Group]:
        """The groups and the recipients with extras (layout.py); in an older table everybody. Raises ValueError."""
        if self._notes is None:
            yield from self.groups()
            return
        for place in self._notes:
            yield self._group(self._at + place * UNIT)

    def find(self, key: bytes) -> Group | None:
        """The recipient that has this address. Raises ValueError at damage."""
        start = self._place(key)
        if start is None:
            return None
        length, texts, _, local, domain, _, _ = RECORD.unpack_from(self._map, start)
        text = self._map[start + RECORD.size + length : start + RECORD.size + length + texts].decode()
        primary = key_of(key.partition(b"\0")[0].decode(), Address(text[:local], text[local : local + domain]).key)
        first = start if primary == key else self._place(primary)
        if first is None:
            raise ValueError("the recipient table is damaged: an address leads to nobody")
        return self._group(first)

    def _place(self, key: bytes) -> int | None:
        if not self._end:
            return None
        hashed = self._hash(key, self._salt)
        bucket = hashed >> self._shift
        for number in range(self._starts[bucket], self._starts[bucket + 1]):
            word = self._words[number]
            if word >> 32 != hashed:
                continue
            start = self._at + (word & 0xFFFFFFFF) * UNIT
            (length,) = struct.unpack_from("<I", self._map, start)
            if self._map[start + RECORD.size : start + RECORD.size + length] == key:
                return start
        return None

    def _group(self, first: int) -> Group:
        at, data, end = first, self._map, self._end
        keys: list[tuple[bytes, int]] = []
        tail = prefix = b""
        while at < end:
            try:
                length, texts, kind, _, _, _, size = RECORD.unpack_from(data, at)
                behind = at + RECORD.size + length
                key, rest = data[at + RECORD.size : behind], data[behind : behind + texts + size]
                if kind >= MORE:
                    rest = rest[:texts] + alike(kind, rest[texts:])
            except struct.error:
                raise ValueError("the recipient table is damaged: a record is cut off") from None
            if not keys:
                tail, prefix = rest, key[: key.find(b"\0") + 1]
            elif rest != tail or not key.startswith(prefix):
                break
            keys.append((key, at - first))
            at = behind + texts + size
            at += -(at - self._at) % UNIT
        if not keys:
            raise ValueError("the recipient table is damaged: a place leads nowhere")
        return Group(data[first : min(at, end)], keys)


def _notes(section: memoryview, begins: int) -> Sequence[int]:
    """The places that are written between bucket starts and index words. Raises ValueError at damage."""
    rest = section[-begins % 8 :]
    if len(rest) < 8:
        raise ValueError("the recipient table is damaged: its notes are cut off")
    (count,) = struct.unpack_from("<Q", rest)
    if 8 + 4 * count > len(rest):
        raise ValueError("the recipient table is damaged: its notes are cut off")
    return rest[8 : 8 + 4 * count].cast("I")


class TableWriter:
    """Writes a table group by group beside the one at `path`; memory is eight octets an address, `size` octets so far.

    Ends with `publish` or `drop`. Raises OSError when the disk does not take it.
    """

    def __init__(self, path: Path, name: str) -> None:
        self._path = path
        self._salt = os.urandom(16)
        self._start = int.from_bytes(self._salt[:4], "little")
        self._words = array("Q")
        self._notes = array("I")
        self._early = path.with_name(f".{path.name}.{name}.new")
        self._loose = path.with_name(f".{path.name}.{name}.records")
        path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._loose.open("w+b", buffering=1 << 20)
        self.size = 0

    def add(self, group: Group) -> int:
        """Add one recipient; where it begins (`again` gives it back). Nobody checks here that addresses are unique."""
        at = self.size
        place, start, words = at // UNIT, self._start, self._words
        for key, offset in group.keys:
            words.append(zlib.crc32(key, start) << 32 | (place + offset // UNIT))
        if group.octets[_KIND_AT] >= MORE:
            self._notes.append(place)
        self._file.write(group.octets)
        self.size = at + len(group.octets)
        if self.size // UNIT > 0xFFFFFFFF:
            raise ValueError("the recipients are more than one table can hold")
        return at

    def again(self, at: int) -> Group:
        """The recipient that was added at this place."""
        self._file.flush()
        # Most have a few addresses; one that has many, or many members, is read again with more.
        size = 1 << 16
        while True:
            data = os.pread(self._file.fileno(), size, at)
            whole = at + size >= self.size
            try:
                group = _first_group(data)
            except ValueError:
                if whole:
                    raise
            else:
                if whole or len(group.octets) < len(data) - 4096:
                    return group
            size *= 4

    def groups(self) -> Iterator[Group]:
        """Everybody that was added so far, in that order."""
        self._file.flush()
        if self.size:
            reader = Records.__new__(Records)
            reader._map, reader._at, reader._end = _mapped(self._file.fileno()), 0, self.size
            yield from reader.groups()

    def publish(self, revision: int) -> None:
        """Put the table in the place of the one there is, atomically and durably."""
        self._file.flush()
        which, words = self._sorted()
        count = len(words)
        bits = max(1, min(24, count.bit_length()))
        starts = _starts(words, bits)
        at_notes = -(-(HEADER.size + 4 * len(starts)) // 8) * 8
        notes = self._notes
        at_words = at_notes + (-(-(8 + 4 * len(notes)) // 8) * 8 if notes else 0)
        at_records = at_words + 8 * count
        head = (MAGIC, NOTED if notes else PLAIN, bits, which, revision, count, self._salt, at_words, at_records)
        with self._early.open("wb") as file:
            file.write(HEADER.pack(*head))
            file.write(starts.tobytes())
            file.write(bytes(at_notes - file.tell()))
            if notes:
                file.write(struct.pack("<Q", len(notes)))
                file.write(notes.tobytes())
            file.write(bytes(at_words - file.tell()))
            file.write(words.tobytes())
            self._file.seek(0)
            shutil.copyfileobj(self._file, file, 1 << 20)
            file.flush()
            os.fsync(file.fileno())
        self._early.replace(self._path)
        sync_folder(self._path.parent)
        self.drop()

    def drop(self) -> None:
        """Forget what was written."""
        self._file.close()
        self._loose.unlink(missing_ok=True)
        self._early.unlink(missing_ok=True)

    def _sorted(self) -> tuple[int, array[int]]:
        words = array("Q", sorted(self._words))
        if not _crowded(words):
            return 0, words
        found: list[int] = []
        self._file.seek(0)
        data = _mapped(self._file.fileno())
        hashed, salt = hash_of(1, self._salt)
        at = 0
        while at < self.size:
            length, texts, _, _, _, _, size = RECORD.unpack_from(data, at)
            key = data[at + RECORD.size : at + RECORD.size + length]
            found.append(hashed(key, salt) << 32 | at // UNIT)
            at += RECORD.size + length + texts + size
            at += -at % UNIT
        words = array("Q", sorted(found))
        if _crowded(words):
            raise ValueError("the recipients cannot be told apart by any hash")
        return 1, words


def _mapped(file: int) -> mmap.mmap:
    return mmap.mmap(file, 0, access=mmap.ACCESS_READ)


def _first_group(data: bytes) -> Group:
    reader = Records.__new__(Records)
    reader._map, reader._at, reader._end = data, 0, len(data)
    return reader._group(0)


def _crowded(words: array[int]) -> bool:
    return any(words[n] >> 32 == words[n + LONGEST] >> 32 for n in range(len(words) - LONGEST))


def _starts(words: array[int], bits: int) -> array[int]:
    count, shift = len(words), 64 - bits
    starts = array("I", bytes(4 * ((1 << bits) + 1)))
    bucket = 0
    for n, word in enumerate(words):
        while bucket <= word >> shift:
            starts[bucket] = n
            bucket += 1
    for rest in range(bucket, len(starts)):
        starts[rest] = count
    return starts
