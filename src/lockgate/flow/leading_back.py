"""Rewritten senders, there and back, with the secrets of this installation (mail/srs.py)."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from lockgate.flow.settle import Ask
from lockgate.mail.address import Address, AddressError, parse_address
from lockgate.mail.findings import Answer, LeadsBack, Original, Question
from lockgate.mail.srs import NoWayBack, rewrite, way_back


class WaysBack(msgspec.Struct, frozen=True):
    """Wired once by each process. The first secret makes addresses; all of them open what they closed.

    `now` gives seconds since the epoch.
    """

    secrets: tuple[bytes, ...]
    now: Callable[[], float]

    def rewrite(self, sender: Address, domain: str, at: float) -> Address:
        """The sender under our domain. A departure.Rewrite."""
        return rewrite(sender, domain, self.secrets[0], at)

    def original(self, address: str) -> Original:
        """Whom this address stands for."""
        try:
            return Original(way_back(parse_address(address, utf8=True), self.secrets, self.now()))
        except NoWayBack as trouble:
            return Original(None, str(trouble))
        except AddressError as trouble:
            return Original(None, f"it is no address ({trouble})")

    def over(self, otherwise: Ask) -> Ask:
        """Answers what is asked about such addresses; the rest is asked of `otherwise`. Nothing is awaited."""

        def ask(questions: tuple[Question, ...]) -> dict[Question, Answer]:
            mine = [question for question in questions if isinstance(question, LeadsBack)]
            if not mine:
                return otherwise(questions)
            rest = tuple([question for question in questions if not isinstance(question, LeadsBack)])
            found: dict[Question, Answer] = {question: self.original(question.address) for question in mine}
            return found | (otherwise(rest) if rest else {})

        return ask
