"""The demonstration: a real service, real other servers, real messages, and what became of each and why."""

from __future__ import annotations

import contextlib
import shutil
import signal
import smtplib
import socket
import subprocess
import time
from collections.abc import Iterator
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import msgspec

from lockgate.cli import show
from lockgate.cli.client import NotReachable, ask
from lockgate.cli.demo_documents import OPERATOR, POLICY, RECIPIENTS
from lockgate.cli.show import Column
from lockgate.flow.asking import Answer, Kind, RecipientImport, Request, StatusAsk, TraceFind, TraceShow

PATIENCE = 30.0
"""Seconds for the service to answer, and for all messages to arrive."""

TAKEN_UP = 1.5
"""Seconds after which every worker has taken up a new directory."""

SITES = ("headquarters", "new-orleans", "partner")
MARK = ".lockgate-demo"
"""A file that tells a folder of ours from a folder of somebody else."""

COLUMNS = (
    Column("what", "WHAT WAS SENT"),
    Column("envelope", "FROM -> TO"),
    Column("answer", "LOCKGATE SAID"),
    Column("became", "BECAME"),
    Column("why", "WHY"),
)


class Failed(Exception):
    """The demonstration cannot go on; the message says why."""


class Letter(msgspec.Struct, frozen=True):
    """One message of the demonstration: who sends it from which address, and what should become of it."""

    what: str
    peer: str
    sender: str
    recipient: str
    expect: str
    site: str = ""


LETTERS = (
    Letter("mail from outside", "127.0.0.10", "alice@outside.test", "ann@contoso.test", "Delivered", "headquarters"),
    Letter("to an alias", "127.0.0.10", "alice@outside.test", "ann.smith@contoso.test", "Delivered", "headquarters"),
    Letter("to somebody unknown", "127.0.0.10", "alice@outside.test", "nobody@contoso.test", "Refused"),
    Letter("a relay attempt", "127.0.0.10", "alice@outside.test", "eve@elsewhere.test", "Refused"),
    Letter("from a blocked address", "127.0.0.66", "mallory@outside.test", "ann@contoso.test", "Refused"),
    Letter("by a rule", "127.0.0.10", "alice@outside.test", "luis@nola.contoso.test", "Delivered", "new-orleans"),
    Letter("from our own server", "127.0.0.3", "ann@contoso.test", "buyer@partner.test", "Delivered", "partner"),
)


def run(folder: Path, *, once: bool, as_json: bool, interpreter: str) -> int:
    """Start everything, send, tell; then stay until Ctrl-C, or with `once` stop. 0 if all fared as expected, else 1."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    try:
        with _running(folder, interpreter) as port:
            control = folder / "state" / "run" / "control.sock"
            rows = [_told(letter, _send(letter, port), control) for letter in LETTERS]
            surprises = _surprises(rows, folder)
            _show(rows, surprises, as_json=as_json)
            if not once:
                _stay(folder, port)
    except Failed as trouble:
        for line in f"The demonstration cannot go on: {trouble}".splitlines():
            show.complain(line)
        return show.FINDING
    except KeyboardInterrupt:
        show.complain("Stopped.")
        return show.OK if not once else show.FINDING
    return show.FINDING if surprises else show.OK


def _interrupt(number: int, frame: object) -> None:
    raise KeyboardInterrupt


@contextlib.contextmanager
def _running(folder: Path, interpreter: str) -> Iterator[int]:
    """Service and sites as processes; all of them are gone afterwards. Gives the port of the service."""
    _prepare(folder)
    with contextlib.ExitStack() as processes:
        ports = {}
        for name in SITES:
            home = folder / "sites" / name
            home.mkdir(parents=True)
            command = [interpreter, "-m", "lockgate.cli.demo_site", f"{name}.test", str(home)]
            site = processes.enter_context(_process(command, home / "log"))
            ports[name] = _port_of(site, home)
        port = _free_port()
        (folder / "lockgate.toml").write_text(OPERATOR.format(port=port), "utf-8")
        (folder / "policy").mkdir()
        policy = POLICY.format(hq=ports["headquarters"], nola=ports["new-orleans"], partner=ports["partner"])
        (folder / "policy" / "contoso.toml").write_text(policy, "utf-8")
        (folder / "recipients.csv").write_text(RECIPIENTS, "utf-8")
        command = [interpreter, "-m", "lockgate", "--config", str(folder / "lockgate.toml"), "serve"]
        service = processes.enter_context(_process(command, folder / "serve.out"))
        control = folder / "state" / "run" / "control.sock"
        _wait_for(service, control, folder, port)
        _done(control, RecipientImport(RECIPIENTS, "csv", "recipients.csv"))
        time.sleep(TAKEN_UP)
        yield port


def _prepare(folder: Path) -> None:
    control = folder / "state" / "run" / "control.sock"
    with contextlib.suppress(NotReachable):
        ask(control, StatusAsk(), 2.0)
        raise Failed(f"a demonstration is already running in {folder}; stop it with Ctrl-C where it was started")
    if folder.exists() and any(folder.iterdir()):
        if not (folder / MARK).is_file():
            raise Failed(f"{folder} is not empty and not of an earlier demonstration; say --folder ANOTHER")
        shutil.rmtree(folder)
    folder.mkdir(parents=True, exist_ok=True)
    (folder / MARK).write_text("This folder is thrown away by the next `lockgate demo`.\n")


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
            raise Failed(f"the other mail server did not start (is aiosmtpd installed?):\n{_tail(home / 'log')}")
        time.sleep(0.02)
    return int((home / "port").read_text())


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def _wait_for(service: subprocess.Popen[bytes], control: Path, folder: Path, port: int) -> None:
    """Until the desk answers and the port greets."""
    deadline = time.monotonic() + PATIENCE
    while True:
        with contextlib.suppress(NotReachable, OSError):
            ask(control, StatusAsk(), 5.0)
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
        answer: Answer = ask(control, request, 30.0)
    except NotReachable as trouble:
        raise Failed(str(trouble)) from None
    if answer.kind != Kind.OK:
        raise Failed(f"{answer.sentence} {answer.result or ''}")
    return answer.result


def _send(letter: Letter, port: int) -> str:
    """Send it as any program would; the answer that settled it."""
    message = EmailMessage()
    message["From"], message["To"], message["Subject"] = letter.sender, letter.recipient, letter.what
    message.set_content(f"This is the demonstration: {letter.what}.")
    try:
        with smtplib.SMTP("127.0.0.1", port, "client.test", 15, source_address=(letter.peer, 0)) as client:
            client.ehlo()
            for code, text in (client.mail(letter.sender), client.rcpt(letter.recipient)):
                if code >= 400:
                    return _said(code, text)
            return _said(*client.data(message.as_bytes().replace(b"\n", b"\r\n")))
    except smtplib.SMTPConnectError as refused:
        said = refused.smtp_error
        return _said(refused.smtp_code, said if isinstance(said, bytes) else str(said).encode())
    except (OSError, smtplib.SMTPException) as trouble:
        return f"no answer: {trouble}"


def _said(code: int, text: bytes) -> str:
    return f"{code} {text.decode('utf-8', 'replace')}".replace("\n", " ")


def _told(letter: Letter, answer: str, control: Path) -> dict[str, Any]:
    """The letter's row of the trace, once it is settled (or as it is when our patience ends)."""
    words = answer.rstrip(")").split()
    reference = words[-1] if words else ""
    deadline = time.monotonic() + PATIENCE
    row: dict[str, Any] = {}
    while time.monotonic() < deadline:
        rows = _done(control, TraceFind({"id": reference}, 10))
        row = rows[0] if rows else {}
        if row.get("status") not in (None, "Pending"):
            break
        time.sleep(0.1)
    return {
        "what": letter.what,
        "envelope": f"{letter.sender} -> {letter.recipient}",
        "answer": answer,
        "became": row.get("status", "not in the trace"),
        "why": _why(row, control),
        "id": reference,
        "expect": letter.expect,
        "site": letter.site,
    }


def _why(row: dict[str, Any], control: Path) -> str:
    """The reason in one line: what decided a refusal, or by which door it left and what the next server said."""
    if row.get("status") == "Refused":
        reasons = _done(control, TraceShow(row["id"])).get("reasons") or [row.get("reply", "")]
        return str(reasons[0])
    door = f"connector '{row.get('outbound_connector')}'" if row.get("outbound_connector") else "MX"
    return f"left by {door}, which said: {row.get('reply')}" if row.get("reply") else door


def _surprises(rows: list[dict[str, Any]], folder: Path) -> list[str]:
    """What did not go as it should have, in sentences."""
    found = [
        f"'{row['what']}' should have become {row['expect']}, not {row['became']}."
        for row in rows
        if row["became"] != row["expect"]
    ]
    for site in SITES:
        wanted = sum(1 for row in rows if row["site"] == site)
        there = len(list((folder / "sites" / site).glob("*.eml")))
        if wanted != there:
            found.append(f"The server {site} should have received {wanted} messages, not {there}.")
    return found


def _show(rows: list[dict[str, Any]], surprises: list[str], *, as_json: bool) -> None:
    if as_json:
        show.as_json({"messages": rows, "surprises": surprises})
        return
    show.table(rows, COLUMNS)
    print()
    for sentence in surprises or ["Every message fared as it should."]:
        show.say(sentence)


def _stay(folder: Path, port: int) -> None:
    """Say where everything is, and wait for Ctrl-C."""
    program = f"lockgate --config {folder / 'lockgate.toml'}"
    print()
    show.facts({
        "SMTP": f"127.0.0.1 port {port}",
        "files": f"{folder} (policy/contoso.toml is what the organisation wants)",
        "log": folder / "lockgate.log",
        "try": f"{program} trace find",
        "and": f"{program} queue list",
        "or send": f"swaks --server 127.0.0.1:{port} --from me@outside.test --to ann@contoso.test",
    })  # fmt: skip
    print()
    show.say("Lockgate goes on running; Ctrl-C stops it.")
    while True:
        signal.pause()
