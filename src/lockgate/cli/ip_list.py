"""IP allow and block lists at the terminal: an organisation's connection filter, and the operator's own lists."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lockgate.cli import objects, show
from lockgate.cli.asked import AsJson, WhatIf, answered
from lockgate.cli.changes import Expect, Reason
from lockgate.cli.objects import Organisation
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
def allow(
    context: typer.Context,
    entry: Entry,
    operator: Operator = False,
    organisation: Organisation = "",
    reason: Reason = "",
    expect: Expect = None,
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Allow an address: its mail skips the content filter, and no block entry concerns it."""
    request = _write("put", operator, organisation, (Assignment("ip_allow_list", "+", entry),))
    objects.wrote(context, objects.because(request, reason, expect, what_if=what_if), as_json=as_json)


@commands.command("block")
def block(
    context: typer.Context,
    entry: Entry,
    operator: Operator = False,
    organisation: Organisation = "",
    reason: Reason = "",
    expect: Expect = None,
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Block an address: its mail is refused."""
    request = _write("put", operator, organisation, (Assignment("ip_block_list", "+", entry),))
    objects.wrote(context, objects.because(request, reason, expect, what_if=what_if), as_json=as_json)


@commands.command("remove")
def remove(
    context: typer.Context,
    entry: Entry,
    operator: Operator = False,
    organisation: Organisation = "",
    reason: Reason = "",
    expect: Expect = None,
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Take an address from both lists; code 1 if neither holds it."""
    both = tuple(Assignment(key, "-", entry) for key in _LISTS)
    request = _write("set", operator, organisation, both)
    objects.wrote(context, objects.because(request, reason, expect, what_if=what_if), as_json=as_json)


def _write(action: str, operator: bool, organisation: str, given: tuple[Assignment, ...]) -> ObjectWrite:
    table, name = ("operator", "operator") if operator else ("connection_filter", "Default")
    return ObjectWrite(action, (table,), name, "" if operator else organisation, given)
