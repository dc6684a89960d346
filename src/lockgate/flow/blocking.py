"""Blocked connectors as the judge asks for them, beside the directory: from this machine, nothing is awaited."""

from __future__ import annotations

from lockgate.flow.settle import Ask
from lockgate.mail.findings import Answer, IsBlocked, Question
from lockgate.seams import Blocks


def with_blocks(blocks: Blocks, otherwise: Ask) -> Ask:
    """Answers whether connectors are blocked; the rest is asked of `otherwise`."""

    def ask(questions: tuple[Question, ...]) -> dict[Question, Answer]:
        mine = [question for question in questions if isinstance(question, IsBlocked)]
        if not mine:
            return otherwise(questions)
        rest = tuple([question for question in questions if not isinstance(question, IsBlocked)])
        found: dict[Question, Answer] = {one: blocks.state(one.organisation, one.connector) for one in mine}
        return found | (otherwise(rest) if rest else {})

    return ask
