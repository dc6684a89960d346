"""Counts of edge blocking on disk: each worker writes its own file now and then, the desk reads them all."""

from __future__ import annotations

import contextlib
from pathlib import Path

import msgspec

from lockgate.flow.unlisted import Counter, Estimate

PAUSE = 1.0
"""Seconds between two writings of one worker; so much may be lost when it dies."""

_DECODE = msgspec.msgpack.Decoder(Estimate).decode
_ENCODE = msgspec.msgpack.Encoder().encode


class Estimates:
    """The files below one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def counter(self, slot: int) -> Counter:
        """The counter of one worker, going on where the last one of that number stopped."""
        return Counter(_read(self._path(slot)))

    def keep(self, slot: int, counter: Counter) -> None:
        """Write what is new. Raises OSError."""
        if not counter.fresh:
            return
        counter.fresh = False
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        early = self._path(slot).with_suffix(".new")
        early.write_bytes(_ENCODE(counter.kept))
        early.replace(self._path(slot))

    def all(self) -> list[Estimate]:
        """What all workers have counted, those that are gone included."""
        return [one for path in sorted(self._folder.glob("*.msgpack")) if (one := _read(path)) is not None]

    def _path(self, slot: int) -> Path:
        return self._folder / f"{slot}.msgpack"


def _read(path: Path) -> Estimate | None:
    with contextlib.suppress(OSError, msgspec.MsgspecError):
        return _DECODE(path.read_bytes())
    return None
