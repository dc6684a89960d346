"""A service to be killed: started on real ports, its processes known by name, its promises counted."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

OPERATOR = """
hostname = "mx.proof.test"
state_directory = "state"
policy_directory = "policy"
workers = {workers}
[[listener]]
address = "127.0.0.1"
port = {port}
[dns]
resolvers = ["127.0.0.1"]
[delivery]
first_retry = "1s"
retry_steps = ["1s"]
[outgoing]
allow = ["127.0.0.0/8"]
[deadlines]
drain = "5s"
[log]
destination = "lockgate.log"
"""

POLICY = """
[operator.limits]
connections = 100000
connections_per_peer = 100000
[[organisation]]
name = "proof"
[[accepted_domain]]
domain_name = "proof.test"
domain_type = "internal_relay"
vouched_by_operator = true
[[outbound_connector]]
name = "Sink"
connector_type = "on_premises"
recipient_domains = ["proof.test"]
use_mx_record = false
smart_hosts = ["127.0.0.1:{sink}"]
concurrency = {concurrency}
"""

BODY = b"".join(
    [
        b"From: a@sender.test\r\nTo: b@proof.test\r\nSubject: proof\r\n\r\n",
        *[b"%04d The quick brown fox jumps over the lazy dog and comes back.\r\n" % n for n in range(60)],
    ]
)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def tool(name: str, folder: Path) -> Path:
    """A C tool of the bench, compiled for this test."""
    if shutil.which("gcc") is None:
        pytest.skip("gcc is not on this machine, so the load generator cannot be built")
    program = folder / name
    subprocess.run(["gcc", "-O2", "-o", str(program), str(ROOT / "bench" / f"{name}.c")], check=True)
    return program


class Service:
    """The service under one folder; a fixed port, so that senders find it again after a restart."""

    def __init__(
        self, folder: Path, sink_port: int, *, workers: int = 2, concurrency: int = 20, prefix: tuple[str, ...] = ()
    ) -> None:
        self.folder = folder
        self.port = free_port()
        self.prefix = prefix
        (folder / "policy").mkdir()
        (folder / "policy" / "proof.toml").write_text(POLICY.format(sink=sink_port, concurrency=concurrency))
        (folder / "lockgate.toml").write_text(OPERATOR.format(workers=workers, port=self.port))
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> float:
        """Start and wait until mail is taken; how many seconds that took."""
        began = time.monotonic()
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src")}
        config = str(self.folder / "lockgate.toml")
        command = [*self.prefix, sys.executable, "-m", "lockgate", "--config", config, "serve"]
        with (self.folder / "serve.out").open("ab") as out:
            self.process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)
        while time.monotonic() - began < 60:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as probe:
                probe.settimeout(5)
                if probe.recv(100).startswith(b"220"):
                    return time.monotonic() - began
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"the service did not start:\n{(self.folder / 'serve.out').read_text()[-3000:]}")

    def processes(self) -> dict[str, int]:
        """The service's processes by name (lg:keeper, lg:worker-0, ...)."""
        found: dict[str, int] = {}
        parent = self.process.pid if self.process else 0
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):
                text = stat.read_text()
                fields = text.rpartition(")")[2].split()
                if int(fields[1]) == parent and fields[0] != "Z":
                    found[text[text.index("(") + 1 : text.rindex(")")]] = int(stat.parent.name)
        return found

    def kill_all(self) -> None:
        """kill -9 of the supervisor; its children die with it, and are given no second."""
        pids = [*self.processes().values()]
        assert self.process is not None
        for pid in (self.process.pid, *pids):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        deadline = time.monotonic() + 10
        while any(_alive(pid) for pid in pids) and time.monotonic() < deadline:
            time.sleep(0.005)

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(40)
            except subprocess.TimeoutExpired:
                self.kill_all()
                raise


def _alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


class Senders:
    """The load generator in the background: unique ids, going on after broken connections, acknowledgements logged."""

    def __init__(self, program: Path, folder: Path, port: int, sessions: int, name: str) -> None:
        self.log = folder / f"{name}.acks"
        self.log.touch()
        body = folder / "body.eml"
        body.write_bytes(BODY)
        words = [str(program), "-p", str(port), "-t", "b@proof.test", "-b", str(body), "-c", str(sessions), "-T"]
        words += ["-n", "100000000", "-i", f"{name}-", "-A", str(self.log)]
        self._process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)

    def stop(self) -> None:
        self._process.terminate()
        self._process.communicate(timeout=30)

    def acknowledged(self) -> list[str]:
        return self.log.read_text(errors="replace").split()


def counted(log: Path) -> dict[str, int]:
    """How often each id came to the next hop; a line of the sink is id, connection, time."""
    counts: dict[str, int] = {}
    for line in log.read_text(errors="replace").splitlines():
        one = line.partition(" ")[0]
        counts[one] = counts.get(one, 0) + 1
    return counts


def wait_for(condition: object, patience: float) -> bool:
    deadline = time.monotonic() + patience
    while not (held := condition()) and time.monotonic() < deadline:  # type: ignore[operator]
        time.sleep(0.05)
    return bool(held)


