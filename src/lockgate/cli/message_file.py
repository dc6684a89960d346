"""A message in a file: its octets, and what it says to the rules that ask for its text and its parts.

Hostile parts are taken apart on this side: the service, which decides about everybody's mail, gets answers only.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import typer

from lockgate.cli import show
from lockgate.mail.findings import InText, ListInText, WhatParts


class Said(NamedTuple):
    """`contents` are questions with their answers. `texts` are the texts where a rule looks for the words of lists in
    them, which only the service has (None: none does), and not all of them if `cut`."""

    contents: tuple[tuple[Any, Any], ...] = ()
    texts: tuple[str, ...] | None = None
    cut: bool = False


def read(message: Path, most: int = 0) -> bytes:
    """The message with the line ends of the wire; "-" is standard input.

    Ends the command if it cannot be had, or is longer than `most` octets (0: may be of any length).
    """
    bound = most + 1 if most else -1
    try:
        if str(message) == "-":
            content = sys.stdin.buffer.read(bound)
        else:
            with message.open("rb") as file:
                content = file.read(bound)
    except OSError as trouble:
        show.complain(f"{message} cannot be read: {trouble}")
        raise typer.Exit(show.MISUSE) from None
    if most and len(content) > most:
        show.complain(f"{message} is longer than {most // 1024 // 1024} MB, which is the most that is tested.")
        raise typer.Exit(show.MISUSE)
    return content.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")


def said_to_rules(documents: Mapping[str, str], octets: bytes, organisation: str) -> Said:
    """What the rules of these documents (only of `organisation`, where one is named) hear of it. Raises Invalid."""
    from lockgate.flow.contents import answers, texts_in
    from lockgate.policy.compile import compile_policy

    policy = compile_policy(documents, hostname="localhost.localdomain", revision=0, advise=False)
    asks = [
        question
        for name, mine in policy.organisations.items()
        if organisation in ("", name)
        for question in mine.rules.asks
    ]
    questions = [question for question in asks if isinstance(question, WhatParts | InText)]
    contents = tuple(answers(policy, octets, questions).items()) if questions else ()
    if not any(isinstance(question, ListInText) for question in asks):
        return Said(contents)
    return Said(contents, *texts_in(octets))
