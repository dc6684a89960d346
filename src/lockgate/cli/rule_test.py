"""`lockgate rule test`: what every mail flow rule says of a message in a file, and why."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

from lockgate.cli import asked, show
from lockgate.cli.asked import AsJson, answered, given
from lockgate.cli.message_file import Said, read, said_to_rules
from lockgate.cli.objects import Organisation
from lockgate.cli.show import Column
from lockgate.flow.asking import Export, WhatIf
from lockgate.mail.headers import HEAD
from lockgate.policy.problems import Invalid

MOST = 50 * 1024 * 1024
"""Octets of a message that is tested."""

_NOBODYS = "192.0.2.1"
"""An address that no server has: of no connector, as mail from the internet is."""

_PROVEN = "dmarc = pass"
_OF_SENDER = ("dmarc", "who-sent")
_STAGE = "regulate"
_HITS = {"+": "hit", "-": "miss", "?": "unknown"}
_COLUMNS = (
    Column("hit", "RULE SAYS"),
    Column("rule", "RULE"),
    Column("because", "BECAUSE"),
    Column("effect", "IT WOULD"),
)


def test(
    context: typer.Context,
    message: Annotated[Path, typer.Argument(metavar="FILE.EML", help="The message; '-' for standard input.")],
    sender: Annotated[str, typer.Option("--from", help="Envelope sender; '<>' for the null sender.")],
    to: Annotated[list[str], typer.Option("--to", help="Envelope recipient; may be given again.")],
    ip: Annotated[str, typer.Option("--ip", help="Address of the sending server; default: one of nobody.")] = _NOBODYS,
    policy: Annotated[
        Path | None, typer.Option("--policy", metavar="DIR", help="By the documents in this folder.")
    ] = None,
    suppose: Annotated[list[str] | None, typer.Option(help="As for what-if; may be given again.")] = None,
    organisation: Organisation = "",
    as_json: AsJson = False,
) -> None:
    """Tell what every rule makes of the message in a file, for each recipient: hit or miss, why, and what it would do.

    The file is read here, however long it is (up to 50 MB), and only what rules ask of it goes to the service. Nothing
    is changed and nothing is sent. Who sent it is asked of nobody: it counts as proven, unless --suppose says
    otherwise.
    """
    supposed = _with_sender(suppose or ())
    octets = read(message, MOST)
    documents, revision = _documents(context, policy)
    said = _said(documents, octets, organisation)
    request = WhatIf(
        sender=sender, recipients=tuple(to), ip=ip, head=octets[:HEAD], size=len(octets),
        documents=documents if policy is not None else None, revision=revision if policy is None else 0,
        organisation=organisation, suppose=supposed, contents=said.contents,
        texts=said.texts, cut=said.cut,
    )  # fmt: skip
    explanation = answered(context, request, as_json=False)
    told = {**_told(explanation["parts"][0]), "supposed": supposed}
    if as_json:
        show.as_json(told)
    else:
        _show(told)


def _with_sender(suppose: Sequence[str]) -> tuple[str, ...]:
    """What is supposed: where forged mail is turned away, no rule is looked at without a word about the sender."""
    said = any(text.partition("=")[0].strip() in _OF_SENDER for text in suppose)
    return (*suppose,) if said else (*suppose, _PROVEN)


def _documents(context: typer.Context, folder: Path | None) -> tuple[dict[str, str], int]:
    """The documents to judge by, and the number of the revision (0: a draft)."""
    if folder is None:
        found = answered(context, Export(), as_json=False)
        return found["files"], found["revision"]
    try:
        return given(context).board.read_documents(folder), 0
    except Invalid as trouble:
        asked.problems(trouble.problems)
        raise typer.Exit(show.MISUSE) from None


def _said(documents: Mapping[str, str], octets: bytes, organisation: str) -> Said:
    """What the rules ask of the message itself, with the answers; ends the command if the documents have mistakes."""
    try:
        return said_to_rules(documents, octets, organisation)
    except Invalid as trouble:
        asked.problems(trouble.problems)
        raise typer.Exit(show.MISUSE) from None


def _told(part: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "policy": part["judged"]["policy"],
        "refusal": part.get("refusal"),
        "recipients": [
            {
                "recipient": row["recipient"],
                "derived_from": row["derived_from"],
                "organisation": row["organisation"],
                "what": row["what"],
                "sentence": row["sentence"],
                "because": row["because"],
                "rules": list(_rules(row["steps"])),
            }
            for row in part["recipients"]
        ],
    }


def _rules(steps: Sequence[Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    for step in steps:
        if step["stage"] == _STAGE:
            yield {
                "rule": step["subject"].removeprefix("rule "),
                "hit": _HITS.get(step["sign"], step["sign"]),
                "because": step["because"],
                "effect": step["effect"],
            }


def _show(told: Mapping[str, Any]) -> None:
    show.say(f"Judged by {told['policy']}; nothing is changed. Supposed: {'; '.join(told['supposed'])}.")
    if told["refusal"]:
        refusal = told["refusal"]
        show.say(f"No rule is looked at, because everything is {refusal['what']}: {refusal['reply']}")
        show.say(f"  {refusal['because']}")
    for row in told["recipients"]:
        print()
        show.say(f"{row['recipient']}: {row['sentence']}")
        if not row["rules"]:
            show.say(f"  No rule is looked at: {row['because'] or 'there is none.'}")
            continue
        show.table(row["rules"], _COLUMNS)
