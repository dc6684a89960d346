"""Moving mailboxes between the two sides of a hybrid at the terminal: one, several, or a file of them."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from lockgate.cli import show
from lockgate.cli.asked import AsJson, WhatIf, answered
from lockgate.cli.directory_changes import Organisation, counted
from lockgate.flow.asking import MailboxMove

AT_ONCE = 50
"""Mailboxes in one request, so that progress can be told."""

Words = Annotated[
    list[str], typer.Argument(metavar="[NAME]... here|there", help="Addresses of recipients, and where they live now.")
]
External = Annotated[
    str, typer.Option(help="With `there`: the address by which the other side is reached, if it is not her own.")
]
FromFile = Annotated[
    Path | None, typer.Option("--file", help="CSV: an address a line, and an external_address if there is one.")
]


def move(
    context: typer.Context,
    words: Words,
    external: External = "",
    file: FromFile = None,
    organisation: Organisation = "",
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Say that mailboxes live here now, or there, on the other side of a hybrid; mail that waits follows them.

    Addresses, memberships, forwarding, restrictions and attributes stay. No mail is copied: what was delivered here
    stays in its folder, which is named. Code 1 if one of them could not be moved.
    """
    *names, to = words
    wanted = _wanted(names, to, external, file)
    told: dict[str, Any] = {"to": to, "what_if": what_if, "waiting": 0, "mailboxes": [], "warnings": []}
    everybody = list(wanted.items())
    for first in range(0, len(everybody), AT_ONCE):
        request = MailboxMove(dict(everybody[first : first + AT_ONCE]), to, organisation, what_if)
        answer = answered(context, request, as_json=False)
        told["organisation"] = answer["organisation"]
        told["waiting"] += answer["waiting"]
        told["mailboxes"] += answer["mailboxes"]
        told["warnings"] += [one for one in answer["warnings"] if one not in told["warnings"]]
        if len(wanted) > AT_ONCE and sys.stderr.isatty():
            show.complain(f"{len(told['mailboxes'])} of {len(wanted)}")
    if as_json:
        show.as_json(told)
    else:
        _say(told)
    if any("error" in row for row in told["mailboxes"]):
        raise typer.Exit(show.FINDING)


def _wanted(names: Sequence[str], to: str, external: str, file: Path | None) -> dict[str, str]:
    """Addresses and their external addresses; ends the command for what makes no sense."""
    wrong = ""
    if to not in ("here", "there"):
        wrong = "Say where they live now: the last word is here or there."
    elif not names and file is None:
        wrong = "Say who moves: an address, or --file FILE."
    elif external and (len(names) != 1 or file is not None):
        wrong = "--external is for one mailbox; in a file the second column has the external addresses."
    if wrong:
        show.complain(wrong)
        raise typer.Exit(show.MISUSE)
    wanted = dict.fromkeys(names, external)
    if file is not None:
        wanted |= _read(file)
    if not wanted:
        show.complain(f"{file} names nobody.")
        raise typer.Exit(show.MISUSE)
    return wanted


def _read(file: Path) -> dict[str, str]:
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            return dict(_pairs(csv.reader(lines, strict=True), file))
    except (OSError, UnicodeDecodeError, csv.Error) as trouble:
        show.complain(f"{file} cannot be read: {trouble}")
        raise typer.Exit(show.MISUSE) from None


def _pairs(rows: Any, file: Path) -> Iterator[tuple[str, str]]:
    """Address and external address of every line; a first line that says what the columns are may be there."""
    columns = ["address", "external_address"]
    for number, row in enumerate(rows, 1):
        cells = [cell.strip() for cell in row]
        names = [cell.lower().replace(" ", "_") for cell in cells]
        if number == 1 and "address" in names:
            columns = names
            continue
        if not any(cells):
            continue
        values: Mapping[str, str] = dict(zip(columns, cells, strict=False))
        if len(cells) > len(columns) or not values.get("address"):
            show.complain(f"{file}:{number}: an address is expected, and behind a comma perhaps an external address")
            raise typer.Exit(show.MISUSE)
        yield values["address"], values.get("external_address", "")


def _say(told: Mapping[str, Any]) -> None:
    would = "would live" if told["what_if"] else "lives"
    side = "here" if told["to"] == "here" else "on the other side"
    moved = 0
    for row in told["mailboxes"]:
        if "error" in row:
            show.complain(f"{row['address']}: {row['error']}")
            continue
        moved += 1
        if not row["changed"]:
            show.say(f"{row['address']} lives {side} already.")
        else:
            target = row["after"]["external_address"]
            show.say(f"{row['address']} {would} {side}{f' as {target}' if target else ''}.")
        if left := row["left_behind"]:
            show.say(f"  {left['path']} keeps {counted(left['messages'], 'message')}; nothing is deleted.")
        for warning in row["warnings"]:
            show.complain(f"warning: {warning}")
    for warning in told["warnings"]:
        show.complain(f"warning: {warning}")
    if told["waiting"]:
        said = "would be routed anew" if told["what_if"] else "routed anew"
        show.say(f"Mail that waited for them, {said}: {counted(told['waiting'], 'message')}.")
    if told["what_if"]:
        show.say("Nothing was changed.")
    elif len(told["mailboxes"]) > 1:
        show.say(f"{moved} of {len(told['mailboxes'])} moved.")
