"""What Exchange reserves, or knows from elsewhere: conditions that are kept and never hit (specification 1.15.3 to 7).

A rule that has one as a condition does nothing; as an exception it spares nobody.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field, RootModel

from lockgate.mail.address import Address
from lockgate.policy.kinds import Told, condition
from lockgate.policy.rules import Case, RecipientTest, Seen, no


def _never(because: str) -> RecipientTest:
    seen = no(f"it is kept from Exchange and never matches here: {because}")

    def test(_: Case, __: Address) -> Seen:
        return seen

    return test


def _told(name: str, because: str, mend: str) -> Told:
    return Told(
        f"{name} never matches here: {because}",
        "as a condition it keeps the rule from ever acting, as an exception it spares nobody",
        mend,
    )


_LISTS = "Exchange reserves it, and nothing says what is in such a list"
_OVERRIDE = "whether a sender overrode a policy is known to Outlook and Exchange only"
_KINDS = "nothing here recognises kinds of sensitive data"


@condition("sender_in_recipient_list", "Kept of a rule from Exchange; it never matches", per_recipient=False)
class SenderInRecipientList(RootModel[tuple[str, ...]], frozen=True):
    """Specification 1.15.3: reserved."""

    root: tuple[str, ...] = Field(min_length=1, description="Names of lists, as Exchange has them.", examples=[["L1"]])

    def compile(self) -> RecipientTest:
        """See Condition."""
        return _never(_LISTS)

    def left_out(self) -> Told:
        """See LeftOut."""
        return _told("sender_in_recipient_list", _LISTS, "name the senders in `from`, or a group in `from_member_of`")


@condition("recipient_in_sender_list", "Kept of a rule from Exchange; it never matches", per_recipient=True)
class RecipientInSenderList(RootModel[tuple[str, ...]], frozen=True):
    """Specification 1.15.4: reserved."""

    root: tuple[str, ...] = Field(min_length=1, description="Names of lists, as Exchange has them.", examples=[["L1"]])

    def compile(self) -> RecipientTest:
        """See Condition."""
        return _never(_LISTS)

    def left_out(self) -> Told:
        """See LeftOut."""
        mend = "name the recipients in `sent_to`, or a group in `sent_to_member_of`"
        return _told("recipient_in_sender_list", _LISTS, mend)


@condition("has_sender_override", "Kept of a rule from Exchange; it never matches", per_recipient=False)
class HasSenderOverride(RootModel[Literal[True]], frozen=True):
    """Specification 1.15.3: on-premises DLP only."""

    root: Literal[True] = Field(description="Only `true` makes sense.", examples=[True])

    def compile(self) -> RecipientTest:
        """See Condition."""
        return _never(_OVERRIDE)

    def left_out(self) -> Told:
        """See LeftOut."""
        mend = "agree on a word in the subject, and test it with `subject_contains_words`"
        return _told("has_sender_override", _OVERRIDE, mend)


@condition(
    "message_contains_data_classifications", "Kept of a rule from Exchange; it never matches", per_recipient=False
)
class MessageContainsDataClassifications(RootModel[tuple[dict[str, str | int], ...]], frozen=True):
    """Specification 1.15.7: DLP, on-premises only."""

    root: tuple[dict[str, str | int], ...] = Field(
        min_length=1, description="Tables as Exchange has them.", examples=[[{"name": "Credit Card Number"}]]
    )

    def compile(self) -> RecipientTest:
        """See Condition."""
        return _never(_KINDS)

    def left_out(self) -> Told:
        """See LeftOut."""
        mend = "describe the data with `subject_or_body_matches_patterns`"
        return _told("message_contains_data_classifications", _KINDS, mend)
