"""What becomes of the message: limits that refuse it as a whole or for one organisation (specification 1.22, 2.5)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockgate.decision.stage import Depth, MessageStage, RecipientStage, refuse, refused_for_all
from lockgate.mail import replies
from lockgate.mail.facts import Facts, Point
from lockgate.mail.reply import Reply
from lockgate.mail.ruling import Direction, Hit, Ruling, Step, Verdict

if TYPE_CHECKING:
    from lockgate.policy.policy import Policy

_NAME = "dispose"


def measure(policy: Policy, facts: Facts, ruling: Ruling, depth: Depth) -> Ruling:
    """Refuse what is too large for anybody, and what goes round in circles. Before the rules (2.1, P5)."""
    message, limits = facts.message, policy.limits
    if message is None:
        return ruling
    if message.size > limits.message_size:
        because = f"it has {message.size} octets, at most {limits.message_size} are taken"
        return _no(ruling, replies.MESSAGE_TOO_LARGE, "message size", because)
    if message.cut:
        return _no(ruling, replies.HEADER_TOO_LARGE, "header size", "the header is larger than 256 KB or 1,000 fields")
    if message.own_hops >= limits.own_hops:
        because = f"it has passed this installation {message.own_hops} times"
        return _no(ruling, replies.HOP_COUNT_EXCEEDED, "loop", because)
    if message.hops >= limits.received_hops:
        because = f"it has {message.hops} Received fields, the limit is {limits.received_hops}"
        return _no(ruling, replies.HOP_COUNT_EXCEEDED, "loop", because)
    return ruling


def _no(ruling: Ruling, reply: Reply, subject: str, because: str) -> Ruling:
    return refused_for_all(ruling, reply, Step(_NAME, subject, Hit.YES, because, "refused"))


def dispose(policy: Policy, facts: Facts, ruling: Ruling, verdict: Verdict, depth: Depth) -> Verdict:
    """Refuse what is too large for the organisation; all else goes on to its way out."""
    standing, message = verdict.standing, facts.message
    mine = policy.organisations.get(standing.organisation)
    if mine is None or message is None:
        return verdict
    settings = mine.organisation
    outward = standing.direction is Direction.ORIGINATING and not standing.accepted_domain
    limit = settings.max_send_size if outward else settings.max_receive_size
    if message.size <= limit:
        return verdict
    because = f"it has {message.size} octets, {standing.organisation} takes at most {limit}"
    return refuse(_NAME, verdict, replies.MESSAGE_TOO_LARGE, "message size", because)


AT_DATA = MessageStage(_NAME, Point.DATA, measure)
STAGE = RecipientStage(_NAME, Point.DATA, dispose)
