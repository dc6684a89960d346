"""What can be asked about waiting messages."""

from __future__ import annotations

import msgspec

from lockgate.flow.asking.ask import Ask


class QueueList(Ask, frozen=True, tag="queue_list"):
    """Lanes; with a filter (lane, id, task, sender, recipient) the tasks that match."""

    filters: dict[str, str] = msgspec.field(default_factory=dict)


class QueueEdit(Ask, frozen=True, tag="queue_edit"):
    """Do `action` (retry, hold, release, delete) to the tasks that match; with `what_if` only say which they are."""

    action: str
    filters: dict[str, str]
    what_if: bool = False
