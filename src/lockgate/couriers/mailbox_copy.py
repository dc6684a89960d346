"""All files of the hosted mailboxes, for a backup, while mail is delivered and mail programs move letters about.

The order within a mailbox keeps the promise of `maildir` for the copy: the log of deliveries is read first, then what
waits beside it, then the letters. So whatever the copied log calls delivered is in the copy, and what was delivered
since is not in the log, so that a queue of the same backup may deliver it again under the same name.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import msgspec

from lockgate.couriers.maildir import LOG, OLDER, PRIVATE

_LETTERS = ("new", "cur")
_FLEETING = (".lock", ".tmp")
_INDEX = "dovecot.index"
"""What Dovecot makes anew from the letters by itself, and rewrites while it is read."""

_ROUNDS = 5
"""How often a mailbox is looked through for letters that were moved while they were copied."""

Add = Callable[[Path, IO[bytes]], object]
"""Copy one file, which is open. What it raises ends the copying."""


class Copied(msgspec.Struct):
    """What was copied: mailboxes and letters, and the files that could not be read."""

    mailboxes: int = 0
    letters: int = 0
    unreadable: list[str] = []


def copy_mailboxes(root: Path, add: Add) -> Copied:
    """Give every file below the operator's directory to `add`, once. Blocks. Raises OSError if it is not there."""
    done = Copied()
    os.scandir(root).close()  # a file system that is not mounted is told, not copied as if nobody had mail
    for organisation in _folders(root):
        for domain in _folders(organisation):
            for box in _folders(domain):
                _Box(box, add, done).copy()
                done.mailboxes += 1
    return done


class _Box:
    """One mailbox: `_seen` are its letters that are copied, by folder and by the part of the name that stays."""

    def __init__(self, place: Path, add: Add, done: Copied) -> None:
        self._place = place
        self._add = add
        self._done = done
        self._seen: set[tuple[Path, str]] = set()
        self._missed = False

    def copy(self) -> None:
        private = self._place / PRIVATE
        for path in (private / LOG, private / OLDER):
            if path.is_file() and not path.is_symlink():
                self._one(path)
        for path in _plain(private):
            if path.name not in (LOG, OLDER):
                self._one(path)
        self._letters(again=False)
        for folder in [self._place, *_folders(self._place)]:
            if folder.name not in (PRIVATE, "tmp", *_LETTERS):
                self._rest(folder)
        for _ in range(_ROUNDS):
            if not self._letters(again=True) and not self._missed:
                break

    def _letters(self, *, again: bool) -> int:
        """Copy the letters that are not copied yet, and say how many those were."""
        self._missed = False
        names = {name for _, name in self._seen} if again else set()
        before = len(self._seen)
        for folder in [self._place, *(one for one in _folders(self._place) if one.name.startswith("."))]:
            for part in _LETTERS:
                for path in _plain(folder / part):
                    key = (folder, path.name.partition(":")[0])
                    # Moved from a folder that was copied to one that was not: it is in the copy already.
                    if key not in self._seen and key[1] not in names and self._one(path):
                        self._seen.add(key)
        self._done.letters += len(self._seen) - before
        return len(self._seen) - before

    def _rest(self, folder: Path) -> None:
        for path in _plain(folder):
            if not path.name.startswith(_INDEX) and not path.name.endswith(_FLEETING):
                self._one(path)
        for one in _folders(folder) if folder != self._place else ():
            if one.name not in ("tmp", *_LETTERS):
                self._rest(one)

    def _one(self, path: Path) -> bool:
        """Whether the file is dealt with, and need not be looked for again."""
        try:
            str(path).encode()
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError:
            self._missed = True
            return False
        except (OSError, UnicodeEncodeError):
            self._done.unreadable.append(str(path).encode("utf-8", "backslashreplace").decode())
            return True
        with os.fdopen(descriptor, "rb") as file:
            self._add(path, file)
        return True


def _folders(folder: Path) -> list[Path]:
    with os.scandir(folder) as entries:
        return sorted(Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False))


def _plain(folder: Path) -> Iterator[Path]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(entry.name for entry in entries if entry.is_file(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return
    yield from (folder / name for name in names)
