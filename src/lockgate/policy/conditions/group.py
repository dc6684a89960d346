"""Members of groups: of the sender, of the recipient, and of whom the header names (specification 1.15.3 to 1.15.6).

Groups within groups count. A group that is gone has no members, so the rule goes quiet, and its explanation says why.
"""

from __future__ import annotations

from collections.abc import Iterable

from pydantic import BaseModel, Field, RootModel

from lockgate.mail.address import Address
from lockgate.mail.findings import Belongs, BelongsTo, Unknown
from lockgate.policy.kinds import condition
from lockgate.policy.objects.rules import MailFlowRule
from lockgate.policy.reading import Context
from lockgate.policy.rules import Case, RecipientTest, Seen, no, unknown, yes
from lockgate.policy.spelling import MailboxText
from lockgate.policy.texts import some

Groups = tuple[MailboxText, ...]
"""Addresses of distribution groups."""


def is_member(case: Case, organisation: str, groups: Groups, whom: Iterable[str], who: str) -> Seen:
    """Whether one of these addresses (`Address.key` forms) belongs to one of the groups; `who` they are, in words."""
    doubt = ""
    asks: list[BelongsTo] = []
    gone: list[str] = []
    for address in dict.fromkeys(whom):
        for group in groups:
            question = BelongsTo(organisation, group.casefold(), address)
            match case.facts.findings.get(question):
                case Belongs(member=True):
                    return yes(f"{who} {address} belongs to {group}")
                case Belongs(gone=True):
                    gone.append(group)
                case Unknown(why):
                    doubt = doubt or f"it could not be found out who belongs to {group}: {why}"
                case None:
                    asks.append(question)
    if asks or doubt:
        return unknown(doubt or f"it has not been found out who belongs to {some(groups)}", *asks)
    lost = f"; there is no group {some(tuple(dict.fromkeys(gone)))}" if gone else ""
    return no(f"{who} belongs to none of {some(groups)}{lost}")


@condition("from_member_of", "The sender belongs to one of these groups", per_recipient=False)
class FromMemberOf(RootModel[Groups], frozen=True):
    """Specification 1.15.3; the rule's sender_address_location says which sender."""

    root: Groups = Field(min_length=1, description="Addresses of groups.", examples=[["sales@contoso.com"]])

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Ask the directory."""
        location = rule.sender_address_location

        def test(case: Case, _: Address) -> Seen:
            senders = [sender.address.casefold() for sender in context.senders(case, location)]
            return is_member(case, context.organisation, self.root, senders, "the sender")

        return test


@condition("sent_to_member_of", "The recipient belongs to one of these groups", per_recipient=True)
class SentToMemberOf(RootModel[Groups], frozen=True):
    """Specification 1.15.4."""

    root: Groups = Field(min_length=1, description="Addresses of groups.", examples=[["sales@contoso.com"]])

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Ask the directory."""

        def test(case: Case, recipient: Address) -> Seen:
            return is_member(case, context.organisation, self.root, [recipient.key], "the recipient")

        return test


@condition("between_member_of", "Sender and recipient belong to the two groups, either way round", per_recipient=True)
class BetweenMemberOf(BaseModel, frozen=True, extra="forbid"):
    """Specification 1.15.6: BetweenMemberOf1 and BetweenMemberOf2."""

    one: Groups = Field(min_length=1, description="Groups of the one side.", examples=[["sales@contoso.com"]])
    other: Groups = Field(min_length=1, description="Groups of the other.", examples=[["board@contoso.com"]])

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Ask the directory about both, both ways."""
        location = rule.sender_address_location

        def test(case: Case, recipient: Address) -> Seen:
            senders = [sender.address.casefold() for sender in context.senders(case, location)]
            ways: list[Seen] = []
            for left, right in ((self.one, self.other), (self.other, self.one)):
                first = is_member(case, context.organisation, left, senders, "the sender")
                second = is_member(case, context.organisation, right, [recipient.key], "the recipient")
                if first.hit == second.hit == "yes":
                    return yes(f"{first.because}, and {second.because}")
                ways.append(_both(first, second))
            return next((seen for seen in ways if seen.hit == "unknown"), ways[0])

        return test


def _both(first: Seen, second: Seen) -> Seen:
    """Neither is a miss: what has to be known; else the miss."""
    if "no" in (first.hit, second.hit):
        return first if first.hit == "no" else second
    return unknown(first.because if first.hit == "unknown" else second.because, *first.asks, *second.asks)


# --- whom the header names: the same for all recipients


def _named(context: Context, case: Case, fields: tuple[str, ...]) -> list[str]:
    return [box.address.casefold() for name in fields for box in context.mailboxes(case, name)]


def _names(context: Context, fields: tuple[str, ...], wanted: tuple[MailboxText, ...]) -> RecipientTest:
    keys = {text.casefold() for text in wanted}
    where = " and ".join(name.title() for name in fields)

    def test(case: Case, _: Address) -> Seen:
        if case.facts.message is None:
            return unknown("there is no message yet")
        found = next((address for address in _named(context, case, fields) if address in keys), None)
        return no(f"{where} names none of {some(wanted)}") if found is None else yes(f"{where} names {found}")

    return test


def _member_named(context: Context, fields: tuple[str, ...], groups: Groups) -> RecipientTest:
    where = " and ".join(name.title() for name in fields)

    def test(case: Case, _: Address) -> Seen:
        if case.facts.message is None:
            return unknown("there is no message yet")
        return is_member(case, context.organisation, groups, _named(context, case, fields), f"whom {where} names,")

    return test


@condition("any_of_to_header", "To names one of these, whoever the recipients are", per_recipient=False)
class AnyOfToHeader(RootModel[tuple[MailboxText, ...]], frozen=True):
    """Specification 1.15.5; a group may be named too."""

    root: tuple[MailboxText, ...] = Field(
        min_length=1, description="Addresses of people or groups.", examples=[["all@contoso.com"]]
    )

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Look in To."""
        return _names(context, ("to",), self.root)


@condition("any_of_cc_header", "Cc names one of these, whoever the recipients are", per_recipient=False)
class AnyOfCcHeader(RootModel[tuple[MailboxText, ...]], frozen=True):
    """Specification 1.15.5; a group may be named too."""

    root: tuple[MailboxText, ...] = Field(
        min_length=1, description="Addresses of people or groups.", examples=[["board@contoso.com"]]
    )

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Look in Cc."""
        return _names(context, ("cc",), self.root)


@condition("any_of_to_cc_header", "To or Cc names one of these, whoever the recipients are", per_recipient=False)
class AnyOfToCcHeader(RootModel[tuple[MailboxText, ...]], frozen=True):
    """Specification 1.15.5; a group may be named too."""

    root: tuple[MailboxText, ...] = Field(
        min_length=1, description="Addresses of people or groups.", examples=[["all@contoso.com"]]
    )

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Look in both."""
        return _names(context, ("to", "cc"), self.root)


@condition("any_of_to_header_member_of", "To names a member of one of these groups", per_recipient=False)
class AnyOfToHeaderMemberOf(RootModel[Groups], frozen=True):
    """Specification 1.15.5."""

    root: Groups = Field(min_length=1, description="Addresses of groups.", examples=[["sales@contoso.com"]])

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Ask the directory about everybody in To."""
        return _member_named(context, ("to",), self.root)


@condition("any_of_cc_header_member_of", "Cc names a member of one of these groups", per_recipient=False)
class AnyOfCcHeaderMemberOf(RootModel[Groups], frozen=True):
    """Specification 1.15.5."""

    root: Groups = Field(min_length=1, description="Addresses of groups.", examples=[["board@contoso.com"]])

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Ask the directory about everybody in Cc."""
        return _member_named(context, ("cc",), self.root)


@condition("any_of_to_cc_header_member_of", "To or Cc names a member of one of these groups", per_recipient=False)
class AnyOfToCcHeaderMemberOf(RootModel[Groups], frozen=True):
    """Specification 1.15.5."""

    root: Groups = Field(min_length=1, description="Addresses of groups.", examples=[["sales@contoso.com"]])

    def compile_in(self, context: Context, rule: MailFlowRule) -> RecipientTest:
        """Ask the directory about everybody in both."""
        return _member_named(context, ("to", "cc"), self.root)
