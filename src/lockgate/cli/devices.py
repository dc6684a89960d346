"""Devices at the terminal: who sends as an own domain, what it does, what was refused, and what to do."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from lockgate.cli import show
from lockgate.cli.asked import AsJson, answered
from lockgate.cli.objects import Organisation
from lockgate.cli.show import Column
from lockgate.flow.asking import DeviceList, DeviceShow

commands = typer.Typer(no_args_is_help=True, help="Printers, scanners and applications that send as an own domain.")

_ROWS = (
    Column("host", "ADDRESS"),
    Column("state", "STATE"),
    Column("way", "BY"),
    Column("helo", "HELO"),
    Column("tls", "TLS"),
    Column("messages", "MESSAGES", right=True),
    Column("inside", "INSIDE", right=True),
    Column("outside", "OUTSIDE", right=True),
    Column("refused", "REFUSED", right=True),
    Column("last_seen", "LAST SEEN"),
    Column("refusal", "LAST REFUSAL"),
)
_SENDERS = (Column("address", "SENDER"), Column("messages", "MESSAGES", right=True))


@commands.command("list")
def list_(
    context: typer.Context,
    organisation: Organisation = "",
    servers: Annotated[bool, typer.Option("--all", help="Also mail servers, which send for others as well.")] = False,
    limit: Annotated[int, typer.Option(min=1, max=5000, help="Most rows.")] = 500,
    as_json: AsJson = False,
) -> None:
    """Show every device that was seen, the latest first, and what to do about those that were refused."""
    rows = answered(context, DeviceList(organisation, servers, limit), as_json=as_json)
    if as_json:
        return
    several = len({row["organisation"] for row in rows}) > 1
    columns = (Column("organisation", "ORGANISATION"), *_ROWS) if several else _ROWS
    show.table([_brief(row) for row in rows], columns, nothing="No device has been seen.")
    for row in rows:
        if row["advice"]:
            show.say(f"{row['host']}: {row['advice']}")


@commands.command("show")
def show_(
    context: typer.Context,
    address: Annotated[str, typer.Argument(help="Address of the device.", show_default=False)],
    organisation: Organisation = "",
    as_json: AsJson = False,
) -> None:
    """Show one device with its senders."""
    rows = answered(context, DeviceShow(address, organisation), as_json=as_json)
    if as_json:
        return
    for number, row in enumerate(rows):
        if number:
            print()
        senders = row.pop("senders")
        told = {name.replace("_", " "): show.moment(name, value) for name, value in row.items() if value != 0}
        show.facts(told)
        print()
        show.table(senders, _SENDERS)
        if row["more_senders"]:
            show.say(f"and {row['more_senders']} messages of further senders")


def _brief(row: Mapping[str, Any]) -> dict[str, Any]:
    refusal = f"{row['refusal']} (id {row['refusal_id']})" if row["refusal_id"] else ""
    return {**row, "refusal": refusal}
