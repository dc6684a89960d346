"""What is recorded of a message, told again: its facts judged as they were, with every step, and what followed."""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from lockgate.decision.explain import decided_by, decisions, known, revisions, step_rows, verdict_row
from lockgate.decision.judge import judge
from lockgate.flow import excerpt
from lockgate.flow.simulate import IN_FULL, Course, converse, own_report, unasked
from lockgate.mail import replies
from lockgate.mail.facts import Facts, Point
from lockgate.mail.findings import Members
from lockgate.mail.recipient import RecipientId
from lockgate.mail.record import JUDGE, Recorder, Story, UnreadableStory
from lockgate.mail.ruling import Resolved, Ruling, Verdict
from lockgate.policy.policy import Policy
from lockgate.policy.problems import Invalid


class PolicyGone(Exception):
    """The revision asked for is not kept here any more; the message says so."""


MOST_IN_FULL = 50
"""Of messages with more recipients every step is told only of one that is asked for."""

_END_OF_DATA = Point.DATA.name.lower()

_MANY = "there are very many recipients: only the steps that decided are told; name one recipient for all of them"

_CUT = (
    "these are the recorded steps, because the order of duplicates depends on recipients of another organisation, which"
    " are not told here"
)
"""Why a story is not judged again whose recipients were derived from those of another organisation."""

At = Callable[[int], Awaitable[Policy]]
"""The compiled policy of a revision. Raises PolicyGone, or Invalid if today's code refuses its documents."""


class Recorded(NamedTuple):
    """One recorded story: whose, the octets, and the trace rows (with events) that belong to it.

    `answered` is what the sender was told at the end of data: one reply for the recipients of all organisations, while
    a story is about those of one.
    """

    organisation: str
    data: bytes
    rows: Sequence[Mapping[str, Any]] = ()
    answered: str = ""


def recorded_of(found: Mapping[str, Any], organisation: str = "") -> list[Recorded]:
    """The stories of a message as the keeper shows it, one an organisation; of refusals one for each of them."""
    refusals = found.get("refusals")
    if refusals is not None:
        told = [
            Recorded(row["organisation"], row["story"], (row["row"],), row["row"]["reply"])
            for row in reversed(refusals)
        ]
    else:
        rows, answered = found.get("rows", ()), str(replies.queued(str(found.get("id", ""))))
        told = [
            Recorded(name, data, [row for row in rows if row.get("organisation") == name], answered)
            for name, data in (found.get("stories") or {}).items()
        ]
    return [one for one in told if not organisation or one.organisation == organisation]


class Retelling(NamedTuple):
    """Tells recorded stories with the policies of `at`; of one recipient only, where `recipient` (folded) is given."""

    at: At
    recorder: Recorder
    recipient: str = ""

    async def tell(self, recorded: Recorded) -> dict[str, Any]:
        """One part of an explanation, as docs/explain.md describes it. Never raises for what is recorded."""
        try:
            story = self.recorder.read_story(recorded.data)
        except UnreadableStory as trouble:
            return {"judged": {"steps": "none", "note": str(trouble)}, "recipients": [], "outcome": recorded.rows}
        if self.recipient:
            story = about(story, self.recipient)
        policy, trouble_with_policy = await self._policy_of(story)
        if policy is None:
            return _as_recorded(self._meant(story), recorded, trouble_with_policy)
        course = retold(policy, story, recorded.organisation)
        ruling = story.ruling
        if self.recipient:
            ruling, course = _shown(story, course, self.recipient)
        differs = differences(ruling, course)
        if differs and any(recipient.derived_from is not None for recipient in story.facts.recipients):
            return _as_recorded(self._meant(story), recorded, _CUT, policy)
        if story.judge_version == JUDGE:
            told = part(policy, course, recorded.rows)
            for row in told["conversation"]:
                if row["point"] == _END_OF_DATA and recorded.answered:
                    row["reply"] = recorded.answered
            if _recipients(course.facts) > MOST_IN_FULL:
                told["judged"]["note"] = _MANY
            return {**told, "differs": differs}
        note = (
            f"these are the recorded steps: judge version {story.judge_version} decided, and today's is {JUDGE};"
            f" {_today(differs)}"
        )
        return {**_as_recorded(self._meant(story), recorded, note), "differs": differs}

    def _meant(self, story: Story) -> Story:
        """The story with the steps of the recipient that is asked for, if one is."""
        if not self.recipient:
            return story
        kept = tuple(v for v in story.ruling.recipients if v.recipient.original.key == self.recipient)
        ruling = msgspec.structs.replace(story.ruling, recipients=kept)
        return Story(story.judge_version, story.facts, ruling)

    async def _policy_of(self, story: Story) -> tuple[Policy | None, str]:
        """The policy that judged, or why it cannot be had."""
        recorded = "these are the recorded steps, because"
        number = story.ruling.revision
        try:
            policy = await self.at(number)
        except PolicyGone as gone:
            return None, f"{recorded} {gone}"
        except Invalid as trouble:
            return None, f"{recorded} today's code refuses the documents of revision {number}: {trouble.problems[0]}"
        if policy.digest != story.ruling.digest:
            return None, f"{recorded} the revision {number} that is kept here is not the one that judged"
        return policy, ""


def retold(policy: Policy, story: Story, organisation: str) -> Course:
    """The recorded facts judged again under this policy; of very many recipients only the steps that decided."""
    if story.facts.connection.own_report:
        return own_report(policy, story.facts, organisation)
    judge_with = IN_FULL if _recipients(story.facts) <= MOST_IN_FULL else judge
    course = converse(policy, story.facts, unasked, judge_with)
    # Whoever is derived and not on record is told elsewhere: in another organisation's story, or in one of its own.
    known = {verdict.recipient for verdict in story.ruling.recipients}
    derived = any(verdict.recipient.derived_from is not None for verdict in story.ruling.recipients)
    # So is whoever is named in an excerpt only because the other's redirect ends there.
    other = derived or (story.facts.excerpt and bool(known))
    mine = tuple(v for v in course.verdicts if v.recipient in known or not (other or v.recipient.derived_from))
    if len(mine) == len(course.verdicts):
        return course
    said = tuple(s for s in course.said if derived or s.recipient is None or s.recipient in known)
    return msgspec.structs.replace(course, verdicts=mine, said=said)


def _recipients(facts: Facts) -> int:
    """How many recipients there are to be told of, members of groups among them."""
    members = (a for _, a in facts.findings.items() if isinstance(a, Members))
    return len(facts.recipients) + sum(len(one.known) + len(one.others) for one in members)


def _is_named(verdict: Verdict, facts: Facts) -> bool:
    return verdict.recipient.derived_from is None or verdict.recipient in facts.recipients


def about(story: Story, recipient: str) -> Story:
    """The story of one recipient alone: what is decided of one does not depend on others (DESIGN 1.5).

    Of a message with derived recipients that holds only of their steps, not of who is left out as a duplicate; so it
    is left whole, unless it has so many that they could not be told in full.
    """
    meant = [v for v in story.ruling.recipients if v.recipient.original.key == recipient]
    whole = story.ruling.recipients
    derived = any(v.recipient.derived_from is not None or isinstance(v.disposition, Resolved) for v in whole)
    few = _recipients(story.facts) <= MOST_IN_FULL
    if derived and (few or any(isinstance(v.disposition, Resolved) for v in meant)):
        return story
    parts = [excerpt.about(story.facts, story.ruling, verdict) for verdict in meant]
    findings = parts[0][0].findings if len(parts) == 1 and derived else story.facts.findings
    named = tuple(dict.fromkeys(r for facts, _ in parts for r in facts.recipients))
    return Story(
        story.judge_version,
        msgspec.structs.replace(
            story.facts,
            recipients=named,
            findings=findings,
            excerpt=story.facts.excerpt or len(named) < len(story.facts.recipients),
        ),
        msgspec.structs.replace(story.ruling, recipients=tuple(meant)),
    )


def _shown(story: Story, course: Course, recipient: str) -> tuple[Ruling, Course]:
    """Ruling and course with this recipient, and those from whom it is derived where they are told whole."""
    wanted: set[RecipientId] = set()
    for verdict in course.verdicts:
        here = verdict.recipient if verdict.recipient.original.key == recipient else None
        while here is not None:
            wanted.add(here)
            here = here.derived_from
    recorded = tuple(v for v in story.ruling.recipients if v.recipient in wanted)
    known = {verdict.recipient for verdict in recorded}
    shown = tuple(v for v in course.verdicts if v.recipient in wanted and (v.recipient in known or not known))
    return (
        msgspec.structs.replace(story.ruling, recipients=recorded),
        msgspec.structs.replace(course, verdicts=shown),
    )


def part(policy: Policy, course: Course, rows: Sequence[Mapping[str, Any]] = ()) -> dict[str, Any]:
    """One part of an explanation: what was known, what the sender was told, all steps, and what followed."""
    ruling = course.ruling
    told: dict[str, Any] = {
        "judged": _judged(ruling, "judged again", "", own=course.facts.connection.own_report),
        "facts": known(course.facts),
        "conversation": [
            {
                "point": said.point.name.lower(),
                "recipient": said.recipient.original.text if said.recipient is not None else "",
                "reply": str(said.reply),
            }
            for said in course.said
        ],
        "everybody": step_rows(ruling.steps),
        "recipients": _with_outcomes([verdict_row(verdict, policy) for verdict in course.verdicts], rows),
    }
    told["judged"]["directory_revisions"] = revisions(course.facts)
    if course.verdicts:
        told["facts"]["recipients"] = [
            verdict.recipient.original.text for verdict in course.verdicts if _is_named(verdict, course.facts)
        ]
    return told | _refusal(ruling) | _unmatched(course, rows)


def _as_recorded(story: Story, recorded: Recorded, note: str, policy: Policy | None = None) -> dict[str, Any]:
    """A part made of the steps as they were kept."""
    ruling = story.ruling
    judged = _judged(ruling, "recorded", note, own=False) | {"judge": story.judge_version}
    told = {
        "judged": judged | {"directory_revisions": revisions(story.facts)},
        "facts": known(story.facts),
        "conversation": [],
        "everybody": step_rows(ruling.steps),
        "recipients": _with_outcomes([verdict_row(verdict, policy) for verdict in ruling.recipients], recorded.rows),
    }
    return told | _refusal(ruling)


def _judged(ruling: Ruling, steps: str, note: str, *, own: bool) -> dict[str, Any]:
    return {
        "revision": ruling.revision,
        "digest": ruling.digest,
        "judge": JUDGE,
        "steps": steps,
        "note": note or ("a report of our own: it is routed, and judged by nobody" if own else ""),
    }


def _refusal(ruling: Ruling) -> dict[str, Any]:
    if ruling.refusal is None:
        return {}
    what = "refused" if ruling.refusal.permanent else "put off"
    return {
        "refusal": {"what": what, "reply": str(ruling.refusal), "because": decided_by(ruling.steps)},
    }


def _with_outcomes(told: Iterable[dict[str, Any]], rows: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """The recipients' rows with status and events of the trace, as far as they are there.

    Two of one address (one was named, one is a member) are in the trace in the same order.
    """
    waiting: dict[str, deque[Mapping[str, Any]]] = {}
    for one in rows:
        waiting.setdefault(str(one.get("recipient_address")), deque()).append(one)
    found: list[dict[str, Any]] = []
    for row in told:
        there = waiting.get(row["recipient"])
        if there:
            one = there.popleft()
            row = {**row, "status": one.get("status", ""), "reply_seen": one.get("reply", ""),
                   "attempts": list(one.get("events", ()))}  # fmt: skip
        found.append(row)
    return found


def _unmatched(course: Course, rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Trace rows where no recipient was judged: refusals at connect and MAIL."""
    return {} if course.verdicts or not rows else {"status": rows[0].get("status", ""), "id": rows[0].get("id", "")}


def differences(before: Ruling, course: Course) -> list[dict[str, str]]:
    """Who fares otherwise than before: recipient ("" for everybody), what was decided, and what is decided now."""
    if before.refusal is not None or course.ruling.refusal is not None:
        was, now = _of_all(before), _of_all(course.ruling)
        return [{"recipient": "", "before": was, "now": now}] if was != now else []
    old, new = decisions(before.recipients), decisions(course.verdicts)
    return [
        {"recipient": whom, "before": was, "now": new.get(whom, "not judged")}
        for whom, was in old.items()
        if new.get(whom) != was
    ]


def _of_all(ruling: Ruling) -> str:
    if ruling.refusal is None:
        told = decisions(ruling.recipients)
        return "; ".join(f"{whom} {what}" for whom, what in told.items()) or "let in"
    return f"refused: {ruling.refusal}" if ruling.refusal.permanent else f"put off: {ruling.refusal}"


def _today(found: Sequence[Mapping[str, str]]) -> str:
    if not found:
        return "it would decide the same"
    return "it would decide otherwise: " + "; ".join(f"{one['recipient'] or 'all'} {one['now']}" for one in found)
