"""What can happen to a message: one event class for trace, log lines and counters."""

from __future__ import annotations

import enum

import msgspec


class Status(enum.StrEnum):
    """The one status word per recipient (specification 1.18, amendments)."""

    PENDING = "Pending"
    DELIVERED = "Delivered"
    EXPANDED = "Expanded"
    RESOLVED = "Resolved"
    FILTERED_AS_SPAM = "FilteredAsSpam"
    QUARANTINED = "Quarantined"
    FAILED = "Failed"
    HELD = "Held"
    REFUSED = "Refused"
    DROPPED = "Dropped"


class Happening(enum.StrEnum):
    """The kinds of event (specification 1.18)."""

    RECEIVE = "Receive"
    SEND = "Send"
    DELIVER = "Deliver"
    DEFER = "Defer"
    FAIL = "Fail"
    HOLD = "Hold"
    RELEASE = "Release"
    DROP = "Drop"
    EXPAND = "Expand"
    RESOLVED = "Resolved"
    DSN = "DSN"
    RULE = "Rule"
    REFUSE = "Refuse"


class Event(msgspec.Struct, frozen=True, array_like=True, omit_defaults=True):
    """One thing that happened to one recipient's copy, at `at` seconds since the epoch.

    `pool` names the source addresses that were used to carry it.
    """

    at: float
    kind: Happening
    detail: str = ""
    reply: str = ""
    host: str = ""
    tls: str = ""
    pool: str = ""
