"""An organisation: whose mail flow this is, and the settings that hold for all of it (specification 1.23)."""

from __future__ import annotations

import enum
from typing import Literal

from pydantic import BaseModel, Field

from lockgate.policy.spelling import Comment, Duration, FilePath, MailboxText, ObjectName, Size


class Edition(enum.StrEnum):
    """What the organisation may use (amendments); ALL refuses nothing."""

    ALL = "all"
    STANDALONE = "standalone"
    BUNDLE = "bundle"
    HOSTED = "hosted"


class Organisation(BaseModel, frozen=True, extra="forbid"):
    """One organisation. Absent values (None) leave the matter to the operator's settings."""

    name: ObjectName = Field(description="Name of the organisation; other objects refer to it", examples=["contoso"])
    display_name: str = Field("", max_length=256, description="Name shown to people", examples=["Contoso Ltd"])
    edition: Edition = Field(
        Edition.ALL, description="Which features are entitled; 'all' refuses nothing", examples=["standalone"]
    )
    compatibility: Literal["", "exchange"] = Field(
        "", description="With 'exchange' the limits and refusals of Exchange hold to the letter", examples=["exchange"]
    )
    message_expiration: Duration | None = Field(
        None, ge=1, le=7 * 86400, description="How long a message is tried before it is returned", examples=["24h"]
    )
    reject_direct_send: bool = Field(
        default=True,
        description="Refuse mail from the Internet that claims a domain of this organisation",
        examples=[True],
    )
    external_postmaster_address: MailboxText | None = Field(
        None,
        description="Who is named as the author of reports to the outside; otherwise postmaster@ the default domain",
        examples=["postmaster@contoso.com"],
    )
    send_tls_reports: bool = Field(
        default=False,
        description="Tell domains that ask for it once a day how TLS with their mail servers went (RFC 8460)",
        examples=[True],
    )
    certificate_file: FilePath | None = Field(
        None,
        description="Client certificate shown to servers that ask for one, unless the connector has its own",
        examples=["/etc/lockgate/contoso.pem"],
    )
    key_file: FilePath | None = Field(
        None, description="Private key of the client certificate", examples=["/etc/lockgate/contoso.key"]
    )
    max_recipient_envelope_limit: int | None = Field(
        None, ge=1, le=100_000, description="Most recipients of one message of this organisation", examples=[1000]
    )
    disable_plus_address_in_recipients: bool = Field(
        default=False,
        description="ana+tag@ is not ana@; otherwise it is, unless a recipient has the very address",
        examples=[True],
    )
    max_receive_size: Size | None = Field(
        None, ge=1, description="Largest message that its recipients may receive, in octets", examples=["150MB"]
    )
    max_send_size: Size | None = Field(
        None, ge=1, description="Largest message that its senders may send, in octets", examples=["150MB"]
    )
    smtp_client_authentication_disabled: bool = Field(
        default=False, description="Nobody of this organisation may log in to submit mail", examples=[True]
    )
    allow_legacy_tls_clients: bool = Field(
        default=False, description="Let senders of this organisation use TLS 1.0 and 1.1", examples=[True]
    )
    reply_all_storm_protection_enabled: bool = Field(
        default=True, description="Stop storms of replies to everybody", examples=[False]
    )
    reply_all_storm_detection_minimum_recipients: int = Field(
        2500, ge=1, description="A conversation with at least so many recipients may be a storm", examples=[1000]
    )
    reply_all_storm_detection_minimum_replies: int = Field(
        10, ge=2, description="So many replies within an hour are a storm", examples=[10]
    )
    reply_all_storm_block_duration: Duration = Field(
        6 * 3600, ge=3600, le=24 * 3600, description="How long a storm is stopped", examples=["6h"]
    )
    rfc2231_encoding_enabled: bool = Field(
        default=False, description="Write long parameters of header fields by RFC 2231", examples=[True]
    )
    inbound_ipv6: bool = Field(
        default=True,
        description="Accept mail over IPv6; in Exchange's compatibility it must be opted in",
        examples=[True],
    )
    trace_retention: Duration | None = Field(
        None, ge=86400, le=3650 * 86400, description="How long its trace is kept; otherwise as the operator says",
        examples=["30d"],
    )
    trace_masking: Literal["none", "local_parts", "all"] | None = Field(
        None,
        description="What is hidden in trace, log and exports: local parts of addresses and subjects, or all of both",
        examples=["local_parts"],
    )
    trace_facts: bool | None = Field(
        None, description="Keep the facts of each message, by which it can be explained and replayed", examples=[False]
    )
    trace_subjects: bool | None = Field(None, description="Keep subjects in the trace", examples=[False])
    hold_retention: Duration | None = Field(
        None, ge=3600, le=365 * 86400, description="How long held mail is kept before it is deleted", examples=["30d"]
    )
    report_addresses: tuple[MailboxText, ...] = Field(
        (),
        strict=False,
        max_length=100,
        description="Recipients whose mail is read as DMARC and TLS reports besides being delivered",
        examples=[["dmarc@contoso.com"]],
    )
    report_retention: Duration = Field(
        365 * 86400, ge=86400, le=3650 * 86400, description="How long reports, received and sent, are kept",
        examples=["90d"],
    )
    comment: Comment = Field("", description="Note for people", examples=["customer since 2026"])

    @property
    def exchange(self) -> bool:
        """Whether Exchange's limits and refusals hold to the letter."""
        return self.compatibility == "exchange"
