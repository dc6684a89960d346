"""The policy in force: documents are checked, published as a numbered revision, and taken up by every process."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import msgspec
import zstandard

from lockgate.app.folder import digest_of, look_into, may_write, read_documents, write_documents
from lockgate.policy.compile import compile_policy
from lockgate.policy.policy import Policy
from lockgate.policy.problems import Invalid
from lockgate.seams import NoPolicy, Overtaken, Revision, RevisionNote

_LOOK_AGAIN = 0.2
_SHORT_TURN = 0.0005
_HELD = "folder.held"
_PACKED_FROM = 64 * 1024
_LARGEST = 512 * 1024 * 1024


class Held(msgspec.Struct, frozen=True):
    """What we last read from or wrote to the operator's folder: with which revision, and the digest of its texts."""

    revision: int = 0
    texts: str = ""


def _name_of(number: int) -> str:
    return f"{number:08d}.json"


def _octets(path: Path) -> bytes:
    """A revision's file, packed or not."""
    packed = path.with_name(f"{path.name}.zst")
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return zstandard.decompress(packed.read_bytes(), max_output_size=_LARGEST)



class Policies:
    """Implements seams.Revisions: published revisions, kept below `folder`; `current.json` is the one in force.

    `documents` is the operator's policy folder, where there is one; `keeps_mailboxes` tells that the operator's file
    says where hosted mailboxes lie.
    """

    def __init__(
        self, folder: Path, hostname: str, documents: Path | None = None, *, keeps_mailboxes: bool = False
    ) -> None:
        self._folder = folder
        self._hostname = hostname
        self._documents = documents
        self._keeps_mailboxes = keeps_mailboxes

    @property
    def _current(self) -> Path:
        return self._folder / "current.json"

    # --- reading

    def in_force(self) -> Revision:
        """The revision in force. Raises NoPolicy."""
        return self._read(self._current, f"no policy has been published in {self._folder}")

    def at(self, number: int) -> Revision:
        """An earlier revision, by its number. Raises NoPolicy."""
        gone = number < max(self._numbers(), default=0)
        why = f"revision {number} is not kept here any more" if gone else f"there is no revision {number}"
        return self._read(self._folder / _name_of(number), why)

    def known(self, most: int) -> list[RevisionNote]:
        """The last revisions, the newest first; one that cannot be read is left out."""
        found: list[RevisionNote] = []
        for number in sorted(self._numbers(), reverse=True)[: max(0, most)]:
            with contextlib.suppress(OSError, msgspec.MsgspecError, zstandard.ZstdError):
                found.append(msgspec.json.decode(_octets(self._folder / _name_of(number)), type=RevisionNote))
        return found

    def _numbers(self) -> Iterator[int]:
        names = (path.name.partition(".")[0] for path in self._folder.glob("[0-9]*.json*"))
        return (int(name) for name in names if name.isdigit())

    def _read(self, path: Path, absent: str) -> Revision:
        try:
            return msgspec.json.decode(_octets(path), type=Revision)
        except FileNotFoundError:
            raise NoPolicy(absent) from None
        except (OSError, msgspec.MsgspecError, zstandard.ZstdError) as trouble:
            raise NoPolicy(f"the published policy {path} cannot be read: {trouble}") from None

    def compile(self, revision: Revision, *, advise: bool = True) -> Policy:
        """The compiled policy of a revision; without `advise` in half the time and without warnings. Raises Invalid."""
        return self._compiled(revision.files, revision.number, advise=advise)

    def _compiled(self, files: Mapping[str, str], number: int, *, advise: bool = True) -> Policy:
        return compile_policy(
            files,
            hostname=self._hostname,
            revision=number,
            advise=advise,
            keeps_mailboxes=self._keeps_mailboxes,
        )

    def draft(self, files: Mapping[str, str]) -> Policy:
        """The policy that these texts would make; it gets no number. Raises Invalid."""
        return self._compiled(files, 0)

    def check(self, documents: Path) -> Policy:
        """The policy that the documents would make, with the number it would get. Raises Invalid; changes nothing."""
        return self._compiled(read_documents(documents), self._last() + 1)

    def _last(self) -> int:
        """The highest number there is; a lost current.json must not make us write over history."""
        return max(self._numbers(), default=0)

    # --- the operator's folder

    def folder(self) -> dict[str, str]:
        """The texts in the operator's folder; none where there is no folder. Raises Invalid."""
        return read_documents(self._documents) if self._documents is not None else {}

    def folder_edited(self) -> bool:
        """Whether somebody edited the folder. See Revisions."""
        with contextlib.suppress(NoPolicy):
            return self._is_edited(self.in_force(), self.folder())
        return True

    def _is_edited(self, revision: Revision, texts: Mapping[str, str]) -> bool:
        """Whether these texts of the folder are somebody's work of which the revision in force knows nothing."""
        if texts == revision.files:
            return False
        held = self._held()
        if revision.mirrored and held.revision < revision.number and self._half_written(revision, texts):
            return False
        return held.texts != digest_of(texts)

    def _half_written(self, revision: Revision, texts: Mapping[str, str]) -> bool:
        """Whether writing the folder was cut short: every file is as this revision or the one before has it."""
        try:
            before = self.at(revision.before).files
        except NoPolicy:
            return False
        names = {*texts, *revision.files, *before}
        return all(texts.get(name) in (revision.files.get(name), before.get(name)) for name in names)

    def _held(self) -> Held:
        with contextlib.suppress(OSError, msgspec.MsgspecError):
            return msgspec.json.decode((self._folder / _HELD).read_bytes(), type=Held)
        return Held()

    def _hold(self, number: int, texts: Mapping[str, str]) -> None:
        fresh = self._folder / f".{_HELD}.new"
        fresh.write_bytes(msgspec.json.encode(Held(number, digest_of(texts))))
        fresh.replace(self._folder / _HELD)

    # --- publishing

    def publish(self, documents: Path, *, by: str, at: float, reason: str = "") -> tuple[Revision, Policy]:
        """Put the documents of the operator's folder in force, durable before this returns.

        Raises Invalid; then nothing changes. Documents that say nothing new, and those that nobody has edited since
        something else was published (which they must not undo), leave the revision in force as it is.
        """
        files = read_documents(documents)
        with self._alone():
            before: Revision | None = None
            with contextlib.suppress(NoPolicy):
                before = self.in_force()
            if before is not None and not self._is_edited(before, files):
                if before.mirrored and before.files != files:
                    self._mirror(before, documents, files)
                return before, self.compile(before)
            number = self._last() + 1
            policy = self._compiled(files, number)
            there = before.number if before is not None else 0
            revision = Revision(number, at, by, files, reason, policy.digest, mirrored=True, before=there)
            self._write(revision)
            self._hold(number, files)
        return revision, policy

    def put(
        self, files: Mapping[str, str], *, after: int, by: str, reason: str, at: float, digest: str, discard: bool
    ) -> tuple[Revision, str]:
        """Put sound texts in force in the place of revision `after`, and write the folder. See Revisions."""
        with self._alone():
            before = self.in_force() if after or self._current.exists() else None
            there = before.number if before else 0
            if there != after:
                raise Overtaken(f"revision {there} is in force now, not {after}; look at it and try again")
            texts = self._texts()
            if before is not None and texts is not None and texts != files and self._is_edited(before, texts):
                self._set_aside(before, texts, discard=discard)
            folder = self._documents if texts is not None else None
            mirrored = folder is not None and may_write(folder)
            revision = Revision(self._last() + 1, at, by, dict(files), reason, digest, mirrored, there)
            self._write(revision)
            if folder is None or texts is None:
                return revision, ""
            if mirrored:
                return revision, self._mirror(revision, folder, texts)
            self._hold(revision.number, texts)
            said = f"{folder} is not ours to write and was left as it is; `lockgate export` writes what is in force"
            return revision, "" if texts == files else said

    def _mirror(self, revision: Revision, folder: Path, texts: Mapping[str, str]) -> str:
        """Write the folder; the sentence if that cannot be done."""
        try:
            write_documents(folder, texts, revision.files)
        except OSError as trouble:
            return f"{folder} could not be written ({trouble}); it is tried again at the next start or reload"
        self._hold(revision.number, revision.files)
        return ""

    def _texts(self) -> dict[str, str] | None:
        """What the folder holds; None where there is no folder."""
        if self._documents is None or not self._documents.is_dir():
            return None
        texts, unreadable = look_into(self._documents)
        if unreadable:
            told = "\n".join(map(str, unreadable))
            raise Overtaken(f"the policy folder cannot be read, so it cannot be kept in step: {told}")
        return texts

    def _set_aside(self, before: Revision, texts: Mapping[str, str], *, discard: bool) -> None:
        """The folder holds edits that nobody has put in force: they are never overwritten unasked."""
        names = sorted(name for name in {*texts, *before.files} if texts.get(name) != before.files.get(name))
        if not discard:
            raise Overtaken(
                f"{self._documents} was edited and not put in force yet ({', '.join(names[:5])}); nothing was changed. "
                f"See `lockgate plan`, then `lockgate apply` it first, or say --discard-edits (they are kept in "
                f"{self._folder / 'discarded'})"
            )
        aside = self._folder / "discarded" / f"before-{before.number + 1:08d}"
        for name in names:
            if name in texts:
                path = aside / name
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(texts[name], "utf-8")

    @contextlib.contextmanager
    def _alone(self) -> Iterator[None]:
        """One publication at a time, whichever process it comes from."""
        self._folder.mkdir(parents=True, exist_ok=True)
        with (self._folder / ".lock").open("wb") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def _write(self, revision: Revision) -> None:
        data = msgspec.json.encode(revision)
        kept, name = data, _name_of(revision.number)
        if len(data) > _PACKED_FROM:  # every revision is kept, and large ones differ in a line or two
            kept, name = zstandard.compress(data, 3), f"{name}.zst"
        for place, octets in ((name, kept), (self._current.name, data)):
            fresh = self._folder / f".{place}.new"
            with fresh.open("wb") as file:
                file.write(octets)
                file.flush()
                os.fsync(file.fileno())
            fresh.replace(self._folder / place)
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
        self._policy = self._compiled()
        self._complain = complain
        self._told = ""

    def __call__(self) -> Policy:
        return self._policy

    def _compiled(self) -> Policy:
        return self._policies.compile(self._policies.in_force(), advise=False)

    async def look(self) -> bool:
        """Take up a newer revision, if there is one; whether there was. Mail goes on while it is compiled."""
        stamp = self._policies.stamp()
        if stamp == self._stamp:
            return False
        try:
            with short_turns():
                self._policy = await asyncio.to_thread(self._compiled)
        except NoPolicy as trouble:  # the disk may answer next time, so we look again, but complain once
            if str(trouble) != self._told:
                self._told = str(trouble)
                self._complain(self._told)
            return False
        except Invalid as trouble:
            self._stamp = stamp
            self._complain(str(trouble))
            return False
        self._stamp, self._told = stamp, ""
        return True

    @property
    def pause(self) -> float:
        """Seconds between two looks; changes are live within one second (DESIGN 1)."""
        return _LOOK_AGAIN


@contextlib.contextmanager
def short_turns() -> Iterator[None]:
    """Let the event loop have its turn soon while a thread computes.

    The thread gives the interpreter away after half a millisecond instead of five, which would be added to every
    reply of the seconds that a large policy takes to compile.
    """
    before = sys.getswitchinterval()
    sys.setswitchinterval(_SHORT_TURN)
    try:
        yield
    finally:
        sys.setswitchinterval(before)


__all__ = [
    "NoPolicy",
    "Policies",
    "PolicyInForce",
    "Revision",
    "read_documents",
    "short_turns",
]
