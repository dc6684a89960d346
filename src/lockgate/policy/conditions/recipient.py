"""To whom: conditions about one recipient. The message is split where they differ (specification 1.15.4)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar, Literal

from pydantic import Field, RootModel

from lockgate.mail.address import Address
from lockgate.policy.found import Bounds
from lockgate.policy.kinds import condition
from lockgate.policy.objects.rules import MailFlowRule
from lockgate.policy.reading import Context, Finder, Read
from lockgate.policy.rules import Case, RecipientTest, Seen, no, yes
from lockgate.policy.spelling import DomainName, MailboxText
from lockgate.policy.text import Needle, pattern, word
from lockgate.policy.texts import Attribute, Expressions, Words, some
from lockgate.policy.tries import DomainMap


@condition("recipient_domain_is", "The recipient's domain is one of these, or below one", per_recipient=True)
class RecipientDomainIs(RootModel[tuple[DomainName, ...]], frozen=True):
    """Specification 1.15.4; subdomains included (C-4)."""

    root: tuple[DomainName, ...] = Field(
        min_length=1, description="Domains; their subdomains are included.", examples=[["contoso.com", "fabrikam.com"]]
    )

    by_domain_alone: ClassVar[Literal[True]] = True
    of_recipient_address: ClassVar[Literal[True]] = True

    def bounds(self) -> Bounds:
        """It can hit nobody else."""
        return Bounds(recipient_domains=self.root)

    def compile(self) -> RecipientTest:
        """Test the domain of the recipient."""
        exact = {domain: yes(f"the recipient's domain is {domain}") for domain in self.root}
        known = DomainMap((f"*.{domain}", domain) for domain in self.root)
        others = ", ".join(self.root[:5]) + (", ..." if len(self.root) > 5 else "")

        def test(_: Case, recipient: Address) -> Seen:
            seen = exact.get(recipient.domain)
            if seen is not None:
                return seen
            found = known.find(recipient.domain)
            if found is None:
                return no(f"{recipient.domain} is none of {others}")
            return yes(f"{recipient.domain} is below {found}")

        return test


@condition("sent_to", "The recipient is one of these", per_recipient=True)
class SentTo(RootModel[tuple[MailboxText, ...]], frozen=True):
    """Specification 1.15.4; the primary address counts, unless the rule says recipient_address_type = "original"."""

    root: tuple[MailboxText, ...] = Field(
        min_length=1, description="Addresses of people, not of groups.", examples=[["ana@contoso.com"]]
    )

    def bounds(self) -> Bounds:
        """It can hit nobody else."""
        return Bounds(recipients=self.root)

    of_recipient_address: ClassVar[Literal[True]] = True

    def compile(self) -> RecipientTest:
        """Compare whole addresses, whatever their case."""
        known = {text.casefold() for text in self.root}

        def test(_: Case, recipient: Address) -> Seen:
            said = f"the recipient is {recipient}"
            return yes(said) if recipient.key in known else no(f"{said}, none of {some(self.root)}")

        return test


@condition("sent_to_scope", "The recipient is inside or outside of the organisation", per_recipient=True)
class SentToScope(RootModel[Literal["in_organization", "not_in_organization"]], frozen=True):
    """Specification 1.15.4."""

    root: Literal["in_organization", "not_in_organization"] = Field(
        description="in_organization or not_in_organization.", examples=["in_organization"]
    )

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Inside is who has an address in an accepted domain; a copy that is forwarded outside is not."""
        inside, own = self.root == "in_organization", context.own

        def test(_: Case, recipient: Address) -> Seen:
            mine = not recipient.domain or own.find(recipient.domain) is not None
            said = f"{recipient} is {'' if mine else 'not '}in an accepted domain of the organisation"
            return yes(said) if mine == inside else no(said)

        return test


@condition("recipient_address_contains_words", "The recipient's address has one of these words", per_recipient=True)
class RecipientAddressContainsWords(RootModel[Words], frozen=True):
    """Specification 1.15.4."""

    root: Words = Field(description="Whole words or phrases.", examples=[["ana", "info"]])

    of_recipient_address: ClassVar[Literal[True]] = True

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Look in the address."""
        return _in_address(context, self.root, [word(text) for text in self.root])


@condition("recipient_address_matches_patterns", "The recipient's address matches an expression", per_recipient=True)
class RecipientAddressMatchesPatterns(RootModel[Expressions], frozen=True):
    """Specification 1.15.4."""

    root: Expressions = Field(description="Regular expressions.", examples=[["@contoso", r"^\d+@"]])

    of_recipient_address: ClassVar[Literal[True]] = True

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Look in the address."""
        return _in_address(context, self.root, [pattern(text) for text in self.root])


def _in_address(context: Context, written: tuple[str, ...], needles: list[Needle]) -> RecipientTest:
    found_in = context.look_for("recipient", needles)

    def test(_: Case, recipient: Address) -> Seen:
        found = found_in(recipient.text)
        if found is None:
            return no(f"{recipient} has none of {some(written)}")
        return yes(f"{recipient} has '{found[0]}'")

    return context.only_where(test, (found_in, lambda _, recipient: (recipient.text,)))


@condition(
    "recipient_ad_attribute_contains_words", "An attribute of the recipient has one of these words", per_recipient=True
)
class RecipientAdAttributeContainsWords(RootModel[dict[Attribute, Words]], frozen=True):
    """Specification 1.15.4: RecipientADAttributeContainsWords; one attribute that hits is enough."""

    root: dict[Attribute, Words] = Field(
        min_length=1, description="Directory attributes, each with words.", examples=[{"city": ["New Orleans"]}]
    )

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Look in the attributes of the recipient's object."""
        return _in_attributes(context, {name: [word(text) for text in texts] for name, texts in self.root.items()})


@condition(
    "recipient_ad_attribute_matches_patterns", "An attribute of the recipient matches an expression", per_recipient=True
)
class RecipientAdAttributeMatchesPatterns(RootModel[dict[Attribute, Expressions]], frozen=True):
    """Specification 1.15.4: RecipientADAttributeMatchesPatterns; one attribute that hits is enough."""

    root: dict[Attribute, Expressions] = Field(
        min_length=1, description="Directory attributes, each with expressions.", examples=[{"city": ["^New "]}]
    )

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Look in the attributes of the recipient's object."""
        return _in_attributes(context, {name: [pattern(text) for text in texts] for name, texts in self.root.items()})


def _in_attributes(context: Context, needles: dict[str, list[Needle]]) -> RecipientTest:
    finders = {name: context.look_for(f"attribute {name}", some_of_them) for name, some_of_them in needles.items()}

    def test(case: Case, recipient: Address) -> Seen:
        return seen_in_attributes(finders, case.standing.who_attributes, recipient.text)

    return context.only_where(test, *[(found_in, _reading(name)) for name, found_in in finders.items()])


def _reading(attribute: str) -> Read:
    def read(case: Case, _: Address) -> tuple[str, ...] | None:
        value = case.standing.who_attributes.get(attribute)
        return (value,) if value else ()

    return read


def seen_in_attributes(finders: Mapping[str, Finder], attributes: Mapping[str, str], whose: str) -> Seen:
    """What is found in the attributes of this one: the first that hits, else what they are."""
    for name, found_in in finders.items():
        value = attributes.get(name, "")
        found = found_in(value) if value else None
        if found is not None:
            return yes(f"the {name} of {whose} is '{value}', which has '{found[0]}'")
    said = ", ".join(f"{name} '{attributes[name]}'" for name in finders if attributes.get(name))
    return no(f"{whose} has {said or 'no ' + ', '.join(finders)}")
