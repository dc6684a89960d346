"""Accepted domains and their directory duty (specification 1.4, amendments)."""

from __future__ import annotations

import datetime as dt
from typing import Literal

from pydantic import BaseModel, Field

from lockgate.policy.spelling import DOCUMENT, Comment, DomainName, MailboxText, ObjectName


class AcceptedDomain(BaseModel):
    """A domain for which mail is received. It receives nothing until it is proven or the operator vouches for it."""

    model_config = DOCUMENT

    domain_name: DomainName = Field(description="The domain", examples=["contoso.com"])
    organisation: ObjectName = Field("", description="Whose it is; may be left out where there is one organisation")
    domain_type: Literal["authoritative", "internal_relay"] = Field(
        "authoritative", description="authoritative: unknown recipients are refused; internal_relay: they are passed on"
    )
    match_sub_domains: bool = Field(False, description="Accept every name below as well; needs internal_relay")
    default: bool = Field(False, description="Source of generated addresses such as the postmaster's")
    initial_domain: bool = Field(False, description="The domain the organisation began with; cannot be removed")
    outbound_only: bool = Field(False, description="Used for sending; mail to it is received elsewhere")
    coexistence: bool = Field(False, description="The domain that hybrid routing uses between the two sides")
    sending_from_domain_disabled: bool = Field(False, description="Refuse mail from this domain")
    sending_to_domain_disabled: bool = Field(False, description="Refuse mail to this domain")
    vouched_by_operator: bool = Field(False, description="The operator answers for the right to use this domain")
    proof: str = Field("", max_length=255, description="The TXT record that proves the domain")
    proven_at: dt.datetime | None = Field(None, description="When the TXT record was seen")
    catch_all_recipient_id: MailboxText | None = Field(None, description="Carried through for later use")
    pending_completion: bool = Field(False, description="Carried through")
    pending_removal: bool = Field(False, description="Carried through")
    can_have_cloud_cache: bool = Field(False, description="Carried through")
    address_book_enabled: bool = Field(True, description="Carried through")
    email_only: bool = Field(False, description="Carried through")
    authentication_type: str = Field("", max_length=64, description="Carried through")
    smtp_dane_status: str = Field("", max_length=64, description="Carried through")
    mail_flow_region: str = Field("", max_length=64, description="Carried through")
    comment: Comment = Field("", description="For people")

    @property
    def receives(self) -> bool:
        """Whether the right to the domain is shown."""
        return self.vouched_by_operator or self.proven_at is not None
