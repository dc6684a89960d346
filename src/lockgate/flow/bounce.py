"""Tells the sender: composes delivery reports and puts them into the queue like any other message.

RFC 3461-3464; whom we may tell: DESIGN 2, specification 1.20 (never a report about a report).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from lockgate.decision.system import system_ruling
from lockgate.flow.commit import assigned
from lockgate.flow.settle import Ask
from lockgate.mail.connection import OWN_REPORT, Connection
from lockgate.mail.envelope import Envelope
from lockgate.mail.events import Event, Happening, Status
from lockgate.mail.facts import Facts
from lockgate.mail.headers import message_of
from lockgate.mail.outcome import Outcome
from lockgate.mail.recipient import RecipientId
from lockgate.mail.record import Recorder
from lockgate.mail.report import Report, ReportedRecipient, compose
from lockgate.mail.ruling import Deliver
from lockgate.mail.task import Assigned, NewMessage, NewTask, NewTrace, TaskRecipient
from lockgate.policy.policy import Policy
from lockgate.seams import Clock, Journal, Spool


class Told(msgspec.Struct, frozen=True):
    """Whether a report is on its way, and one sentence about it for the trace."""

    sent: bool
    sentence: str


class Bounce(msgspec.Struct, frozen=True):
    """Composes and queues delivery reports; wired once by the app. `life` is seconds a report may wait."""

    spool: Spool
    ask: Ask
    recorder: Recorder
    clock: Clock
    journal: Journal
    new_id: Callable[[], str]
    take: Callable[[Sequence[Assigned]], None]
    installation: str
    life: float

    async def tell(
        self, policy: Policy, task: Assigned, kind: str, outcomes: Sequence[Outcome], now: float
    ) -> Told:
        """Tell the sender of `task` about these outcomes, once durable. Raises Unavailable; then nobody was told."""
        sender = task.envelope.sender
        if sender is None:
            return Told(sent=False, sentence="sender not told, because the message came from the null sender")
        wanted = [outcome for outcome in outcomes if _wants(task.recipients[outcome.recipient].id, kind)]
        if not wanted:
            return Told(sent=False, sentence=f"sender not told, because it asked for no report of this kind ({kind})")
        report_id = self.new_id()
        original = task.content if task.content is not None else await self._original(task)
        organisation = task.lane.partition("/")[0]
        text = compose(
            Report(
                kind=kind,
                id=report_id,
                reporting_host=policy.hostname,
                postmaster=policy.postmaster(organisation),
                sender=sender.text,
                recipients=tuple(_reported(task, outcome) for outcome in wanted),
                arrival=task.received,
                now=now,
                until=task.expires,
                envid=task.envelope.envid,
                ret=task.envelope.ret,
                message_id=task.id,
                original=original,
            )
        )
        trouble = await self._queue(policy, organisation, report_id, task, text, now)
        if trouble:
            return Told(sent=False, sentence=f"sender not told, because the report cannot be sent: {trouble}")
        self.journal.note("report", id=report_id, about=task.id, organisation=organisation, kind=kind, to=sender.text)
        return Told(sent=True, sentence=f"sender told by report {report_id}")

    async def _original(self, task: Assigned) -> bytes:
        try:
            return await self.spool.read(task.body)
        except (FileNotFoundError, ValueError):
            return b""

    async def _queue(
        self, policy: Policy, organisation: str, report_id: str, task: Assigned, text: bytes, now: float
    ) -> str:
        """Make the report durable; "" or the reason why it cannot leave."""
        sender = task.envelope.sender
        if sender is None:
            return "the sender is the null sender"
        body = self.spool.begin(b"")
        body.write(text)
        recipient = RecipientId(sender)
        facts = Facts(
            at=now,
            connection=Connection(report_id, "", b"", 0, OWN_REPORT, helo=policy.hostname),
            envelope=Envelope(None, utf8=task.envelope.utf8 and not sender.text.isascii()),
            recipients=(recipient,),
            message=message_of(report_id, body.head(), body.size, self.installation),
        )
        facts, ruling = system_ruling(policy, self.ask, facts, organisation)
        verdict = ruling.recipients[0]
        if not isinstance(verdict.disposition, Deliver):
            body.abort()
            return verdict.steps[-1].because if verdict.steps else "there is no way out"
        route = verdict.disposition.route
        envelope, message = facts.envelope, facts.message
        if envelope is None or message is None:
            raise RuntimeError("our own report has no envelope")
        new = NewMessage(
            id=report_id,
            received=now,
            expires=now + self.life,
            envelope=envelope,
            body=body.finish(),
            size=body.size,
            tasks=(NewTask(route.lane, route, (TaskRecipient(recipient, verdict.target, 0),), now),),
            traces=(
                NewTrace(
                    number=0,
                    organisation=organisation,
                    recipient=sender.text,
                    status=Status.PENDING,
                    events=(Event(now, Happening.DSN, f"report about {task.id}"),),
                    outbound_connector=route.connector,
                ),
            ),
            stories=((organisation, self.recorder.write_story(facts, ruling)),),
            subject=message.subject,
            message_id=message.message_id,
            revision=ruling.revision,
        )
        accepted = await self.spool.accept(new)
        self.take(assigned(new, accepted, body.content()))
        return ""


def _wants(recipient: RecipientId, kind: str) -> bool:
    """RFC 3461 4.1: what NOTIFY asks for; without it failures and delays are told, success is not."""
    if kind in ("relayed", "delivered"):
        return "SUCCESS" in recipient.notify
    return not recipient.notify or {"failed": "FAILURE", "delayed": "DELAY"}[kind] in recipient.notify


def _reported(task: Assigned, outcome: Outcome) -> ReportedRecipient:
    recipient = task.recipients[outcome.recipient]
    return ReportedRecipient(
        address=recipient.id.root.original.text,
        reply=outcome.reply,
        orcpt=recipient.id.orcpt,
        # A name without an address is no server that spoke, and the store behind a mailbox is nobody's business.
        remote_host=outcome.host if "[" in outcome.host and not outcome.final else "",
    )
