"""The organisation: whose mail this is, and what holds for all of it (specification 1.23, amendments)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from lockgate.policy.spelling import DOCUMENT, Comment, Duration, MailboxText, ObjectName, Size

HOUR = 3600


class Organisation(BaseModel):
    """One organisation with its settings."""

    model_config = DOCUMENT

    name: ObjectName = Field(description="What the organisation is called", examples=["contoso"])
    display_name: str = Field("", max_length=256, description="The name shown to people")
    edition: Literal["all", "standalone", "bundle", "hosted"] = Field(
        "all", description="Which features are licensed; 'all' refuses nothing"
    )
    compatibility: Literal["", "exchange"] = Field(
        "", description="'exchange' makes Exchange's limits and refusals hold to the letter"
    )
    external_postmaster_address: MailboxText | None = Field(
        None, description="Sender of delivery reports; unset: postmaster at the default domain"
    )
    message_expiration: Duration = Field(
        24 * HOUR, ge=60, le=7 * 24 * HOUR, description="How long a message may wait before it is returned"
    )
    max_receive_size: Size = Field(150 * 1024**2, ge=1024, description="Largest message to it, as it was received")
    max_send_size: Size = Field(150 * 1024**2, ge=1024, description="Largest message from it, as it was received")
    max_recipient_envelope_limit: int = Field(1000, ge=1, le=100_000, description="Recipients of one message")
    reject_direct_send: bool = Field(
        True, description="Refuse strangers that use a domain of this organisation as envelope sender (5.7.68)"
    )
    smtp_client_authentication_disabled: bool = Field(False, description="No submission with a login")
    reply_all_storm_protection_enabled: bool = Field(False, description="Carried through for later use")
    allow_legacy_tls_clients: bool = Field(False, description="Carried through for later use")
    rfc2231_encoding_enabled: bool = Field(True, description="Carried through for later use")
    accept_ipv6: bool = Field(True, description="In compatibility, mail over IPv6 has to be switched on (1.24)")
    wildcard_after_accepted_domains: bool = Field(
        False, description="Rank all_accepted_domains before wildcards when an outbound connector is chosen (C-1)"
    )
    trace_retention: Duration = Field(90 * 24 * HOUR, ge=HOUR, description="How long traces are kept")
    record_facts: bool = Field(True, description="Keep the facts of each message for explanation and replay")
    mask_personal_data: bool = Field(False, description="Keep addresses and subjects only in masked form")
    comment: Comment = Field("", description="For people")
