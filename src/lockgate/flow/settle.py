"""The only meeting of the judge and the world."""

from __future__ import annotations

from collections.abc import Callable

from lockgate.mail.facts import Facts, Point
from lockgate.mail.findings import Answer, Question, Unknown
from lockgate.mail.ruling import Ruling, Wants
from lockgate.policy.policy import Policy
from lockgate.seams import Directory

Judge = Callable[[Policy, Facts, Point, Ruling | None], Ruling | Wants]
"""decision.judge.judge, or what a test puts in its place."""

Ask = Callable[[tuple[Question, ...]], dict[Question, Answer]]
"""Finds out. Every question gets an answer; a failure is the answer Unknown."""


_ROUNDS = 100
"""No policy asks in more rounds; without a bound a question that is never answered would stop the whole worker."""


def settle(
    judge: Judge, ask: Ask, policy: Policy, facts: Facts, until: Point, so_far: Ruling | None = None
) -> tuple[Facts, Ruling]:
    """Judge until `until`, finding out whatever the judge still wants to know; the facts come back richer."""
    for _ in range(_ROUNDS):
        outcome = judge(policy, facts, until, so_far)
        if not isinstance(outcome, Wants):
            return facts, outcome
        facts = facts.learn(ask(outcome.questions))
        so_far = outcome.so_far
    raise RuntimeError("the judge goes on asking, although it is answered")


def local_answers(directory: Directory) -> Ask:
    """Answers from this machine's memory; nothing is awaited."""

    def ask(questions: tuple[Question, ...]) -> dict[Question, Answer]:
        return {question: directory.who_is(question.organisation, question.address) for question in questions}

    return ask


def forget_unknown(facts: Facts) -> Facts:
    """The facts without answers that were no answers, so that judging again asks again."""
    known: dict[Question, Answer] = {
        question: answer for question, answer in facts.findings.items() if not isinstance(answer, Unknown)
    }
    return Facts(
        facts.at,
        facts.connection,
        facts.envelope,
        facts.recipients,
        facts.message,
        type(facts.findings)(known),
        facts.before,
    )
