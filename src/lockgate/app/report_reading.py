"""Reads what strangers send as reports in a process of its own: little memory, little time, nothing to write to."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from lockgate.mail.reports.carried import LARGEST_MESSAGE, Reading, readings

MEMORY = 1024 * 1024 * 1024
"""Octets of address space of one reading; what needs more is no report."""

SECONDS = 30
"""Processor seconds of one reading, and twice as many by the clock."""

_MOST_TOLD = 128 * 1024 * 1024
_TOO_MUCH = 3
_SOURCE = Path(__file__).resolve().parents[2]


class NotRead(Exception):
    """The reading was given up; the message says why."""


def read_apart(octets: bytes, *, memory: int = MEMORY, seconds: int = SECONDS) -> Sequence[Reading]:
    """What is in these octets (mail/reports/carried.py). Blocks. Raises NotRead, OSError."""
    if len(octets) > LARGEST_MESSAGE:
        return readings(octets)
    environment = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(_SOURCE), "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(
            [sys.executable, "-m", "lockgate.app.report_reading", str(memory), str(seconds)],
            input=octets, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=2 * seconds, check=False,
            env=environment, cwd="/",
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise NotRead(f"it could not be read within {2 * seconds} seconds") from None
    if done.returncode == _TOO_MUCH:
        raise NotRead(f"reading it needs more than {memory // 1024**2} MiB of memory")
    if done.returncode != 0:
        raise NotRead(f"reading it needs more than {seconds} seconds, or ends in disorder ({done.returncode})")
    if len(done.stdout) > _MOST_TOLD:
        raise NotRead("it says more than can be kept")
    try:
        return msgspec.json.decode(done.stdout, type=tuple[Reading, ...])
    except msgspec.MsgspecError as trouble:
        raise NotRead(f"what was read makes no sense: {trouble}") from None


def main(arguments: Sequence[str]) -> int:
    """Read standard input within the bounds that are named; what was found goes to standard output as JSON."""
    memory, seconds = int(arguments[0]), int(arguments[1])
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    try:
        told = msgspec.json.encode(readings(sys.stdin.buffer.read(LARGEST_MESSAGE + 1)))
        sys.stdout.buffer.write(told)
        sys.stdout.buffer.flush()
    except MemoryError:
        return _TOO_MUCH
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
