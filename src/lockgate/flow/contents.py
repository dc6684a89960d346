"""What a message is made of, and what its text says: answers that need its octets (mail/mime)."""

from __future__ import annotations

from collections.abc import Sequence

from lockgate.mail.findings import Answer, Found, InText, Question, Unknown, WhatParts
from lockgate.mail.mime.text import texts_of
from lockgate.mail.mime.walk import walk
from lockgate.mail.structure import Structure
from lockgate.policy.policy import Policy


def answers(policy: Policy, octets: bytes, questions: Sequence[Question]) -> dict[Question, Answer]:
    """An answer to each of these; the message is walked once, and its text looked through once an organisation."""
    walked = walk(octets)
    told: dict[Question, Answer] = {}
    texts: tuple[str, ...] | None = None
    cut = False
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
                hit = search(*texts)
                told[question] = Found(hit[0] if hit is not None else "", cut)
    return told
