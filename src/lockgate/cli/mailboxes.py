"""Hosted mailboxes at the terminal: which there are, and what lies in them."""

from __future__ import annotations

from typing import Annotated

import typer

from lockgate.cli import show
from lockgate.cli.asked import AsJson, answered
from lockgate.cli.mailbox_moves import move
from lockgate.cli.show import Column
from lockgate.flow.asking import MailboxList, MailboxShow

commands = typer.Typer(no_args_is_help=True, help="The mailboxes that lie on this machine.")
commands.command("move")(move)

Organisation = Annotated[str, typer.Option(help="Which organisation.")]

_COLUMNS = (
    Column("address", "MAILBOX"),
    Column("organisation", "ORGANISATION"),
    Column("messages", "MESSAGES", right=True),
    Column("unseen", "UNSEEN", right=True),
    Column("size", "OCTETS", right=True),
    Column("last_delivery", "LAST DELIVERY"),
)


@commands.command("list")
def list_(
    context: typer.Context,
    organisation: Organisation = "",
    limit: Annotated[int, typer.Option(help="How many at most.")] = 1000,
    as_json: AsJson = False,
) -> None:
    """List the mailboxes that mail was delivered to; those at an LMTP store are listed by the store."""
    rows = answered(context, MailboxList(organisation, limit), as_json=as_json)
    if not as_json:
        show.table(rows, _COLUMNS, nothing="no mailboxes yet")


@commands.command("show")
def show_(
    context: typer.Context,
    address: Annotated[str, typer.Argument(help="The primary address.")],
    organisation: Organisation = "",
    as_json: AsJson = False,
) -> None:
    """Say what lies in one mailbox, and where; code 1 if nothing was ever delivered there."""
    found = answered(context, MailboxShow(address, organisation), as_json=as_json)
    if not as_json:
        show.facts({name.replace("_", " "): show.moment(name, value) for name, value in found.items()})
