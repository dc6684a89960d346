"""What do the mail flow rules of the recipient's organisation ask for? (specification 1.15.1, DESIGN 2)"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lockgate.decision.stage import Depth, Either, RecipientStage, refuse
from lockgate.mail import replies
from lockgate.mail.address import Address
from lockgate.mail.facts import Facts, Point
from lockgate.mail.ruling import Effects, Hit, Ruling, Step, Verdict
from lockgate.policy.rules import Case

if TYPE_CHECKING:
    from lockgate.policy.policy import Policy
    from lockgate.policy.rules import CompiledRule

_NAME = "regulate"
_MANY_WORLDS = 8
"""So many different ends are followed while something is unknown; more of them put the recipient off."""


_MOST_TOLD = 300
"""So many rules that cannot match are told one by one (Exchange has no more); the others are counted."""


class _World(NamedTuple):
    """One way in which the rules may have gone so far."""

    effects: Effects
    steps: tuple[Step, ...] = ()
    stopped: bool = False


def regulate(policy: Policy, facts: Facts, ruling: Ruling, verdict: Verdict, depth: Depth) -> Verdict | Either:
    """Apply the rules in order of priority; each sees what the earlier ones did."""
    recipient = verdict.identity or verdict.target
    mine = policy.organisations.get(verdict.standing.organisation)
    rules = mine.rules.could_match(recipient.domain) if mine is not None else ()
    full = depth is Depth.FULL and mine is not None
    possible = frozenset(map(id, rules)) if full else None
    untold = 0
    if full and mine is not None:  # those that cannot match are told as well, with the reason
        rules, untold = _told_too(mine.rules.all, possible or frozenset())
    if not rules:
        return verdict
    case = Case(facts, verdict.standing)
    worlds = [_World(verdict.effects)]
    doubt = ""
    for rule in rules:
        over = possible is not None and id(rule) not in possible
        if over or not rule.enabled or all(world.stopped for world in worlds):
            if full:
                worlds = [_passed_over(world, rule, case, recipient) for world in worlds]
            continue
        hit, because = _applies(rule, case, recipient)
        if hit is Hit.NO:
            if full:
                step = _step(rule, hit, because, "", recipient)
                worlds = [w if w.stopped else _World(w.effects, (*w.steps, step)) for w in worlds]
            continue
        if hit is Hit.UNKNOWN:
            doubt = doubt or f"rule {rule.name}: {because}"
        worlds = _go_on(worlds, rule, hit, because, recipient)
        if len(worlds) > _MANY_WORLDS:
            return refuse(_NAME, verdict, replies.NOT_FOUND_OUT, f"rule {rule.name}", because, Hit.UNKNOWN)
    if untold:
        because = f"{untold} more are disabled or for other domains"
        step = Step(_NAME, "other rules", Hit.NO, because, "", recipient.text)
        worlds = [_World(world.effects, (*world.steps, step), world.stopped) for world in worlds]
    verdicts = tuple(_after(verdict, world) for world in worlds)
    return verdicts[0] if len(verdicts) == 1 else Either(verdicts, doubt)


def _told_too(
    rules: tuple[CompiledRule, ...], possible: frozenset[int]
) -> tuple[tuple[CompiledRule, ...], int]:
    """The rules of an explanation: those that could match, and as many of the others as people read; then how many are
    left out."""
    others = [id(rule) for rule in rules if id(rule) not in possible]
    left = frozenset(others[_MOST_TOLD:])
    return tuple(rule for rule in rules if id(rule) not in left), len(left)


def _passed_over(world: _World, rule: CompiledRule, case: Case, recipient: Address) -> _World:
    """The world with the reason why a rule was not applied in it; for explanations."""
    if not rule.enabled:
        because = "it is disabled"
    elif world.stopped:
        because = "it is not looked at any more, because an earlier rule ended the rules"
    else:
        because = _applies(rule, case, recipient)[1]
    return _World(world.effects, (*world.steps, _step(rule, Hit.NO, because, "", recipient)), world.stopped)


def _applies(rule: CompiledRule, case: Case, recipient: Address) -> tuple[Hit, str]:
    """All conditions and no exception (Kleene's three values): the first clear answer decides."""
    unknown = ""
    told = ""
    for condition in rule.when:
        seen = condition(case, recipient)
        if seen.hit is Hit.NO:
            return Hit.NO, seen.because
        told = f"{told}, and {seen.because}" if told else seen.because
        if seen.hit is Hit.UNKNOWN:
            unknown = unknown or seen.because
    for exception in rule.unless:
        seen = exception(case, recipient)
        if seen.hit is Hit.YES:
            return Hit.NO, f"exception: {seen.because}"
        if seen.hit is Hit.UNKNOWN:
            unknown = unknown or f"exception: {seen.because}"
    return (Hit.UNKNOWN, unknown) if unknown else (Hit.YES, told or "it has no condition")


def _go_on(
    worlds: list[_World], rule: CompiledRule, hit: Hit, because: str, recipient: Address
) -> list[_World]:
    """The worlds after a rule that applies, or that may apply; equal ones fall together."""
    after: dict[tuple[Effects, bool], _World] = {}
    for world in worlds:
        if world.stopped:
            after.setdefault((world.effects, True), world)
            continue
        effects = _carried_out(rule, world.effects)
        effect = f"goes by connector {effects.connector}" if effects.connector != world.effects.connector else ""
        if rule.stop:
            effect = f"{effect}, no further rules" if effect else "no further rules"
        step = _step(rule, hit, because, effect, recipient)
        after.setdefault((effects, rule.stop), _World(effects, (*world.steps, step), rule.stop))
        if hit is Hit.UNKNOWN:
            after.setdefault((world.effects, False), _World(world.effects, (*world.steps, step)))
    return list(after.values())


def _carried_out(rule: CompiledRule, effects: Effects) -> Effects:
    before = effects.connector
    for action in rule.then:
        effects = action(effects)
    return effects if effects.connector == before else Effects(effects.connector, rule.name)


def _step(rule: CompiledRule, hit: Hit, because: str, effect: str, recipient: Address) -> Step:
    return Step(_NAME, f"rule {rule.name}", hit, because, effect, recipient.text)


def _after(verdict: Verdict, world: _World) -> Verdict:
    return Verdict(
        verdict.recipient,
        verdict.target,
        verdict.standing,
        world.effects,
        None,
        verdict.steps + world.steps,
        verdict.stage,
        verdict.identity,
    )


STAGE = RecipientStage(_NAME, Point.DATA, regulate)
