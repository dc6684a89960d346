"""Recorded mail judged by another policy: who would fare otherwise, before it happens (DESIGN 1.4).

Everything is judged as live mail is, with the deciding steps only; what these steps say is compared with the steps that
were recorded. What the record does not answer and this machine does not know stays unknown, and is counted so.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import msgspec

from lockgate.decision.explain import decisions
from lockgate.decision.judge import judge
from lockgate.decision.regulate import besides
from lockgate.flow.compared import Compared, Example, note
from lockgate.flow.retelling import differences
from lockgate.flow.rule_watch import Told, is_final, told_of_rules
from lockgate.flow.settle import Ask
from lockgate.flow.simulate import NOT_ASKED, Course, converse
from lockgate.mail.findings import Answer, Question, Unknown
from lockgate.mail.record import Kept, Recorder, Story, UnreadableStory
from lockgate.mail.ruling import Drop, Hit, Refuse, Ruling, Step, Verdict
from lockgate.policy.policy import Policy

MOST_MESSAGES = 1_000_000

_Hits = frozenset[Told]
"""Rules that were applied to a recipient, each with what it did."""


class Comparison:
    """Judges stories by one policy and counts what changes. `ask` is what this machine knows itself."""

    def __init__(self, policy: Policy, ask: Ask, recorder: Recorder, found: Compared | None = None) -> None:
        self._policy = policy
        self._ask = ask
        self._recorder = recorder
        self._last = ""
        mine = policy.organisations.items()
        self._subjects = {name: frozenset(rule.subject for rule in one.rules.all) for name, one in mine}
        self.found = found if found is not None else Compared()

    def look(self, kept: Kept) -> None:
        """Judge one story; stories of one message come one after the other. Never raises for what is recorded."""
        found = self.found
        fresh, self._last = kept.id != self._last, kept.id
        try:
            story = self._recorder.read_story(kept.data)
        except UnreadableStory:
            found.messages += fresh
            found.unreadable += 1
            return
        if story.facts.connection.own_report:
            found.own_reports += 1  # nobody judges them
            return
        found.messages += fresh
        try:
            course = converse(self._policy, story.facts, self._answers, judge)
        except Exception:  # one record that cannot be judged must not end the judging of all others
            found.unreadable += 1
            return
        told = {verdict.recipient for verdict in story.ruling.recipients}
        named = [one for one in story.facts.recipients if not told or one in told]
        found.recipients += max(1, len(named))
        self._compare(kept, story, course)

    def goes_on(self, kept: Kept) -> bool:
        """Whether this is of the message that was looked at last."""
        return kept.id == self._last

    def _answers(self, questions: tuple[Question, ...]) -> dict[Question, Answer]:
        """What this machine knows; of the rest nothing is known, and nobody is asked."""
        answers = self._ask(questions)
        for question in questions:
            if question not in answers:
                answers[question] = Unknown(NOT_ASKED)
        return answers

    def _compare(self, kept: Kept, story: Story, course: Course) -> None:
        before = story.ruling
        new = {verdict.recipient: verdict for verdict in course.verdicts}
        pairs = [(verdict, new.get(verdict.recipient)) for verdict in before.recipients]
        sender = _sender_of(story)
        subjects = self._subjects.get(kept.organisation, frozenset())
        part_of: dict[str, frozenset[str]] = {}
        for old, now in pairs:
            if now is not None:
                part_of[old.recipient.text] = self._rules(kept.id, old, now, subjects)
        joining = _joining(kept.organisation, before, course)
        if not joining and _alike_at_once(before, course, pairs):
            return
        doubtful = {now.recipient.text: _why(now.steps) for _, now in pairs if now is not None and _in_doubt(now)}
        no = course.ruling.refusal
        if no is not None and not no.permanent and _is_doubted(course.ruling.steps):
            doubtful[""] = _why(course.ruling.steps)
        for change in (*differences(before, course), *_otherwise(before, course, pairs)):
            self._changed(kept, change, sender, doubtful.get(change["recipient"]), part_of)
        for change, cause in joining:
            part_of[change["recipient"]] = part_of.get(cause, frozenset())
            self._changed(kept, change, sender, None, part_of)

    def _changed(
        self,
        kept: Kept,
        change: Mapping[str, str],
        sender: str,
        doubtful: str | None,
        part_of: Mapping[str, frozenset[str]],
    ) -> None:
        recipient = change["recipient"]
        example = Example(kept.id, recipient)
        was, now = (_without_target(change[name], recipient) for name in ("before", "now"))
        if doubtful is not None:
            self.found.doubt(was, doubtful, sender, example)
            return
        self.found.change(was, now, f"{_alike(was)}\n{_alike(now)}", sender, example)
        for rule in part_of.get(recipient, ()):
            self.found.rule(kept.organisation, rule).changed += 1

    def _rules(self, message: str, old: Verdict, now: Verdict, subjects: frozenset[str]) -> frozenset[str]:
        """Count which rules hit it otherwise than before; the names of those that differ."""
        organisation = now.standing.organisation or old.standing.organisation
        for rule in {told.rule for told in told_of_rules(now, subjects) if told.hit is Hit.UNKNOWN}:
            self.found.rule(organisation, rule).unknown += 1
        if _in_doubt(now):
            return frozenset()
        was, is_ = _hits(old), _hits(now)
        if was == is_ or not is_final(old):
            return frozenset()
        example = Example(message, old.recipient.text)
        before, after = {told.rule for told in was}, {told.rule for told in is_}
        for rule in after - before:
            one = self.found.rule(organisation, rule)
            one.newly += 1
            note(one.newly_examples, example)
        for rule in before - after:
            one = self.found.rule(organisation, rule)
            one.no_longer += 1
            note(one.no_longer_examples, example)
        return frozenset({told.rule for told in was ^ is_ if told.acted})


def compared(
    kept: Iterable[Kept], policy: Policy, ask: Ask, recorder: Recorder, limit: int, organisation: str = ""
) -> dict[str, Any]:
    """Judge at most `limit` messages and refusals of these; what docs/replay.md describes."""
    comparison = Comparison(policy, ask, recorder)
    for one in kept:
        if organisation and one.organisation != organisation:
            continue
        if comparison.found.messages >= limit and not comparison.goes_on(one):
            break
        comparison.look(one)
    return comparison.found.told()


def _hits(verdict: Verdict) -> _Hits:
    return frozenset([told for told in told_of_rules(verdict) if told.hit is Hit.YES])


def _alike_at_once(before: Ruling, course: Course, pairs: Iterable[tuple[Verdict, Verdict | None]]) -> bool:
    """Whether nobody fares otherwise, seen without a word: that is so for most mail."""
    if before.refusal is not None or course.ruling.refusal is not None:
        return False
    return all(now is not None and old.disposition == now.disposition and _same_besides(old, now) for old, now in pairs)


def _same_besides(old: Verdict, now: Verdict) -> bool:
    """Whether rules asked for the same of a copy: what is written into it, who gets it too, and who is told of it."""
    if old.effects is now.effects or not is_final(old):
        return True
    return _asked(old) == _asked(now)


def _asked(verdict: Verdict) -> tuple[object, ...]:
    """What was asked for, without the names of rules; nobody sees the header of a copy that ends here."""
    effects = verdict.effects
    ends = isinstance(verdict.disposition, Refuse | Drop)
    added = frozenset([(one.address.key, one.redirect) for one in effects.added])
    told = frozenset([(one.to, one.content) for one in effects.reports])
    return () if ends else effects.edits, added, told, bool(effects.notes), effects.require_tls


def _otherwise(
    before: Ruling, course: Course, pairs: Iterable[tuple[Verdict, Verdict | None]]
) -> Iterator[dict[str, str]]:
    """Recipients who get the message the same way, but not the same message, or not alone."""
    if before.refusal is not None or course.ruling.refusal is not None:
        return
    for old, now in pairs:
        if now is not None and old.disposition == now.disposition and not _same_besides(old, now):
            sentence = decisions([now])[now.recipient.text]
            was, is_ = besides(old.effects), besides(now.effects)
            yield {
                "recipient": old.recipient.text,
                "before": f"{sentence}; {was or 'rules changed nothing'}",
                "now": f"{sentence}; {is_ or 'rules change nothing'}",
            }


def _joining(organisation: str, before: Ruling, course: Course) -> list[tuple[dict[str, str], str]]:
    """Recipients of this organisation who did not get the message before, and because of whom they would.

    Those of another organisation are told in its stories.
    """
    if before.refusal is not None or course.ruling.refusal is not None:
        return []
    known = {verdict.recipient for verdict in before.recipients}
    fresh = [
        verdict
        for verdict in course.verdicts
        if verdict.recipient not in known
        and verdict.recipient.derived_from in known
        and verdict.standing.organisation == organisation
    ]
    told = decisions(fresh)
    return [
        ({"recipient": whom, "before": "did not get it", "now": told[whom]}, cause.text if cause is not None else "")
        for whom, cause in ((one.recipient.text, one.recipient.derived_from) for one in fresh)
    ]


def _in_doubt(verdict: Verdict) -> bool:
    """Whether it is put off because something is unknown."""
    return not is_final(verdict) and _is_doubted(verdict.steps)


def _is_doubted(steps: tuple[Step, ...]) -> bool:
    return any(step.hit is Hit.UNKNOWN for step in steps)


def _why(steps: tuple[Step, ...]) -> str:
    return next((step.because or step.subject for step in reversed(steps) if step.hit is Hit.UNKNOWN), "")


def _sender_of(story: Story) -> str:
    envelope = story.facts.envelope
    if envelope is None:
        return "nobody yet (refused at connect)"
    return envelope.sender_domain or "<>"


def _alike(sentence: str) -> str:
    """What two replies have in common that differ in a name or an address only: their codes."""
    kind, colon, reply = sentence.partition(": ")
    return f"{kind} {' '.join(reply.split(' ', 2)[:2])}" if colon and kind in ("refused", "put off") else sentence


def _without_target(sentence: str, recipient: str) -> str:
    """A decision without the recipient's own address, so that what is alike falls together."""
    return sentence.removesuffix(f", to {recipient.partition(', ')[0]}") if recipient else sentence


class Job(msgspec.Struct, frozen=True):
    """A replay that is to be done: by which texts or (None) which revision, of what is recorded since when."""

    documents: dict[str, str] | None
    revision: int
    since: float
    limit: int
    organisation: str = ""


class Progress(msgspec.Struct, frozen=True):
    """How a replay stands: `judged` of about `of`; `result` once it is over."""

    judged: int
    of: int
    result: dict[str, Any] | None = None
