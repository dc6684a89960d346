"""The only meeting of the judge and the world."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from lockgate.decision.among import of_all
from lockgate.flow.belonging import Groups
from lockgate.mail.authentication import Authenticated, DmarcVerdict
from lockgate.mail.facts import Facts, Point
from lockgate.mail.findings import Answer, BelongsTo, MembersOf, Question, Unknown, WhoIs
from lockgate.mail.ruling import Ruling, Wants
from lockgate.policy.policy import Policy
from lockgate.seams import Directory

Judge = Callable[[Policy, Facts, Point, Ruling | None], Ruling | Wants]
"""decision.judge.judge, or what a test puts in its place."""

Ask = Callable[[tuple[Question, ...]], dict[Question, Answer]]
"""Finds out. A failure is the answer Unknown; what only others can answer (`Inquire`) is left out."""


_ROUNDS = 100
"""No policy asks in more rounds; without a bound a question that is never answered would stop the whole worker."""


Inquire = Callable[[Policy, Facts, tuple[Question, ...]], Awaitable[dict[Question, Answer]]]
"""Finds out what this machine does not know: asks others, within its budget. Every question gets an answer."""


def settle(
    judge: Judge, ask: Ask, policy: Policy, facts: Facts, until: Point, so_far: Ruling | None = None
) -> tuple[Facts, Ruling]:
    """Judge until `until`, finding out whatever the judge still wants to know; the facts come back richer.

    Nothing is awaited: what only others could answer stays unknown.
    """
    for _ in range(_ROUNDS):
        facts, outcome = advance(judge, ask, policy, facts, until, so_far)
        if not isinstance(outcome, Wants):
            return facts, outcome
        unasked = Unknown("it is not asked at this point")
        facts, so_far = facts.learn(dict.fromkeys(outcome.questions, unasked)), outcome.so_far
    raise RuntimeError("the judge goes on asking, although it is answered")


def advance(
    judge: Judge, ask: Ask, policy: Policy, facts: Facts, until: Point, so_far: Ruling | None = None
) -> tuple[Facts, Ruling | Wants]:
    """Judge as far as this machine's own answers lead: a ruling, or the questions that others have to be asked."""
    for _ in range(_ROUNDS):
        outcome = judge(policy, facts, until, so_far)
        if not isinstance(outcome, Wants):
            return facts, outcome
        answers = of_all(policy, facts, outcome.so_far.recipients, outcome.questions)
        others = tuple(question for question in outcome.questions if question not in answers)
        if others:
            answers |= ask(others)
        facts, so_far = facts.learn(answers), outcome.so_far
        if len(answers) < len(outcome.questions):
            rest = tuple(question for question in outcome.questions if question not in answers)
            return facts, Wants(rest, so_far)
    raise RuntimeError("the judge goes on asking, although it is answered")


async def settle_asking(
    judge: Judge,
    ask: Ask,
    inquire: Inquire | None,
    policy: Policy,
    facts: Facts,
    until: Point,
    so_far: Ruling | None = None,
) -> tuple[Facts, Ruling]:
    """The same as `settle`, but others are asked too; `so_far` may be the state out of Wants."""
    if inquire is None:
        return settle(judge, ask, policy, facts, until, so_far)
    for _ in range(_ROUNDS):
        facts, outcome = advance(judge, ask, policy, facts, until, so_far)
        if not isinstance(outcome, Wants):
            return facts, outcome
        facts = facts.learn(await inquire(policy, facts, outcome.questions))
        so_far = outcome.so_far
    raise RuntimeError("the judge goes on asking, although it is answered")


def local_answers(directory: Directory) -> Ask:
    """Answers from this machine's memory; nothing is awaited. What only others know is left out."""
    groups = Groups(directory)

    def ask(questions: tuple[Question, ...]) -> dict[Question, Answer]:
        answers: dict[Question, Answer] = {}
        for question in questions:
            if isinstance(question, WhoIs):
                answers[question] = directory.who_is(question.organisation, question.address)
            elif isinstance(question, MembersOf):
                answers[question] = directory.members_of(question.organisation, question.address)
            elif isinstance(question, BelongsTo):
                answers[question] = groups.belongs(question)
        return answers

    return ask


def forget_unknown(facts: Facts) -> Facts:
    """The facts without answers that were no answers, so that judging again asks again."""
    known: dict[Question, Answer] = {
        question: answer for question, answer in facts.findings.items() if not _no_answer(answer)
    }
    return Facts(
        facts.at,
        facts.connection,
        facts.envelope,
        facts.recipients,
        facts.message,
        type(facts.findings)(known),
        facts.before,
        facts.excerpt,
    )


def _no_answer(answer: Answer) -> bool:
    """Whether another time might find out more: nothing is known, or DNS gave no answer that decides."""
    if isinstance(answer, Authenticated):
        return answer.dmarc.verdict is DmarcVerdict.TEMPERROR
    return isinstance(answer, Unknown)
