"""The supervisor's children: revived when they die, also while the service starts."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lockgate.app.children import Child, Family


@pytest.fixture
def told() -> list[str]:
    return []


@pytest.fixture
def family(told: list[str]) -> Iterator[Family]:
    family = Family(lambda what, who, pid: told.append(f"{who} {what}"))
    yield family
    family.end(lambda name: True, 0.0)


def mortal(folder: Path, deaths: int) -> Callable[[Callable[[], None]], None]:
    """The life of a child that is killed this many times before it is ready."""

    def main(ready: Callable[[], None]) -> None:
        if len(list(folder.iterdir())) < deaths:
            (folder / str(os.getpid())).touch()
            os.kill(os.getpid(), signal.SIGKILL)
        ready()
        time.sleep(60)

    return main


def test_who_dies_before_being_ready_is_started_again(tmp_path: Path, family: Family, told: list[str]) -> None:
    family.start(Child("frail", mortal(tmp_path, 2)))
    assert family.wait_ready(30.0) == []
    assert told == ["frail ended with signal SIGKILL"] * 2 + ["frail ready"]


def test_patience_ends(tmp_path: Path, family: Family) -> None:
    family.start(Child("sound", mortal(tmp_path, 0)))
    family.start(Child("hopeless", mortal(tmp_path, 1000)))
    began = time.monotonic()
    assert family.wait_ready(1.5) == ["hopeless"]
    assert time.monotonic() - began < 5
    assert 2 <= len(list(tmp_path.iterdir())) <= 10, "it was tried again, and not without a pause"


def test_a_stop_ends_the_wait(tmp_path: Path, family: Family) -> None:
    family.start(Child("hopeless", mortal(tmp_path, 1000)))
    assert family.wait_ready(60.0, lambda: bool(list(tmp_path.iterdir()))) == ["hopeless"]


def test_the_dead_are_not_ready(family: Family, told: list[str]) -> None:
    """What a child has said before its death is not taken for its successor's word."""

    def main(ready: Callable[[], None]) -> None:
        ready()
        os._exit(3)

    child = Child("brief", main)
    family.start(child)
    while not family.reap():
        time.sleep(0.01)
    family.listen(0.1)
    assert not child.ready
    assert told == ["brief ended with exit code 3"]
