"""Changes of policy at the terminal: what was added, changed, removed, what it means, and what is advised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from lockgate.cli import show
from lockgate.cli.asked import advice

Reason = Annotated[str, typer.Option("--reason", help="Why; kept with the revision.")]
Expect = Annotated[
    int | None, typer.Option("--expect", help="Only if this revision is in force; guards against lost updates.")
]

_MARKS = {"added": "+", "changed": "~", "removed": "-"}


def told(result: Mapping[str, Any]) -> None:
    """What a change did, or with what-if would do."""
    differences(result["differences"])
    if not result["differences"]:
        only_texts = any(result["files"].values())
        show.say("Only texts differ, not what they say." if only_texts else "Nothing differs.")
    warnings(result["warnings"])
    if result["what_if"]:
        show.say(f"Nothing was changed; revision {result['in_force']} stays in force.")
    elif result["published"]:
        show.say(f"Revision {result['revision']} is in force.")
        if result["folder"]:
            show.complain(result["folder"])
    else:
        show.say(f"Revision {result['revision']} says this already and stays in force.")


def differences(rows: Sequence[Mapping[str, Any]]) -> None:
    """Object by object, property by property, and what it means for mail."""
    for row in rows:
        whose = f" of {row['organisation']}" if row["organisation"] else ""
        print(show.printable(f"{_MARKS[row['what']]} {row['table']} '{row['name']}'{whose} ({row['file']})"))
        for one in row["properties"]:
            print(show.printable(f"    {one['property']}: {_step(row['what'], one)}"))
        for sentence in row["meaning"]:
            print(show.printable(f"    => {sentence}"))


def _step(what: str, one: Mapping[str, Any]) -> str:
    match what:
        case "added":
            return _value(one["after"])
        case "removed":
            return _value(one["before"])
        case _:
            return f"{_value(one['before'])} -> {_value(one['after'])}"


def _value(value: object) -> str:
    return show.printable(value) if value not in (None, "", [], {}) else "(none)"


def warnings(rows: Sequence[Mapping[str, Any]]) -> None:
    """New advice in full; of what was there before only the number."""
    for row in rows:
        if row["new"]:
            advice(row)
    if old := sum(1 for row in rows if not row["new"]):
        many = "1 earlier warning stays" if old == 1 else f"{old} earlier warnings stay"
        show.say(f"{many} (`lockgate check` lists what is in the folder).")
