"""What earlier rules and own servers say of the message: a spam level, a classification (specification 1.15.7).

What strangers write into the header about that does not count (mail/internal_headers.py).
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, RootModel

from lockgate.mail.address import Address
from lockgate.mail.internal_headers import CLASSIFICATION, ORGANISATION, SCL, level_of
from lockgate.policy.actions.mark import Classification
from lockgate.policy.kinds import condition
from lockgate.policy.objects.rules import MailFlowRule
from lockgate.policy.reading import Context
from lockgate.policy.rules import Case, RecipientTest, Seen, no, unknown, yes

_SCL = (ORGANISATION + SCL).lower()
_CLASSIFICATION = (ORGANISATION + CLASSIFICATION).lower()


@condition("scl_over", "The spam confidence level is at least this", per_recipient=True)
class SclOver(RootModel[int], frozen=True):
    """Specification 1.15.7: SCLOver. Rules run before the content filter, so they never see its verdict."""

    root: int = Field(
        ge=-1, le=9,
        description="Level that an earlier rule set, or an own server told; mail without one never matches.",
        examples=[7],
    )  # fmt: skip

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """By the header as earlier rules left it."""
        least = self.root

        def test(case: Case, _: Address) -> Seen:
            if case.facts.message is None:
                return unknown("there is no message yet")
            level = level_of(_told(context, case, _SCL))
            if level is None:
                return no("nobody has given it a spam confidence level")
            said = f"its spam confidence level is {level}"
            return yes(said) if level >= least else no(f"{said}, below {least}")

        return test


@condition("has_classification", "The message has this classification", per_recipient=True)
class HasClassification(RootModel[Classification], frozen=True):
    """Specification 1.15.7: HasClassification; case does not count."""

    root: Classification = Field(description="Name of the classification.", examples=["Company Confidential"])

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """By the header as earlier rules left it."""
        wanted = self.root.casefold()

        def test(case: Case, _: Address) -> Seen:
            if case.facts.message is None:
                return unknown("there is no message yet")
            names = _told(context, case, _CLASSIFICATION)
            said = f"it is classified '{names[0].strip()[:64]}'" if names else "it has no classification"
            return yes(said) if any(name.strip().casefold() == wanted for name in names) else no(said)

        return test


@condition("has_no_classification", "The message has no classification", per_recipient=True)
class HasNoClassification(RootModel[Literal[True]], frozen=True):
    """Specification 1.15.7: HasNoClassification."""

    root: Literal[True] = Field(description="Only `true` makes sense.", examples=[True])

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """By the header as earlier rules left it."""

        def test(case: Case, _: Address) -> Seen:
            if case.facts.message is None:
                return unknown("there is no message yet")
            names = [name for name in _told(context, case, _CLASSIFICATION) if name.strip()]
            if names:
                return no(f"it is classified '{names[0].strip()[:64]}'")
            return yes("it has no classification")

        return test


def _told(context: Context, case: Case, name: str) -> tuple[str, ...]:
    """What is said by those who are believed: the header behind our border, with the edits of rules."""
    return context.header(case, name)
