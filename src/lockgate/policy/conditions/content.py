"""What it says and how large it is: conditions about the message itself (specification 1.15.7)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, RootModel

from lockgate.mail.address import Address
from lockgate.policy.kinds import condition
from lockgate.policy.objects.rules import MailFlowRule
from lockgate.policy.reading import Context
from lockgate.policy.rules import Case, RecipientTest, Seen, no, unanswerable, unknown, yes
from lockgate.policy.spelling import Size
from lockgate.policy.text import LOOKED_THROUGH, Needle, is_whole, pattern, word
from lockgate.policy.texts import Expressions, FieldName, Words, some

TOO_LONG = f"longer than the {LOOKED_THROUGH} characters that are looked through"


@condition("subject_contains_words", "The subject has one of these words", per_recipient=False)
class SubjectContainsWords(RootModel[Words], frozen=True):
    """Specification 1.15.7."""

    root: Words = Field(description="Whole words or phrases.", examples=[["invoice", "last warning"]])

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Look in the decoded subject."""
        return _in_subject(context, self.root, [word(text) for text in self.root])


@condition("subject_matches_patterns", "The subject matches one of these expressions", per_recipient=False)
class SubjectMatchesPatterns(RootModel[Expressions], frozen=True):
    """Specification 1.15.7."""

    root: Expressions = Field(description="Regular expressions.", examples=[[r"invoice\s+\d+", "^re:.*overdue"]])

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Look in the decoded subject."""
        return _in_subject(context, self.root, [pattern(text) for text in self.root])


def _in_subject(context: Context, written: tuple[str, ...], needles: list[Needle]) -> RecipientTest:
    found_in = context.look_for("subject", needles)
    none = no(f"the subject has none of {some(written)}")

    def test(case: Case, _: Address) -> Seen:
        if case.facts.message is None:
            return unknown("there is no message yet")
        subjects = context.subjects(case)
        found = found_in(*subjects)
        if found is not None:
            return yes(f"the subject has '{found[0]}'")
        return none if all(map(is_whole, subjects)) else unanswerable(f"the subject is {TOO_LONG}")

    def read(case: Case, _: Address) -> tuple[str, ...] | None:
        subjects = context.subjects(case) if case.facts.message is not None else None
        return None if subjects is None or not all(map(is_whole, subjects)) else subjects

    return context.only_where(test, (found_in, read), field="subject")


@condition("header_contains_words", "A header field has one of these words", per_recipient=False)
class HeaderContainsWords(BaseModel, frozen=True, extra="forbid"):
    """Specification 1.15.7: HeaderContainsMessageHeader and HeaderContainsWords."""

    header: FieldName = Field(description="Name of the field.", examples=["X-Mailer"])
    words: Words = Field(description="Whole words or phrases.", examples=[["BulkSender"]])

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Look in the decoded field."""
        return _in_header(context, self.header, self.words, [word(text) for text in self.words])


@condition("header_matches_patterns", "A header field matches one of these expressions", per_recipient=False)
class HeaderMatchesPatterns(BaseModel, frozen=True, extra="forbid"):
    """Specification 1.15.7: HeaderMatchesMessageHeader and HeaderMatchesPatterns."""

    header: FieldName = Field(description="Name of the field.", examples=["X-Mailer"])
    patterns: Expressions = Field(description="Regular expressions.", examples=[["^Bulk"]])

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Look in the decoded field."""
        return _in_header(context, self.header, self.patterns, [pattern(text) for text in self.patterns])


def _in_header(context: Context, name: str, written: tuple[str, ...], needles: list[Needle]) -> RecipientTest:
    lower = name.lower()
    found_in = context.look_for(f"header {lower}", needles)
    absent, none = no(f"there is no field {name}"), no(f"{name} has none of {some(written)}")

    def test(case: Case, _: Address) -> Seen:
        if case.facts.message is None:
            return unknown("there is no message yet")
        values = context.header(case, lower)
        if not values:
            return absent
        found = found_in(*values)
        if found is not None:
            return yes(f"{name} has '{found[0]}'")
        return none if all(map(is_whole, values)) else unanswerable(f"{name} is {TOO_LONG}")

    def read(case: Case, _: Address) -> tuple[str, ...] | None:
        values = context.header(case, lower) if case.facts.message is not None else None
        return None if values is None or not all(map(is_whole, values)) else values

    return context.only_where(test, (found_in, read), field=lower)


@condition("message_size_over", "The message has at least this size", per_recipient=False)
class MessageSizeOver(RootModel[Size], frozen=True):
    """Specification 1.15.7 and 1.15.2: "over" means this much or more; the whole message counts, as received."""

    root: Size = Field(ge=1, description="Octets, or with KB, MB, GB.", examples=["10MB"])

    def compile(self) -> RecipientTest:
        """Compare."""
        least = self.root

        def test(case: Case, _: Address) -> Seen:
            message = case.facts.message
            if message is None:
                return unknown("there is no message yet")
            said = f"the message has {message.size} octets"
            return yes(said) if message.size >= least else no(f"{said}, fewer than {least}")

        return test


@condition("with_importance", "The sender marked the message with this importance", per_recipient=False)
class WithImportance(RootModel[Literal["low", "normal", "high"]], frozen=True):
    """Specification 1.15.7; by Importance (RFC 4021 2.1.54), else by X-Priority."""

    root: Literal["low", "normal", "high"] = Field(description="low, normal or high.", examples=["high"])

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Without a mark it is normal."""
        wanted = self.root

        def test(case: Case, _: Address) -> Seen:
            if case.facts.message is None:
                return unknown("there is no message yet")
            found = _importance(context.header(case, "importance"), context.header(case, "x-priority"))
            said = f"the importance is {found}"
            return yes(said) if found == wanted else no(said)

        return test


def _importance(marks: tuple[str, ...], priorities: tuple[str, ...]) -> str:
    for mark in marks:
        plain = mark.strip().casefold()
        if plain in ("low", "normal", "high"):
            return plain
    for priority in priorities:
        digit = priority.strip()[:1]
        if digit in ("1", "2"):
            return "high"
        if digit in ("4", "5"):
            return "low"
    return "normal"
