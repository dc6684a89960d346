"""Who the recipients are: a sorted, memory-mapped table that all workers share and that is replaced as a whole.

`layout.py` tells how it lies on disk.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from pathlib import Path

from lockgate.mail.address import Address
from lockgate.mail.directory import RecipientRow
from lockgate.mail.findings import Known, Members, RecipientKind, Unknown, Who
from lockgate.seams import Clock
from lockgate.storage.directory_log import Overlay, key_of
from lockgate.storage.layout import (
    HASHES,
    HEADER,
    KINDS,
    MAGIC,
    MORE,
    NO_EXTERNAL,
    NOTED,
    PLAIN,
    RECORD,
    UNIT,
    addressed,
    attributes_of,
    hash_of,
    members_in,
    read_short,
)
from lockgate.storage.records import TableWriter, pack

_UNPACK = RECORD.unpack_from
_HEAD = RECORD.size
_WORTH_SEARCHING = 4
"""A bucket with fewer words is looked through from its beginning."""

LOOK = 0.5
"""A replaced table and a change are noticed within this many seconds."""
CHANGES = ".changes"
"""What the name of a table's log of changes ends in."""


class TwoOwners(ValueError):
    """One address belongs to two recipients of an organisation; the message names it."""


def build_table(path: Path, rows: Iterable[RecipientRow]) -> int:
    """Write a table and put it in the place of the one at `path`, atomically; returns the new revision.

    Raises TwoOwners, ValueError, OSError; then the old table is untouched.
    """
    revision = _revision(path) + 1
    writer = TableWriter(path, "built")
    owned: set[bytes] = set()
    try:
        for row in rows:
            group = pack(row)
            for key, _ in group.keys:
                if key in owned:
                    address = key.partition(b"\0")[2].decode()
                    raise TwoOwners(f"{address} belongs to two recipients of {row.organisation}; give it to one.")
                owned.add(key)
            writer.add(group)
        writer.publish(revision)
    except BaseException:
        writer.drop()
        raise
    return revision


def _revision(path: Path) -> int:
    with contextlib.suppress(OSError, struct.error):
        with path.open("rb") as file:
            magic, _, _, _, revision, *_ = HEADER.unpack(file.read(HEADER.size))
        if magic == MAGIC:
            return int(revision)
    return 0


class _Table:
    """One mapped table. Raises OSError, ValueError when it cannot be one."""

    __slots__ = ("_at_records", "_bits", "_hash", "_map", "_salt", "_starts", "_words", "revision")

    def __init__(self, file: int) -> None:
        size = os.fstat(file).st_size
        if size < HEADER.size:
            raise ValueError("the recipient table is cut off")
        self._map = mmap.mmap(file, 0, access=mmap.ACCESS_READ)
        view = memoryview(self._map)
        magic, version, bits, which, revision, count, salt, at_words, at_records = HEADER.unpack_from(view)
        if magic != MAGIC or version not in (PLAIN, NOTED):
            raise ValueError("this is not a recipient table that this version can read")
        end_of_starts = HEADER.size + 4 * ((1 << min(bits, 24)) + 1)
        if not (
            1 <= bits <= 24
            and which < HASHES
            and end_of_starts <= at_words
            and at_words + 8 * count == at_records <= size
        ):
            raise ValueError("the recipient table is damaged")
        self.revision: int = revision
        self._bits = 32 - bits
        self._starts = view[HEADER.size : end_of_starts].cast("I")
        self._words = view[at_words:at_records].cast("Q")
        self._at_records = at_records
        self._hash, self._salt = hash_of(which, salt)

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
            start = self._at_records + (word & 0xFFFFFFFF) * UNIT
            length, texts, kind, local, domain, there, tail = _UNPACK(view, start)
            start += _HEAD
            end = start + length
            if view[start:end] == key:
                start = end + texts
                text = view[end:start].decode()
                external = None
                if there != NO_EXTERNAL:
                    rest = text[local + domain :]
                    external = Address(rest[:there], rest[there:])
                address = Address(text[:local], text[local : local + domain])
                if kind < MORE:
                    known = attributes_of(view[start : start + tail]) if tail else {}
                    return Who(organisation, KINDS[kind], address, external, known)
                known, extras = read_short(view, start)
                kind -= MORE
                return Who(
                    organisation, KINDS[kind], address, external, known, extras.forwarding, extras.restriction
                )
        return None

    def members(self, key: bytes) -> tuple[list[str], dict[int, str]]:
        """The members that the record with exactly this key lists, none if there is none. Raises at damage."""
        hashed = self._hash(key, self._salt)
        bucket = hashed >> self._bits
        view = self._map
        for at in range(self._starts[bucket], self._starts[bucket + 1]):
            word = self._words[at]
            if word >> 32 != hashed:
                continue
            start = self._at_records + (word & 0xFFFFFFFF) * UNIT
            length, texts, kind, _, _, _, tail = _UNPACK(view, start)
            start += _HEAD
            if view[start : start + length] == key:
                start += length + texts
                return members_in(view[start : start + tail]) if kind & MORE else ([], {})
        return [], {}


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
        if now - self._looked >= LOOK or now < self._looked:
            self._looked = now
            self._look()
        table = self._table
        if table is None:
            return Unknown(self._why)
        try:
            key = f"{organisation}\0{address}".encode()
            if self._changed and key in self._changed:
                return Known(self._changed[key], self._revision)
            return Known(table.find(organisation, key), self._revision)
        except UnicodeEncodeError:
            return Known(None, self._revision)  # what cannot be written as UTF-8 is nobody's address
        except Exception as trouble:
            return Unknown(f"the recipient table is damaged ({trouble})")

    def members_of(self, organisation: str, address: str) -> Members | Unknown:
        """The direct members of the group with this address (`Address.key` form). See Directory."""
        group = self.who_is(organisation, address)
        if isinstance(group, Unknown):
            return group
        table = self._table
        if table is None:
            return Unknown(self._why)
        if group.who is None or group.who.kind is not RecipientKind.GROUP:
            return Members((), (), self._revision)
        try:
            return self._members(table, organisation, group.who.primary.key)
        except Exception as trouble:
            return Unknown(f"the recipient table is damaged ({trouble})")

    def _members(self, table: _Table, organisation: str, address: str) -> Members:
        key = key_of(organisation, address)
        changed = self._changed
        keys: Sequence[str]
        if key in changed:
            listed = self._overlay.members.get(key, ())
            keys, spelled = [member.key for member in listed], {n: one.text for n, one in enumerate(listed)}
        else:
            keys, spelled = table.members(key)
        known: dict[Address, Who] = {}
        others: list[Address] = []
        for number, one in enumerate(keys):
            member = key_of(organisation, one)
            who = changed[member] if member in changed else table.find(organisation, member)
            if who is None:
                others.append(addressed(spelled.get(number, one)))
            else:
                known.setdefault(who.primary, who)
        return Members(tuple(known.values()), tuple(others), self._revision)

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
