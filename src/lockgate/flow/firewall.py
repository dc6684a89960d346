"""The header firewall of departing copies (specification 1.1.2): which internal header fields a copy bears.

What the message came with is settled first, then rules change the header as they want, then the way out decides: a
mailbox and the other side of a hybrid get what we found, everybody else gets none of it. A copy's fields depend on its
own way alone.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence

from lockgate.mail.facts import Facts
from lockgate.mail.findings import NOT_CERTAIN
from lockgate.mail.internal_headers import (
    AUTH_AS,
    AUTH_SOURCE,
    DIRECTION,
    MARKS,
    NETWORK_ID,
    ORGANISATION,
    TRUE_SOURCE,
    TRUE_SOURCE_COMPUTED,
    may_hold_any,
    promoted,
    with_fields,
    with_preserved,
    with_promoted,
    without_internal,
)
from lockgate.mail.message import Message
from lockgate.mail.ruling import Deliver, Direction, Route, Standing, Verdict, Via
from lockgate.mail.task import Assigned, Incoming, Stamp
from lockgate.policy.policy import Policy

Fields = tuple[tuple[str, str], ...]


class Side(enum.Enum):
    """Where a copy goes, as far as internal fields are concerned."""

    MAILBOX = enum.auto()
    HYBRID = enum.auto()
    OWN_SERVER = enum.auto()
    OUTSIDE = enum.auto()


def side_of(policy: Policy, route: Route) -> Side:
    """What the way out is: the switch of the outbound connector decides, as it is now."""
    if route.via is Via.MAILBOX:
        return Side.MAILBOX
    if not route.connector:
        return Side.OUTSIDE
    mine = policy.organisations.get(route.organisation)
    connector = mine.outbound.named.get(route.connector) if mine is not None else None
    if connector is None:
        return Side.OUTSIDE
    if connector.cloud_services_mail_enabled:
        return Side.HYBRID
    return Side.OWN_SERVER if connector.on_premises else Side.OUTSIDE


# --- at commit --------------------------------------------------------------------------------------------------------


def fields_of(policy: Policy, facts: Facts, verdict: Verdict) -> tuple[Incoming, Fields, Fields]:
    """For the stamp of copies like this one: what becomes of the fields it came with, those we write, and those about
    the true source. Of a copy whose way is not known yet (held, put off) everything that it may need.
    """
    message, standing = facts.message, verdict.standing
    if message is None:
        return Incoming.NONE, (), ()
    incoming = Incoming.NONE
    if message.internal or message.cut:
        incoming = Incoming.PROMOTE if standing.promotes else Incoming.STRIP
    where = verdict.disposition
    side = side_of(policy, where.route) if isinstance(where, Deliver) else None
    ours = _found(policy, message, standing) if side in (None, Side.MAILBOX, Side.HYBRID) else ()
    source = _source(standing) if standing.computed and side is not Side.OUTSIDE else ()
    return incoming, ours, source


def network_id(verdicts: Sequence[Verdict]) -> str:
    """The network message id that the other side gave the message; "" if not everybody in it takes its word."""
    first = verdicts[0].standing.network_id if verdicts else ""
    return first if first and all(one.standing.network_id == first for one in verdicts) else ""


def _found(policy: Policy, message: Message, standing: Standing) -> Fields:
    known = promoted(message.fields) if standing.internal and standing.promotes else {}
    source = known.get(AUTH_SOURCE.lower(), ("", ""))[1]
    plain = source if 0 < len(source) <= 255 and source.isascii() and source.isprintable() else policy.hostname
    direction = "Originating" if standing.direction is Direction.ORIGINATING else "Incoming"
    return (
        (ORGANISATION + NETWORK_ID, standing.network_id or message.id),
        (ORGANISATION + AUTH_AS, "Internal" if standing.internal else "Anonymous"),
        (ORGANISATION + AUTH_SOURCE, plain),
        (ORGANISATION + DIRECTION, direction),
    )


def _source(standing: Standing) -> Fields:
    """Only what has been used is told as the true source; what was computed is told for trials too (1.13.2)."""
    value = f"ip=[{standing.computed}];domain={standing.source_helo or 'unknown'}"
    computed = ((TRUE_SOURCE_COMPUTED, value),)
    return ((TRUE_SOURCE, value), *computed) if standing.source not in ("", NOT_CERTAIN) else computed


# --- at departure -----------------------------------------------------------------------------------------------------


def settle_incoming(stamp: Stamp, content: bytes) -> bytes:
    """The message behind our border: internal fields of strangers are gone, those of own servers are promoted."""
    match stamp.incoming:
        case Incoming.STRIP:
            return without_internal(content)
        case Incoming.PROMOTE:
            return with_promoted(content)
    return content


async def put_internal(policy: Policy, task: Assigned, content: bytes) -> bytes:
    """The message with the internal fields that go its way. A departure.Finish."""
    stamp, route = task.stamp, task.route
    side = side_of(policy, route) if route is not None else Side.OUTSIDE
    if side is Side.MAILBOX:
        fields = (*stamp.source, *stamp.internal)
        return with_fields(content, fields) if fields else content
    if side is Side.HYBRID:
        content = with_preserved(with_fields(content, stamp.internal))
    elif may_hold_any(_header(content)):  # a rule may have written some
        content = without_internal(content, _marks(task) if side is Side.OWN_SERVER else ())
    return with_fields(content, stamp.source) if stamp.source and side is not Side.OUTSIDE else content


def _marks(task: Assigned) -> tuple[str, ...]:
    """What rules say of these copies: own servers are told that, and not what others have told us."""
    names = {edit.name for recipient in task.recipients for edit in recipient.edits}
    return tuple([name for name in MARKS if name in names])


def _header(content: bytes) -> bytes:
    end = content.find(b"\r\n\r\n")
    return content if end < 0 else content[:end]
