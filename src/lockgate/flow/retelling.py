"""What is recorded of a message, told again: its facts judged as they were, with every step, and what followed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import msgspec

from lockgate.decision.explain import decided_by, decisions, known, revisions, step_rows, verdict_row
from lockgate.decision.judge import judge
from lockgate.flow.simulate import IN_FULL, Course, converse, own_report, unasked
from lockgate.mail import replies
from lockgate.mail.facts import Point
from lockgate.mail.record import JUDGE, Recorder, Story, UnreadableStory
from lockgate.mail.ruling import Ruling
from lockgate.policy.documents import Invalid
from lockgate.policy.policy import Policy


class PolicyGone(Exception):
    """The revision asked for is not kept here any more; the message says so."""


MOST_IN_FULL = 50
"""Of messages with more recipients every step is told only of one that is asked for."""

_END_OF_DATA = Point.DATA.name.lower()

_MANY = "there are very many recipients: only the steps that decided are told; name one recipient for all of them"

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
            return _as_recorded(story, recorded, trouble_with_policy)
        course = retold(policy, story, recorded.organisation)
        if story.judge_version == JUDGE:
            told = part(policy, course, recorded.rows)
            for row in told["conversation"]:
                if row["point"] == _END_OF_DATA and recorded.answered:
                    row["reply"] = recorded.answered
            if len(course.facts.recipients) > MOST_IN_FULL:
                told["judged"]["note"] = _MANY
            return {**told, "differs": differences(story.ruling, course)}
        note = (
            f"these are the recorded steps: judge version {story.judge_version} decided, and today's is {JUDGE};"
            f" {_today(differences(story.ruling, course))}"
        )
        return {**_as_recorded(story, recorded, note), "differs": differences(story.ruling, course)}

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
    judge_with = IN_FULL if len(story.facts.recipients) <= MOST_IN_FULL else judge
    return converse(policy, story.facts, unasked, judge_with)


def about(story: Story, recipient: str) -> Story:
    """The story of one recipient alone; what is decided of one never depends on another (DESIGN 1.5)."""
    facts, ruling = story.facts, story.ruling
    return Story(
        story.judge_version,
        msgspec.structs.replace(facts, recipients=tuple(r for r in facts.recipients if r.original.key == recipient)),
        msgspec.structs.replace(
            ruling, recipients=tuple(v for v in ruling.recipients if v.recipient.original.key == recipient)
        ),
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
        "recipients": [_with_outcome(verdict_row(verdict, policy), rows) for verdict in course.verdicts],
    }
    told["judged"]["directory_revisions"] = revisions(course.facts)
    if course.verdicts:
        told["facts"]["recipients"] = [verdict.recipient.original.text for verdict in course.verdicts]
    return told | _refusal(ruling) | _unmatched(course, rows)


def _as_recorded(story: Story, recorded: Recorded, note: str) -> dict[str, Any]:
    """A part made of the steps as they were kept."""
    ruling = story.ruling
    judged = _judged(ruling, "recorded", note, own=False) | {"judge": story.judge_version}
    told = {
        "judged": judged | {"directory_revisions": revisions(story.facts)},
        "facts": known(story.facts),
        "conversation": [],
        "everybody": step_rows(ruling.steps),
        "recipients": [_with_outcome(verdict_row(verdict), recorded.rows) for verdict in ruling.recipients],
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


def _with_outcome(row: dict[str, Any], rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """The recipient's row with status and events of the trace, as far as they are there."""
    for one in rows:
        if one.get("recipient_address") == row["recipient"]:
            return {**row, "status": one.get("status", ""), "reply_seen": one.get("reply", ""),
                    "attempts": list(one.get("events", ()))}  # fmt: skip
    return row


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
