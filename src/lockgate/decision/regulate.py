"""What do the mail flow rules of the recipient's organisation ask for? (specification 1.15.1, DESIGN 2)"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import msgspec

from lockgate.decision.stage import Depth, Either, Questions, RecipientStage, doubts_of, refuse
from lockgate.mail import replies
from lockgate.mail.address import Address
from lockgate.mail.facts import Facts, Point
from lockgate.mail.findings import Question
from lockgate.mail.header_edits import Change as What
from lockgate.mail.header_edits import HeaderEdit
from lockgate.mail.our_fields import may_be_ours
from lockgate.mail.ruling import Drop, Effects, Hit, Hold, Refuse, Ruling, Step, Verdict
from lockgate.policy.found import in_order
from lockgate.policy.rules import Applied, Case, Change, Course, Seen

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
    outcome = _regulated(mine.rules, facts, ruling, verdict, depth)
    if isinstance(outcome, Either):
        going_on = [one.effects for one in outcome.verdicts if one.disposition is None]
        if any(effects.added for effects in going_on):
            # Who gets it besides is not to be guessed.
            return _put_off(verdict, outcome, "recipients added by rules")
        if len({_said_of_it(one.effects) for one in outcome.verdicts}) > 1:
            # Nor what others believe of it, or are told about it.
            return _put_off(verdict, outcome, "what rules say of it")
    return outcome


def _put_off(verdict: Verdict, outcome: Either, subject: str) -> Verdict:
    before = _after(verdict, verdict.effects, doubts_of(verdict, outcome))
    return refuse(_NAME, before, replies.NOT_FOUND_OUT, subject, outcome.why, Hit.UNKNOWN)


def besides(effects: Effects) -> str:
    """What the rules asked for besides where the copy goes, in words."""
    return _changes(Effects(), msgspec.structs.replace(effects, connector="", end=None), stop=False)


def _said_of_it(effects: Effects) -> tuple[object, ...]:
    """What no disposition shows: the level and the name that rules gave it, and who is told about it."""
    return effects.scl, effects.classification, effects.reports, effects.notes


def _regulated(
    rules: CompiledRules, facts: Facts, ruling: Ruling, verdict: Verdict, depth: Depth
) -> Verdict | Either | Questions:
    recipient, message = verdict.identity or verdict.target, facts.message
    back = message is not None and message.claims > 0 and may_be_ours(
        message, ruling.candidates, verdict.standing.organisation
    )
    case = Case(facts, verdict.standing, original=verdict.recipient.original, handed_back=back)
    if depth is Depth.FULL:
        clear = _course(rules, verdict.effects, recipient, case) is not None
        unasked = () if clear else _unasked(rules, verdict.effects, recipient, case)
        return Questions(unasked) if unasked else _explained(rules, verdict, recipient, case)
    key = (recipient.domain, verdict.effects)
    course = rules.courses.get(key)
    if course is None:
        course = _course(rules, verdict.effects, recipient, case)
        if course is None:
            unasked = _unasked(rules, verdict.effects, recipient, case)
            if unasked:
                return Questions(unasked)
            return _in_doubt(rules.could_match(case, recipient), verdict, recipient, case)
        if rules.by_domain and _worth_remembering(rules.could_match(case, recipient)):
            rules.remember(key, course)
    effects, applied = course
    text = recipient.text
    steps = [Step(_NAME, subject, hit, why, effect, text, rule) for subject, hit, why, effect, rule in applied]
    return _after(verdict, effects, tuple(steps))


def _worth_remembering(possible: tuple[CompiledRule, ...]) -> bool:
    return len(possible) >= _WORTH_REMEMBERING and all(rule.by_domain for rule in possible)


def _unasked(rules: CompiledRules, effects: Effects, recipient: Address, case: Case) -> tuple[Question, ...]:
    """What has to be found out first, where some rule cannot do without it: of the message all that any rule asks."""
    asks = dict.fromkeys(rules.asks if case.facts.message is not None else ())
    for rule in rules.likely(case, recipient):
        asks.update(dict.fromkeys(_asks_of(rule, case, recipient)))
    found = tuple([question for question in asks if question not in case.facts.findings])
    return found or _unasked_behind(rules.could_match(case, recipient), effects, recipient, case)


def _asks_of(rule: CompiledRule, case: Case, recipient: Address) -> tuple[Question, ...]:
    """What has to be known to tell whether the rule applies, and what it does."""
    asks: list[Question] = []
    for condition in rule.when:
        seen = condition(case, recipient)
        asks += seen.asks
        if seen.hit is Hit.NO:
            return tuple(asks)  # it does not match anyhow
    for exception in rule.unless:
        asks += exception(case, recipient).asks
    deeds = _deeds(rule, case)
    return (*asks, *deeds.asks) if isinstance(deeds, Seen) else tuple(asks)


def _unasked_behind(
    rules: tuple[CompiledRule, ...], effects: Effects, recipient: Address, case: Case
) -> tuple[Question, ...]:
    """The same of the first rule that has a question only because of what an earlier one did to the header."""
    worlds = [_World(effects)]
    for rule in rules:
        asks = [
            question
            for world in worlds
            if not world.stopped
            for question in _asks_of(rule, case._replace(edits=world.effects.edits), recipient)
            if question not in case.facts.findings
        ]
        if asks:
            return tuple(dict.fromkeys(asks))
        worlds, _ = _go_on(worlds, rule, case, recipient, told=False)
        if not worlds or len(worlds) > _MANY_WORLDS:
            break
    return ()


def _course(rules: CompiledRules, effects: Effects, recipient: Address, case: Case) -> Course | None:
    """How it goes as long as every rule says clearly whether it applies and what it does; None once one does not.

    Rules that certainly do not apply are not looked at; behind a change of the header others may.
    """
    applied: list[Applied] = []
    likely, at = rules.likely(case, recipient), 0
    while at < len(likely):
        rule, at = likely[at], at + 1
        hit, because = _applies(rule, case, recipient)
        if hit is Hit.YES:
            before = effects
            deeds = _deeds(rule, case)
            if isinstance(deeds, Seen):
                return None
            effects = _acted(deeds, before)
            if effects.edits is not before.edits:
                case = case._replace(edits=effects.edits)
                fields = {edit.name.lower() for edit in effects.edits[len(before.edits) :]}
                if more := rules.likely_behind(rule, fields, case, recipient):
                    likely, at = in_order((likely[at:], more)), 0
            applied.append(Applied(rule.subject, hit, because, _effect(rule, case, before, effects), rule.hit))
            if _ends(rule, effects):
                break
        elif hit is Hit.UNKNOWN:
            return None
    return effects, tuple(applied)


def _explained(rules: CompiledRules, verdict: Verdict, recipient: Address, case: Case) -> Verdict | Either:
    """The same with a step for every rule: those that were not applied are told as well, with the reason."""
    possible = frozenset(map(id, rules.could_match(case, recipient)))
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
        if not worlds or len(worlds) > _MANY_WORLDS:
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
    if rule.timed:
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
    return "its time is over" if at >= rule.ends else ""


def _left_out(because: str) -> str:
    return f"{because}, so the rule is left out (rule_error_action)"


def _go_on(
    worlds: list[_World], rule: CompiledRule, case: Case, recipient: Address, *, told: bool
) -> tuple[list[_World], str]:
    """The worlds after one more rule, equal ones fallen together, and why it is in doubt whether it applies ("": not).
    None at all if it is unknown what the rule does.

    With `told` there is a step also where it does not apply.
    """
    after: dict[tuple[Effects, bool], _World] = {}
    doubt = ""
    for world in worlds:
        if world.stopped:
            after.setdefault((world.effects, True), world)
            continue
        hit, because = _applies(rule, case._replace(edits=world.effects.edits), recipient)
        if hit is Hit.NO:
            steps = (*world.steps, _step(rule, hit, because, "", recipient)) if told else world.steps
            after.setdefault((world.effects, False), _World(world.effects, steps))
            continue
        here = case._replace(edits=world.effects.edits)
        deeds = _deeds(rule, here)
        if isinstance(deeds, Seen):
            return [], f"rule {rule.name}: {deeds.because}"
        effects = _acted(deeds, world.effects)
        step = _step(rule, hit, because, _effect(rule, here, world.effects, effects), recipient)
        over = _ends(rule, effects)
        after.setdefault((effects, over), _World(effects, (*world.steps, step), over))
        if hit is Hit.UNKNOWN:
            if (effects, over) != (world.effects, False):  # a rule on audit, for one, decides nothing
                doubt = doubt or f"rule {rule.name}: {because}"
            after.setdefault((world.effects, False), _World(world.effects, (*world.steps, step)))
    return list(after.values()), doubt


def _deeds(rule: CompiledRule, case: Case) -> tuple[Change, ...] | Seen:
    """What the rule carries out where it applies, or what has to be known first."""
    if rule.audit:
        return rule.even_so
    if not rule.finds:
        return rule.then
    return (*rule.then, *found) if not isinstance(found := _found(rule, case), Seen) else found


def _found(rule: CompiledRule, case: Case) -> tuple[Change, ...] | Seen:
    """What follows from the case for the actions that have to know more of it."""
    changes: list[Change] = []
    for find in rule.finds:
        change = find(case)
        if isinstance(change, Seen):
            return change
        changes.append(change)
    return tuple(changes)


def _acted(deeds: tuple[Change, ...], effects: Effects) -> Effects:
    for action in deeds:
        effects = action(effects)
    return effects


def _ends(rule: CompiledRule, effects: Effects) -> bool:
    """Whether no later rule is looked at."""
    return (rule.stop and not rule.audit) or effects.end is not None or any(one.redirect for one in effects.added)


def _effect(rule: CompiledRule, case: Case, before: Effects, after: Effects) -> str:
    """What the rule changed, in words; for a rule on audit also what it would have changed; and how grave that is."""
    said = _changes(before, after, stop=rule.stop and not rule.audit)
    if rule.audit:
        found = _found(rule, case)
        more = () if isinstance(found, Seen) else found
        would = _changes(after, _acted((*rule.then, *more), after), stop=rule.stop)
        told = f"only told, because the rule is on audit: {would}" if would else ""
        said = f"{said}; {told}" if said and told else said or told
    severity = rule.hit.severity
    return f"{said}{'; ' if said else ''}severity {severity}" if severity else said


def _changes(before: Effects, after: Effects, *, stop: bool) -> str:
    moved = f"goes by connector {after.connector}" if after.connector != before.connector else ""
    more = after.end is not before.end or after.require_tls != before.require_tls or after.edits != before.edits
    more = more or after.added != before.added or _said_of_it(after) != _said_of_it(before)
    if not more:
        if stop:
            return f"{moved}, no further rules" if moved else "no further rules"
        return moved
    found = [moved] if moved else []
    if after.require_tls and not before.require_tls:
        found.append("may leave over TLS only")
    fresh = [one for one in after.added if one not in before.added] if after.added != before.added else []
    for redirect, words in ((False, "also to"), (True, "redirected to")):
        to = ", ".join([one.address.text for one in fresh if one.redirect is redirect][:5])
        if to:
            found.append(f"{words} {to}")
    found += [_edit(edit) for edit in after.edits[len(before.edits) :]]
    found += [f"incident report to {one.to}" for one in after.reports[len(before.reports) :]]
    if len(after.notes) > len(before.notes):
        found.append("the recipient gets a notification")
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
        case What.SET:
            return f"{edit.name} is '{edit.value}' now"
        case What.REMOVE:
            return f"{edit.name} is taken out"
        case What.JOIN:
            return f"{edit.value} stands in {edit.name}"
    return f"{edit.name} begins with '{edit.value}' now"


def _step(rule: CompiledRule, hit: Hit, because: str, effect: str, recipient: Address) -> Step:
    return Step(_NAME, rule.subject, hit, because, effect, recipient.text, None if hit is Hit.NO else rule.hit)


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
