"""Who is meant, and where is the mail to go? (specification 1.6, amendments)

The identity is what rules and people see: the primary address. The target is where the copy is carried.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockgate.decision.stage import Depth, Questions, RecipientStage
from lockgate.mail.address import Address
from lockgate.mail.facts import Facts, Point
from lockgate.mail.findings import Known, Who, WhoIs
from lockgate.mail.ruling import Hit, Ruling, Step, Verdict

if TYPE_CHECKING:
    from lockgate.policy.policy import Policy

_NAME = "resolve"


def resolve(policy: Policy, facts: Facts, ruling: Ruling, verdict: Verdict, depth: Depth) -> Verdict | Questions:
    """Put the primary address and the target address in the place of the one that was given."""
    standing = verdict.standing
    if not standing.accepted_domain:
        return verdict
    original = verdict.recipient.original
    given = original if original.domain else Address(original.local, standing.accepted_domain)
    question = WhoIs(standing.organisation, given.key)
    known = facts.findings.get(question)
    if known is None:
        return Questions((question,))
    who = known.who if isinstance(known, Known) else None
    if who is None:
        return verdict if given is original else _resolved(verdict, given, given, ())
    target = _target(who)
    if depth is Depth.LIVE and who.primary == original and target == original:
        return _resolved(verdict, target, who.primary, ())
    because = f"{original} is {who.kind} {who.primary}"
    effect = f"goes to {target}" if target != who.primary else ""
    return _resolved(
        verdict, target, who.primary, (Step(_NAME, "recipient", Hit.YES, because, effect, original.text),)
    )


def _target(who: Who) -> Address:
    """The external address, unless it is the own one or missing: then the mail goes on by the domain's way."""
    if who.external is None or who.external.key == who.primary.key:
        return who.primary
    return who.external


def _resolved(verdict: Verdict, target: Address, identity: Address, steps: tuple[Step, ...]) -> Verdict:
    return Verdict(
        verdict.recipient,
        target,
        verdict.standing,
        verdict.effects,
        None,
        verdict.steps + steps,
        verdict.stage,
        identity,
    )


STAGE = RecipientStage(_NAME, Point.RCPT, resolve)
