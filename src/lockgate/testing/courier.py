"""A courier that writes down what it was given: seams.Courier for tests."""

from __future__ import annotations

from collections.abc import Callable

from lockgate.mail.hop import Cargo, NextHop
from lockgate.mail.outcome import Fate, Outcome
from lockgate.mail.replies import OK
from lockgate.mail.reply import Reply
from lockgate.seams import Taken

Answers = Callable[[NextHop, Cargo], Reply]
"""The next hop's reply to a message; may raise Unreachable."""


class RecordingCourier:
    """Keeps (hop, cargo) in `carried`; every recipient gets the reply that `answers` gives."""

    def __init__(self, answers: Answers = lambda hop, cargo: OK) -> None:
        self._answers = answers
        self.carried: list[tuple[NextHop, Cargo]] = []
        self.closed = False

    async def carry(self, hop: NextHop, cargo: Cargo, taken: Taken) -> tuple[Outcome, ...]:
        """One outcome per recipient."""
        self.carried.append((hop, cargo))
        reply = self._answers(hop, cargo)
        fate = Fate.DELIVERED if reply.accepts else Fate.DEFERRED if reply.temporary else Fate.FAILED
        outcomes = tuple(Outcome(number, fate, reply, "recording:25") for number in range(len(cargo.recipients)))
        if fate is Fate.DELIVERED:
            taken(outcomes)
        return outcomes

    async def close(self) -> None:
        """Nothing to say."""
        self.closed = True
