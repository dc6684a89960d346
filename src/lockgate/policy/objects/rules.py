"""Mail flow rules as written: when, unless, then (specification 1.15).

Conditions, exceptions and actions are further keys of the same table; the catalog adds a field for each of them, so
that none is listed here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from pydantic import AwareDatetime, BaseModel, Field, SerializerFunctionWrapHandler, model_serializer, model_validator

from lockgate.mail.ruling import Severity
from lockgate.policy.spelling import Comment, ObjectName, RuleName


class MailFlowRule(BaseModel, frozen=True, extra="forbid"):
    """What every rule has, whatever its conditions and actions. Without conditions every message matches."""

    name: RuleName = Field(description="Name, unique among the organisation's rules", examples=["City"])
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
    recipient_address_type: Literal["resolved", "original"] = Field(
        "resolved",
        description="Which address conditions about recipients' addresses test: the primary one, or the one it was sent"
        " to",
        examples=["original"],
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
    rule_sub_type: Literal["none", "dlp"] = Field(
        "none", description="Kept of a rule from Exchange; a dlp rule is a rule like others here", examples=["dlp"]
    )
    use_legacy_regex: bool = Field(
        default=False,
        description="Kept of a rule from Exchange; expressions are read as those of .NET here",
        examples=[True],
    )
    dlp_policy: str = Field(
        "", max_length=256, description="Kept of a rule from Exchange; there are no DLP policies here", examples=["PCI"]
    )
    set_audit_severity: Severity = Field(
        Severity.NOT_SAID,
        description="How grave a hit is, as trace, explanation and incident report tell it: low, medium or high; "
        "do_not_audit leaves it out of statistics",
        examples=["high"],
    )
    comments: Comment = Field("", description="Note for people", examples=["mail for the New Orleans site"])


EITHER = "either"
"""The key of groups of conditions, of which one that hits is enough."""

EXCEPT_IF_EITHER = "except_if_either"
"""The key of groups of conditions of which one that hits cancels the rule."""

MOST_GROUPS = 100
"""Groups of one rule, those within groups counted."""

DEEPEST_GROUP = 5
"""So many groups may lie within one another."""


class ConditionGroup(BaseModel, frozen=True, extra="forbid"):
    """Conditions and exceptions; the group hits if all of its conditions hit and none of its exceptions does.

    The catalog adds a field for each condition and exception, and for groups within the group.
    """

    @model_validator(mode="after")
    def _says_something(self) -> ConditionGroup:
        if not self.model_fields_set:
            raise ValueError("a group needs a condition or an exception; an empty one would hit every message")
        return self

    @model_serializer(mode="wrap")
    def _what_is_said(self, whole: SerializerFunctionWrapHandler) -> dict[str, Any]:
        return {key: value for key, value in whole(self).items() if value is not None}


def groups_of(holder: BaseModel) -> Iterator[tuple[str, int, ConditionGroup]]:
    """The groups that stand directly in a rule or a group: key, place among those of the key, and the group."""
    for key in (EITHER, EXCEPT_IF_EITHER):
        for place, group in enumerate(getattr(holder, key, None) or ()):
            yield key, place, group


def count_groups(groups: object) -> tuple[int, int]:
    """How many groups a value as it is written holds, and how deep they lie in one another; whatever else it holds."""
    count, deep, level = 0, 0, _written(groups)
    while level and deep <= DEEPEST_GROUP:  # what lies deeper is refused, however much it is
        count, deep = count + len(level), deep + 1
        level = [inner for group in level for key in (EITHER, EXCEPT_IF_EITHER) for inner in _written(group.get(key))]
    return count, deep


def _written(groups: object) -> list[dict[str, Any]]:
    return [group for group in groups if isinstance(group, dict)] if isinstance(groups, list | tuple) else []
