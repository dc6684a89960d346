"""Mail flow rules as written: when, unless, then (specification 1.15).

Conditions, exceptions and actions are further keys of the same table; the catalog adds a field for each of them, so
that none is listed here.
"""

from __future__ import annotations

from typing import Literal

from pydantic import AwareDatetime, BaseModel, Field

from lockgate.mail.ruling import Severity
from lockgate.policy.spelling import Comment, ObjectName


class MailFlowRule(BaseModel, frozen=True, extra="forbid"):
    """What every rule has, whatever its conditions and actions. Without conditions every message matches."""

    name: ObjectName = Field(description="Name, unique among the organisation's rules", examples=["City"])
    organisation: ObjectName = Field(
        description="Whose rule it is; may be left out when there is one organisation", examples=["contoso"]
    )
    priority: int | None = Field(
        None, ge=0, le=1_000_000, description="0 is first; without it the rule comes last, in order", examples=[0]
    )
    enabled: bool = Field(default=True, description="Whether the rule acts", examples=[False])
    mode: Literal["enforce", "audit", "audit_and_notify"] = Field(
        "enforce",
        description="enforce: the actions are carried out; audit: it is only told what they would do, and an incident "
        "report is sent; audit_and_notify: so is a notification",
        examples=["audit"],
    )
    activation_date: AwareDatetime | None = Field(
        None, description="The rule acts from then on", examples=["2026-12-01T08:00:00+01:00"]
    )
    expiry_date: AwareDatetime | None = Field(
        None, description="The rule acts no more from then on", examples=["2027-01-07T00:00:00Z"]
    )
    sender_address_location: Literal["header", "envelope", "header_or_envelope"] = Field(
        "header",
        description="Where conditions about the sender look: at From, at the envelope, or at both",
        examples=["header_or_envelope"],
    )
    rule_error_action: Literal["ignore", "defer"] = Field(
        "ignore",
        description="When it can never be told whether the rule matches, because of a limit (an outage is waited for): "
        "go on without it, or put the message off",
        examples=["defer"],
    )
    stop_rule_processing: bool = Field(
        default=False, description="If the rule matches, no later rule is looked at", examples=[True]
    )
    set_audit_severity: Severity = Field(
        Severity.NOT_SAID,
        description="How grave a hit is, as trace, explanation and incident report tell it: low, medium or high; "
        "do_not_audit leaves it out of statistics",
        examples=["high"],
    )
    comments: Comment = Field("", description="Note for people", examples=["mail for the New Orleans site"])
