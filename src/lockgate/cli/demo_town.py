"""The processes of the demonstration: the service, and the mail servers of other people around it."""

from __future__ import annotations

import contextlib
import json
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec

from lockgate.cli.client import NotReachable, ask
from lockgate.cli.demo_documents import ZONE, Place, documents
from lockgate.cli.demo_papers import Authority
from lockgate.flow.asking import Answer, DkimCheck, DkimRotate, Kind, RecipientImport, Request, StatusAsk

PATIENCE = 30.0
"""Seconds for the service to answer, and for each message to be settled."""

TAKEN_UP = 1.5
"""Seconds after which every worker has taken up a new directory."""

SITES: Mapping[str, str] = {
    "headquarters": "", "new-orleans": "", "partner": "mx.partner.test", "plain": "", "impostor": "mx.elsewhere.test",
    "home": "",
}  # fmt: skip
"""The other servers, and the name in the certificate of those that have TLS."""

CLIENTS = ("mail.bank.test", "mail.stranger.test")
"""Names in the certificates that clients show."""

MARK = ".lockgate-demo"
"""A file that tells a folder of ours from a folder of somebody else."""

Progress = Callable[[str], None]


class Failed(Exception):
    """The demonstration cannot go on; the message says why."""


class Town(msgspec.Struct, frozen=True):
    """What runs: where the files are and on which port Lockgate listens."""

    folder: Path
    port: int

    @property
    def mailboxes(self) -> Path:
        """Where the organisation's Maildirs of contoso.test lie."""
        return self.folder / "mail" / "contoso" / "contoso.test"

    @property
    def papers(self) -> Path:
        """Where the certificates lie."""
        return self.folder / "tls"

    def ask(self, request: Request) -> Any:
        """What the desk answers. Raises Failed."""
        return _done(_control(self.folder), request)

    def arrived(self, site: str) -> int:
        """How many messages lie at a site, or in a mailbox here."""
        if site in SITES:
            return len(list((self.folder / "sites" / site).glob("*.eml")))
        return len([*self.mailboxes.glob(f"{site}/new/*"), *self.mailboxes.glob(f"{site}/cur/*")])


@contextlib.contextmanager
def running(folder: Path, interpreter: str, progress: Progress) -> Iterator[Town]:
    """Service and sites as processes; all of them are gone afterwards. Raises Failed."""
    _prepare(folder)
    with contextlib.ExitStack() as processes:
        authority = _papers(folder)
        progress(f"Starting {len(SITES)} mail servers and a name server of other people ...")
        names = _names(folder, interpreter, processes)
        ports = _sites(folder, interpreter, processes)
        place = Place(_free_port(), _port_of(names, folder / "names"), ports, authority)
        _write(folder, place)
        progress(f"Starting Lockgate on 127.0.0.1 port {place.port} ...")
        command = [interpreter, "-m", "lockgate", "--config", str(folder / "lockgate.toml"), "serve"]
        service = processes.enter_context(_process(command, folder / "serve.out"))
        _wait_for(service, folder, place.port)
        progress("Importing the recipients, and publishing the signing key ...")
        table = (folder / "recipients.csv").read_text("utf-8")
        _done(_control(folder), RecipientImport(table, "csv", "recipients.csv"))
        _publish(folder)
        time.sleep(TAKEN_UP)
        yield Town(folder, place.port)


def _publish(folder: Path) -> None:
    """Have a signing key made, put its record into DNS as an administrator would, and wait until it signs."""
    made = _done(_control(folder), DkimRotate("contoso.test"))
    records = {record["name"]: {"TXT": [record["value"]]} for record in made["records"]}
    zone = folder / "names" / "zone.json"
    early = zone.with_suffix(".new")
    early.write_text(json.dumps({**ZONE, **records}, indent=2), "utf-8")
    early.replace(zone)
    deadline = time.monotonic() + PATIENCE
    while not all(key["signs"] for key in _done(_control(folder), DkimCheck("contoso.test"))):
        if time.monotonic() > deadline:
            raise Failed("the signing key did not become active")
        time.sleep(0.1)


def _control(folder: Path) -> Path:
    return folder / "state" / "run" / "control.sock"


def _prepare(folder: Path) -> None:
    with contextlib.suppress(NotReachable):
        ask(_control(folder), StatusAsk(), 2.0)
        raise Failed(f"a demonstration is already running in {folder}; stop it with Ctrl-C where it was started")
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARK).is_file():
            raise Failed(f"{folder} is not empty and not of an earlier demonstration; say --folder ANOTHER")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).write_text("This folder is thrown away by the next `lockgate demo`.\n")


def _papers(folder: Path) -> Path:
    """All certificates; the path of the authority's."""
    (folder / "tls").mkdir()
    authority = Authority(folder / "tls")
    for name in ("mx.contoso.test", *CLIENTS, *filter(None, SITES.values())):
        authority.issue(name)
    return authority.file


def _sites(folder: Path, interpreter: str, processes: contextlib.ExitStack) -> dict[str, int]:
    """Start all sites at once, then wait for each; their ports."""
    started = {}
    for name, certificate in SITES.items():
        home = folder / "sites" / name
        home.mkdir(parents=True)
        command = [interpreter, "-m", "lockgate.cli.demo_site", f"{name}.test", str(home)]
        if certificate:
            command.append(str(folder / "tls" / f"{certificate}.pem"))
        started[name] = processes.enter_context(_process(command, home / "log")), home
    return {name: _port_of(site, home) for name, (site, home) in started.items()}


def _names(folder: Path, interpreter: str, processes: contextlib.ExitStack) -> subprocess.Popen[bytes]:
    """Start the name server."""
    home = folder / "names"
    home.mkdir()
    (home / "zone.json").write_text(json.dumps(ZONE, indent=2), "utf-8")
    return processes.enter_context(_process([interpreter, "-m", "lockgate.cli.demo_names", str(home)], home / "log"))


def _write(folder: Path, place: Place) -> None:
    for name, text in documents(place).items():
        path = folder / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, "utf-8")
    (folder / "mail").mkdir()


@contextlib.contextmanager
def _process(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        # A session of its own: Ctrl-C reaches us alone, and we stop everything in order.
        process = subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        try:
            process.wait(20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _port_of(site: subprocess.Popen[bytes], home: Path) -> int:
    deadline = time.monotonic() + PATIENCE
    while not (home / "port").exists():
        if site.poll() is not None or time.monotonic() > deadline:
            raise Failed(f"another server did not start (is aiosmtpd installed?):\n{_tail(home / 'log')}")
        time.sleep(0.02)
    return int((home / "port").read_text())


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _wait_for(service: subprocess.Popen[bytes], folder: Path, port: int) -> None:
    """Until the desk answers and the port greets."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(NotReachable, OSError):
            ask(_control(folder), StatusAsk(), 5.0)
            socket.create_connection(("127.0.0.1", port), 2.0).close()
            return
        if service.poll() is not None or time.monotonic() > deadline:
            said = _tail(folder / "serve.out") + _tail(folder / "lockgate.log")
            raise Failed(f"`lockgate serve` did not start:\n{said}")
        time.sleep(0.05)


def _tail(path: Path) -> str:
    with contextlib.suppress(OSError):
        return "\n".join(path.read_text("utf-8", "replace").splitlines()[-20:]) + "\n"
    return ""


def _done(control: Path, request: Request) -> Any:
    try:
        answer: Answer = ask(control, request, PATIENCE)
    except NotReachable as trouble:
        raise Failed(str(trouble)) from None
    if answer.kind != Kind.OK:
        raise Failed(f"{answer.sentence} {answer.result or ''}")
    return answer.result
