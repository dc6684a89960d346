"""What do the mail flow rules of the recipient's organisation ask for? (specification 1.15.1, DESIGN 2)"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

from lockgate.decision.stage import Depth, Either, Questions, RecipientStage, refuse
from lockgate.mail import replies
from lockgate.mail.address import Address
from lockgate.mail.facts import Facts, Point
from lockgate.mail.findings import Question
from lockgate.mail.header_edits import Change, HeaderEdit
from lockgate.mail.ruling import Drop, Effects, Hit, Hold, Refuse, Ruling, Step, Verdict
from lockgate.policy.rules import Applied, Case, Course, Seen

if TYPE_CHECKING:
    from lockgate.policy.policy import Policy
    from lockgate.policy.rules import CompiledRule, CompiledRules

_NAME = "regulate"
_MANY_WORLDS = 8
"""So many different ends are followed while something is unknown; more of them put the recipient off."""


_WORTH_REMEMBERING = 16
"""So many rules for one domain are worth remembering what they do."""
_MOST_TOLD = 300
"""So many rules that cannot match are told one by one (Exchange has no more); the others are counted."""


class _World(NamedTuple):
    """One way in which the rules may have gone so far."""

    effects: Effects
    steps: tuple[Step, ...] = ()
    stopped: bool = False


def regulate(
    policy: Policy, facts: Facts, ruling: Ruling, verdict: Verdict, depth: Depth
) -> Verdict | Either | Questions:
    """Apply the rules in order of priority; each sees what the earlier ones did.

    The message itself is only looked at where a rule comes to need it, and then for all rules at once.
    """
    mine = policy.organisations.get(verdict.standing.organisation)
    if mine is None or not mine.rules.all or verdict.effects.ruled:
        return verdict
    outcome = _regulated(mine.rules, facts, verdict, depth)
    if isinstance(outcome, Either) and any(one.effects.added and one.disposition is None for one in outcome.verdicts):
        # Who gets it besides is not to be guessed.
        return refuse(_NAME, verdict, replies.NOT_FOUND_OUT, "recipients added by rules", outcome.why, Hit.UNKNOWN)
    return outcome


def _regulated(
    rules: CompiledRules, facts: Facts, verdict: Verdict, depth: Depth
) -> Verdict | Either | Questions:
    recipient = verdict.identity or verdict.target
    case = Case(facts, verdict.standing)
    if depth is Depth.FULL:
        unasked = _unasked(rules, facts, verdict, recipient, case)
        return Questions(unasked) if unasked else _explained(rules, verdict, recipient, case)
    key = (recipient.domain, verdict.effects)
    course = rules.courses.get(key)
    if course is None:
        possible = rules.could_match(recipient.domain)
        course = _course(possible, verdict.effects, recipient, case)
        if course is None:
            unasked = _unasked(rules, facts, verdict, recipient, case)
            return Questions(unasked) if unasked else _in_doubt(possible, verdict, recipient, case)
        if len(possible) >= _WORTH_REMEMBERING and all(rule.by_domain for rule in possible):
            rules.remember(key, course)
    effects, applied = course
    text = recipient.text
    return _after(verdict, effects, tuple([Step(_NAME, *one, text) for one in applied]))


def _unasked(
    rules: CompiledRules, facts: Facts, verdict: Verdict, recipient: Address, case: Case
) -> tuple[Question, ...]:
    """What has to be found out first, if some rule cannot do without it: of the message all that any rule asks."""
    possible = rules.could_match(recipient.domain)
    if not possible or _course(possible, verdict.effects, recipient, case) is not None:
        return ()
    asks = dict.fromkeys(rules.asks if facts.message is not None else ())
    for rule in possible:
        for test in (*rule.when, *rule.unless):
            seen = test(case, recipient)
            asks.update(dict.fromkeys(seen.asks))
            if seen.hit is Hit.NO and test in rule.when:
                break  # it does not match anyhow
    unasked = tuple([question for question in asks if question not in facts.findings])
    return unasked or _asked_on_the_way(possible, verdict.effects, recipient, case)


def _asked_on_the_way(
    rules: tuple[CompiledRule, ...], effects: Effects, recipient: Address, case: Case
) -> tuple[Question, ...]:
    """What the first rule asks that comes to ask it because of what earlier ones did to the header."""
    for rule in rules:
        hit, _ = _applies(rule, case, recipient)
        if hit is Hit.YES:
            effects = _carried_out(rule, effects)
            case = Case(case.facts, case.standing, effects.edits)
            if _ends(rule, effects):
                break
        elif hit is Hit.UNKNOWN:
            asks = [question for test in (*rule.when, *rule.unless) for question in test(case, recipient).asks]
            if unasked := tuple([question for question in asks if question not in case.facts.findings]):
                return unasked
    return ()


def _course(rules: tuple[CompiledRule, ...], effects: Effects, recipient: Address, case: Case) -> Course | None:
    """How it goes as long as every rule says clearly whether it applies; None once one does not."""
    applied: list[Applied] = []
    for rule in rules:
        hit, because = _applies(rule, case, recipient)
        if hit is Hit.YES:
            before = effects
            effects = _carried_out(rule, before)
            if effects.edits is not before.edits:
                case = Case(case.facts, case.standing, effects.edits)
            applied.append(Applied(rule.subject, hit, because, _effect(rule, before, effects)))
            if _ends(rule, effects):
                break
        elif hit is Hit.UNKNOWN:
            return None
    return effects, tuple(applied)


def _explained(rules: CompiledRules, verdict: Verdict, recipient: Address, case: Case) -> Verdict | Either:
    """The same with a step for every rule: those that were not applied are told as well, with the reason."""
    possible = frozenset(map(id, rules.could_match(recipient.domain)))
    shown, untold = _told_too(rules.all, possible)
    return _in_doubt(shown, verdict, recipient, case, possible, untold)


def _in_doubt(
    rules: tuple[CompiledRule, ...],
    verdict: Verdict,
    recipient: Address,
    case: Case,
    possible: frozenset[int] | None = None,
    untold: int = 0,
) -> Verdict | Either:
    """Where it is unknown whether a rule applies, both ends are followed.

    For an explanation, `possible` are the rules that could match; `untold` counts those that are not shown.
    """
    worlds = [_World(verdict.effects)]
    doubt = ""
    for rule in rules:
        over = possible is not None and id(rule) not in possible
        if over or all(world.stopped for world in worlds):
            if possible is not None:
                worlds = [_passed_over(world, rule, case, recipient) for world in worlds]
            continue
        worlds, said = _go_on(worlds, rule, case, recipient, told=possible is not None)
        doubt = doubt or said
        if len(worlds) > _MANY_WORLDS:
            return refuse(_NAME, verdict, replies.NOT_FOUND_OUT, rule.subject, said, Hit.UNKNOWN)
    if untold:
        because = f"{untold} more are disabled or for other domains"
        step = Step(_NAME, "other rules", Hit.NO, because, "", recipient.text)
        worlds = [_World(world.effects, (*world.steps, step), world.stopped) for world in worlds]
    verdicts = tuple(_after(verdict, world.effects, world.steps) for world in worlds)
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
    """All conditions and no exception (Kleene's three values): the first clear answer decides.

    What can never be told of a message leaves the rule out, unless its rule_error_action puts the message off: an
    outage passes, a limit does not (specification 1.15.1 rule 8).
    """
    if rule.simple:
        hit, because, _, for_good = rule.when[0](case, recipient)
        return (Hit.NO, _left_out(because)) if for_good and not rule.defer_on_unknown else (hit, because)
    if rule.begins or rule.ends:
        untimely = _untimely(rule, case.facts.at)
        if untimely:
            return Hit.NO, untimely
    doubts: list[Seen] = []
    told = ""
    for condition in rule.when:
        seen = condition(case, recipient)
        if seen.hit is Hit.NO:
            return Hit.NO, seen.because
        told = f"{told}, and {seen.because}" if told else seen.because
        if seen.hit is Hit.UNKNOWN:
            doubts.append(seen)
    for exception in rule.unless:
        seen = exception(case, recipient)
        if seen.hit is Hit.YES:
            return Hit.NO, f"exception: {seen.because}"
        if seen.hit is Hit.UNKNOWN:
            doubts.append(seen._replace(because=f"exception: {seen.because}"))
    if not doubts:
        return Hit.YES, told or "it has no condition"
    if not rule.defer_on_unknown and all(doubt.for_good for doubt in doubts):
        return Hit.NO, _left_out(doubts[0].because)
    return Hit.UNKNOWN, doubts[0].because


def _untimely(rule: CompiledRule, at: float) -> str:
    if at < rule.begins:
        return "its time has not begun"
    return "its time is over" if rule.ends and at >= rule.ends else ""


def _left_out(because: str) -> str:
    return f"{because}, so the rule is left out (rule_error_action)"


def _go_on(
    worlds: list[_World], rule: CompiledRule, case: Case, recipient: Address, *, told: bool
) -> tuple[list[_World], str]:
    """The worlds after one more rule, equal ones fallen together, and why it is in doubt whether it applies ("": not).

    With `told` there is a step also where it does not apply.
    """
    after: dict[tuple[Effects, bool], _World] = {}
    doubt = ""
    for world in worlds:
        if world.stopped:
            after.setdefault((world.effects, True), world)
            continue
        hit, because = _applies(rule, Case(case.facts, case.standing, world.effects.edits), recipient)
        if hit is Hit.NO:
            steps = (*world.steps, _step(rule, hit, because, "", recipient)) if told else world.steps
            after.setdefault((world.effects, False), _World(world.effects, steps))
            continue
        effects = _carried_out(rule, world.effects)
        step = _step(rule, hit, because, _effect(rule, world.effects, effects), recipient)
        over = _ends(rule, effects)
        after.setdefault((effects, over), _World(effects, (*world.steps, step), over))
        if hit is Hit.UNKNOWN:
            doubt = doubt or f"rule {rule.name}: {because}"
            after.setdefault((world.effects, False), _World(world.effects, (*world.steps, step)))
    return list(after.values()), doubt


def _carried_out(rule: CompiledRule, effects: Effects) -> Effects:
    return effects if rule.audit else _acted(rule, effects)


def _acted(rule: CompiledRule, effects: Effects) -> Effects:
    for action in rule.then:
        effects = action(effects)
    return effects


def _ends(rule: CompiledRule, effects: Effects) -> bool:
    """Whether no later rule is looked at."""
    return (rule.stop and not rule.audit) or effects.end is not None or any(one.redirect for one in effects.added)


def _effect(rule: CompiledRule, before: Effects, after: Effects) -> str:
    """What the rule changed, in words; for a rule on audit what it would have changed."""
    if rule.audit:
        would = _changes(before, _acted(rule, before), stop=rule.stop)
        return f"only told, because the rule is on audit: {would}" if would else ""
    return _changes(before, after, stop=rule.stop)


def _changes(before: Effects, after: Effects, *, stop: bool) -> str:
    moved = f"goes by connector {after.connector}" if after.connector != before.connector else ""
    more = after.end is not before.end or after.require_tls != before.require_tls or after.edits != before.edits
    more = more or after.added != before.added
    if not more:
        if stop:
            return f"{moved}, no further rules" if moved else "no further rules"
        return moved
    found = [moved] if moved else []
    if after.require_tls and not before.require_tls:
        found.append("may leave over TLS only")
    fresh = after.added[len(before.added) :]
    if fresh:
        to = ", ".join(one.address.text for one in fresh[:5])
        found.append(f"{'redirected to' if fresh[0].redirect else 'also to'} {to}")
    found += [_edit(edit) for edit in after.edits[len(before.edits) :]]
    match after.end:
        case Refuse(reply):
            found.append(f"refused: {reply}")
        case Hold():
            found.append("held")
        case Drop():
            found.append("deleted")
        case None if stop:
            found.append("no further rules")
    return ", ".join(found)


def _edit(edit: HeaderEdit) -> str:
    match edit.change:
        case Change.SET:
            return f"{edit.name} is '{edit.value}' now"
        case Change.REMOVE:
            return f"{edit.name} is taken out"
        case Change.JOIN:
            return f"{edit.value} stands in {edit.name}"
    return f"{edit.name} begins with '{edit.value}' now"


def _step(rule: CompiledRule, hit: Hit, because: str, effect: str, recipient: Address) -> Step:
    return Step(_NAME, rule.subject, hit, because, effect, recipient.text)


def _after(verdict: Verdict, effects: Effects, steps: tuple[Step, ...]) -> Verdict:
    if not steps:
        return verdict
    return Verdict(
        verdict.recipient,
        verdict.target,
        verdict.standing,
        effects,
        effects.end,
        verdict.steps + steps,
        verdict.stage,
        verdict.identity,
        verdict.mailbox,
        verdict.group,
        verdict.forwarding,
    )


STAGE = RecipientStage(_NAME, Point.DATA, regulate)
