"""Remote domains: what our automatic and formatted mail may look like for a destination (specification 1.5)."""

from __future__ import annotations

import enum
from types import MappingProxyType
from typing import Literal

from pydantic import BaseModel, Field

from lockgate.policy.spelling import Comment, DomainPattern, ObjectName

_AS_WRITTEN = "texts are passed on in the character set in which they were written"
CARRIED = MappingProxyType(
    {
        "meeting_forward_notification_enabled": "nothing in the header of such a notice says that it is one",
        "tnef_enabled": "formatted mail is passed on as its author's program wrote it",
        "content_type": "formatted mail is passed on as its author's program wrote it",
        "character_set": _AS_WRITTEN,
        "non_mime_character_set": _AS_WRITTEN,
        "byte_encoder_type_for_7bit_charsets": "texts are passed on in the encoding in which they were written",
        "line_wrap_size": "lines are passed on as they were written",
        "preferred_internet_code_page_for_shift_jis": _AS_WRITTEN,
        "required_charset_coverage": _AS_WRITTEN,
        "display_sender_name": "From is passed on as it was written, or signatures would break",
        "use_simple_display_name": "From is passed on as it was written, or signatures would break",
        "trusted_mail_outbound_enabled": "the other side has nothing by which it could know the mark",
    }
)
"""What is kept for import and export, and why a relay that passes messages on unchanged does nothing with it."""


class OofType(enum.StrEnum):
    """Which out-of-office text leaves; the legacy ones are for mail programs that know only one text."""

    EXTERNAL = "external"
    EXTERNAL_LEGACY = "external_legacy"
    INTERNAL_LEGACY = "internal_legacy"
    NONE = "none"


class RemoteDomain(BaseModel, frozen=True, extra="forbid"):
    """A destination outside, and what may leave to it. `*` is the one that holds where no other does.

    It need not be written: without it the defaults hold. A more specific domain wins.
    """

    domain_name: DomainPattern = Field(
        description="The destination; *.x covers x and all below it, * is the default for everybody",
        examples=["*.fabrikam.example"],
    )
    name: ObjectName | None = Field(None, description="Name shown to people, if not the domain", examples=["Fabrikam"])
    organisation: ObjectName = Field(
        description="Whose setting it is; may be left out when there is one organisation", examples=["contoso"]
    )
    allowed_oof_type: OofType = Field(
        OofType.EXTERNAL,
        description="Which out-of-office text leaves; 'none' lets no automatic reply out",
        examples=["none"],
    )
    auto_forward_enabled: bool = Field(
        default=True, description="Forwarding that people set up themselves may leave", examples=[False]
    )
    auto_reply_enabled: bool = Field(default=True, description="Automatic replies may leave", examples=[False])
    delivery_report_enabled: bool = Field(
        default=True, description="Senders there get reports of success", examples=[False]
    )
    ndr_enabled: bool = Field(
        default=True, description="Senders there get reports of failure and of delay", examples=[False]
    )
    meeting_forward_notification_enabled: bool = Field(
        default=True, description="Notices that a meeting was forwarded may leave", examples=[False]
    )
    tnef_enabled: bool | None = Field(
        None, description="Send in TNEF; unset follows what each recipient wants", examples=[False]
    )
    content_type: Literal["mime_html_text", "mime_text", "mime_html"] = Field(
        "mime_html_text", description="Which texts formatted mail is made of", examples=["mime_text"]
    )
    character_set: str = Field("", max_length=64, description="Character set of MIME text", examples=["utf-8"])
    non_mime_character_set: str = Field(
        "", max_length=64, description="Character set of mail without MIME", examples=["iso-8859-1"]
    )
    byte_encoder_type_for_7bit_charsets: str = Field(
        "", max_length=64, description="Carried through on import and export", examples=["use_qp"]
    )
    line_wrap_size: int | None = Field(
        None, ge=0, le=132, description="Characters of a line; unset is no bound", examples=[76]
    )
    preferred_internet_code_page_for_shift_jis: str = Field(
        "", max_length=64, description="Carried through on import and export", examples=["50220"]
    )
    required_charset_coverage: int | None = Field(
        None, ge=0, le=100, description="Carried through on import and export", examples=[100]
    )
    display_sender_name: bool = Field(default=True, description="Show the sender's display name", examples=[False])
    use_simple_display_name: bool = Field(
        default=False, description="Show the simple display name instead", examples=[True]
    )
    trusted_mail_inbound_enabled: bool = Field(
        default=False,
        description="Mail from there shall skip content and recipient filters (which come later)",
        examples=[True],
    )
    trusted_mail_outbound_enabled: bool = Field(
        default=False, description="Mail to there is marked as trusted", examples=[True]
    )
    is_internal: bool = Field(default=False, description="The domain belongs to us in a hybrid", examples=[True])
    target_delivery_domain: bool = Field(
        default=False, description="Target addresses of a hybrid are made of this domain", examples=[True]
    )
    is_coexistence_domain: bool = Field(
        default=False, description="The domain by which the two sides of a hybrid address each other", examples=[True]
    )
    comment: Comment = Field("", description="Note for people", examples=["asked for plain text"])
