"""Anti-phishing policies: what becomes of mail whose author is not who it says (specification 1.13.1)."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from lockgate.policy.spelling import Comment, MailboxText, ObjectName


class AntiPhishingPolicy(BaseModel, frozen=True, extra="forbid"):
    """What becomes of mail from outside whose author is forged. Without one SPF, DKIM and DMARC are not asked.

    Where DMARC fails and the domain asks for quarantine, the mail is held. Own servers and logged-in sessions are
    exempt. Behind another gateway the true source is not seen, so this is not for mail that comes through one.
    """

    name: ObjectName = Field(description="Name, unique among the organisation's policies", examples=["Default"])
    organisation: ObjectName = Field(
        description="Whose policy it is; may be left out when there is one organisation", examples=["contoso"]
    )
    enabled: bool = Field(default=True, description="Whether the policy acts", examples=[False])
    honor_dmarc_policy: bool = Field(
        default=True,
        description="Follow what the author's domain asks for; otherwise all that would be refused is held",
        examples=[False],
    )
    dmarc_reject_action: Literal["reject", "quarantine"] = Field(
        "reject",
        description="Where DMARC fails and the domain asks for rejection: refuse (5.7.509) or hold it",
        examples=["quarantine"],
    )
    own_domain_spoof_action: Literal["none", "quarantine", "reject"] = Field(
        "quarantine",
        description="From names a domain of the organisation, and nothing proves it: deliver, hold, refuse (5.7.68)",
        examples=["reject"],
    )
    unclear_author_action: Literal["none", "quarantine", "reject"] = Field(
        "quarantine",
        description="No From, several, or a header that readers read differently: deliver, hold, refuse (5.7.512)",
        examples=["reject"],
    )
    enable_spoof_intelligence: bool = Field(
        default=True,
        description="Judge authors too whose domain demands nothing by DMARC (implicit authentication)",
        examples=[False],
    )
    authentication_fail_action: Literal["none", "quarantine"] | None = Field(
        None,
        description="Implicit failure: deliver or hold; with honor_dmarc_policy off for every failure. Left out:"
        " implicit failures are delivered, and what DMARC's wish is not followed for is held",
        examples=["quarantine"],
    )
    send_aggregate_reports: bool = Field(
        default=False,
        description="Count how mail of each domain fares, and tell the domains that ask for it once a day (RFC 9990)",
        examples=[True],
    )
    report_organization_name: str = Field(
        "",
        max_length=200,
        description="Who reports, as the readers of our reports see it; otherwise the organisation's display name",
        examples=["Contoso Ltd"],
    )
    report_contact: MailboxText | None = Field(
        None,
        description="The address that our reports come from, in a domain of the organisation; otherwise its postmaster",
        examples=["dmarc-reports@contoso.com"],
    )
    send_failure_reports: bool = Field(
        default=False,
        description="Tell domains that ask for it (ruf) of single messages that failed, without addresses or subjects",
        examples=[True],
    )
    failure_reports_per_hour: int = Field(
        10, ge=1, le=1000, description="Most failure reports about one domain in an hour", examples=[5]
    )
    comment: Comment = Field("", description="Note for people", examples=["since the invoices of March"])
