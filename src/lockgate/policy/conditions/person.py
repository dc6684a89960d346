"""Who the sender is in the directory, and who manages whom (specification 1.15.3, 1.15.6).

The attribute `manager` holds the manager's address.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, RootModel

from lockgate.mail.address import Address
from lockgate.mail.findings import Known, Unknown, WhoIs
from lockgate.policy.conditions.recipient import seen_in_attributes
from lockgate.policy.kinds import condition
from lockgate.policy.objects.rules import MailFlowRule
from lockgate.policy.reading import Context
from lockgate.policy.rules import Case, RecipientTest, Seen, no, unknown, yes
from lockgate.policy.spelling import MailboxText
from lockgate.policy.text import Needle, pattern, word
from lockgate.policy.texts import Attribute, Expressions, Words, some

Attributes = dict[str, str]
_NOBODY: Attributes = {}


def sender_attributes(context: Context, case: Case, location: str) -> tuple[str, Attributes] | Seen:
    """The sender's address and attributes in the directory, none for a stranger; else what has to be known first."""
    senders = [sender.address.casefold() for sender in context.senders(case, location)]
    for address in senders:
        question = WhoIs(context.organisation, address)
        match case.facts.findings.get(question):
            case Known(who) if who is not None:
                return address, {**who.attributes, "email": who.attributes.get("email", who.primary.text)}
            case Unknown(why):
                return unknown(f"the directory cannot say who {address} is: {why}")
            case None:
                return unknown(f"it has not been found out who {address} is", question)
    return (senders[0] if senders else "nobody"), _NOBODY


@condition(
    "sender_ad_attribute_contains_words", "An attribute of the sender has one of these words", per_recipient=False
)
class SenderAdAttributeContainsWords(RootModel[dict[Attribute, Words]], frozen=True):
    """Specification 1.15.3: SenderADAttributeContainsWords; one attribute that hits is enough."""

    root: dict[Attribute, Words] = Field(
        min_length=1, description="Directory attributes, each with words.", examples=[{"department": ["Sales"]}]
    )

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Look in the attributes of the sender's object."""
        needles = {name: [word(text) for text in texts] for name, texts in self.root.items()}
        return _in_attributes(context, rule, needles)


@condition(
    "sender_ad_attribute_matches_patterns", "An attribute of the sender matches an expression", per_recipient=False
)
class SenderAdAttributeMatchesPatterns(RootModel[dict[Attribute, Expressions]], frozen=True):
    """Specification 1.15.3: SenderADAttributeMatchesPatterns; one attribute that hits is enough."""

    root: dict[Attribute, Expressions] = Field(
        min_length=1, description="Directory attributes, each with expressions.", examples=[{"department": ["^Sal"]}]
    )

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Look in the attributes of the sender's object."""
        needles = {name: [pattern(text) for text in texts] for name, texts in self.root.items()}
        return _in_attributes(context, rule, needles)


def _in_attributes(context: Context, rule: MailFlowRule, needles: dict[str, list[Needle]]) -> RecipientTest:
    finders = {name: context.look_for(f"sender's {name}", some_of_them) for name, some_of_them in needles.items()}
    location = rule.sender_address_location

    def test(case: Case, _: Address) -> Seen:
        found = sender_attributes(context, case, location)
        if isinstance(found, Seen):
            return found
        sender, attributes = found
        return seen_in_attributes(finders, attributes, sender)

    return test


@condition("sender_management_relationship", "One of sender and recipient manages the other", per_recipient=True)
class SenderManagementRelationship(RootModel[Literal["manager", "direct_report"]], frozen=True):
    """Specification 1.15.6: manager: the sender manages the recipient; direct_report: the other way round."""

    root: Literal["manager", "direct_report"] = Field(
        description="What the sender is to the recipient: manager or direct_report.", examples=["manager"]
    )

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """By the attribute `manager` of whoever is managed."""
        location, above = rule.sender_address_location, self.root == "manager"

        def test(case: Case, recipient: Address) -> Seen:
            if above:
                manager = _manager(case.standing.who_attributes)
                senders = [sender.address.casefold() for sender in context.senders(case, location)]
                said = f"the manager of {recipient} is {manager or 'not known'}"
                return yes(said) if manager and manager in senders else no(said)
            found = sender_attributes(context, case, location)
            if isinstance(found, Seen):
                return found
            manager = _manager(found[1])
            said = f"the manager of {found[0]} is {manager or 'not known'}"
            return yes(said) if manager and manager == recipient.key else no(said)

        return test


@condition("manager_for_evaluated_user", "One of these manages the sender, or the recipient", per_recipient=True)
class ManagerForEvaluatedUser(BaseModel, frozen=True, extra="forbid"):
    """Specification 1.15.6: ManagerForEvaluatedUser and ManagerAddresses."""

    user: Literal["sender", "recipient"] = Field(description="Whose manager is meant.", examples=["recipient"])
    managers: tuple[MailboxText, ...] = Field(
        min_length=1, description="Addresses of managers.", examples=[["boss@contoso.com", "ana@contoso.com"]]
    )

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """By the attribute `manager`."""
        location, wanted = rule.sender_address_location, {text.casefold() for text in self.managers}

        def test(case: Case, recipient: Address) -> Seen:
            whom, attributes = recipient.text, case.standing.who_attributes
            if self.user == "sender":
                found = sender_attributes(context, case, location)
                if isinstance(found, Seen):
                    return found
                whom, attributes = found
            manager = _manager(attributes)
            said = f"the manager of {whom} is {manager or 'not known'}"
            return yes(said) if manager in wanted else no(f"{said}, none of {some(self.managers)}")

        return test


@condition("ad_attribute_comparison", "An attribute of sender and recipient is the same, or is not", per_recipient=True)
class AdAttributeComparison(BaseModel, frozen=True, extra="forbid"):
    """Specification 1.15.6: ADComparisonAttribute and ADComparisonOperator; one who lacks it is not equal."""

    attribute: Attribute = Field(description="A directory attribute.", examples=["department"])
    operator: Literal["equal", "not_equal"] = Field(
        "equal", description="equal or not_equal.", examples=["equal"]
    )

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Compare, case does not count."""
        location, name, wanted = rule.sender_address_location, self.attribute, self.operator == "equal"

        def test(case: Case, recipient: Address) -> Seen:
            found = sender_attributes(context, case, location)
            if isinstance(found, Seen):
                return found
            mine, theirs = found[1].get(name, ""), case.standing.who_attributes.get(name, "")
            equal = mine != "" and mine.casefold() == theirs.casefold()
            said = f"the {name} of {found[0]} is '{mine}', that of {recipient} is '{theirs}'"
            return yes(said) if equal == wanted else no(said)

        return test


def _manager(attributes: Attributes) -> str:
    return attributes.get("manager", "").strip().casefold()
