"""The audit at the terminal: who changed what, when, and who was refused."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Annotated, Any

import typer

from lockgate.cli import show
from lockgate.cli.asked import AsJson, answered
from lockgate.cli.show import Column
from lockgate.cli.spreadsheet import as_csv
from lockgate.flow.asking import AuditFind

commands = typer.Typer(no_args_is_help=True, help="Who changed what, and who was refused.")

ROWS = (
    Column("at", "WHEN"),
    Column("who", "WHO"),
    Column("what", "DID"),
    Column("details", "DETAILS"),
    Column("before", "BEFORE"),
    Column("after", "AFTER"),
)


@commands.command("find")
def find(
    context: typer.Context,
    who: Annotated[str, typer.Option(help="Part of the account's number or name.")] = "",
    what: Annotated[str, typer.Option(help='Part of what was done, such as "queue release".')] = "",
    about: Annotated[str, typer.Option("--object", help="Part of anything in the row: an id, a name, a value.")] = "",
    since: Annotated[str, typer.Option(help="2h, 3d, 2026-11-24 or 2026-11-24T08:00:00Z.")] = "",
    until: Annotated[str, typer.Option(help="The same forms as --since.")] = "",
    refused: Annotated[bool, typer.Option("--refused", help="Only attempts that were refused.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="Most rows, newest first.")] = 100,
    for_spreadsheet: Annotated[bool, typer.Option("--csv", help="Print CSV for a spreadsheet.")] = False,
    as_json: AsJson = False,
) -> None:
    """Find changes and refused attempts, newest first; code 1 if there are none."""
    request = AuditFind(who, what, about, since, until, refused, limit)
    rows = answered(context, request, as_json=as_json)
    if for_spreadsheet and not as_json:
        sys.stdout.write(as_csv(rows, (*ROWS, Column("refused", "REFUSED"))))
    elif not as_json:
        show.table([_shortened(row) for row in rows], ROWS, nothing="Nothing in the audit matches.")
    if not rows:
        raise typer.Exit(show.FINDING)


def _shortened(row: Mapping[str, Any]) -> dict[str, Any]:
    """Long objects are cut in the table; --json and --csv have them whole."""
    short = {name: show.printable(row[name]) for name in ("details", "before", "after") if row.get(name)}
    return {**row, **{name: text if len(text) <= 160 else text[:159] + "…" for name, text in short.items()}}
