"""The servers that are measured, and the tools that load them: started on free ports, watched, stopped by pid."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

BENCH = Path(__file__).resolve().parent
SOURCE = BENCH.parent / "src"
_TICK = os.sysconf("SC_CLK_TCK")

OPERATOR = """
hostname = "mx.bench.test"
state_directory = "state"
policy_directory = "policy"
[[listener]]
address = "127.0.0.1"
port = 0
[dns]
resolvers = ["127.0.0.1"]
[outgoing]
allow = ["127.0.0.0/8"]
[log]
destination = "lockgate.log"
{more}
"""

POLICY = """
[operator.limits]
connections = 100000
connections_per_peer = 100000
[[organisation]]
name = "bench"
[[accepted_domain]]
domain_name = "bench.test"
domain_type = "internal_relay"
vouched_by_operator = true
[[outbound_connector]]
name = "Sink"
connector_type = "on_premises"
recipient_domains = ["bench.test"]
use_mx_record = false
smart_hosts = ["127.0.0.1:{sink}"]
"""


def built(name: str) -> Path:
    """The compiled tool of this name; compiled when its source is newer. Raises CalledProcessError."""
    folder = Path(tempfile.gettempdir()) / f"lockgate-bench-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    source, program = BENCH / f"{name}.c", folder / name
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        subprocess.run(["gcc", "-O2", "-o", str(program), str(source)], check=True)
    return program


def free_port() -> int:
    """A port nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def sink(folder: Path, port: int = 0) -> Iterator[tuple[int, Path]]:
    """The next hop: its port, and the log of message ids it has taken."""
    log = folder / "sink.ids"
    log.touch()
    command = [str(built("sink")), "-p", str(port), "-L", str(log)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield int(process.stdout.readline() if process.stdout else 0), log
        finally:
            process.terminate()
            process.wait(10)


def load(port: int, bodies: list[Path], **options: str | int | bool) -> dict[str, float]:
    """Run the load generator to its end; what it counted. Options are those of load.c by their letters."""
    words = [str(built("load")), "-p", str(port), "-t", "bob@bench.test"]
    for body in bodies:
        words += ["-b", str(body)]
    for letter, value in options.items():
        words += [f"-{letter}"] if value is True else [f"-{letter}", str(value)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    return dict(json.loads(done.stdout))


class Lockgate:
    """The service with one organisation that relays bench.test to the sink."""

    def __init__(self, folder: Path, sink_port: int, *, more: str = "", policy: str = "") -> None:
        self._folder = folder
        self._config = folder / "lockgate.toml"
        (folder / "policy").mkdir(parents=True)
        (folder / "policy" / "bench.toml").write_text(POLICY.format(sink=sink_port) + policy)
        self._config.write_text(OPERATOR.format(more=more))
        self.pid = 0
        self.port = 0

    def start(self) -> None:
        """Start and wait until mail is taken."""
        environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
        command = [sys.executable, "-m", "lockgate", "--config", str(self._config), "serve"]
        with (self._folder / "serve.out").open("ab") as out:
            process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)
        self.pid = process.pid
        self._process = process
        told = self._folder / "state" / "run" / "service.json"
        deadline = time.monotonic() + 60
        while True:
            with contextlib.suppress(OSError, ValueError, KeyError):
                found = json.loads(told.read_text())
                if found["pid"] == self.pid:
                    self.port = int(found["listeners"][0].rpartition(":")[2])
                    return
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self._folder / "serve.out").read_text())
            time.sleep(0.05)

    def stop(self) -> None:
        """End it as an administrator would."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(60)

    def idle(self) -> bool:
        """Whether nothing waits any more."""
        return True


class Postfix:
    """Debian's Postfix with bench/postfix/main.cf, all of it below one folder."""

    def __init__(self, folder: Path, sink_port: int) -> None:
        self._config = folder / "config"
        self._queue = folder / "queue"
        self._data = folder / "data"
        self.port = free_port()
        self.pid = 0
        for made in (self._config, self._queue, self._data):
            made.mkdir(parents=True)
        shutil.chown(self._data, "postfix")
        for parent in (folder, *folder.parents):
            with contextlib.suppress(OSError):
                parent.chmod(parent.stat().st_mode | 0o055)
        words = {"@QUEUE@": self._queue, "@DATA@": self._data, "@PORT@": self.port, "@SINK@": sink_port}
        for name in ("main.cf", "master.cf"):
            text = (BENCH / "postfix" / name).read_text()
            for word, value in words.items():
                text = text.replace(word, str(value))
            (self._config / name).write_text(text)

    def start(self) -> None:
        """Start and wait until mail is taken."""
        subprocess.run(["postfix", "-c", str(self._config), "start"], check=True, capture_output=True)
        self.pid = int((self._queue / "pid" / "master.pid").read_text())
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 5) as probe:
                probe.recv(100)
                probe.sendall(b"QUIT\r\n")
                return
            time.sleep(0.1)
        raise RuntimeError("Postfix does not answer")

    def stop(self) -> None:
        """End it."""
        subprocess.run(["postfix", "-c", str(self._config), "stop"], check=False, capture_output=True)
        for _ in range(100):
            if not Path(f"/proc/{self.pid}").exists():
                return
            time.sleep(0.1)


def family(pid: int) -> list[int]:
    """The process and all that descend from it."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            text = stat.read_text()
            children.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(int(stat.parent.name))
    found, queue = [], [pid]
    while queue:
        one = queue.pop()
        found.append(one)
        queue.extend(children.get(one, ()))
    return found


def cpu_seconds(pid: int) -> float:
    """CPU of the process, its living descendants, and those that ended and were waited for."""
    total = 0
    for one in family(pid):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{one}/stat").read_text().rpartition(")")[2].split()
            total += sum(int(fields[number]) for number in (11, 12, 13, 14))
    return total / _TICK


def pss_megabytes(pid: int) -> float:
    """Proportional set size of the process and its descendants."""
    total = 0
    for one in family(pid):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{one}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1])
    return total / 1024
