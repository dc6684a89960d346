"""Named lists: whether sender, recipient, subject or text are on one (our addition to specification 1.15.3 to 1.15.7).

What is on a list is no part of the policy. The rule asks for it, and the answer is recorded with the list's revision.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, ClassVar

from pydantic import AfterValidator, Field, RootModel

from lockgate.mail.address import Address
from lockgate.mail.findings import InList, ListInText, OnList, Unknown
from lockgate.mail.lists import ListKind
from lockgate.mail.ruling import Hit
from lockgate.policy.conditions.content import TOO_LONG
from lockgate.policy.kinds import condition
from lockgate.policy.objects.rules import MailFlowRule
from lockgate.policy.reading import Context
from lockgate.policy.rules import Case, RecipientTest, Seen, no, unanswerable, unknown, yes
from lockgate.policy.spelling import ObjectName
from lockgate.policy.text import LOOKED_THROUGH
from lockgate.policy.texts import some

_OF_ADDRESSES = (ListKind.DOMAINS, ListKind.ADDRESSES)


def _once(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(names))


ListNames = Annotated[tuple[ObjectName, ...], Field(min_length=1, max_length=100), AfterValidator(_once)]
"""Names of lists of the organisation."""


def _seen(case: Case, asked: Iterable[tuple[str, InList | ListInText]], names: tuple[str, ...], what: str) -> Seen:
    """Whether one of the questions was answered with an entry; each comes with what it is about, in words.

    `what` is all of it, for the case that it is on none of the lists.
    """
    doubt, asks, empty, cut = "", list[InList | ListInText](), dict[str, None](), False
    for whom, question in asked:
        match case.facts.findings.get(question):
            case OnList(entry, revision) if entry:
                return yes(f"{whom} '{entry}', which is on the list {question.list} (revision {revision})")
            case OnList() as told:
                cut = cut or told.cut
                if told.empty:
                    empty[question.list] = None
            case Unknown(why):
                doubt = doubt or f"it could not be found out what is on the list {question.list}: {why}"
            case _:
                asks.append(question)
    if asks or doubt:
        return unknown(doubt or f"it has not been found out what is on {some(names)}", *asks)
    if cut:
        return unanswerable("the text is longer than what is looked through")
    bare = f"; {some(tuple(empty))} {'has' if len(empty) == 1 else 'have'} no entries" if empty else ""
    return no(f"{what} of {some(names)}{bare}")


def _about(context: Context, names: tuple[str, ...], address: str, domain: str) -> Iterable[tuple[str, InList]]:
    """What is asked about one address."""
    for name in names:
        if context.lists.get(name, ListKind.ADDRESSES) is ListKind.DOMAINS:
            yield f"{domain} is, or is below,", InList(context.organisation, name, ListKind.DOMAINS, domain)
        else:
            yield f"{address} is", InList(context.organisation, name, ListKind.ADDRESSES, address)


@condition("sender_in_list", "The sender is on one of these lists", per_recipient=False)
class SenderInList(RootModel[ListNames], frozen=True):
    """The sender's address, or its domain or one above it; the rule's sender_address_location says which sender."""

    root: ListNames = Field(description="Names of lists of domains or addresses.", examples=[["partners", "vip"]])

    list_kinds: ClassVar[tuple[ListKind, ...]] = _OF_ADDRESSES

    def lists(self) -> tuple[str, ...]:
        """See UsesLists."""
        return self.root

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Ask the lists."""
        names, location = self.root, rule.sender_address_location

        def test(case: Case, _: Address) -> Seen:
            senders = dict.fromkeys(
                (sender.address.casefold(), sender.domain) for sender in context.senders(case, location)
            )
            asked = (one for sender in senders for one in _about(context, names, *sender))
            return _seen(case, asked, names, "the sender is on none")

        return test


@condition("recipient_in_list", "The recipient is on one of these lists", per_recipient=True)
class RecipientInList(RootModel[ListNames], frozen=True):
    """The recipient's primary address, or its domain or one above it."""

    root: ListNames = Field(description="Names of lists of domains or addresses.", examples=[["partners", "vip"]])

    list_kinds: ClassVar[tuple[ListKind, ...]] = _OF_ADDRESSES

    def lists(self) -> tuple[str, ...]:
        """See UsesLists."""
        return self.root

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Ask the lists."""
        names = self.root

        def test(case: Case, recipient: Address) -> Seen:
            asked = _about(context, names, recipient.key, recipient.domain)
            return _seen(case, asked, names, f"{recipient} is on none")

        return test


@condition("subject_contains_list", "The subject has a word that is on one of these lists", per_recipient=False)
class SubjectContainsList(RootModel[ListNames], frozen=True):
    """Whole words or phrases, as subject_contains_words finds them, however many are on the list."""

    root: ListNames = Field(description="Names of lists of words.", examples=[["project names"]])

    list_kinds: ClassVar[tuple[ListKind, ...]] = (ListKind.WORDS,)

    def lists(self) -> tuple[str, ...]:
        """See UsesLists."""
        return self.root

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Ask the lists about the decoded subject."""
        names = self.root

        def test(case: Case, _: Address) -> Seen:
            if case.facts.message is None:
                return unknown("there is no message yet")
            told = _seen(case, _of_subject(context, case, names), names, "the subject has none of the words")
            return _if_whole(told, context.subjects(case))

        return test


def _of_subject(context: Context, case: Case, names: tuple[str, ...]) -> list[tuple[str, InList]]:
    subjects = [text[:LOOKED_THROUGH] for text in dict.fromkeys(context.subjects(case)) if text]
    return [
        ("the subject has", InList(context.organisation, name, ListKind.WORDS, text))
        for text in subjects
        for name in names
    ]


def _if_whole(told: Seen, subjects: tuple[str, ...]) -> Seen:
    """A miss is one only where the subject was looked through to its end."""
    if told.hit is not Hit.NO or all(len(text) <= LOOKED_THROUGH for text in subjects):
        return told
    return unanswerable(f"the subject is {TOO_LONG}")


@condition(
    "subject_or_body_contains_list", "The subject or the text has a word that is on one of these lists",
    per_recipient=False,
)  # fmt: skip
class SubjectOrBodyContainsList(RootModel[ListNames], frozen=True):
    """Whole words or phrases, as subject_or_body_contains_words finds them, however many are on the list."""

    root: ListNames = Field(description="Names of lists of words.", examples=[["project names"]])

    list_kinds: ClassVar[tuple[ListKind, ...]] = (ListKind.WORDS,)

    def lists(self) -> tuple[str, ...]:
        """See UsesLists."""
        return self.root

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Ask the lists about the decoded subject, and have the text looked through."""
        names = self.root
        in_text = [("the text has", context.ask_of_list(name)) for name in names]

        def test(case: Case, _: Address) -> Seen:
            if case.facts.message is None:
                return unknown("there is no message yet")
            asked: list[tuple[str, InList | ListInText]] = [*_of_subject(context, case, names), *in_text]
            told = _seen(case, asked, names, "subject and text have none of the words")
            return _if_whole(told, context.subjects(case))

        return test
