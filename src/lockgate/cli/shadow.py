"""`lockgate shadow`: a draft policy judged beside the live one, without effect, until it is promoted or stopped."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated

import typer

from lockgate.cli import changes, replays, show
from lockgate.cli.asked import AsJson, WhatIf, answered
from lockgate.cli.changes import Expect, Reason
from lockgate.cli.explain import documents_of
from lockgate.cli.policy import Discard
from lockgate.flow.asking import ShadowPromote, ShadowShow, ShadowStart, ShadowStop

commands = typer.Typer(no_args_is_help=True, help="A draft policy judged beside the live one, without effect.")

_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*(%?)")


@commands.command()
def start(
    context: typer.Context,
    policy: Annotated[Path, typer.Option("--policy", metavar="DIR", help="Folder with the draft's documents.")],
    share: Annotated[str, typer.Option(help="For how much of the mail: 10%, 0.1.")] = "100%",
    note: Annotated[str, typer.Option(help="What it is for; the reason should it be promoted.")] = "",
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Judge mail from now on by this draft as well; nothing becomes of it but figures."""
    files = documents_of(context, policy) or {}
    result = answered(context, ShadowStart(files, _share_of(share), note, what_if), as_json=as_json)
    if not as_json:
        changes.differences(result["differences"])
        changes.warnings(result["warnings"])
        where = f"in the shadow for {_percent(result['share'])} of the mail"
        began = f"The draft is {where}; `lockgate shadow show` tells what it would change."
        show.say(f"The draft would be {where}; nothing was begun." if what_if else began)


def _share_of(text: str) -> float:
    found = _SHARE.fullmatch(text.strip())
    if found is None:
        show.complain(f"'{text}' is no share; write 10% or 0.1.")
        raise typer.Exit(show.MISUSE)
    return float(found[1]) / 100 if found[2] else float(found[1])


def _percent(share: float) -> str:
    return f"{share * 100:g} %"


@commands.command("show")
def show_(context: typer.Context, as_json: AsJson = False) -> None:
    """Tell what would have gone otherwise under the draft. Code 1 if anything would."""
    result = answered(context, ShadowShow(), as_json=as_json)
    if not as_json:
        about = {"since": show.moment("since", result["since"]), "share": _percent(result["share"]),
                 "by": result["by"], "note": result["note"], "draft": result["digest"][:16],
                 "began beside revision": result["base"], "in force now": result["in_force"],
                 "judged until": show.moment("at", result["at"]), "outside the share": result["passed"],
                 "passed over, too busy": result["dropped"]}  # fmt: skip
        show.facts({name: value for name, value in about.items() if value != 0 or name == "in force now"})
        if result["trouble"]:
            show.complain(f"Nothing is judged: {result['trouble']}")
        count = f"{result['messages']} messages and refusals with {show.counted(result['recipients'], 'recipient')}"
        changed = f"{show.counted(result['changed'], 'recipient')} would have fared otherwise"
        show.say(f"{count} judged: {changed if result['changed'] else 'nothing would have gone otherwise'}.")
        replays.differences(result)
    if result["changed"]:
        raise typer.Exit(show.FINDING)


@commands.command()
def stop(context: typer.Context, what_if: WhatIf = False, as_json: AsJson = False) -> None:
    """End the shadow; what it found is forgotten."""
    answered(context, ShadowStop(what_if), as_json=as_json)
    if not as_json:
        show.say("The draft stays in the shadow." if what_if else "No draft is in the shadow any more.")


@commands.command()
def promote(
    context: typer.Context,
    reason: Reason = "",
    expect: Expect = None,
    what_if: WhatIf = False,
    discard_edits: Discard = False,
    as_json: AsJson = False,
) -> None:
    """Put the very draft in force as a new revision, as `apply` would, and end the shadow."""
    result = answered(context, ShadowPromote(reason, expect, what_if, discard_edits), as_json=as_json)
    if not as_json:
        changes.told(result)
