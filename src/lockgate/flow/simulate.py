"""What would happen, or would have happened: the conversation of one message, point by point, with nothing kept.

It folds as intake does (flow/intake.py): what is refused at RCPT is left out of what follows. Facts that were recorded
bring their answers with them, so that judging them again needs nobody.
"""

from __future__ import annotations

import functools

import msgspec

from lockgate.decision.answer import answer
from lockgate.decision.judge import judge
from lockgate.decision.stage import Depth
from lockgate.decision.system import system_ruling
from lockgate.flow.intake import refusal_of
from lockgate.flow.settle import Ask, Judge, settle
from lockgate.mail import replies
from lockgate.mail.facts import Facts, Point
from lockgate.mail.findings import NOT_BLOCKED, Answer, AnyRecipient, Findings, IsBlocked, Question, Unknown
from lockgate.mail.recipient import RecipientId
from lockgate.mail.reply import Reply
from lockgate.mail.ruling import Ruling, Verdict
from lockgate.policy.policy import Policy

IN_FULL: Judge = functools.partial(judge, depth=Depth.FULL)
"""The judge of the live service, telling every step."""

NOT_ASKED = "nobody asked this when the message came"


class Said(msgspec.Struct, frozen=True):
    """One reply, and to what: `point`, and the recipient at RCPT."""

    point: Point
    reply: Reply
    recipient: RecipientId | None = None


class Course(msgspec.Struct, frozen=True):
    """How a conversation went.

    `facts` hold what was learnt and the recipients that were taken; `ruling` is the last one. `verdicts` has every
    recipient in the order of naming, those refused at RCPT too, and behind them those derived from them; it is empty
    where all was refused before RCPT.
    """

    facts: Facts
    ruling: Ruling
    said: tuple[Said, ...]
    verdicts: tuple[Verdict, ...] = ()


def reached(facts: Facts) -> Point:
    """How far the conversation went of which these facts are the record."""
    if facts.envelope is None:
        return Point.CONNECT
    if facts.message is not None:
        return Point.DATA
    return Point.RCPT if facts.recipients else Point.MAIL


def converse(policy: Policy, facts: Facts, ask: Ask, judge_with: Judge = IN_FULL) -> Course:
    """Judge connect, MAIL, each RCPT and the end of data as far as the facts go."""
    until = reached(facts)
    now = Facts(facts.at, facts.connection, findings=_on_record(facts), excerpt=facts.excerpt)
    now, ruling = settle(judge_with, ask, policy, now, Point.CONNECT)
    said = [Said(Point.CONNECT, ruling.refusal or replies.greeting(policy.hostname))]
    if ruling.refusal is not None or facts.envelope is None:
        return Course(now, ruling, tuple(said))
    now = Facts(
        facts.at, facts.connection, facts.envelope, findings=now.findings, before=facts.before, excerpt=facts.excerpt
    )
    now, ruling = settle(judge_with, ask, policy, now, Point.MAIL)
    said.append(Said(Point.MAIL, ruling.refusal or replies.SENDER_OK))
    if ruling.refusal is not None or until is Point.MAIL:
        return Course(now, ruling, tuple(said))
    turned_away: dict[RecipientId, Verdict] = {}
    seen: set[str] = set()
    for recipient in facts.recipients:
        if recipient.derived_from is not None:  # of another organisation's recipient: nobody named it at RCPT
            continue
        if recipient.original.key in seen:  # named twice, taken once
            said.append(Said(Point.RCPT, replies.RECIPIENT_OK, recipient))
            continue
        more = msgspec.structs.replace(now, recipients=(*now.recipients, recipient))
        more, outcome = settle(judge_with, ask, policy, more, Point.RCPT, ruling)
        verdict = outcome.recipients[-1]
        no = refusal_of(verdict)
        said.append(Said(Point.RCPT, no or replies.RECIPIENT_OK, recipient))
        if no is None:
            now, ruling = more, outcome
            seen.add(recipient.original.key)
        else:
            turned_away[recipient] = verdict
            now = msgspec.structs.replace(now, findings=more.findings)
    unnamed = tuple(recipient for recipient in facts.recipients if recipient.derived_from is not None)
    if until is Point.DATA and (now.recipients or unnamed):
        now = msgspec.structs.replace(now, message=facts.message, recipients=(*now.recipients, *unnamed))
        now, ruling = settle(judge_with, ask, policy, now, Point.DATA, ruling)
        taken = replies.queued(facts.message.id if facts.message is not None else "")
        said.append(Said(Point.DATA, answer(ruling) or taken))
    return Course(now, ruling, tuple(said), _in_order(facts, ruling, turned_away))


def _on_record(facts: Facts) -> Findings:
    """The answers that count again; what is said of all recipients follows anew where all are here."""
    if facts.excerpt:
        return facts.findings
    return Findings({q: a for q, a in facts.findings.items() if not isinstance(q, AnyRecipient)})


def _in_order(facts: Facts, ruling: Ruling, turned_away: dict[RecipientId, Verdict]) -> tuple[Verdict, ...]:
    found = {verdict.recipient: verdict for verdict in ruling.recipients} | turned_away
    order = dict.fromkeys((*facts.recipients, *found))
    return tuple(found[recipient] for recipient in order if recipient in found)


def own_report(policy: Policy, facts: Facts, organisation: str) -> Course:
    """The same for a report of our own, which is routed and judged by nobody."""
    facts, ruling = system_ruling(policy, unasked, facts, organisation, Depth.FULL)
    return Course(facts, ruling, (), ruling.recipients)


def unasked(questions: tuple[Question, ...]) -> dict[Question, Answer]:
    """The answers to what is not on record: nobody knows. Only a block that acted is on record, so none did."""
    return {one: NOT_BLOCKED if isinstance(one, IsBlocked) else Unknown(NOT_ASKED) for one in questions}
