"""Whom we talk to, and how much: IP allow and block lists (specification 1.8) and the operator's limits."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from lockgate.policy.spelling import Comment, NetworkText, ObjectName, Size


class ConnectionFilter(BaseModel, frozen=True, extra="forbid"):
    """The connection filter policy of an organisation; there is one, named Default. Allow wins over block."""

    name: Literal["Default"] = Field("Default", description="Always Default", examples=["Default"])
    organisation: ObjectName = Field(
        description="Whose filter it is; may be left out when there is one organisation", examples=["contoso"]
    )
    ip_allow_list: tuple[NetworkText, ...] = Field(
        (),
        description="Peers whose mail skips the content filter; malware, TLS and relay checks stay",
        examples=[["192.0.2.25", "198.51.100.0/24", "203.0.113.1-203.0.113.9"]],
    )
    ip_block_list: tuple[NetworkText, ...] = Field(
        (), description="Peers whose mail is refused", examples=[["192.0.2.66", "2001:db8::/32"]]
    )
    gateway_ip_addresses: tuple[NetworkText, ...] = Field(
        (),
        description="Perimeter gateways of the organisation; they count as if they were on the allow list",
        examples=[["192.0.2.30"]],
    )
    enable_safe_list: bool = Field(
        default=False, description="Use the maintained list of good senders", examples=[True]
    )
    admin_display_name: str = Field("", max_length=255, description="Note for people", examples=["our partners"])
    comment: Comment = Field("", description="Note for people", examples=["reviewed in March"])


class Limits(BaseModel, frozen=True, extra="forbid"):
    """The operator's limits; they hold for everybody. A peer is an IPv4 address or an IPv6 /64."""

    connections_per_peer: int = Field(
        50, ge=1, le=1_000_000, description="Most simultaneous connections of one peer", examples=[20]
    )
    connections: int = Field(
        10_000, ge=1, le=10_000_000, description="Most simultaneous connections in all", examples=[20000]
    )
    message_size: Size = Field(
        150 * 1024**2, ge=65536, le=4 * 1024**3, description="Largest message, in octets as encoded", examples=["150MB"]
    )
    recipients_per_message: int = Field(
        1000, ge=100, le=100_000, description="Most recipients of one transaction (RFC 5321 4.5.3.1.8)", examples=[500]
    )
    derived_recipients_per_message: int = Field(
        100_000,
        ge=1000,
        le=500_000,
        description="Most recipients that groups and forwarding make of one message; a group beyond that is refused",
        examples=[20000],
    )
    own_hops: int = Field(20, ge=2, le=100, description="So many passes through this service are a loop", examples=[20])
    received_hops: int = Field(30, ge=5, le=100, description="So many Received fields are a loop", examples=[30])
    errors_per_connection: int = Field(
        20, ge=1, le=1000, description="After so many mistakes a connection is closed", examples=[10]
    )


class Operator(BaseModel, frozen=True, extra="forbid"):
    """What the operator of the installation lays down for everybody: limits, and lists that act at connect."""

    limits: Limits = Field(Limits(), description="Limits that hold for everybody", examples=[{"connections": 20000}])
    ip_allow_list: tuple[NetworkText, ...] = Field(
        (), description="Peers that the block list does not concern", examples=[["192.0.2.25"]]
    )
    ip_block_list: tuple[NetworkText, ...] = Field(
        (), description="Peers that are refused at connect", examples=[["192.0.2.0/24", "2001:db8::/32"]]
    )
