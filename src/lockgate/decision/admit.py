"""May this peer talk to us?

Specification 1.8 and 2.1 S1, DESIGN 2 ("whose list when"): the operator's own lists and limits, at connect and again
at each MAIL, so that a connection that is kept for hours notices a change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockgate.decision.stage import Depth, MessageStage, refused_for_all
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
    if blocked is not None and allowed is None:
        step = Step(_NAME, "the operator's block list", Hit.YES, f"it names {connection.peer} ({blocked})", "refused")
        return refused_for_all(ruling, replies.blocked_by_operator(connection.peer), step)
    load, limits = connection.load, policy.limits
    if load.in_all > limits.connections:
        step = Step(_NAME, "connection limit", Hit.YES, f"{load.in_all} connections are open", "put off")
        return refused_for_all(ruling, replies.TOO_BUSY, step)
    if load.from_peer > limits.connections_per_peer:
        because = f"{load.from_peer} connections are open from the network of {connection.peer}"
        return refused_for_all(
            ruling, replies.TOO_MANY_CONNECTIONS, Step(_NAME, "connection limit", Hit.YES, because, "put off")
        )
    if depth is Depth.FULL:
        return _with_steps(ruling, _looked_at(connection.peer, allowed))
    return ruling


def _looked_at(peer: str, allowed: str | None) -> tuple[Step, ...]:
    if allowed is not None:
        because = f"it names {peer} ({allowed}), which wins over a block"
        lists = Step(_NAME, "the operator's allow list", Hit.YES, because)
    else:
        lists = Step(_NAME, "the operator's block list", Hit.NO, f"it does not name {peer}")
    return (lists, Step(_NAME, "connection limit", Hit.NO, "there is room for this connection"))


def _with_steps(ruling: Ruling, steps: tuple[Step, ...]) -> Ruling:
    return Ruling(
        ruling.point,
        None,
        ruling.candidates,
        ruling.recipients,
        ruling.steps + steps,
        ruling.digest,
        ruling.revision,
        ruling.stage,
        ruling.settled,
    )


STAGE = MessageStage(_NAME, Point.CONNECT, admit)
