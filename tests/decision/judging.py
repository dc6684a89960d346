"""Judges facts in tests as the flow does: asks, learns, judges on."""

from __future__ import annotations

from collections.abc import Callable

from lockgate.decision.among import of_all
from lockgate.decision.judge import judge
from lockgate.decision.stage import Depth
from lockgate.mail.facts import Facts, Point
from lockgate.mail.findings import Answer, Question
from lockgate.mail.ruling import Defer, Deliver, Disposition, Drop, Hold, Refuse, Resolved, Ruling, Verdict, Wants
from lockgate.policy.policy import Policy
from lockgate.testing.builders import people

Ask = Callable[[tuple[Question, ...]], dict[Question, Answer]]


def settled(
    policy: Policy,
    facts: Facts,
    ask: Ask | None = None,
    until: Point = Point.DATA,
    so_far: Ruling | None = None,
    depth: Depth = Depth.LIVE,
) -> tuple[Facts, Ruling]:
    ask = ask or people()
    for _ in range(50):
        outcome = judge(policy, facts, until, so_far, depth)
        if not isinstance(outcome, Wants):
            return facts, outcome
        told = of_all(policy, facts, outcome.so_far.recipients, outcome.questions)
        others = ask(tuple(question for question in outcome.questions if question not in told))
        facts, so_far = facts.learn(told | others), outcome.so_far
    raise AssertionError("the judge never stops asking")


def ruled(policy: Policy, facts: Facts, ask: Ask | None = None, until: Point = Point.DATA) -> Ruling:
    return settled(policy, facts, ask, until)[1]


def said(disposition: Disposition | None) -> str:
    """A disposition in a few words: "-> lane to target", or the codes of a reply."""
    match disposition:
        case Deliver(route, target):
            return f"-> {route.lane} {target}" + (f" waits: {route.waits}" if route.waits else "")
        case Hold(why):
            return f"held: {why}"
        case Refuse(reply) | Defer(reply):
            return f"{reply.code} {reply.enhanced}"
        case Drop(why):
            return f"dropped: {why}"
        case Resolved(why, expanded):
            return f"{'expanded' if expanded else 'resolved'}: {why}"
        case None:
            return "undecided"


def fates(ruling: Ruling) -> list[str]:
    if ruling.refusal is not None:
        return [f"all {ruling.refusal.code} {ruling.refusal.enhanced}"]
    return [said(verdict.disposition) for verdict in ruling.recipients]


def why(verdict: Verdict) -> str:
    return f"{verdict.steps[-1].subject}: {verdict.steps[-1].because}" if verdict.steps else ""
