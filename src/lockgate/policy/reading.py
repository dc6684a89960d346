"""What conditions read of a message: header fields decoded once, however many rules and recipients ask.

All of it is derived from facts, so what is remembered can be forgotten without changing an answer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import TypeVar

from lockgate.mail.address import Address
from lockgate.mail.findings import AnyRecipient, InText, ListInText, Question, WhatParts
from lockgate.mail.header_edits import HeaderEdit, fields_after
from lockgate.mail.headers import decode_words
from lockgate.mail.internal_headers import seen_by_rules
from lockgate.mail.lists import ListKind
from lockgate.mail.loose_mailboxes import all_mailboxes
from lockgate.mail.mailboxes import Mailbox
from lockgate.mail.message import Message
from lockgate.mail.our_fields import without_forged
from lockgate.policy.clues import Look
from lockgate.policy.found import Clue
from lockgate.policy.objects.domains import AcceptedDomain
from lockgate.policy.rules import Case, RecipientTest, Seen
from lockgate.policy.text import LOOKED_THROUGH, Looked, Needle, Patience, TextSet
from lockgate.policy.tries import DomainMap

_Value = TypeVar("_Value")
Fields = Sequence[tuple[str, str]]
"""Header fields: names, and values as one line."""

Read = Callable[[Case, Address], tuple[str, ...] | None]
"""Reads the texts in which a condition looks; None: without them it cannot tell whether it hits."""

TEXT = "text"
"""The place that is the text of the message, bounded by who reads it out (mail/mime/text.py)."""

_Read = tuple[Message | None, tuple[HeaderEdit, ...], bool, bool, dict[str, object]]
"""What was read of a message, by what it depends on: the message, changes, and whose fields are believed."""

HEADER = "header"
ENVELOPE = "envelope"
HEADER_OR_ENVELOPE = "header_or_envelope"
"""Where the sender is looked for (specification 1.15.3: SenderAddressLocation)."""


class Context:
    """What the rules of one organisation share: texts that are looked through once for all of them.

    While compiling, conditions say what they look for (`look_for`); after `seal` they ask. `own` are the domains in
    which the organisation receives mail. What only the message itself can answer is a question: `asks` are those that
    its rules have, `searches` finds by their digest the needles that are looked for in the text. `among` are those that
    are looked for in the addresses of all recipients, `notes` the texts of notifications by the rule that has one,
    `lists` the kinds of the named lists, `hostname` what this server is called in header fields. `looks` tells of the
    places by which rules are found what is there.
    """

    __slots__ = (
        "_looked", "_needles", "_read", "_seen", "_sets", "among", "asks", "hostname", "lists", "looks", "notes",
        "organisation", "own", "searches",
    )  # fmt: skip

    def __init__(
        self, own: DomainMap[AcceptedDomain], organisation: str = "",
        lists: Mapping[str, ListKind] = MappingProxyType({}), hostname: str = "",
    ) -> None:  # fmt: skip
        self.own = own
        self.organisation = organisation
        self.lists = lists
        self.hostname = hostname
        self.asks: dict[Question, None] = {}
        self.searches: dict[str, Finder] = {}
        self.among: dict[AnyRecipient, Finder] = {}
        self.notes: dict[str, str] = {}
        self.looks: dict[str, Look[Case]] = {}
        self._needles: dict[str, dict[Needle, int]] = {}
        self._sets: dict[str, TextSet] = {}
        self._read: _Read = (None, (), False, False, {})
        self._looked: tuple[tuple[str, ...], tuple[Looked, ...]] = ((), ())
        self._seen: dict[str, tuple[tuple[str, ...], tuple[frozenset[int], ...]]] = {}

    # -- compiling ---------------------------------------------------------------------------------------------------

    def look_for(self, place: str, needles: Sequence[Needle]) -> Finder:
        """Have these looked for in texts of this kind ("subject", "header x-mailer", "recipient")."""
        known = self._needles.setdefault(place, {})
        return Finder(self, place, tuple([known.setdefault(needle, len(known)) for needle in needles]))

    def only_where(self, test: RecipientTest, *found: tuple[Finder, Read], field: str = "") -> Clued:
        """The test of a condition that misses where no finder has anything in what is read for it.

        What is read for one place has to be the same for all conditions; `field` is the header field (lower case) of
        which it is read, "" if none that rules can change.
        """
        for finder, read in found:
            self.looks.setdefault(finder.place, _LookAt(self, finder.place, read, field))
        return Clued(test, tuple([clue for finder, _ in found for clue in finder.clues]))

    def ask_of_text(self, needles: Sequence[Needle]) -> InText:
        """Have these looked for in the text of messages; the question whose answer says whether one is there."""
        question = InText(self.organisation, _digest(needles))
        if question not in self.asks:
            self.asks[question] = None
            self.searches[question.needles] = self.look_for(TEXT, needles)
        return question

    def ask_of_recipients(self, needles: Sequence[Needle], *, original: bool) -> AnyRecipient:
        """Have these looked for in the addresses of all recipients, primary or as sent; the question."""
        question = AnyRecipient(self.organisation, _digest(needles), original)
        if question not in self.among:
            self.among[question] = self.look_for("recipient", needles)
        return question

    def ask_of_parts(self) -> WhatParts:
        """Have it found out what messages are made of; the question."""
        question = WhatParts(self.organisation)
        self.asks[question] = None
        return question

    def ask_of_list(self, name: str) -> ListInText:
        """Have the words of this list looked for in the text of messages; the question."""
        question = ListInText(self.organisation, name)
        self.asks[question] = None
        return question

    def seal(self) -> None:
        """All conditions have spoken."""
        self._sets = {place: TextSet(needles) for place, needles in self._needles.items()}

    # -- running -----------------------------------------------------------------------------------------------------

    def hits(self, place: str, texts: tuple[str, ...]) -> tuple[frozenset[int], ...]:
        """What is found in each short text, in its first LOOKED_THROUGH characters, () if nothing is in any; the last
        answer for a place is remembered.
        """
        last = self._seen.get(place)
        if last is not None and last[0] == texts:
            return last[1]
        found = tuple([self._sets[place].hits(text, LOOKED_THROUGH) for text in texts])
        found = found if any(found) else ()
        self._seen[place] = (texts, found)
        return found

    def look(self, place: str, texts: tuple[str, ...], patience: Patience) -> tuple[Looked, ...]:
        """What is found in each long text, as long as there is time; the last answer is remembered.

        Several threads may be here at once, each with its message.
        """
        last = self._looked
        if last[0] != texts:
            last = self._looked = texts, tuple([self._sets[place].look(text, patience) for text in texts])
        return last[1]

    def is_slow(self, place: str) -> bool:
        """Whether a text can be made so that it takes long to look for what is sought there."""
        return self._sets[place].is_slow

    def written(self, place: str, number: int) -> str:
        """A needle as the administrator wrote it."""
        return self._sets[place].needles[number].written

    def subjects(self, case: Case) -> tuple[str, ...]:
        """The decoded subject; of several fields all, as mail programs do not agree which one they show."""
        return self.header(case, "subject")

    def header(self, case: Case, name: str) -> tuple[str, ...]:
        """The decoded values of all fields of this name (lower case)."""
        return self._once(case, f"header {name}", lambda fields: _values(fields, name))

    def authors(self, case: Case) -> tuple[Mailbox, ...]:
        """The mailboxes of From."""
        return self.mailboxes(case, "from")

    def mailboxes(self, case: Case, name: str) -> tuple[Mailbox, ...]:
        """The mailboxes that the fields of this name (lower case) list; all that any reader might find in them."""
        return self._once(case, f"mailboxes {name}", lambda fields: _mailboxes(fields, name))

    def senders(self, case: Case, location: str) -> tuple[Mailbox, ...]:
        """The sender's mailboxes as the rule wants them: of From, of the envelope, or of both."""
        found: tuple[Mailbox, ...] = () if location == ENVELOPE else self.authors(case)
        envelope = case.facts.envelope
        if location != HEADER and envelope is not None and envelope.sender is not None:
            found += (Mailbox("", envelope.sender.local, envelope.sender.domain),)
        return found

    def everybody_it_is_from(self, case: Case) -> tuple[Mailbox, ...]:
        """The mailboxes of From and of the envelope, as far as they are known."""
        return self.senders(case, ENVELOPE if case.facts.message is None else HEADER_OR_ENVELOPE)

    def _once(self, case: Case, what: str, read: Callable[[Fields], _Value]) -> _Value:
        message = case.facts.message
        if message is None:
            raise LookupError("there is no message to read yet")
        promotes, back = case.standing.promotes, case.handed_back
        last = self._read
        if last[0] is not message or last[1] != case.edits or last[2] != promotes or last[3] != back:
            self._read = last = (message, case.edits, promotes, back, {})
        known = last[4]
        if what not in known:
            fields = message.fields
            if message.claims and not back:
                fields = without_forged(fields, self.hostname)
            if message.internal:
                fields = seen_by_rules(fields, promote=promotes)
            known[what] = read(fields_after(fields, case.edits) if case.edits else fields)
        return known[what]  # type: ignore[return-value]


class Finder:
    """Some needles of one place; asked with the texts of a case."""

    __slots__ = ("_context", "_numbers", "place")

    def __init__(self, context: Context, place: str, numbers: tuple[int, ...]) -> None:
        self._context = context
        self._numbers = numbers
        self.place = place

    @property
    def clues(self) -> tuple[Clue, ...]:
        """Its needles."""
        return tuple([Clue(self.place, number) for number in self._numbers])

    def __call__(self, *texts: str) -> tuple[str, str] | None:
        """The first text that has one, and of its needles the first one, as it was written; None if none is there."""
        found = self._context.hits(self.place, texts)
        if not found:  # so it is for most mail and most rules
            return None
        for text, hits in zip(texts, found, strict=True):
            for number in self._numbers if hits else ():
                if number in hits:
                    return self._context.written(self.place, number), text
        return None

    def look(self, texts: tuple[str, ...], patience: Patience) -> tuple[str, bool]:
        """The same for long texts: the needle, "" if none was found, and whether one might have been with more time."""
        found = self._context.look(self.place, texts, patience)
        for hits, _ in found:
            for number in self._numbers if hits else ():
                if number in hits:
                    return self._context.written(self.place, number), False
        return "", any(not unknown.isdisjoint(self._numbers) for _, unknown in found)

    @property
    def is_slow(self) -> bool:
        """Whether a text can be made so that this takes long, or what is looked for beside it."""
        return self._context.is_slow(self.place)


class _LookAt:
    """Looks for all needles of one place in what a case has there (clues.py, Look)."""

    __slots__ = ("_context", "_place", "_read", "field")

    def __init__(self, context: Context, place: str, read: Read, field: str) -> None:
        self._context, self._place, self._read = context, place, read
        self.field = field

    def __call__(self, case: Case, recipient: Address) -> tuple[frozenset[int], ...] | None:
        texts = self._read(case, recipient)
        return None if texts is None else self._context.hits(self._place, texts)


class Clued:
    """A test that misses where none of its clues is found, so that rules can be found by them."""

    __slots__ = ("clues", "test")

    def __init__(self, test: RecipientTest, clues: tuple[Clue, ...]) -> None:
        self.test = test
        self.clues = clues

    def __call__(self, case: Case, recipient: Address) -> Seen:
        return self.test(case, recipient)


def _digest(needles: Sequence[Needle]) -> str:
    """What stands for needles in a question: the same ones have the same, under whatever policy."""
    digest = hashlib.sha256()
    for needle in needles:
        digest.update(b"\0".join(part.encode("utf-8", "surrogatepass") for part in needle) + b"\n")
    return digest.hexdigest()[:16]


def _values(fields: Fields, name: str) -> tuple[str, ...]:
    return tuple([decode_words(value) for field, value in fields if field.lower() == name])


def _mailboxes(fields: Fields, name: str) -> tuple[Mailbox, ...]:
    values = [value for field, value in fields if field.lower() == name]
    return tuple([mailbox for value in values for mailbox in all_mailboxes(value)])
