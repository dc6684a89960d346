"""From a ruling to what is made durable: tasks per lane, holds, trace rows and the recorded story, all or nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import msgspec

from lockgate.decision.proof import Proof, Sender, sender_of
from lockgate.decision.signing import signs
from lockgate.flow.excerpt import narrow
from lockgate.flow.firewall import network_id
from lockgate.flow.stamping import alike, stamp_of
from lockgate.mail.events import Event, Happening, Status
from lockgate.mail.facts import Facts
from lockgate.mail.message import BodyRef
from lockgate.mail.octets import SeenOctets
from lockgate.mail.record import Recorder
from lockgate.mail.reply import Reply
from lockgate.mail.rule_letters import one_line, told_of
from lockgate.mail.ruling import Defer, Deliver, Drop, Hit, Hold, Refuse, Resolved, Route, Ruling, Verdict
from lockgate.mail.task import Assigned, NewMessage, NewTask, NewTrace, TaskRecipient
from lockgate.policy.policy import Policy
from lockgate.seams import Accepted

PENDING_LANE = "pending"
"""Tasks that wait for the judge, not for a next hop."""

HOLD_LANE = "hold"
"""Tasks that wait for a person; after a release the judge is asked again."""


def a_month(policy: Policy, organisation: str) -> float:
    """Held mail is kept for thirty days where nobody says otherwise (specification 1.16.2)."""
    return 30 * 86400.0


class Commit(msgspec.Struct, frozen=True):
    """Plans what one accepted message leaves behind.

    `life` gives an organisation's message expiration in seconds (DESIGN: the operator's value or the
    organisation's, whichever is shorter); `first_retry` is when deferred recipients are judged again; `hold_life` gives
    for how many seconds held mail is kept before it is deleted.
    """

    recorder: Recorder
    life: Callable[[Policy, str], float]
    first_retry: float
    hold_life: Callable[[Policy, str], float] = a_month

    def message(
        self, policy: Policy, facts: Facts, ruling: Ruling, body: BodyRef, stored: int, now: float
    ) -> NewMessage:
        """The durable form of one message; `stored` counts the octets with our prefix."""
        message, envelope = facts.message, facts.envelope
        if message is None or envelope is None:
            raise RuntimeError("a message without envelope or content cannot be kept")
        connection = facts.connection
        organisations = tuple(dict.fromkeys(verdict.standing.organisation for verdict in ruling.recipients))
        origin = f"from {connection.peer} ({connection.helo})"
        tasks, traces = self._plan(policy, facts, ruling, now, origin, null_sender=envelope.sender is None)
        return NewMessage(
            id=message.id,
            received=now,
            expires=now + min(self.life(policy, organisation) for organisation in organisations),
            envelope=envelope,
            body=body,
            size=stored,
            tasks=tasks,
            traces=traces,
            stories=tuple((name, self._story(facts, ruling, name, len(organisations))) for name in organisations),
            subject=message.subject,
            message_id=message.message_id,
            from_ip=connection.peer,
            tls=f"{connection.tls.version} {connection.tls.cipher}" if connection.tls else "",
            revision=ruling.revision,
            connection_id=connection.id,
            network_id=network_id(ruling.recipients),
        )

    def _story(self, facts: Facts, ruling: Ruling, organisation: str, organisations: int) -> bytes:
        """Facts and ruling as one organisation may see them: its own recipients only."""
        if organisations > 1:
            facts, ruling = narrow(facts, ruling, organisation)
        return self.recorder.write_story(facts, ruling)

    def _plan(
        self, policy: Policy, facts: Facts, ruling: Ruling, now: float, origin: str, *, null_sender: bool
    ) -> tuple[tuple[NewTask, ...], tuple[NewTrace, ...]]:
        groups: dict[tuple[str, str], tuple[Route | None, float, list[TaskRecipient]]] = {}
        traces: list[NewTrace] = []
        signed: set[tuple[str, str]] = set()
        received = Event(now, Happening.RECEIVE, origin)
        derived: dict[str, Event] = {}
        for number, verdict in enumerate(ruling.recipients):
            sender = sender_of(facts, verdict)
            lane, route, held, due, status, event = self._treatment(verdict, sender, now)
            marks = (received, *_rule_events(verdict, now)) if verdict.steps else (received,)
            events = marks if event is None else (*marks, event)
            if verdict.recipient.derived_from is not None:
                how = verdict.recipient.derivation
                came = derived.get(how)
                if came is None:
                    came = derived[how] = Event(now, Happening.EXPAND, how)
                events = (received, came, *events[1:])
            traces.append(
                NewTrace(
                    number=number,
                    organisation=verdict.standing.organisation,
                    recipient=verdict.recipient.original.text,
                    status=status,
                    events=events,
                    inbound_connector=verdict.standing.inbound_connector or verdict.standing.partner_connector,
                    outbound_connector=route.connector if route else "",
                    rules=rules_of(verdict) if verdict.steps else (),
                )
            )
            if lane:
                group = groups.setdefault((lane, held), (route, due, []))
                group[2].append(recipient_of(verdict, number, sender))
                if signs(policy, verdict, null_sender=null_sender):
                    signed.add((lane, held))
        everybody = ruling.recipients
        tasks = [
            NewTask(
                lane, route, some, due, held, self._until(policy, lane, now) if held else 0.0,
                stamp_of(
                    policy, facts, ruling, [everybody[one.trace] for one in some],
                    held=bool(held), sign=(lane, held) in signed,
                ),
            )
            for (lane, held), (route, due, recipients) in groups.items()
            for same in alike(recipients, lambda one: everybody[one.trace])
            for some in chunks(same)
        ]
        return tuple(tasks), tuple(traces)

    def _until(self, policy: Policy, lane: str, now: float) -> float:
        return now + self.hold_life(policy, lane.partition("/")[0])

    def _treatment(
        self, verdict: Verdict, sender: Sender, now: float
    ) -> tuple[str, Route | None, str, float, Status, Event | None]:
        """Lane, route, hold reason, due time, first status and second event of one recipient."""
        organisation = verdict.standing.organisation
        match verdict.disposition:
            case Deliver(route):
                return route.lane, route, "", now, Status.PENDING, None
            case Hold(why, pending=True):
                event = Event(now, Happening.DEFER, f"accepted, and will be judged again: {why}")
                return f"{organisation}/{PENDING_LANE}", None, "", now + self.first_retry, Status.PENDING, event
            case Hold(why):
                event = Event(now, Happening.HOLD, why)
                return f"{organisation}/{HOLD_LANE}", None, why, now, Status.HELD, event
            case Drop(why):
                return "", None, "", now, Status.DROPPED, Event(now, Happening.DROP, why)
            case Resolved(why, expanded=True):
                return "", None, "", now, Status.EXPANDED, Event(now, Happening.EXPAND, why)
            case Resolved(why):
                return "", None, "", now, Status.RESOLVED, Event(now, Happening.RESOLVED, why)
            case Defer(reply):
                event = Event(now, Happening.DEFER, "will be judged again", str(reply))
                return f"{organisation}/{PENDING_LANE}", None, "", now + self.first_retry, Status.PENDING, event
            case Refuse(reply) if sender.proof is Proof.PROVEN:
                event = Event(now, Happening.DEFER, "refused after another recipient was accepted", str(reply))
                return f"{organisation}/{PENDING_LANE}", None, "", now, Status.PENDING, event
            case Refuse(reply):
                why = untold(reply, sender)
                event = Event(now, Happening.HOLD, why, str(reply))
                return f"{organisation}/{HOLD_LANE}", None, why, now, Status.HELD, event
            case None:
                raise RuntimeError("a recipient without a disposition cannot be kept")


MOST_AT_ONCE = 1000
"""Recipients of one task; more make further copies of the message (specification 1.6 rule 5)."""


def chunks(recipients: list[TaskRecipient]) -> Iterator[tuple[TaskRecipient, ...]]:
    """The recipients of one lane, cut into as many tasks as they need."""
    return (tuple(recipients[at : at + MOST_AT_ONCE]) for at in range(0, len(recipients), MOST_AT_ONCE))


def recipient_of(verdict: Verdict, trace: int, sender: Sender) -> TaskRecipient:
    """The recipient of a task, with what is known of its sender."""
    proven, forged = sender.proof is Proof.PROVEN, sender.proof is Proof.FORGED
    rewrite = verdict.disposition.rewrite if isinstance(verdict.disposition, Deliver) else ""
    return TaskRecipient(verdict.recipient, verdict.target, trace, proven, forged, rewrite, verdict.effects.edits)


def untold(reply: Reply, sender: Sender) -> str:
    """Why mail that was refused after another recipient was accepted is held (DESIGN 2)."""
    return f"refused ({reply}), sender not told, because {sender.because}"


MOST_RULES = 50
"""Mail flow rules that the trace of one recipient tells of one by one; the explanation tells of all."""


def _rule_events(verdict: Verdict, now: float) -> list[Event]:
    """What mail flow rules applied to it, each with mode, severity and actions (specification 1.15.12)."""
    hits = [step.rule for step in verdict.steps if step.rule is not None and step.hit is Hit.YES]
    events = [Event(now, Happening.RULE, told_of(hit)) for hit in hits[:MOST_RULES]]
    if len(hits) > MOST_RULES:
        events.append(Event(now, Happening.RULE, f"{len(hits) - MOST_RULES} more rules"))
    if verdict.effects.scl is not None:
        events.append(Event(now, Happening.RULE, f"spam confidence level {verdict.effects.scl}"))
    if verdict.effects.classification:
        events.append(Event(now, Happening.RULE, f"classification {one_line(verdict.effects.classification)}"))
    return events


def rules_of(verdict: Verdict) -> tuple[str, ...]:
    """The names of the mail flow rules that applied, or may have applied, in their order."""
    names = (step.subject[5:] for step in verdict.steps if step.stage == "regulate" and step.hit is not Hit.NO)
    return tuple(dict.fromkeys(names))


def assigned(
    new: NewMessage, accepted: Accepted, content: bytes | None, seen: SeenOctets | None = None
) -> list[Assigned]:
    """The tasks of a message just made durable that its own worker carries at once; `seen` as in Assigned."""
    return [
        Assigned(
            task=number,
            id=new.id,
            lane=task.lane,
            route=task.route,
            envelope=new.envelope,
            body=new.body,
            size=new.size,
            recipients=task.recipients,
            received=new.received,
            expires=new.expires,
            content=content,
            stamp=task.stamp,
            seen=seen,
        )
        for task, (number, owned) in zip(new.tasks, accepted.tasks, strict=True)
        if owned
    ]
