"""What can be asked about what became of messages."""

from __future__ import annotations

import msgspec

from lockgate.flow.asking.ask import Ask


class TraceFind(Ask, frozen=True, tag="trace_find"):
    """Trace rows, newest first; filters: sender, recipient, id, ip, status, organisation, since, until, subject."""

    filters: dict[str, str] = msgspec.field(default_factory=dict)
    limit: int = 100


class TraceShow(Ask, frozen=True, tag="trace_show"):
    """One message with its events and its explanation."""

    id: str
