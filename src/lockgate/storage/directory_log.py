"""What has changed since the recipient table was written: an append-only log that every reader follows.

A frame is length, CRC-32 and one `Change`. The header names the table revision from which the log goes on; frames up
to a table's own revision are in that table already, so table and log may be replaced one after the other.
"""

from __future__ import annotations

import os
import struct
import zlib
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec

from lockgate.mail.address import Address
from lockgate.mail.directory import RecipientRow
from lockgate.mail.findings import Who

_HEADER = struct.Struct("<8sQ")
_FRAME = struct.Struct("<II")
_MAGIC = b"LGCHANGE"
LONGEST_FRAME = 64 * 1024 * 1024


def key_of(organisation: str, address: str) -> bytes:
    """The key of an address in table and log. Raises UnicodeEncodeError for what cannot be written."""
    return f"{organisation}\0{address}".encode()


def sync_folder(folder: Path) -> None:
    """Make a rename in this folder durable."""
    opened = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)


class Change(msgspec.Struct, frozen=True, array_like=True):
    """One change of an organisation's recipients: first the addresses that are `gone`, then the `rows` that are there.

    Addresses are `Address.key` forms; `gone` names every address that any changed recipient had before.
    """

    revision: int
    organisation: str
    gone: tuple[str, ...] = ()
    rows: tuple[RecipientRow, ...] = ()


class Damaged(ValueError):
    """The log holds octets that no crash explains; the message says where."""


_DECODE = msgspec.msgpack.Decoder(Change).decode
_ENCODE = msgspec.msgpack.Encoder().encode


def frame_of(change: Change) -> bytes:
    """The change as it stands in the log."""
    data = _ENCODE(change)
    return _FRAME.pack(len(data), zlib.crc32(data)) + data


def read_frames(data: bytes, at: int = 0) -> tuple[list[Change], int]:
    """The whole frames from `at` on, and where they end. What a crash cut off is left out. Raises Damaged."""
    found: list[Change] = []
    while at + _FRAME.size <= len(data):
        length, checked = _FRAME.unpack_from(data, at)
        end = at + _FRAME.size + length
        if length == 0 or length > LONGEST_FRAME or end > len(data):
            break
        body = data[at + _FRAME.size : end]
        if zlib.crc32(body) != checked:
            if end == len(data):
                break  # the last one, torn
            raise Damaged(f"the log of recipient changes is damaged at octet {at}")
        try:
            found.append(_DECODE(body))
        except msgspec.MsgspecError as trouble:
            raise Damaged(f"the log of recipient changes cannot be read at octet {at}: {trouble}") from None
        at = end
    return found, at


def write_log(path: Path, start: int, changes: Iterable[Change]) -> None:
    """Put a new log in the place of the one there is, atomically and durably."""
    early = path.with_name(f".{path.name}.new")
    with early.open("wb") as file:
        file.write(_HEADER.pack(_MAGIC, start))
        for change in changes:
            file.write(frame_of(change))
        file.flush()
        os.fsync(file.fileno())
    early.replace(path)
    sync_folder(path.parent)


def append_to_log(path: Path, at: int, change: Change) -> int:
    """Add one change behind octet `at`, durably; where it ends. Raises OSError, and then it is not there."""
    frame = frame_of(change)
    if len(frame) > LONGEST_FRAME:
        raise OSError("the recipients of one change are more than its log takes at once; change fewer at a time")
    with path.open("r+b", buffering=0) as file:
        file.truncate(at)
        file.seek(at)
        try:
            if file.write(frame) != len(frame):
                raise OSError("the disk did not take the whole change")
            os.fdatasync(file.fileno())
        except OSError:
            file.truncate(at)
            raise
    return at + len(frame)


class Follower:
    """Reads a log as it grows. Raises OSError and Damaged; a log that is not there has no changes."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._inode = -1
        self.at = 0
        self.start = 0

    def look(self) -> tuple[bool, Sequence[Change]]:
        """Whether this is another log than at the last look, and the changes that are new."""
        try:
            there = self._path.stat()
        except FileNotFoundError:
            fresh, self._inode, self.at, self.start = self._inode != 0, 0, 0, 0
            return fresh, ()
        if there.st_ino == self._inode and there.st_size == self.at:
            return False, ()
        with self._path.open("rb") as file:
            inode = os.fstat(file.fileno()).st_ino
            fresh = inode != self._inode
            if fresh:
                head = file.read(_HEADER.size)
                if len(head) < _HEADER.size or head[:8] != _MAGIC:
                    raise Damaged(f"{self._path} is no log of recipient changes")
                start, at = _HEADER.unpack(head)[1], _HEADER.size
            else:
                start, at = self.start, self.at
                file.seek(at)
            changes, read = read_frames(file.read())
        self._inode, self.start, self.at = inode, start, at + read
        return fresh, changes

    def forget(self) -> None:
        """Read from the beginning at the next look."""
        self._inode = -1


class Overlay:
    """The addresses that have changed since the table a reader holds; `owners` has None for those that are gone.

    `members` are those of the groups among them, by the key of the group's primary address.
    """

    __slots__ = ("_follower", "members", "owners", "revision", "start")

    def __init__(self, path: Path) -> None:
        self._follower = Follower(path)
        self.owners: dict[bytes, Who | None] = {}
        self.members: dict[bytes, tuple[Address, ...]] = {}
        self.revision = 0
        self.start = 0

    def follow(self, table: int, *, anew: bool) -> None:
        """Take up what is new over the table of this revision; `anew` when that is another table."""
        if anew:
            self._follower.forget()
        fresh, changes = self._follower.look()
        if fresh:
            self.owners, self.members = {}, {}
            self.revision, self.start = table, self._follower.start
        for change in changes:
            if change.revision > table:
                apply(change, self.owners, self.members)
                self.revision = max(self.revision, change.revision)


def apply(
    change: Change, owners: dict[bytes, Who | None], members: dict[bytes, tuple[Address, ...]]
) -> None:
    """Lay one change over the others."""
    organisation = change.organisation
    for address in change.gone:
        key = key_of(organisation, address)
        owners[key] = None
        members.pop(key, None)
    for row in change.rows:
        who = Who(
            organisation, row.kind, row.primary, row.external, row.attributes, row.forwarding, row.restriction
        )
        for address in row.keys:
            owners[key_of(organisation, address)] = who
        if row.members:
            members[key_of(organisation, row.primary.key)] = row.members
