"""System calls of a running process made to fail or to be its last one, from outside, by strace."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from types import TracebackType

import pytest


class Injected:
    """While this context lasts, `call` of process `pid` suffers `fault` ("signal=KILL", "error=EIO", ...).

    `when` counts its calls from the moment of attaching: "3" the third, "3+" from the third on, "1+2" every second.
    """

    def __init__(self, pid: int, call: str, fault: str, when: str, *, path: str = "") -> None:
        if shutil.which("strace") is None:
            pytest.skip("strace is not installed (Debian: apt-get install strace)")
        words = ["strace", "-f", "-p", str(pid), "-o", "/dev/null", "-e", f"trace={call}"]
        words += ["-e", f"inject={call}:{fault}:when={when}"] + (["-P", path] if path else [])
        self._words = words

    def __enter__(self) -> Injected:
        self._strace = subprocess.Popen(self._words, stderr=subprocess.PIPE, text=True)
        assert self._strace.stderr is not None
        said = self._strace.stderr.readline()
        if "attached" not in said:
            self._strace.kill()
            self._strace.communicate()
            pytest.skip(f"strace may not watch other processes here: {said.strip()}")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, trouble: BaseException | None, trace: TracebackType | None
    ) -> None:
        with contextlib.suppress(ProcessLookupError):
            self._strace.terminate()
        try:
            self._strace.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self._strace.kill()
            self._strace.communicate()

    def over(self) -> bool:
        """Whether the process is gone, which ends strace."""
        return self._strace.poll() is not None
