"""Message bodies in append-only segment files: one writer per worker, everybody may read.

A record is a header (magic, length, CRC-32, sequence) and the octets. References name segment, offset and length,
so nothing is searched for at start; the header lets a reader see damage and a salvager find what is there.
"""

from __future__ import annotations

import contextlib
import os
import re
import struct
import threading
import zlib
from collections.abc import Callable
from pathlib import Path

from lockgate.mail.headers import HEAD
from lockgate.mail.message import BodyRef
from lockgate.seams import Unavailable

HEADER = struct.Struct("<4sIQQ")
"""Magic, CRC-32 of the content, length of the content, sequence within the segment."""

MAGIC = b"LGB1"
SEGMENT_SIZE = 64 * 1024 * 1024
LARGE = 1024 * 1024
"""Bodies above this many octets go to a file of their own while they arrive."""

_NAME = re.compile(r"[0-9a-f]{16}-[0-9]{6,12}\.(?:seg|big|hold)")
_ZEROS = bytes(1024 * 1024)


class SegmentFolder:
    """Where segments lie: `segments/` for mail on its way, `hold/` for held bodies."""

    def __init__(self, queue: Path) -> None:
        self.flow = queue / "segments"
        self.hold = queue / "hold"

    def make(self) -> None:
        """Create the folders."""
        self.flow.mkdir(parents=True, exist_ok=True)
        self.hold.mkdir(parents=True, exist_ok=True)

    def path(self, name: str) -> Path:
        """The file of a segment. Raises ValueError for what cannot be a segment's name."""
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is not the name of a segment")
        return (self.hold if name.endswith(".hold") else self.flow) / name

    def names(self) -> list[str]:
        """All segments that lie there."""
        entries = [*self.flow.iterdir(), *self.hold.iterdir()]
        return [entry.name for entry in entries if _NAME.fullmatch(entry.name)]


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def read_body(folder: SegmentFolder, body: BodyRef) -> bytes:
    """The octets of one body. Raises FileNotFoundError, or ValueError when they are damaged or cut off."""
    with folder.path(body.segment).open("rb", buffering=0) as file:
        data = os.pread(file.fileno(), HEADER.size + body.length, body.offset - HEADER.size)
        while len(data) < HEADER.size + body.length:
            more = os.pread(
                file.fileno(), HEADER.size + body.length - len(data), body.offset - HEADER.size + len(data)
            )
            if not more:
                raise ValueError(f"the body at {body.offset} of {body.segment} is cut off")
            data += more
    magic, crc, length, _ = HEADER.unpack_from(data)
    if magic != MAGIC or length != body.length or crc != body.crc:
        raise ValueError(f"the record at {body.offset} of {body.segment} is not the one that was written")
    content = data[HEADER.size :]
    if zlib.crc32(content) != crc:
        raise ValueError(f"the body at {body.offset} of {body.segment} does not match its checksum")
    return content


def scan(path: Path) -> list[tuple[int, int, int]]:
    """(offset, length, CRC-32) of the whole records from the start; a torn tail ends the segment."""
    found, at = list[tuple[int, int, int]](), 0
    with path.open("rb") as file:
        end = file.seek(0, os.SEEK_END)
        while at + HEADER.size <= end:
            file.seek(at)
            magic, crc, length, sequence = HEADER.unpack(file.read(HEADER.size))
            if magic != MAGIC or sequence != len(found) + 1 or at + HEADER.size + length > end:
                break
            if zlib.crc32(file.read(length)) != crc:
                break
            found.append((at + HEADER.size, length, crc))
            at += HEADER.size + length
    return found


def _prepare(path: Path, size: int, *, fill: bool) -> int:
    """A new segment file with its blocks allocated, and zeroed with `fill`, so that a later sync moves no metadata."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.posix_fallocate(fd, 0, size)
        if fill:
            for at in range(0, size, len(_ZEROS)):
                os.pwrite(fd, memoryview(_ZEROS)[: min(len(_ZEROS), size - at)], at)
            os.fdatasync(fd)
    except OSError:
        os.close(fd)
        with contextlib.suppress(OSError):
            path.unlink()
        raise
    return fd


class SegmentWriter:
    """The write side of one worker; `sealed` is told the name of each segment that will get no more records.

    The next segment is zeroed by a thread while the current one fills; if it is not ready, an unzeroed one is used.
    """

    def __init__(
        self, folder: SegmentFolder, incarnation: int, sealed: Callable[[str], None], *, size: int = SEGMENT_SIZE,
        suffix: str = "seg", prepare: bool = True,
    ) -> None:
        self._folder = folder
        self._incarnation = incarnation
        self._sealed = sealed
        self._size = size
        self._suffix = suffix
        self._prepare = prepare
        self._count = 0
        self._fd = -1
        self._name = ""
        self._at = self._sequence = 0
        self._pins: dict[str, int] = {}
        self._spare: tuple[str, int] | None = None
        self._thread: threading.Thread | None = None

    @property
    def name(self) -> str:
        """The segment that is being filled now ("" for none)."""
        return self._name

    def new_name(self, suffix: str) -> str:
        """A name nobody else uses."""
        self._count += 1
        return f"{self._incarnation:016x}-{self._count:06d}.{suffix}"

    def append(self, chunks: list[bytes], length: int, crc: int) -> BodyRef:
        """Append one record and pin its segment until `unpin`. Raises Unavailable; then nothing was taken."""
        need = HEADER.size + length
        if self._fd < 0 or self._at + need > self._size:
            self._roll(need)
        header = HEADER.pack(MAGIC, crc, length, self._sequence + 1)
        try:
            written = os.pwritev(self._fd, [header, *chunks], self._at) if len(chunks) < 1000 else os.pwritev(
                self._fd, [header, b"".join(chunks)], self._at
            )
        except OSError as trouble:
            raise Unavailable(f"the body could not be written: {trouble.strerror}") from trouble
        if written != need:
            raise Unavailable("the body could not be written whole")
        body = BodyRef(self._name, self._at + HEADER.size, length, crc)
        self._at += need
        self._sequence += 1
        self._pins[self._name] = self._pins.get(self._name, 0) + 1
        if self._prepare and self._spare is None and self._thread is None and self._at > self._size // 4:
            self._thread = threading.Thread(target=self._make_spare, args=(self.new_name(self._suffix),), daemon=True)
            self._thread.start()
        return body

    def unpin(self, name: str) -> None:
        """The keeper has taken over (or nobody wants) one record of this segment."""
        left = self._pins.get(name, 0) - 1
        if left > 0:
            self._pins[name] = left
            return
        self._pins.pop(name, None)
        if name != self._name:
            self._sealed(name)

    def abandon(self) -> None:
        """Append nothing more to the current segment: it failed to sync, or the worker ends."""
        if self._fd >= 0:
            os.close(self._fd)
        name, self._fd, self._name = self._name, -1, ""
        if name and name not in self._pins:
            self._sealed(name)

    def close(self) -> None:
        """End; an unused spare is removed."""
        if self._thread is not None:
            self._thread.join()
        self.abandon()
        if self._spare is not None:
            name, fd = self._spare
            os.close(fd)
            self._folder.path(name).unlink(missing_ok=True)
            self._spare = None

    def _make_spare(self, name: str) -> None:
        try:
            self._spare = (name, _prepare(self._folder.path(name), self._size, fill=True))
        except OSError:
            self._spare = None  # the next roll tries again and tells whoever waits
        self._thread = None

    def _roll(self, need: int) -> None:
        self.abandon()
        spare, self._spare = self._spare, None
        if spare is not None and need <= self._size:
            self._name, self._fd = spare
        else:
            if spare is not None:
                self._spare = spare
            name = self.new_name(self._suffix)
            try:
                self._fd = _prepare(self._folder.path(name), max(self._size, need), fill=False)
            except OSError as trouble:
                raise Unavailable(f"no new segment could be made: {trouble.strerror}") from trouble
            self._name = name
        self._at = self._sequence = 0


class Body:
    """The body of one message on its way in (seams.BodyWriter).

    `may_keep` says whether the worker has memory for it; `finished` is told the reference and this body.
    """

    __slots__ = ("_chunks", "_crc", "_fd", "_finished", "_folder", "_head", "_large", "_may_keep", "_ours", "_ref",
                 "_size", "_writer")  # fmt: skip

    def __init__(
        self,
        folder: SegmentFolder,
        writer: SegmentWriter,
        prefix: bytes,
        may_keep: Callable[[int], bool],
        finished: Callable[[BodyRef, Body], None],
    ) -> None:
        self._folder = folder
        self._writer = writer
        self._may_keep = may_keep
        self._finished = finished
        self._chunks: list[bytes] = [prefix] if prefix else []
        self._size = len(prefix)
        self._crc = zlib.crc32(prefix)
        self._head = b""
        self._fd = -1
        self._large = ""
        self._ref: BodyRef | None = None
        self._ours = True

    @property
    def size(self) -> int:
        """Octets written so far, the prefix included."""
        return self._size

    def write(self, chunk: bytes) -> None:
        """Take more octets; beyond 1 MiB they go straight to a file. Raises Unavailable."""
        if self._ref is not None or not self._ours:
            raise ValueError("the body is finished")
        chunk = bytes(chunk)
        self._size += len(chunk)
        self._crc = zlib.crc32(chunk, self._crc)
        if self._large:
            self._pour([chunk])
            return
        self._chunks.append(chunk)
        if self._size > LARGE:
            self._go_large()

    def head(self) -> bytes:
        """The first octets (at most HEAD), for the header parser."""
        return self._head if self._large else self._whole()[:HEAD]

    def finish(self) -> BodyRef:
        """Append to the segment; durable only once the keeper has answered. Raises Unavailable."""
        if self._ref is None:
            if self._large:
                self._ref = self._finish_large()
            else:
                self._ref = self._writer.append(self._chunks, self._size, self._crc)
            self._finished(self._ref, self)
        return self._ref

    def content(self) -> bytes | None:
        """All octets if they are in memory and the worker may keep them there."""
        return None if self._large or not self._may_keep(self._size) else self._whole()

    def octets(self) -> bytes:
        """All octets, read back from the file of a large body; before `finish` only. Blocks. Raises Unavailable."""
        if not self._large:
            return self._whole()
        pieces, at, left = [], HEADER.size, self._size
        try:
            while left:
                piece = os.pread(self._fd, min(left, LARGE), at)
                if not piece:
                    raise Unavailable("the body is shorter than what was written")
                pieces.append(piece)
                at, left = at + len(piece), left - len(piece)
        except OSError as trouble:
            raise Unavailable(f"the body could not be read: {trouble.strerror}") from trouble
        return b"".join(pieces)

    def abort(self) -> None:
        """Forget them; does nothing to octets that the keeper has taken over."""
        self._chunks = []
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if not self._ours:
            return
        self._ours = False
        if self._large:
            with contextlib.suppress(OSError):
                self._folder.path(self._large).unlink()
        elif self._ref is not None:
            self._writer.unpin(self._ref.segment)

    def settled(self) -> None:
        """The keeper has taken the record over, or may have: it is not ours to remove any more."""
        if self._ours and self._ref is not None and not self._large:
            self._writer.unpin(self._ref.segment)
        self._ours = False

    def _whole(self) -> bytes:
        if len(self._chunks) != 1:
            self._chunks = [b"".join(self._chunks)]
        return self._chunks[0]

    def _go_large(self) -> None:
        name = self._writer.new_name("big")
        whole = self._whole()
        try:
            self._fd = os.open(self._folder.path(name), os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        except OSError as trouble:
            raise Unavailable(f"no file for a large body could be made: {trouble.strerror}") from trouble
        self._large, self._head, self._chunks = name, whole[:HEAD], []
        self._pour([bytes(HEADER.size), whole])

    def _pour(self, chunks: list[bytes]) -> None:
        try:
            for chunk in chunks:
                view = memoryview(chunk)
                while view:
                    view = view[os.write(self._fd, view) :]
        except OSError as trouble:
            raise Unavailable(f"the body could not be written: {trouble.strerror}") from trouble

    def _finish_large(self) -> BodyRef:
        try:
            os.pwrite(self._fd, HEADER.pack(MAGIC, self._crc, self._size, 1), 0)
        except OSError as trouble:
            raise Unavailable(f"the body could not be written: {trouble.strerror}") from trouble
        os.close(self._fd)
        self._fd = -1
        return BodyRef(self._large, HEADER.size, self._size, self._crc)
