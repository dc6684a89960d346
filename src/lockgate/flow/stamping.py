"""What the copies of a task are to be given on their way out: results of authentication, a seal, internal header fields
(mail/task.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from lockgate.decision.authenticate import composed_of, is_exempt
from lockgate.decision.rewriting import leaves_for_somebody
from lockgate.flow.firewall import fields_of
from lockgate.mail.authentication import ArcVerdict, Authenticated
from lockgate.mail.authentication_results import results
from lockgate.mail.composite import Composite, Reason, action_of
from lockgate.mail.facts import Facts
from lockgate.mail.message import Message
from lockgate.mail.our_fields import is_in_our_name, may_be_ours
from lockgate.mail.ruling import Ruling, Standing, Verdict
from lockgate.mail.task import PLAIN, Stamp, TaskRecipient
from lockgate.policy.policy import Policy


def stamp_of(
    policy: Policy, facts: Facts, ruling: Ruling, verdicts: Sequence[Verdict], *, held: bool, sign: bool = False
) -> Stamp:
    """The stamp of a task for these recipients of one organisation; PLAIN, at no cost, for nearly all mail.

    `held`: it waits for a person, or did. `sign` as in Stamp.
    """
    standing, message = verdicts[0].standing, facts.message
    found = facts.findings.get(standing.who_sent)
    incoming, internal, source = fields_of(policy, facts, verdicts[0])
    foreign = message is not None and message.claims > 0 and _is_foreign(policy, message, ruling, verdicts[0])
    gone = standing.organisation not in policy.organisations  # held mail may outlive it
    if gone or not isinstance(found, Authenticated) or is_exempt(ruling, standing):
        if foreign or sign or incoming or internal or source:
            return Stamp((), foreign, "", sign, incoming, internal, source)
        return PLAIN
    composed = composed_of(policy, facts, standing, found)
    parts = tuple(_parts(policy, facts, standing, found, composed, held=held))
    return Stamp(parts, foreign, _chain(policy, found, verdicts), sign, incoming, internal, source)


def alike(
    recipients: list[TaskRecipient], verdict_of: Callable[[TaskRecipient], Verdict | None]
) -> list[list[TaskRecipient]]:
    """The recipients in parts whose copies get the same stamp: by the true source that counts, and by their rights."""
    if len(recipients) == 1:
        return [recipients]
    parts: dict[tuple[object, ...], list[TaskRecipient]] = {}
    for one in recipients:
        verdict = verdict_of(one)
        parts.setdefault(_kind(verdict.standing) if verdict is not None else (), []).append(one)
    return list(parts.values())


def _kind(standing: Standing) -> tuple[object, ...]:
    return standing.source, standing.computed, standing.source_helo, standing.internal, standing.promotes


def _parts(
    policy: Policy, facts: Facts, standing: Standing, found: Authenticated, composed: Composite, *, held: bool
) -> list[str]:
    return results(
        policy.hostname,
        peer=standing.source or facts.connection.peer,
        sender=facts.envelope.sender_domain if facts.envelope is not None else "",
        spf=found.spf,
        dkim=found.dkim,
        dmarc=found.dmarc,
        action=action_of(found.dmarc, proven=composed.proven, held=held),
        arc=found.arc,
        composite=(composed.verdict, composed.reason),
        trusted=composed.reason is Reason.TRUSTED_SEALER,
    )


def _chain(policy: Policy, found: Authenticated, verdicts: Sequence[Verdict]) -> str:
    """The state of the chain that we seal; "": we do not. What could not be found out cannot be sealed either."""
    if found.arc.verdict is ArcVerdict.TEMPERROR:
        return ""
    return found.arc.verdict.value if any(leaves_for_somebody(policy, one) for one in verdicts) else ""


def _is_foreign(policy: Policy, message: Message, ruling: Ruling, verdict: Verdict) -> bool:
    """Whether fields in our name came from outside, where nobody may write them (RFC 8601 5).

    In doubt (some fields are not in the facts) they are looked at when the message leaves.
    """
    if may_be_ours(message, ruling.candidates, verdict.standing.organisation):
        return False
    seen = 0
    for name, value in message.fields:
        if is_in_our_name(name, value, policy.hostname):
            return True
        seen += name.lower() == "authentication-results"
    return seen < message.claims
