"""A mail flow rule as it is written: conditions, exceptions and actions stand as keys of their own (1.15)."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from lockgate.policy.spelling import DOCUMENT, Comment, ObjectName

EXCEPTION = "except_if_"
"""Every condition has an exception twin of this prefix (specification 1.15.1)."""


class MailFlowRule(BaseModel):
    """One rule. `conditions`, `exceptions` and `actions` hold (name in documents, what was read)."""

    model_config = DOCUMENT

    name: ObjectName = Field(description="What the rule is called", examples=["New Orleans"])
    organisation: ObjectName = Field("", description="Whose it is; may be left out where there is one organisation")
    priority: int | None = Field(None, ge=0, le=1_000_000, description="0 is first; unset: in the order of the files")
    enabled: bool = Field(True, description="Whether it is applied")
    mode: Literal["enforce"] = Field("enforce", description="Apply it")
    stop_rule_processing: bool = Field(False, description="If it matches, later rules are not looked at")
    comments: Comment = Field("", description="For people")
    conditions: tuple[tuple[str, Any], ...] = Field((), exclude=True)
    exceptions: tuple[tuple[str, Any], ...] = Field((), exclude=True)
    actions: tuple[tuple[str, Any], ...] = Field((), exclude=True)
    written: dict[str, Any] = Field({}, description="The conditions, exceptions and actions as they were written")


OWN_KEYS = frozenset({"name", "organisation", "priority", "enabled", "mode", "stop_rule_processing", "comments"})
"""Keys of a rule that are no condition, exception or action."""
