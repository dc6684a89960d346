"""Derived recipients take their place among the others: each once, without circles, and nobody is lost.

One level of groups and forwarding at a time: when everybody is resolved who can be, all that are to be expanded are
expanded in their order. Whoever gets the message already is left out, and the first one wins; so every recipient of the
directory appears once, whatever leads to it, and circles end by themselves. A recipient that was resolved into others,
and whose copy in the end nobody has (mailboxes that only forward to each other, a group of nobody but itself), is
refused (specification 1.6 rule 4). All of it depends on the order of recipients alone, never on that of answers.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from lockgate.decision.adding import left_out
from lockgate.decision.expand import FORWARDING, GROUP, HERE, placed, question_of, refused
from lockgate.decision.stage import Derived
from lockgate.mail import replies
from lockgate.mail.address import Address
from lockgate.mail.facts import Facts
from lockgate.mail.findings import Members
from lockgate.mail.recipient import RecipientId, Relation
from lockgate.mail.ruling import (
    MOST_ADDED,
    Deliver,
    Disposition,
    Drop,
    Hit,
    Hold,
    Refuse,
    Resolved,
    Step,
    Verdict,
)

if TYPE_CHECKING:
    from lockgate.policy.policy import Policy

_Key = tuple[str, str]
_DEEPEST = 32
"""Whoever is derived through so many others is refused: nobody nests groups so deeply on purpose."""


def join(
    policy: Policy, facts: Facts, verdicts: list[Verdict], found: Mapping[int, Derived], stage: int = HERE
) -> None:
    """Put what was derived behind the others: `found` is by the number of the recipient from which it comes.

    `stage` is the place of the one that derived it: of groups and forwarding, or of mail flow rules.
    """
    taken = _taken(policy, verdicts)
    added = _added(verdicts) if stage != HERE else Counter()
    left = policy.limits.derived_recipients_per_message - max(0, len(verdicts) - len(facts.recipients))
    for number in sorted(found):
        verdict, (parent, children) = verdicts[number], found[number]
        first = taken[_key(policy, verdict)]
        if first != number and stage == HERE:  # behind the rules the copies may differ, and whom they lead to
            verdicts[number] = _shared(verdict, verdicts[first], "expand")
            continue
        fresh, already = _fresh(policy, verdicts, number, children, taken)
        if stage != HERE:
            parent = _within_bounds(parent, fresh, added)
        no = _too_many(verdict, len(fresh), left) if fresh else None
        if no is not None:
            verdicts[number] = _not_whole(verdict, parent, no, stage)
            continue
        for key, child in fresh.items():
            taken[key] = len(verdicts)
            verdicts.append(child)
        left -= len(fresh)
        verdicts[number] = _told(parent, already, stage)


def _fresh(
    policy: Policy, verdicts: Sequence[Verdict], number: int, children: Iterable[Verdict], taken: Mapping[_Key, int]
) -> tuple[dict[_Key, Verdict], int]:
    """Of those derived from a recipient the ones that do not get the message yet, and how many others do.

    Whose own copy was ended gets the one that a rule adds, because no rule is looked at for that one.
    """
    fresh: dict[_Key, Verdict] = {}
    already = 0
    for child in children:
        key = _key(policy, child)
        there = taken.get(key)
        ended = there is not None and child.effects.ruled and _is_ended(verdicts[there])
        if (there is None or ended) and key not in fresh:
            fresh[key] = child
        else:  # who else gets it in another organisation is not told here
            already += key[0] == verdicts[number].standing.organisation
    return fresh, already


def _added(verdicts: Iterable[Verdict]) -> Counter[str]:
    """How many recipients the rules of each organisation have added beside others."""
    whose = {one.recipient: one.standing.organisation for one in verdicts}
    return Counter(
        whose[one.derived_from]
        for one in whose
        if one.relation is Relation.ADDED and one.derived_from is not None and one.derived_from in whose
    )


def _within_bounds(parent: Verdict, fresh: dict[_Key, Verdict], added: Counter[str]) -> Verdict:
    """Leave out whom the organisation's rules add beyond what they may add to one message, and count the others; the
    recipient, with a step that tells of it."""
    wanted = [key for key, child in fresh.items() if child.recipient.relation is Relation.ADDED]
    organisation = parent.standing.organisation
    room = MOST_ADDED - added[organisation]
    added[organisation] += min(room, len(wanted))
    over = wanted[room:]
    for key in over:
        del fresh[key]
    because = f"rules add {MOST_ADDED} recipients to one message at most, and these would be {len(over)} more"
    return left_out(parent, because) if over else parent


def _not_whole(verdict: Verdict, parent: Verdict, no: Verdict, stage: int) -> Verdict:
    """A recipient from whom more would be derived than may be: a group that cannot be expanded whole has nobody who may
    be left out, and a copy that is redirected does not stay; but whom rules add besides is left out."""
    if stage == HERE or isinstance(parent.disposition, Resolved):
        return placed(no, no.disposition, no.steps, stage + 1)
    return placed(verdict, None, left_out(verdict).steps, stage + 1)


def _too_many(verdict: Verdict, more: int, left: int) -> Verdict | None:
    subject = _subject(verdict)
    if more > left:
        because = f"it leads to {more} more recipients, and {max(left, 0)} more may be derived from this message"
        return refused(verdict, replies.GROUP_TOO_LARGE, subject, because)
    deep, here = 0, verdict.recipient.derived_from
    while here is not None:
        deep, here = deep + 1, here.derived_from
    if deep >= _DEEPEST:
        because = f"it is derived through {deep} others, and nobody nests groups or forwarding so deeply on purpose"
        return refused(verdict, replies.RECIPIENT_LOOP, subject, because)
    return None


def _subject(verdict: Verdict) -> str:
    if verdict.group:
        return f"{GROUP}{verdict.target}"
    if verdict.effects.added:
        return f"rule {(verdict.effects.redirects or verdict.effects.added)[0].rule}"
    return f"{FORWARDING}{verdict.identity or verdict.target}"


def _told(parent: Verdict, already: int, stage: int = HERE) -> Verdict:
    """The one that was expanded, with how many of those derived from it get the message anyhow."""
    disposition, steps = parent.disposition, parent.steps
    if already:
        some = f"{already} of them get{'s' if already == 1 else ''} it already"
        if not parent.group and stage == HERE:
            some = "who gets it already"
        # Behind the one that derived them there may be steps of rules that were not looked at any more.
        place = next((n for n in range(len(steps) - 1, -1, -1) if steps[n].hit is Hit.YES), len(steps) - 1)
        last = steps[place]
        because = f"{last.because}, {some}"
        told = Step(last.stage, last.subject, last.hit, because, last.effect, last.recipient, last.rule)
        steps = (*steps[:place], told, *steps[place + 1 :])
        if isinstance(disposition, Resolved):
            disposition = Resolved(f"{disposition.why}, {some}", disposition.expanded)
    return placed(parent, disposition, steps, stage + 1)


def _key(policy: Policy, verdict: Verdict) -> _Key:
    """Which recipient this is, whatever address it was named by."""
    organisation = verdict.standing.organisation
    if not organisation and verdict.recipient.derived_from is not None:
        home = policy.accepted(verdict.target.domain)
        organisation = home.organisation if home is not None else ""
    return organisation, (verdict.identity or verdict.recipient.original).key


def _taken(policy: Policy, verdicts: Sequence[Verdict]) -> dict[_Key, int]:
    """Who gets the message, and as which of these; those refused before they were expanded do not. Whose copy was ended
    later gets it as another of these, if there is one.
    """
    taken: dict[_Key, int] = {}
    for number, verdict in enumerate(verdicts):
        if verdict.stage > HERE or not isinstance(verdict.disposition, Refuse):
            first = taken.setdefault(_key(policy, verdict), number)
            if first != number and _is_ended(verdicts[first]) and not _is_ended(verdict):
                taken[_key(policy, verdict)] = number
    return taken


def _is_ended(verdict: Verdict) -> bool:
    """Whether it has no copy; that of a group is one for each of its members, whose own may have been ended."""
    disposition = verdict.disposition
    return isinstance(disposition, Refuse | Drop) or (isinstance(disposition, Resolved) and disposition.expanded)


def _shared(verdict: Verdict, other: Verdict, stage: str) -> Verdict:
    """No copy of its own, because `other` has it."""
    because = f"the same recipient already gets it as {other.recipient.original}"
    step = Step(stage, "duplicates", Hit.YES, because, "no copy of its own", verdict.recipient.original.text)
    if stage == "expand":
        return placed(verdict, Resolved(because), (*verdict.steps, step))
    return Verdict(
        verdict.recipient, verdict.target, verdict.standing, verdict.effects, Resolved(because),
        (*verdict.steps, step), verdict.stage, verdict.identity, verdict.mailbox, verdict.group, verdict.forwarding,
    )  # fmt: skip


# --- when everything is decided ---------------------------------------------------------------------------------------


def finished(policy: Policy, facts: Facts, verdicts: Sequence[Verdict]) -> tuple[Verdict, ...]:
    """All verdicts, each decided: circles without an end refused, and of copies for one mailbox the first kept."""
    ended = list(verdicts)
    lost = [n for n, v in enumerate(ended) if isinstance(v.disposition, Resolved) and (v.stage == HERE + 1 or _to(v))]
    if lost:
        for number in _in_circles(policy, facts, ended, lost):
            because = "whomever it leads to leads back to it, and nobody keeps a copy"
            reply = replies.RULES_LOOP if _to(ended[number]) else replies.RECIPIENT_LOOP
            ended[number] = refused(ended[number], reply, _subject(ended[number]), because)
    return tuple(once_each(ended))


def _to(verdict: Verdict) -> list[Address]:
    """To whom rules have redirected it."""
    return [one.address for one in verdict.effects.redirects]


def _in_circles(policy: Policy, facts: Facts, verdicts: list[Verdict], resolved: list[int]) -> Iterator[int]:
    """Those resolved into others from whom no copy comes; of each circle the one from which nobody is derived."""
    alive = bytearray(1) * len(verdicts)
    number_of = {verdicts[number].recipient: number for number in resolved}
    waiting = frozenset(resolved)
    looked_at: set[int] = set()
    for number in range(len(verdicts)):
        if number in waiting:
            continue
        alive[number] = 1
        above = verdicts[number].recipient.derived_from
        while above is not None and id(above) not in looked_at:
            looked_at.add(id(above))
            place = number_of.get(above)
            if place is not None:
                alive[place] = 1
            above = above.derived_from
    dead = [number for number in resolved if not alive[number]]
    if not dead:
        return
    _enliven(policy, facts, verdicts, dead, number_of, alive)
    parents = {number_of.get(above) for n in dead if (above := verdicts[n].recipient.derived_from) is not None}
    yield from (number for number in dead if not alive[number] and number not in parents)


def _enliven(
    policy: Policy,
    facts: Facts,
    verdicts: list[Verdict],
    dead: list[int],
    number_of: Mapping[RecipientId, int],
    alive: bytearray,
) -> None:
    """Mark those whose copy others have: who was left out as a duplicate leads on all the same."""
    taken = _taken(policy, verdicts)
    behind: dict[int, list[int]] = {}
    for number in dead:
        for other in _leads_to(policy, facts, verdicts[number], number, taken):
            behind.setdefault(other, []).append(number)
        above = verdicts[number].recipient.derived_from
        parent = number_of.get(above) if above is not None else None
        if parent is not None:
            behind.setdefault(number, []).append(parent)
    queue = deque(number for number in behind if alive[number])
    while queue:
        for number in behind.get(queue.popleft(), ()):
            if not alive[number]:
                alive[number] = 1
                queue.append(number)


def _leads_to(
    policy: Policy, facts: Facts, verdict: Verdict, number: int, taken: Mapping[_Key, int]
) -> Iterator[int]:
    """Who else has the copy of a recipient that was resolved."""
    first = taken.get(_key(policy, verdict), number)
    if first != number:
        yield first
        return
    organisation = verdict.standing.organisation
    addresses = [verdict.forwarding.to] if verdict.forwarding is not None else []
    addresses += _to(verdict)
    if verdict.group:
        members = facts.findings.get(question_of(verdict))
        if isinstance(members, Members):
            addresses = [*(who.primary for who in members.known), *members.others]
    for address in addresses:
        home = policy.accepted(address.domain)
        found = taken.get((home.organisation if home is not None else organisation, address.key))
        if found is not None:
            yield found


def once_each(verdicts: Iterable[Verdict], before: Iterable[Verdict] = ()) -> list[Verdict]:
    """The verdicts, of which those are resolved whose mailbox an earlier one, or one of `before`, delivers to."""
    seen: dict[object, Verdict] = {}
    for verdict in before:
        if isinstance(verdict.disposition, Deliver):
            seen.setdefault(_copy(verdict, verdict.disposition), verdict)
    ended: list[Verdict] = []
    for verdict in verdicts:
        copy = _copy(verdict, verdict.disposition)
        first = seen.setdefault(copy, verdict) if copy is not None else verdict
        ended.append(verdict if first is verdict else _shared(verdict, first, "route"))
    return ended


def _copy(verdict: Verdict, disposition: Disposition | None) -> object:
    """What two verdicts on one copy have in common; None: there is no copy to be had twice."""
    match disposition:
        case Deliver(route, target):
            return verdict.standing.organisation, target.key, route
        case Hold(why, pending=False):
            return verdict.standing.organisation, (verdict.identity or verdict.recipient.original).key, why
        case _:
            return None
