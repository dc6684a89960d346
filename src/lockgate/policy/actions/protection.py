"""Encryption and disclaimers: actions of Exchange that are kept and not done (specification 1.15.9).

What may leave encrypted only is held; what would be decrypted goes on as it came; no text is written into a message.
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field, RootModel

from lockgate.policy.actions.elsewhere import HELD, held, passed_over
from lockgate.policy.kinds import Told, action
from lockgate.policy.objects.rules import MailFlowRule
from lockgate.policy.reading import Context
from lockgate.policy.rules import Change

_CLEAR = "it may leave encrypted only, and nothing here encrypts messages"
_NOT_ENCRYPTED = Told(
    f"nothing here encrypts messages, {HELD}",
    "what somebody wanted to be read by its recipients alone must not leave in the clear",
    "route_message_outbound_require_tls protects it on its way, or route_message_outbound_connector leads it to a "
    "service that encrypts",
)
_NOT_DECRYPTED = Told(
    "nothing here decrypts messages; the rule does the rest",
    "the message stays as it came, and rules do not see what is in it",
    "leave it away, or let a connector lead the message to a service that decrypts",
)


@action("apply_ome", "Kept of a rule from Exchange; nothing is encrypted, the message is held")
class ApplyOme(RootModel[Literal[True]], frozen=True):
    """Specification 1.15.9: message encryption."""

    root: Literal[True] = Field(description="Only `true` makes sense.", examples=[True])

    def compile_in(self, context: Context, rule: MailFlowRule) -> Change:
        """Held."""
        return held(rule, _CLEAR)

    def left_out(self) -> Told:
        """See LeftOut."""
        return _NOT_ENCRYPTED


@action("apply_rights_protection_template", "Kept of a rule from Exchange; nothing is encrypted, the message is held")
class ApplyRightsProtectionTemplate(RootModel[str], frozen=True):
    """Specification 1.15.9: rights management."""

    root: str = Field(min_length=1, max_length=256, description="Name of the template.", examples=["Do Not Forward"])

    def compile_in(self, context: Context, rule: MailFlowRule) -> Change:
        """Held."""
        return held(rule, _CLEAR)

    def left_out(self) -> Told:
        """See LeftOut."""
        return _NOT_ENCRYPTED


@action(
    "apply_rights_protection_customization_template",
    "Kept of a rule from Exchange; nothing is encrypted, the message is held",
)
class ApplyRightsProtectionCustomizationTemplate(RootModel[str], frozen=True):
    """Specification 1.15.9: the look of encrypted messages."""

    root: str = Field(min_length=1, max_length=256, description="Name of the template.", examples=["OME Branding"])

    def compile_in(self, context: Context, rule: MailFlowRule) -> Change:
        """Held."""
        return held(rule, _CLEAR)

    def left_out(self) -> Told:
        """See LeftOut."""
        return _NOT_ENCRYPTED


@action("remove_ome", "Kept of a rule from Exchange; nothing is decrypted")
class RemoveOme(RootModel[Literal[True]], frozen=True):
    """Specification 1.15.9."""

    root: Literal[True] = Field(description="Only `true` makes sense.", examples=[True])

    def compile(self) -> Change:
        """See Action."""
        return passed_over()

    def left_out(self) -> Told:
        """See LeftOut."""
        return _NOT_DECRYPTED


@action("remove_ome_v2", "Kept of a rule from Exchange; nothing is decrypted")
class RemoveOmeV2(RootModel[Literal[True]], frozen=True):
    """Specification 1.15.9."""

    root: Literal[True] = Field(description="Only `true` makes sense.", examples=[True])

    def compile(self) -> Change:
        """See Action."""
        return passed_over()

    def left_out(self) -> Told:
        """See LeftOut."""
        return _NOT_DECRYPTED


@action("remove_rms_attachment_encryption", "Kept of a rule from Exchange; nothing is decrypted")
class RemoveRmsAttachmentEncryption(RootModel[Literal[True]], frozen=True):
    """Specification 1.15.9."""

    root: Literal[True] = Field(description="Only `true` makes sense.", examples=[True])

    def compile(self) -> Change:
        """See Action."""
        return passed_over()

    def left_out(self) -> Told:
        """See LeftOut."""
        return _NOT_DECRYPTED


_WITHOUT = Told(
    "no disclaimer is written here; the message goes without, and the rule does the rest",
    "recipients do not see the text",
    "let the mail server or the programs of people write it",
)
_NOT_WITHOUT = Told(
    f"no disclaimer is written here, {HELD}",
    'with fallback_action = "reject" the message may not go without',
    'fallback_action = "ignore" lets it go without',
)


@action("apply_html_disclaimer", "Kept of a rule from Exchange; no text is written into the message")
class ApplyHtmlDisclaimer(BaseModel, frozen=True, extra="forbid"):
    """Specification 1.15.9: ApplyHtmlDisclaimerText, Location and FallbackAction.

    The message goes without the text; with fallback_action = "reject" it is held, for it shall not go without.
    """

    text: str = Field(min_length=1, max_length=5000, description="The text, HTML.", examples=["<p>Contoso Ltd.</p>"])
    location: Literal["append", "prepend"] = Field("append", description="append or prepend.", examples=["prepend"])
    fallback_action: Literal["wrap", "ignore", "reject"] = Field(
        "wrap", description="If the message cannot have it: wrap, ignore or reject.", examples=["ignore"]
    )

    def compile_in(self, context: Context, rule: MailFlowRule) -> Change:
        """Held if it must not go without."""
        if self.fallback_action != "reject":
            return passed_over()
        return held(rule, "it may not go without its disclaimer, and nothing here writes one")

    def left_out(self) -> Told:
        """See LeftOut."""
        return _NOT_WITHOUT if self.fallback_action == "reject" else _WITHOUT
