"""Stories: a policy, a message, what the directory says, and what must come of it, as text that administrators read.

    given   policy/contoso.toml
    from    198.51.100.9 tls certificate mail.bank.test trusted
    mail    x@sender.test -> ann@contoso.com, bob@contoso.com
    size    2000
    suppose who-is ann@contoso.com = mail_user -> ann@inside.contoso.com
    suppose who-is bob@contoso.com = nobody
    expect  ann@contoso.com delivered by connector HQ to ann@inside.contoso.com
    expect  bob@contoso.com refused 5.4.1
    because directory: it does not know bob@contoso.com

Lines that begin with # are remarks. `<>` is the null sender. `expect everything refused 5.7.513` is a reply to all.
`because` must be part of one step, written "subject: because".
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from decision.judging import settled
from lockgate.decision.stage import Depth
from lockgate.mail.connection import Connection
from lockgate.mail.facts import Point
from lockgate.mail.findings import Answer, Known, Question, Unknown, Who
from lockgate.mail.ruling import Defer, Deliver, Disposition, Drop, Hold, Refuse, Ruling, Via
from lockgate.testing.builders import (
    certificate_of,
    connection_of,
    facts_of,
    message_of,
    policy_of,
    tls_of,
    who_of,
)


@dataclass
class Story:
    """One story, read."""

    policy: str = ""
    connection: Connection = field(default_factory=connection_of)
    sender: str = ""
    recipients: list[str] = field(default_factory=list)
    size: int = 1000
    supposed: dict[str, str] = field(default_factory=dict)
    expected: list[tuple[str, str]] = field(default_factory=list)
    because: list[str] = field(default_factory=list)


def read_story(path: Path) -> Story:
    """Read one file; a line that is not understood is an error with its number."""
    story = Story()
    for number, line in enumerate(path.read_text().splitlines(), 1):
        word, _, rest = line.strip().partition(" ")
        if not word or word.startswith("#"):
            continue
        try:
            _read_line(story, path, word, rest.strip())
        except (ValueError, KeyError) as trouble:
            raise ValueError(f"{path.name} line {number}: {line!r} is not understood ({trouble})") from None
    return story


def _read_line(story: Story, path: Path, word: str, rest: str) -> None:
    match word:
        case "given":
            story.policy = (path.parent / rest).read_text()
        case "from":
            story.connection = _connection(rest.split())
        case "mail":
            sender, recipients = rest.split(" -> ")
            story.sender = "" if sender == "<>" else sender
            story.recipients = [recipient.strip() for recipient in recipients.split(",")]
        case "size":
            story.size = int(rest)
        case "suppose":
            question, said = rest.split(" = ")
            story.supposed[question.removeprefix("who-is ").casefold()] = said
        case "expect":
            whom, _, what = rest.partition(" ")
            story.expected.append((whom, what))
        case "because":
            story.because.append(rest)
        case _:
            raise ValueError("unknown word")


def _connection(words: list[str]) -> Connection:
    peer, rest = words[0], words[1:]
    if not rest:
        return connection_of(peer)
    if rest == ["tls"]:
        return connection_of(peer, tls=tls_of())
    if rest[0] == "login":
        return connection_of(peer, tls=tls_of(), login=rest[1])
    if rest[:2] != ["tls", "certificate"]:
        raise ValueError("after the address may come: tls, tls certificate NAME [trusted], login NAME")
    trusted = ("public",) if rest[3:] == ["trusted"] else ()
    return connection_of(peer, tls=tls_of(certificate_of(rest[2]), trusted_by=trusted))


def play(story: Story) -> tuple[Ruling, list[str]]:
    """The ruling, and every step as "subject: because"."""
    policy = policy_of(story.policy)
    facts = facts_of(
        story.sender, *story.recipients, connection=story.connection, message=message_of(story.size)
    )

    def ask(questions: tuple[Question, ...]) -> dict[Question, Answer]:
        return {question: _answer(question, story.supposed.get(question.address, "nobody")) for question in questions}

    _, ruling = settled(policy, facts, ask, Point.DATA, None, Depth.FULL)
    steps = [*ruling.steps, *(step for verdict in ruling.recipients for step in verdict.steps)]
    return ruling, [f"{step.subject}: {step.because}" for step in steps]


def _answer(question: Question, said: str) -> Answer:
    kind, _, target = said.partition(" -> ")
    if kind.startswith("unknown"):
        return Unknown(kind.removeprefix("unknown").strip() or "no answer")
    who: Who | None = None
    if kind != "nobody":
        words = kind.split()
        primary = words[1] if len(words) > 1 else question.address
        who = who_of(question.organisation, primary, kind=words[0], external=target)
    return Known(who, 1)


def fates(ruling: Ruling) -> Iterator[tuple[str, str]]:
    """Whom, and what became of it, in the words of `expect`."""
    if ruling.refusal is not None:
        yield "everything", f"{'refused' if ruling.refusal.permanent else 'deferred'} {ruling.refusal.enhanced}"
        return
    for verdict in ruling.recipients:
        yield verdict.recipient.original.text, _words(verdict.disposition, verdict.recipient.original.key)


def _words(disposition: Disposition | None, original: str) -> str:
    match disposition:
        case Deliver(route, target):
            way = f"mx {route.domain}" if route.via is Via.MX else f"connector {route.connector}"
            if route.via is Via.MAILBOX:
                way = f"mailbox store {route.store}".rstrip()
            aside = "" if target.key == original else f" to {target}"
            level = "" if route.tls == "opportunistic" else f" with {route.tls}"
            return f"{'waits for' if route.waits else 'delivered by'} {way}{level}{aside}"
        case Hold(why):
            return f'held "{why}"'
        case Drop(why):
            return f'dropped "{why}"'
        case Refuse(reply):
            return f"refused {reply.enhanced}"
        case Defer(reply):
            return f"deferred {reply.enhanced}"
        case None:
            return "undecided"


def differences(story: Story) -> list[str]:
    """What did not come as the story expects; empty if it did."""
    ruling, steps = play(story)
    found = dict(fates(ruling))
    wrong = [
        f"{whom}: expected {what}, found {found.get(whom, 'nothing')}"
        for whom, what in story.expected
        if found.get(whom) != re.sub(r"\s+", " ", what)
    ]
    missing = [f"no step says: {because}" for because in story.because if not any(because in step for step in steps)]
    return wrong + missing + ([f"steps were: {step}" for step in steps] if wrong or missing else [])
