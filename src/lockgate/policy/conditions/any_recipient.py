"""To whom besides: conditions about all recipients of the message at once; nothing is split (specification 1.15.5)."""

from __future__ import annotations

from pydantic import Field, RootModel

from lockgate.mail.address import Address
from lockgate.mail.findings import Among, Unknown
from lockgate.policy.kinds import condition
from lockgate.policy.objects.rules import MailFlowRule
from lockgate.policy.reading import Context
from lockgate.policy.rules import Case, RecipientTest, Seen, no, unknown, yes
from lockgate.policy.text import Needle, pattern, word
from lockgate.policy.texts import Expressions, Words, some

_ALL = (
    "All recipients count that the sender named and that are the organisation's, whatever an earlier rule did with the "
    "copies of some of them; members of groups do not."
)


@condition(
    "any_of_recipient_address_contains_words", "The address of any recipient has one of these words",
    per_recipient=False,
)  # fmt: skip
class AnyOfRecipientAddressContainsWords(RootModel[Words], frozen=True):
    """Specification 1.15.5."""

    root: Words = Field(description=f"Whole words or phrases. {_ALL}", examples=[["ana", "info"]])

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Look in the addresses of all."""
        return _in_any(context, rule, self.root, [word(text) for text in self.root])


@condition(
    "any_of_recipient_address_matches_patterns", "The address of any recipient matches one of these expressions",
    per_recipient=False,
)  # fmt: skip
class AnyOfRecipientAddressMatchesPatterns(RootModel[Expressions], frozen=True):
    """Specification 1.15.5."""

    root: Expressions = Field(description=f"Regular expressions. {_ALL}", examples=[[r"^ana@", r"^\d+@"]])

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Look in the addresses of all."""
        return _in_any(context, rule, self.root, [pattern(text) for text in self.root])


def _in_any(context: Context, rule: MailFlowRule, written: tuple[str, ...], needles: list[Needle]) -> RecipientTest:
    question = context.ask_of_recipients(needles, original=rule.recipient_address_type == "original")
    none = no(f"no recipient of the message has any of {some(written)}")

    def test(case: Case, _: Address) -> Seen:
        match case.facts.findings.get(question):
            case Among(needle, address) if needle:
                return yes(f"{address}, a recipient of the message, has '{needle}'")
            case Among():
                return none
            case Unknown(why):
                return unknown(f"it cannot be told whether any recipient has {some(written)}: {why}")
        return unknown("the recipients of the message have not been looked through", question)

    return test
