"""The operator at a terminal: every command, and what it exits with (0 ok, 1 finding, 2 misuse, 3 not reachable)."""

from __future__ import annotations

import copy
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.main import get_command_name
from typer.models import CommandInfo, TyperInfo

import lockgate
from lockgate.cli import asked, elsewhere, show
from lockgate.cli.asked import AsJson, Given, Switchboard, WhatIf, answered, given
from lockgate.cli.show import Column
from lockgate.flow.asking import Reload, StatusAsk

_WITH_VALUE = ("--config", "--control")
"""The options before the command that a value follows."""
_COMPLETION = "_LOCKGATE_COMPLETE"
"""By this a shell asks which commands there are."""

commands = typer.Typer(
    no_args_is_help=True, add_completion=True, rich_markup_mode=None, pretty_exceptions_enable=False,
    help="Lockgate: receives, judges, routes and explains every message.",
)  # fmt: skip


def main(board: Switchboard, arguments: list[str] | None = None) -> None:
    """Run one command and exit with its code."""
    words = sys.argv[1:] if arguments is None else arguments
    meant(words)(args=arguments, obj=board, prog_name="lockgate")


def meant(words: list[str]) -> typer.Typer:
    """The command that is named, or all of them where none is, or none of ours."""
    if _COMPLETION in os.environ:
        return everything()
    name, behind = _named_in(words)
    one = _with([here for here in commands.registered_commands if _name_of(here) == name], [name])
    for group in one.registered_groups:
        _only(group, behind)
    return one if one.registered_groups or one.registered_commands else everything()


def _only(group: TyperInfo, name: str) -> None:
    """Leave of a group's commands the one of this name, if there is one."""
    whole = group.typer_instance
    if whole is not None and (meant := [one for one in whole.registered_commands if _name_of(one) == name]):
        group.typer_instance = copy.copy(whole)
        group.typer_instance.registered_groups, group.typer_instance.registered_commands = [], meant


def everything() -> typer.Typer:
    """All commands."""
    return _with(commands.registered_commands, [*elsewhere.GROUPS, *elsewhere.ALONE])


def _with(here: Iterable[CommandInfo], names: Iterable[str]) -> typer.Typer:
    """These of this file, and of these names those that are written elsewhere."""
    these = copy.copy(commands)
    these.registered_groups, these.registered_commands = [], [*here]
    for name in names:
        if name in elsewhere.GROUPS:
            these.add_typer(elsewhere.group(name), name=name)
        elif name in elsewhere.ALONE:
            these.command(name)(elsewhere.command(name))
    return these


def _named_in(words: list[str]) -> tuple[str, str]:
    """The first word that is neither an option nor the value of one, and the word behind it; "" where there is none."""
    rest = iter(words)
    for word in rest:
        if word in _WITH_VALUE:
            next(rest, "")
        elif not word.startswith("-"):
            return word, next(rest, "")
    return "", ""


def _name_of(one: CommandInfo) -> str:
    return one.name or (get_command_name(one.callback.__name__) if one.callback is not None else "")


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
    offline: Annotated[bool, typer.Option("--offline", help="Ask nobody: neither DNS nor files.")] = False,
    as_json: AsJson = False,
) -> None:
    """Check the policy documents; prints every mistake as file:line: path: message. The service is not needed.

    What is sound but hardly meant is a warning. Where there is an operator's file, DNS and the files that
    connectors name are looked at as well.
    """
    from lockgate.policy.compile import understand
    from lockgate.policy.problems import Invalid

    options = given(context)
    kept = False
    placed = folder is None or options.config is not None
    if folder is None or options.config is not None:
        found = asked.places(options)
        folder, hostname, kept = folder or found.policy_directory, hostname or found.hostname, found.keeps_mailboxes
    hostname = hostname or "localhost.localdomain"
    try:
        documents = options.board.read_documents(folder)
        understood = understand(documents, hostname=hostname, revision=0, keeps_mailboxes=kept)
    except Invalid as trouble:
        asked.mistakes(trouble.problems, as_json=as_json)
        raise typer.Exit(show.FINDING) from None
    policy, warnings = understood.policy, [one._asdict() for one in understood.policy.warnings]
    if placed and not offline and options.board.around is not None:
        warnings += [one._asdict() for one in options.board.around(asked.config_path(options), understood)]
    if as_json:
        organisations = sorted(policy.organisations)
        show.as_json({"problems": [], "warnings": warnings, "digest": policy.digest, "organisations": organisations})
    else:
        for one in warnings:
            asked.advice(one)
        show.say(f"The documents in {folder} are sound (digest {policy.digest[:16]}).")


@commands.command()
def reload(context: typer.Context, what_if: WhatIf = False, as_json: AsJson = False) -> None:
    """Read the policy documents again and put them in force, all or nothing."""
    result = answered(context, Reload(what_if=what_if), as_json=as_json)
    if not as_json:
        show.say("The documents are sound; nothing was changed." if what_if else "The documents are in force.")
        show.facts({name: value for name, value in result.items() if name != "what_if"})


@commands.command()
def status(context: typer.Context, alarms: int = 10, as_json: AsJson = False) -> None:
    """Say how the service is, where it listens, and which alarms there were; code 1 if it is not ready."""
    result = answered(context, StatusAsk(alarms), as_json=as_json)
    ready = result.get("ready", True)
    if not as_json:
        _status(result)
    if not ready:
        raise typer.Exit(show.FINDING)


def _status(result: dict[str, Any]) -> None:
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
