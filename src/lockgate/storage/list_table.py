"""How the entries of one named list lie on disk: a table that is written once and mapped by all who look up in it.

Layout (little endian): header, filter of keys and marks, filter of keys alone (where there are marks), bucket starts
(32 bits each), sorted index words (32 bits of keyed hash, 32 bits of place), records. A filter has a bit for a part of
each hash, so that what is not there is told without looking further; a hash is only a hint, the key is compared. A
record is two lengths, the keys and marks of the entry, and its text where that is not the first key; records stand in
the order in which they were added. A mark (the beginning of a phrase) has an index word with no place: that it is
there may be told wrongly now and then, which costs one more look.
"""

from __future__ import annotations

import mmap
import os
import shutil
import struct
import zlib
from array import array
from bisect import bisect_left
from collections.abc import Collection, Container, Iterator
from pathlib import Path

from lockgate.mail.lists import ListEntry
from lockgate.storage.directory_log import sync_folder
from lockgate.storage.layout import HASHES, LONGEST, hash_of

_MAGIC = b"LGLISTED"
_FORMAT = 1
_HEADER = struct.Struct("<8sIIIIIQQ16sQQQQ")
"""Magic, format, number of filters, bits of a filter, bits of the bucket index, which hash, entries, words, hash key,
starts of bucket starts, words and records, and the end."""

_RECORD = struct.Struct("<II")
"""Octets of keys and marks, and of the text (0: it is the first key)."""

_NOWHERE = 0xFFFFFFFF
_BITS_A_KEY = 16
_KEYS, _MARKS = "\n", "\t"
_LINE = _KEYS.encode()


class ListTable:
    """One mapped table. Raises OSError, ValueError when the file cannot be one."""

    __slots__ = (
        "_at_records", "_filter", "_hash", "_keys", "_map", "_mask", "_salt", "_shift", "_starts", "_words", "count",
    )  # fmt: skip

    def __init__(self, path: Path) -> None:
        file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            size = os.fstat(file).st_size
            if size < _HEADER.size:
                raise ValueError(f"{path.name} is cut off")
            self._map = mmap.mmap(file, 0, access=mmap.ACCESS_READ)
        finally:
            os.close(file)
        head = _HEADER.unpack_from(self._map)
        magic, version, filters, bits, buckets, which, entries, count, salt, at_starts, at_words, at, end = head
        if magic != _MAGIC or version != _FORMAT:
            raise ValueError(f"{path.name} is no list that this version can read")
        fits = filters in (1, 2) and bits in range(3, 33) and buckets in range(1, 25) and which < HASHES
        if not fits or _places(filters, bits, buckets, count) != (at_starts, at_words, at) or end != size:
            raise ValueError(f"{path.name} is damaged or cut off")
        view = memoryview(self._map)
        self.count: int = entries
        octets = (1 << bits) // 8
        self._filter = view[_HEADER.size : _HEADER.size + octets]
        self._keys = self._filter if filters == 1 else view[_HEADER.size + octets : _HEADER.size + 2 * octets]
        self._mask = (1 << bits) - 1
        self._starts = view[at_starts : at_starts + 4 * ((1 << buckets) + 1)].cast("I")
        self._words = view[at_words:at].cast("Q")
        self._shift = 32 - buckets
        self._at_records = at
        self._hash, self._salt = hash_of(which, salt)

    def some_of(self, keys: Collection[str]) -> list[str]:
        """Those of the keys (and beginnings) that may be there; a few too many, never too few.

        The keys hold no line ends.
        """
        if not keys:
            return []
        # In one loop without calls of ours, and encoded at once: a long text asks for thousands.
        seen, mask, hashed, salt = self._filter, self._mask, self._hash, self._salt
        octets = _KEYS.join(keys).encode().split(_LINE)
        return [
            key
            for key, one in zip(keys, octets, strict=True)
            if seen[(at := hashed(one, salt) & mask) >> 3] >> (at & 7) & 1
        ]

    def find(self, key: str, gone: Container[str] = ()) -> ListEntry | None:
        """The first entry that has this key, whose own key is not among those gone.

        Raises ValueError, struct.error, IndexError at damage.
        """
        hashed = self._hash(key.encode("utf-8", "replace"), self._salt)
        at = hashed & self._mask
        if not self._keys[at >> 3] >> (at & 7) & 1:
            return None
        starts, words, bucket = self._starts, self._words, hashed >> self._shift
        for number in range(starts[bucket], starts[bucket + 1]):
            word = words[number]
            if word >> 32 == hashed and word & _NOWHERE != _NOWHERE:
                entry, _ = self._entry(self._at_records + (word & _NOWHERE))
                if key in entry.keys and entry.key not in gone:
                    return entry
        return None

    def has(self, key: str) -> bool:
        """Whether there is an entry whose own key this is. Raises as `find`."""
        others: set[str] = set()
        while (entry := self.find(key, others)) is not None:
            if entry.key == key:
                return True
            others.add(entry.key)
        return False

    def entries(self) -> Iterator[ListEntry]:
        """All entries in the order of writing. Raises ValueError at damage."""
        at = self._at_records
        for _ in range(self.count):
            try:
                entry, at = self._entry(at)
            except (struct.error, UnicodeDecodeError, IndexError) as trouble:
                raise ValueError(f"the list is damaged ({trouble})") from None
            yield entry

    def _entry(self, at: int) -> tuple[ListEntry, int]:
        keys, text = _RECORD.unpack_from(self._map, at)
        start = at + _RECORD.size
        middle, end = start + keys, start + keys + text
        if end > len(self._map):
            raise ValueError("the list is damaged: a record is cut off")
        names, *marks = self._map[start:middle].decode().split(_MARKS)
        found = tuple(names.split(_KEYS))
        return ListEntry(self._map[middle:end].decode() if text else found[0], found, tuple(marks)), end


class ListWriter:
    """Writes a table entry by entry beside its place; memory is eight octets a key.

    Ends with `publish` or `drop`. Raises OSError when the disk does not take it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._salt = os.urandom(16)
        self._start = int.from_bytes(self._salt[:4], "little")
        self._words = array("Q")
        self._early = path.with_name(f"{path.name}.new")
        self._loose = path.with_name(f"{path.name}.records.new")
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        self._file = self._loose.open("w+b", buffering=1 << 20)
        self._size = 0
        self.count = 0

    def add(self, entry: ListEntry) -> None:
        """Add one entry; nobody checks here that it is there once."""
        place, start = self._size, self._start
        keys = _KEYS.join(entry.keys)
        area = (f"{keys}{_MARKS}{_MARKS.join(entry.marks)}" if entry.marks else keys).encode()
        text = b"" if entry.text == entry.keys[0] else entry.text.encode()
        for key in entry.keys:
            self._words.append(zlib.crc32(key.encode(), start) << 32 | place)
        for mark in entry.marks:
            self._words.append(zlib.crc32(mark.encode(), start) << 32 | _NOWHERE)
        self._file.write(_RECORD.pack(len(area), len(text)) + area + text)
        self._size += _RECORD.size + len(area) + len(text)
        self.count += 1
        if self._size >= _NOWHERE:
            raise ValueError("the entries are more than one list can hold")

    def publish(self) -> None:
        """Put the table in its place, durably."""
        self._file.flush()
        which, words = self._sorted()
        count = len(words)
        bits = max(10, min(32, (count * _BITS_A_KEY).bit_length()))
        buckets = max(1, min(24, count.bit_length() - 1))
        keys = array("Q", [word for word in words if word & _NOWHERE != _NOWHERE])
        filters = 1 if len(keys) == count else 2
        places = _places(filters, bits, buckets, count)
        end = places[2] + self._size
        head = (_MAGIC, _FORMAT, filters, bits, buckets, which, self.count, count, self._salt, *places, end)
        with self._early.open("wb") as file:
            file.write(_HEADER.pack(*head))
            file.write(_filter(words, bits))
            if filters == 2:
                file.write(_filter(keys, bits))
            file.write(bytes(places[0] - file.tell()))
            file.write(_starts(words, buckets).tobytes())
            file.write(bytes(places[1] - file.tell()))
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
        words = _once(sorted(self._words))
        if not _crowded(words):
            return 0, words
        # Somebody has chosen entries with one hash on purpose; a strong hash cannot be fooled.
        hashed, salt = hash_of(1, self._salt)
        found: list[int] = []
        for place, keys, marks in self._again():
            found += [hashed(key, salt) << 32 | place for key in keys]
            found += [hashed(mark, salt) << 32 | _NOWHERE for mark in marks]
        return 1, _once(sorted(found))

    def _again(self) -> Iterator[tuple[int, list[bytes], list[bytes]]]:
        at = 0
        self._file.seek(0)
        while head := self._file.read(_RECORD.size):
            area, text = _RECORD.unpack(head)
            names, *marks = self._file.read(area).split(_MARKS.encode())
            yield at, names.split(_KEYS.encode()), marks
            self._file.seek(text, os.SEEK_CUR)
            at += _RECORD.size + area + text


def _once(words: list[int]) -> array[int]:
    """The words without repetitions: many phrases have one beginning."""
    return array("Q", [word for word, before in zip(words, [-1, *words], strict=False) if word != before])


def _places(filters: int, bits: int, buckets: int, count: int) -> tuple[int, int, int]:
    """Where bucket starts, words and records begin."""
    at_starts = _aligned(_HEADER.size + filters * ((1 << bits) // 8))
    at_words = _aligned(at_starts + 4 * ((1 << buckets) + 1))
    return at_starts, at_words, at_words + 8 * count


def _aligned(place: int) -> int:
    return -(-place // 8) * 8


def _filter(words: array[int], bits: int) -> bytearray:
    found, mask = bytearray((1 << bits) // 8), (1 << bits) - 1
    for word in words:
        at = word >> 32 & mask
        found[at >> 3] |= 1 << (at & 7)
    return found


def _starts(words: array[int], buckets: int) -> array[int]:
    shift = 64 - buckets
    return array("I", [bisect_left(words, bucket << shift) for bucket in range(1 << buckets)] + [len(words)])


def _crowded(words: array[int]) -> bool:
    """Whether more entries than it takes long to look through have one hash; marks with one hash are one mark."""
    last = run = 0
    for word in words:
        if word & 0xFFFFFFFF == _NOWHERE:
            continue
        run = run + 1 if word >> 32 == last else 0
        last = word >> 32
        if run >= LONGEST:
            return True
    return False
