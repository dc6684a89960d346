"""A small table that several processes map; whoever comes first makes it."""

from __future__ import annotations

import fcntl
import mmap
import os
from pathlib import Path


def map_shared(file: Path, magic: bytes, size: int, rest: bytes = b"") -> mmap.mmap:
    """Map the file of this size that begins with `magic`; a new one is made of `magic`, `rest` and zeros.

    The lock on its folder is one that only starting processes take. Raises OSError.
    """
    folder = os.open(file.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(folder, fcntl.LOCK_EX)
        if not _usable(file, magic, size):
            # A new file, never the old one made shorter: somebody may still have it mapped.
            fresh = file.with_name(f"{file.name}.new")
            fresh.write_bytes(magic + rest)
            fresh.chmod(0o600)
            os.truncate(fresh, size)
            fresh.replace(file)
        with file.open("r+b") as opened:
            return mmap.mmap(opened.fileno(), size)
    finally:
        os.close(folder)


def _usable(file: Path, magic: bytes, size: int) -> bool:
    try:
        with file.open("rb") as opened:
            return os.fstat(opened.fileno()).st_size == size and opened.read(len(magic)) == magic
    except FileNotFoundError:
        return False
