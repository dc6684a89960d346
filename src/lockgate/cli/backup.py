"""Backup and restore at the terminal."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lockgate.cli import show
from lockgate.cli.asked import AsJson, CannotDo, WhatIf, answered, config_path, given, problems
from lockgate.flow.asking import BackupMake
from lockgate.policy.problems import Invalid

PATIENCE = 24 * 3600.0
"""Seconds until the answer to a backup is given up; a big mail store takes its time."""

File = Annotated[Path | None, typer.Argument(help="New file, or a folder; default: backups in the state directory.")]


def backup(
    context: typer.Context,
    file: File = None,
    keys: Annotated[bool, typer.Option(help="Private keys and secrets from outside the state directory too.")] = True,
    mailboxes: Annotated[bool, typer.Option(help="The Maildirs of this machine too.")] = True,
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Write one consistent backup of the running service: queue, trace, audit, recipients, policy, mailboxes, keys."""
    request = BackupMake(str(file.absolute()) if file else "", keys, what_if, mailboxes)
    made = answered(context, request, as_json=as_json, patience=PATIENCE)
    if as_json:
        return
    if what_if:
        show.say(f"A backup would be written to {made['file']}; nothing was done.")
        show.facts({"from outside": made["outside"], "mailboxes": made.get("mailboxes", "none are kept here")})
        return
    show.say(f"The backup is in {made['file']} ({made['size']} octets).")
    told = ("made", "messages", "tasks", "bodies", "mailboxes", "letters", "damaged")
    show.facts({name: made.get(name) for name in told})
    for path in made.get("unreadable", ()):
        show.complain(f"{path} could not be read; it is not in the backup.")


def restore(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A file that `lockgate backup` wrote.")],
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Put a backup into an empty state directory; the service must not run. Everything is held afterwards.

    Documents and the files that the operator's file names are put in their places if nothing is there. If the file
    named by --config does not exist, the operator's file of the backup becomes it.
    """
    options = given(context)
    path = options.config or config_path(options)
    if options.board.restore is None:
        raise RuntimeError("the command line was started without its restore")
    try:
        told = options.board.restore(file, path, what_if)
    except Invalid as trouble:
        problems(trouble.problems)
        raise typer.Exit(show.FINDING) from None
    except CannotDo as trouble:
        show.complain(f"Nothing was restored: {trouble}")
        raise typer.Exit(show.FINDING) from None
    except OSError as trouble:
        show.complain(f"Nothing was restored: {trouble}")
        raise typer.Exit(show.MISUSE) from None
    if as_json:
        show.as_json(told)
    else:
        _told(told, what_if=what_if)


def _told(told: dict[str, Any], *, what_if: bool) -> None:
    left = told.pop("left", {})
    show.say("The backup is whole and could be restored; nothing was done." if what_if else "The backup is restored.")
    show.facts({name.replace("_", " "): value for name, value in told.items()})
    for original, where in left.items():
        show.say(f"{original} is in {where}; put it where it belongs.")
    if not what_if:
        show.say(f"Nothing is sent before you release it: everything that left between {told['made']} and the loss")
        show.say("would be sent a second time. Start the service, then `lockgate queue release --restored --what-if`.")
