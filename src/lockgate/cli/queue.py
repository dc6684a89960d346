"""The queue at the terminal: what waits, for whom, why, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from lockgate.cli import show
from lockgate.cli.asked import AsJson, WhatIf, answered, answered_for_each
from lockgate.cli.show import Column
from lockgate.flow.asking import QueueEdit, QueueList

commands = typer.Typer(no_args_is_help=True, help="Mail that waits: lanes (next hops) and the messages in them.")

LANES = (
    Column("lane", "LANE"),
    Column("tasks", "TASKS", right=True),
    Column("held", "HELD", right=True),
    Column("with_workers", "UNDER WAY", right=True),
    Column("oldest", "OLDEST"),
    Column("fails", "FAILURES", right=True),
    Column("next_attempt", "NEXT TRY"),
    Column("why", "LAST REPLY"),
)
TASKS = (
    Column("id", "ID"),
    Column("lane", "LANE"),
    Column("sender", "SENDER"),
    Column("recipients", "RECIPIENTS"),
    Column("attempts", "TRIES", right=True),
    Column("due", "NEXT TRY"),
    Column("why", "LAST REPLY"),
)

RESTORED = "held by restore of the backup"
"""How the reason begins for which a restore holds mail."""

Id = Annotated[str, typer.Argument(metavar="ID", help="Id of the message.")]
Ids = Annotated[list[str] | None, typer.Argument(metavar="[ID]...", help="Ids of messages.")]
Lane = Annotated[str, typer.Option(help="Lane, as `queue list` prints it.")]
Sender = Annotated[str, typer.Option(help="Envelope sender; <> for reports.")]
Recipient = Annotated[str, typer.Option(help="Envelope recipient.")]


@commands.command("list")
def list_(
    context: typer.Context, lane: Lane = "", sender: Sender = "", recipient: Recipient = "", as_json: AsJson = False
) -> None:
    """Show the lanes; with --lane, --sender or --recipient the messages that match."""
    filters = _filters(lane=lane, sender=sender, recipient=recipient)
    rows = answered(context, QueueList(filters), as_json=as_json)
    if not as_json:
        columns = TASKS if filters else LANES
        show.table(rows, columns, nothing="Nothing waits." if not filters else "Nothing that matches waits.")


@commands.command("show")
def show_(context: typer.Context, message: Id, as_json: AsJson = False) -> None:
    """Show one waiting message: each of its tasks with recipients, tries and the last reply."""
    rows = answered(context, QueueList({"id": message}), as_json=as_json)
    if not rows:
        show.complain(f"No message {message} waits; `lockgate trace show {message}` tells what became of it.")
        raise typer.Exit(show.FINDING)
    if as_json:
        return
    for number, row in enumerate(rows):
        if number:
            print()
        show.facts({name: show.moment(name, value) for name, value in row.items()})


def _filters(**given: str) -> dict[str, str]:
    return {name: value for name, value in given.items() if value}


def _edit(
    context: typer.Context, action: str, done: str, ids: list[str] | None, filters: dict[str, str], what_if: bool,
    as_json: bool,
) -> None:  # fmt: skip
    if ids and filters:
        show.complain("Give ids, or --lane, --sender, --recipient (and --restored), not both.")
        raise typer.Exit(show.MISUSE)

    def order(message: str) -> QueueEdit:
        return QueueEdit(action, {"id": message} if message else filters, what_if=what_if)

    def tell(result: Mapping[str, Any]) -> None:
        count = show.counted(result["count"], "task")
        if not what_if:
            show.say(f"{count} {done}.")
            return
        show.table(result["tasks"], TASKS)
        show.say(f"{count} would be {done}; nothing was changed.")
        if RESTORED in (filters.get("held"), *(str(task.get("held"))[: len(RESTORED)] for task in result["tasks"])):
            show.say("What was delivered after that backup was made would be delivered a second time.")

    answered_for_each(context, ids, order, tell, as_json=as_json)


@commands.command()
def retry(
    context: typer.Context, ids: Ids = None, lane: Lane = "", sender: Sender = "", recipient: Recipient = "",
    what_if: WhatIf = False, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Try again now."""
    filters = _filters(lane=lane, sender=sender, recipient=recipient)
    _edit(context, "retry", "made due now", ids, filters, what_if, as_json)


@commands.command()
def hold(
    context: typer.Context, ids: Ids = None, lane: Lane = "", sender: Sender = "", recipient: Recipient = "",
    what_if: WhatIf = False, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Stop trying until somebody releases it."""
    filters = _filters(lane=lane, sender=sender, recipient=recipient)
    _edit(context, "hold", "held", ids, filters, what_if, as_json)


@commands.command()
def release(
    context: typer.Context, ids: Ids = None, lane: Lane = "", sender: Sender = "", recipient: Recipient = "",
    restored: Annotated[bool, typer.Option("--restored", help="Everything that a restore has held.")] = False,
    what_if: WhatIf = False, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Let held mail go on."""
    filters = _filters(lane=lane, sender=sender, recipient=recipient, held=RESTORED if restored else "")
    _edit(context, "release", "released", ids, filters, what_if, as_json)


@commands.command()
def delete(
    context: typer.Context, ids: Ids = None, lane: Lane = "", sender: Sender = "", recipient: Recipient = "",
    what_if: WhatIf = False, as_json: AsJson = False,
) -> None:  # fmt: skip
    """Throw waiting mail away; nobody is told, the trace keeps who did it."""
    filters = _filters(lane=lane, sender=sender, recipient=recipient)
    _edit(context, "delete", "deleted", ids, filters, what_if, as_json)
