"""The end of its way: actions after which no later rule is looked at (specification 1.15.9)."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from pydantic import AfterValidator, BaseModel, Field, RootModel

from lockgate.mail import replies
from lockgate.mail.ruling import Drop, Effects, Hold, Refuse
from lockgate.policy.kinds import action
from lockgate.policy.objects.rules import MailFlowRule
from lockgate.policy.reading import Context
from lockgate.policy.rules import Change

_DEFAULT = "Delivery not authorized, message refused"


def _enhanced(text: str) -> str:
    detail = text.removeprefix("5.7.")
    if detail == text or not (detail == "1" or (detail.isdigit() and 900 <= int(detail) <= 999)):
        raise ValueError(f"'{text[:20]}' is not 5.7.1 nor one of 5.7.900 to 5.7.999")
    return text


def _line(text: str) -> str:
    if not text.isprintable() or text != text.strip() or not text.isascii():
        raise ValueError("the reason goes into an SMTP reply: one printable line of ASCII, no space at either end")
    return text


@action("reject_message", "The message is refused, before it is accepted where that is possible")
class RejectMessage(BaseModel, frozen=True, extra="forbid"):
    """Specification 1.15.9: RejectMessageReasonText and RejectMessageEnhancedStatusCode."""

    reason_text: Annotated[str, AfterValidator(_line)] = Field(
        _DEFAULT,
        min_length=1,
        max_length=400,
        description="What the sender is told.",
        examples=["Not without a ticket"],
    )
    enhanced_status_code: Annotated[str, AfterValidator(_enhanced)] = Field(
        "5.7.1", description="5.7.1, or 5.7.900 to 5.7.999.", examples=["5.7.901"]
    )

    def compile(self) -> Change:
        """The refusal."""
        return _ending(Refuse(replies.rejected_by_rule(self.enhanced_status_code, self.reason_text)))


@action("quarantine", "The message is accepted and held until a person has looked at it")
class Quarantine(RootModel[Literal[True]], frozen=True):
    """Specification 1.15.9; on release no rule is looked at again."""

    root: Literal[True] = Field(description="Only `true` makes sense.", examples=[True])

    def compile_in(self, context: Context, rule: MailFlowRule) -> Change:
        """Held, with the rule as the reason."""
        return _ending(Hold(f"rule {rule.name}"))


@action("delete_message", "The message is accepted and thrown away; nobody is told")
class DeleteMessage(RootModel[Literal[True]], frozen=True):
    """Specification 1.15.9; the trace says which rule it was."""

    root: Literal[True] = Field(description="Only `true` makes sense.", examples=[True])

    def compile_in(self, context: Context, rule: MailFlowRule) -> Change:
        """Dropped, with the rule as the reason."""
        return _ending(Drop(f"rule {rule.name}"))


def _ending(end: Refuse | Hold | Drop) -> Change:
    """The first end counts: an action beside it in the same rule changes nothing."""

    def change(effects: Effects) -> Effects:
        return effects if effects.end is not None else msgspec.structs.replace(effects, end=end)

    return change
