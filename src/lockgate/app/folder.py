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
    """Every `*.toml` below `folder` as {relative path: text}.

    Raises Invalid if one cannot be read, with every mistake of the others too: they are told all at once.
    """
    files, unreadable = look_into(folder)
    if not unreadable:
        return files
    from lockgate.policy.compile import mistakes_beside  # loads all models; most commands need none of them

    raise Invalid(tuple(sorted((*unreadable, *mistakes_beside(files)))))


def look_into(folder: Path) -> tuple[dict[str, str], tuple[Problem, ...]]:
    """The texts that can be read, and what is wrong with the files that cannot."""
    if not folder.is_dir():
        return {}, (Problem(str(folder), 0, "", "there is no such folder; policy_directory must name one"),)
    files: dict[str, str] = {}
    problems: list[Problem] = []
    for path in sorted(folder.rglob("*.toml")):
        name = path.relative_to(folder).as_posix()
        try:
            if path.stat().st_size > _LARGEST:
                problems.append(Problem(name, 1, "", "the file is larger than 64 MiB; divide it into several"))
            else:
                files[name] = path.read_text(encoding="utf-8")
        except UnicodeDecodeError as trouble:
            line = trouble.object.count(b"\n", 0, trouble.start) + 1
            octet = trouble.object[trouble.start]
            message = f"this is not UTF-8 (the octet 0x{octet:02X} cannot stand here); save it as UTF-8 (without BOM)"
            problems.append(Problem(name, line, "", message))
        except OSError as trouble:
            problems.append(Problem(name, 1, "", _unreadable(path, trouble)))
    return files, tuple(problems)


def _unreadable(path: Path, trouble: OSError) -> str:
    """Why a file cannot be read, and what to do."""
    if path.is_dir():
        return "this is a folder; only files are named *.toml, so give it another name"
    if path.is_symlink() and not path.exists():
        return "this link leads to nothing; mend or remove it"
    why = trouble.strerror or str(trouble)
    return f"this file cannot be read ({why}); let the user of the service read it, or take it out of the folder"


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
