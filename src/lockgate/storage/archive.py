"""A backup as one file: a tar stream under zstd, every member with its digest in a manifest that comes last.

What has no whole manifest was cut off, and is refused. Names are checked when reading: an archive comes from outside.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Protocol

import msgspec
import zstandard

FORMAT = 1
MANIFEST = "manifest.json"
_PIECE = 1024 * 1024
_LEVEL = 3
_PART = re.compile(r"[^/\0]{1,255}")
_ZEROS = bytes(_PIECE)
_LARGEST_MANIFEST = 256 * 1024 * 1024


class NotABackup(Exception):
    """The file is no backup, is cut off, damaged, or of a newer Lockgate; the message says which."""


class Member(msgspec.Struct, frozen=True):
    """One file of a backup: where it lies in the archive, octets, SHA-256 in hexadecimal digits, mode."""

    name: str
    size: int
    sha256: str
    mode: int = 0o600


class Manifest(msgspec.Struct, frozen=True):
    """What a backup is: by which version, of which host, at which moment (seconds since the epoch), and its files.

    `counts` says how much of what is in it; `places` where files from outside the state directory came from.
    """

    format: int
    version: str
    hostname: str
    made: float
    counts: dict[str, int] = {}
    places: dict[str, str] = {}
    members: tuple[Member, ...] = ()


class Readable(Protocol):
    """What has octets to read."""

    def read(self, size: int = -1, /) -> bytes:
        """At most this many of the next ones; none at the end."""


class _Counting:
    """Reads through and keeps the digest."""

    def __init__(self, source: Readable) -> None:
        self._source = source
        self.digest = hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._source.read(size)
        self.digest.update(data)
        return data


class ArchiveWriter:
    """Writes a backup to `path`, which must not exist; until `finish` has returned it lies under another name.

    Raises FileExistsError, OSError.
    """

    def __init__(self, path: Path) -> None:
        if path.exists():
            raise FileExistsError(f"{path} exists; a backup never takes the place of another file")
        self._path = path
        self._part = path.with_name(path.name + ".part")
        descriptor = os.open(self._part, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._file = os.fdopen(descriptor, "wb")
        self._packed = zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).stream_writer(
            self._file, closefd=False
        )
        self._tar = tarfile.open(fileobj=self._packed, mode="w|", format=tarfile.PAX_FORMAT)  # noqa: SIM115
        self._members: list[Member] = []

    def add_file(self, name: str, path: Path) -> None:
        """Add a file as it is now."""
        with path.open("rb") as source:
            there = os.fstat(source.fileno())
            self.add(name, source, there.st_size, there.st_mode & 0o777)

    def add_bytes(self, name: str, data: bytes) -> None:
        """Add these octets."""
        self.add(name, io.BytesIO(data), len(data))

    def add(self, name: str, source: Readable, size: int, mode: int = 0o600) -> None:
        """Add `size` octets of `source`. Raises OSError if they are not there any more."""
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, mode
        counting = _Counting(source)
        self._tar.addfile(info, counting)
        self._members.append(Member(name, size, counting.digest.hexdigest(), mode))

    def finish(self, manifest: Manifest) -> int:
        """Write the manifest, make the file durable and give it its name; its size in octets."""
        whole = msgspec.structs.replace(manifest, format=FORMAT, members=tuple(self._members))
        data = msgspec.json.encode(whole)
        info = tarfile.TarInfo(MANIFEST)
        info.size, info.mode = len(data), 0o600
        self._tar.addfile(info, io.BytesIO(data))
        self._tar.close()
        self._packed.close()  # type: ignore[no-untyped-call]
        self._file.flush()
        os.fsync(self._file.fileno())
        size = os.fstat(self._file.fileno()).st_size
        self._file.close()
        # link() and not rename(): a file that has got this name meanwhile is not ours to replace.
        os.link(self._part, self._path)
        self._part.unlink()
        _sync_folder(self._path.parent)
        return size

    def abort(self) -> None:
        """Give up; nothing stays behind."""
        for thing in (self._tar, self._packed, self._file):
            with contextlib.suppress(Exception):
                thing.close()
        self._part.unlink(missing_ok=True)


def unpack(path: Path, into: Path) -> Manifest:
    """Unpack a backup below `into` (which exists and is empty), every digest verified, everything made durable.

    Raises NotABackup, OSError; then what lies below `into` is worthless.
    """
    found: dict[str, tuple[int, str]] = {}
    manifest: Manifest | None = None
    try:
        with (
            path.open("rb") as file,
            zstandard.ZstdDecompressor().stream_reader(file) as plain,
            tarfile.open(fileobj=plain, mode="r|") as tar,
        ):
            for info in tar:
                if manifest is not None:
                    raise NotABackup(f"{path} has something behind its end")
                source = _content(tar, info)
                if info.name == MANIFEST:
                    manifest = _manifest(source.read(_LARGEST_MANIFEST), path)
                else:
                    found[info.name] = _write(into / _safe(info.name), source, info.mode & 0o777)
    except (tarfile.TarError, zstandard.ZstdError, EOFError) as trouble:
        raise NotABackup(f"{path} is no backup, or is damaged: {trouble}") from None
    if manifest is None:
        raise NotABackup(f"{path} is cut off: its manifest is missing")
    wanted = {member.name: (member.size, member.sha256) for member in manifest.members}
    for name in sorted(wanted.keys() | found.keys()):
        if wanted.get(name) != found.get(name):
            raise NotABackup(f"{path} is damaged: {name} is not what was written")
    for folder in {into, *(each for each in into.rglob("*") if each.is_dir())}:
        _sync_folder(folder)
    return manifest


def _content(tar: tarfile.TarFile, info: tarfile.TarInfo) -> IO[bytes]:
    source = tar.extractfile(info) if info.isreg() else None
    if source is None:
        raise NotABackup(f"{info.name!r} in the backup is no plain file")
    return source


def _manifest(data: bytes, path: Path) -> Manifest:
    try:
        number = msgspec.json.decode(data, type=dict[str, Any]).get("format")
        if isinstance(number, int) and number > FORMAT:
            raise NotABackup(f"{path} was made by a newer Lockgate; restore it with that one")
        return msgspec.json.decode(data, type=Manifest)
    except msgspec.MsgspecError as trouble:
        raise NotABackup(f"the manifest of {path} cannot be read: {trouble}") from None


def _safe(name: str) -> Path:
    parts = name.split("/")
    if not all(_PART.fullmatch(part) and part not in (".", "..") for part in parts):
        raise NotABackup(f"the backup holds a file with a name that leads elsewhere: {name[:80]!r}")
    return Path(*parts)


def _write(path: Path, source: IO[bytes], mode: int) -> tuple[int, str]:
    """Size and digest of what was written; runs of zeros become holes."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    digest, size = hashlib.sha256(), 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode | 0o600)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        for piece in _pieces(source):
            digest.update(piece)
            if piece != _ZEROS[: len(piece)]:
                os.pwrite(file.fileno(), piece, size)
            size += len(piece)
        file.truncate(size)
        os.fsync(file.fileno())
    return size, digest.hexdigest()


def _pieces(source: IO[bytes]) -> Iterator[bytes]:
    while piece := source.read(_PIECE):
        yield piece


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
