"""What lies in the hosted mailboxes of this machine: how many messages, how large, and when the last one came."""

from __future__ import annotations

import itertools
import os
import re
from collections.abc import Iterator
from pathlib import Path

import msgspec

from lockgate.couriers.mailbox_folders import Folders, plain
from lockgate.couriers.maildir import PRIVATE, last_delivery

_SIZE = re.compile(r",S=(\d{1,15})")


class Box(msgspec.Struct, frozen=True):
    """One mailbox. `unseen` are the messages that nobody has opened, `size` in octets, `last` seconds since the epoch.

    `address` is None where the folder's name does not tell it (a name that was too long, or no folder of ours).
    """

    folders: Folders
    address: str | None
    messages: int
    unseen: int
    size: int
    last: float | None


def census(root: Path, organisation: str = "", limit: int = 1000) -> list[Box]:
    """The mailboxes below the operator's directory in the order of their names; of one organisation's folder if given.

    Blocks. Raises OSError if the directory cannot be read; what vanishes meanwhile is left out.
    """
    os.scandir(root).close()  # a directory that is not there is told, not shown as empty
    found = (look(root, folders) for folders in _all(root, organisation))
    return list(itertools.islice((box for box in found if box is not None), limit))


def look(root: Path, folders: Folders) -> Box | None:
    """One mailbox; None if nothing was ever delivered there. Blocks."""
    place = root.joinpath(*folders)
    if not (place / "new").is_dir():
        return None
    messages = unseen = size = 0
    for folder in _mail_folders(place):
        for file, seen in _files(folder):
            messages += 1
            unseen += not seen
            size += _octets(file)
    local, domain = plain(folders[2]), plain(folders[1])
    address = f"{local}@{domain}" if local and domain else None
    return Box(folders, address, messages, unseen, size, _last(place / PRIVATE))


def _all(root: Path, organisation: str) -> Iterator[Folders]:
    for one in [organisation] if organisation else _names(root):
        for domain in _names(root / one):
            for local in _names(root / one / domain):
                yield one, domain, local


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            return sorted(entry.name for entry in entries if entry.is_dir(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return []


def _mail_folders(place: Path) -> Iterator[Path]:
    """The inbox, and the folders that Maildir++ marks with a leading dot."""
    yield place
    yield from (place / name for name in _names(place) if name.startswith("."))


def _files(folder: Path) -> Iterator[tuple[os.DirEntry[str], bool]]:
    for part in ("new", "cur"):
        try:
            with os.scandir(folder / part) as entries:
                for entry in entries:
                    if not entry.name.startswith("."):
                        yield entry, part == "cur" and "S" in entry.name.partition(":2,")[2]
        except FileNotFoundError:
            continue


def _octets(file: os.DirEntry[str]) -> int:
    told = _SIZE.search(file.name)
    if told:
        return int(told[1])
    try:
        return file.stat(follow_symlinks=False).st_size
    except FileNotFoundError:
        return 0


def _last(private: Path) -> float | None:
    try:
        descriptor = os.open(private, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        return last_delivery(descriptor)
    finally:
        os.close(descriptor)
