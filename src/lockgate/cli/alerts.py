"""Alerts at the terminal: what is wrong now, and taking care of it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from lockgate.cli import show
from lockgate.cli.asked import AsJson, WhatIf, answered
from lockgate.cli.show import Column
from lockgate.flow.asking import AlertAck, AlertList

commands = typer.Typer(no_args_is_help=True, help="What is wrong, and who looks after it.")

ROWS = (
    Column("id", "ID"),
    Column("since", "SINCE"),
    Column("state", "STATE"),
    Column("what", "WHAT"),
    Column("details", "DETAILS"),
)


@commands.command("list")
def list_(
    context: typer.Context,
    over: Annotated[bool, typer.Option("--all", help="Also what is over.")] = False,
    as_json: AsJson = False,
) -> None:
    """Show alerts, newest first; code 1 if one is active, that is neither over nor taken."""
    rows = answered(context, AlertList(over), as_json=as_json)
    if not as_json:
        show.table([{**row, "state": _state(row)} for row in rows], ROWS, nothing="Nothing is wrong.")
    if any(row["active"] for row in rows):
        raise typer.Exit(show.FINDING)


def _state(row: Mapping[str, Any]) -> str:
    if row["over"]:
        return "over"
    return f"taken by {row['taken_by']}" if row["taken"] else "active"


@commands.command("ack")
def ack(
    context: typer.Context,
    ids: Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Alerts; none: all active ones.")] = None,
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Say that you look after alerts: they are not told again before they were over."""
    result = answered(context, AlertAck(tuple(ids or ()), what_if), as_json=as_json)
    if not as_json:
        names = ", ".join(result["ids"])
        show.say(f"{names} would be taken; nothing was changed." if what_if else f"You have taken {names}.")
