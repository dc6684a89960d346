"""Derived recipients take their place among the others: each once, without circles, and nobody is lost.

One level of groups and forwarding at a time: when everybody is resolved who can be, all that are to be expanded are
expanded in their order. Whoever gets the message already is left out, and the first one wins; so every recipient of the
directory appears once, whatever leads to it, and circles end by themselves. A recipient that was resolved into others,
and whose copy in the end nobody has (mailboxes that only forward to each other, a group of nobody but itself), is
refused (specification 1.6 rule 4). All of it depends on the order of recipients alone, never on that of answers.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from lockgate.decision.adding import left_out
from lockgate.decision.expand import FORWARDING, GROUP, HERE, placed, question_of, refused
from lockgate.decision.stage import Derived
from lockgate.mail import replies
from lockgate.mail.address import Address
from lockgate.mail.facts import Facts
from lockgate.mail.findings import Members
from lockgate.mail.recipient import RecipientId
from lockgate.mail.ruling import Deliver, Disposition, Hit, Hold, Refuse, Resolved, Step, Verdict

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
    left = policy.limits.derived_recipients_per_message - max(0, len(verdicts) - len(facts.recipients))
    for number in sorted(found):
        verdict, (parent, children) = verdicts[number], found[number]
        first = taken[_key(policy, verdict)]
        if first != number:
            verdicts[number] = _shared(verdict, verdicts[first], "expand")
            continue
        fresh: dict[_Key, Verdict] = {}
        already = 0
        for child in children:
            key = _key(policy, child)
            if key not in taken and key not in fresh:
                fresh[key] = child
            else:  # who else gets it in another organisation is not told here
                already += key[0] == verdict.standing.organisation
        no = _too_many(verdict, len(fresh), left) if fresh else None
        if no is not None:
            # Whom rules add is left out; a group that cannot be expanded whole has nobody who may be left out.
            verdicts[number] = no if stage == HERE else placed(verdict, None, left_out(verdict).steps, stage + 1)
            continue
        for key, child in fresh.items():
            taken[key] = len(verdicts)
            verdicts.append(child)
        left -= len(fresh)
        verdicts[number] = _told(parent, already, stage)


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
        return f"rule {verdict.effects.added[0].rule}"
    return f"{FORWARDING}{verdict.identity or verdict.target}"


def _told(parent: Verdict, already: int, stage: int = HERE) -> Verdict:
    """The one that was expanded, with how many of those derived from it get the message anyhow."""
    disposition, steps = parent.disposition, parent.steps
    if already:
        some = f"{already} of them get{'s' if already == 1 else ''} it already"
        if not parent.group and stage == HERE:
            some = "who gets it already"
        last = steps[-1]
        because = f"{last.because}, {some}"
        told = Step(last.stage, last.subject, last.hit, because, last.effect, last.recipient, last.rule)
        steps = (*steps[:-1], told)
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


def _taken(policy: Policy, verdicts: Iterable[Verdict]) -> dict[_Key, int]:
    """Who gets the message, and as which of these; those refused before they were expanded do not."""
    taken: dict[_Key, int] = {}
    for number, verdict in enumerate(verdicts):
        if verdict.stage > HERE or not isinstance(verdict.disposition, Refuse):
            taken.setdefault(_key(policy, verdict), number)
    return taken


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
    return [one.address for one in verdict.effects.added if one.redirect]


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
