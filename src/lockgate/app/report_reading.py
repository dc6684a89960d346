"""Reads what strangers send as reports in a process of its own: little memory, little time, nothing to write to."""

from __future__ import annotations

import asyncio
import ctypes
import os
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from lockgate.mail.reports.carried import LARGEST_MESSAGE, Reading, readings

MEMORY = 1024 * 1024 * 1024
"""Octets of address space of one reading; what needs more is no report."""

SECONDS = 30
"""Processor seconds of one reading, and twice as many by the clock."""

_MOST_TOLD = 64 * 1024 * 1024
_TOO_MUCH_MEMORY, _TOO_MUCH_TOLD = 3, 4
_PR_SET_PDEATHSIG = 1
_SOURCE = Path(__file__).resolve().parents[2]


class NotRead(Exception):
    """The reading was given up; the message says why."""


async def read_apart(octets: bytes, *, memory: int = MEMORY, seconds: int = SECONDS) -> Sequence[Reading]:
    """What is in these octets (mail/reports/carried.py). Raises NotRead, OSError."""
    if len(octets) > LARGEST_MESSAGE:
        return readings(octets)
    environment = {"PATH": os.environ.get("PATH", ""), "PYTHONPATH": str(_SOURCE), "LC_ALL": "C.UTF-8"}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "lockgate.app.report_reading", str(memory), str(seconds),
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        env=environment, cwd="/",
    )  # fmt: skip
    try:
        async with asyncio.timeout(2 * seconds):
            told, _ = await process.communicate(octets)
    except TimeoutError:
        raise NotRead(f"it could not be read within {2 * seconds} seconds") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    match process.returncode:
        case 0:
            return msgspec.json.decode(told, type=tuple[Reading, ...])
        case code if code == _TOO_MUCH_MEMORY:
            raise NotRead(f"reading it needs more than {memory // 1024**2} MiB of memory")
        case code if code == _TOO_MUCH_TOLD:
            raise NotRead("it says more than can be kept")
        case code:
            raise NotRead(f"reading it needs more than {seconds} seconds, or ends in disorder ({code})")


def main(arguments: Sequence[str]) -> int:
    """Read standard input within the bounds that are named; what was found goes to standard output as JSON."""
    memory, seconds = int(arguments[0]), int(arguments[1])
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # nobody would hear the answer
    resource.setrlimit(resource.RLIMIT_AS, (memory, memory))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NPROC, (0, 0))
    try:
        told = msgspec.json.encode(readings(sys.stdin.buffer.read(LARGEST_MESSAGE + 1)))
        if len(told) > _MOST_TOLD:
            return _TOO_MUCH_TOLD
        sys.stdout.buffer.write(told)
        sys.stdout.buffer.flush()
    except MemoryError:
        return _TOO_MUCH_MEMORY
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
