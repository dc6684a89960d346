"""Copies of mailboxes in use: every letter once, and never a log that promises a letter which is not there."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import IO

import pytest

from lockgate.couriers.mailbox_copy import copy_mailboxes
from lockgate.couriers.maildir import LOG, PRIVATE, Letter, deliver

ANA = ("contoso", "contoso.com", "ana")


class Kept:
    """What was copied; `before` is called with each path before it is read to its end."""

    def __init__(self, root: Path, before=lambda path: None) -> None:
        self.root = root
        self.before = before
        self.files: dict[str, bytes] = {}

    def add(self, path: Path, file: IO[bytes]) -> None:
        name = str(path.relative_to(self.root))
        assert name not in self.files, "never twice"
        self.before(path)
        self.files[name] = file.read()

    def letters(self) -> set[str]:
        return {Path(name).name.partition(":")[0] for name in self.files if Path(name).parent.name in ("new", "cur")}


def delivered(root: Path, *names: str) -> None:
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    letters = [Letter(name, f"{name}.mx", (b"Subject: x\n\n", name.encode())) for name in names]
    deliver(descriptor, ANA, letters, 1_800_000_000.0)
    os.close(descriptor)


def test_all_that_belongs_to_a_mailbox_is_copied_and_nothing_else(tmp_path: Path) -> None:
    delivered(tmp_path, "one", "two")
    box = tmp_path.joinpath(*ANA)
    archive = box / ".Archive" / "cur"
    archive.mkdir(parents=True)
    (box / "new" / "two.mx").rename(archive / "two.mx:2,S")
    for name in ("dovecot-uidlist", "dovecot.index.cache", "subscriptions", "dovecot-uidlist.lock"):
        (box / name).write_text(name)
    (box / "tmp").mkdir(exist_ok=True)
    (box / "tmp" / "half").write_text("half")
    (box / "new" / "elsewhere").symlink_to("/etc/hostname")
    kept = Kept(tmp_path)
    done = copy_mailboxes(tmp_path, kept.add)
    names = {name.removeprefix("contoso/contoso.com/ana/") for name in kept.files}
    assert {"new/one.mx", ".Archive/cur/two.mx:2,S", "dovecot-uidlist", "subscriptions", "lockgate/delivered"} <= names
    assert not {one for one in names if "index" in one or "lock" in Path(one).suffix or "half" in one}
    assert "new/elsewhere" not in names, "no link is followed"
    assert (done.mailboxes, done.letters, done.unreadable) == (1, 2, [])


def test_letters_that_are_moved_meanwhile_are_found_where_they_went(tmp_path: Path) -> None:
    delivered(tmp_path, *[f"m{n}" for n in range(20)])
    box = tmp_path.joinpath(*ANA)
    archive = box / ".Archive" / "cur"
    archive.mkdir(parents=True)

    def reads_all(path: Path) -> None:
        """With the first letter that is copied, the owner opens all, and files half of them away."""
        for number, one in enumerate(sorted((box / "new").iterdir())):
            one.rename((archive if number % 2 else box / "cur") / f"{one.name}:2,S")

    (box / "cur").mkdir(exist_ok=True)
    kept = Kept(tmp_path, lambda path: reads_all(path) if path.parent.name == "new" else None)
    done = copy_mailboxes(tmp_path, kept.add)
    assert kept.letters() == {f"m{n}.mx" for n in range(20)}
    assert done.letters == 20


def test_a_log_never_names_a_letter_that_is_not_in_the_copy(tmp_path: Path) -> None:
    """Deliveries go on while the mailbox is copied, many times over."""
    delivered(tmp_path, "first")
    over = threading.Event()

    def deliveries() -> None:
        number = 0
        while not over.is_set():
            number += 1
            delivered(tmp_path, f"n{number}")

    writer = threading.Thread(target=deliveries)
    writer.start()
    try:
        logged: set[str] = set()
        end = time.monotonic() + 60
        while len(logged) < 12 and time.monotonic() < end:
            kept = Kept(tmp_path)
            copy_mailboxes(tmp_path, kept.add)
            log = kept.files[f"contoso/contoso.com/ana/{PRIVATE}/{LOG}"].decode()
            logged = {word for line in log.splitlines() for word in line.split() if word[:1] in ("n", "f")}
            beside = {Path(name).name for name in kept.files if f"/{PRIVATE}/" in name}
            assert not {f"{word}.mx" for word in logged} - kept.letters() - beside
        assert "first" in logged and len(logged) >= 12
    finally:
        over.set()
        writer.join()


def test_what_cannot_be_copied_ends_it_and_a_missing_directory_is_no_empty_one(tmp_path: Path) -> None:
    delivered(tmp_path, "one")

    def full(path: Path, file: IO[bytes]) -> None:
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        copy_mailboxes(tmp_path, full)
    with pytest.raises(FileNotFoundError):
        copy_mailboxes(tmp_path / "gone", full)
