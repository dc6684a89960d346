"""Is it too large by what it says itself? Then no octet of it need be sent (RFC 1870 6.1).

The operator's limit concerns everybody, at MAIL; that of an organisation its own recipients, at RCPT. What the message
really has is measured at the end of data (decision/dispose.py; specification 1.22).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockgate.decision.stage import Depth, MessageStage, noted, refuse, refused_for_all, told
from lockgate.mail import replies
from lockgate.mail.facts import Facts, Point
from lockgate.mail.ruling import Hit, Ruling, Step, Verdict

if TYPE_CHECKING:
    from lockgate.policy.policy import Policy

_NAME = "declared"
_OWN_LIMIT = "size limit of the organisation"


def declared(policy: Policy, facts: Facts, ruling: Ruling, depth: Depth) -> Ruling:
    """Refuse at MAIL what says itself that it is too large (RFC 1870 6.1), before an octet of it is sent."""
    size = facts.envelope.size if facts.envelope is not None else 0
    limit = policy.limits.message_size
    if not size or (size <= limit and depth is Depth.LIVE):
        return ruling
    because = f"the message is said to have {size} octets, {limit} are allowed"
    if size > limit:
        step = Step(_NAME, "size limit", Hit.YES, because, "refused")
        return refused_for_all(ruling, replies.MESSAGE_TOO_LARGE, step)
    return noted(ruling, Step(_NAME, "size limit", Hit.NO, because))


def fits(policy: Policy, facts: Facts, verdict: Verdict, depth: Depth) -> Verdict:
    """Refuse at RCPT a message that says itself that it is larger than the organisation sends or receives."""
    size = facts.envelope.size if facts.envelope is not None else 0
    mine = policy.organisations.get(verdict.standing.organisation)
    if not size or mine is None:
        return verdict
    organisation = mine.organisation
    limit = organisation.max_send_size if verdict.standing.relay else organisation.max_receive_size
    if limit is None or (size <= limit and depth is Depth.LIVE):
        return verdict
    because = f"the message is said to have {size} octets, {organisation.name} allows {limit}"
    if size > limit:
        return refuse(_NAME, verdict, replies.MESSAGE_TOO_LARGE, _OWN_LIMIT, because)
    return told(verdict, Step(_NAME, _OWN_LIMIT, Hit.NO, because, "", verdict.recipient.original.text))


STAGE = MessageStage(_NAME, Point.MAIL, declared)
