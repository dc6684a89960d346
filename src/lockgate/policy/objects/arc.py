"""Whose word about a sender an organisation takes (specification 1.13.3, Exchange's Set-ArcConfig)."""

from __future__ import annotations

from pydantic import BaseModel, Field

from lockgate.policy.spelling import Comment, DomainName, ObjectName


class ArcConfig(BaseModel, frozen=True, extra="forbid"):
    """Forwarders and gateways whose ARC seals are trusted: what they found of an author replaces our own failure.

    A chain counts if it holds and its last seal and its last message signature are both of a listed domain. It only
    matters where an anti-phishing policy asks who the author is.
    """

    name: ObjectName = Field(
        "Default", description="Name, unique among the organisation's ARC settings", examples=["Default"]
    )
    organisation: ObjectName = Field(
        description="Whose setting it is; may be left out when there is one organisation", examples=["contoso"]
    )
    trusted_arc_sealers: tuple[DomainName, ...] = Field(
        description="Domains (d=) whose seals are trusted; names below them are not included",
        examples=[["lists.example", "gateway.example"]],
    )
    comment: Comment = Field("", description="Note for people", examples=["the gateway in front of us"])
