"""What can be asked about what became of messages."""

from __future__ import annotations

import msgspec

from lockgate.flow.asking.ask import Ask


class TraceFind(Ask, frozen=True, tag="trace_find"):
    """Trace rows, newest first; `after`: go on behind the row with this cursor.

    Filters: sender, recipient, sender_domain, recipient_domain, id, message_id, ip, from_ip, to_ip, connector,
    inbound_connector, outbound_connector, rule, status, revision, pool, subject, organisation, since, until.
    """

    filters: dict[str, str] = msgspec.field(default_factory=dict)
    limit: int = 100
    after: str = ""


class TraceFollow(Ask, frozen=True, tag="trace_follow"):
    """Rows that are new or have changed since `mark` ("": from now on), as {"rows": [...], "mark": the next one}."""

    filters: dict[str, str] = msgspec.field(default_factory=dict)
    mark: str = ""


class TraceShow(Ask, frozen=True, tag="trace_show"):
    """One message with its events and its explanation."""

    id: str
