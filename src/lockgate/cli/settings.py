"""Settings at the terminal: the operator's file checked, every value with its origin, and the manual of the policy."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

import typer

from lockgate.cli import asked, show
from lockgate.cli.asked import AsJson, answered, given
from lockgate.cli.objects import Organisation
from lockgate.cli.show import Column
from lockgate.flow.asking import PolicyOrigins

commands = typer.Typer(no_args_is_help=True, help="The operator's file, lockgate.toml, and what is in force.")


@commands.command("check")
def config_check(context: typer.Context, as_json: AsJson = False) -> None:
    """Check the operator's file and that what it names is there; prints every mistake with file and line."""
    from lockgate.flow.desk.section import problem_row
    from lockgate.policy.problems import Invalid

    options = given(context)
    path = asked.config_path(options)
    try:
        found = tuple(options.board.check_config(path))
    except Invalid as trouble:
        found = trouble.problems
    except (OSError, UnicodeDecodeError) as trouble:
        show.complain(f"{path} cannot be read: {trouble}")
        raise typer.Exit(show.MISUSE) from None
    if as_json:
        show.as_json({"problems": [problem_row(problem) for problem in found]})
    elif found:
        asked.problems(found)
    else:
        show.say(f"{path} is sound.")
    if found:
        raise typer.Exit(show.FINDING)


@commands.command("show")
def config_show(
    context: typer.Context,
    origin: Annotated[bool, typer.Option("--origin", help="Where each value comes from: file:line, default.")] = False,
    policy: Annotated[bool, typer.Option("--policy/--no-policy", help="With the policy objects in force.")] = True,
    written: Annotated[bool, typer.Option("--written", help="Only what is written somewhere, no defaults.")] = False,
    organisation: Organisation = "",
    as_json: AsJson = False,
) -> None:
    """Print every value of the operator's file, and of the policy objects in force."""
    from lockgate.policy.problems import Invalid

    options = given(context)
    path = asked.config_path(options)
    try:
        rows = list(options.board.settings(path))
    except Invalid as trouble:
        asked.mistakes(trouble.problems, as_json=as_json)
        raise typer.Exit(show.FINDING) from None
    except (OSError, UnicodeDecodeError) as trouble:
        show.complain(f"{path} cannot be read: {trouble}")
        raise typer.Exit(show.MISUSE) from None
    found: dict[str, Any] = {"file": str(path), "settings": _kept(rows, written=written)}
    if policy:
        told = answered(context, PolicyOrigins(organisation), as_json=False)
        found |= {"revision": told["revision"], "policy": _kept(told["values"], written=written)}
    if as_json:
        show.as_json(found)
        return
    last = (Column("origin", "ORIGIN"),) if origin else ()
    show.table(found["settings"], (Column("property", "SETTING"), Column("value", "VALUE"), *last))
    if policy:
        print()
        show.say(f"Policy revision {found['revision']}:")
        columns = (Column("object", "OBJECT"), Column("property", "PROPERTY"), Column("value", "VALUE"), *last)
        show.table([{**row, "object": _object(row)} for row in found["policy"]], columns, nothing="none")


def _kept(rows: Sequence[Any], *, written: bool) -> list[Any]:
    return [row for row in rows if not written or row["origin"] != "default"]


def _object(row: dict[str, Any]) -> str:
    return f"{row['table']} '{row['name']}'" + (f" of {row['organisation']}" if row["organisation"] else "")


def reference(
    subject: Annotated[
        str, typer.Argument(metavar="[policy|rules]", help="Every table, or mail flow rules alone.")
    ] = "policy",
) -> None:
    """Print the manual of policy documents, as the program knows them: every table and property, or rules alone."""
    from lockgate.policy.reference import PAGES

    page = PAGES.get(subject)
    if page is None:
        show.complain(f"There is no page about '{subject}'; there are {', '.join(PAGES)}.")
        raise typer.Exit(show.MISUSE)
    print(page(), end="")
