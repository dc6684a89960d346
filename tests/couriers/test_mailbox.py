"""Into hosted mailboxes: one outcome for each recipient, what is wrong with the disk is temporary, the loop goes on."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import mailbox
import os
from pathlib import Path

import pytest

from couriers.senders import Notes, WallClock, cargo
from lockgate.couriers import mailbox as module
from lockgate.couriers.mailbox import MailboxCourier, stored_form
from lockgate.mail.hop import Cargo, HopKind, NextHop, TlsDemand
from lockgate.mail.outcome import Fate, Outcome
from lockgate.seams import Unreachable

HOP = NextHop("contoso/mailboxes", TlsDemand(), "mx.test", kind=HopKind.MAILDIR, store="mailboxes",
              organisation="contoso")  # fmt: skip
ID = "01934d2c-8a00-7000-8000-0000000000{:02x}"


class Office:
    """A courier over a folder, and what it said."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.notes = Notes()
        self.courier = MailboxCourier(root, "mx.test", WallClock(), self.notes)
        self.taken: list[int] = []

    async def carry(self, letter: Cargo) -> tuple[Outcome, ...]:
        return await self.courier.carry(HOP, letter, lambda some: self.taken.extend(one.recipient for one in some))

    def mail(self, user: str) -> list[bytes]:
        folder = self.root / "contoso" / "here.test" / user
        return [path.read_bytes() for path in sorted(folder.glob("new/*"))]


@contextlib.asynccontextmanager
async def office(root: Path):
    one = Office(root)
    try:
        yield one
    finally:
        await one.courier.close()


def letter(*users: str, number: int = 1, **more: object) -> Cargo:
    made = cargo(*[f"{user}@here.test" for user in users], **more)  # type: ignore[arg-type]
    return Cargo(ID.format(number), made.envelope, made.recipients, made.content)


async def test_each_recipient_has_its_copy_and_its_outcome(tmp_path: Path) -> None:
    async with office(tmp_path) as here:
        outcomes = await here.carry(letter("ana", "Ben"))
        assert [(o.recipient, o.fate, o.host, o.final, o.reply.code) for o in outcomes] == [
            (n, Fate.DELIVERED, "mailboxes", True, 250) for n in (0, 1)
        ]
        assert sorted(here.taken) == [0, 1]
        for user, address in (("ana", "ana"), ("ben", "Ben")):
            (text,) = here.mail(user)
            head = f"Return-Path: <ann@here.test>\nDelivered-To: {address}@here.test\n".encode()
            assert text.startswith(head) and b"\r" not in text


async def test_a_report_comes_from_nobody(tmp_path: Path) -> None:
    async with office(tmp_path) as here:
        await here.carry(letter("ana", sender=""))
        assert here.mail("ana")[0].startswith(b"Return-Path: <>\nDelivered-To: ana@here.test\n")


async def test_a_second_attempt_is_a_success_and_no_second_copy(tmp_path: Path) -> None:
    async with office(tmp_path) as here:
        await here.carry(letter("ana"))
        (outcome,) = await here.carry(letter("ana"))
        assert outcome.fate is Fate.DELIVERED and "earlier attempt" in outcome.reply.text
        assert len(here.mail("ana")) == 1
        await here.carry(letter("ana", number=2))
        assert len(here.mail("ana")) == 2


async def test_two_addresses_of_one_mailbox_get_one_copy(tmp_path: Path) -> None:
    async with office(tmp_path) as here:
        outcomes = await here.carry(letter("ana", "ANA"))
        assert [outcome.fate for outcome in outcomes] == [Fate.DELIVERED] * 2
        assert len(here.mail("ana")) == 1


async def test_python_reads_it_as_maildir_in_the_order_of_arrival(tmp_path: Path) -> None:
    async with office(tmp_path) as here:
        await asyncio.gather(*[here.carry(letter("ana", number=n)) for n in range(60)])
        box = mailbox.Maildir(tmp_path / "contoso" / "here.test" / "ana", create=False)
        assert len(box) == 60
        names = [path.name for path in (tmp_path / "contoso" / "here.test" / "ana" / "new").iterdir()]
        assert all(name.startswith("1732166584.M832000_01934d2c-8a00-7000-8000-") for name in names)
        assert len({name.partition(",")[0] for name in names}) == 60


@pytest.mark.parametrize(
    ("number", "code", "whole"),
    [
        (errno.ENOSPC, "4.3.1", True),
        (errno.EROFS, "4.3.0", True),
        (errno.EIO, "4.3.0", True),
        (errno.EDQUOT, "4.2.2", False),
        (errno.EACCES, "4.2.0", False),
    ],
)
async def test_what_is_wrong_with_the_disk_is_temporary_and_told(
    number: int, code: str, whole: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with office(tmp_path) as here:
        with monkeypatch.context() as patch:
            def failing(*_: object, **__: object) -> None:
                raise OSError(number, os.strerror(number))

            patch.setattr(module, "deliver", failing)
            if whole:
                with pytest.raises(Unreachable) as trouble:
                    await here.carry(letter("ana", "ben"))
                assert trouble.value.reply.enhanced == code and not trouble.value.permanent
            else:
                outcomes = await here.carry(letter("ana", "ben"))
                assert [(o.fate, o.reply.enhanced) for o in outcomes] == [(Fate.DEFERRED, code)] * 2
        assert here.notes.lines and all(line[0].startswith("ALARM mailbox") for line in here.notes.lines)
        assert not here.taken
        await here.carry(letter("ana", "ben"))
        assert len(here.mail("ana")) == len(here.mail("ben")) == 1


async def test_one_mailbox_that_cannot_be_written_stops_nobody_else(tmp_path: Path) -> None:
    (tmp_path / "contoso" / "here.test").mkdir(parents=True)
    (tmp_path / "contoso" / "here.test" / "ben").write_text("a file where a mailbox should be")
    async with office(tmp_path) as here:
        outcomes = await here.carry(letter("ana", "ben", "eve"))
        assert [o.fate for o in outcomes] == [Fate.DELIVERED, Fate.DEFERRED, Fate.DELIVERED]
        assert sorted(here.taken) == [0, 2]
        ((said, details),) = here.notes.lines
        assert said == "ALARM mailbox cannot be written" and details["mailbox"] == "contoso/here.test/ben"


async def test_a_directory_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    async with office(tmp_path / "not-mounted") as here:
        with pytest.raises(Unreachable, match="not-mounted"):
            await here.carry(letter("ana"))
        assert not (tmp_path / "not-mounted").exists()


async def test_letters_for_one_mailbox_share_their_syncs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async with office(tmp_path) as here:
        await here.carry(letter("ana", number=0))
        count, real = 0, os.fsync

        def counted(descriptor: int) -> None:
            nonlocal count
            count += 1
            real(descriptor)

        monkeypatch.setattr(os, "fsync", counted)
        await asyncio.gather(*[here.carry(letter("ana", number=n)) for n in range(1, 41)])
        assert len(here.mail("ana")) == 41
        assert count <= 2 * 3, f"{count} syncs of folders for 40 letters"


async def test_a_slow_disk_does_not_stop_the_loop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    def slow(*_: object, **__: object) -> list[bool]:
        time.sleep(1.5)
        return [True]

    monkeypatch.setattr(module, "deliver", slow)
    async with office(tmp_path) as here:
        under_way = asyncio.ensure_future(here.carry(letter("ana")))
        worst, before = 0.0, time.monotonic()
        while not under_way.done():
            await asyncio.sleep(0.005)
            now = time.monotonic()
            worst, before = max(worst, now - before), now
        assert worst < 1.0, f"the loop stood still for {worst:.3f} s"


async def test_whoever_stops_waiting_loses_nothing(tmp_path: Path) -> None:
    async with office(tmp_path) as here:
        under_way = asyncio.ensure_future(here.carry(letter("ana")))
        await asyncio.sleep(0)
        under_way.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await under_way
        await here.carry(letter("ana"))
        assert len(here.mail("ana")) == 1


async def test_nobody_is_left_waiting_when_the_threads_are_gone(tmp_path: Path) -> None:
    async with office(tmp_path) as here:
        here.courier._threads.shutdown(wait=True)
        with pytest.raises(RuntimeError, match="after shutdown"):
            await asyncio.wait_for(here.carry(letter("ana")), 5)


@pytest.mark.parametrize(
    ("content", "stored"),
    [
        (b"A: b\r\n\r\nx\r\n", b"A: b\n\nx\n"),
        (b"RETURN-PATH: <x>\r\nA: b\r\n\r\nReturn-Path: <body>\r\n", b"A: b\n\nReturn-Path: <body>\n"),
        (b"A: b\r\nReturn-Path :\r\n <x>\r\n\t<y>\r\nB: c\r\n\r\n", b"A: b\nB: c\n\n"),
        (b"A: b\r\n Return-Path: <x>\r\n\r\n", b"A: b\n Return-Path: <x>\n\n"),
        (b"Return-Path: <x>\r\nReturn-Path: <y>\r\n\r\nz", b"\nz"),
        (b"Return-Path: <x>", b"Return-Path: <x>"),
        (b"", b""),
    ],
)
def test_the_stored_form(content: bytes, stored: bytes) -> None:
    assert stored_form(content) == stored
