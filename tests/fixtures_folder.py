"""Where the published test suites lie; tests that need them are skipped with the reason where they are absent."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent


def fixtures_folder(name: str) -> Path:
    """The folder of one suite, or a skip that says what is missing."""
    given = os.environ.get("LOCKGATE_FIXTURES")
    folder = (Path(given) if given else ROOT.parent / "shared" / "fixtures") / name
    if not folder.is_dir():
        pytest.skip(f"the published suite '{name}' is not on this machine ({folder})", allow_module_level=True)
    return folder
