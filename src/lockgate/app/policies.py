"""The policy in force: documents are checked, published as a numbered revision, and taken up by every process."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

import msgspec

from lockgate.policy.compile import compile_policy
from lockgate.policy.documents import Invalid, Problem
from lockgate.policy.policy import Policy

_LOOK_AGAIN = 0.5
_LARGEST = 64 * 1024 * 1024


class Revision(msgspec.Struct, frozen=True):
    """One published set of documents: the texts as they were written, never the compiled form (house c.7)."""

    number: int
    at: float
    by: str
    files: dict[str, str]


class NoPolicy(Exception):
    """There is no revision in force; the message says where one was looked for."""


def read_documents(folder: Path) -> dict[str, str]:
    """Every `*.toml` below `folder` as {relative path: text}. Raises Invalid for what cannot be read."""
    files: dict[str, str] = {}
    problems: list[Problem] = []
    if not folder.is_dir():
        raise Invalid((Problem(str(folder), 0, "", "there is no such folder; policy_directory must name one"),))
    for path in sorted(folder.rglob("*.toml")):
        name = path.relative_to(folder).as_posix()
        try:
            if path.stat().st_size > _LARGEST:
                raise ValueError("the file is larger than 64 MiB")
            files[name] = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as trouble:
            problems.append(Problem(name, 0, "", f"this file cannot be read: {trouble}"))
    if problems:
        raise Invalid(tuple(problems))
    return files


def _name_of(number: int) -> str:
    return f"{number:08d}.json"


class Policies:
    """The published revisions of one installation, kept below `folder`; `current.json` is the one in force."""

    def __init__(self, folder: Path, hostname: str, *, keeps_mailboxes: bool = False) -> None:
        self._folder = folder
        self._hostname = hostname
        self._keeps_mailboxes = keeps_mailboxes

    @property
    def _current(self) -> Path:
        return self._folder / "current.json"

    def in_force(self) -> Revision:
        """The revision in force. Raises NoPolicy."""
        return self._read(self._current, f"no policy has been published in {self._folder}")

    def at(self, number: int) -> Revision:
        """An earlier revision, by its number. Raises NoPolicy."""
        return self._read(self._folder / _name_of(number), f"revision {number} is not kept here any more")

    def _read(self, path: Path, absent: str) -> Revision:
        try:
            return msgspec.json.decode(path.read_bytes(), type=Revision)
        except FileNotFoundError:
            raise NoPolicy(absent) from None
        except (OSError, msgspec.MsgspecError) as trouble:
            raise NoPolicy(f"the published policy {path} cannot be read: {trouble}") from None

    def compile(self, revision: Revision) -> Policy:
        """The compiled policy of a revision. Raises Invalid."""
        return self._compiled(revision.files, revision.number)

    def _compiled(self, files: dict[str, str], number: int) -> Policy:
        return compile_policy(
            files, hostname=self._hostname, revision=number, keeps_mailboxes=self._keeps_mailboxes
        )

    def check(self, documents: Path) -> Policy:
        """The policy that the documents would make, with the number it would get. Raises Invalid; changes nothing."""
        number = 1
        with contextlib.suppress(NoPolicy):
            number = self.in_force().number + 1
        return self._compiled(read_documents(documents), number)

    def publish(self, documents: Path, *, by: str, at: float) -> tuple[Revision, Policy]:
        """Check the documents and put them in force, durable before this returns. Raises Invalid; then nothing changes.

        Documents that say nothing new keep the revision in force.
        """
        files = read_documents(documents)
        before: Revision | None = None
        with contextlib.suppress(NoPolicy):
            before = self.in_force()
        if before is not None and before.files == files:
            return before, self.compile(before)
        revision = Revision((before.number if before else 0) + 1, at, by, files)
        policy = self.compile(revision)
        self._write(revision)
        return revision, policy

    def _write(self, revision: Revision) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        data = msgspec.json.encode(revision)
        for name in (_name_of(revision.number), self._current.name):
            fresh = self._folder / f".{name}.new"
            with fresh.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._folder / name)
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def stamp(self) -> tuple[int, int]:
        """Changes whenever another revision is in force; costs one stat."""
        try:
            found = self._current.stat()
        except OSError:
            return (0, 0)
        return (found.st_ino, found.st_mtime_ns)


class PolicyInForce:
    """The compiled policy one process works with; call it for the policy of now.

    Making one raises NoPolicy or Invalid. Later, a revision that cannot be read or compiled leaves the policy as it
    is and is told to `complain`.
    """

    def __init__(self, policies: Policies, complain: Callable[[str], None]) -> None:
        self._policies = policies
        self._stamp = policies.stamp()  # before reading: a change in between is then taken up by the next look
        self._policy = policies.compile(policies.in_force())
        self._complain = complain

    def __call__(self) -> Policy:
        return self._policy

    def look(self) -> bool:
        """Take up a newer revision, if there is one; whether there was."""
        stamp = self._policies.stamp()
        if stamp == self._stamp:
            return False
        self._stamp = stamp
        try:
            self._policy = self._policies.compile(self._policies.in_force())
        except (NoPolicy, Invalid) as trouble:
            self._complain(str(trouble))
            return False
        return True

    @property
    def pause(self) -> float:
        """Seconds between two looks; changes are live within one second (DESIGN 1)."""
        return _LOOK_AGAIN
