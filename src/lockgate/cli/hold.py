"""Held mail at the terminal: what is held, why, and what to do about it."""

from __future__ import annotations

import base64
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from lockgate.cli import show
from lockgate.cli.asked import AsJson, WhatIf, answered, answered_for_each
from lockgate.cli.show import Column
from lockgate.cli.trace import sentence
from lockgate.flow.asking import HoldBody, HoldEdit, HoldList, HoldShow

commands = typer.Typer(no_args_is_help=True, help="Mail that waits for a person, or for the judge.")

ROWS = (
    Column("held_at", "HELD SINCE"),
    Column("id", "ID"),
    Column("state", "STATE"),
    Column("sender_address", "SENDER"),
    Column("recipients", "RECIPIENTS"),
    Column("subject", "SUBJECT"),
    Column("why", "WHY"),
    Column("held_until", "DELETED AT"),
)
HEADERS = (Column("name", "FIELD"), Column("value", "VALUE"))

Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Ids of messages.")]
Sender = Annotated[str, typer.Option(help="Envelope sender; <> for reports.")]
Recipients = Annotated[list[str] | None, typer.Option(help="Only this recipient; may be given several times.")]
Organisation = Annotated[str, typer.Option(help="Only this organisation.")]
Why = Annotated[str, typer.Option(help="Text in the reason.")]
Since = Annotated[str, typer.Option(help="Received since: 2h, 3d, 2026-11-24 or 2026-11-24T08:00:00Z.")]
Until = Annotated[str, typer.Option(help="The same forms as --since.")]


def _filters(recipients: list[str] | None, **given: str) -> dict[str, str]:
    chosen = {"recipient": "\n".join(recipients or ()), **given}
    return {name: value for name, value in chosen.items() if value}


@commands.command("list")
def list_(
    context: typer.Context, sender: Sender = "", recipient: Recipients = None, organisation: Organisation = "",
    why: Why = "", since: Since = "", until: Until = "",
    state: Annotated[str, typer.Option(help="held, or pending (waits for the judge).")] = "",
    limit: Annotated[int, typer.Option(min=1, max=5000, help="Most rows, newest first.")] = 100,
    below: Annotated[int, typer.Option(min=0, help="Go on behind the row with this task number.")] = 0,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Show what is held and what waits to be judged, newest first; code 1 if there is nothing."""
    filters = _filters(
        recipient, sender=sender, organisation=organisation, why=why, since=since, until=until, state=state
    )
    rows = answered(context, HoldList(filters, limit, below), as_json=as_json)
    if not as_json:
        show.table(rows, ROWS, nothing="Nothing is held." if not filters else "Nothing that is held matches.")
    if not rows:
        raise typer.Exit(show.FINDING)


@commands.command("show")
def show_(
    context: typer.Context,
    message: Annotated[str, typer.Argument(metavar="ID", help="Id of the message.")],
    raw: Annotated[Path | None, typer.Option(help="Also write the whole message to this new file (audited).")] = None,
    as_json: AsJson = False,
) -> None:
    """Show one held message: recipients, reason, header fields and what was known of it; never its body."""
    found = answered(context, HoldShow(message), as_json=as_json)
    if not as_json:
        told(found)
    if raw is not None:
        size = _write(context, message, raw)
        show.complain(f"{size} octets in {raw}. Open it with care: it may be why the message is held.")


def told(found: Mapping[str, Any]) -> None:
    """One held message as blocks."""
    show.facts({"id": found["id"], **found.get("known", {}), "body": found.get("body", "")})
    for row in found["rows"]:
        print()
        show.facts({name: show.moment(name, value) for name, value in row.items() if name != "id"})
    if found["headers"]:
        print()
        show.table(found["headers"], HEADERS)
    if found.get("explanation"):
        print()
        for step in found["explanation"]:
            show.say(sentence(step))


def _write(context: typer.Context, message: str, path: Path) -> int:
    """The body, piece by piece, into a new file that only its owner may read."""
    start = 0
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
            while True:
                piece = answered(context, HoldBody(message, start), as_json=False)
                octets = base64.b64decode(piece["octets"])
                out.write(octets)
                start += len(octets)
                if start >= piece["size"] or not octets:
                    return start
    except OSError as trouble:
        show.complain(f"{path} cannot be written: {trouble.strerror or trouble}")
        raise typer.Exit(show.MISUSE) from None


def _edit(
    context: typer.Context, action: str, ids: list[str] | None, filters: dict[str, str], what_if: bool, as_json: bool
) -> None:
    others = sorted(set(filters) - {"recipient"})
    if ids and others:
        show.complain(f"Give ids (with --recipient for some of their recipients), or --{others[0]}, not both.")
        raise typer.Exit(show.MISUSE)

    def order(message: str) -> HoldEdit:
        return HoldEdit(action, {**filters, "id": message} if message else filters, what_if=what_if)

    def tell(result: Mapping[str, Any]) -> None:
        count = show.counted(result["count"], "held task")
        if what_if:
            show.table(result["held"], ROWS)
            show.say(f"{count} would be {action}d; nothing was changed.")
        else:
            show.say(f"{count} {action}d.")

    answered_for_each(context, ids, order, tell, as_json=as_json)


@commands.command()
def release(
    context: typer.Context, ids: Ids = None, sender: Sender = "", recipient: Recipients = None,
    organisation: Organisation = "", why: Why = "", since: Since = "", until: Until = "", what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Let held mail go on from where it stopped; with --recipient for these recipients only."""
    filters = _filters(recipient, sender=sender, organisation=organisation, why=why, since=since, until=until)
    _edit(context, "release", ids, filters, what_if, as_json)


@commands.command()
def delete(
    context: typer.Context, ids: Ids = None, sender: Sender = "", recipient: Recipients = None,
    organisation: Organisation = "", why: Why = "", since: Since = "", until: Until = "", what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:  # fmt: skip
    """Throw held mail away; nobody is told, the trace keeps who did it."""
    filters = _filters(recipient, sender=sender, organisation=organisation, why=why, since=since, until=until)
    _edit(context, "delete", ids, filters, what_if, as_json)
