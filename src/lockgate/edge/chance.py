"""Octets that nobody can guess, for ids: fetched from the kernel many at a time."""

from __future__ import annotations

import os

_AT_ONCE = 4096


class Chance:
    """The kernel's octets of chance, one system call for hundreds of ids. Make one after the process was started:
    two processes that share what was fetched would give the same ids."""

    __slots__ = ("_at", "_fetched")

    def __init__(self) -> None:
        self._fetched = b""
        self._at = 0

    def octets(self, count: int) -> bytes:
        """So many that were never given before (at most 4,096)."""
        if not 0 < count <= _AT_ONCE:
            raise ValueError(f"{count} octets of chance are not to be had at once")
        if self._at + count > len(self._fetched):
            self._fetched, self._at = os.urandom(_AT_ONCE), 0
        start, self._at = self._at, self._at + count
        return self._fetched[start : self._at]
