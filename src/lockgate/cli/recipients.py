"""Recipients at the terminal: import the directory, and ask who has an address."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lockgate.cli import show
from lockgate.cli.asked import AsJson, WhatIf, answered
from lockgate.flow.asking import RecipientFind, RecipientImport

commands = typer.Typer(no_args_is_help=True, help="The directory: who may receive mail here.")

Organisation = Annotated[str, typer.Option(help="Which organisation; not needed when there is only one.")]


@commands.command("import")
def import_(
    context: typer.Context,
    file: Annotated[str, typer.Argument(help="CSV or TOML file; - reads CSV from standard input.")],
    organisation: Organisation = "",
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Put the recipients of a file in the place of all the organisation has.

    CSV columns: address, kind (mailbox, mail_user, mail_contact, distribution_group; default mail_user), aliases
    (several: separated by blanks or semicolons), external_address, and directory attributes such as display_name,
    city or custom_attribute1. Only address is needed. In TOML the same names stand under [[recipient]].
    """
    form = "toml" if file.lower().endswith(".toml") else "csv"
    try:
        text = sys.stdin.read() if file == "-" else Path(file).read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as trouble:
        show.complain(f"{file} cannot be read: {trouble}")
        raise typer.Exit(show.MISUSE) from None
    name = "standard input" if file == "-" else file
    request = RecipientImport(text, form, name, organisation, what_if=what_if)
    result = answered(context, request, as_json=as_json)
    if as_json:
        return
    counts = f"{result['recipients']} recipients with {result['addresses']} addresses"
    if what_if:
        show.say(f"{counts} would become the directory of {result['organisation']}; nothing was changed.")
    else:
        show.say(f"{counts} are now the directory of {result['organisation']} (revision {result['revision']}).")


@commands.command("find")
def find(
    context: typer.Context,
    address: Annotated[str, typer.Argument(help="Any address of the recipient.")],
    organisation: Organisation = "",
    as_json: AsJson = False,
) -> None:
    """Say who has an address, as the edge would find it; code 1 if nobody has."""
    found = answered(context, RecipientFind(address, organisation), as_json=as_json)
    if not as_json:
        attributes = found.pop("attributes", {})
        show.facts({**found, **attributes})
