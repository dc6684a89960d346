"""Blocked connectors at the terminal: own servers whose relay was stopped, why, and lifting it."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from lockgate.cli import show
from lockgate.cli.asked import AsJson, WhatIf, answered
from lockgate.cli.objects import Name, Organisation
from lockgate.cli.show import Column
from lockgate.flow.asking import BlockedList, BlockedShow, ConnectorBlock, ConnectorUnblock

commands = typer.Typer(no_args_is_help=True, help="Own-server connectors over which nothing is relayed any more.")

Reason = Annotated[str, typer.Option(help="Why; kept in the audit.", show_default=False)]

_ROWS = (
    Column("id", "ID"),
    Column("organisation", "ORGANISATION"),
    Column("connector", "CONNECTOR"),
    Column("since", "SINCE"),
    Column("by", "BY"),
    Column("state", "STATE"),
    Column("because", "BECAUSE"),
)


def block(
    context: typer.Context,
    name: Name,
    reason: Reason,
    organisation: Organisation = "",
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Stop relay over an own-server connector at once; mail to own recipients goes on as a stranger's would."""
    result = answered(context, ConnectorBlock(name, organisation, reason, what_if), as_json=as_json)
    if not as_json:
        done = "would be blocked; nothing was changed" if what_if else f"is blocked ({result['id']})"
        show.say(f"{result['connector']} of {result['organisation']} {done}.")
        show.say(f"Note: {result['waiting']}.")


@commands.command("list")
def list_(
    context: typer.Context,
    organisation: Organisation = "",
    lifted: Annotated[bool, typer.Option("--all", help="Also blocks that are over.")] = False,
    as_json: AsJson = False,
) -> None:
    """List blocked connectors; code 1 if there is one."""
    rows = answered(context, BlockedList(organisation, lifted), as_json=as_json)
    if not as_json:
        show.table(rows, _ROWS, nothing="No connector is blocked.")
    if any(row["state"] == "blocked" for row in rows):
        raise typer.Exit(show.FINDING)


@commands.command("show")
def show_(context: typer.Context, name: Name, organisation: Organisation = "", as_json: AsJson = False) -> None:
    """Show one block with its evidence, by the connector's name or the block's id."""
    row = answered(context, BlockedShow(name, organisation), as_json=as_json)
    if as_json:
        return
    waiting, evidence = row.pop("waiting", ""), row.pop("evidence")
    show.facts({key.replace("_", " "): _moment(key, value) for key, value in row.items()})
    for sign, told in evidence.items():
        show.say(f"sign {sign}: {told.get('said', '')}")
    if waiting:
        show.say(f"Note: {waiting}.")


@commands.command("unblock")
def unblock(
    context: typer.Context,
    name: Name,
    reason: Reason,
    usual: Annotated[
        bool, typer.Option("--usual", help="The server always sends so: count what was seen as its history.")
    ] = False,
    organisation: Organisation = "",
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Lift a block: its relay goes on at once, and what was seen until now does not block it again."""
    result = answered(context, ConnectorUnblock(name, organisation, reason, usual, what_if), as_json=as_json)
    if not as_json:
        done = "would be unblocked; nothing was changed" if what_if else "is unblocked"
        show.say(f"{result['connector']} of {result['organisation']} {done}.")


def _moment(name: str, value: Any) -> object:
    return show.moment("since" if name == "lifted_at" else name, value)
