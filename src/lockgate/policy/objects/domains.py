"""Accepted domains: for which domains we receive, and how complete the directory is (specification 1.4)."""

from __future__ import annotations

import enum
from datetime import datetime

from pydantic import BaseModel, Field

from lockgate.mail.sts import StsMode
from lockgate.mail.sts_text import LONGEST_LIFE
from lockgate.policy.spelling import CertificateName, Comment, DomainName, Duration, ObjectName


class DomainType(enum.StrEnum):
    """How unknown recipients fare (specification 1.4, 1.7)."""

    AUTHORITATIVE = "authoritative"
    INTERNAL_RELAY = "internal_relay"


class EdgeBlocking(enum.StrEnum):
    """The three steps by which refusing unknown recipients is switched on."""

    OBSERVE = "observe"
    ESTIMATE = "estimate"
    ENFORCE = "enforce"


class RecipientValidation(enum.StrEnum):
    """Who is asked for recipients that the directory does not know."""

    DIRECTORY = "directory"
    CALL_FORWARD = "call_forward"


class AcceptedDomain(BaseModel, frozen=True, extra="forbid"):
    """A domain of an organisation. It receives nothing until it is proven or the operator vouches for it."""

    domain_name: DomainName = Field(description="The domain", examples=["contoso.com"])
    name: ObjectName | None = Field(None, description="Name shown to people, if not the domain", examples=["Main"])
    organisation: ObjectName = Field(
        description="Whose domain it is; may be left out when there is one organisation", examples=["contoso"]
    )
    domain_type: DomainType = Field(
        DomainType.AUTHORITATIVE,
        description="authoritative: unknown recipients are refused; internal_relay: they are relayed by a connector",
        examples=["internal_relay"],
    )
    edge_blocking: EdgeBlocking = Field(
        EdgeBlocking.ENFORCE,
        description="Unknown recipients: enforce refuses, observe takes and counts them, estimate also tells the log",
        examples=["observe"],
    )
    recipient_validation: RecipientValidation = Field(
        RecipientValidation.DIRECTORY,
        description="call_forward: the next hop is asked for recipients that the directory does not know",
        examples=["call_forward"],
    )
    alias_of: DomainName | None = Field(
        None,
        description="Its recipients are those of this accepted domain of the same organisation",
        examples=["contoso.com"],
    )
    match_sub_domains: bool = Field(
        default=False, description="Receive for every name below the domain too; needs internal_relay", examples=[True]
    )
    outbound_only: bool = Field(
        default=False, description="The domain only sends by this server and receives elsewhere", examples=[True]
    )
    default: bool = Field(
        default=False, description="Generated addresses (postmaster) are made of this domain", examples=[True]
    )
    initial_domain: bool = Field(
        default=False, description="The domain the installation gave out itself", examples=[True]
    )
    coexistence: bool = Field(
        default=False, description="The domain by which the two sides of a hybrid address each other", examples=[True]
    )
    sending_from_domain_disabled: bool = Field(
        default=False, description="No mail leaves from this domain", examples=[True]
    )
    sending_to_domain_disabled: bool = Field(
        default=False, description="No mail is taken for this domain", examples=[True]
    )
    proof: str = Field(
        "",
        max_length=255,
        description="Token that a TXT record of the domain must hold before the domain receives",
        examples=["lockgate-proof=7f3a9c"],
    )
    proven_at: datetime | None = Field(
        None, description="When the TXT record was last seen; written by the proof", examples=["2026-03-01T10:00:00Z"]
    )
    vouched_by_operator: bool = Field(
        default=False, description="The operator answers for the domain; no TXT record is needed", examples=[True]
    )
    pending_completion: bool = Field(default=False, description="Carried through on import and export", examples=[True])
    pending_removal: bool = Field(default=False, description="Carried through on import and export", examples=[True])
    can_have_cloud_cache: bool = Field(
        default=False, description="Carried through on import and export", examples=[True]
    )
    address_book_enabled: bool = Field(
        default=True, description="Carried through on import and export", examples=[False]
    )
    email_only: bool = Field(default=False, description="Carried through on import and export", examples=[True])
    mail_flow_region: str = Field("", description="Carried through on import and export", examples=["EUR"])
    smtp_dane_status: str = Field("", description="Carried through on import and export", examples=["Disabled"])
    authentication_type: str = Field("", description="Carried through on import and export", examples=["Managed"])
    catch_all_recipient_id: str = Field(
        "",
        max_length=320,
        description="Recipient who gets mail for unknown addresses: an address, or what stands before the @",
        examples=["info"],
    )
    mta_sts_mode: StsMode | None = Field(
        None,
        description="MTA-STS policy that is published: testing, enforce, none (withdraws one); unset: there is none",
        examples=["testing"],
    )
    mta_sts_max_age: Duration = Field(
        604800,
        ge=0,
        le=LONGEST_LIFE,
        description="How long others may keep the MTA-STS policy; weeks protect best, once enforce works",
        examples=["30d"],
    )
    mta_sts_mx: tuple[CertificateName, ...] = Field(
        (),
        max_length=50,
        description="Hosts that take its mail, for MX, MTA-STS and TLSA; none: the installation's hostname",
        examples=[["mx1.contoso.com", "mx2.contoso.com"]],
    )
    comment: Comment = Field("", description="Note for people", examples=["head office"])

    @property
    def receives(self) -> bool:
        """Whether the domain is proven or vouched for, so that mail for it is taken (amendments)."""
        return self.vouched_by_operator or self.proven_at is not None
