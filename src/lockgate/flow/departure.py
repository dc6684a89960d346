"""What leaves: the copies of a task as they go on the wire, made at each attempt from the message as it lies there.

The stored octets are never touched. A copy that needs nothing is carried as it is; otherwise internal header fields
that it came with are settled, the header is changed as mail flow rules ask, and the finishes are applied in their order
(the internal fields that go its way, the results of authentication, then the seal of the chain, then our signature,
which covers all of them). Recipients whose envelope sender is rewritten get a parcel of their own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import NamedTuple

import msgspec

from lockgate.flow.firewall import settle_incoming
from lockgate.mail.address import Address
from lockgate.mail.envelope import Envelope
from lockgate.mail.header_edits import HeaderEdit, edited
from lockgate.mail.octets import SeenOctets
from lockgate.mail.task import PLAIN, Assigned
from lockgate.policy.policy import Policy

Finish = Callable[[Policy, Assigned, bytes], Awaitable[bytes]]
"""Gives back the octets of the message with what it adds or takes away. What it cannot do now raises OSError."""

Rewrite = Callable[[Address, str, float], Address]
"""The envelope sender under this domain at this time (mail/srs.py: `rewrite`, with the secret of the installation)."""


class Parcel(NamedTuple):
    """One transaction: `recipients` are numbers within the task; `seen` is what is known of the octets."""

    envelope: Envelope
    recipients: tuple[int, ...]
    content: bytes
    seen: SeenOctets | None = None


def whole(task: Assigned, content: bytes) -> Parcel:
    """The task as one parcel, as it lies there."""
    return Parcel(task.envelope, tuple(range(len(task.recipients))), content, task.seen)


class Departure(msgspec.Struct, frozen=True):
    """Makes parcels; wired once by the app."""

    finishes: tuple[Finish, ...]
    rewrite: Rewrite | None = None

    def as_it_is(self, task: Assigned) -> bool:
        """Whether nothing is done to any copy of this task."""
        return task.stamp == PLAIN and not any(one.rewrite or one.edits for one in task.recipients)

    async def dress(self, policy: Policy, task: Assigned, content: bytes) -> tuple[Parcel, ...]:
        """The parcels of this task, at least one; the same at each attempt, but for changed keys.

        Raises OSError when a finish is not possible now.
        """
        groups: dict[tuple[HeaderEdit, ...], dict[str, list[int]]] = {}
        for number, recipient in enumerate(task.recipients):
            groups.setdefault(recipient.edits, {}).setdefault(recipient.rewrite, []).append(number)
        behind = settle_incoming(task.stamp, content)
        parcels: list[Parcel] = []
        for edits, by_domain in groups.items():
            ready = edited(behind, edits)
            for finish in self.finishes:
                ready = await finish(policy, task, ready)
            parcels += [Parcel(self._envelope(task, name), tuple(some), ready) for name, some in by_domain.items()]
        return tuple(parcels)

    def _envelope(self, task: Assigned, domain: str) -> Envelope:
        envelope = task.envelope
        if not domain or envelope.sender is None or self.rewrite is None:
            return envelope
        return msgspec.structs.replace(envelope, sender=self.rewrite(envelope.sender, domain, task.received))
