"""`connector validate` at the terminal: each step, what was seen, and the sentence that mends it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from lockgate.cli import asked, show
from lockgate.cli.asked import AsJson, WhatIf, answered, given
from lockgate.cli.objects import Name, Organisation
from lockgate.flow.asking import ConnectorValidate
from lockgate.policy.problems import Invalid

PATIENCE = 3600.0
"""Seconds that are waited for: silent servers are given as much time as delivery gives them."""

_MARKS = {"ok": "+", "failed": "!", "skipped": "-"}
_WORDS = {
    "scope": "scope", "plan": "settings", "resolve": "resolve", "dial": "dial", "ehlo": "EHLO", "starttls": "STARTTLS",
    "chain": "chain", "name": "name", "pin": "pin", "dane": "DANE", "mta_sts": "MTA-STS",
    "client_certificate": "client certificate", "login": "login", "recipient": "recipient", "test_mail": "test mail",
}  # fmt: skip
_WIDTH = max(len(word) for word in _WORDS.values())


def validate(
    context: typer.Context,
    name: Name,
    to: Annotated[
        list[str] | None, typer.Option("--to", help="Test recipient; repeatable. None: those of the last time.")
    ] = None,
    sender: Annotated[
        str, typer.Option("--from", help="Envelope sender (<>: none); default: connectorvalidation@ your domain.")
    ] = "",
    policy: Annotated[
        Path | None, typer.Option(help="Take the connector from the documents of this folder, not in force yet.")
    ] = None,
    no_mail: Annotated[bool, typer.Option("--no-mail", help="Stop before the content: send no test mail.")] = False,
    organisation: Organisation = "",
    what_if: WhatIf = False,
    as_json: AsJson = False,
) -> None:
    """Try an outbound connector: every server is dialled by the service, and a test mail is sent; code 1 if it fails.

    The result is kept and shown by `connector show`; a failure stops nothing.
    """
    files = documents(context, policy, as_json=as_json)
    request = ConnectorValidate(name, tuple(to or ()), sender, organisation, files, not no_mail, what_if)
    if sys.stderr.isatty() and not as_json and not what_if:
        show.complain("The service dials the servers; a silent one is waited for as long as delivery would wait.")
    result = answered(context, request, as_json=as_json, patience=PATIENCE)
    if not as_json:
        told(result)
    if not result["success"]:
        raise typer.Exit(show.FINDING)


def documents(context: typer.Context, folder: Path | None, *, as_json: bool) -> dict[str, str] | None:
    """The texts of a draft, None where none is meant; ends the command with the mistakes if they cannot be read."""
    if folder is None:
        return None
    try:
        return given(context).board.read_documents(folder)
    except Invalid as trouble:
        asked.mistakes(trouble.problems, as_json=as_json)
        raise typer.Exit(show.FINDING) from None


def told(result: Mapping[str, Any]) -> None:
    """A validation for people: general steps, then server by server, then the test mail."""
    server = ""
    for step in result["steps"]:
        if step["server"] != server:
            server = step["server"]
            if server:
                show.say(f"  {server}")
        _step(step, indent="    " if server else "  ")
    wrong = sum(1 for step in result["steps"] if step["outcome"] == "failed")
    whose = f"{result['connector']} of {result['organisation']} ({result['policy']})"
    if result["success"] and not any(step["server"] for step in result["steps"]):
        show.say(f"{whose}: nothing was dialled.")
    elif result["success"]:
        mail = "the test mail was taken" if result["test_mail"] else "no test mail was sent"
        show.say(f"{whose} works: {mail}.")
    else:
        show.say(f"{whose} fails: {wrong} step{'' if wrong == 1 else 's'} went wrong.")


def _step(step: Mapping[str, Any], indent: str) -> None:
    word = _WORDS.get(step["step"], step["step"])
    whom = f"{step['recipient']}: " if step["recipient"] else ""
    print(show.printable(f"{indent}{_MARKS[step['outcome']]} {word.ljust(_WIDTH)}  {whom}{step['seen']}"))
    if step["fix"]:
        print(show.printable(f"{indent}  {' ' * _WIDTH}  => {step['fix']}"))


def validation_words(last: Mapping[str, Any] | None) -> str:
    """The last validation in a sentence."""
    if not last:
        return ""
    mail = "with a test mail" if last["test_mail"] else "without a test mail"
    how = f"{'went well' if last['success'] else 'failed'}, by {last['by']}, {mail}, {last['policy']}"
    if last["stale"]:
        how += "; the connector was changed since, so try it again"
    return "; ".join([how, *(f"{_WORDS.get(one['step'], one['step'])}: {one['seen']}" for one in last["failed"][:3])])
