"""The operator's policy folder: read as a whole, and kept in step with what is published."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Mapping
from pathlib import Path

from lockgate.policy.problems import Invalid, Problem

_LARGEST = 64 * 1024 * 1024


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


def digest_of(files: Mapping[str, str]) -> str:
    """Tells two sets of texts apart."""
    digest = hashlib.sha256()
    for name in sorted(files):
        for part in (name, files[name]):
            data = part.encode("utf-8", "surrogatepass")
            digest.update(len(data).to_bytes(8, "big") + data)
    return digest.hexdigest()


def may_write(folder: Path) -> bool:
    """Whether the folder is ours to write."""
    return folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)


def write_documents(folder: Path, before: Mapping[str, str], after: Mapping[str, str]) -> None:
    """Bring the folder from one set of texts to another, file by file, each whole. Raises OSError."""
    for name, text in after.items():
        if before.get(name) != text:
            _write(folder, name, text)
    for name in before:
        if name not in after:
            (folder / name).unlink(missing_ok=True)


def _write(folder: Path, name: str, text: str) -> None:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    target = path.resolve()  # a link goes on being one; what it leads to is written
    fresh = target.with_name(f".{target.name}.new")
    with fresh.open("w", encoding="utf-8", newline="") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    with contextlib.suppress(OSError):
        shutil.copystat(target, fresh)
        shutil.chown(fresh, target.stat().st_uid, target.stat().st_gid)
        os.utime(fresh)
    fresh.replace(target)
