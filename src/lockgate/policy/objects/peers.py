"""IP allow and block lists, and the operator's limits (specification 1.8, 1.22, 2.5)."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from lockgate.policy.spelling import DOCUMENT, NetworkText, ObjectName, Size

Count = Annotated[int, Field(ge=1, le=10_000_000)]


class ConnectionFilter(BaseModel):
    """An organisation's connection filter: one for each, always on. Allow wins over block."""

    model_config = DOCUMENT

    organisation: ObjectName = Field("", description="Whose it is; may be left out where there is one organisation")
    ip_allow_list: tuple[NetworkText, ...] = Field((), description="Their content is not judged")
    ip_block_list: tuple[NetworkText, ...] = Field((), description="Refused at RCPT with 550 5.7.513")
    enable_safe_list: bool = Field(False, description="Carried through for later use")
    admin_display_name: str = Field("", max_length=255, description="For people")


class Limits(BaseModel):
    """What the operator allows everybody. Connections are counted over all workers, IPv6 peers by /64."""

    model_config = DOCUMENT

    connections: Count = Field(10_000, description="Open connections in all")
    connections_per_peer: Count = Field(200, description="Open connections from one IPv4 address or IPv6 /64")
    recipients_per_message: Count = Field(1000, description="Further ones are put off (4.5.3)")
    message_size: Size = Field(150 * 1024**2, ge=1024, description="Largest message")
    errors_per_connection: Count = Field(20, description="Mistakes before the connection is closed")
    own_hops: Count = Field(20, description="Passes through this installation before a loop is seen")
    received_hops: Count = Field(30, description="Received fields before a loop is seen")


class Operator(BaseModel):
    """The operator's own wishes, for all organisations. The lists act at connect; allow wins over block."""

    model_config = DOCUMENT

    limits: Limits = Field(Limits(), description="See above")
    ip_allow_list: tuple[NetworkText, ...] = Field((), description="Exceptions from the block list")
    ip_block_list: tuple[NetworkText, ...] = Field((), description="Refused instead of the greeting")
