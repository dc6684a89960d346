"""`lockgate preflight` and `lockgate doctor`: what passes, what warns, what blocks, and the line that mends each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import msgspec
import typer

from lockgate.cli import asked, show
from lockgate.cli.asked import AsJson, given
from lockgate.flow.checkup import Found, Level, worst

Quiet = Annotated[bool, typer.Option("--quiet", help="Only what warns or blocks.")]

_MARKS = {Level.PASS: "pass ", Level.WARN: "WARN ", Level.BLOCK: "BLOCK"}
_COLOURS = {Level.PASS: "green", Level.WARN: "yellow", Level.BLOCK: "red"}


def preflight(context: typer.Context, quiet: Quiet = False, as_json: AsJson = False) -> None:
    """Look whether mail can flow: names, ports, certificates, domains, next hops. Code 1 if something blocks."""
    options = given(context)
    _tell(options.board.preflight(asked.config_path(options)), quiet=quiet, as_json=as_json)


def doctor(context: typer.Context, quiet: Quiet = False, as_json: AsJson = False) -> None:
    """The same of the running service, with what it complains of. Code 1 if something blocks."""
    options = given(context)
    _tell(options.board.doctor(asked.config_path(options)), quiet=quiet, as_json=as_json)


def _tell(found: Sequence[Found], *, quiet: bool, as_json: bool) -> None:
    if as_json:
        show.as_json({"worst": worst(found), "found": [msgspec.to_builtins(one) for one in found]})
    else:
        for one in found:
            if not (quiet and one.level is Level.PASS):
                _line(one)
        counts = {level: sum(one.level is level for one in found) for level in Level}
        print()
        show.say(f"{counts[Level.PASS]} pass, {counts[Level.WARN]} warn, {counts[Level.BLOCK]} block.")
    if worst(found) is Level.BLOCK:
        raise typer.Exit(show.FINDING)


def _line(one: Found) -> None:
    typer.secho(_MARKS[one.level], fg=_COLOURS[one.level], nl=False, bold=one.level is Level.BLOCK)
    show.say(f" {one.subject}: {one.what}")
    for line in one.mend.splitlines():
        show.say(f"          {line}")
