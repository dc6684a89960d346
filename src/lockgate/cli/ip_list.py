"""IP allow and block lists at the terminal: an organisation's connection filter, and the operator's own lists."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lockgate.cli import show
from lockgate.cli.asked import AsJson, answered
from lockgate.cli.objects import Organisation, writes
from lockgate.cli.show import Column
from lockgate.flow.asking import Assignment, ObjectList, ObjectWrite

commands = typer.Typer(no_args_is_help=True, help="IP allow and block lists; allow wins.")

Entry = Annotated[str, typer.Argument(help="Address, network or range.", show_default=False)]
Operator = Annotated[bool, typer.Option("--operator", help="The operator's lists, which act at connect for everybody.")]

_LISTS = {"ip_allow_list": "allow", "ip_block_list": "block"}
_COLUMNS = (Column("list", "LIST"), Column("entry", "ENTRY"), Column("whose", "WHOSE"), Column("file", "FILE"))


@commands.command("show")
def show_(
    context: typer.Context, operator: Operator = False, organisation: Organisation = "", as_json: AsJson = False
) -> None:
    """Show the entries of all lists, or of one organisation's, or the operator's."""
    both = ("operator", "connection_filter")
    tables = both[:1] if operator else both[1:] if organisation else both
    found = answered(context, ObjectList(tables, organisation), as_json=False)
    rows: list[dict[str, Any]] = [
        {
            "list": word,
            "entry": entry,
            "whose": row.get("organisation") or "operator",
            "file": row["file"],
        }
        for row in found
        for key, word in {**_LISTS, "gateway_ip_addresses": "gateway"}.items()
        for entry in row.get(key, ())
    ]
    if as_json:
        show.as_json(rows)
    else:
        show.table(rows, _COLUMNS, nothing="none")


@commands.command("allow")
@writes
def allow(entry: Entry, operator: Operator = False, organisation: Organisation = "") -> ObjectWrite:
    """Allow an address: its mail skips the content filter, and no block entry concerns it."""
    return _write("put", operator, organisation, (Assignment("ip_allow_list", "+", entry),))


@commands.command("block")
@writes
def block(entry: Entry, operator: Operator = False, organisation: Organisation = "") -> ObjectWrite:
    """Block an address: its mail is refused."""
    return _write("put", operator, organisation, (Assignment("ip_block_list", "+", entry),))


@commands.command("remove")
@writes
def remove(entry: Entry, operator: Operator = False, organisation: Organisation = "") -> ObjectWrite:
    """Take an address from both lists; code 1 if neither holds it."""
    return _write("set", operator, organisation, tuple(Assignment(key, "-", entry) for key in _LISTS))


def _write(action: str, operator: bool, organisation: str, given: tuple[Assignment, ...]) -> ObjectWrite:
    table, name = ("operator", "operator") if operator else ("connection_filter", "Default")
    return ObjectWrite(action, (table,), name, "" if operator else organisation, given)
