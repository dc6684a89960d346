"""Senders with an id for every message and a next hop that counts them: what was promised against what arrived."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

BENCH = Path(__file__).resolve().parents[2] / "bench"

POLICY = """\
[operator.limits]
connections = 100000
connections_per_peer = 100000

[[organisation]]
name = "load"

[[accepted_domain]]
domain_name = "load.test"
domain_type = "internal_relay"
vouched_by_operator = true

[[outbound_connector]]
name = "Next hop"
connector_type = "on_premises"
recipient_domains = ["load.test"]
use_mx_record = false
smart_hosts = ["127.0.0.1:{port}"]
"""
"""Everything for load.test goes to the counting next hop on `port`."""

BODY = b"From: a@sender.test\r\nTo: b@load.test\r\nSubject: counted\r\n\r\n" + b"".join(
    b"%04d What is written here arrives as it is written here, or not at all.\r\n" % line for line in range(50)
)


def tool(name: str) -> Path:
    """A C program of bench/, compiled once for each state of its source."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not installed, so the load generator cannot be built (Debian: apt-get install gcc)")
    source = BENCH / f"{name}.c"
    folder = Path(tempfile.gettempdir()) / f"lockgate-tools-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    program = folder / f"{name}-{source.stat().st_mtime_ns:x}"
    if not program.exists():
        fresh = folder / f".{name}.{os.getpid()}"
        subprocess.run(["gcc", "-O2", "-o", str(fresh), str(source)], check=True)
        fresh.replace(program)
    return program


class _Lines:
    """The lines of a log that grows, each once: whoever waits for the last of thousands asks often."""

    def __init__(self, log: Path) -> None:
        self._log = log
        self._read = 0

    def fresh(self) -> list[str]:
        """Those that have been written since the last time."""
        with self._log.open("rb") as file:
            file.seek(self._read)
            whole = file.read().rpartition(b"\n")[0]
        self._read += len(whole) + bool(whole)
        return [line.decode("utf-8", "replace") for line in whole.split(b"\n") if line]


class NextHop:
    """bench/sink.c on a port of its own; `pause` seconds before it answers MAIL, so that mail piles up before it.

    With `spread` (1: from half less to half more) the connections do not fall into step.
    """

    def __init__(self, folder: Path, *, pause: float = 0.0, spread: float = 0.0, name: str = "next-hop") -> None:
        self.log = folder / f"{name}.ids"
        self.log.touch()
        self._lines, self._arrived = _Lines(self.log), Counter[str]()
        words = [str(tool("sink")), "-L", str(self.log), "-d", str(pause), "-v", str(spread)]
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert self._process.stdout is not None
        self.port = int(self._process.stdout.readline())

    def __enter__(self) -> NextHop:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def arrived(self) -> Counter[str]:
        """How often each id came; a line of the log is id, connection, time."""
        self._arrived.update(line.partition(" ")[0] for line in self._lines.fresh())
        return self._arrived

    def hurry(self) -> None:
        """Pause no more: from the next message on."""
        self._process.send_signal(signal.SIGUSR1)


class Senders:
    """bench/load.c in the background: goes on after refusals and broken connections with the next id.

    `seconds` or `count` ends it by itself.
    """

    def __init__(
        self,
        folder: Path,
        port: int,
        *,
        name: str,
        sessions: int = 8,
        count: int = 100_000_000,
        seconds: float = 0.0,
        body: bytes = BODY,
        more: tuple[str, ...] = (),
    ) -> None:
        self.log = folder / f"{name}.acknowledged"
        self.log.touch()
        self._lines, self._acknowledged = _Lines(self.log), list[str]()
        written = folder / f"{name}.eml"
        written.write_bytes(body)
        words = [str(tool("load")), "-p", str(port), "-t", "b@load.test", "-b", str(written), "-T", "-n", str(count)]
        words += ["-c", str(sessions), "-i", name, "-A", str(self.log), "-f", "a@sender.test"]
        words += ["-s", str(seconds)] if seconds else []
        self._process = subprocess.Popen([*words, *more], stdout=subprocess.PIPE, text=True)
        self._told: dict[str, Any] | None = None

    def __enter__(self) -> Senders:
        return self

    def __exit__(self, *_: object) -> None:
        if self._told is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            self._process.communicate()

    def stop(self) -> dict[str, Any]:
        """End it; what it counted."""
        self._process.terminate()
        return self.wait()

    def wait(self, patience: float = 120.0) -> dict[str, Any]:
        """Wait until it has ended by itself; what it counted."""
        if self._told is None:
            out, _ = self._process.communicate(timeout=patience)
            self._told = json.loads(out)
        return self._told

    def acknowledged(self) -> list[str]:
        """The ids that were answered 250."""
        self._acknowledged += self._lines.fresh()
        return [*self._acknowledged]
