"""What the message says: conditions about its text, decoded and without markup (specification 1.15.7)."""

from __future__ import annotations

from pydantic import Field, RootModel

from lockgate.mail.address import Address
from lockgate.mail.findings import Found, Unknown
from lockgate.policy.conditions.content import TOO_LONG
from lockgate.policy.kinds import condition
from lockgate.policy.objects.rules import MailFlowRule
from lockgate.policy.reading import Context
from lockgate.policy.rules import Case, RecipientTest, Seen, no, unanswerable, unknown, yes
from lockgate.policy.text import Needle, is_whole, pattern, word
from lockgate.policy.texts import Expressions, Words, some


@condition(
    "subject_or_body_contains_words", "The subject or the text has one of these words", per_recipient=False
)
class SubjectOrBodyContainsWords(RootModel[Words], frozen=True):
    """Specification 1.15.7; the text parts, of HTML what people see; at most the first million characters."""

    root: Words = Field(description="Whole words or phrases.", examples=[["invoice", "last warning"]])

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Look in the subject, and if it is not there, in the text."""
        return _in_subject_or_text(context, self.root, [word(text) for text in self.root])


@condition(
    "subject_or_body_matches_patterns", "The subject or the text matches one of these expressions", per_recipient=False
)
class SubjectOrBodyMatchesPatterns(RootModel[Expressions], frozen=True):
    """Specification 1.15.7; the text parts, of HTML what people see; at most the first million characters."""

    root: Expressions = Field(description="Regular expressions.", examples=[[r"\b4\d{3}-\d{4}\b", r"invoice\s+\d+"]])

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Look in the subject, and if it is not there, in the text."""
        return _in_subject_or_text(context, self.root, [pattern(text) for text in self.root])


def _in_subject_or_text(context: Context, written: tuple[str, ...], needles: list[Needle]) -> RecipientTest:
    in_subject = context.look_for("subject", needles)
    question = context.ask_of_text(needles)
    none = no(f"subject and text have none of {some(written)}")

    def test(case: Case, _: Address) -> Seen:
        if case.facts.message is None:
            return unknown("there is no message yet")
        subjects = context.subjects(case)
        found = in_subject(*subjects)
        if found is not None:
            return yes(f"the subject has '{found[0]}'")
        match case.facts.findings.get(question):
            case Found(needle) if needle:
                return yes(f"the text has '{needle}'")
            case Found(slow=True):
                return unanswerable("it takes too long to look for it in this text")
            case Found(cut=True):
                return unanswerable("the text is longer than what is looked through")
            case Found():
                return none if all(map(is_whole, subjects)) else unanswerable(f"the subject is {TOO_LONG}")
            case Unknown(why):
                return unknown(f"the text could not be looked through: {why}")
        return unknown("the text has not been looked through")

    return test
