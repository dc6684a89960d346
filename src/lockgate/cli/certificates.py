"""Certificates at the terminal: which there are, until when and what for; ordering and renewing them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from lockgate.cli import show
from lockgate.cli.asked import AsJson, WhatIf, answered
from lockgate.cli.show import Column
from lockgate.flow.asking import CertificateList, CertificateOrder, CertificateRenew, CertificateShow

commands = typer.Typer(
    no_args_is_help=True, help="Certificates of the service and its connectors, CA files and revocation lists."
)

PATIENCE = 3600.0
"""Seconds until orders are given up by the terminal; the operator's file says how long one may take."""

Names = Annotated[list[str] | None, typer.Argument(metavar="[NAME]...", show_default=False)]

_ROWS = (
    Column("kind", "KIND"),
    Column("name", "NAME"),
    Column("key", "KEY"),
    Column("expires", "EXPIRES"),
    Column("days", "DAYS", right=True),
    Column("uses", "USED"),
    Column("says", "SAYS"),
)


@commands.command("list")
def list_(context: typer.Context, as_json: AsJson = False) -> None:
    """Show all with their end, where each is used and what is wrong; code 1 if one needs somebody."""
    rows = answered(context, CertificateList(), as_json=as_json)
    if not as_json:
        show.table([{**row, "says": _says(row)} for row in rows], _ROWS, nothing="There is no certificate.")
    if any(row["finding"] for row in rows):
        raise typer.Exit(show.FINDING)


def _says(row: Mapping[str, Any]) -> str:
    if row["trouble"]:
        return str(row["trouble"])
    if row["missing"]:
        return str(row["missing"])
    if row["finding"]:
        return f"ends soon: {row['do']}"
    if row["self_signed"]:
        return "self-signed"
    return f"for {', '.join(row['matched'])}" if row["matched"] else ""


@commands.command("show")
def show_(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A name in it, its file, or NAME.KIND of an ordered one.")],
    as_json: AsJson = False,
) -> None:
    """Say everything about a certificate; `spki` is what TLSA records (3 1 1) and pins say."""
    rows = answered(context, CertificateShow(name), as_json=as_json)
    if not as_json:
        for number, row in enumerate(rows):
            if number:
                print()
            said = {key: value for key, value in row.items() if value not in ("", [], None, 0.0) and key != "finding"}
            show.facts({**said, "chain": row["missing"] or "complete"} if row["serial"] and row["names"] else said)
    if any(row["finding"] for row in rows):
        raise typer.Exit(show.FINDING)


@commands.command("order")
def order(
    context: typer.Context,
    names: Names = None,
    staging: Annotated[
        str, typer.Option(metavar="URL", help="A rehearsal: order from this directory, and put nothing in place.")
    ] = "",
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Order certificates that are missing, or those named, from the configured authority; code 1 if one fails."""
    request = CertificateOrder(tuple(names or ()), staging, what_if)
    _told(answered(context, request, as_json=as_json, patience=PATIENCE), as_json=as_json)


@commands.command("renew")
def renew(context: typer.Context, names: Names = None, what_if: WhatIf = False, as_json: AsJson = False) -> None:
    """Order again what is due, or those named although they are not due; code 1 if one fails."""
    request = CertificateRenew(tuple(names or ()), what_if)
    _told(answered(context, request, as_json=as_json, patience=PATIENCE), as_json=as_json)


def _told(result: Mapping[str, Any], *, as_json: bool) -> None:
    rows = result["certificates"]
    if not as_json:
        for row in rows:
            show.say(_sentence(row, result))
        if not rows:
            show.say("Nothing is missing or due; name one to order it all the same.")
    if any(row["because"] for row in rows):
        raise typer.Exit(show.FINDING)


def _sentence(row: Mapping[str, Any], result: Mapping[str, Any]) -> str:
    name, names = row["certificate"], ", ".join(row["names"])
    if result["what_if"]:
        return f"{name} would be ordered for {names}; nothing was done."
    if row["because"]:
        return f"{name} was not ordered: {row['because']}"
    if result["staging"]:
        return f"{name} could be ordered from {result['staging']}; nothing was put in place."
    return f"{name} is in place until {show.moment('expires', row['expires'])}; listeners show it within seconds."
