"""What becomes of the message, and of each recipient's copy?

Specification 1.22 (limits; before the rules, 2.1 P5) and 2.5 (loops); later also what verdicts lead to.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockgate.decision.stage import Depth, MessageStage, RecipientStage, refuse, refused_for_all, told
from lockgate.mail import replies
from lockgate.mail.facts import Facts, Point
from lockgate.mail.reply import Reply
from lockgate.mail.ruling import Hit, Ruling, Step, Verdict

if TYPE_CHECKING:
    from lockgate.policy.policy import Policy

_NAME = "dispose"

OWN_PASSES = 20
"""So many times a message may have passed here already (specification 2.5, amendments)."""

RECEIVED_LINES = 30
"""So many Received fields a message may bear (amendments)."""


def measure(policy: Policy, facts: Facts, ruling: Ruling, depth: Depth) -> Ruling:
    """Refuse the whole message if it is too large or goes in circles."""
    message = facts.message
    if message is None:
        return ruling
    limit = policy.limits.message_size
    trouble: tuple[str, str, Reply] | None = None
    if message.size > limit:
        because = f"the message has {message.size} octets, {limit} are allowed"
        trouble = "size limit", because, replies.MESSAGE_TOO_LARGE
    elif message.cut:
        trouble = "header limit", "the header has more octets or fields than allowed", replies.HEADER_TOO_LARGE
    elif message.own_hops >= OWN_PASSES:
        because = f"the message has passed this installation {message.own_hops} times"
        trouble = "hop limit", because, replies.HOP_COUNT_EXCEEDED
    elif message.hops >= RECEIVED_LINES:
        because = f"the message bears {message.hops} Received fields"
        trouble = "hop limit", because, replies.HOP_COUNT_EXCEEDED
    if trouble is None:
        return ruling
    subject, because, reply = trouble
    return refused_for_all(ruling, reply, Step(_NAME, subject, Hit.YES, because, "refused"))


def dispose(policy: Policy, facts: Facts, ruling: Ruling, verdict: Verdict, depth: Depth) -> Verdict:
    """Refuse a copy that is larger than the recipient's organisation takes; all others go on to be routed."""
    limit = policy.of(verdict.standing.organisation).organisation.max_message_size
    size = facts.message.size if facts.message is not None else 0
    if limit and size > limit:
        because = f"the message has {size} octets, {verdict.standing.organisation} takes {limit}"
        return refuse(_NAME, verdict, replies.MESSAGE_TOO_LARGE, "size limit of the organisation", because)
    if depth is Depth.FULL:
        whom = verdict.recipient.original.text
        return told(verdict, Step(_NAME, "size limits", Hit.NO, f"the message has {size} octets", "", whom))
    return verdict


MEASURE = MessageStage(_NAME, Point.DATA, measure)
STAGE = RecipientStage(_NAME, Point.DATA, dispose)
