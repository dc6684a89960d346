"""Carrying mail to its next hop, and asking there."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol

import msgspec

from lockgate.mail.findings import Said, Unknown
from lockgate.mail.hop import Cargo, NextHop
from lockgate.mail.outcome import Outcome
from lockgate.mail.reply import Reply


class Unreachable(Exception):
    """No server of the next hop let a transaction begin; the lane backs off. `reply` says why.

    `permanent` is True only for answers that mean "never": null MX (5.1.10), no such domain (5.1.2), a loop (5.4.14).
    """

    def __init__(self, reply: Reply, *, permanent: bool = False, host: str = "", tls: str = "") -> None:
        super().__init__(str(reply))
        self.reply = reply
        self.permanent = permanent
        self.host = host
        self.tls = tls


Taken = Callable[[Sequence[Outcome]], None]
"""Told of delivered recipients in the instant in which the next hop's answer is read, before anything else is done."""


class Courier(Protocol):
    """Carries one message to a next hop over a kept connection. Kept by couriers/smtp.py."""

    async def carry(self, hop: NextHop, cargo: Cargo, taken: Taken) -> tuple[Outcome, ...]:
        """One outcome per recipient, always; those delivered have been told to `taken` by then.

        What dies between the next hop's 250 and `taken` is carried again, so nothing is awaited in between.
        Raises Unreachable when no transaction could begin.
        """

    async def close(self) -> None:
        """Say QUIT on all idle connections."""


class Asked(msgspec.Struct, frozen=True):
    """What a host said to MAIL FROM:<> and to RCPT (None: it did not let it come to that)."""

    mail: Reply
    rcpt: Reply | None
    host: str


class Verifier(Protocol):
    """Asks a next hop whether it would take a recipient; no mail is carried. Kept by couriers/verify.py."""

    async def verify(self, hop: NextHop, address: str) -> Asked:
        """What the next hop says. Raises Unreachable when no transaction could begin."""


class Callout(Protocol):
    """Would the next hop take this recipient? Kept by probes/directory/callout.py."""

    async def ask(self, hop: NextHop, organisation: str, address: str) -> Said | Unknown:
        """Its final answer, perhaps a remembered one; Unknown if it gave none in time. Never raises."""
