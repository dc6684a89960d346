"""Sender and recipients by which tasks in the queue are looked for: read once, compared with each task."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from lockgate.mail.address import kept_spelling
from lockgate.mail.task import TaskRecipient
from lockgate.storage.frames import What


class Correspondents(NamedTuple):
    """Addresses as they are kept, folded; None: anybody. One of the recipients is enough."""

    sender: str | None
    recipients: frozenset[str] | None

    def chosen(self, parts: What) -> tuple[TaskRecipient, ...]:
        """The recipients of a task that are meant, by target or as they were named; none if the sender is another."""
        if self.sender is not None and parts.envelope.sender_text.casefold() != self.sender:
            return ()
        wanted = self.recipients
        if wanted is None:
            return parts.recipients
        return tuple([r for r in parts.recipients if r.target.key in wanted or r.id.original.key in wanted])


def correspondents_of(filters: Mapping[str, str]) -> Correspondents:
    """Of the filters `sender` and `recipient` (several: one a line)."""
    sender, recipients = filters.get("sender"), filters.get("recipient")
    named = None if recipients is None else [one for one in recipients.split("\n") if one]
    return Correspondents(
        None if sender is None else kept_spelling(sender).casefold(),
        None if named is None else frozenset([kept_spelling(one).casefold() for one in named]),
    )
