"""What is done elsewhere: actions of Exchange that are kept and not done (specification 1.15.9).

Where a copy that goes on would pass for what it is not (approved, refused, cut off), it is held for a person instead.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from pydantic import BaseModel, Field, RootModel

from lockgate.mail.ruling import Effects, Hold
from lockgate.policy.kinds import Told, action
from lockgate.policy.objects.rules import MailFlowRule
from lockgate.policy.reading import Context
from lockgate.policy.rules import Change
from lockgate.policy.spelling import MailboxText

HELD = "so the copy is held until a person releases it"


def held(rule: MailFlowRule, because: str) -> Change:
    """The copy is held with the reason, unless the rule ends its way otherwise."""
    end = Hold(f"rule {rule.name}: {because}")

    def change(effects: Effects) -> Effects:
        return effects if effects.end is not None else msgspec.structs.replace(effects, end=end)

    return change


def passed_over() -> Change:
    """Nothing is done."""
    return lambda effects: effects


_APPROVAL = "somebody has to approve it, and nobody is asked here"
_MODERATION = "mail that nobody has looked at must not go as if it had been approved"
_RELEASE = "release it with `lockgate hold`, or write `quarantine = true`, which says the same"


@action("moderate_message_by_user", "Kept of a rule from Exchange; nobody is asked, the message is held")
class ModerateMessageByUser(RootModel[tuple[MailboxText, ...]], frozen=True):
    """Specification 1.15.9: approval by one of these."""

    root: tuple[MailboxText, ...] = Field(
        min_length=1, description="Addresses of those who would approve it.", examples=[["boss@contoso.com"]]
    )

    def compile_in(self, context: Context, rule: MailFlowRule) -> Change:
        """Held."""
        return held(rule, _APPROVAL)

    def left_out(self) -> Told:
        """See LeftOut."""
        return Told(f"no message is sent round for approval here, {HELD}", _MODERATION, _RELEASE)


@action("moderate_message_by_manager", "Kept of a rule from Exchange; nobody is asked, the message is held")
class ModerateMessageByManager(RootModel[Literal[True]], frozen=True):
    """Specification 1.15.9: approval by the sender's manager; also held where no manager is known."""

    root: Literal[True] = Field(description="Only `true` makes sense.", examples=[True])

    def compile_in(self, context: Context, rule: MailFlowRule) -> Change:
        """Held."""
        return held(rule, _APPROVAL)

    def left_out(self) -> Told:
        """See LeftOut."""
        return Told(f"no message is sent round for approval here, {HELD}", _MODERATION, _RELEASE)


Tip = Literal[
    "notify_only", "reject_message", "reject_unless_false_positive_override", "reject_unless_silent_override",
    "reject_unless_explicit_override",
]  # fmt: skip
"""What the sender is told, and whether the message goes if the sender insists."""


@action("notify_sender", "Kept of a rule from Exchange; the sender is not told, and what would be rejected is held")
class NotifySender(RootModel[Tip], frozen=True):
    """Specification 1.15.9: policy tips of DLP."""

    root: Tip = Field(description="What the sender is told, and may insist on.", examples=["reject_message"])

    def compile_in(self, context: Context, rule: MailFlowRule) -> Change:
        """Held if it would be rejected."""
        if self.root == "notify_only":
            return passed_over()
        return held(rule, "its sender would be told, and it would be rejected unless the sender insists")

    def left_out(self) -> Told:
        """See LeftOut."""
        if self.root == "notify_only":
            return Told("no sender is told by policy tips here; the rule does the rest", "the sender hears nothing",
                        "leave it away")  # fmt: skip
        return Told(f"nobody can insist on a message here, {HELD}", "what should be rejected must not go",
                    "reject_message refuses it, with a text of yours")  # fmt: skip


@action("disconnect", "Kept of a rule from Exchange; no session is ended, the message is held")
class Disconnect(RootModel[Literal[True]], frozen=True):
    """Specification 1.15.9: edge servers only."""

    root: Literal[True] = Field(description="Only `true` makes sense.", examples=[True])

    def compile_in(self, context: Context, rule: MailFlowRule) -> Change:
        """Held."""
        return held(rule, "its session would be ended without taking it")

    def left_out(self) -> Told:
        """See LeftOut."""
        return Told(f"rules end no SMTP session here, {HELD}", "what should never be taken must not go",
                    "reject_message refuses it, delete_message drops it")  # fmt: skip


@action("smtp_reject_message", "Kept of a rule from Exchange; the message is held")
class SmtpRejectMessage(BaseModel, frozen=True, extra="forbid"):
    """Specification 1.15.9: SmtpRejectMessageRejectText and SmtpRejectMessageRejectStatusCode; edge servers only."""

    reject_text: str = Field("", max_length=400, description="What the sender would be told.", examples=["No"])
    reject_status_code: Annotated[int, Field(ge=400, le=599)] = Field(
        550, description="The reply code.", examples=[550]
    )

    def compile_in(self, context: Context, rule: MailFlowRule) -> Change:
        """Held."""
        return held(rule, "it would be rejected as an edge server does")

    def left_out(self) -> Told:
        """See LeftOut."""
        return Told(f"rules of edge servers are not carried out here, {HELD}", "what should be rejected must not go",
                    "reject_message refuses it, with 5.7.1 or 5.7.900 to 5.7.999")  # fmt: skip


@action("log_event_text", "Kept of a rule from Exchange; nothing is written into an event log")
class LogEventText(RootModel[str], frozen=True):
    """Specification 1.15.9: edge servers only; the trace tells of every rule that acted."""

    root: str = Field(min_length=1, max_length=1024, description="The text of the event.", examples=["seen"])

    def compile(self) -> Change:
        """See Action."""
        return passed_over()

    def left_out(self) -> Told:
        """See LeftOut."""
        return Told("there is no event log to write into; the rule does the rest", "who looks there finds nothing",
                    "`lockgate trace find --rule NAME` shows the messages to which a rule applied")  # fmt: skip
