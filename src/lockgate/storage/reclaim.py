"""Which segments are still needed: live references counted in memory, files unlinked at the last one."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from lockgate.storage.segments import SegmentFolder, sync_folder


class Live:
    """Live tasks and octets per segment; the keeper's own descriptors for syncing.

    An error of a sync is final: the kernel may have dropped the pages, so a second, successful sync proves nothing.
    """

    def __init__(self, folder: SegmentFolder) -> None:
        self.folder = folder
        self.tasks: dict[str, int] = {}
        self.octets: dict[str, int] = {}
        self._files: dict[str, int] = {}
        self._sealed: set[str] = set()
        self._lost: set[str] = set()
        self._dead: list[str] = []
        self.pinned = False
        """While a backup gives the files second names, none is removed."""

    def reset(self, counts: list[tuple[str, int, int]]) -> None:
        """Start from (segment, tasks, octets) as the database has them."""
        self.tasks = {name: tasks for name, tasks, _ in counts}
        self.octets = {name: octets for name, _, octets in counts}
        self._dead = []

    def add(self, name: str, length: int) -> None:
        """One more task refers to this segment."""
        self.tasks[name] = self.tasks.get(name, 0) + 1
        self.octets[name] = self.octets.get(name, 0) + length

    def remove(self, name: str, length: int) -> None:
        """One task fewer; the file goes after the commit if it was the last."""
        left = self.tasks.get(name, 0) - 1
        if left > 0:
            self.tasks[name] = left
            self.octets[name] -= length
            return
        self.tasks.pop(name, None)
        self.octets.pop(name, None)
        self._dead.append(name)

    def seal(self, name: str) -> None:
        """No more records will be appended."""
        self._sealed.add(name)
        if name not in self.tasks:
            self._dead.append(name)

    def is_sealed(self, name: str) -> bool:
        """Whether nobody appends to it any more."""
        return name in self._sealed or name.endswith(".big")

    def sync(self, names: set[str]) -> set[str]:
        """Make the segments durable, names included; returns those that failed, now and for good."""
        failed = names & self._lost
        fresh = set[Path]()
        for name in names - failed:
            if name not in self._files:
                try:
                    path = self.folder.path(name)
                    self._files[name] = os.open(path, os.O_RDWR | os.O_CLOEXEC)
                    fresh.add(path.parent)
                except (OSError, ValueError):
                    failed.add(name)
        for folder in fresh:
            try:
                sync_folder(folder)
            except OSError:
                failed |= names
        for name in names - failed:
            try:
                os.fdatasync(self._files[name])
            except OSError:
                failed.add(name)
        for name in failed:
            self._lost.add(name)
            self._close(name)
        return failed

    def _close(self, name: str) -> None:
        fd = self._files.pop(name, -1)
        if fd >= 0:
            with contextlib.suppress(OSError):
                os.close(fd)

    def unlink_dead(self) -> list[str]:
        """After a commit: remove what nobody refers to any more; returns the names."""
        if self.pinned:
            return []
        gone = []
        dead, self._dead = self._dead, []
        for name in dead:
            if name in self.tasks or not self.is_sealed(name):
                continue
            self._close(name)
            self._sealed.discard(name)
            self._lost.discard(name)
            with contextlib.suppress(FileNotFoundError, ValueError):
                self.folder.path(name).unlink()
                gone.append(name)
        return gone

    def sweep(self, alive: set[int], aside: Path | None = None) -> list[str]:
        """Remove orphans: files that no task refers to and no living worker may still write. Seals dead workers'.

        With `aside` they are moved there instead: tasks may have been lost with a damaged database.
        """
        if self.pinned:
            return []
        gone = []
        for name in self.folder.names():
            if int(name[:16], 16) in alive:
                continue
            self._sealed.add(name)
            if name not in self.tasks:
                self._close(name)
                with contextlib.suppress(FileNotFoundError):
                    if aside is None:
                        self.folder.path(name).unlink()
                    else:
                        aside.mkdir(exist_ok=True)
                        self.folder.path(name).rename(aside / name)
                    gone.append(name)
        return gone

    def sparse(self, least: float) -> list[str]:
        """Sealed segments of which less than this share is live, emptiest first."""
        found = []
        for name, octets in self.octets.items():
            if name not in self._sealed or name.endswith(".big"):
                continue
            with contextlib.suppress(FileNotFoundError):
                share = octets / max(1, self.folder.path(name).stat().st_size)
                if share < least:
                    found.append((share, name))
        return [name for _, name in sorted(found)]
