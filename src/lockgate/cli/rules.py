"""`lockgate rule`: mail flow rules listed, written, switched on and off, and moved before one another."""

from __future__ import annotations

from typing import Annotated

import typer

from lockgate.cli import nouns, objects, rule_test
from lockgate.cli.asked import AsJson, WhatIf
from lockgate.cli.changes import Expect, Reason
from lockgate.cli.objects import Name, Organisation
from lockgate.flow.asking import Assignment, ObjectWrite

commands = nouns.RULES

_TABLES = ("mail_flow_rule",)


def _switch(verb: str, value: str, help_: str) -> None:
    def switch(
        context: typer.Context,
        name: Name,
        organisation: Organisation = "",
        reason: Reason = "",
        expect: Expect = None,
        what_if: WhatIf = False,
        as_json: AsJson = False,
    ) -> None:
        request = ObjectWrite("set", _TABLES, name, organisation, (Assignment("enabled", "=", value),))
        objects.wrote(context, objects.because(request, reason, expect, what_if=what_if), as_json=as_json)

    commands.command(verb, help=help_)(switch)


_switch("enable", "true", "Let a mail flow rule act.")
_switch("disable", "false", "Let a mail flow rule act no more; it stays where it is.")


@commands.command()
def move(
    context: typer.Context,
    name: Name,
    to: Annotated[int, typer.Option("--to", min=0, help="Priority it shall have: 0 is first.")],
    organisation: Organisation = "",
    reason: Reason = "",
    expect: Expect = None,
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Put a rule at this priority; those that stand there and behind are shifted.

    All rules of the organisation have their priorities written then, 0, 1, 2 and so on, in one revision.
    """
    request = ObjectWrite("set", _TABLES, name, organisation, (Assignment("priority", "=", str(to)),))
    objects.wrote(context, objects.because(request, reason, expect, what_if=what_if), as_json=as_json)


commands.command("test")(rule_test.test)
