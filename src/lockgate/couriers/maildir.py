"""Into one Maildir, exactly once: durable before success, and never a second time after a kill.

A delivery is known by the id of its message: one mailbox gets one copy of one message, however often the queue asks.
What was delivered is remembered in the folder `lockgate` of the mailbox, which no mail program touches. In order:

1. the letter is written to a file there and synced, and so is the folder;
2. the id is written to the log `delivered`;
3. the file is renamed into `new`;
4. `new` and the log are synced; only then is it a success.

When the queue asks again, the log decides. Id not in the log: all is done anew, under the same name. Id in the log and
the file still here: it stopped between 2 and 3, the rename is made now. Id in the log and no file: it was delivered,
wherever its owner has moved it since. The file lies beside the log and not in `tmp`, because mail programs clear `tmp`
(Maildir: after 36 hours), and then a missing file would not mean "delivered". A lock lets one delivery at a time in.

A kill of the process at any instant loses and doubles nothing. A power cut loses nothing either; it may take the log's
last line and leave the rename, and then the letter comes again under its own name, which doubles it only if its owner
has moved it by then.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator, Sequence

import msgspec

from lockgate.couriers.mailbox_folders import Folders

PRIVATE = "lockgate"
"""The folder of a mailbox that is ours; Maildir++ takes only names with a leading dot for folders of mail."""

LOG, OLDER = "delivered", "delivered.1"

KEPT = 10 * 86400
"""Seconds an id is remembered at least; a message lives 7 days at most."""

LARGEST_LOG = 4 * 1024 * 1024
"""Octets at which a log gives way to a new one even so: 80,000 deliveries."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_APPEND = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_ID = re.compile(r"[A-Za-z0-9-]{1,64}")


class Letter(msgspec.Struct, frozen=True):
    """One message for one mailbox: its id, the file name it gets (the id is in it), and its parts with LF line ends."""

    id: str
    name: str
    parts: tuple[bytes, ...]


def deliver(root: int, folders: Folders, letters: Sequence[Letter], now: float) -> list[bool]:
    """Have these letters in the mailbox, durably; for each, whether it was new there. Blocks. Raises OSError.

    `root` is a descriptor of the operator's directory. If it fails, none of the letters may be told as delivered; what
    was done is found again the next time.
    """
    with contextlib.ExitStack() as stack:
        box = stack.enter_context(_mailbox(root, folders))
        private = stack.enter_context(_folder(box, PRIVATE))
        new = stack.enter_context(_folder(box, "new"))
        fcntl.flock(private, fcntl.LOCK_EX)
        return _deliver(private, new, letters, now)


def _deliver(private: int, new: int, letters: Sequence[Letter], now: float) -> list[bool]:
    log = os.open(LOG, _APPEND, 0o600, dir_fd=private)
    try:
        fresh, half, told = _sorted(_read(log) + _read_older(private), private, letters)
        if fresh:
            _stage(private, fresh)
            _remember(log, [letter.id for letter in fresh], now)
        for name in [*half, *[letter.name for letter in fresh]]:
            os.rename(name, name, src_dir_fd=private, dst_dir_fd=new)
        # Also for what was there already: whoever renamed it may have been killed before its sync.
        os.fsync(new)
        os.fdatasync(log)
        if fresh:
            _turn_over(private, log, now)
        return told
    finally:
        os.close(log)


def _sorted(known: bytes, private: int, letters: Sequence[Letter]) -> tuple[list[Letter], list[str], list[bool]]:
    """Who has to be written, which files only have to be renamed, and for each letter whether it is new."""
    fresh: dict[str, Letter] = {}
    half: list[str] = []
    told: list[bool] = []
    for letter in letters:
        if not _ID.fullmatch(letter.id):
            raise ValueError(f"{letter.id!r} is no id")
        seen = _holds(known, letter.id)
        told.append(not seen and letter.id not in fresh)
        if seen:
            half += [name for name in _staged(private, letter.id) if name not in half]
        else:
            fresh.setdefault(letter.id, letter)
    return list(fresh.values()), half, told


# --- folders -------------------------------------------------------------------------------------------------------


@contextlib.contextmanager
def _mailbox(root: int, folders: Folders) -> Iterator[int]:
    """A descriptor of the mailbox, which is made with all that Maildir asks for if it is not there."""
    with contextlib.ExitStack() as stack:
        here = root
        for name in folders:
            here = stack.enter_context(_folder(here, name))
        for name in ("tmp", "cur"):
            with _folder(here, name):
                pass
        yield here


@contextlib.contextmanager
def _folder(parent: int, name: str) -> Iterator[int]:
    """A descriptor of a folder, made if it is not there; never through a symbolic link that somebody has put there."""
    try:
        found = os.open(name, _FOLDER, dir_fd=parent)
    except FileNotFoundError:
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=parent)
        os.fsync(parent)
        found = os.open(name, _FOLDER, dir_fd=parent)
    try:
        yield found
    finally:
        os.close(found)


# --- the letter ----------------------------------------------------------------------------------------------------


def _stage(private: int, letters: Sequence[Letter]) -> None:
    """Write the files, whole and synced; if that fails, none of them stays."""
    written: list[str] = []
    try:
        for letter in letters:
            file = os.open(letter.name, _WRITE, 0o600, dir_fd=private)
            written.append(letter.name)
            try:
                for part in letter.parts:
                    _write(file, part)
                os.fdatasync(file)
            finally:
                os.close(file)
        # The log must never know of a file that a power cut could take away.
        os.fsync(private)
    except BaseException:
        for name in written:
            with contextlib.suppress(OSError):
                os.unlink(name, dir_fd=private)
        raise


def _write(file: int, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(file, rest) :]


def _staged(private: int, id_: str) -> list[str]:
    """The file of a delivery that stopped before its rename."""
    return [name for name in os.listdir(private) if id_ in re.split(r"[._,]", name)]


# --- the log -------------------------------------------------------------------------------------------------------


def _read(log: int) -> bytes:
    """All whole lines, each with a line end before it."""
    size = os.fstat(log).st_size
    data = os.pread(log, size, 0) if size else b""
    return b"\n" + data[: data.rfind(b"\n") + 1]


def _read_older(private: int) -> bytes:
    try:
        older = os.open(OLDER, _READ, dir_fd=private)
    except FileNotFoundError:
        return b""
    try:
        return _read(older)
    finally:
        os.close(older)


def _holds(known: bytes, id_: str) -> bool:
    return b"\n%b " % id_.encode() in known


def _remember(log: int, ids: Sequence[str], now: float) -> None:
    """Append the ids; all or none of them. A line that a power cut has torn is ended first and means nothing."""
    before = os.fstat(log).st_size
    torn = before > 0 and os.pread(log, 1, before - 1) != b"\n"
    lines = "".join(f"{one} {int(now)}\n" for one in ids).encode()
    try:
        if torn:
            os.ftruncate(log, _end_of_lines(log, before))
        _write(log, lines)
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(log, _end_of_lines(log, before) if torn else before)
        raise


def _end_of_lines(log: int, size: int) -> int:
    return os.pread(log, size, 0).rfind(b"\n") + 1


def _turn_over(private: int, log: int, now: float) -> None:
    """Begin a new log when the oldest line is older than anything can come again; the last log stays beside it."""
    size = os.fstat(log).st_size
    if size < LARGEST_LOG:
        first = os.pread(log, 128, 0).partition(b"\n")[0].split()
        if len(first) != 2 or not first[1].isdigit() or int(first[1]) > now - KEPT:
            return
    os.rename(LOG, OLDER, src_dir_fd=private, dst_dir_fd=private)
    os.fsync(private)


def last_delivery(private: int) -> float | None:
    """When the last letter was delivered, in seconds since the epoch; None: never, as far as is remembered."""
    for name in (LOG, OLDER):
        try:
            log = os.open(name, _READ, dir_fd=private)
        except FileNotFoundError:
            continue
        try:
            lines = _read(log).split()
        finally:
            os.close(log)
        if lines and lines[-1].isdigit():
            return float(lines[-1])
    return None
