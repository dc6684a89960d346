"""`lockgate list`: named lists that mail flow rules look into; changing what is on them leaves the policy alone."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TextIO

import typer

from lockgate.cli import show
from lockgate.cli.asked import AsJson, WhatIf, answered, unreadable
from lockgate.cli.objects import Organisation, writes
from lockgate.cli.show import Column
from lockgate.flow.asking import (
    Assignment,
    ListAdd,
    ListExport,
    ListFind,
    ListImport,
    ListRemove,
    ListShow,
    ListsList,
    ObjectWrite,
)
from lockgate.flow.list_files import written_list

commands = typer.Typer(
    no_args_is_help=True, help="Named lists: domains, addresses and words that mail flow rules look into."
)

Name = Annotated[str, typer.Argument(help="Name of the list.", show_default=False)]
Kind = Annotated[str, typer.Option("--kind", help="domains, addresses or words.", show_default=False)]
Entries = Annotated[
    list[str], typer.Argument(metavar="ENTRY...", help="Domains, addresses, words or phrases.", show_default=False)
]

_TABLES = ("named_list",)
_LONG = 600.0
"""Seconds for which an import is waited for."""
_LARGEST = 200 * 1024 * 1024
"""Octets of one file."""

_COLUMNS = (
    Column("organisation", "ORGANISATION"),
    Column("name", "NAME"),
    Column("kind", "KIND"),
    Column("entries", "ENTRIES", right=True),
    Column("revision", "REVISION", right=True),
    Column("last_change", "LAST CHANGE"),
    Column("by", "BY"),
    Column("used_by", "USED BY"),
)


# --- which lists there are: the policy --------------------------------------------------------------------------------


@commands.command("declare")
@writes
def declare(
    name: Name,
    kind: Kind,
    comments: Annotated[str, typer.Option("--comments", help="Note for people.")] = "",
    organisation: Organisation = "",
) -> ObjectWrite:
    """Make a list that rules can name, without entries at first; this is a revision of the policy."""
    given = [Assignment("kind", "=", kind), *([Assignment("comments", "=", comments)] if comments else [])]
    return ObjectWrite("add", _TABLES, name, organisation, tuple(given))


@commands.command("undeclare")
@writes
def undeclare(name: Name, organisation: Organisation = "") -> ObjectWrite:
    """Take a list out of the policy. Its entries are kept, in case it is declared again or the policy rolled back."""
    return ObjectWrite("remove", _TABLES, name, organisation)


# --- what is on them --------------------------------------------------------------------------------------------------


@commands.command("list")
def list_(context: typer.Context, organisation: Organisation = "", as_json: AsJson = False) -> None:
    """List every named list, with the rules that use it."""
    rows = answered(context, ListsList(organisation), as_json=as_json)
    if not as_json:
        show.table(rows, _COLUMNS, nothing="none")


@commands.command("show")
def show_(context: typer.Context, name: Name, organisation: Organisation = "", as_json: AsJson = False) -> None:
    """Show kind, number of entries, last change of a list, and which rules use it."""
    row = answered(context, ListShow(name, organisation), as_json=as_json)
    if not as_json:
        show.facts({key.replace("_", " "): show.moment(key, value) for key, value in row.items()})


@commands.command("find")
def find(
    context: typer.Context,
    name: Name,
    entry: Annotated[str, typer.Argument(help="What is looked for.", show_default=False)],
    organisation: Organisation = "",
    as_json: AsJson = False,
) -> None:
    """Say whether something is on a list; of domains the nearest one above counts too. Code 1 if it is not."""
    found = answered(context, ListFind(name, entry, organisation), as_json=as_json)
    if not as_json:
        by = "" if found["entry"] == found["asked"] else f", as {found['entry']}"
        show.say(f"{found['asked']} is on the list {found['list']}{by} (revision {found['revision']}).")


@commands.command("add")
def add(
    context: typer.Context,
    name: Name,
    entries: Entries,
    organisation: Organisation = "",
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Add entries to a list; they count within a second."""
    _told(answered(context, ListAdd(name, tuple(entries), organisation, what_if), as_json=as_json), as_json=as_json)


@commands.command("remove")
def remove(
    context: typer.Context,
    name: Name,
    entries: Annotated[list[str] | None, typer.Argument(metavar="ENTRY...", help="What is to be removed.")] = None,
    everything: Annotated[bool, typer.Option("--all", help="Remove every entry.")] = False,
    organisation: Organisation = "",
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Remove entries from a list; they count no more within a second. Code 1 if one was not there."""
    request = ListRemove(name, tuple(entries or ()), organisation, everything, what_if)
    told = answered(context, request, as_json=as_json)
    _told(told, as_json=as_json)
    if told["missing_count"]:
        raise typer.Exit(show.FINDING)


@commands.command("import")
def import_(
    context: typer.Context,
    name: Name,
    file: Annotated[str, typer.Argument(help="Text or CSV file, an entry a line; - reads standard input.")],
    replace: Annotated[
        bool, typer.Option("--replace", help="Put the entries in the place of all there are, instead of adding them.")
    ] = False,
    organisation: Organisation = "",
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Add the entries of a file, or put them in the place of all there are.

    Lines that begin with # say nothing. If a line is no entry, every such line is told and nothing is changed.
    """
    request = ListImport(
        name, _read(file), "standard input" if file == "-" else file, _form(file), replace, organisation, what_if
    )
    _told(answered(context, request, as_json=as_json, patience=_LONG), as_json=as_json)


@commands.command("export")
def export(
    context: typer.Context,
    name: Name,
    file: Annotated[str, typer.Argument(help="Text or .csv file to write; - writes to standard output.")] = "-",
    organisation: Organisation = "",
    as_json: AsJson = False,
) -> None:
    """Write all entries as they were spelled, for `list import`; with --json as one JSON array."""
    told = answered(context, ListExport(name, organisation), as_json=False)
    if file == "-":
        _write(context, told, sys.stdout, "text", as_json=as_json)
        return
    try:
        with Path(file).open("w", encoding="utf-8", newline="") as out:
            count = _write(context, told, out, _form(file), as_json=as_json)
    except OSError as trouble:
        show.complain(f"{file} cannot be written: {trouble}")
        raise typer.Exit(show.MISUSE) from None
    show.say(f"Written to {file}: {show.counted(count, 'entry')}.")


def _write(context: typer.Context, told: dict[str, Any], out: TextIO, form: str, *, as_json: bool) -> int:
    """Write the first page and all that follow; how many entries there are."""
    count = 0

    def entries() -> Iterator[str]:
        nonlocal told, count
        while True:
            count += len(told["entries"])
            yield from told["entries"]
            if not told["ticket"]:
                return
            told = answered(context, ListExport(ticket=told["ticket"]), as_json=False)

    if as_json:
        out.write(show.json_text(list(entries())) + "\n")
    else:
        out.writelines(written_list(entries(), form))
    out.flush()
    return count


def _form(file: str) -> str:
    return "csv" if file.lower().endswith(".csv") else "text"


def _read(file: str) -> str:
    """The text of the file; ends the command if it cannot be had."""
    try:
        if file == "-":
            octets = sys.stdin.buffer.read(_LARGEST + 1)
        else:
            with Path(file).open("rb") as opened:
                octets = opened.read(_LARGEST + 1)
        if len(octets) > _LARGEST:
            show.complain(f"{file} is longer than {_LARGEST // 1024 // 1024} MB; import it in parts.")
            raise typer.Exit(show.MISUSE)
        return octets.decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as trouble:
        unreadable(file, trouble)


def _told(done: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        return
    changes = f"{done['added']} added, {done['removed']} removed, {done['there']} there already"
    entries = show.counted(done["entries"], "entry")
    if done["what_if"]:
        show.say(f"{done['list']} would have {entries}: {changes}; nothing was changed.")
    else:
        show.say(f"{done['list']} has {entries} (revision {done['revision']}): {changes}.")
    if done["missing_count"]:
        more = f" and {done['missing_count'] - 10} more" if done["missing_count"] > 10 else ""
        show.complain(f"Not on the list: {', '.join(done['missing'][:10])}{more}")
