"""One Maildir: exactly one copy whenever the process is killed, safe folders, and a log that stays bounded."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.couriers import maildir
from lockgate.couriers.mailbox_folders import escaped, folders_of, plain
from lockgate.couriers.maildir import KEPT, Letter, deliver

NOW = 1_800_000_000.0
FOLDERS = ("contoso", "contoso.com", "ana")
CALLS = ("open", "mkdir", "write", "fdatasync", "fsync", "rename", "ftruncate", "close")


def letter(number: int = 1, text: bytes = b"Subject: x\n\nhello\n") -> Letter:
    return Letter(f"id-{number}", f"17.M0_id-{number}.mx.test,S=1,W=2", (b"Return-Path: <>\n", text))


def put(root: Path, *letters: Letter, now: float = NOW) -> list[bool]:
    descriptor = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        return deliver(descriptor, FOLDERS, letters, now)
    finally:
        os.close(descriptor)


def box(root: Path) -> Path:
    return root.joinpath(*FOLDERS)


def mail(root: Path) -> list[Path]:
    return sorted([*box(root).glob("new/*"), *box(root).glob("cur/*")])


# --- killed ----------------------------------------------------------------------------------------------------------


def killed_at(call_number: int, work: Callable[[], object]) -> bool:
    """Do `work` in a process that is killed just before its n-th call that touches a file; whether it was."""
    child = os.fork()
    if child == 0:
        count = 0

        def counted(real):
            def call(*words, **more):
                nonlocal count
                count += 1
                if count == call_number:
                    os.kill(os.getpid(), signal.SIGKILL)
                return real(*words, **more)

            return call

        for name in CALLS:
            setattr(os, name, counted(getattr(os, name)))
        try:
            work()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def moved(root: Path) -> None:
    for file in box(root).glob("new/*"):
        file.rename(box(root) / "cur" / f"{file.name}:2,S")


def deleted(root: Path) -> None:
    for file in mail(root):
        file.unlink()


@pytest.mark.parametrize("owner", [lambda root: None, moved, deleted], ids=["leaves it", "has read it", "deletes it"])
@pytest.mark.parametrize("before", [0, 1], ids=["first letter", "second letter"])
def test_killed_at_any_call_it_is_there_once(owner: Callable[[Path], None], before: int, tmp_path: Path) -> None:
    """What was visible before the kill is never delivered again; what was not is."""
    for number in range(1, 200):
        root = tmp_path / str(number)
        root.mkdir()
        if before:
            put(root, letter(0))
            deleted(root)
        if not killed_at(number, lambda root=root: put(root, letter())):
            break
        seen = len(mail(root)) if box(root).exists() else 0
        owner(root)
        put(root, letter())
        there = len(mail(root))
        assert seen in (0, 1)
        assert there == (0 if seen and owner is deleted else 1), f"killed before call {number}: {there} copies"
        assert put(root, letter()) == [False]
        assert len(mail(root)) == there
        for file in mail(root):
            assert file.read_bytes() == b"Return-Path: <>\nSubject: x\n\nhello\n"
        assert sorted(os.listdir(box(root) / "lockgate")) == ["delivered"]
    assert number > 20, f"only {number} calls were seen"
    assert number < 199


def test_killed_with_several_letters_each_is_there_once(tmp_path: Path) -> None:
    letters = [letter(n) for n in range(5)]
    for number in range(1, 300):
        root = tmp_path / str(number)
        root.mkdir()
        if not killed_at(number, lambda root=root: put(root, *letters)):
            break
        if (box(root) / "cur").exists():
            moved(root)
        put(root, *letters)
        assert len(mail(root)) == 5, f"killed before call {number}"
    assert 30 < number < 299


def test_a_failed_write_leaves_nothing_and_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for call in ("write", "fdatasync", "rename"):
        for at in range(1, 4):
            root = tmp_path / f"{call}{at}"
            root.mkdir()
            count, real = 0, getattr(os, call)

            def failing(*words, at=at, real=real, **more):
                nonlocal count
                count += 1
                if count == at:
                    raise OSError(28, "No space left on device")
                return real(*words, **more)

            with monkeypatch.context() as patch:
                patch.setattr(os, call, failing)
                try:
                    put(root, letter())
                except OSError:
                    moved(root)
            assert put(root, letter()) in ([True], [False])
            assert len(mail(root)) == 1, f"{call} failed at {at}"


# --- several at once -------------------------------------------------------------------------------------------------


def test_a_letter_comes_once_to_a_mailbox_also_within_one_batch(tmp_path: Path) -> None:
    assert put(tmp_path, letter(1), letter(2), letter(1)) == [True, True, False]
    assert put(tmp_path, letter(2), letter(3)) == [False, True]
    assert len(mail(tmp_path)) == 3


def test_workers_that_deliver_the_same_at_once_deliver_once(tmp_path: Path) -> None:
    told: list[bool] = []
    threads = [
        threading.Thread(target=lambda: told.extend([put(tmp_path, letter(n))[0] for n in range(20)])) for _ in range(4)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(mail(tmp_path)), sum(told), len(told)) == (20, 20, 80)


# --- the log ---------------------------------------------------------------------------------------------------------


def test_the_log_forgets_what_is_too_old_to_come_again(tmp_path: Path) -> None:
    put(tmp_path, letter(1))
    put(tmp_path, letter(2), now=NOW + KEPT - 1)
    put(tmp_path, letter(3), now=NOW + KEPT + 1)  # the oldest line is too old: a new log begins behind this one
    put(tmp_path, letter(4), now=NOW + KEPT + 2)
    ours = box(tmp_path) / "lockgate"
    assert [line.split()[0] for line in (ours / "delivered").read_text().splitlines()] == ["id-4"]
    assert (ours / "delivered.1").read_text().count("\n") == 3
    assert put(tmp_path, letter(2), letter(4), now=NOW + KEPT + 3) == [False, False], "the older log is asked too"


def test_the_log_has_a_largest_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(maildir, "LARGEST_LOG", 200)
    for number in range(60):
        put(tmp_path, letter(number))
    ours = box(tmp_path) / "lockgate"
    assert sum(file.stat().st_size for file in ours.iterdir()) < 500
    assert put(tmp_path, letter(59)) == [False]


def test_a_torn_line_means_nothing(tmp_path: Path) -> None:
    put(tmp_path, letter(1))
    log = box(tmp_path) / "lockgate" / "delivered"
    with log.open("ab") as file:
        file.write(b"id-2 18000")
    assert put(tmp_path, letter(2), letter(1)) == [True, False]
    assert log.read_text() == f"id-1 {int(NOW)}\nid-2 {int(NOW)}\n"


def test_an_id_is_not_found_in_another(tmp_path: Path) -> None:
    put(tmp_path, letter(12))
    assert put(tmp_path, letter(1), letter(2)) == [True, True]


# --- folders ---------------------------------------------------------------------------------------------------------


def test_it_is_a_maildir(tmp_path: Path) -> None:
    put(tmp_path, letter())
    assert sorted(os.listdir(box(tmp_path))) == ["cur", "lockgate", "new", "tmp"]
    assert all((box(tmp_path) / name).stat().st_mode & 0o777 == 0o700 for name in ("cur", "new", "tmp"))


@pytest.mark.parametrize("level", range(5))
def test_a_symbolic_link_is_not_followed(level: int, tmp_path: Path) -> None:
    root, outside = tmp_path / "root", tmp_path / "outside"
    outside.mkdir()
    path = root.joinpath(*FOLDERS, "new")
    link = root.joinpath(*path.relative_to(root).parts[: min(level + 1, 4)])
    link.parent.mkdir(parents=True)
    link.symlink_to(outside)
    with pytest.raises(OSError, match=r"Not a directory|Too many levels"):
        put(root, letter())
    assert not list(outside.iterdir())


@pytest.mark.parametrize(
    ("organisation", "address", "path"),
    [
        ("contoso", "Ana.Smith@contoso.com", "contoso/contoso.com/ana.smith"),
        ("Contoso Ltd", "a+b_c=d-e@contoso.com", "contoso%20ltd/contoso.com/a+b_c=d-e"),
        ("..", '".."@contoso.com', "%2E./contoso.com/%22..%22"),
        ("a", "../../etc@contoso.com", "a/contoso.com/%2E.%2F..%2Fetc"),
        ("a", '"a/b\\"c"@x.test', "a/x.test/%22a%2Fb%5C%22c%22"),
        ("a", "grün@x.test", "a/x.test/gr%C3%BCn"),
        ("a", "100%25@x.test", "a/x.test/100%2525"),
        ("a", '"@"@x.test', "a/x.test/%22%40%22"),
    ],
)
def test_where_a_mailbox_lies(organisation: str, address: str, path: str) -> None:
    assert "/".join(folders_of(organisation, address)) == path


@given(st.text(min_size=1, max_size=300).filter(lambda text: text.isprintable()))
def test_names_are_safe_and_lead_back(name: str) -> None:
    folder = escaped(name)
    assert 0 < len(folder.encode()) <= 255 and "/" not in folder and "\0" not in folder
    assert not folder.startswith(".")
    assert "~" in folder or escaped(plain(folder) or "") == folder


@given(st.text(min_size=1, max_size=80), st.text(min_size=1, max_size=80))
def test_two_names_share_a_folder_only_if_they_differ_in_case_or_spelling_alone(one: str, other: str) -> None:
    import unicodedata

    if escaped(one) == escaped(other):
        assert unicodedata.normalize("NFC", one.casefold()) == unicodedata.normalize("NFC", other.casefold())
    if escaped(one) != escaped(other):
        assert escaped(one).lower() != escaped(other).lower(), "also where the file system ignores case"


@pytest.mark.parametrize("address", ["ana", "@contoso.com", "ana@", ""])
def test_what_is_no_address_has_no_folder(address: str) -> None:
    with pytest.raises(ValueError, match="no address"):
        folders_of("contoso", address)
