"""The real service in a folder of its own: started, asked by its command line, killed process by process, restarted."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from peers.ports import free_port

ROOT = Path(__file__).resolve().parents[2]

OPERATOR = """\
hostname = "mx.lockgate.test"
state_directory = "state"
policy_directory = "policy"
workers = {workers}

[[listener]]
address = "127.0.0.1"
port = {port}

# The same service for peers whose address we choose: loopback may tell it in a PROXY header.
[[listener]]
address = "127.0.0.1"
port = {proxied}
proxies = ["127.0.0.0/8"]
{certificate}
[dns]
resolvers = ["127.0.0.1"]
port = {dns}
timeout = "1s"

[outgoing]
allow = ["127.0.0.0/8"]

[deadlines]
drain = "5s"

[log]
destination = "lockgate.log"
"""


class Service:
    """One installation in `folder`. Ports stay the same over restarts, so that senders find it again.

    `policy` is TOML text or {file name: text}; `settings` is TOML added to the operator's file (tables that are not in
    OPERATOR); `certificate` is (chain, key); `prefix` is put before the command, `variables` into its environment;
    `program` are the words after the interpreter, for a service that a test has wired differently.
    """

    def __init__(
        self,
        folder: Path,
        policy: str | Mapping[str, str],
        *,
        settings: str = "",
        workers: int = 1,
        certificate: tuple[Path, Path] | None = None,
        prefix: tuple[str, ...] = (),
        variables: Mapping[str, str] | None = None,
        program: tuple[str, ...] = ("-m", "lockgate"),
        dns: int = 9,
    ) -> None:
        self.folder = folder
        self.port, self.proxied = free_port(), free_port()
        self.prefix, self.variables, self.program = prefix, dict(variables or {}), program
        self.process: subprocess.Popen[bytes] | None = None
        self.config = folder / "lockgate.toml"
        (folder / "policy").mkdir(parents=True)
        self.write_policy(policy)
        papers = f'[[certificate]]\nchain = "{certificate[0]}"\nkey = "{certificate[1]}"\n' if certificate else ""
        text = OPERATOR.format(
            workers=workers, port=self.port, proxied=self.proxied, certificate=papers, dns=dns
        )
        self.config.write_text(text + settings)

    def write_policy(self, policy: str | Mapping[str, str]) -> None:
        """Write the documents; `cli("reload")` puts them in force when the service runs."""
        for name, text in ({"policy.toml": policy} if isinstance(policy, str) else policy).items():
            (self.folder / "policy" / name).write_text(text)

    def __enter__(self) -> Service:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    # --- life ---------------------------------------------------------------------------------------------------------

    def start(self, patience: float = 60.0) -> float:
        """Start, wait until mail is taken; how many seconds that took."""
        began = time.monotonic()
        environment = {**os.environ, "PYTHONPATH": f"{ROOT / 'src'}:{ROOT / 'tests'}", **self.variables}
        command = [*self.prefix, sys.executable, *self.program, "--config", str(self.config), "serve"]
        with (self.folder / "serve.out").open("ab") as out:
            self.process = subprocess.Popen(command, env=environment, stdout=out, stderr=out, start_new_session=True)
        while time.monotonic() - began < patience:
            if self.answers():
                seconds = time.monotonic() - began
                wait_for(self._announced, 10)
                return seconds
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        self.kill_all()
        raise AssertionError(f"the service did not start:\n{self.said()}")

    def _announced(self) -> bool:
        """Whether the supervisor has said that everybody is ready."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            told = json.loads((self.folder / "state" / "run" / "service.json").read_text())
            return bool(told["pid"] == self._supervisor())
        return False

    def answers(self) -> bool:
        """Whether it greets."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1) as probe:
            probe.settimeout(5)
            if probe.recv(100).startswith(b"220"):
                probe.sendall(b"QUIT\r\n")
                return True
        return False

    def stop(self) -> None:
        """End it as an administrator would; what does not end in time is killed and is a failure."""
        if self.process is None or self.process.poll() is not None:
            return
        os.kill(self._supervisor(), signal.SIGTERM)
        try:
            self.process.wait(40)
        except subprocess.TimeoutExpired:
            self.kill_all()
            raise

    def kill_all(self) -> None:
        """kill -9 of everything at once, nothing is given a second."""
        if self.process is None:
            return
        pids = [*self.processes().values()]
        for pid in (*pids, self._supervisor(), self.process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.process.wait()
        wait_for(lambda: not any(alive(pid) for pid in pids), 10)

    def kill(self, name: str) -> int:
        """kill -9 of one process by its name (lg:keeper, lg:worker-0, lg:desk); its pid."""
        pid = self.processes()[name]
        os.kill(pid, signal.SIGKILL)
        wait_for(lambda: not alive(pid), 10)
        return pid

    def processes(self) -> dict[str, int]:
        """The living children of the supervisor by name."""
        parent = self._supervisor()
        return {name: pid for pid, (above, name) in _table().items() if above == parent}

    def _supervisor(self) -> int:
        """The pid of the service itself, which is not the one we started when something stands before the command."""
        assert self.process is not None
        pid = self.process.pid
        for _ in self.prefix:
            below = [one for one, (above, name) in _table().items() if above == pid and not name.startswith("lg:")]
            if not below:
                break
            pid = below[0]
        return pid

    # --- questions ----------------------------------------------------------------------------------------------------

    def cli(self, *words: str, expect: int | None = 0, given: str = "") -> str:
        """What the command line prints; fails unless it exits with `expect` (None: whatever)."""
        command = [sys.executable, "-m", "lockgate", "--config", str(self.config), *words]
        environment = {**os.environ, "PYTHONPATH": str(ROOT / "src"), "COLUMNS": "200"}
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, input=given, timeout=60, check=False
        )
        assert expect is None or done.returncode == expect, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done.stdout

    def ask(self, *words: str, expect: int | None = 0) -> Any:
        """The same as data."""
        return json.loads(self.cli(*words, "--json", expect=expect))

    def recipients(self, *addresses: str, organisation: str = "", more: str = "") -> None:
        """Make these mail users the directory; `more` are further CSV lines under the same columns."""
        rows = "".join(f"{address},mail_user,\n" for address in addresses)
        scope = ("--organisation", organisation) if organisation else ()
        self.cli("recipient", "import", "-", *scope, given=f"address,kind,external_address\n{rows}{more}")

    def log(self) -> str:
        """All log lines so far."""
        path = self.folder / "lockgate.log"
        return path.read_text(errors="replace") if path.exists() else ""

    def said(self) -> str:
        """What went to standard output and error, and the end of the log."""
        return (self.folder / "serve.out").read_text(errors="replace")[-3000:] + self.log()[-3000:]

    def waiting(self) -> int:
        """How many tasks are in the queue."""
        return int(self.ask("status")["waiting"])


def _table() -> dict[int, tuple[int, str]]:
    """(parent, name) by pid of all processes that are not dead."""
    found: dict[int, tuple[int, str]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            text = stat.read_text()
            fields = text.rpartition(")")[2].split()
            if fields[0] not in "ZX":
                found[int(stat.parent.name)] = (int(fields[1]), text[text.index("(") + 1 : text.rindex(")")])
    return found


def alive(pid: int) -> bool:
    """Whether the process still does something: a thread may be in a system call when the process counts as dead."""
    for stat in Path(f"/proc/{pid}/task").glob("*/stat"):
        with contextlib.suppress(OSError):
            if stat.read_text().rpartition(")")[2].split()[0] not in "ZX":
                return True
    return False


def wait_for(condition: Callable[[], Any], patience: float = 30.0, pause: float = 0.02) -> Any:
    """What `condition` gives as soon as that is true; its last word when patience ends."""
    end = time.monotonic() + patience
    while not (seen := condition()) and time.monotonic() < end:
        time.sleep(pause)
    return seen
