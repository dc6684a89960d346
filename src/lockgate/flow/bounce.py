"""Tells the sender: composes delivery reports and puts them into the queue like any other message.

RFC 3461-3464; whom we may tell: flow/withheld.py.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import msgspec

from lockgate.flow.own_mail import NotSent, OwnMail, Written
from lockgate.flow.withheld import barred, disliked
from lockgate.mail.events import Event, Happening
from lockgate.mail.headers import read_headers
from lockgate.mail.outcome import Outcome
from lockgate.mail.report import Report, ReportedRecipient, compose
from lockgate.mail.task import Assigned
from lockgate.policy.policy import Policy
from lockgate.seams import Journal


class Told(msgspec.Struct, frozen=True):
    """Whether a report is on its way, and one sentence about it for the trace.

    `silences` says why for those of whom it does not speak, by the number of the recipient within the task.
    """

    sent: bool
    sentence: str
    silences: dict[int, str] = {}

    def of(self, recipient: int) -> str:
        """What the trace says of this recipient."""
        return self.silences.get(recipient, self.sentence)


class Bounce(msgspec.Struct, frozen=True):
    """Composes delivery reports and has them queued; wired once by the app."""

    mail: OwnMail
    journal: Journal
    take: Callable[[Sequence[Assigned]], None]

    async def tell(
        self, policy: Policy, task: Assigned, kind: str, outcomes: Sequence[Outcome], now: float
    ) -> Told:
        """Tell the sender of `task` about these outcomes, once durable. Raises Unavailable; then nobody was told."""
        sender = task.envelope.sender
        people = task.recipients
        reasons = {o.recipient: barred(policy, task, people[o.recipient], kind) for o in outcomes}
        if sender is None or all(reasons.values()):
            return _nobody(reasons)
        original = task.content if task.content is not None else await self._original(task)
        headers = read_headers(original)
        reasons = {n: why or disliked(headers, people[n], kind) for n, why in reasons.items()}
        wanted = [outcome for outcome in outcomes if not reasons[outcome.recipient]]
        if not wanted:
            return _nobody(reasons)
        report_id = self.mail.new_id()
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
                # RFC 8689 5: what had to stay secret is not given back, and the report itself is as secret.
                ret="HDRS" if task.envelope.require_tls else task.envelope.ret,
                message_id=task.id,
                original=original,
            )
        )
        about = Event(now, Happening.DSN, f"report about {task.id}")
        utf8 = task.envelope.utf8 and not sender.text.isascii()
        try:
            letter = Written(report_id, sender, text, about, utf8, require_tls=task.envelope.require_tls)
            tasks = await self.mail.queue(policy, organisation, letter)
        except NotSent as trouble:
            return Told(sent=False, sentence=f"sender not told, because the report cannot be sent: {trouble}")
        self.take(tasks)
        self.journal.note("report", id=report_id, about=task.id, organisation=organisation, kind=kind, to=sender.text)
        return Told(sent=True, sentence=f"sender told by report {report_id}", silences=_silences(reasons))

    async def _original(self, task: Assigned) -> bytes:
        try:
            return await self.mail.spool.read(task.body)
        except (FileNotFoundError, ValueError):
            return b""


def _silences(reasons: dict[int, str]) -> dict[int, str]:
    return {number: f"sender not told, because {why}" for number, why in reasons.items() if why}


def _nobody(reasons: dict[int, str]) -> Told:
    silences = _silences(reasons)
    return Told(sent=False, sentence=next(iter(silences.values())), silences=silences)


def _reported(task: Assigned, outcome: Outcome) -> ReportedRecipient:
    recipient = task.recipients[outcome.recipient]
    return ReportedRecipient(
        address=recipient.id.root.original.text,
        reply=outcome.reply,
        last=outcome.last,
        orcpt=recipient.id.orcpt,
        # What we say of a server is not said by it, and the store behind a mailbox is nobody's business.
        remote_host=outcome.host if outcome.spoken and not outcome.final else "",
    )
