"""Delivers to the hosted mailboxes of this machine: Maildir++ below the operator's directory.

The blocking work is done by a few threads, so that no slow disk stops the loop. Letters that come for a mailbox while
one is being delivered there wait and are delivered together, so that they share the syncs.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import hashlib
import os
import re
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from lockgate.couriers.final import without_return_path
from lockgate.couriers.mailbox_folders import Folders, folders_of
from lockgate.couriers.maildir import Letter, deliver
from lockgate.mail import replies
from lockgate.mail.hop import Cargo, NextHop
from lockgate.mail.outcome import Fate, Outcome
from lockgate.mail.reply import Reply
from lockgate.seams import Clock, Journal, Taken, Unreachable

THREADS = 8
TOGETHER = 50
"""Letters delivered to one mailbox under one lock."""

_INLINE = 256 * 1024
"""Octets up to which a message is brought into form in the loop itself."""

_EVERYWHERE = frozenset({errno.ENOSPC, errno.EROFS, errno.EIO, errno.ENODEV, errno.ESTALE})
"""What is wrong with the file system and not with one mailbox."""

_UUID7 = re.compile(r"([0-9a-f]{8})-([0-9a-f]{4})-7[0-9a-f]{3}-[0-9a-f]{4}-[0-9a-f]{12}")

_Waiting = tuple[Letter, "asyncio.Future[bool]"]


class _NoMailboxes(Exception):
    """None can be written now; the reply says why."""

    def __init__(self, reply: Reply) -> None:
        super().__init__(str(reply))
        self.reply = reply


class MailboxCourier:
    """Implements seams.Courier for HopKind.MAILDIR. `directory` must be there; it is never made here, because a missing
    one is a file system that is not mounted, and mail must not land below its mount point."""

    def __init__(self, directory: Path, hostname: str, clock: Clock, journal: Journal) -> None:
        self._directory = directory
        self._hostname = hostname
        self._clock = clock
        self._journal = journal
        self._threads = ThreadPoolExecutor(THREADS, "mailbox")
        self._waiting: dict[Folders, list[_Waiting]] = {}
        self._working: set[asyncio.Task[None]] = set()

    async def carry(self, hop: NextHop, cargo: Cargo, taken: Taken) -> tuple[Outcome, ...]:
        """One outcome per recipient (seams.Courier). Raises Unreachable when no mailbox at all can be written."""
        common = await self._common(cargo)
        each = [self._one(hop, cargo, number, common, taken) for number in range(len(cargo.recipients))]
        done = await asyncio.gather(*each, return_exceptions=True)
        down: _NoMailboxes | None = None
        outcomes: list[Outcome] = []
        for number, one in enumerate(done):
            if isinstance(one, Outcome):
                outcomes.append(one)
                continue
            if not isinstance(one, _NoMailboxes):
                raise one
            down = one
            outcomes.append(Outcome(number, Fate.DEFERRED, one.reply, hop.store))
        if down is not None:
            self._journal.alarm("mailboxes cannot be written", id=cargo.id, lane=hop.lane, because=down.reply.text)
            if all(outcome.fate is Fate.DEFERRED for outcome in outcomes):
                raise Unreachable(down.reply, host=hop.store)
        return tuple(outcomes)

    async def close(self) -> None:
        """Finish what the threads have begun."""
        while self._working:
            await asyncio.wait(list(self._working))
        self._threads.shutdown(wait=True)

    # --- one recipient

    async def _one(self, hop: NextHop, cargo: Cargo, number: int, common: bytes, taken: Taken) -> Outcome:
        address = cargo.recipients[number].address
        try:
            folders = folders_of(hop.organisation, address)
        except ValueError as trouble:
            return Outcome(number, Fate.FAILED, replies.bad_recipient(str(trouble)), hop.store)
        letter = self._letter(cargo, address, common)
        try:
            fresh = await self._put(folders, letter)
        except OSError as trouble:
            return self._failed(hop, cargo, number, folders, trouble)
        reply = replies.MAILBOX_HAS_IT if fresh else replies.MAILBOX_HAD_IT
        outcome = Outcome(number, Fate.DELIVERED, reply, hop.store, final=True)
        taken((outcome,))
        return outcome

    def _failed(self, hop: NextHop, cargo: Cargo, number: int, folders: Folders, trouble: OSError) -> Outcome:
        why = trouble.strerror or str(trouble)
        if trouble.errno in _EVERYWHERE:
            full = trouble.errno == errno.ENOSPC
            raise _NoMailboxes(replies.MAILBOXES_FULL if full else replies.mailboxes_unwritable(why))
        place = "/".join(folders)
        self._journal.alarm("mailbox cannot be written", id=cargo.id, lane=hop.lane, mailbox=place, because=why)
        reply = replies.MAILBOX_FULL if trouble.errno == errno.EDQUOT else replies.mailbox_unwritable(why)
        return Outcome(number, Fate.DEFERRED, reply, hop.store)

    # --- the letter

    async def _common(self, cargo: Cargo) -> bytes:
        if len(cargo.content) <= _INLINE:
            return stored_form(cargo.content)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, stored_form, cargo.content)

    def _letter(self, cargo: Cargo, address: str, common: bytes) -> Letter:
        """RFC 5321 4.4: the server that makes final delivery writes the reverse path, and it alone."""
        sender = cargo.envelope.sender_text
        head = f"Return-Path: <{_line(sender)}>\nDelivered-To: {_line(address)}\n".encode("utf-8", "replace")
        size = len(head) + len(common)
        virtual = size + 2 + common.count(b"\n") - common.count(b"\r\n")
        return Letter(_id(cargo.id), _name(cargo.id, self._hostname, self._clock, size, virtual), (head, common))

    # --- the threads

    async def _put(self, folders: Folders, letter: Letter) -> bool:
        """Have the letter delivered with whatever else waits for this mailbox."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        waiting = self._waiting.get(folders)
        if waiting is not None:
            waiting.append((letter, future))
        else:
            self._waiting[folders] = [(letter, future)]
            task = asyncio.ensure_future(self._work(folders))
            self._working.add(task)
            task.add_done_callback(self._working.discard)
        return await future

    async def _work(self, folders: Folders) -> None:
        loop = asyncio.get_running_loop()
        waiting = self._waiting[folders]
        batch: list[_Waiting] = []
        trouble: Exception = RuntimeError("the delivery to the mailbox was cut off")
        try:
            while waiting:
                batch = waiting[:TOGETHER]
                del waiting[:TOGETHER]
                letters = [letter for letter, _ in batch]
                write = functools.partial(self._write, folders, letters)
                for (_, future), result in zip(batch, await loop.run_in_executor(self._threads, write), strict=True):
                    _answer(future, result)
        except Exception as unforeseen:
            trouble = unforeseen
        finally:
            del self._waiting[folders]
            for _, future in (*batch, *waiting):  # nobody is left waiting, whatever has happened
                _answer(future, trouble)

    def _write(self, folders: Folders, letters: Sequence[Letter]) -> list[bool | Exception]:
        """In a thread: all together, and one by one if that fails, so that each failure is only its own."""
        now = self._clock.now()
        try:
            root = os.open(self._directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as trouble:
            why = f"{self._directory}: {trouble.strerror}"
            return [_NoMailboxes(replies.mailboxes_unwritable(why))] * len(letters)
        put: Callable[[Sequence[Letter]], list[bool]] = functools.partial(deliver, root, folders, now=now)
        try:
            try:
                return list(put(letters))
            except Exception as trouble:
                if len(letters) == 1:
                    return [trouble]
            return [_tried(put, letter) for letter in letters]
        finally:
            os.close(root)


def _tried(put: Callable[[Sequence[Letter]], list[bool]], letter: Letter) -> bool | Exception:
    try:
        return put([letter])[0]
    except Exception as trouble:
        return trouble


def _answer(future: asyncio.Future[bool], result: bool | Exception) -> None:
    if future.done():  # whoever asked is gone; the mailbox remembers what it has
        return
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)


def stored_form(content: bytes) -> bytes:
    """The message as a Maildir keeps it: LF line ends, and no Return-Path, for that is written at delivery.

    Maildir is read by programs of this machine, which take LF for the end of a line; IMAP servers put CRLF back.
    """
    return without_return_path(content).replace(b"\r\n", b"\n")


def _id(id_: str) -> str:
    """The message id as the mailbox remembers it; ours are letters, digits and hyphens already."""
    return id_ if _UUID7.fullmatch(id_) else hashlib.sha256(id_.encode()).hexdigest()[:32]


def _name(id_: str, hostname: str, clock: Clock, size: int, virtual: int) -> str:
    """The file name: seconds and microseconds of arrival (they are in the id), the id, our name, and two sizes.

    S is the size of the file, W the size with CRLF line ends; with them an IMAP server need not read the file.
    """
    match = _UUID7.fullmatch(id_)
    milliseconds = int(match[1] + match[2], 16) if match else int(clock.now() * 1000)
    seconds, rest = divmod(milliseconds, 1000)
    return f"{seconds}.M{rest * 1000}_{_id(id_)}.{hostname},S={size},W={virtual}"


def _line(text: str) -> str:
    return text if text.isprintable() else "".join(c if c.isprintable() else "?" for c in text)
