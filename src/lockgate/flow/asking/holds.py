"""What can be asked about held messages."""

from __future__ import annotations

import msgspec

from lockgate.flow.asking.ask import Ask


class HoldList(Ask, frozen=True, tag="hold_list"):
    """What is held, and what waits for the judge, newest first; `below` goes on behind the row with that task number.

    Filters: id, task, sender, recipient, organisation, why, state (held, pending), since, until.
    """

    filters: dict[str, str] = msgspec.field(default_factory=dict)
    limit: int = 100
    below: int = 0


class HoldShow(Ask, frozen=True, tag="hold_show"):
    """One message: its held tasks, header fields, what was known of it, and why it is held."""

    id: str


class HoldBody(Ask, frozen=True, tag="hold_body"):
    """A piece of the body of a held message, as it is stored: `octets` (base64) from `start` on, and its `size`."""

    id: str
    start: int = 0


class HoldEdit(Ask, frozen=True, tag="hold_edit"):
    """release or delete what matches (the filters of HoldList); with `what_if` only say which that is.

    With a recipient (several: one a line) it concerns these recipients only.
    """

    action: str
    filters: dict[str, str]
    what_if: bool = False
