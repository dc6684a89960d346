"""What is different when the next hop is a mailbox store that speaks LMTP (RFC 2033).

The conversation is SMTP's but for the greeting (LHLO) and for the answers to the content, one for each recipient. A
store may listen on a Unix socket. What it takes is delivered: nobody carries it any further.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from lockgate.couriers.link import Link
from lockgate.mail.outcome import Fate
from lockgate.mail.reply import Reply
from lockgate.wire.smtp.answers import Answer


class Errand(Protocol):
    """What is told of each recipient's fate."""

    def decide(
        self, numbers: Sequence[int], fate: Fate, reply: Reply, link: Link | None = None, *, spoken: bool = False
    ) -> None:
        """Note an outcome."""

    def tell(self, numbers: Sequence[int]) -> None:
        """Have what is delivered put on record."""


def heard(link: Link, errand: Errand, numbers: Sequence[int], place: int, answer: Answer) -> None:
    """The store has answered for one recipient: a yes is on record before the next answer is read.

    So whatever happens to the store or to us in between, only recipients without an answer are tried again.
    """
    if answer.good:
        number = numbers[place]
        errand.decide([number], Fate.DELIVERED, answer.reply(), link, spoken=True)
        errand.tell([number])
