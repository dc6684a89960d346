"""Connectors at the terminal: how mail comes from and leaves to servers that the organisation names."""

from __future__ import annotations

from typing import Annotated

import typer

from lockgate.cli import blocked, objects, show
from lockgate.cli.asked import AsJson, answered
from lockgate.cli.connector_advise import advise
from lockgate.cli.connector_validate import validate, validation_words
from lockgate.cli.flags import flagged
from lockgate.cli.objects import Name, Organisation, Properties, Unset, writes
from lockgate.cli.show import Column
from lockgate.flow.asking import Assignment, ObjectShow, ObjectWrite

commands = typer.Typer(no_args_is_help=True, help="Connectors: own servers and partners, inbound and outbound.")
commands.command("validate")(validate)
commands.command("advise")(advise)
commands.add_typer(blocked.commands, name="blocked")
commands.command("block")(blocked.block)

Inbound = Annotated[bool, typer.Option("--inbound", help="The inbound connector of that name.")]
Outbound = Annotated[bool, typer.Option("--outbound", help="The outbound connector of that name.")]

_COLUMNS = (
    Column("direction", "DIRECTION"),
    Column("organisation", "ORGANISATION"),
    Column("name", "NAME"),
    Column("connector_type", "TYPE"),
    Column("state", "STATE"),
    Column("domains", "DOMAINS"),
    Column("hosts", "SERVERS"),
    Column("validated", "VALIDATED"),
)


def _tables(inbound: bool, outbound: bool) -> tuple[str, ...]:
    both = inbound == outbound
    return tuple(
        table
        for table, wanted in (("inbound_connector", inbound or both), ("outbound_connector", outbound or both))
        if wanted
    )


@commands.command("list")
def list_(
    context: typer.Context,
    inbound: Inbound = False,
    outbound: Outbound = False,
    organisation: Organisation = "",
    as_json: AsJson = False,
) -> None:
    """List the connectors."""
    objects.listed(context, _tables(inbound, outbound), organisation, _COLUMNS, as_json=as_json)


@commands.command("show")
def show_(
    context: typer.Context,
    name: Name,
    inbound: Inbound = False,
    outbound: Outbound = False,
    organisation: Organisation = "",
    as_json: AsJson = False,
) -> None:
    """Show one connector with all its properties."""
    request = ObjectShow(_tables(inbound, outbound), name, organisation)
    row = answered(context, request, as_json=as_json)
    if not as_json:
        show.facts({**row, "validation": validation_words(row.get("validation"))})


@commands.command("add")
@flagged("inbound_connector", "outbound_connector")
@writes
def add(
    name: Name,
    properties: Properties = None,
    inbound: Inbound = False,
    outbound: Outbound = False,
    organisation: Organisation = "",
) -> ObjectWrite:
    """Add a connector; say --inbound or --outbound, and its properties by flags or as property=value."""
    if inbound == outbound:
        show.complain("Say --inbound (how mail comes to us) or --outbound (how it leaves).")
        raise typer.Exit(show.MISUSE)
    given = objects.assignments(properties)
    return ObjectWrite("add", _tables(inbound, outbound), name, organisation, given)


@commands.command("set")
@flagged("inbound_connector", "outbound_connector")
@writes
def set_(
    name: Name,
    properties: Properties = None,
    unset: Unset = None,
    inbound: Inbound = False,
    outbound: Outbound = False,
    organisation: Organisation = "",
) -> ObjectWrite:
    """Change properties of a connector."""
    given, gone = objects.assignments(properties), objects.unset_keys(unset)
    return ObjectWrite("set", _tables(inbound, outbound), name, organisation, given, gone)


@commands.command("remove")
@writes
def remove(
    name: Name, inbound: Inbound = False, outbound: Outbound = False, organisation: Organisation = ""
) -> ObjectWrite:
    """Remove a connector."""
    return ObjectWrite("remove", _tables(inbound, outbound), name, organisation)


@commands.command("enable")
@writes
def enable(
    name: Name, inbound: Inbound = False, outbound: Outbound = False, organisation: Organisation = ""
) -> ObjectWrite:
    """Let a connector act."""
    return _switch("true", name, _tables(inbound, outbound), organisation)


@commands.command("disable")
@writes
def disable(
    name: Name, inbound: Inbound = False, outbound: Outbound = False, organisation: Organisation = ""
) -> ObjectWrite:
    """Keep a connector, but do not let it act."""
    return _switch("false", name, _tables(inbound, outbound), organisation)


def _switch(value: str, name: str, tables: tuple[str, ...], organisation: str) -> ObjectWrite:
    return ObjectWrite("set", tables, name, organisation, (Assignment("enabled", "=", value),))
