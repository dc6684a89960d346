"""Connectors at the terminal: how mail comes from and leaves to servers that the organisation names."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from lockgate.cli import blocked, objects, show
from lockgate.cli.asked import AsJson, WhatIf
from lockgate.cli.changes import Expect, Reason
from lockgate.cli.objects import Name, Organisation, Properties, Unset
from lockgate.cli.show import Column
from lockgate.flow.asking import Assignment, ObjectWrite
from lockgate.policy.advice import Mailboxes, advised

commands = typer.Typer(no_args_is_help=True, help="Connectors: own servers and partners, inbound and outbound.")
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
    objects.shown(context, _tables(inbound, outbound), name, organisation, as_json=as_json)


@commands.command("add")
def add(
    context: typer.Context,
    name: Name,
    properties: Properties = None,
    inbound: Inbound = False,
    outbound: Outbound = False,
    organisation: Organisation = "",
    reason: Reason = "",
    expect: Expect = None,
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Add a connector; say --inbound or --outbound, and its properties as property=value."""
    if inbound == outbound:
        show.complain("Say --inbound (how mail comes to us) or --outbound (how it leaves).")
        raise typer.Exit(show.MISUSE)
    request = ObjectWrite(
        "add", _tables(inbound, outbound), name, organisation, objects.assignments(properties),
        reason=reason, expect=expect, what_if=what_if,
    )  # fmt: skip
    objects.wrote(context, request, as_json=as_json)


@commands.command("set")
def set_(
    context: typer.Context,
    name: Name,
    properties: Properties = None,
    unset: Unset = None,
    inbound: Inbound = False,
    outbound: Outbound = False,
    organisation: Organisation = "",
    reason: Reason = "",
    expect: Expect = None,
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Change properties of a connector."""
    request = ObjectWrite(
        "set", _tables(inbound, outbound), name, organisation, objects.assignments(properties),
        objects.unset_keys(unset), reason=reason, expect=expect, what_if=what_if,
    )  # fmt: skip
    objects.wrote(context, request, as_json=as_json)


@commands.command("remove")
def remove(
    context: typer.Context,
    name: Name,
    inbound: Inbound = False,
    outbound: Outbound = False,
    organisation: Organisation = "",
    reason: Reason = "",
    expect: Expect = None,
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Remove a connector."""
    request = ObjectWrite(
        "remove", _tables(inbound, outbound), name, organisation, reason=reason, expect=expect, what_if=what_if
    )
    objects.wrote(context, request, as_json=as_json)


@commands.command("enable")
def enable(
    context: typer.Context,
    name: Name,
    inbound: Inbound = False,
    outbound: Outbound = False,
    organisation: Organisation = "",
    reason: Reason = "",
    expect: Expect = None,
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Let a connector act."""
    request = _switch("true", name, _tables(inbound, outbound), organisation)
    objects.wrote(context, objects.because(request, reason, expect, what_if=what_if), as_json=as_json)


@commands.command("disable")
def disable(
    context: typer.Context,
    name: Name,
    inbound: Inbound = False,
    outbound: Outbound = False,
    organisation: Organisation = "",
    reason: Reason = "",
    expect: Expect = None,
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Keep a connector, but do not let it act."""
    request = _switch("false", name, _tables(inbound, outbound), organisation)
    objects.wrote(context, objects.because(request, reason, expect, what_if=what_if), as_json=as_json)


def _switch(value: str, name: str, tables: tuple[str, ...], organisation: str) -> ObjectWrite:
    return ObjectWrite("set", tables, name, organisation, (Assignment("enabled", "=", value),))


_PLACES = {
    "hosted": Mailboxes.HOSTED,
    "own-servers": Mailboxes.OWN_SERVERS,
    "on-premises": Mailboxes.OWN_SERVERS,
    "standalone": Mailboxes.OWN_SERVERS,
    "both": Mailboxes.BOTH,
    "hybrid": Mailboxes.BOTH,
}


@commands.command("advise")
def advise(
    answer: Annotated[
        list[str] | None, typer.Argument(help="Where the mailboxes are: all hosted, own-servers, or both.")
    ] = None,
    mailboxes: Annotated[str, typer.Option(help="The same: hosted, own-servers or both.")] = "",
    devices: Annotated[bool, typer.Option("--devices", help="Printers or programs send mail without login.")] = False,
    partners: Annotated[bool, typer.Option("--partners", help="A partner's mail must be in TLS or the like.")] = False,
    as_json: AsJson = False,
) -> None:
    """Say which connectors you need (specification 3.0); the service is not needed, and nothing is changed."""
    said = " ".join(answer or [mailboxes]).lower().replace("_", "-").removeprefix("all").strip(" -")
    if not said and sys.stdin.isatty():
        said = typer.prompt("Where are the mailboxes: hosted, own-servers or both?").strip().lower()
        devices = devices or typer.confirm("Do devices or programs send mail that cannot log in?")
        partners = partners or typer.confirm("Is there a partner whose mail must be in TLS, or from certain addresses?")
    place = _PLACES.get(said.replace(" ", "-"))
    if place is None:
        show.complain("Say where the mailboxes are: `connector advise all hosted`, `own-servers` or `both`.")
        raise typer.Exit(show.MISUSE)
    found = advised(place, devices=devices, partners=partners)
    if as_json:
        show.as_json({"mailboxes": place.value, "connectors": [one._asdict() for one in found]})
        return
    if not found:
        show.say("none")
        return
    rows = [{**one._asdict(), "need": "needed" if one.needed else "optional"} for one in found]
    columns = (Column("need", "NEED"), Column("table", "TABLE"), Column("connector_type", "TYPE"), Column("why", "WHY"))
    show.table(rows, columns)
