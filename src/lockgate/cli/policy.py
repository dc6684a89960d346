"""Policy as code at the terminal: plan, apply, revisions, diff, rollback, export."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from lockgate.cli import asked, changes, replays, show
from lockgate.cli.asked import AsJson, WhatIf, answered, given
from lockgate.cli.changes import Expect, Reason
from lockgate.cli.show import Column
from lockgate.flow.asking import Apply, Export, Plan, Replay, RevisionDiff, RevisionList, Rollback
from lockgate.policy.problems import Invalid, is_document_name

Folder = Annotated[Path | None, typer.Argument(help="Folder with policy documents; default: the operator's.")]
Discard = Annotated[
    bool,
    typer.Option("--discard-edits", help="Overwrite what was edited by hand in the operator's folder (kept aside)."),
]


def plan(
    context: typer.Context,
    folder: Folder = None,
    exit_code: Annotated[bool, typer.Option("--exit-code", help="End with code 1 if anything differs.")] = False,
    replay: Annotated[
        str, typer.Option("--replay", metavar="SINCE", help="Judge mail recorded since then (1d) by it, as a warning.")
    ] = "",
    as_json: AsJson = False,
) -> None:
    """Say what the documents of a folder would change, object by object and in words; changes nothing.

    Code 0 also when there are differences (with --exit-code 1), and 1 when the documents have mistakes. What --replay
    finds is a warning and changes no code.
    """
    documents = _documents(context, folder, as_json=as_json)
    result = answered(context, Plan(documents), as_json=as_json and not replay)
    if not as_json:
        changes.told({**result, "what_if": True})
    if replay:
        judged = replays.judged(context, Replay(documents, since=replay, wait=0.5))
        if as_json:
            show.as_json({**result, "replay": judged})
        else:
            replays.warned(judged)
    if exit_code and (result["differences"] or any(result["files"].values())):
        raise typer.Exit(show.FINDING)


def apply(
    context: typer.Context,
    folder: Folder = None,
    reason: Reason = "",
    expect: Expect = None,
    what_if: WhatIf = False,
    discard_edits: Discard = False,
    as_json: AsJson = False,
) -> None:
    """Put the documents of a folder in force as a new revision, all or nothing, live within a second."""
    files = _documents(context, folder, as_json=as_json)
    result = answered(context, Apply(files, reason, expect, what_if, discard_edits), as_json=as_json)
    if not as_json:
        changes.told(result)


def _documents(context: typer.Context, folder: Path | None, *, as_json: bool) -> dict[str, str]:
    options = given(context)
    where = folder or asked.places(options).policy_directory
    try:
        return options.board.read_documents(where)
    except Invalid as trouble:
        asked.mistakes(trouble.problems, as_json=as_json)
        raise typer.Exit(show.FINDING) from None


def revisions(
    context: typer.Context,
    limit: Annotated[int, typer.Option(help="How many, the newest first.")] = 20,
    as_json: AsJson = False,
) -> None:
    """List the revisions: number, when, who, why."""
    rows = answered(context, RevisionList(limit), as_json=as_json)
    if as_json:
        return
    for row in rows:
        row["mark"] = "in force" if row["in_force"] else ""
    columns = (
        Column("revision", "REVISION", right=True),
        Column("at", "AT"),
        Column("by", "BY"),
        Column("mark", ""),
        Column("reason", "REASON"),
    )
    show.table(rows, columns, nothing="No policy was ever published.")


def diff(
    context: typer.Context,
    before: Annotated[int, typer.Argument(help="Number of a revision.")],
    after: Annotated[int | None, typer.Argument(help="Number of another; default: the one in force.")] = None,
    as_json: AsJson = False,
) -> None:
    """Say what differs between two revisions; code 0 whether or not anything does."""
    result = answered(context, RevisionDiff(before, after), as_json=as_json)
    if as_json:
        return
    changes.differences(result["differences"])
    if not result["differences"]:
        texts = "their texts differ" if any(result["files"].values()) else "their texts do not differ either"
        show.say(f"Revisions {result['before']} and {result['after']} say the same; {texts}.")


def rollback(
    context: typer.Context,
    number: Annotated[int, typer.Argument(help="The revision whose texts shall be in force again.")],
    reason: Reason = "",
    expect: Expect = None,
    what_if: WhatIf = False,
    discard_edits: Discard = False,
    as_json: AsJson = False,
) -> None:
    """Put the texts of an earlier revision in force again, as a new revision."""
    result = answered(context, Rollback(number, reason, expect, what_if, discard_edits), as_json=as_json)
    if not as_json:
        changes.told(result)


def export(
    context: typer.Context,
    folder: Annotated[Path, typer.Argument(help="Where the documents are written; made if it is not there.")],
    revision: Annotated[int | None, typer.Option(help="Which; default: the one in force.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Overwrite documents that say something else.")] = False,
    as_json: AsJson = False,
) -> None:
    """Write the documents of a revision as they were written, comments included."""
    result: dict[str, Any] = answered(context, Export(revision), as_json=False)
    files = {name: text for name, text in result["files"].items() if is_document_name(name)}
    try:
        for name, text in files.items():
            path = folder / name
            if not force and path.exists() and path.read_text("utf-8") != text:
                show.complain(f"{path} is there and says something else; say --force to overwrite it.")
                raise typer.Exit(show.FINDING)
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, "utf-8")
    except (OSError, UnicodeDecodeError) as trouble:
        show.complain(f"{folder} cannot be written: {trouble}")
        raise typer.Exit(show.MISUSE) from None
    if as_json:
        show.as_json({"revision": result["revision"], "folder": str(folder), "files": sorted(files)})
    else:
        show.say(f"Revision {result['revision']} is written to {folder}: {len(files)} documents.")
