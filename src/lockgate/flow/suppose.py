"""What a person supposes the world would answer: one table, an entry for each kind of question.

Written `NAME [ARGUMENT] = VALUE`, on the command line (`--suppose`) and in story files (`suppose`) alike. A later kind
of question brings one more function and one more entry in TABLE; nothing else is edited.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple

from lockgate.flow.settle import Ask
from lockgate.mail.address import AddressError, parse_address, parse_domain
from lockgate.mail.authentication import Arc, ArcVerdict, Authenticated, Dmarc, DmarcVerdict, Spf, SpfVerdict
from lockgate.mail.dmarc import Wish
from lockgate.mail.facts import Facts
from lockgate.mail.findings import (
    NOT_BLOCKED,
    Answer,
    Blocking,
    Forwarding,
    Found,
    InList,
    InText,
    IsBlocked,
    Known,
    ListInText,
    Members,
    MembersOf,
    OnList,
    Question,
    RecipientKind,
    Unknown,
    WhatParts,
    Who,
    WhoIs,
    WhoSent,
)
from lockgate.mail.lists import ListEntry, ListKind
from lockgate.mail.structure import Part, Structure
from lockgate.policy.listed import FewEntries, find_value, read_entry
from lockgate.policy.problems import nearest

Guess = Callable[[Question], Answer | None]
"""Answers a question, or None if it is about something else."""


class Unsupposable(ValueError):
    """The supposition makes no sense; the message says why, and what could be written."""


class Form(NamedTuple):
    """How a supposition is written, and what it means, for help and errors."""

    written: str
    means: str


class Supposition(NamedTuple):
    """One kind of supposition. `read` takes argument and value, and raises Unsupposable."""

    name: str
    forms: tuple[Form, ...]
    read: Callable[[str, str], Guess]


_NOBODY, _UNKNOWN = "nobody", "unknown"


def _who_is(argument: str, value: str) -> Guess:
    """Who has one address."""
    try:
        key = parse_address(argument, utf8=True).key
    except AddressError as trouble:
        raise Unsupposable(f"'{argument[:80]}' is no address: {trouble}") from None
    supposed = _described(value, argument)

    def guess(question: Question) -> Answer | None:
        return supposed(question) if isinstance(question, WhoIs) and question.address == key else None

    return guess


def _directory(argument: str, value: str) -> Guess:
    """What the directory says of everybody."""
    if argument:
        raise Unsupposable(f"directory concerns everybody; for one address write who-is {argument[:80]} = ...")
    supposed = _described(value, "")

    def guess(question: Question) -> Answer | None:
        if isinstance(question, MembersOf):
            known = supposed(WhoIs(question.organisation, question.address))
            return known if isinstance(known, Unknown) else None
        return supposed(question) if isinstance(question, WhoIs) else None

    return guess


def _members_of(argument: str, value: str) -> Guess:
    """Who the members of a group are, as they are listed."""
    word, _, rest = value.partition(" ")
    try:
        key = parse_address(argument, utf8=True).key
        listed = () if word == _UNKNOWN else tuple(parse_address(one.strip(), utf8=True) for one in value.split(","))
    except AddressError as trouble:
        raise Unsupposable(f"write members-of sales@contoso.com = ann@contoso.com, x@far.example: {trouble}") from None
    answer: Answer = Unknown(rest.strip() or "supposed") if word == _UNKNOWN else Members((), listed, 0)
    return lambda question: answer if isinstance(question, MembersOf) and question.address == key else None


def _described(value: str, address: str) -> Callable[[WhoIs], Answer]:
    """`nobody`, `unknown WHY` or `KIND [PRIMARY] [-> EXTERNAL] [forwarding ADDRESS [with copy] [by user]]`."""
    word, _, rest = value.strip().partition(" ")
    if word == _UNKNOWN:
        return lambda question: Unknown(rest.strip() or "supposed")
    if word == _NOBODY and not rest:
        return lambda question: Known(None, 0)
    kinds = [kind.value for kind in RecipientKind]
    if word not in kinds:
        known = [_NOBODY, _UNKNOWN, *kinds]
        raise Unsupposable(f"'{word[:40]}' is none of {', '.join(known)}{nearest(word, known)}")
    rest, _, onward = f" {rest} ".partition(" forwarding ")
    primary, _, external = (part.strip() for part in f" {rest} ".partition("->"))
    try:
        forwarding = _forwarding(onward.split()) if onward.strip() else None
        named = parse_address(primary, utf8=True) if primary else None
        target = parse_address(external, utf8=True) if external else None
    except AddressError as trouble:
        raise Unsupposable(f"'{value[:80]}': {trouble}") from None

    def answer(question: WhoIs) -> Answer:
        main = named or parse_address(address or question.address, utf8=True)
        return Known(Who(question.organisation, RecipientKind(word), main, target, {}, forwarding), 0)

    return answer


def _forwarding(words: list[str]) -> Forwarding:
    said = " ".join(words[1:])
    if said not in ("", "with copy", "by user", "with copy by user"):
        raise Unsupposable(f"'{said[:40]}' is not understood; write forwarding ADDRESS [with copy] [by user]")
    return Forwarding(parse_address(words[0], utf8=True), "with copy" in said, "by user" in said)


def _who_sent(argument: str, value: str) -> Guess:
    """Who sent it cannot be found out."""
    word, _, rest = value.partition(" ")
    if argument or word != _UNKNOWN:
        raise Unsupposable("write who-sent = unknown [WHY], or dmarc = VERDICT")
    return _of_sender(Unknown(rest.strip() or "supposed"))


def _dmarc(argument: str, value: str) -> Guess:
    """What DMARC says: a verdict, and with it a wish and the author's domain in any order."""
    if argument:
        raise Unsupposable("dmarc concerns the message; write dmarc = fail reject sender.example")
    verdicts, wishes = [one.value for one in DmarcVerdict], [one.value for one in Wish]
    word, *rest = value.split()
    if word not in verdicts:
        raise Unsupposable(f"'{word[:40]}' is none of {', '.join(verdicts)}{nearest(word, verdicts)}")
    wish = next((one for one in rest if one in wishes), Wish.NONE.value)
    try:
        domains = [parse_domain(one) for one in rest if one not in wishes]
    except AddressError as trouble:
        raise Unsupposable(f"'{value[:80]}': {trouble}") from None
    domain = domains[0] if domains else "sender.example"
    verdict = DmarcVerdict(word)
    proven = verdict in (DmarcVerdict.PASS, DmarcVerdict.BEST_GUESS_PASS)
    spf = Spf(SpfVerdict.PASS if proven else SpfVerdict.FAIL, domain)
    problem = "supposed" if verdict in (DmarcVerdict.TEMPERROR, DmarcVerdict.PERMERROR) else ""
    dmarc = Dmarc(
        verdict, domain, domain, domain, wish, aligned_by=("spf",) if proven else (), problem=problem
    )
    return _of_sender(Authenticated(spf, (), dmarc, Arc(ArcVerdict.NONE)))


def _of_sender(answer: Answer) -> Guess:
    return lambda question: answer if isinstance(question, WhoSent) else None


def _parts(argument: str, value: str) -> Guess:
    """What is attached, by name."""
    word, _, rest = value.partition(" ")
    if argument:
        raise Unsupposable("parts concern the message; write parts = invoice.pdf, run.exe")
    if word == _UNKNOWN:
        return lambda question: Unknown(rest.strip() or "supposed") if isinstance(question, WhatParts) else None
    text = Part("text/plain", 1, 100)
    names = [] if value == "none" else [name.strip() for name in value.split(",")]
    attached = [Part("application/octet-stream", 1, 1000, (name,), attachment=True) for name in names if name]
    structure = Structure((Part("multipart/mixed", 0, 0), text, *attached))
    return lambda question: structure if isinstance(question, WhatParts) else None


def _text(argument: str, value: str) -> Guess:
    """Whether what the rules look for is in the text."""
    word, _, rest = value.partition(" ")
    if argument or word not in ("found", "nothing", _UNKNOWN):
        raise Unsupposable("write text = found [WHAT], text = nothing, or text = unknown [WHY]")
    told = rest.strip()
    answer: Answer = Unknown(told or "supposed") if word == _UNKNOWN else Found("")
    if word == "found":
        answer = Found(told or "what is looked for")
    listed = OnList(answer.needle, 0) if isinstance(answer, Found) else answer

    def guess(question: Question) -> Answer | None:
        if isinstance(question, ListInText):
            return listed
        return answer if isinstance(question, InText) else None

    return guess


def _list(argument: str, value: str) -> Guess:
    """What is on a named list."""
    word, _, rest = value.partition(" ")
    if not argument:
        raise Unsupposable("write list partners = fabrikam.com, ann@contoso.com")
    listed = [] if value == "nothing" else [one.strip() for one in value.split(",") if one.strip()]

    def guess(question: Question) -> Answer | None:
        if not isinstance(question, InList | ListInText) or question.list != argument:
            return None
        if word == _UNKNOWN:
            return Unknown(rest.strip() or "supposed")
        if isinstance(question, ListInText):
            return None if listed else OnList("", 0, empty=True)
        found = find_value(question.kind, question.value, FewEntries(_those_of(question.kind, listed)))
        return OnList(found.text if found is not None else "", 0, not listed)

    return guess


def _those_of(kind: ListKind, texts: Iterable[str]) -> Iterator[ListEntry]:
    """The entries that can be on a list of this kind."""
    for text in texts:
        with contextlib.suppress(ValueError):
            yield read_entry(kind, text)


def _blocked(argument: str, value: str) -> Guess:
    """Whether an own-server connector is blocked."""
    word, _, rest = value.partition(" ")
    answers: dict[str, Answer] = {
        "no": NOT_BLOCKED,
        "yes": Blocking("supposed", 0.0, rest.strip() or "it is supposed", "you"),
        _UNKNOWN: Unknown(rest.strip() or "supposed"),
    }
    if not argument or word not in answers:
        raise Unsupposable("write blocked CONNECTOR = yes [WHY], blocked CONNECTOR = no or = unknown [WHY]")
    return lambda question: (
        answers[word] if isinstance(question, IsBlocked) and question.connector == argument else None
    )


TABLE = (
    Supposition(
        "who-is",
        (
            Form("who-is ADDRESS = nobody", "nobody has this address"),
            Form("who-is ADDRESS = KIND [PRIMARY] [-> EXTERNAL]", "it is a mailbox, mail_user, mail_contact, ..."),
            Form("who-is ADDRESS = mailbox forwarding ADDRESS [with copy] [by user]", "its mail is sent on"),
            Form("who-is ADDRESS = unknown [WHY]", "the directory cannot say"),
        ),
        _who_is,
    ),
    Supposition(
        "members-of",
        (
            Form("members-of GROUP = ADDRESS, ADDRESS", "the group has these members"),
            Form("members-of GROUP = unknown [WHY]", "the directory cannot say"),
        ),
        _members_of,
    ),
    Supposition(
        "directory",
        (
            Form("directory = unknown [WHY]", "the directory cannot be asked"),
            Form("directory = nobody", "it knows nobody"),
            Form("directory = KIND", "it knows every address, as a mailbox, mail_user, ..."),
        ),
        _directory,
    ),
    Supposition(
        "dmarc",
        (Form("dmarc = VERDICT [none|quarantine|reject] [DOMAIN]", "pass, fail, none, temperror, ... of the author"),),
        _dmarc,
    ),
    Supposition(
        "blocked",
        (
            Form("blocked CONNECTOR = yes [WHY]", "this inbound connector is blocked"),
            Form("blocked CONNECTOR = no", "it is not"),
            Form("blocked CONNECTOR = unknown [WHY]", "the list of blocks cannot be read"),
        ),
        _blocked,
    ),
    Supposition(
        "who-sent",
        (Form("who-sent = unknown [WHY]", "it cannot be found out who sent it"),),
        _who_sent,
    ),
    Supposition(
        "parts",
        (
            Form("parts = NAME, NAME", "files of these names are attached; none: nothing is"),
            Form("parts = unknown [WHY]", "it cannot be said what the message is made of"),
        ),
        _parts,
    ),
    Supposition(
        "list",
        (
            Form("list NAME = ENTRY, ENTRY", "these are on the named list, and nothing else; nothing: it is empty"),
            Form("list NAME = unknown [WHY]", "the list cannot be read"),
        ),
        _list,
    ),
    Supposition(
        "text",
        (
            Form("text = found [WHAT]", "what the rules look for is in the text"),
            Form("text = nothing", "it is not"),
            Form("text = unknown [WHY]", "the text cannot be looked through"),
        ),
        _text,
    ),
)
"""Every kind of supposition there is; what stands first wins over what stands later."""


class Supposed:
    """Suppositions, read; the first that is about a question answers it."""

    def __init__(self, guesses: Iterable[Guess] = ()) -> None:
        self._guesses = tuple(guesses)

    def answer(self, question: Question) -> Answer | None:
        """What is supposed, or None."""
        for guess in self._guesses:
            found = guess(question)
            if found is not None:
                return found
        return None

    def over(self, otherwise: Ask) -> Ask:
        """Answers what is supposed, and asks `otherwise` about the rest."""

        def ask(questions: tuple[Question, ...]) -> dict[Question, Answer]:
            found = {question: self.answer(question) for question in questions}
            rest = tuple(question for question, answer in found.items() if answer is None)
            told = otherwise(rest) if rest else {}
            # What only others could answer is left out by `otherwise`, and so it is here.
            return {question: answer for question, answer in found.items() if answer is not None} | told

        return ask

    def forget(self, facts: Facts) -> Facts:
        """The facts without the recorded answers that are supposed to be otherwise."""
        kept = {q: a for q, a in facts.findings.items() if self.answer(q) is None}
        return Facts(
            facts.at, facts.connection, facts.envelope, facts.recipients, facts.message, type(facts.findings)(kept),
            facts.before, facts.excerpt,
        )  # fmt: skip


def read_suppositions(texts: Iterable[str], table: tuple[Supposition, ...] = TABLE) -> Supposed:
    """The suppositions of these texts. Raises Unsupposable."""
    read = [_read(text, table) for text in texts]
    return Supposed([guess for _, guess in sorted(read, key=lambda pair: pair[0])])


def _read(text: str, table: tuple[Supposition, ...]) -> tuple[int, Guess]:
    left, equals, value = text.partition("=")
    name, _, argument = left.strip().partition(" ")
    if not equals or not name or not value.strip():
        raise Unsupposable(f"'{text[:80]}' is not understood; write {forms(table)}")
    for place, kind in enumerate(table):
        if kind.name == name:
            return place, kind.read(argument.strip(), value.strip())
    known = [kind.name for kind in table]
    raise Unsupposable(
        f"nothing asks about '{name[:40]}'; what can be supposed is {', '.join(known)}{nearest(name, known)}"
    )


def forms(table: tuple[Supposition, ...] = TABLE) -> str:
    """How suppositions are written, in one line."""
    return " | ".join(form.written for kind in table for form in kind.forms)
