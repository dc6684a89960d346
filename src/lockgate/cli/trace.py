"""The trace at the terminal: what became of each message and recipient, refusals included, and why."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

import typer

from lockgate.cli import show
from lockgate.cli.asked import AsJson, answered
from lockgate.cli.show import Column
from lockgate.cli.trace_export import export, follow
from lockgate.cli.trace_filters import searching
from lockgate.flow.asking import TraceFind, TraceShow

commands = typer.Typer(no_args_is_help=True, help="What became of every message, and why.")

ROWS = (
    Column("received", "RECEIVED"),
    Column("id", "ID"),
    Column("sender_address", "SENDER"),
    Column("recipient_address", "RECIPIENT"),
    Column("status", "STATUS"),
    Column("from_ip", "FROM"),
    Column("to_ip", "TO"),
    Column("reply", "REPLY"),
)
EVENTS = (
    Column("at", "TIME"),
    Column("kind", "EVENT"),
    Column("detail", "DETAIL"),
    Column("reply", "REPLY"),
    Column("host", "HOST"),
    Column("tls", "TLS"),
)


commands.command("export")(export)
commands.command("follow")(follow)


@commands.command("find")
@searching
def find(
    context: typer.Context,
    filters: dict[str, str],
    limit: Annotated[int, typer.Option(min=1, max=5000, help="Most rows, newest first.")] = 100,
    after: Annotated[str, typer.Option(help="Go on behind the row with this cursor.")] = "",
    as_json: AsJson = False,
) -> None:
    """Find messages and refusals, newest first; code 1 if there are none."""
    rows = answered(context, TraceFind(filters, limit, after), as_json=as_json)
    if not as_json:
        show.table(rows, ROWS, nothing="Nothing in the trace matches.")
        if len(rows) == limit and rows[-1].get("cursor"):
            show.complain(f"There may be more: go on with --after {rows[-1]['cursor']}")
    if not rows:
        raise typer.Exit(show.FINDING)


@commands.command("show")
def show_(
    context: typer.Context,
    message: Annotated[str, typer.Argument(metavar="ID", help="Id of the message or of the refusal.")],
    as_json: AsJson = False,
) -> None:
    """Tell the whole story of one message: every event and every reason."""
    story = answered(context, TraceShow(message), as_json=as_json)
    if not as_json:
        told(story)


def told(story: Mapping[str, Any]) -> None:
    """One message as blocks: what is known, a block with its events for each recipient, and the explanation."""
    show.facts({"id": story.get("id"), "connection": story.get("connection"), **story.get("known", {})})
    for row in story.get("rows", ()):
        print()
        show.facts({name: show.moment(name, value) for name, value in row.items() if name not in {"events", "id"}})
        if row.get("events"):
            print()
            show.table(row["events"], EVENTS)
    for reason in story.get("reasons", ()):
        print()
        show.say(f"Refused, because {reason}.")
    if story.get("explanation"):
        print()
        for step in story["explanation"]:
            show.say(sentence(step))


def sentence(step: Mapping[str, Any]) -> str:
    """One step of the explanation: `+ reach  ann@example.org: connector HQ: it is ours -> deliver`."""
    text = f"{step.get('sign', ' ')} {step.get('stage', ''):<10}"
    for part in (step.get("recipient"), step.get("subject"), step.get("because")):
        if part:
            text += f" {part}:"
    text = text.removesuffix(":")
    return f"{text} -> {step['effect']}" if step.get("effect") else text
