"""The completion log of one worker: what it finished is on record before anything else can go wrong.

A record is written before `note` returns and not synced: it survives the death of the process, which is its purpose.
The keeper reads the log of a dead worker; a living one empties its own log as the keeper acknowledges.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import struct
import zlib
from pathlib import Path

from lockgate.seams import Unavailable

_RECORD = struct.Struct("<IIQ")
"""Length of the payload, CRC-32 of sequence and payload, sequence."""

ROLL = 1024 * 1024
"""A log file larger than this gives way to the other one."""

_NAME = re.compile(r"([0-9a-f]{16})\.([ab])")


class CompletionLog:
    """The write side. The lock on its first file shows for as long as the process lives that the worker is alive."""

    def __init__(self, folder: Path, incarnation: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._files = [self._open(folder / f"{incarnation:016x}.{letter}") for letter in "ab"]
        self._paths = [folder / f"{incarnation:016x}.{letter}" for letter in "ab"]
        self._active = 0
        self._sizes = [0, 0]
        self._last = [0, 0]
        self._sequence = 0

    @staticmethod
    def _open(path: Path) -> int:
        """Locked before it gets its name, so that nobody takes it for a dead worker's."""
        early = path.with_suffix(path.suffix + ".new")
        fd = os.open(early, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        early.rename(path)
        return fd

    @property
    def sequence(self) -> int:
        """The number of the last record."""
        return self._sequence

    def note(self, payload: bytes) -> int:
        """Write one record; returns its sequence number. Raises Unavailable when it cannot be written."""
        self._sequence += 1
        sequence = self._sequence
        record = packed(sequence, payload)
        here = self._active
        try:
            written = os.write(self._files[here], record)
        except OSError as trouble:
            raise Unavailable(f"the completion log could not be written: {trouble.strerror}") from trouble
        if written != len(record):
            os.ftruncate(self._files[here], self._sizes[here])
            raise Unavailable("the completion log could not be written whole")
        self._sizes[here] += written
        self._last[here] = sequence
        if self._sizes[here] > ROLL and not self._sizes[1 - here]:
            self._active = 1 - here
        return sequence

    def applied(self, sequence: int) -> None:
        """The keeper has made everything up to here durable."""
        for n in (0, 1):
            roomy = self._sizes[n] > ROLL // 4 or n != self._active
            if self._sizes[n] and self._last[n] <= sequence and roomy:
                os.ftruncate(self._files[n], 0)
                self._sizes[n] = 0

    def close(self, *, remove: bool) -> None:
        """End; with `remove` the files go too (everything in them has been applied)."""
        for fd, path in zip(self._files, self._paths, strict=True):
            if remove:
                with contextlib.suppress(OSError):
                    path.unlink()
            os.close(fd)


def packed(sequence: int, payload: bytes) -> bytes:
    """One record as it lies in the log."""
    return _RECORD.pack(len(payload), zlib.crc32(payload, sequence & 0xFFFFFFFF), sequence) + payload


def read_log(folder: Path, incarnation: int) -> list[tuple[int, bytes]]:
    """(sequence, payload) of all whole records of a worker in order; a torn tail ends a file."""
    found: list[tuple[int, bytes]] = []
    for letter in "ab":
        try:
            data = (folder / f"{incarnation:016x}.{letter}").read_bytes()
        except FileNotFoundError:
            continue
        at = 0
        while at + _RECORD.size <= len(data):
            length, crc, sequence = _RECORD.unpack_from(data, at)
            payload = data[at + _RECORD.size : at + _RECORD.size + length]
            if len(payload) < length or zlib.crc32(payload, sequence & 0xFFFFFFFF) != crc:
                break
            found.append((sequence, payload))
            at += _RECORD.size + length
    found.sort()
    return found


def incarnations(folder: Path) -> list[int]:
    """Every worker that has left a log."""
    found = {int(match[1], 16) for entry in folder.iterdir() if (match := _NAME.fullmatch(entry.name))}
    return sorted(found)


def is_alive(folder: Path, incarnation: int) -> bool:
    """Whether the worker's process still holds its lock."""
    for letter in "ab":
        try:
            fd = os.open(folder / f"{incarnation:016x}.{letter}", os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(fd)
    return False


def forget(folder: Path, incarnation: int) -> None:
    """Remove the log of a dead worker once it is applied."""
    for letter in "ab":
        (folder / f"{incarnation:016x}.{letter}").unlink(missing_ok=True)
