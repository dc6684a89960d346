"""Who carries to this next hop: the network's courier, or the one who goes to the mailboxes of this machine?"""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any

from lockgate.mail import replies
from lockgate.mail.hop import Cargo, HopKind, NextHop
from lockgate.mail.outcome import Outcome
from lockgate.seams import Courier, Taken, Unreachable


class Sorting:
    """Implements seams.Courier by handing on to others. `mailboxes` is None where the operator has no directory."""

    def __init__(self, network: Courier, mailboxes: Courier | None) -> None:
        self._network = network
        self._mailboxes = mailboxes

    def carry(self, hop: NextHop, cargo: Cargo, taken: Taken) -> Coroutine[Any, Any, tuple[Outcome, ...]]:
        """One outcome per recipient (seams.Courier); what is awaited is the courier's own work."""
        if hop.kind is not HopKind.MAILDIR:
            return self._network.carry(hop, cargo, taken)
        if self._mailboxes is None:
            raise Unreachable(replies.waits("The operator's file has no [mailboxes] directory."), host=hop.store)
        return self._mailboxes.carry(hop, cargo, taken)

    async def close(self) -> None:
        """All of them."""
        await self._network.close()
        if self._mailboxes is not None:
            await self._mailboxes.close()
