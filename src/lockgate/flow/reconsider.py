"""Asks the judge again about recipients that were put off, or that a person has released."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable, Iterator, Sequence

import msgspec

from lockgate.decision.among import foreseen
from lockgate.decision.derive import once_each
from lockgate.decision.judge import released
from lockgate.decision.proof import Proof, Sender, sender_of, to_ask
from lockgate.flow.commit import HOLD_LANE, PENDING_LANE, a_month, chunks, recipient_of, untold
from lockgate.flow.excerpt import entry_of
from lockgate.flow.letter import Authentication, Octets
from lockgate.flow.rule_letters import RuleLetters, is_settled
from lockgate.flow.rule_watch import RuleWatch
from lockgate.flow.settle import Ask, Inquire, Judge, forget_unknown, settle_asking
from lockgate.flow.stamping import alike, stamp_of
from lockgate.flow.whereabouts import up_to_date
from lockgate.mail import replies
from lockgate.mail.address import Address
from lockgate.mail.events import Event, Happening, Status
from lockgate.mail.facts import Facts, Point
from lockgate.mail.outcome import Fate, Outcome
from lockgate.mail.recipient import RecipientId
from lockgate.mail.record import JUDGE, Recorder, Story
from lockgate.mail.reply import Reply
from lockgate.mail.ruling import Defer, Deliver, Disposition, Drop, Hold, Refuse, Resolved, Route, Ruling, Verdict
from lockgate.mail.task import MOVED_LANE, Assigned, NewTask, Result, Stamp, TaskRecipient
from lockgate.policy.policy import Policy
from lockgate.seams import Spool

_GONE = "the directory does not lead to this recipient any more, and it was accepted; a person has to decide"


class Decided(msgspec.Struct, frozen=True):
    """What the judge says now.

    `refused` are final and their sender is to be told; `deferred` wait on. `tasks` take the place of the task if there
    are any (those who wait on have one of their own then); `results` are for the traces of the others. `recipients` are
    those of the task with what is known of their sender now.
    """

    refused: tuple[Outcome, ...] = ()
    deferred: tuple[Outcome, ...] = ()
    tasks: tuple[NewTask, ...] = ()
    results: tuple[Result, ...] = ()
    recipients: tuple[TaskRecipient, ...] = ()


class Reconsider(msgspec.Struct, frozen=True):
    """Judges a waiting task again from its recorded facts; wired once by the app."""

    policy: Callable[[], Policy]
    judge_with: Judge
    ask: Ask
    spool: Spool
    recorder: Recorder
    hold_life: Callable[[Policy, str], float] = a_month
    inquire: Inquire | None = None
    authentication: Authentication | None = None
    letters: RuleLetters | None = None
    rules: RuleWatch | None = None

    async def judge(self, task: Assigned, now: float, retry_at: float) -> Decided:
        """The decision about every recipient of the task under the policy of now.

        Those who have to wait on wait until `retry_at`, unless the life of the message is over.
        """
        organisation, _, lane = task.lane.partition("/")
        data = await self.spool.story(task.id, organisation)
        if data is None:
            raise RuntimeError(f"no recorded facts for {task.id}")
        story = self.recorder.read_story(data)
        ids = {recipient.id for recipient in task.recipients}
        facts, so_far = _before(story, ids, held=lane in (HOLD_LANE, MOVED_LANE))
        policy = self.policy()
        facts = facts.learn(foreseen(policy, organisation, story.facts, story.ruling.recipients))
        facts, so_far = up_to_date(policy, facts, so_far, ids, self.ask)
        inquire = self._asking(task, facts)
        facts, ruling = await settle_asking(self.judge_with, self.ask, inquire, policy, facts, Point.DATA, so_far)
        if inquire is not None and (unasked := to_ask(policy, facts, ruling)):
            facts = facts.learn(await inquire(policy, facts, unasked))
        await self._tell(task, story, policy, facts, ruling)
        if self.rules is not None and lane == PENDING_LANE:
            self.rules.again(policy, facts, ruling, story.ruling, ids)
        until = now + self.hold_life(policy, organisation)
        sorting = _Sorting(task, story.ruling, now, retry_at, until)
        elsewhere = await self._elsewhere(task, sorting.organisations(ruling))
        return sorting.sort(policy, facts, ruling, elsewhere)

    async def _elsewhere(self, task: Assigned, organisations: Iterable[str]) -> tuple[Verdict, ...]:
        """What was decided of the message for recipients of other organisations, to whom it leads only now."""
        found: list[Verdict] = []
        for organisation in organisations:
            data = await self.spool.story(task.id, organisation)
            if data is not None:
                found += self.recorder.read_story(data).ruling.recipients
        return tuple(found)

    async def _tell(self, task: Assigned, story: Story, policy: Policy, facts: Facts, ruling: Ruling) -> None:
        """The letters of mail flow rules about recipients whose fate is known only now. Raises Unavailable.

        They are durable before anything is done with the task; should it be judged once more, they are there already.
        """
        if self.letters is None or facts.message is None:
            return
        told = {verdict.recipient for verdict in story.ruling.recipients if is_settled(verdict)}
        fresh = [verdict for verdict in ruling.recipients if verdict.recipient not in told]
        octets = self._octets(task, facts.message.size)
        await self.letters.keep(await self.letters.drafts(policy, facts, fresh, octets, once=True))

    def _asking(self, task: Assigned, facts: Facts) -> Inquire | None:
        """Others are asked as when it arrived, about the message as it came."""
        if self.authentication is None or facts.message is None:
            return self.inquire
        size = facts.message.size
        return self.authentication.of(self._octets(task, size), size, self.inquire)

    def _octets(self, task: Assigned, size: int) -> Octets:
        """The message as it came: without our trace fields."""

        async def octets() -> bytes:
            whole = await self.spool.read(task.body)
            return whole[max(len(whole) - size, 0) :]

        return octets


_NOBODY = Sender(Proof.UNPROVEN, "nothing is known of the sender")


class _Sorting:
    """Turns verdicts into what the queue has to do."""

    def __init__(self, task: Assigned, before: Ruling, now: float, retry_at: float, held_until: float) -> None:
        self._task = task
        self._before = {verdict.recipient: verdict for verdict in before.recipients}
        self._now = now
        self._retry_at = retry_at
        self._held_until = held_until
        self._ids = frozenset(recipient.id for recipient in task.recipients)
        self._organisation = task.lane.partition("/")[0]
        self._waiting_lane = f"{self._organisation}/{PENDING_LANE}"
        self._expired = task.expired or now >= task.expires
        self._refused: list[Outcome] = []
        self._deferred: list[Outcome] = []
        self._results: list[Result] = []
        self._recipients: list[TaskRecipient] = []
        self._groups: dict[tuple[str, str], tuple[Route | None, list[TaskRecipient]]] = {}

    def organisations(self, ruling: Ruling) -> set[str]:
        """The other organisations to whose recipients the task leads."""
        found = {verdict.standing.organisation for verdict in _concerned(ruling, self._ids, self._before)}
        return found - {self._organisation}

    def sort(
        self, policy: Policy, facts: Facts, ruling: Ruling, elsewhere: tuple[Verdict, ...] = ()
    ) -> Decided:
        """Every recipient of the task in its place, and behind each those who are derived from it only now.

        `elsewhere` are verdicts on recipients of other organisations, who may have the message already.
        """
        others = (*(v for v in self._before.values() if v.recipient not in self._ids), *elsewhere)
        meant = tuple(_concerned(ruling, self._ids, self._before))
        meant = tuple(_new_ones(meant, self._ids, others))
        kept = once_each(meant if self._expired else _in_one_go(meant, self._ids), others)
        verdicts = {verdict.recipient: verdict for verdict in kept}
        everybody = dict(verdicts)
        for number, recipient in enumerate(self._task.recipients):
            verdict = verdicts.pop(recipient.id, None)
            if verdict is not None and verdict.effects.edits != recipient.edits:
                recipient = msgspec.structs.replace(recipient, edits=verdict.effects.edits)
            disposition = verdict.disposition if verdict is not None else Hold(_GONE)
            if ruling.refusal is not None:
                # Refused before anybody was looked at: then what was known before counts.
                disposition, verdict = _of_all(ruling.refusal), self._before.get(recipient.id)
            sender = sender_of(facts, verdict) if verdict is not None else _NOBODY
            proven, forged = sender.proof is Proof.PROVEN, sender.proof is Proof.FORGED
            recipient = msgspec.structs.replace(recipient, proven=proven, forged=forged)
            self._recipients.append(recipient)
            self._place(number, recipient, disposition, sender)
        if ruling.refusal is None:
            for verdict in verdicts.values():
                self._join(verdict, sender_of(facts, verdict))
        tasks = [
            NewTask(
                lane, route, some, self._due(lane), held, self._held_until if held else 0.0,
                self._stamp(policy, facts, ruling, [everybody.get(member.id) for member in some], held),
            )
            for (lane, held), (route, members) in self._groups.items()
            for same in alike(members, lambda member: everybody.get(member.id))
            for some in chunks(same)
        ]
        if tasks and self._deferred:
            # New tasks take the place of all remaining recipients, so those who wait on need one as well.
            waiting = tuple(self._recipients[outcome.recipient] for outcome in self._deferred)
            tasks.append(NewTask(self._task.lane, None, waiting, self._retry_at, stamp=self._task.stamp))
        return Decided(
            tuple(self._refused), tuple(self._deferred), tuple(tasks), tuple(self._results), tuple(self._recipients)
        )

    def _stamp(
        self, policy: Policy, facts: Facts, ruling: Ruling, verdicts: Sequence[Verdict | None], held: str
    ) -> Stamp:
        """By what is known now; where nothing is known of them, as it was."""
        known = [verdict for verdict in verdicts if verdict is not None]
        if not known:
            return self._task.stamp
        was_held = self._task.lane.endswith(f"/{HOLD_LANE}")
        fresh = stamp_of(policy, facts, ruling, known, held=bool(held) or was_held)
        return msgspec.structs.replace(fresh, sign=self._task.stamp.sign)
    def _due(self, lane: str) -> float:
        return self._retry_at if lane == self._waiting_lane else self._now

    def _join(self, verdict: Verdict, sender: Sender) -> None:
        """A recipient derived only now, because its group could not be asked for its members before.

        It has no row of its own in the trace; what becomes of it is told in the row of the one it comes from.
        """
        number = self._number_of(verdict.recipient)
        recipient = recipient_of(verdict, self._task.recipients[number].trace, sender)
        whom = verdict.recipient.original
        match verdict.disposition:
            case Deliver(route):
                self._groups.setdefault((route.lane, ""), (route, []))[1].append(recipient)
                event = Event(self._now, Happening.EXPAND, f"{verdict.recipient.text}: goes on to {route.lane}")
                self._results.append(Result(number, done=False, status=Status.PENDING, event=event))
            case Hold(_, pending=True) | Defer() if not self._expired:
                self._groups.setdefault((self._waiting_lane, ""), (None, []))[1].append(recipient)
                event = Event(self._now, Happening.DEFER, f"{verdict.recipient.text}: will be judged again")
                self._results.append(Result(number, done=False, status=Status.PENDING, event=event))
            case Hold(why):
                self._keep(number, recipient, f"{whom}: {why}")
            case Refuse(reply) | Defer(reply):
                self._keep(number, recipient, f"{whom}: refused ({reply}), and the sender was not told")
            case Drop(why):
                self._note(number, Status.DROPPED, Event(self._now, Happening.DROP, f"{whom}: {why}"))
            case Resolved(why, expanded):
                kind = Happening.EXPAND if expanded else Happening.RESOLVED
                event = Event(self._now, kind, f"{whom}: {why}")
                self._results.append(Result(number, done=False, status=None, event=event))
            case None:
                raise RuntimeError(f"no decision about {whom}")

    def _number_of(self, recipient: RecipientId) -> int:
        """The recipient of the task from which this one is derived."""
        entry = entry_of(recipient, self._ids)
        return next(n for n, one in enumerate(self._task.recipients) if one.id == entry)

    def _keep(self, number: int, recipient: TaskRecipient, why: str) -> None:
        self._groups.setdefault((f"{self._organisation}/{HOLD_LANE}", why), (None, []))[1].append(recipient)
        self._note(number, Status.HELD, Event(self._now, Happening.HOLD, why))

    def _place(self, number: int, recipient: TaskRecipient, disposition: Disposition | None, sender: Sender) -> None:
        match disposition:
            case Deliver(route, target, rewrite):
                moved = msgspec.structs.replace(recipient, target=target, rewrite=rewrite)
                self._move(number, moved, route.lane, route)
            case Hold(_, pending=True) if not self._expired:
                self._deferred.append(Outcome(number, Fate.DEFERRED, replies.NOT_FOUND_OUT))
            case Hold(why):
                # What could not be found out in a message's whole life is left to a person (DESIGN 2: never bounced).
                self._hold(number, recipient, why)
            case Drop(why):
                self._note(number, Status.DROPPED, Event(self._now, Happening.DROP, why), done=True)
            case Resolved(why, expanded=True):
                self._note(number, Status.EXPANDED, Event(self._now, Happening.EXPAND, why), done=True)
            case Resolved(why):
                self._note(number, Status.RESOLVED, Event(self._now, Happening.RESOLVED, why), done=True)
            case Refuse(reply) if sender.proof is Proof.PROVEN:
                self._refused.append(Outcome(number, Fate.FAILED, reply))
            case Refuse(reply):
                # Accepted once, so the peer will not hear of it; and a sender that may be forged must not (2.1 P7).
                self._hold(number, recipient, untold(reply, sender))
            case Defer(reply) if self._expired:
                self._refused.append(Outcome(number, Fate.DEFERRED, reply).given_up())
            case Defer(reply):
                self._deferred.append(Outcome(number, Fate.DEFERRED, reply))
            case None:
                raise RuntimeError(f"no decision about {recipient.id.original}")

    def _move(self, number: int, recipient: TaskRecipient, lane: str, route: Route) -> None:
        self._groups.setdefault((lane, ""), (route, []))[1].append(recipient)
        event = Event(self._now, Happening.RELEASE, f"goes on to {lane}")
        self._results.append(Result(number, done=False, status=Status.PENDING, event=event, connector=route.connector))

    def _hold(self, number: int, recipient: TaskRecipient, why: str) -> None:
        self._keep(number, recipient, why)

    def _note(self, number: int, status: Status, event: Event, *, done: bool = False) -> None:
        self._results.append(Result(number, done=done, status=status, event=event))


def _before(story: Story, ids: set[RecipientId], *, held: bool) -> tuple[Facts, Ruling | None]:
    """From where these recipients are judged: from the beginning, or those that were held from where they stood.

    What is derived is judged with those from whom it comes.
    """
    facts = forget_unknown(story.facts)
    if held:
        so_far = released(story.ruling, ids, older=story.judge_version != JUDGE)
        known = {verdict.recipient for verdict in so_far.recipients}
        if ids <= known:
            named = tuple(verdict.recipient for verdict in so_far.recipients)
            return msgspec.structs.replace(facts, recipients=named), so_far
    entries = {entry_of(one, frozenset(facts.recipients)) for one in ids}
    named = tuple(r for r in facts.recipients if r in entries)
    excerpt = facts.excerpt or len(named) < len(facts.recipients)
    return msgspec.structs.replace(facts, recipients=named, excerpt=excerpt), None


def _concerned(ruling: Ruling, ids: Container[RecipientId], before: Container[RecipientId]) -> Iterator[Verdict]:
    """The verdicts on the recipients of a task, and on those derived from them whom the record does not know yet.

    Others that come out again are on their way already, or were never meant.
    """
    for verdict in ruling.recipients:
        here: RecipientId | None = verdict.recipient
        while here is not None and here not in ids and here not in before:
            here = here.derived_from
        if here is not None and here in ids:
            yield verdict


def _new_ones(
    verdicts: Iterable[Verdict], ids: Container[RecipientId], others: Iterable[Verdict]
) -> Iterator[Verdict]:
    """Without those derived only now who were recipients from the beginning: their own copy is under way, or waits."""
    there: set[tuple[str, str]] = set()
    for verdict in others:
        if isinstance(verdict.disposition, Deliver | Hold | Defer):
            there |= {(verdict.standing.organisation, one.key) for one in _names(verdict)}
    for verdict in verdicts:
        named = ((verdict.standing.organisation, one.key) for one in _names(verdict))
        if verdict.recipient in ids or not any(name in there for name in named):
            yield verdict


def _names(verdict: Verdict) -> tuple[Address, ...]:
    original = verdict.recipient.original
    return (original,) if verdict.identity is None else (original, verdict.identity)


def _in_one_go(verdicts: Sequence[Verdict], ids: Container[RecipientId]) -> Sequence[Verdict]:
    """As long as anybody has to wait, so do those from whom others are derived only now.

    Who is derived now is on no record, so it is derived once, when everything can be answered: nobody gets it twice.
    """
    if not any(isinstance(v.disposition, Defer) or _is_pending(v.disposition) for v in verdicts):
        return verdicts
    lead_on = {entry_of(verdict.recipient, ids) for verdict in verdicts if verdict.recipient not in ids}
    wait = Defer(replies.NOT_FOUND_OUT)
    return [
        msgspec.structs.replace(verdict, disposition=wait) if verdict.recipient in lead_on else verdict
        for verdict in verdicts
        if verdict.recipient in ids
    ]


def _is_pending(disposition: Disposition | None) -> bool:
    return isinstance(disposition, Hold) and disposition.pending


def _of_all(refusal: Reply) -> Disposition:
    return Refuse(refusal) if refusal.permanent else Defer(refusal)
