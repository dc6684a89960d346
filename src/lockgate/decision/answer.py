"""One DATA reply from many rulings (DESIGN 2; the truth table is the test). Who is told afterwards: proof.py."""

from __future__ import annotations

from lockgate.mail import replies
from lockgate.mail.reply import Reply
from lockgate.mail.ruling import Defer, Deliver, Drop, Hold, Refuse, Resolved, Ruling


def answer(ruling: Ruling) -> Reply | None:
    """The reply to the whole message; None = it is accepted (250).

    A refusal of the whole message is said as it is. If one recipient at least is accepted (delivered, held or
    dropped), the answer is 250. If all are refused, it is the first one's 5xx. If some are put off and none is
    accepted, it is 4xx: the peer comes back with all of them and nothing is lost. Whoever is resolved fares as those do
    who have the copy.
    """
    if ruling.refusal is not None:
        return ruling.refusal
    refusal: Reply | None = None
    delay: Reply | None = None
    shared = False
    for verdict in ruling.recipients:
        match verdict.disposition:
            case Deliver() | Hold() | Drop():
                return None
            case Refuse(reply):
                refusal = refusal or reply
            case Defer(reply):
                delay = delay or reply
            case Resolved():
                shared = True
            case None:
                raise ValueError(f"nothing is decided about {verdict.recipient.original}")
    # Nobody may be left whose copy nobody has; should it be so, the peer keeps the message.
    return delay or refusal or (replies.UNFORESEEN if shared else replies.NO_RECIPIENTS)
