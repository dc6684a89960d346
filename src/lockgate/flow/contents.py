"""What a message is made of, and what its text says: answers that need its octets (mail/mime)."""

from __future__ import annotations

from collections.abc import Sequence

from lockgate.flow.allowance import Allowance
from lockgate.flow.listed import in_texts
from lockgate.mail.findings import Answer, Found, InText, ListInText, Question, Unknown, WhatParts
from lockgate.mail.mime.text import texts_of
from lockgate.mail.mime.walk import walk
from lockgate.mail.structure import Structure
from lockgate.policy.policy import Policy
from lockgate.seams import Lists


def texts_in(octets: bytes) -> tuple[tuple[str, ...], bool]:
    """The texts of a message, and whether something is left out for its length."""
    return texts_of(walk(octets))


def is_slow(policy: Policy, questions: Sequence[Question]) -> bool:
    """Whether a text can be made so that it takes long to answer one of these."""
    for question in questions:
        if isinstance(question, InText):
            mine = policy.organisations.get(question.organisation)
            search = mine.rules.searches.get(question.needles) if mine is not None else None
            if search is not None and search.is_slow:
                return True
    return False


def answers(
    policy: Policy, octets: bytes, questions: Sequence[Question], lists: Lists | None = None
) -> dict[Question, Answer]:
    """An answer to each of these; the message is walked once, and its text looked through once an organisation."""
    walked = walk(octets)
    told: dict[Question, Answer] = {}
    texts: tuple[str, ...] | None = None
    cut, patience = False, Allowance()
    for question in questions:
        match question:
            case WhatParts():
                told[question] = Structure(tuple(walked.parts), walked.cut)
            case InText(organisation, needles):
                mine = policy.organisations.get(organisation)
                search = mine.rules.searches.get(needles) if mine is not None else None
                if search is None:
                    told[question] = Unknown("no rule looks for this any more")
                    continue
                if texts is None:
                    texts, cut = texts_of(walked)
                told[question] = _found(search.look(texts, patience), cut)
    listed = [question for question in questions if isinstance(question, ListInText)]
    if listed:
        if texts is None:
            texts, cut = texts_of(walked)
        told |= in_texts(lists, listed, texts, cut=cut)
    return told


def _found(told: tuple[str, bool], cut: bool) -> Found:
    needle, slow = told
    return Found(needle, cut, slow)
