"""Where mailboxes live now, for mail that was judged while they lived elsewhere (specification 2.6, T-HYB-9).

What was recorded of a recipient stays as it was (who she is, who may write to her); but on which of the two sides of a
hybrid her mailbox is, is looked up again before waiting or held mail goes on.
"""

from __future__ import annotations

from collections.abc import Container

import msgspec

from lockgate.decision.resolve import moved
from lockgate.decision.stage import Questions
from lockgate.flow.settle import Ask
from lockgate.mail.facts import Facts
from lockgate.mail.findings import Answer, Known, Members, Question, RecipientKind, Who, WhoIs
from lockgate.mail.recipient import RecipientId
from lockgate.mail.ruling import Ruling, Verdict
from lockgate.policy.policy import Policy

_SIDES = frozenset({RecipientKind.MAILBOX, RecipientKind.MAIL_USER})
_People = dict[tuple[str, str], Who]
"""By organisation and the key of the primary address."""

_LONGEST_CHAIN = 20


def up_to_date(
    policy: Policy, facts: Facts, so_far: Ruling | None, ids: Container[RecipientId], ask: Ask
) -> tuple[Facts, Ruling | None]:
    """Facts and state with where the recipients `ids` live now; as they are if nobody has moved."""
    before = _recorded(facts, {one.original.key for one in facts.recipients} | _identities(so_far, ids))
    questions = {WhoIs(organisation, key): who for (organisation, key), who in before.items()}
    answers = ask(tuple(questions))
    after: _People = {}
    for question, who in questions.items():
        found = answers.get(question)
        if isinstance(found, Known) and found.who is not None and found.who.kind in _SIDES:
            now = msgspec.structs.replace(who, kind=found.who.kind, external=found.who.external)
            if now != who:
                after[question.organisation, question.address] = now
    if not after:
        return facts, so_far
    facts = facts.learn(_corrected(facts, after))
    if so_far is None:
        return facts, None
    everybody = before | after
    verdicts = tuple([_followed(policy, facts, verdict, everybody, ask) for verdict in so_far.recipients])
    return facts, msgspec.structs.replace(so_far, recipients=verdicts)


def _identities(so_far: Ruling | None, ids: Container[RecipientId]) -> set[str]:
    verdicts = so_far.recipients if so_far is not None else ()
    return {one.identity.key for one in verdicts if one.identity is not None and one.recipient in ids}


def _recorded(facts: Facts, keys: set[str]) -> _People:
    """The mailboxes and mail users that were asked for, and those members of groups who are meant."""
    people: _People = {}
    for found in facts.findings.items():
        match found[1]:
            case Known(Who() as who) if who.kind in _SIDES:
                people[who.organisation, who.primary.key] = who
            case Members(known):
                for who in known:
                    if who.primary.key in keys and who.kind in _SIDES:
                        people[who.organisation, who.primary.key] = who
    return people


def _corrected(facts: Facts, after: _People) -> dict[Question, Answer]:
    """The answers that name somebody who has moved, as they would be given now."""

    def now(who: Who) -> Who:
        return after.get((who.organisation, who.primary.key), who)

    answers: dict[Question, Answer] = {}
    for question, answer in facts.findings.items():
        match answer:
            case Known(Who() as who, revision) if now(who) is not who:
                answers[question] = Known(now(who), revision)
            case Members(known, others, revision) if any(now(who) is not who for who in known):
                answers[question] = Members(tuple([now(who) for who in known]), others, revision)
    return answers


def _followed(policy: Policy, facts: Facts, verdict: Verdict, people: _People, ask: Ask) -> Verdict:
    identity = verdict.identity
    who = people.get((verdict.standing.organisation, identity.key)) if identity is not None else None
    if who is None:
        return verdict
    for _ in range(_LONGEST_CHAIN):
        outcome = moved(policy, facts, verdict, who)
        if not isinstance(outcome, Questions):
            return outcome
        facts = facts.learn(ask(outcome.asked))
    return verdict
