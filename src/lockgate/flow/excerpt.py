"""Parts of what is recorded: of one organisation, or about one recipient alone, so that they can be judged again."""

from __future__ import annotations

from collections.abc import Container

import msgspec

from lockgate.mail.facts import Facts
from lockgate.mail.findings import ABOUT_MESSAGE, Answer, Findings, InList, Members, MembersOf, Question
from lockgate.mail.lists import ListKind
from lockgate.mail.loose_mailboxes import all_mailboxes
from lockgate.mail.recipient import RecipientId
from lockgate.mail.replies import RULES_LOOP
from lockgate.mail.ruling import Refuse, Ruling, Verdict

_FEW = 10
"""So many answers are recorded as they are, chains of target addresses included."""

_replace = msgspec.structs.replace


def narrow(facts: Facts, ruling: Ruling, organisation: str) -> tuple[Facts, Ruling]:
    """Facts and ruling of one organisation's recipients alone (DESIGN 2: one transaction, several organisations).

    Whoever is derived from a recipient of another organisation was judged as if the session had named it, so it is one
    of the recipients here.
    """
    verdicts = tuple(v for v in ruling.recipients if v.standing.organisation == organisation)
    mine = {verdict.recipient for verdict in verdicts}
    named = tuple(
        v.recipient for v in verdicts if v.recipient.derived_from is None or v.recipient.derived_from not in mine
    )
    findings = {q: a for q, a in facts.findings.items() if q.organisation == organisation}
    candidates = tuple(c for c in ruling.candidates if c.organisation == organisation)
    return (
        _replace(facts, recipients=named, findings=Findings(findings)),
        _replace(ruling, recipients=verdicts, candidates=candidates),
    )


def entry_of(recipient: RecipientId, named: Container[RecipientId]) -> RecipientId | None:
    """The recipient among those named in the facts from whom this one is derived (itself, if it is one of them)."""
    here: RecipientId | None = recipient
    while here is not None and here not in named:
        here = here.derived_from
    return here


def about(facts: Facts, ruling: Ruling, verdict: Verdict, *, before: int = 0) -> tuple[Facts, Ruling]:
    """Facts and ruling about this recipient alone; of whoever it is derived from what is needed to judge it again.

    That keeps other organisations' recipients out, and the cost the same however many there are; of the members of a
    group only the one that is meant is left. `before` counts the recipients named before it that are left out. Of a
    circle of redirects the others are kept as well: alone it would be redirected, and nobody would know why it was not.
    """
    chain: dict[RecipientId, None] = {}
    circle = _circle(ruling, verdict)
    for one in circle:
        here: RecipientId | None = one.recipient
        while here is not None:
            chain[here] = None
            here = here.derived_from
    organisation = verdict.standing.organisation
    verdicts = (verdict,) if len(chain) == 1 else tuple(v for v in ruling.recipients if v.recipient in chain)
    own = {v.recipient for v in verdicts if v.standing.organisation == organisation}
    entries = tuple(dict.fromkeys(_entry(one.recipient, own) for one in circle))
    if len(entries) > 1:  # who was named first is redirected first
        entries = tuple(one for one in facts.recipients if one in entries)
    return (
        _replace(
            facts,
            recipients=entries,
            findings=_answers(facts, organisation, verdict, verdicts),
            before=before,
            excerpt=facts.excerpt or len(facts.recipients) > 1,
        ),
        _replace(ruling, recipients=(verdict,), settled=min(ruling.settled, 1)),
    )


def _entry(recipient: RecipientId, own: Container[RecipientId]) -> RecipientId:
    """Of another organisation's recipient it was judged as if it had been named."""
    while recipient.derived_from is not None and recipient.derived_from in own:
        recipient = recipient.derived_from
    return recipient


def _circle(ruling: Ruling, verdict: Verdict) -> tuple[Verdict, ...]:
    """The verdict, and of its organisation those to whom redirects lead from it that were refused because they lead
    back; not more than a few.
    """
    if not _leads_back(verdict):
        return (verdict,)
    organisation = verdict.standing.organisation
    by_address: dict[str, Verdict] = {}
    for one in ruling.recipients:
        if one.standing.organisation == organisation and _leads_back(one):
            by_address.setdefault((one.identity or one.recipient.original).key, one)
    found = {verdict.recipient: verdict}
    waiting = [verdict]
    while waiting and len(found) < _FEW:
        for to in waiting.pop(0).effects.redirects:
            other = by_address.get(to.address.key)
            if other is not None and other.recipient not in found:
                found[other.recipient] = other
                waiting.append(other)
    return tuple(found.values())


def _leads_back(verdict: Verdict) -> bool:
    """Whether it was refused because rules redirect it in a circle."""
    match verdict.disposition:
        case Refuse(reply):
            return reply == RULES_LOOP and bool(verdict.effects.redirects)
    return False


def _answers(facts: Facts, organisation: str, verdict: Verdict, chain: tuple[Verdict, ...]) -> Findings:
    """What was found out about these recipients of the organisation."""
    answers: list[tuple[Question, Answer]] = [
        (q, a) for q, a in facts.findings.items() if q.organisation == organisation
    ]
    addresses: set[str] = set()
    for one in chain:
        addresses |= {one.recipient.original.key, one.target.key, (one.identity or one.target).key}
    if len(answers) > _FEW:
        senders = _senders(facts)
        answers = [(q, a) for q, a in answers if isinstance(q, ABOUT_MESSAGE) or isinstance(a, Members)
                   or (_concerns(q, addresses | senders) if isinstance(q, InList)
                       else q.address.casefold() in addresses or q.address.casefold() in senders)]  # fmt: skip
    own = verdict.target.key if verdict.group else ""
    return Findings({
        q: _those(a, addresses) if isinstance(q, MembersOf) and isinstance(a, Members) and q.address in addresses
        and q.address != own else a
        for q, a in answers
    })  # fmt: skip


def _concerns(question: InList, addresses: set[str]) -> bool:
    """Whether one of these is what was looked for in the list; its words are looked for in what all have in common."""
    match question.kind:
        case ListKind.WORDS:
            return True
        case ListKind.DOMAINS:
            return any(address.rpartition("@")[2] == question.value for address in addresses)
        case ListKind.ADDRESSES:
            return question.value in addresses


def _senders(facts: Facts) -> set[str]:
    """The addresses of the sender, as far as rules ask about them."""
    sender = facts.envelope.sender if facts.envelope is not None else None
    found = {sender.key} if sender is not None else set()
    if facts.message is not None:
        values = [value for name, value in facts.message.fields if name.lower() == "from"]
        found |= {box.address.casefold() for value in values for box in all_mailboxes(value)}
    return found


def _those(members: Members, addresses: Container[str]) -> Members:
    """Of the very many members of a group from which somebody is derived those that are meant."""
    if len(members.known) + len(members.others) <= _FEW:
        return members
    return Members(
        tuple(who for who in members.known if who.primary.key in addresses),
        tuple(one for one in members.others if one.key in addresses),
        members.revision,
    )
