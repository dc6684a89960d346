"""Backup of a running service and restore into an empty place: which files, from where, and where they go again."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import os
import shutil
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

import lockgate
from lockgate.app.audit import StoredAudit
from lockgate.app.backup_mailboxes import (
    MailboxesThere,
    must_be_free,
    place_mailboxes,
    within_state,
    write_mailboxes,
)
from lockgate.app.clock import SystemClock
from lockgate.app.config import OperatorFile, parse_config, read_config
from lockgate.flow.asking import BackupMake
from lockgate.seams import Clock, Journal
from lockgate.storage.archive import ArchiveWriter, Manifest, unpack
from lockgate.storage.audits import AuditBook
from lockgate.storage.keeping import KeeperKeeping
from lockgate.storage.restoring import hold_everything
from lockgate.storage.snapshot import Pin, Snapshot

LEFT_OUT = "left out"
UNREADABLE_TOLD = 100

RECORD = "restored.json"
"""In a restored state directory: which backup it came from, and when."""


class CannotRestore(Exception):
    """The restore would touch what is there already, or what is there cannot be used; the message says what to do."""


def moment_text(at: float) -> str:
    """A moment as people read it: 2026-11-24T08:00:00Z."""
    return dt.datetime.fromtimestamp(at, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Backups:
    """Makes backups of the running installation; `path` is the operator's file."""

    def __init__(self, config: OperatorFile, path: Path, clock: Clock) -> None:
        self._config = config
        self._path = path
        self._clock = clock
        self._keeping = KeeperKeeping(config.state_directory)

    async def make(self, request: BackupMake) -> Mapping[str, Any]:
        """See BackupDesk. Raises OSError, Unavailable."""
        now = self._clock.now()
        target = self._target(request.file, now)
        if request.what_if:
            outside = [str(path) for path in self._outside(request.keys)]
            root = self._config.mailboxes.directory
            return {"file": str(target), "outside": outside} | (
                {"mailboxes": str(root) if request.mailboxes else LEFT_OUT} if root is not None else {}
            )
        loop = asyncio.get_running_loop()

        def pin(seconds: float) -> bool:
            return asyncio.run_coroutine_threadsafe(self._keeping.pin(seconds), loop).result()

        return await asyncio.to_thread(self._make, target, now, request, pin)

    def _target(self, file: str, now: float) -> Path:
        state = self._config.state_directory.resolve()
        name = f"lockgate-{dt.datetime.fromtimestamp(now, dt.UTC):%Y%m%dT%H%M%SZ}.tar.zst"
        target = Path(file).resolve() if file else state / "backups" / name
        if not file:
            target.parent.mkdir(mode=0o700, exist_ok=True)
        elif target.is_dir():
            target /= name
        if target.is_relative_to(state) and target.parent != state / "backups":
            raise OSError(f"{target} lies among the service's own files; choose another place")
        boxes = self._config.mailboxes.directory
        if boxes is not None and target.is_relative_to(boxes.resolve()):
            raise OSError(f"{target} lies among the mailboxes; choose another place")
        if target.exists():
            raise FileExistsError(f"{target} exists; a backup never takes the place of another file")
        return target

    def _make(self, target: Path, now: float, request: BackupMake, pin: Pin) -> dict[str, Any]:
        secret = [] if request.keys else [self._config.signing_keys_directory, self._config.acme_directory]
        leave = [path for path in (within_state(self._config), *secret) if path is not None]
        snapshot = Snapshot(self._config.state_directory, leave)
        archive = ArchiveWriter(target)
        try:
            snapshot.take(pin)
            snapshot.write(archive)
            # After the queue: what has left the queue by its snapshot is in a mailbox by now.
            copied = write_mailboxes(archive, self._config) if request.mailboxes else None
            counts = snapshot.counts
            if copied is not None:
                counts = {**counts, "mailboxes": copied.mailboxes, "letters": copied.letters}
            places = self._write_outside(archive, request.keys)
            manifest = Manifest(0, lockgate.__version__, self._config.hostname, now, counts, places)
            size = archive.finish(manifest)
        except BaseException:
            archive.abort()
            raise
        finally:
            snapshot.close()
        told = {"file": str(target), "size": size, "made": moment_text(now), **counts, "files": len(places)}
        if self._config.mailboxes.directory is not None and copied is None:
            told["mailboxes"] = LEFT_OUT
        if copied is not None and copied.unreadable:
            told["unreadable"] = copied.unreadable[:UNREADABLE_TOLD]
        return {**told, "damaged": snapshot.damaged} if snapshot.damaged else told

    def _write_outside(self, archive: ArchiveWriter, keys: bool) -> dict[str, str]:
        places = {}
        documents = self._config.policy_directory
        for path in sorted(documents.rglob("*")):
            if path.is_file() and not path.name.startswith("."):
                archive.add_file(f"policy/{path.relative_to(documents).as_posix()}", path)
        archive.add_file(f"operator/{self._path.name}", self._path)
        places[f"operator/{self._path.name}"] = str(self._path.resolve())
        for number, path in enumerate(self._outside(keys)):
            name = f"outside/{number:03d}-{path.name}"
            with contextlib.suppress(FileNotFoundError, PermissionError, IsADirectoryError):
                archive.add_file(name, path)
                places[name] = str(path)
        return places

    def _outside(self, keys: bool) -> list[Path]:
        """Certificates, their keys, and secrets that the operator's file and the documents name by file."""
        config = self._config
        found = [file for one in config.certificate for file in (one.chain, one.intermediates) if file is not None]
        if keys:
            found += [one.key for one in config.certificate]
            found += [Path(name) for name in self._secrets()]
        return list(dict.fromkeys(path for path in found if not path.is_relative_to(config.state_directory)))

    def _secrets(self) -> Iterator[str]:
        for path in [self._path, *sorted(self._config.policy_directory.rglob("*.toml"))]:
            with contextlib.suppress(OSError, ValueError):
                yield from _references(tomllib.loads(path.read_text("utf-8")))


def _references(value: object) -> Iterator[str]:
    match value:
        case str() if value.startswith("file:/"):
            yield value.removeprefix("file:")
        case dict():
            for one in value.values():
                yield from _references(one)
        case list():
            for one in value:
                yield from _references(one)


class _Restored(msgspec.Struct, frozen=True):
    made: float
    restored: float
    hostname: str


def restore(
    archive: Path, config_path: Path, journal: Journal, clock: Clock | None = None, *, what_if: bool = False
) -> dict[str, Any]:
    """Put a backup where the operator's file says that state and documents belong; everything is held afterwards.

    If there is no operator's file at `config_path`, the one of the backup is put there first. Nothing that exists is
    touched: the state directory has to be empty or missing. Returns what is to be said about it.
    Raises CannotRestore, NotABackup, Invalid, NewerSchema, OSError.
    """
    clock = clock or SystemClock()
    folder = config_path.resolve().parent
    folder.mkdir(parents=True, exist_ok=True)
    # Unpacked beside its place, so that the last step is one rename: a restore that is killed has changed nothing.
    early = folder / f".lockgate-restore-{os.getpid()}"
    if config_path.exists():
        _must_be_empty(read_config(config_path).state_directory)
        state = read_config(config_path).state_directory
        state.parent.mkdir(parents=True, exist_ok=True)
        early = state.with_name(f".{state.name}.restore-{os.getpid()}")
    early.mkdir(mode=0o700)
    try:
        return _restored(archive, early, config_path, journal, clock, what_if)
    finally:
        shutil.rmtree(early, ignore_errors=True)


def _restored(
    archive: Path, early: Path, config_path: Path, journal: Journal, clock: Clock, what_if: bool
) -> dict[str, Any]:
    manifest = unpack(archive, early)
    fresh = not config_path.exists()
    if fresh:
        (mine,) = (early / "operator").iterdir()
        config = parse_config(mine.read_text("utf-8"), config_path)
    else:
        config = read_config(config_path)
    state = config.state_directory
    _must_be_empty(state)
    try:
        must_be_free(early, config)
    except MailboxesThere as trouble:
        raise CannotRestore(str(trouble)) from None
    held = hold_everything(early / "state", manifest.made, moment_text(manifest.made), clock, journal)
    record = _Restored(manifest.made, clock.now(), manifest.hostname)
    (early / "state" / RECORD).write_bytes(msgspec.json.encode(record))
    told = {
        "backup": str(archive), "made": moment_text(manifest.made), "hostname": manifest.hostname,
        "state_directory": str(state), "held": held, **manifest.counts,
    }  # fmt: skip
    if what_if:
        return told
    left = _place(early, manifest, config)
    boxes = place_mailboxes(early, early / "state", config)
    if boxes and config.mailboxes.directory is None:
        left["mailboxes"] = boxes
    elif boxes:
        told["mailbox_directory"] = boxes
    if fresh:
        _copy_new(mine, config_path)
    audit = StoredAudit(AuditBook(early / "state"), clock, journal)
    audit.wrote(f"{os.getuid()} restore", "restore", **told)
    state.parent.mkdir(parents=True, exist_ok=True)
    if state.exists():
        state.rmdir()
    shutil.move(early / "state", state)
    state.chmod(0o700)
    return {**told, "left": left}


def _must_be_empty(state: Path) -> None:
    if state.exists() and (not state.is_dir() or any(state.iterdir())):
        raise CannotRestore(
            f"{state} is not empty. A restore never touches what is there: move it away, or name another "
            "state_directory in the operator's file."
        )


def _place(early: Path, manifest: Manifest, config: OperatorFile) -> dict[str, str]:
    """Documents, certificates and secrets to where they belong, if there is nothing yet; {original: where it is}.

    What the operator's file does not name stays in the state directory's `restored`, for a person to look at.
    """
    left: dict[str, str] = {}
    kept = early / "state" / "restored"
    documents = config.policy_directory
    if (early / "policy").is_dir():
        # Equal ones were put there by an attempt that was cut off, or nothing has changed since.
        if not (documents.is_dir() and any(documents.iterdir())):
            shutil.copytree(early / "policy", documents, dirs_exist_ok=True)
        elif _contents(documents) != _contents(early / "policy"):
            shutil.copytree(early / "policy", kept / "policy")
            left["policy documents"] = str(config.state_directory / "restored" / "policy")
    named = {str(path) for one in config.certificate for path in one.files}
    for name, original in manifest.places.items():
        source, there = early / name, Path(original)
        if name.startswith("operator/") or (there.exists() and there.read_bytes() == source.read_bytes()):
            continue
        if original in named and not there.exists():
            _copy_new(source, there)
            continue
        kept.mkdir(exist_ok=True, mode=0o700)
        shutil.copy2(source, kept / source.name)
        left[original] = str(config.state_directory / "restored" / source.name)
    return left


def _contents(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*.toml") if path.is_file()}


def _copy_new(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, source.stat().st_mode & 0o700)
    with os.fdopen(descriptor, "wb") as file:
        file.write(source.read_bytes())
        file.flush()
        os.fsync(file.fileno())


def restored_from(state: Path) -> str:
    """When the backup was made from which this state was restored; "" if it was not."""
    try:
        return moment_text(msgspec.json.decode((state / RECORD).read_bytes(), type=_Restored).made)
    except (OSError, msgspec.MsgspecError):
        return ""
