"""`lockgate replay` at the terminal: recorded mail judged by another policy, with progress, and what would change."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import typer

from lockgate.cli import show
from lockgate.cli.asked import AsJson, answered
from lockgate.cli.explain import Draft, Organisation, Revision, documents_of
from lockgate.flow.asking import Replay, ReplayProgress

_WAIT = 0.5
_PATIENCE = 300.0
_MOST = 1_000_000
_SHOWN = 20

Since = Annotated[str, typer.Option(help="7d, 2h, 2026-11-24 or 2026-11-24T08:00:00Z.")]
Limit = Annotated[int, typer.Option(min=1, max=_MOST, help="Most messages, newest first.")]


def replay(
    context: typer.Context,
    policy: Draft = None,
    revision: Revision = 0,
    since: Since = "1d",
    limit: Limit = _MOST,
    organisation: Organisation = "",
    as_json: AsJson = False,
) -> None:
    """Judge recorded mail by a draft policy and tell what would change. Code 1 if anything would."""
    request = Replay(documents_of(context, policy), revision, since, limit, organisation, _WAIT)
    told = judged(context, request)
    if as_json:
        show.as_json(told)
    else:
        _replayed(told)
    if told["changed"]:
        raise typer.Exit(show.FINDING)


def judged(context: typer.Context, request: Replay) -> Mapping[str, Any]:
    """The result of a replay once it is over; meanwhile a line of progress on a terminal."""
    live = sys.stderr.isatty()
    told = answered(context, request, as_json=False, patience=_PATIENCE)
    while "job" in told:
        if live:
            sys.stderr.write(f"\r\x1b[K{told['judged']} of about {told['of']} messages judged")
            sys.stderr.flush()
        told = answered(context, ReplayProgress(told["job"], _WAIT), as_json=False)
    if live:
        sys.stderr.write("\r\x1b[K")
    result: Mapping[str, Any] = told
    return result


def _replayed(told: Mapping[str, Any]) -> None:
    counts = f"{told['messages']} messages and refusals with {show.counted(told['recipients'], 'recipient')}"
    head = f"{counts}, judged by {told['policy']}"
    if not told["changed"]:
        show.say(f"{head}: nothing would change.")
    else:
        show.say(f"{head}: {show.counted(told['changed'], 'recipient')} would fare otherwise.")
    differences(told)


def differences(told: Mapping[str, Any]) -> None:
    """What would change, of what the records say too little, by rule and by sender."""
    for group in told["groups"]:
        print()
        show.say(f"{group['count']} x  was  {group['before']}")
        show.say(f"{' ' * len(str(group['count']))}    now  {group['now']}")
        _examples(group["examples"])
    if told["unknown"]:
        print()
        count = show.counted(told["unknown"], "recipient")
        show.say(f"{count} of whom it cannot be told, because the records do not say enough:")
        for doubt in told["doubts"]:
            show.say(f"{doubt['count']} x  {doubt['why']}")
            _examples(doubt["examples"])
    _rules(told["rules"])
    _senders([row for row in told["senders"] if row["changed"] or row["unknown"]])
    if told["unreadable"]:
        show.complain(f"{told['unreadable']} records could not be read.")


def _rules(found: Sequence[Mapping[str, Any]]) -> None:
    rows = [row for row in found if row["newly"] or row["no_longer"] or row["unknown"] or row["changed"]]
    if not rows:
        return
    columns = (
        show.Column("organisation", "ORGANISATION"), show.Column("rule", "RULE"),
        show.Column("newly", "HITS NEWLY", right=True), show.Column("no_longer", "NO LONGER", right=True),
        show.Column("unknown", "UNKNOWN", right=True), show.Column("changed", "FARE OTHERWISE", right=True),
        show.Column("example", "EXAMPLE"),
    )  # fmt: skip
    print()
    show.table([{**row, "example": _example(row)} for row in rows], columns)


def _example(row: Mapping[str, Any]) -> str:
    found = [*row["newly_examples"], *row["no_longer_examples"]]
    return found[0]["id"] if found else ""


def _senders(rows: Sequence[Mapping[str, Any]]) -> None:
    if not rows:
        return
    columns = (
        show.Column("domain", "SENDER"), show.Column("changed", "FARE OTHERWISE", right=True),
        show.Column("unknown", "UNKNOWN", right=True), show.Column("example", "EXAMPLE"),
    )  # fmt: skip
    shown = [{**row, "example": row["examples"][0]["id"] if row["examples"] else ""} for row in rows[:_SHOWN]]
    print()
    show.table(shown, columns)
    if len(rows) > _SHOWN:
        show.say(f"and further senders; --json has {len(rows)} of them")


def _examples(rows: Sequence[Mapping[str, Any]]) -> None:
    for example in rows:
        show.say(f"      {example['id']}  {example['recipient']}")


def warned(told: Mapping[str, Any]) -> None:
    """What a plan would change about recorded mail, as a warning."""
    changed, unknown = told["changed"], told["unknown"]
    if not changed and not unknown:
        show.say(f"Of {told['recipients']} recipients of recorded mail nobody would fare otherwise.")
        _rules(told["rules"])
        return
    doubts = f", and of {unknown} it cannot be told" if unknown else ""
    count = f"{changed} of {told['recipients']} recipients of recorded mail would fare otherwise{doubts}"
    show.say(f"warning: {count}")
    differences(told)
