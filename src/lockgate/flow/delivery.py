"""Carries what this worker owns: one queue per lane, a bounded number of runners, every outcome noted at once."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Sequence

import msgspec

from lockgate.flow.bounce import Bounce, Told
from lockgate.flow.departure import Departure, Parcel, whole
from lockgate.flow.reconsider import Reconsider
from lockgate.flow.retry import Schedule, next_due, notice_is_due
from lockgate.flow.withheld import barred, disliked
from lockgate.mail import replies
from lockgate.mail.events import Event, Happening, Status
from lockgate.mail.headers import read_headers
from lockgate.mail.hop import Cargo, CargoRecipient, NextHop
from lockgate.mail.outcome import Fate, Outcome
from lockgate.mail.reply import Reply
from lockgate.mail.ruling import Route
from lockgate.mail.task import Assigned, Finished, Result
from lockgate.policy.policy import Policy
from lockgate.seams import Clock, Courier, Journal, Spool, Unavailable, Unreachable

Plan = Callable[[Policy, Route], NextHop | str]
"""The next hop of a route by the settings of now, or why it has to wait."""


class Carriage(msgspec.Struct, frozen=True):
    """What delivery needs; wired once by the app. `schedule` says when to try again.

    `departure` makes of a task the copies that leave; without it every copy leaves as the message lies there.
    """

    spool: Spool
    courier: Courier
    policy: Callable[[], Policy]
    plan: Plan
    bounce: Bounce
    reconsider: Reconsider
    schedule: Schedule
    clock: Clock
    journal: Journal
    departure: Departure | None = None


class Lane:
    """The part of one lane that this worker owns."""

    __slots__ = ("busy", "hop", "name", "policy", "queue", "runners")

    def __init__(self, name: str) -> None:
        self.name = name
        self.queue: deque[Assigned] = deque()
        self.runners = 0
        self.busy = 0
        self.policy: Policy | None = None
        self.hop: NextHop | str = ""


class Delivery:
    """Owns the runners of one worker."""

    def __init__(self, with_: Carriage) -> None:
        self._with = with_
        self._lanes: dict[str, Lane] = {}
        self._runners: set[asyncio.Task[None]] = set()
        self._closing = False

    def take(self, assigned: Sequence[Assigned]) -> None:
        """Carry these; returns at once and never raises. While closing, they are given back untouched."""
        for task in assigned:
            if self._closing:
                self._give_back(task)
                continue
            lane = self._lanes.get(task.lane)
            if lane is None:
                lane = self._lanes[task.lane] = Lane(task.lane)
            lane.queue.append(task)
            # A runner that is busy may be so for minutes; the task waits only for one that is free.
            free = lane.runners - lane.busy
            if len(lane.queue) > free and lane.runners < self._concurrency(lane, task):
                lane.runners += 1
                runner = asyncio.get_running_loop().create_task(self._run(lane))
                self._runners.add(runner)
                runner.add_done_callback(self._runners.discard)

    async def close(self, patience: float) -> None:
        """Take no more, finish what is under way within `patience` seconds, give back the rest."""
        self._closing = True
        for lane in self._lanes.values():
            while lane.queue:
                self._give_back(lane.queue.popleft())
        if self._runners:
            await asyncio.wait(list(self._runners), timeout=patience)
        # What is cut off now is given to another worker when this one is gone: at worst it is delivered twice.
        rest = list(self._runners)
        for runner in rest:
            runner.cancel()
        await asyncio.gather(*rest, return_exceptions=True)

    def _concurrency(self, lane: Lane, task: Assigned) -> int:
        try:
            hop = self._hop(lane, task)
        except Exception as trouble:
            self._with.journal.alarm("unforeseen", lane=lane.name, at="planning the next hop", trouble=trouble)
            return 1
        return hop.concurrency if isinstance(hop, NextHop) else 1

    def _hop(self, lane: Lane, task: Assigned) -> NextHop | str:
        """The lane's next hop under the policy of now; worked out again when the policy changes."""
        policy = self._with.policy()
        if lane.policy is not policy:
            lane.hop = self._with.plan(policy, task.route) if task.route is not None else ""
            lane.policy = policy
        return lane.hop

    async def _run(self, lane: Lane) -> None:
        try:
            while lane.queue:
                task = lane.queue.popleft()
                lane.busy += 1
                try:
                    await self._attempt(lane, task)
                except Exception as trouble:
                    self._forgive(lane, task, trouble)
                finally:
                    lane.busy -= 1
        finally:
            lane.runners -= 1
            if not lane.queue and not lane.runners and self._lanes.get(lane.name) is lane:
                del self._lanes[lane.name]

    def _forgive(self, lane: Lane, task: Assigned, trouble: Exception) -> None:
        """Our own mistake is never a verdict: what is left of the task goes back and is tried later."""
        self._with.journal.alarm("unforeseen", id=task.id, lane=lane.name, trouble=trouble)
        try:
            self._put_off(task, (), task.attempts + 1)
        except Exception as worse:
            # It stays with this worker until its end; the runner must live on for the others.
            self._with.journal.alarm("unforeseen", id=task.id, lane=lane.name, at="putting off", trouble=worse)

    async def _attempt(self, lane: Lane, task: Assigned) -> None:
        with_ = self._with
        if task.route is None:
            await self._judge_again(task)
            return
        if task.lane_down:
            # Its sender is owed a word; the lane is dialled when its pause is over, not for each of these.
            await self._wait_on(task, replies.repeated(task.lane_down))
            return
        hop = self._hop(lane, task)
        if isinstance(hop, str):
            await self._lane_down(lane, task, replies.waits(hop), hop)
            return
        try:
            content = task.content if task.content is not None else await with_.spool.read(task.body)
        except (FileNotFoundError, ValueError) as trouble:
            with_.journal.alarm("body unreadable", id=task.id, lane=lane.name, because=str(trouble))
            await self._settle(task, _everyone(_all(task), Fate.DEFERRED, replies.BODY_UNREADABLE))
            return
        departure = with_.departure
        if departure is None or departure.as_it_is(task):
            parcels: tuple[Parcel, ...] = (whole(task, content),)
        else:
            try:
                parcels = await departure.dress(with_.policy(), task, content)
            except OSError as trouble:
                with_.journal.alarm("cannot leave yet", id=task.id, lane=lane.name, because=str(trouble))
                await self._settle(task, _everyone(_all(task), Fate.DEFERRED, replies.NOT_READY))
                return
        noted: set[int] = set()
        outcomes: list[Outcome] = []
        for number, parcel in enumerate(parcels):
            try:
                outcomes += await self._carry(task, hop, parcel, noted)
            except Unreachable as trouble:
                if trouble.permanent:
                    outcomes += _everyone(parcel.recipients, Fate.FAILED, trouble.reply, trouble.host, trouble.tls)
                elif number:  # others of this task have been carried; the rest of it waits on
                    outcomes += _everyone(parcel.recipients, Fate.DEFERRED, trouble.reply, trouble.host, trouble.tls)
                else:
                    await self._lane_down(lane, task, trouble.reply, str(trouble.reply))
                    return
        await self._settle(task, outcomes, hop.pool)

    async def _carry(self, task: Assigned, hop: NextHop, parcel: Parcel, noted: set[int]) -> list[Outcome]:
        """What became of one parcel, by the numbers of the recipients within the task. Raises Unreachable."""
        recipients = [task.recipients[number] for number in parcel.recipients]
        cargo = Cargo(
            task.id,
            parcel.envelope,
            tuple([CargoRecipient(r.target.text, r.id.orcpt, r.id.notify) for r in recipients]),
            parcel.content,
            parcel.seen,
        )
        all_of_it = len(recipients) == len(task.recipients)

        def renumbered(outcomes: Sequence[Outcome]) -> list[Outcome]:
            if all_of_it:
                return list(outcomes)
            return [msgspec.structs.replace(o, recipient=parcel.recipients[o.recipient]) for o in outcomes]

        def taken(outcomes: Sequence[Outcome]) -> None:
            self._taken(task, noted, hop.pool, renumbered(outcomes), parcel.content)

        outcomes = renumbered(await self._with.courier.carry(hop, cargo, taken))
        unsaid = [o for o in outcomes if o.fate is Fate.DELIVERED and o.recipient not in noted]
        if unsaid:  # a courier that told only at its end
            self._taken(task, noted, hop.pool, unsaid, parcel.content)
        return outcomes

    def _taken(
        self, task: Assigned, noted: set[int], pool: str, outcomes: Sequence[Outcome], content: bytes
    ) -> None:
        """What the next hop has taken is on record before anything else can go wrong."""
        now = self._with.clock.now()
        results = []
        for outcome in outcomes:
            kind = Happening.DELIVER if outcome.final else Happening.SEND
            event = _event(now, kind, outcome, self._unreported(task, outcome, content), pool)
            results.append(_result(outcome, Status.DELIVERED, event))
        noted.update(outcome.recipient for outcome in outcomes)
        keep = len(noted) < len(task.recipients)
        self._with.spool.finish(Finished(task.task, tuple(results), keep=keep))

    def _unreported(self, task: Assigned, outcome: Outcome, content: bytes) -> str:
        """What the trace says of success that is to be reported and is not; "" if it is, or nobody asked."""
        recipient = task.recipients[outcome.recipient]
        if "SUCCESS" not in recipient.id.notify or outcome.dsn:
            return ""
        why = "the sender is not proven"
        if recipient.proven:
            kind = "delivered" if outcome.final else "relayed"
            headers = read_headers(content)
            why = barred(self._with.policy(), task, recipient, kind) or disliked(headers, recipient, kind)
        return f"success not reported, because {why}" if why else ""

    async def _settle(self, task: Assigned, outcomes: Sequence[Outcome], pool: str = "") -> None:
        """Turn outcomes into results; failures are finished only after their report is durable.

        What was delivered is on record by now (`_taken`).
        """
        with_ = self._with
        now = with_.clock.now()
        expired = task.expired or now >= task.expires
        failed: list[Outcome] = []
        succeeded: list[Outcome] = []
        deferred: list[Outcome] = []
        for outcome in outcomes:
            if outcome.fate is Fate.DELIVERED:
                if _success_is_told(task, outcome):
                    succeeded.append(outcome)
            elif outcome.fate is Fate.FAILED:
                failed.append(outcome)
            elif expired:
                failed.append(outcome.given_up())
            else:
                deferred.append(outcome)
        self._tell_log(task, outcomes, now)
        for kind, final in (("relayed", False), ("delivered", True)):
            if some := [outcome for outcome in succeeded if outcome.final is final]:
                await self._report(task, kind, some, now)
        if failed and not await self._fail(task, failed, now, more=bool(deferred), pool=pool):
            return
        if deferred:
            warned = await self._late(task, deferred, now)
            events = [_result(o, None, _event(now, Happening.DEFER, o, pool=pool)) for o in deferred]
            self._put_off(task, tuple(events), task.attempts + 1, warned=warned)

    async def _fail(
        self, task: Assigned, failed: Sequence[Outcome], now: float, *, more: bool, pool: str = ""
    ) -> bool:
        """Fail these for good, once their report is durable; `more` tells that the task has others to hear of.

        False: nobody could be told now, so the whole task is put off and nothing more may be said about it.
        """
        told = await self._report(task, "failed", failed, now)
        if told is None:
            self._put_off(task, (), task.attempts + 1)
            return False
        events = [_event(now, Happening.FAIL, o, told.of(o.recipient), pool) for o in failed]
        results = tuple([_result(o, Status.FAILED, event) for o, event in zip(failed, events, strict=True)])
        self._with.spool.finish(Finished(task.task, results, keep=more))
        return True

    async def _late(self, task: Assigned, deferred: Sequence[Outcome], now: float) -> bool:
        """Tell the sender once that the message is late; whether that has been done by now."""
        if not notice_is_due(self._with.schedule, now, task.received, warned=task.warned):
            return task.warned
        return await self._report(task, "delayed", deferred, now) is not None

    async def _report(self, task: Assigned, kind: str, outcomes: Sequence[Outcome], now: float) -> Told | None:
        try:
            return await self._with.bounce.tell(self._with.policy(), task, kind, outcomes, now)
        except Unavailable as trouble:
            self._with.journal.alarm("cannot keep a delivery report", id=task.id, because=str(trouble))
            return None
        except Exception as trouble:
            # A report must never cost what is known of the delivery itself.
            self._with.journal.alarm("unforeseen", id=task.id, at="telling the sender", trouble=trouble)
            return None

    async def _lane_down(self, lane: Lane, task: Assigned, reply: Reply, why: str) -> None:
        """No transaction could begin: the lane backs off as a whole, this task stays first in line."""
        if await self._wait_on(task, reply, why):
            while lane.queue:
                self._give_back(lane.queue.popleft())

    async def _wait_on(self, task: Assigned, reply: Reply, lane_down: str = "") -> bool:
        """The task waits on, its sender told if that is due; or it fails because its life is over (False)."""
        with_ = self._with
        now = with_.clock.now()
        everyone = _everyone(_all(task), Fate.DEFERRED, reply)
        if task.expired or now >= task.expires:
            await self._settle(task, everyone)
            return False
        self._tell_log(task, everyone, now)
        warned = await self._late(task, everyone, now)
        results = tuple([_result(o, None, _event(now, Happening.DEFER, o)) for o in everyone])
        with_.spool.finish(Finished(task.task, results, lane_down=lane_down, warned=warned))
        return True

    async def _judge_again(self, task: Assigned) -> None:
        with_ = self._with
        now = with_.clock.now()
        retry_at = next_due(with_.schedule, now, task.attempts + 1)
        decided = await with_.reconsider.judge(task, now, retry_at)
        more = bool(decided.results or decided.deferred)
        task = msgspec.structs.replace(task, recipients=decided.recipients or task.recipients)
        if decided.refused and not await self._fail(task, decided.refused, now, more=more):
            return
        waiting = [_result(o, None, _event(now, Happening.DEFER, o, "judged again")) for o in decided.deferred]
        moved = (*decided.results, *waiting)
        if decided.tasks:
            with_.spool.finish(Finished(task.task, moved, replace=decided.tasks))
        elif decided.deferred:
            warned = await self._late(task, decided.deferred, now)
            self._put_off(task, moved, task.attempts + 1, warned=warned)
        elif moved:
            with_.spool.finish(Finished(task.task, moved))

    def _put_off(self, task: Assigned, results: tuple[Result, ...], attempts: int, *, warned: bool = False) -> None:
        due = next_due(self._with.schedule, self._with.clock.now(), attempts)
        self._with.spool.finish(Finished(task.task, results, due=due, warned=warned))

    def _give_back(self, task: Assigned) -> None:
        self._with.spool.finish(Finished(task.task, ()))

    def _tell_log(self, task: Assigned, outcomes: Sequence[Outcome], now: float) -> None:
        note = self._with.journal.note
        for outcome in outcomes:
            note(
                outcome.fate.value,
                id=task.id,
                to=task.recipients[outcome.recipient].target.text,
                relay=outcome.host or "none",
                lane=task.lane,
                delay=round(now - task.received, 2),
                tls=outcome.tls,
                reply=str(outcome.reply),
            )


def _success_is_told(task: Assigned, outcome: Outcome) -> bool:
    """Whether we owe a report of success: asked for, not the next hop's to give, and to a sender that is proven."""
    recipient = task.recipients[outcome.recipient]
    return recipient.proven and not outcome.dsn and "SUCCESS" in recipient.id.notify


def _all(task: Assigned) -> range:
    return range(len(task.recipients))


def _everyone(numbers: Iterable[int], fate: Fate, reply: Reply, host: str = "", tls: str = "") -> tuple[Outcome, ...]:
    """The same outcome for all these recipients of the task."""
    return tuple([Outcome(number, fate, reply, host, tls) for number in numbers])


def _result(outcome: Outcome, status: Status | None, event: Event) -> Result:
    """A recipient with a last status is done; without one it stays on the task."""
    return Result(outcome.recipient, status is not None, status, event)


def _event(now: float, kind: Happening, outcome: Outcome, detail: str = "", pool: str = "") -> Event:
    return Event(now, kind, detail, outcome.words, outcome.host, outcome.tls, pool)
