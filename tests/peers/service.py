"""The real service as a process of its own, with documents of the test, and what its desk says of it."""

from __future__ import annotations

import contextlib
import csv
import io
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lockgate.cli.client import NotReachable, ask
from lockgate.edge.load import workloads
from lockgate.flow.asking import (
    Answer,
    Kind,
    QueueEdit,
    QueueList,
    RecipientImport,
    Reload,
    Request,
    StatusAsk,
    TraceFind,
    TraceShow,
)
from lockgate.storage.directory import LOOK
from peers.client import Client

SOURCE = Path(__file__).resolve().parents[2] / "src"
PATIENCE = 30.0
HOSTNAME = "mx.lockgate.test"
_CROWD = 40
"""More than the 32 connections that one worker takes alone (app/spread.py)."""

DEFAULTS: dict[str, Any] = {
    "hostname": HOSTNAME,
    "workers": 1,
    "listener": [
        {"address": "127.0.0.1", "port": 0},
        {"address": "127.0.0.1", "port": 0, "proxies": ["127.0.0.0/8"]},
    ],
    "dns": {"resolvers": ["127.0.0.1"], "port": 1, "timeout": "1s"},
    "delivery": {"first_retry": "1s", "retry_steps": ["1s"], "idle_connection": "1s"},
    "outgoing": {"allow": ["127.0.0.0/8"]},
    "log": {"destination": "lockgate.log"},
    "deadlines": {"drain": "10s"},
}
"""Two listeners: a plain one, and one that believes the PROXY protocol, so that peers have any address."""


def toml(values: Mapping[str, Any], within: str = "") -> str:
    """These values as a TOML document: plain ones, then tables and arrays of tables."""
    lines: list[str] = []
    later: list[str] = []
    for key, value in values.items():
        match value:
            case dict():
                later += [f"[{within}{key}]", toml(value, f"{within}{key}.")]
            case [dict(), *_]:
                for one in value:
                    later += [f"[[{within}{key}]]", toml(one, f"{within}{key}.")]
            case Path():
                lines.append(f"{key} = {json.dumps(str(value))}")
            case _:
                lines.append(f"{key} = {json.dumps(value)}")
    return "\n".join([*lines, *later]) + "\n"


def merged(base: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """`base` with the tables of `more` laid over it."""
    result = dict(base)
    for key, value in more.items():
        old = result.get(key)
        result[key] = merged(old, value) if isinstance(old, dict) and isinstance(value, dict) else value
    return result


@dataclass
class Service:
    """One running service. `port` is the plain listener's, `proxied` that of the one that believes PROXY headers."""

    folder: Path
    config: Path
    process: subprocess.Popen[bytes] | None = None
    port: int = 0
    proxied: int = 0
    ports: list[int] = field(default_factory=list)

    @property
    def state(self) -> Path:
        return self.folder / "state"

    def start(self) -> None:
        """Start it and wait until it announces its ports."""
        environment = {**os.environ, "PYTHONPATH": str(SOURCE)}
        with (self.folder / "serve.out").open("ab") as out:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "lockgate", "--config", str(self.config), "serve"],
                stdin=subprocess.DEVNULL, stdout=out, stderr=out, env=environment, start_new_session=True,
            )  # fmt: skip
        announced = self.state / "run" / "service.json"
        deadline = time.monotonic() + PATIENCE
        while not announced.exists():
            assert self.process.poll() is None, f"the service ended at once:\n{self.said()}"
            assert time.monotonic() < deadline, f"the service did not get ready:\n{self.said()}"
            time.sleep(0.02)
        listeners = json.loads(announced.read_text())["listeners"]
        self.ports = [int(name.rpartition(":")[2]) for name in listeners]
        self.port, self.proxied = self.ports[0], self.ports[1] if len(self.ports) > 1 else 0

    def signal(self, number: int) -> None:
        assert self.process is not None
        os.kill(self.process.pid, number)

    def stop(self, patience: float = 30.0) -> int:
        """End it as an operator would; its exit code."""
        assert self.process is not None
        if self.process.poll() is None:
            self.process.terminate()
            try:
                self.process.wait(patience)
            except subprocess.TimeoutExpired:
                os.killpg(self.process.pid, signal.SIGKILL)
                self.process.wait()
                raise AssertionError(f"the service did not end within {patience:g} s:\n{self.said()}") from None
        return self.process.returncode

    def said(self, lines: int = 60) -> str:
        """The end of what it wrote."""
        text = ""
        for name in ("serve.out", "lockgate.log"):
            with contextlib.suppress(OSError):
                text += "\n".join((self.folder / name).read_text("utf-8", "replace").splitlines()[-lines:]) + "\n"
        return text

    def command(self, *words: str) -> tuple[int, str, str]:
        """One command at the terminal: exit code, standard output, standard error."""
        done = subprocess.run(
            [sys.executable, "-m", "lockgate", "--config", str(self.config), *words],
            env={**os.environ, "PYTHONPATH": str(SOURCE)}, capture_output=True, timeout=60, check=False, text=True,
        )  # fmt: skip
        return done.returncode, done.stdout, done.stderr

    def told(self, *words: str) -> Any:
        """The same, which has to succeed; what it prints as JSON."""
        code, out, err = self.command(*words, "--json")
        assert code == 0, f"{words}: {code} {out} {err}\n{self.said()}"
        return json.loads(out)

    def people_changed(self, *words: str) -> Any:
        """The same for a command that changes who the recipients are, once every worker has to have seen it."""
        done = self.told(*words)
        time.sleep(LOOK * 1.1)  # after this long the next question of a worker looks at the table first
        return done

    def in_force(self) -> None:
        """Wait until every worker that runs now judges by the last revision, after it was published while they ran."""
        last = f"policy taken up: revision={self.status()['policy_revision']}"
        workers = self.workers()

        def taken_up() -> bool:
            lines = (self.folder / "lockgate.log").read_text("utf-8", "replace").splitlines()
            who = [line.split(" ", 3)[2] for line in lines if line.endswith(last)]
            return workers <= {name.partition("/")[2].rstrip(":") for name in who}

        self.until(taken_up, f"every worker says: {last}")

    def workers(self) -> set[str]:
        """The workers that run now, as they call themselves in the log: name and [pid]."""
        assert self.process is not None
        found: set[str] = set()
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(OSError):  # it ended meanwhile
                pid, _, rest = stat.read_text().partition(" (")
                name, _, values = rest.rpartition(") ")
                if name.startswith("lg:worker-") and int(values.split()[1]) == self.process.pid:
                    found.add(f"{name.removeprefix('lg:')}[{pid}]")
        assert found, "no worker runs"
        return found

    # --- the desk

    def answer(self, request: Request) -> Answer:
        return ask(self.state / "run" / "control.sock", request, PATIENCE)

    def done(self, request: Request) -> Any:
        answer = self.answer(request)
        assert answer.kind == Kind.OK, f"{request}: {answer}\n{self.said()}"
        return answer.result

    def status(self) -> dict[str, Any]:
        return self.done(StatusAsk())

    def trace(self, **filters: str) -> list[dict[str, Any]]:
        return self.done(TraceFind(filters, 1000))

    def show(self, message: str) -> dict[str, Any]:
        return self.done(TraceShow(message))

    def queue(self, **filters: str) -> list[dict[str, Any]]:
        return self.done(QueueList(filters))

    def edit(self, action: str, **filters: str) -> Any:
        return self.done(QueueEdit(action, filters))

    def load(self, recipients: str, organisation: str = "") -> None:
        """Import recipients (CSV) and wait until the edge knows the last of them."""
        self.done(RecipientImport(recipients, "csv", "recipients.csv", organisation))
        *_, last = csv.DictReader(io.StringIO(recipients))
        self.until(lambda: self._known(last["address"]), "the edge knows the new recipients", pause=0.25)

    def _known(self, address: str) -> bool:
        with self.client("127.0.0.1") as client:
            client.begin("probe@probe.test")
            return client.to(address)[0] == 250

    def write_policy(self, *documents: str) -> None:
        folder = self.folder / "policy"
        folder.mkdir(exist_ok=True)
        for number, text in enumerate(documents):
            (folder / f"{number}.toml").write_text(text, "utf-8")

    def reload(self, *documents: str) -> dict[str, Any]:
        """Put these documents in force; returns once they are published (workers take them up within a second)."""
        self.write_policy(*documents)
        return self.done(Reload())

    # --- mail

    def client(self, peer: str = "192.0.2.10", helo: str = "client.test") -> Client:
        """A connection that comes from `peer`, any address, by the PROXY protocol."""
        return Client(self.proxied, peer, helo)

    def send(self, sender: str, *recipients: str, content: bytes | str = "", peer: str = "192.0.2.10") -> str:
        """One message from one peer, every recipient taken; its id."""
        with self.client(peer) as client:
            code, text = client.letter(sender, *recipients, content=content)
            assert code == 250, f"{code} {text}\n{self.said()}"
            return text.rpartition(" ")[2]

    @contextlib.contextmanager
    def crowded(self, workers: int) -> Iterator[None]:
        """Idle clients, more than one worker takes alone, each from an address of its own: all workers are asked."""
        with contextlib.ExitStack() as here:
            for number in range(_CROWD):
                self._idle(here, number)
            numbers = itertools.count(_CROWD)
            table = self.state / "run" / "load.table"

            def asked() -> bool:
                self._idle(here, next(numbers))
                return all(one.connections for one in workloads(table, workers))

            self.until(asked, "every worker is asked")
            yield

    def _idle(self, until: contextlib.ExitStack, number: int) -> None:
        source = (f"127.1.{number // 200}.{number % 200 + 1}", 0)
        peer = until.enter_context(socket.create_connection(("127.0.0.1", self.port), PATIENCE, source))
        assert peer.recv(1000).startswith(b"220 ")

    def until(self, seen: Any, what: str, patience: float = 20.0, pause: float = 0.05) -> Any:
        """Ask again until `seen()` is true; its value."""
        deadline = time.monotonic() + patience
        while not (value := seen()):
            assert time.monotonic() < deadline, f"not within {patience:g} s: {what}\n{self.said()}"
            time.sleep(pause)
        return value

    def settled(self, message: str, status: str = "Delivered", patience: float = 20.0) -> list[dict[str, Any]]:
        """The trace rows of a message once all have this status."""
        rows: list[dict[str, Any]] = []

        def seen() -> bool:
            rows[:] = self.trace(id=message)
            return bool(rows) and all(row["status"] == status for row in rows)

        try:
            self.until(seen, f"{message} is {status}", patience)
        except AssertionError as trouble:
            raise AssertionError(f"{rows}\n{trouble}") from None
        return rows


@contextlib.contextmanager
def running(
    folder: Path, *policy: str, recipients: str | Mapping[str, str] = "", **operator: Any
) -> Iterator[Service]:
    """A service over `folder` with these policy documents and, by organisation if there are several, recipients.

    `operator` is laid over DEFAULTS. Afterwards it is ended, and nothing unforeseen may stand in its log.
    """
    folder.mkdir(exist_ok=True)
    config = folder / "lockgate.toml"
    config.write_text(toml(merged(DEFAULTS, operator)), "utf-8")
    service = Service(folder, config)
    service.write_policy(*policy)
    try:
        service.start()
        tables = {"": recipients} if isinstance(recipients, str) else recipients
        for organisation, text in tables.items():
            if text:
                service.load(text, organisation)
        yield service
    finally:
        if service.process is not None:
            code = service.stop()
            said = service.said(400)
            print(said[-8000:])  # shown only with a failure
    assert code == 0, said
    assert "unforeseen" not in said and "Traceback" not in said, said


__all__ = ["DEFAULTS", "HOSTNAME", "NotReachable", "Service", "running", "toml"]
