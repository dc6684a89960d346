"""The owner's documents on disk: read together, checked together."""

from __future__ import annotations

from pathlib import Path

from lockgate.policy.compile import compile_policy
from lockgate.policy.documents import Invalid, Problem
from lockgate.policy.policy import Policy


def read_documents(folder: Path) -> dict[str, str]:
    """The texts of all policy documents (`*.toml`, folders below included) by their name within `folder`.

    Raises Invalid if the folder or a file cannot be read, OSError never.
    """
    texts: dict[str, str] = {}
    problems: list[Problem] = []
    try:
        files = sorted(path for path in folder.rglob("*.toml") if path.is_file())
        if not folder.is_dir():
            raise NotADirectoryError(f"{folder} is not a folder")
    except OSError as trouble:
        raise Invalid((Problem(str(folder), 1, "", f"the folder cannot be read: {trouble}"),)) from None
    for path in files:
        name = str(path.relative_to(folder))
        try:
            texts[name] = path.read_text("utf-8")
        except (OSError, UnicodeDecodeError) as trouble:
            problems.append(Problem(name, 1, "", f"the file cannot be read: {trouble}"))
    if problems:
        raise Invalid(tuple(problems))
    return texts


def compile_folder(folder: Path, *, hostname: str, revision: int) -> Policy:
    """The policy that the documents in `folder` describe. Raises Invalid with all mistakes."""
    return compile_policy(read_documents(folder), hostname=hostname, revision=revision)
