"""`lockgate rule`: mail flow rules listed, written, switched on and off, moved, put in force, and what they hit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from lockgate.cli import nouns, rule_test, show
from lockgate.cli.asked import AsJson, answered
from lockgate.cli.objects import Name, Organisation, writes
from lockgate.cli.show import Column
from lockgate.flow.asking import Assignment, ObjectWrite, RuleStats

commands = nouns.RULES

_TABLES = ("mail_flow_rule",)


def _switch(verb: str, key: str, value: str, help_: str) -> None:
    """A command that gives one property of a rule one value."""

    def switch(name: Name, organisation: Organisation = "") -> ObjectWrite:
        return ObjectWrite("set", _TABLES, name, organisation, (Assignment(key, "=", value),))

    commands.command(verb, help=help_)(writes(switch))


_switch("enable", "enabled", "true", "Let a mail flow rule act.")
_switch("disable", "enabled", "false", "Let a mail flow rule act no more; it stays where it is.")
_switch(
    "promote", "mode", "enforce",
    "Let a rule that was on audit act: mode = enforce, in one revision. `rule stats` shows what it would have hit.",
)  # fmt: skip


@commands.command()
@writes
def move(
    name: Name,
    to: Annotated[int, typer.Option("--to", min=0, help="Priority it shall have: 0 is first.")],
    organisation: Organisation = "",
) -> ObjectWrite:
    """Put a rule at this priority; those that stand there and behind are shifted.

    All rules of the organisation have their priorities written then, 0, 1, 2 and so on, in one revision.
    """
    return ObjectWrite("set", _TABLES, name, organisation, (Assignment("priority", "=", str(to)),))


@commands.command()
def stats(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="Only this rule, with the last messages it hit.")] = "",
    organisation: Annotated[str, typer.Option(help="Only rules of this organisation.")] = "",
    as_json: AsJson = False,
) -> None:
    """Say how often each rule was hit by live mail, when last, and what it costs; a second old at most."""
    rows = answered(context, RuleStats(name, organisation), as_json=as_json)
    if as_json:
        return
    show.table([_flat(row) for row in rows], _STATS, nothing="There is no mail flow rule.")
    for row in rows if name else ():
        _samples(row)


_STATS = (
    Column("organisation", "ORGANISATION"),
    Column("name", "NAME"),
    Column("state", "STATE"),
    Column("mode", "MODE"),
    Column("enforced", "MESSAGES (RCPT) ACTED ON"),
    Column("audit", "ON AUDIT"),
    Column("unknown", "UNKNOWN", right=True),
    Column("last_hit", "LAST HIT"),
    Column("microseconds", "MICROSECONDS", right=True),
)


def _flat(row: Mapping[str, Any]) -> dict[str, Any]:
    counts = {mode: f"{row[mode]['messages']} ({row[mode]['recipients']})" for mode in ("enforced", "audit")}
    return {**row, **counts, "microseconds": row["microseconds"] if row["timed"] else ""}


def _samples(row: Mapping[str, Any]) -> None:
    samples: Sequence[Mapping[str, Any]] = row["samples"]
    if samples:
        print()
        show.say(f"Last messages of rule '{row['name']}'; `lockgate explain ID` tells why:")
    for one in samples:
        show.say(f"  {one['at']}  {one['id']}")


commands.command("test")(rule_test.test)
