"""The operator at a terminal: every command, and what it exits with (0 ok, 1 finding, 2 misuse, 3 not reachable)."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

import lockgate
from lockgate.cli import asked, checkup, queue, recipients, show, trace
from lockgate.cli.asked import AsJson, Given, Switchboard, WhatIf, answered, given
from lockgate.cli.init import init
from lockgate.cli.show import Column
from lockgate.flow.asking import Reload, StatusAsk

commands = typer.Typer(
    no_args_is_help=True, add_completion=True, rich_markup_mode=None, pretty_exceptions_enable=False,
    help="Lockgate: receives, judges, routes and explains every message.",
)  # fmt: skip
config_commands = typer.Typer(no_args_is_help=True, help="The operator's file, lockgate.toml.")
commands.add_typer(queue.commands, name="queue")
commands.add_typer(trace.commands, name="trace")
commands.add_typer(recipients.commands, name="recipient")
commands.add_typer(recipients.edge_commands, name="edge-blocking")
commands.add_typer(config_commands, name="config")
commands.command()(init)
commands.command()(checkup.preflight)
commands.command()(checkup.doctor)


def main(board: Switchboard, arguments: list[str] | None = None) -> None:
    """Run one command and exit with its code."""
    commands(args=arguments, obj=board, prog_name="lockgate")


def _version(wanted: bool) -> None:
    if wanted:
        show.say(f"lockgate {lockgate.__version__}")
        raise typer.Exit


@commands.callback()
def _before(
    context: typer.Context,
    config: Annotated[
        Path | None, typer.Option(envvar="LOCKGATE_CONFIG", help="The operator's file (default: ./lockgate.toml).")
    ] = None,
    control: Annotated[Path | None, typer.Option(help="Control socket, when it is not the one of the file.")] = None,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    board = context.obj
    if not isinstance(board, Switchboard):
        raise RuntimeError("the command line was started without its switchboard")
    context.obj = Given(board, config, control)


@commands.command()
def serve(context: typer.Context) -> None:
    """Run the service until it is told to stop (SIGTERM, Ctrl-C)."""
    options = given(context)
    raise typer.Exit(options.board.serve(asked.config_path(options)))


@commands.command()
def check(
    context: typer.Context,
    folder: Annotated[Path | None, typer.Argument(help="Folder with policy documents; default: the file's.")] = None,
    hostname: Annotated[str, typer.Option(help="Our name, when there is no operator's file.")] = "",
    as_json: AsJson = False,
) -> None:
    """Check the policy documents; prints every mistake as file:line: path: message. The service is not needed."""
    from lockgate.flow.desk.section import problem_row
    from lockgate.policy.compile import compile_policy
    from lockgate.policy.documents import Invalid

    options = given(context)
    if folder is None or not hostname:
        if folder is None or options.config is not None:
            found = asked.places(options)
            folder, hostname = folder or found.policy_directory, hostname or found.hostname
        else:
            hostname = "localhost.localdomain"
    try:
        policy = compile_policy(options.board.read_documents(folder), hostname=hostname, revision=0)
    except Invalid as trouble:
        if as_json:
            show.as_json({"problems": [problem_row(problem) for problem in trouble.problems]})
        else:
            asked.problems(trouble.problems)
        raise typer.Exit(show.FINDING) from None
    if as_json:
        show.as_json({"problems": [], "digest": policy.digest, "organisations": sorted(policy.organisations)})
    else:
        show.say(f"The documents in {folder} are sound (digest {policy.digest[:16]}).")


@config_commands.command("check")
def config_check(context: typer.Context, as_json: AsJson = False) -> None:
    """Check the operator's file and that what it names is there; prints every mistake with file and line."""
    from lockgate.flow.desk.section import problem_row
    from lockgate.policy.documents import Invalid

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


@commands.command()
def reload(context: typer.Context, what_if: WhatIf = False, as_json: AsJson = False) -> None:
    """Read the policy documents again and put them in force, all or nothing."""
    result = answered(context, Reload(what_if=what_if), as_json=as_json)
    if not as_json:
        show.say("The documents are sound; nothing was changed." if what_if else "The documents are in force.")
        show.facts({name: value for name, value in result.items() if name != "what_if"})


@commands.command()
def status(context: typer.Context, alarms: int = 10, as_json: AsJson = False) -> None:
    """Say how the service is, where it listens, and which alarms there were."""
    result = answered(context, StatusAsk(alarms), as_json=as_json)
    if as_json:
        return
    told = result.pop("alarms", [])
    show.facts({name.replace("_", " "): value for name, value in result.items()})
    if told:
        print()
        rows = [_alarm(row) for row in told]
        show.table(rows, (Column("time", "ALARM AT"), Column("happening", "WHAT"), Column("details", "DETAILS")))


def _alarm(row: dict[str, object]) -> dict[str, object]:
    details = {name: value for name, value in row.items() if name not in {"time", "happening", "alarm", "origin"}}
    return {"time": row.get("time"), "happening": row.get("happening"), "details": details}


@commands.command()
def demo(
    context: typer.Context,
    folder: Annotated[Path, typer.Option(help="Where the demonstration keeps its files (made anew).")] = Path("run"),
    once: Annotated[bool, typer.Option("--once", help="Stop afterwards; code 1 on a surprise.")] = False,
    as_json: AsJson = False,
) -> None:
    """Start a demonstration organisation on free ports, send real mail through it, and show what became of each."""
    from lockgate.cli.demo import run

    given(context)
    raise typer.Exit(run(folder, once=once, as_json=as_json, interpreter=sys.executable))
