"""Has any recipient of the message such an address? Answered from what is decided of an organisation's.

Specification 1.15.5. Whoever was named and taken counts, in the order of naming, and is resolved by then; who is only
derived from others does not. What is recorded of one recipient keeps the answer, so that it can be judged again without
the others (flow/excerpt.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from lockgate.decision.expand import HERE
from lockgate.mail.facts import Facts
from lockgate.mail.findings import Among, Answer, AnyRecipient, Question, Unknown
from lockgate.mail.ruling import Defer, Refuse, Verdict

if TYPE_CHECKING:
    from lockgate.policy.policy import Policy
    from lockgate.policy.rules import Search

_LEFT_OUT = Unknown("other recipients of the message are not on record here, and nobody asked when it came")


def of_all(
    policy: Policy, facts: Facts, verdicts: Sequence[Verdict], questions: Iterable[Question]
) -> dict[Question, Answer]:
    """The answers to those of the questions that are about all recipients; `verdicts` is what is decided so far."""
    answers: dict[Question, Answer] = {}
    for question in questions:
        if isinstance(question, AnyRecipient):
            answers[question] = _LEFT_OUT if facts.excerpt else _among(policy, question, verdicts)
    return answers


def foreseen(policy: Policy, organisation: str, facts: Facts, verdicts: Sequence[Verdict]) -> dict[Question, Answer]:
    """The answers to all such questions that the policy may ask and the facts lack; none where they are an excerpt.

    For those who judge some recipients of a message again without the others.
    """
    mine = policy.organisations.get(organisation)
    if mine is None or facts.excerpt:
        return {}
    unanswered = [one for one in mine.rules.among if not isinstance(facts.findings.get(one), Among)]
    return of_all(policy, facts, verdicts, unanswered)


def _among(policy: Policy, question: AnyRecipient, verdicts: Iterable[Verdict]) -> Answer:
    mine = policy.organisations.get(question.organisation)
    search: Search | None = mine.rules.among.get(question) if mine is not None else None
    if search is None:
        return Unknown("no rule looks for this any more")
    texts = tuple([_address(one, original=question.original) for one in verdicts if _counts(one, question)])
    found = search(*texts) if texts else None
    return Among() if found is None else Among(*found)


def _counts(verdict: Verdict, question: AnyRecipient) -> bool:
    """Whether it is one of the organisation's recipients of the message; who was refused when named is none."""
    if verdict.recipient.derived_from is not None or verdict.standing.organisation != question.organisation:
        return False
    return verdict.stage > HERE or not isinstance(verdict.disposition, Refuse | Defer)


def _address(verdict: Verdict, *, original: bool) -> str:
    return verdict.recipient.original.text if original else (verdict.identity or verdict.target).text
