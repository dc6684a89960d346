"""The demonstration: a real service, real other servers, real messages, and what became of each and why."""

from __future__ import annotations

import os
import shlex
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from lockgate.cli import show, telling
from lockgate.cli.demo_letters import BLOCKED, LETTERS, Letter, send
from lockgate.cli.demo_town import PATIENCE, SITES, Failed, Town, running
from lockgate.cli.telling import Line
from lockgate.flow.asking import Explain, TraceFind

_TRIED = ("Send", "Deliver", "Defer", "Fail")


def run(folder: Path, *, once: bool, as_json: bool, interpreter: str) -> int:
    """Start everything, send, tell; then stay until Ctrl-C, or with `once` stop. 0 if all fared as expected, else 1."""
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _interrupt)
    began = time.monotonic()
    program = f"{_program()} --config {shlex.quote(str(folder / 'lockgate.toml'))}"
    try:
        with running(folder, interpreter, _quiet if as_json else _progress) as town:
            rows = _all(town, program, as_json=as_json)
            surprises = _surprises(rows, town)
            if as_json:
                show.as_json({"messages": rows, "surprises": surprises})
            else:
                _sum_up(rows, surprises, time.monotonic() - began)
            if not once:
                _stay(town, program, rows)
        if not as_json:
            _afterwards(town, program)
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


def _progress(text: str) -> None:
    print(show.printable(text), flush=True)


def _quiet(text: str) -> None:
    """With --json nothing but JSON is printed, and progress goes to standard error."""
    show.complain(text)


def _program() -> str:
    """How this very program is called again."""
    name = sys.argv[0]
    if Path(name).name != "lockgate":
        return f"{shlex.quote(sys.executable)} -m lockgate"
    nearer = os.path.relpath(name)
    return shlex.quote(name if len(name) <= len(nearer) or os.sep not in name else nearer)


# --- sending and telling


def _all(town: Town, program: str, *, as_json: bool) -> list[dict[str, Any]]:
    """Send every letter, and tell what became of it as soon as it is settled."""
    (_quiet if as_json else _progress)(f"Sending {len(LETTERS)} messages, one after the other ...")
    rows = []
    for number, letter in enumerate(LETTERS, 1):
        answer = send(letter, town.port, town.papers)
        row, lines = _told(letter, answer, town)
        row["command"] = f"{program} explain {row['id']}"
        rows.append(row)
        if not as_json:
            print()
            title = f"{number:2}. {letter.what}: {row['envelope']}"
            telling.draw([Line(0, (title,), ("bold",)), *lines])
            # Not drawn: a command that is broken into lines cannot be copied.
            _progress(f"    all of it: {row['command']}")
    return rows


def _told(letter: Letter, answer: str, town: Town) -> tuple[dict[str, Any], list[Line]]:
    """The letter as a row and its explanation, once it is settled (or as it is when our patience ends)."""
    words = answer.rstrip(")").split()
    reference = words[-1] if words else ""
    found = _settled(letter, reference, town)
    parts = town.ask(Explain(reference))["parts"] if found else []
    lines = [line for part in parts for line in telling.in_three_lines(part)]
    row = {
        "what": letter.what,
        "envelope": f"{letter.sender} -> {', '.join(letter.recipients)}",
        "answer": answer,
        "became": found,
        "expect": dict(letter.expect),
        "explanation": [line.strip() for line in telling.lines_of(lines)],
        "because": letter.because,
        "then": letter.then,
        "id": reference,
        "site": list(letter.site),
    }
    return row, lines


def _settled(letter: Letter, reference: str, town: Town) -> dict[str, str]:
    """The status of each recipient in the trace; what should wait is waited for until it was tried."""
    deadline = time.monotonic() + PATIENCE
    found: dict[str, str] = {}
    while time.monotonic() < deadline:
        rows = town.ask(TraceFind({"id": reference}, 10))
        found = {str(row.get("recipient_address") or ""): str(row["status"]) for row in rows}
        waiting = [status for status in found.values() if status == "Pending"]
        if found and (not waiting or ("Pending" in letter.expect.values() and _tried(reference, town))):
            break
        time.sleep(0.1)
    return found


def _tried(reference: str, town: Town) -> bool:
    rows = [row for part in town.ask(Explain(reference))["parts"] for row in part["recipients"]]
    return all(any(event["kind"] in _TRIED for event in row.get("attempts", ())) for row in rows)


def _surprises(rows: Sequence[Mapping[str, Any]], town: Town) -> list[str]:
    """What did not go as it should have, in sentences."""
    found = []
    for row in rows:
        if row["became"] != row["expect"]:
            found.append(f"'{row['what']}' should have become {_named(row['expect'])}, not {_named(row['became'])}.")
        elif not all(any(words in line for line in row["explanation"]) for words in (row["because"], row["then"])):
            found.append(f"The explanation of '{row['what']}' should name '{row['because']}' and '{row['then']}'.")
    for site in (*SITES, "eva"):
        wanted, there = sum(site in row["site"] for row in rows), town.arrived(site)
        if wanted != there:
            what = "server" if site in SITES else "mailbox"
            found.append(f"The {what} {site} should have received {wanted} messages, not {there}.")
    return found


def _named(statuses: Mapping[str, str]) -> str:
    return ", ".join(f"{status} ({whom})" if whom else status for whom, status in statuses.items()) or "unknown"


# --- the end


def _sum_up(rows: Sequence[Mapping[str, Any]], surprises: Sequence[str], seconds: float) -> None:
    print()
    for sentence in surprises:
        show.say(sentence)
    if not surprises:
        show.say(f"All {len(rows)} messages fared as they should, by the trace and by what arrived ({seconds:.0f} s).")
    sys.stdout.flush()


def _stay(town: Town, program: str, rows: Sequence[Mapping[str, Any]]) -> None:
    """Say where everything is and what to try, and wait for Ctrl-C."""
    folder, eva = town.folder, town.mailboxes / "eva"
    print()
    show.facts({
        "SMTP": f"127.0.0.1 port {town.port}",
        "files": f"{folder} (policy/contoso.toml is what the organisation wants)",
        "mailbox": f"{eva} (Maildir of eva@contoso.test; mutt -f {eva})",
        "log": folder / "lockgate.log",
    })  # fmt: skip
    print()
    show.say("What to try next (in another terminal):")
    refused, waiting = _one(rows, "Refused"), _one(rows, "Pending")
    who = f"--from alice@outside.test --to ann@contoso.test --ip {BLOCKED}"
    show.facts({
        "  why, every step": f"{program} explain {refused}",
        "  what if": f"{program} what-if {who}",
        "  find mail": f"{program} trace find --recipient eva@contoso.test",
        "  watch mail": f"{program} trace follow",
        "  send mail": f"swaks --server 127.0.0.1:{town.port} --from me@friends.test --to eva@contoso.test",
        "  read mail": f"{program} mailbox show eva@contoso.test",
        "  what waits": f"{program} queue list",
        "  hold mail": f"{program} queue hold {waiting}",
        "  what is held": f"{program} hold list",
        "  somebody new": f"{program} recipient add max@contoso.test --kind mailbox",
        "  change policy": f"edit {folder / 'policy' / 'contoso.toml'}, then:",
        "    look, then do": f"{program} plan; {program} apply",
        "    and undo": f"{program} rollback 1",
    })  # fmt: skip
    print()
    show.say("Lockgate goes on running; Ctrl-C stops it.")
    sys.stdout.flush()
    while True:
        signal.pause()


def _one(rows: Sequence[Mapping[str, Any]], status: str) -> str:
    """The id of a message that stands so."""
    return next((str(row["id"]) for row in rows if status in row["became"].values()), "ID")


def _afterwards(town: Town, program: str) -> None:
    """After --once: how to look at what is left."""
    show.say(f"Everything is stopped. The mail that was delivered here lies in {town.mailboxes / 'eva'}.")
    show.say(f"The commands above answer again while this runs: {program} serve")
