"""A state directory that cannot be used: told in one sentence, before anything is started."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lockgate.app.config import check_files, read_config
from lockgate.app.state_folder import nearest, refused, unusable

ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="mounting a small file system needs root")
OPERATOR = """hostname = "mx.example.test"
state_directory = "{state}"

[[listener]]
address = "127.0.0.1"
port = 0
"""


def written(tmp_path: Path, state: Path) -> Path:
    (tmp_path / "policy").mkdir()
    path = tmp_path / "lockgate.toml"
    path.write_text(OPERATOR.format(state=state))
    return path


def lockgate(path: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """What the command says; it has to end by itself."""
    command = [sys.executable, "-m", "lockgate", "--config", str(path), *words]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    child = subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                             start_new_session=True)  # fmt: skip
    try:
        out, err = child.communicate(timeout=60)
    except subprocess.TimeoutExpired:
        os.killpg(child.pid, signal.SIGKILL)
        child.communicate()
        raise
    return subprocess.CompletedProcess(command, child.returncode, out, err)


@contextlib.contextmanager
def read_only(folder: Path):
    """A small file system that nobody may write to, with a folder `state` on it."""
    folder.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder)], check=False).returncode:
        pytest.skip("no file system may be mounted here")
    try:
        (folder / "state").mkdir()
        if subprocess.run(["mount", "-o", "remount,ro", str(folder)], check=False).returncode:
            pytest.skip("no file system may be mounted here")
        yield folder / "state"
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def told_by_both(path: Path, *words: str) -> None:
    """`serve` gives up and `config check` finds it, with the same words; neither with a traceback."""
    for said in (lockgate(path, "serve"), lockgate(path, "config", "check")):
        told = said.stdout + said.stderr
        assert said.returncode in (1, 2), told
        assert "Traceback" not in told and "is sound" not in told
        told = " ".join(told.split())
        for word in words:
            assert word in told, told


def test_what_is_there_or_can_be_made_is_fine_and_nothing_is_left_behind(tmp_path):
    assert unusable(tmp_path) == "" and unusable(tmp_path / "a" / "b") == ""
    assert list(tmp_path.iterdir()) == []
    assert nearest(tmp_path / "a" / "b") == nearest(tmp_path) == tmp_path


def test_a_file_in_the_place_of_the_state_directory(tmp_path):
    state = tmp_path / "state"
    state.write_text("x")
    path = written(tmp_path, state)
    (found,) = check_files(read_config(path), path)
    assert (found.line, found.path) == (2, "state_directory")
    told_by_both(path, f"{state} is a file where a folder is needed; move it away, or give another state_directory")


def test_a_file_on_the_way_to_the_state_directory(tmp_path):
    (tmp_path / "var").write_text("x")
    assert unusable(tmp_path / "var" / "lib" / "state").startswith(f"{tmp_path / 'var'} is a file where a folder")


def test_a_place_where_no_folder_can_be_made(tmp_path):
    told_by_both(written(tmp_path, Path("/proc/lockgate/state")), "/proc/lockgate", "or give another state_directory")


@ROOT
def test_a_state_directory_on_a_read_only_file_system(tmp_path):
    with read_only(tmp_path / "disk") as state:
        told_by_both(written(tmp_path, state), f"{state} is on a file system that is read-only; mount it writable")
        assert "read-only" in unusable(state / "not" / "there")


def test_a_file_inside_is_told_when_it_is_met(tmp_path):
    state = tmp_path / "state"
    state.mkdir()
    (state / "queue").write_text("x")
    said = lockgate(written(tmp_path, state), "serve")
    assert said.returncode == 2 and "Traceback" not in said.stderr
    assert f"{state / 'queue'} is a file where a folder is needed" in said.stderr


@pytest.mark.parametrize(
    ("number", "words"),
    [
        (errno.EACCES, ["may not be written by this account (uid", "chown"]),
        (errno.ENOSPC, ["there is no room for", "make room"]),
        (errno.EIO, ["cannot be made or written (broken)", "look at its disk"]),
    ],
)
def test_every_sentence_names_the_path_and_a_remedy(tmp_path, number, words):
    inside = tmp_path / "state" / "queue"
    told = refused(tmp_path / "state", OSError(number, "broken", str(inside)))
    assert str(inside) in told and all(word in told for word in words) and "another state_directory" in told
    assert str(tmp_path / "state") in refused(tmp_path / "state", OSError(number, "broken"))
    elsewhere = refused(tmp_path / "state", OSError(number, "broken", "/etc/other"))
    assert "/etc/other" in elsewhere and "state_directory" not in elsewhere
