"""From whom: conditions about the sender (specification 1.15.3).

Where they look is the rule's sender_address_location.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, RootModel

from lockgate.mail.address import Address
from lockgate.policy.found import Bounds
from lockgate.policy.kinds import condition
from lockgate.policy.networks import parse_networks
from lockgate.policy.objects.rules import MailFlowRule
from lockgate.policy.reading import ENVELOPE, Context
from lockgate.policy.rules import Case, RecipientTest, Seen, no, unknown, yes
from lockgate.policy.spelling import DomainName, MailboxText, NetworkText
from lockgate.policy.text import Needle, pattern, word
from lockgate.policy.texts import Expressions, Words, some
from lockgate.policy.tries import DomainMap, NetworkMap

_WHERE = {"header": "From", "envelope": "the envelope sender", "header_or_envelope": "From and the envelope sender"}


@condition("from", "The sender is one of these", per_recipient=False)
class From(RootModel[tuple[MailboxText, ...]], frozen=True):
    """Specification 1.15.3."""

    root: tuple[MailboxText, ...] = Field(
        min_length=1, description="Addresses of senders.", examples=[["ana@contoso.com", "bob@fabrikam.com"]]
    )

    def bounds(self) -> Bounds:
        """It can hit nobody else's mail."""
        return Bounds(senders=self.root)

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Compare whole addresses, whatever their case."""
        known, location = {text.casefold() for text in self.root}, rule.sender_address_location

        def test(case: Case, _: Address) -> Seen:
            for sender in context.senders(case, location):
                if sender.address.casefold() in known:
                    return yes(f"the sender is {sender.address}")
            return no(f"{_WHERE[location]} names none of {some(self.root)}")

        return test


@condition("from_address_contains_words", "The sender's address has one of these words", per_recipient=False)
class FromAddressContainsWords(RootModel[Words], frozen=True):
    """Specification 1.15.3."""

    root: Words = Field(description="Whole words or phrases.", examples=[["newsletter", "ana"]])

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Look in the address, not in the name beside it."""
        return _in_address(context, rule, self.root, [word(text) for text in self.root])


@condition("from_address_matches_patterns", "The sender's address matches an expression", per_recipient=False)
class FromAddressMatchesPatterns(RootModel[Expressions], frozen=True):
    """Specification 1.15.3; an empty From is found by nothing."""

    root: Expressions = Field(description="Regular expressions.", examples=[["^ana", r"\d{4}@"]])

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Look in the address, not in the name beside it."""
        return _in_address(context, rule, self.root, [pattern(text) for text in self.root])


def _in_address(context: Context, rule: MailFlowRule, written: tuple[str, ...], needles: list[Needle]) -> RecipientTest:
    location = rule.sender_address_location
    found_in = context.look_for(f"sender {location}", needles)

    def test(case: Case, _: Address) -> Seen:
        senders = context.senders(case, location)
        found = found_in(*[sender.address for sender in senders])
        if found is None:
            return no(f"{_WHERE[location]} has none of {some(written)}")
        return yes(f"the sender's address {found[1]} has '{found[0]}'")

    def read(case: Case, _: Address) -> tuple[str, ...] | None:
        if case.facts.message is None and location != ENVELOPE:
            return None
        return tuple([sender.address for sender in context.senders(case, location)])

    return context.only_where(test, (found_in, read))


@condition("sender_domain_is", "The sender's domain is one of these, or below one", per_recipient=False)
class SenderDomainIs(RootModel[tuple[DomainName, ...]], frozen=True):
    """Specification 1.15.3; subdomains included (C-4)."""

    root: tuple[DomainName, ...] = Field(
        min_length=1, description="Domains; their subdomains are included.", examples=[["contoso.com", "fabrikam.com"]]
    )

    def bounds(self) -> Bounds:
        """It can hit nobody else's mail."""
        return Bounds(sender_domains=self.root)

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Test the domain of the sender."""
        known, location = DomainMap((f"*.{domain}", domain) for domain in self.root), rule.sender_address_location
        none = no(f"{_WHERE[location]} names none of {some(self.root)}")

        def test(case: Case, _: Address) -> Seen:
            for sender in context.senders(case, location):
                found = known.find(sender.domain)
                if found is not None:
                    below = "" if sender.domain == found else f", which is below {found}"
                    return yes(f"the sender's domain is {sender.domain}{below}")
            return none

        return test


@condition("sender_ip_ranges", "The server that hands the message over has one of these addresses", per_recipient=False)
class SenderIpRanges(RootModel[tuple[NetworkText, ...]], frozen=True):
    """Specification 1.15.3: the last hop before us, not the origin."""

    root: tuple[NetworkText, ...] = Field(
        min_length=1,
        description="Addresses, CIDR networks or ranges.",
        examples=[["192.0.2.0/24", "198.51.100.1-198.51.100.9"]],
    )

    def compile(self) -> RecipientTest:
        """Longest prefix."""
        known = NetworkMap((network, text) for text in self.root for network in parse_networks(text))

        def test(case: Case, _: Address) -> Seen:
            connection = case.facts.connection
            found = known.find(connection.packed)
            if found is None:
                return no(f"{connection.peer} is in none of {some(self.root)}")
            return yes(f"{connection.peer} is in {found}")

        return test


@condition("from_scope", "The sender is inside or outside of the organisation", per_recipient=False)
class FromScope(RootModel[Literal["in_organization", "not_in_organization"]], frozen=True):
    """Specification 1.15.3 (FromScope): inside is who is proven to be, anonymous mail in our name is not."""

    root: Literal["in_organization", "not_in_organization"] = Field(
        description="in_organization or not_in_organization.", examples=["not_in_organization"]
    )

    def compile(self) -> RecipientTest:
        """Whose mail it is was decided by attribution."""
        inside = self.root == "in_organization"

        def test(case: Case, _: Address) -> Seen:
            if not case.standing.organisation:
                return unknown("it is not known whose mail it is")
            proven = case.standing.direction == "originating" and case.standing.own_domain
            because = "the session is the organisation's, and the sender's domain too"
            if not proven:
                because = "nothing proves that the sender is of the organisation"
            return yes(because) if proven == inside else no(because)

        return test
