"""Small files in a folder by which workers hand counts to the one process that keeps them: whole or not there."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import TypeVar

import msgspec

_T = TypeVar("_T")


class _Full(OSError):
    """The folder holds as much as it may."""


def named(now: float, slot: int, number: int) -> str:
    """A name that no other file of any worker has; names stand in the order of time."""
    return f"{int(now * 1000):015d}-{slot}-{os.getpid()}-{number}"


def put(folder: Path, name: str, data: bytes, most: int) -> None:
    """Leave a file, unless `most` wait already. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    if sum(1 for _ in folder.iterdir()) >= most:
        raise _Full(f"{most} files wait in {folder} already")
    early = folder / f".{name}.new"
    try:
        early.write_bytes(data)
        early.replace(folder / f"{name}.msgpack")
    except OSError:
        early.unlink(missing_ok=True)
        raise


def files(folder: Path) -> list[Path]:
    """What waits, in order."""
    try:
        return sorted(path for path in folder.iterdir() if path.suffix == ".msgpack")
    except FileNotFoundError:
        return []


def read(path: Path, decoder: msgspec.msgpack.Decoder[_T]) -> _T | None:
    """What is in the file, or None if it is damaged."""
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        return decoder.decode(path.read_bytes())
    return None
