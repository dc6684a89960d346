"""What becomes of the message, and of each recipient's copy?

Specification 1.22 (limits; before the rules, 2.1 P5) and 2.5 (loops); later also what verdicts lead to.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from lockgate.decision.stage import Depth, MessageStage, RecipientStage, noted, refuse, refused_for_all, told
from lockgate.mail import replies
from lockgate.mail.facts import Facts, Point
from lockgate.mail.message import Flaw, Message
from lockgate.mail.reply import Reply
from lockgate.mail.ruling import Hit, Ruling, Step, Verdict

if TYPE_CHECKING:
    from lockgate.policy.objects.peers import Limits
    from lockgate.policy.policy import Policy

_NAME = "dispose"

_FLAWS: Mapping[Flaw, tuple[str, str, Reply]] = {
    Flaw.LINE_ENDS: (
        "line ends",
        "the message has a bare CR, a bare LF or NUL; another server could see its end, and a second message, there",
        replies.BARE_LINE_ENDS,
    ),
    Flaw.SIZE: ("size limit", "more octets came than are allowed", replies.MESSAGE_TOO_LARGE),
    Flaw.LINE_LENGTH: ("line length", "a line is longer than is accepted here", replies.TEXT_LINE_TOO_LONG),
}
"""What is said of octets that are no message (RFC 5321 2.3.8, 4.1.1.4): subject, reason, reply."""

_MENDED = Step(
    _NAME, "line ends", Hit.YES, "the connector of an old device has bare_newlines = normalise",
    "bare CR and LF became CRLF",
)  # fmt: skip

_FLAW_OF = {reply: flaw for flaw, (_, _, reply) in _FLAWS.items()}


def flaw_of(reply: Reply) -> Flaw | None:
    """The flaw of which the SMTP session speaks with this reply."""
    return _FLAW_OF.get(reply)


def measure(policy: Policy, facts: Facts, ruling: Ruling, depth: Depth) -> Ruling:
    """Refuse the whole message if it is none, is too large or goes in circles."""
    message = facts.message
    if message is None:
        return ruling
    limits = policy.limits
    trouble: tuple[str, str, Reply] | None = None
    if message.flaw is not None:
        trouble = _FLAWS[message.flaw]
    elif message.size > limits.message_size:
        because = f"the message has {message.size} octets, {limits.message_size} are allowed"
        trouble = "size limit", because, replies.MESSAGE_TOO_LARGE
    elif message.crowded:
        trouble = "header limit", "the header has more fields than the 1,000 that are allowed", replies.TOO_MANY_FIELDS
    elif message.cut:
        trouble = "header limit", "the header is larger than the 256 KB that are allowed", replies.HEADER_TOO_LARGE
    elif message.own_hops >= limits.own_hops:
        because = f"the message has passed this installation {message.own_hops} times"
        trouble = "hop limit", because, replies.HOP_COUNT_EXCEEDED
    elif message.hops >= limits.received_hops:
        because = f"the message bears {message.hops} Received fields"
        trouble = "hop limit", because, replies.HOP_COUNT_EXCEEDED
    if trouble is None:
        steps = (_MENDED,) if message.mended else ()
        if depth is Depth.FULL:
            return noted(ruling, *steps, *_measured(message, limits))
        return noted(ruling, *steps) if steps else ruling
    subject, because, reply = trouble
    return refused_for_all(ruling, reply, Step(_NAME, subject, Hit.YES, because, "refused"))


def _measured(message: Message, limits: Limits) -> Iterator[Step]:
    yield Step(
        _NAME, "size limit", Hit.NO, f"the message has {message.size} octets, {limits.message_size} are allowed"
    )
    yield Step(_NAME, "header limit", Hit.NO, f"the header has {len(message.fields)} fields and is within the limits")
    because = (
        f"the message has passed this installation {message.own_hops} times (fewer than {limits.own_hops} may be) and"
        f" bears {message.hops} Received fields (fewer than {limits.received_hops})"
    )
    yield Step(_NAME, "hop limit", Hit.NO, because)


def dispose(policy: Policy, facts: Facts, ruling: Ruling, verdict: Verdict, depth: Depth) -> Verdict:
    """Refuse a copy that is larger than its organisation sends or receives; all others go on to be routed."""
    standing = verdict.standing
    mine = policy.organisations.get(standing.organisation)
    if mine is None:  # held mail may outlive its organisation
        because = f"the organisation {standing.organisation} does not exist any more"
        return refuse(_NAME, verdict, replies.waits(f"{because}."), "organisation", because)
    organisation = mine.organisation
    limit = organisation.max_send_size if standing.relay else organisation.max_receive_size
    size = facts.message.size if facts.message is not None else 0
    if limit is not None and size > limit:
        because = f"the message has {size} octets, {standing.organisation} allows {limit}"
        return refuse(_NAME, verdict, replies.MESSAGE_TOO_LARGE, "size limit of the organisation", because)
    if depth is Depth.FULL:
        whom = verdict.recipient.original.text
        because = f"the message has {size} octets, {standing.organisation} sets no limit of its own"
        if limit is not None:
            because = f"the message has {size} octets, {standing.organisation} allows {limit}"
        return told(verdict, Step(_NAME, "size limit of the organisation", Hit.NO, because, "", whom))
    return verdict


MEASURE = MessageStage(_NAME, Point.DATA, measure)
STAGE = RecipientStage(_NAME, Point.DATA, dispose)
