"""Asks the judge again about recipients that were put off, or that a person has released."""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from lockgate.decision.judge import released
from lockgate.flow.commit import HOLD_LANE
from lockgate.flow.settle import Ask, Judge, forget_unknown, settle
from lockgate.mail.events import Event, Happening, Status
from lockgate.mail.facts import Facts, Point
from lockgate.mail.outcome import Fate, Outcome
from lockgate.mail.record import Recorder
from lockgate.mail.reply import Reply
from lockgate.mail.ruling import Defer, Deliver, Drop, Hold, Refuse, Ruling, Verdict
from lockgate.mail.task import Assigned, NewTask, Result, TaskRecipient
from lockgate.policy.policy import Policy
from lockgate.seams import Spool


class Decided(msgspec.Struct, frozen=True):
    """What the judge says now: who is refused after all, who waits on, and the tasks for the others."""

    refused: tuple[Outcome, ...] = ()
    deferred: tuple[Result, ...] = ()
    tasks: tuple[NewTask, ...] = ()
    results: tuple[Result, ...] = ()


class Reconsider(msgspec.Struct, frozen=True):
    """Judges a waiting task again from its recorded facts; wired once by the app."""

    policy: Callable[[], Policy]
    judge_with: Judge
    ask: Ask
    spool: Spool
    recorder: Recorder

    async def judge(self, task: Assigned, now: float) -> Decided:
        """The decision about every recipient of the task under the policy of now."""
        organisation = task.lane.partition("/")[0]
        data = await self.spool.story(task.id, organisation)
        if data is None:
            raise RuntimeError(f"no recorded facts for {task.id}")
        story = self.recorder.read_story(data)
        ids = {recipient.id for recipient in task.recipients}
        facts = forget_unknown(story.facts)
        facts = msgspec.structs.replace(facts, recipients=tuple(r for r in facts.recipients if r in ids))
        so_far = None
        if task.lane.endswith(f"/{HOLD_LANE}"):
            so_far = released(story.ruling, ids)
        _, ruling = settle(self.judge_with, self.ask, self.policy(), facts, Point.DATA, so_far)
        return _sort(task, facts, ruling, now)


def _sort(task: Assigned, facts: Facts, ruling: Ruling, now: float) -> Decided:
    verdicts = {verdict.recipient: verdict for verdict in ruling.recipients}
    refused: list[Outcome] = []
    deferred: list[Result] = []
    moved: list[Result] = []
    groups: dict[tuple[str, str], list[tuple[TaskRecipient, Verdict]]] = {}
    for number, recipient in enumerate(task.recipients):
        verdict = verdicts.get(recipient.id)
        match ruling.refusal or (verdict.disposition if verdict else None):
            case Deliver(route, _):
                groups.setdefault((route.lane, ""), []).append((recipient, _present(verdict)))
                moved.append(Result(number, done=False, status=Status.PENDING, event=Event(now, Happening.RELEASE, route.lane)))
            case Hold(why):
                groups.setdefault((task.lane, why), []).append((recipient, _present(verdict)))
                moved.append(Result(number, done=False, status=Status.HELD, event=Event(now, Happening.HOLD, why)))
            case Drop(why):
                moved.append(Result(number, done=True, status=Status.DROPPED, event=Event(now, Happening.DROP, why)))
            case Refuse(reply) | (Reply() as reply):
                refused.append(Outcome(number, Fate.FAILED, reply))
            case Defer(reply):
                deferred.append(Result(number, done=False, status=None, event=Event(now, Happening.DEFER, "judged again", str(reply))))
            case None:
                raise RuntimeError(f"no decision about {recipient.id.original}")
    return Decided(tuple(refused), tuple(deferred), _tasks(task, groups, deferred, now), tuple(moved))


def _present(verdict: Verdict | None) -> Verdict:
    if verdict is None:
        raise RuntimeError("a recipient without a verdict")
    return verdict


def _tasks(
    task: Assigned,
    groups: dict[tuple[str, str], list[tuple[TaskRecipient, Verdict]]],
    deferred: list[Result],
    now: float,
) -> tuple[NewTask, ...]:
    tasks = []
    for (lane, held), members in groups.items():
        disposition = members[0][1].disposition
        route = disposition.route if isinstance(disposition, Deliver) else None
        recipients = tuple(TaskRecipient(r.id, v.target, r.trace) for r, v in members)
        tasks.append(NewTask(lane, route, recipients, now, held))
    if tasks and deferred:
        # `replace` takes the place of all remaining recipients, so those who wait on get a task of their own.
        waiting = tuple(task.recipients[result.recipient] for result in deferred)
        tasks.append(NewTask(task.lane, None, waiting, now + 300.0))
    return tuple(tasks)
