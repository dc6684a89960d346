"""Mail of the installation itself to its operator: composed, routed like any other, and put into the queue.

From the null sender, so that nothing ever answers it; and never by a next hop that it complains about.
"""

from __future__ import annotations

import base64
import datetime as dt
from collections.abc import Callable
from email.utils import format_datetime

import msgspec

from lockgate.decision.system import system_ruling
from lockgate.flow.settle import Ask
from lockgate.mail.address import Address
from lockgate.mail.connection import Connection
from lockgate.mail.envelope import Envelope
from lockgate.mail.events import Event, Happening, Status
from lockgate.mail.facts import Facts
from lockgate.mail.headers import message_of
from lockgate.mail.recipient import RecipientId
from lockgate.mail.record import Recorder
from lockgate.mail.ruling import Deliver
from lockgate.mail.task import NewMessage, NewTask, NewTrace, TaskRecipient
from lockgate.policy.policy import Policy
from lockgate.seams import Clock, Spool


class Letter(msgspec.Struct, frozen=True):
    """What is to be said to one address; `lines` are plain text. `avoid` names lanes it must not take."""

    to: Address
    subject: str
    lines: tuple[str, ...]
    avoid: frozenset[str] = frozenset()


class NotSent(Exception):
    """The letter cannot leave; the message says why."""


class Notices(msgspec.Struct, frozen=True):
    """Writes and queues letters; wired once by the app. `life` is seconds a letter may wait."""

    spool: Spool
    ask: Ask
    recorder: Recorder
    clock: Clock
    new_id: Callable[[], str]
    installation: str
    life: float

    async def send(self, policy: Policy, letter: Letter) -> str:
        """Queue the letter; its id, durable by then. Raises NotSent, Unavailable."""
        now, name = self.clock.now(), self.new_id()
        accepted = policy.accepted(letter.to.domain)
        organisation = accepted.organisation if accepted else next(iter(policy.organisations), "")
        if not organisation:
            raise NotSent("there is no organisation whose ways out could be used")
        body = self.spool.begin(b"")
        body.write(self._text(policy, organisation, letter, name, now))
        recipient = RecipientId(letter.to)
        facts = Facts(
            at=now,
            connection=Connection(name, "", b"", 0, "own notice", helo=policy.hostname),
            envelope=Envelope(None),
            recipients=(recipient,),
            message=message_of(name, body.head(), body.size, self.installation),
        )
        facts, ruling = system_ruling(policy, self.ask, facts, organisation)
        verdict = ruling.recipients[0]
        disposition, envelope, message = verdict.disposition, facts.envelope, facts.message
        if not isinstance(disposition, Deliver) or envelope is None or message is None:
            body.abort()
            raise NotSent(verdict.steps[-1].because if verdict.steps else "there is no way out")
        route = disposition.route
        if route.lane in letter.avoid:
            body.abort()
            raise NotSent(f"its way is {route.lane}, which the alert is about")
        sent = Event(now, Happening.RECEIVE, "alert of the service itself")
        trace = NewTrace(0, organisation, letter.to.text, Status.PENDING, (sent,), outbound_connector=route.connector)
        await self.spool.accept(
            NewMessage(
                id=name, received=now, expires=now + self.life, envelope=envelope, body=body.finish(), size=body.size,
                tasks=(NewTask(route.lane, route, (TaskRecipient(recipient, verdict.target, 0),), now),),
                traces=(trace,), stories=((organisation, self.recorder.write_story(facts, ruling)),),
                subject=message.subject, message_id=message.message_id, revision=ruling.revision,
            )
        )  # fmt: skip
        return name

    def _text(self, policy: Policy, organisation: str, letter: Letter, name: str, now: float) -> bytes:
        when = format_datetime(dt.datetime.fromtimestamp(now, dt.UTC))
        head = (
            f"From: Lockgate <{policy.postmaster(organisation)}>",
            f"To: <{letter.to.text}>",
            f"Date: {when}",
            f"Message-ID: <{name}@{policy.hostname}>",
            f"Subject: {_ascii(letter.subject)[:200]}",
            "Auto-Submitted: auto-generated",
            "MIME-Version: 1.0",
            "Content-Type: text/plain; charset=utf-8",
            "Content-Transfer-Encoding: base64",
        )
        text = "\r\n".join(letter.lines) + "\r\n"
        return "\r\n".join((*head, "", "")).encode("ascii") + base64.encodebytes(text.encode()).replace(b"\n", b"\r\n")


def _ascii(text: str) -> str:
    """Printable ASCII on one line: a subject is made of names that strangers may have chosen."""
    return "".join(c if " " <= c <= "~" else "?" for c in text)
