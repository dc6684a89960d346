"""Where the power cannot be cut, `make test` says so and `make proof` fails."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
WITHOUT_ROOT = "tests/proof/test_power_cut.py::test_the_cut_forgets_what_was_not_synced"


@pytest.mark.parametrize(("setting", "code", "said"), [("", 0, "1 skipped"), ("1", 1, "1 failed")])
def test_a_skipped_proof_is_a_failure_where_that_is_asked_for(setting: str, code: int, said: str) -> None:
    environment = {**os.environ, "PATH": "/nonexistent", "LOCKGATE_SKIPS_FAIL": setting}
    words = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", WITHOUT_ROOT]
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    assert said in done.stdout
    assert "cutting the power needs root, loop devices and mkfs.ext4" in done.stdout
