"""Stories: a policy, a message, what is supposed, and what must come of it, as text that administrators read.

    given   policy/contoso.toml
    from    198.51.100.9 tls certificate mail.bank.test trusted
    mail    x@sender.test -> ann@contoso.com, bob@contoso.com
    suppose who-is ann@contoso.com = mail_user -> ann@inside.contoso.com
    expect  ann@contoso.com delivered by connector HQ to ann@inside.contoso.com
    expect  bob@contoso.com refused 5.4.1
    because directory: it does not know bob@contoso.com

docs/stories.md documents every word. A story is played by the judge of the live service, and nothing else is asked.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from lockgate.decision.explain import step_rows
from lockgate.flow.asking.explain import WhatIf
from lockgate.flow.desk.section import Misuse
from lockgate.flow.desk.times import moment
from lockgate.flow.simulate import Course, converse
from lockgate.flow.suppose import Unsupposable, read_suppositions
from lockgate.flow.supposed_certificate import TROUBLES
from lockgate.flow.supposing import Scene, supposed_facts
from lockgate.mail.address import parse_address
from lockgate.mail.connection import Certificate
from lockgate.mail.findings import NOT_BLOCKED, Answer, InList, IsBlocked, Known, Members, MembersOf, OnList, Question
from lockgate.mail.ruling import Defer, Deliver, Disposition, Drop, Hold, Refuse, Resolved, Via
from lockgate.policy.policy import Policy
from lockgate.policy.problems import Invalid, Problem, nearest

WHEN = 1_900_000_000.0
"""When a story happens that does not say `at`: 2030-03-17 17:46:40 UTC."""

WORDS = (
    "given", "mailboxes", "from", "mail", "subject", "header", "size", "declared", "require-tls", "at", "suppose",
    "expect", "because",
)  # fmt: skip


@dataclass
class Story:
    """One story, read. `expected` and `because` come with the number of their line; `mailboxes_here` stands for what
    the operator's file says in [mailboxes]."""

    name: str
    given: list[str] = field(default_factory=list)
    peer: dict[str, str] = field(default_factory=dict)
    sender: str = ""
    recipients: list[str] = field(default_factory=list)
    fields: list[str] = field(default_factory=list)
    size: int = 0
    declared: int = 0
    require_tls: bool = False
    mailboxes_here: bool = False
    at: float = WHEN
    supposed: list[str] = field(default_factory=list)
    expected: list[tuple[int, str, str]] = field(default_factory=list)
    because: list[tuple[int, str]] = field(default_factory=list)
    lines: dict[str, int] = field(default_factory=dict)

    def problem(self, word: str, message: str) -> Problem:
        """A problem with the line on which `word` was last said."""
        return Problem(self.name, self.lines.get(word, 1), word, message)


def read_story(text: str, name: str) -> Story:
    """Read one story; `name` stands in messages. Raises Invalid with every line that is not understood."""
    story = Story(name)
    problems: list[Problem] = []
    for number, line in enumerate(text.removeprefix("\ufeff").splitlines(), 1):
        word, _, rest = line.strip().partition(" ")
        if not word or word.startswith("#"):
            continue
        story.lines[word] = number
        try:
            _read_line(story, number, word, rest.strip())
        except (ValueError, Misuse) as trouble:
            problems.append(Problem(name, number, word if word in WORDS else "", str(trouble)))
    if not problems:
        problems = [story.problem("from", f"a story says `{word}`") for word in ("from", "mail", "expect")
                    if word not in story.lines]  # fmt: skip
    if problems:
        raise Invalid(tuple(problems))
    return story


def _read_line(story: Story, number: int, word: str, rest: str) -> None:
    match word:
        case "given":
            story.given.append(rest)
        case "from":
            story.peer = _peer(rest.split())
        case "suppose":
            read_suppositions((rest,))
            story.supposed.append(rest)
        case "expect":
            whom, _, what = rest.partition(" ")
            if not what:
                raise ValueError("write `expect RECIPIENT WHAT` or `expect everything WHAT`")
            story.expected.append((number, whom, re.sub(r"\s+", " ", what)))
        case "because":
            story.because.append((number, rest))
        case "mailboxes":
            if rest != "here":
                raise ValueError("write `mailboxes here`, as if the operator's file had [mailboxes]; or leave it out")
            story.mailboxes_here = True
        case _:
            _read_message(story, word, rest)


def _read_message(story: Story, word: str, rest: str) -> None:
    match word:
        case "mail":
            story.sender, story.recipients = _mail(rest)
        case "subject":
            story.fields.append(f"Subject: {rest}")
        case "header":
            if not re.match(r"[!-9;-~]+:", rest):
                raise ValueError("write `header Name: value`")
            story.fields.append(rest)
        case "size":
            story.size = _octets(rest)
        case "declared":
            story.declared = _octets(rest)
        case "require-tls":
            story.require_tls = True
        case "at":
            story.at = moment(rest)
        case _:
            raise ValueError(f"'{word[:40]}' is none of {', '.join(WORDS)}{nearest(word, WORDS)}")


def _octets(text: str) -> int:
    if not text.isdigit():
        raise ValueError(f"'{text[:40]}' is no number of octets")
    return int(text)


def _mail(rest: str) -> tuple[str, list[str]]:
    sender, arrow, recipients = rest.partition("->")
    named = [recipient.strip() for recipient in recipients.split(",") if recipient.strip()]
    if not arrow or not sender.strip() or not named:
        raise ValueError("write `mail SENDER -> RECIPIENT, RECIPIENT`; the null sender is <>")
    for text in (named if sender.strip() == "<>" else [sender.strip(), *named]):
        if text.casefold() != "postmaster":
            parse_address(text, utf8=True)
    return sender.strip(), named


_AFTER = "helo NAME, tls, certificate NAME [trusted], login USER"


def _peer(words: list[str]) -> dict[str, str]:
    """ADDRESS [helo NAME] [tls [VERSION]] [certificate NAMES [trusted | trusted-by FILE | TROUBLE] [key HEX]]
    [login USER]."""
    if not words:
        raise ValueError(f"write `from ADDRESS`, and after it {_AFTER}")
    found = {"ip": str(ipaddress.ip_address(words[0]))}
    rest = words[1:]
    while rest:
        word = rest.pop(0)
        match word:
            case "tls":
                found["tls"] = rest.pop(0) if rest and rest[0][:1].isdigit() else "1.3"
            case "helo" | "certificate" | "login" if rest:
                found[word] = rest.pop(0)
            case "trusted-by" | "key" if rest and "certificate" in found:
                found[word] = rest.pop(0)
            case "trusted" if "certificate" in found:
                found["trusted"] = word
            case _ if word in TROUBLES and "certificate" in found:
                found["trouble"] = word
            case _:
                raise ValueError(f"'{word[:40]}' is none of {_AFTER}")
    return found


def play(story: Story, policy: Policy) -> Course:
    """The story's message judged by the policy. Raises Invalid where it cannot be one."""
    peer = story.peer
    head = "".join(f"{one}\r\n" for one in story.fields).encode() + b"\r\n" if story.fields else b""
    said = WhatIf(
        sender=story.sender, recipients=tuple(story.recipients), ip=peer["ip"], helo=peer.get("helo", ""),
        login=peer.get("login", ""), tls=peer.get("tls", "1.3" if "login" in peer else ""),
        certificate=peer.get("certificate", ""), certificate_trouble=peer.get("trouble", ""),
        certificate_trusted_by=(peer["trusted-by"],) if "trusted-by" in peer else (),
        certificate_key=peer.get("key", ""), require_tls=story.require_tls,
        untrusted=peer.keys().isdisjoint(("trusted", "trusted-by", "trouble")),
        size=story.size, declared_size=story.declared, head=head,
    )  # fmt: skip
    supposed = read_suppositions(story.supposed)
    try:
        facts = supposed_facts(said, None, Scene(policy, story.at, "stories", _unreadable))
    except Unsupposable as trouble:
        raise Invalid((story.problem("from", str(trouble)),)) from None
    return converse(policy, facts, supposed.over(_nobody))


def _nobody(questions: tuple[Question, ...]) -> dict[Question, Answer]:
    """Of whom a story says nothing, the directory knows nothing; no connector is blocked, and nothing is on a list."""
    told: dict[Question, Answer] = {}
    for question in questions:
        match question:
            case MembersOf():
                told[question] = Members((), (), 0)
            case IsBlocked():
                told[question] = NOT_BLOCKED
            case InList():
                told[question] = OnList("", 0, empty=True)
            case _:
                told[question] = Known(None, 0)
    return told


def _unreadable(pem: str, policy: Policy, at: float) -> tuple[Certificate, tuple[str, ...], str]:
    raise ValueError("a story names certificates by their host name")


def fates(course: Course) -> Iterator[tuple[str, str]]:
    """Whom, and what became of it, in the words of `expect`."""
    refusal = course.ruling.refusal
    if refusal is not None:
        yield "everything", f"{'refused' if refusal.permanent else 'deferred'} {refusal.enhanced}"
        return
    seen: set[str] = set()
    for verdict in course.verdicts:
        address = verdict.recipient.original
        # Whom the sender named comes first; another copy for the address is told with where it comes from.
        name = address.text if address.key not in seen else verdict.recipient.text
        seen.add(address.key)
        yield name, _words(verdict.disposition, address.key)


def _words(disposition: Disposition | None, original: str) -> str:
    match disposition:
        case Deliver(route, target):
            way = f"mx {route.domain}" if route.via is Via.MX else f"connector {route.connector}"
            if route.via is Via.MAILBOX:
                way = f"mailbox store {route.store}".rstrip()
            aside = "" if target.key == original else f" to {target}"
            level = "" if route.demanded == "opportunistic" else f" with {route.demanded}"
            return f"{'waits for' if route.waits else 'delivered by'} {way}{level}{aside}"
        case Hold(why):
            return f'held "{why}"'
        case Drop(why):
            return f'dropped "{why}"'
        case Resolved(_, expanded):
            return "expanded" if expanded else "resolved"
        case Refuse(reply):
            return f"refused {reply.enhanced}"
        case Defer(reply):
            return f"deferred {reply.enhanced}"
        case None:
            return "undecided"


def failures(story: Story, course: Course) -> tuple[Problem, ...]:
    """What did not come as the story expects, each with its line; () if all did."""
    found = dict(fates(course))
    steps = [f"{row['subject']}: {row['because']}" for row in _steps(course)]
    wrong = [
        Problem(story.name, number, whom, f"expected {what}, found {found.get(whom, 'nothing of the kind')}")
        for number, whom, what in story.expected
        if found.get(whom) != what
    ]
    wrong += [
        Problem(story.name, number, "because", f"no step says: {because}")
        for number, because in story.because
        if not any(because in step for step in steps)
    ]
    return tuple(wrong)


def _steps(course: Course) -> list[dict[str, str]]:
    rows = step_rows(course.ruling.steps)
    for verdict in course.verdicts:
        rows += step_rows(verdict.steps, verdict.recipient.original.text)
    return rows


def told(story: Story, course: Course) -> dict[str, Any]:
    """A played story as plain data: file, whether it came true, what did not, what was found, and every step."""
    wrong = failures(story, course)
    fared: Mapping[str, str] = dict(fates(course))
    return {
        "file": story.name,
        "ok": not wrong,
        "failures": [{"line": one.line, "about": one.path, "message": one.message} for one in wrong],
        "found": fared,
        "steps": _steps(course),
    }
