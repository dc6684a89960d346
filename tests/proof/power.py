"""A disk whose power can be cut: a file system of its own on a loop device, whose unwritten pages are forgotten.

What a process has written and nobody has synced is in the page cache of the inner file system and not in the image
file. A cut kills everything, copies the image as it is at that moment, throws the mounted file system away with all its
pages, and mounts the copy: ext4 finds a journal to replay, exactly as after a power failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

SIZE = 2 * 1024**3


class Disk:
    """An ext4 file system of 2 GiB (a sparse file), mounted on `folder / "disk"`; use as a context manager."""

    def __init__(self, folder: Path) -> None:
        if os.geteuid() != 0 or not Path("/dev/loop-control").exists() or shutil.which("mkfs.ext4") is None:
            pytest.skip("cutting the power needs root, loop devices and mkfs.ext4 (Debian: e2fsprogs)")
        self._image, self._copy = folder / "image", folder / "copy"
        self.path = folder / "disk"
        self.path.mkdir()
        with self._image.open("wb") as file:
            file.truncate(SIZE)
        _run("mkfs.ext4", "-q", "-E", "lazy_itable_init=0,lazy_journal_init=0", str(self._image))

    def __enter__(self) -> Disk:
        self._mount()
        return self

    def __exit__(self, *_: object) -> None:
        _run("umount", str(self.path))

    def cut(self) -> None:
        """Forget whatever was not synced. Nobody may have a file open there any more."""
        # --sparse: the holes stay holes; the copy is read through the outer page cache, where the loop device writes.
        _run("cp", "--sparse=always", str(self._image), str(self._copy))
        _run("umount", str(self.path))
        self._copy.replace(self._image)
        self._mount()

    def _mount(self) -> None:
        # commit=300: the journal is not written behind our back, so that only a sync makes anything durable.
        done = subprocess.run(
            ["mount", "-o", "loop,commit=300,noauto_da_alloc", str(self._image), str(self.path)],
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        if done.returncode != 0:
            pytest.skip(f"no loop device can be mounted here: {done.stderr.strip()}")


def _run(*words: str) -> None:
    subprocess.run(words, check=True, capture_output=True)
