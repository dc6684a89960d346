"""Is the own-server connector blocked that a session came by?

Specification 1.3. A block takes every right that the connector gives (relay, internal trust, exemption from partner
connectors): mail to somebody outside is refused, mail to own recipients goes on as a stranger's would. The connector
still identifies the session, so that mail of own domains over it is no direct send.
"""

from __future__ import annotations

import datetime as dt
from typing import TYPE_CHECKING

from msgspec.structs import replace

from lockgate.decision.stage import Depth, Questions, RecipientStage, refuse, told
from lockgate.mail import replies
from lockgate.mail.facts import Facts, Point
from lockgate.mail.findings import Blocking, IsBlocked, Unknown
from lockgate.mail.ruling import Direction, Hit, Ruling, Step, Verdict

if TYPE_CHECKING:
    from lockgate.policy.policy import Policy

_NAME = "blocked"


def blocked(policy: Policy, facts: Facts, ruling: Ruling, verdict: Verdict, depth: Depth) -> Verdict | Questions:
    """Take the rights of a blocked connector away; asked only where a connector gives any."""
    name = verdict.standing.inbound_connector
    if not name:
        return verdict
    question = IsBlocked(verdict.standing.organisation, name)
    found = facts.findings.get(question)
    match found:
        case None:
            return Questions((question,))
        case Blocking(id=""):
            if depth is Depth.LIVE:
                return verdict
            step = Step(_NAME, f"connector {name}", Hit.NO, "it is not blocked", "", verdict.recipient.original.text)
            return told(verdict, step)
        case Blocking():
            return _without_rights(verdict, name, found)
        case _:
            return _not_known(verdict, name, found.why if isinstance(found, Unknown) else "there was no answer")


def _without_rights(verdict: Verdict, name: str, block: Blocking) -> Verdict:
    subject, because = f"connector {name}", sentence(block)
    if not verdict.standing.accepted_domain:
        reply = replies.connector_blocked(name, block.id, suspected=block.suspected)
        return refuse(_NAME, verdict, reply, subject, because)
    old = verdict.standing
    standing = replace(old, direction=Direction.INCOMING, inbound_connector="", blocked_connector=name)
    effect = f"incoming mail of {old.organisation} without any right of the connector"
    step = Step(_NAME, subject, Hit.YES, because, effect, verdict.recipient.original.text)
    return told(verdict, step, standing=standing)


def _not_known(verdict: Verdict, name: str, why: str) -> Verdict:
    """An outage is no verdict: it neither gives the rights nor, by taking them, has a partner connector refuse."""
    because = f"whether it is blocked is not known: {why}"
    return refuse(_NAME, verdict, replies.BLOCKING_UNKNOWN, f"connector {name}", because, Hit.UNKNOWN)


def sentence(block: Blocking) -> str:
    """The block as the rest of a sentence: since when, why, by whom and its id."""
    since = dt.datetime.fromtimestamp(block.since, dt.UTC).strftime("%Y-%m-%d %H:%M:%SZ")
    return f"it is blocked since {since} because {block.because or 'somebody wanted it'} (by {block.by}, {block.id})"


STAGE = RecipientStage(_NAME, Point.RCPT, blocked)
