"""May this peer talk to us?

Specification 1.8 and 2.1 S1, DESIGN 2 ("whose list when"): the operator's own lists and limits, at connect and again
at each MAIL, so that a connection that is kept for hours notices a change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockgate.decision.stage import Depth, MessageStage, noted, refused_for_all
from lockgate.mail import replies
from lockgate.mail.facts import Facts, Point
from lockgate.mail.ruling import Hit, Ruling, Step

if TYPE_CHECKING:
    from lockgate.policy.policy import Policy

_NAME = "admit"


def admit(policy: Policy, facts: Facts, ruling: Ruling, depth: Depth) -> Ruling:
    """Refuse blocked peers (allow wins over block) and those who come too often; say nothing of all others."""
    connection = facts.connection
    peers = policy.operator_peers
    blocked = peers.block.find(connection.packed)
    allowed = peers.allow.find(connection.packed) if blocked is not None or depth is Depth.FULL else None
    seen = _lists(connection.peer, allowed, blocked) if depth is Depth.FULL else ()
    if blocked is not None and allowed is None:
        step = Step(_NAME, "the operator's block list", Hit.YES, f"it names {connection.peer} ({blocked})", "refused")
        return refused_for_all(ruling, replies.blocked_by_operator(connection.peer), *seen, step)
    load, limits = connection.load, policy.limits
    if load.in_all > limits.connections:
        step = Step(_NAME, "connection limit", Hit.YES, f"{load.in_all} connections are open", "put off")
        return refused_for_all(ruling, replies.TOO_BUSY, *seen, step)
    if load.from_peer > limits.connections_per_peer:
        because = f"{load.from_peer} connections are open from the network of {connection.peer}"
        step = Step(_NAME, "connection limit", Hit.YES, because, "put off")
        return refused_for_all(ruling, replies.TOO_MANY_CONNECTIONS, *seen, step)
    if depth is Depth.FULL:
        because = (
            f"{load.in_all} of at most {limits.connections} connections were open, {load.from_peer} of at most"
            f" {limits.connections_per_peer} from the network of {connection.peer}"
        )
        return noted(ruling, *seen, Step(_NAME, "connection limit", Hit.NO, because))
    return ruling


def _lists(peer: str, allowed: str | None, blocked: str | None) -> tuple[Step, ...]:
    """What the operator's lists say; the block that decides is told by the stage itself."""
    if allowed is None:
        because = f"it does not name {peer}"
        allow = Step(_NAME, "the operator's allow list", Hit.NO, because)
        return (allow, Step(_NAME, "the operator's block list", Hit.NO, because)) if blocked is None else (allow,)
    because = f"it names {peer} ({allowed})"
    if blocked is None:
        return (Step(_NAME, "the operator's allow list", Hit.YES, because),)
    because = f"{because}, which wins over the block list ({blocked})"
    return (Step(_NAME, "the operator's allow list", Hit.YES, because, "may talk to us"),)


STAGE = MessageStage(_NAME, Point.CONNECT, admit)
