"""The hosted mailboxes in a backup: into the archive, and where the operator's file says when it is restored."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import IO

from lockgate.app.config import OperatorFile
from lockgate.couriers.mailbox_copy import Copied, copy_mailboxes
from lockgate.storage.archive import ArchiveWriter

FOLDER = "mailboxes"
"""Where they lie in an archive, wherever they lay on disk."""

_STAGING = ".lockgate-restore"
_OF_THE_DISK = frozenset({"lost+found"})
_PARTS = ("new", "cur", "tmp")


class MailboxesThere(Exception):
    """The directory holds something already; the message says what to do."""


def write_mailboxes(archive: ArchiveWriter, config: OperatorFile) -> Copied | None:
    """Every letter and all that belongs to it; None if no Maildirs are kept here. Raises OSError."""
    root = config.mailboxes.directory
    if root is None:
        return None

    def add(path: Path, file: IO[bytes]) -> None:
        name = f"{FOLDER}/{path.relative_to(root).as_posix()}"
        if path.parent.name in ("new", "cur"):
            archive.add(name, file, os.fstat(file.fileno()).st_size)
        else:
            archive.add_bytes(name, file.read())  # what others may shorten while it is read

    return copy_mailboxes(root, add)


def within_state(config: OperatorFile) -> Path | None:
    """The directory of the mailboxes if it lies in the state directory, however the operator's file writes it."""
    root, state = config.mailboxes.directory, config.state_directory.resolve()
    if root is None or not root.resolve().is_relative_to(state):
        return None
    return config.state_directory / root.resolve().relative_to(state)


def must_be_free(unpacked: Path, config: OperatorFile) -> None:
    """Refuse to restore among mailboxes that exist. Raises MailboxesThere, OSError."""
    root = config.mailboxes.directory
    if root is None or within_state(config) is not None or not (unpacked / FOLDER).is_dir():
        return
    if root.is_dir() and (there := sorted({one.name for one in root.iterdir()} - _OF_THE_DISK)):
        raise MailboxesThere(
            f"{root} is not empty ({there[0]}). A restore never writes among mailboxes that exist: move them away, or "
            "name another [mailboxes] directory in the operator's file."
        )


def place_mailboxes(unpacked: Path, state: Path, config: OperatorFile) -> str:
    """Put them where the operator's file says; where they are now ("": there are none).

    `state` is the state directory to be, which is still elsewhere. Without a directory in the operator's file they go
    to its `restored`. Raises OSError.
    """
    root, source = config.mailboxes.directory, unpacked / FOLDER
    if (inside := within_state(config)) is not None:
        target = state / inside.relative_to(config.state_directory)
        # The service never makes this folder, and nobody else can: the state directory is empty before a restore.
        target.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not source.is_dir():
            return ""
        _move(source, target)
        return str(inside)
    if not source.is_dir():
        return ""
    if root is None:
        (state / "restored").mkdir(exist_ok=True, mode=0o700)
        _whole(source)
        shutil.move(source, state / "restored" / FOLDER)
        return str(config.state_directory / "restored" / FOLDER)
    root.mkdir(parents=True, exist_ok=True, mode=0o700)
    _move(source, root)
    return str(root)


def _move(source: Path, root: Path) -> None:
    """Copied beside their place first, because that may be another disk: a mailbox is there whole or not at all."""
    _whole(source)
    staging = root / _STAGING
    try:
        shutil.move(source, staging)
    except BaseException:
        shutil.rmtree(staging, ignore_errors=True)
        raise
    for one in sorted(staging.iterdir()):
        one.rename(root / one.name)
    staging.rmdir()
    os.sync()


def _whole(source: Path) -> None:
    """Only our account's, and with the empty folders that an archive of files does not hold."""
    for folder, names, _ in os.walk(source):
        place = Path(folder)
        place.chmod(0o700)
        if {"new", "cur"} & set(names):
            for part in _PARTS:
                (place / part).mkdir(exist_ok=True, mode=0o700)
