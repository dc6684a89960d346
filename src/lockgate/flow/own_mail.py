"""Mail that the installation itself writes: routed like any other, from the null sender, and put into the queue."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import msgspec

from lockgate.decision.signing import signs_letter
from lockgate.decision.system import system_ruling
from lockgate.flow.commit import assigned
from lockgate.flow.settle import Ask
from lockgate.mail.address import Address
from lockgate.mail.connection import OWN_REPORT, Connection
from lockgate.mail.envelope import Envelope
from lockgate.mail.events import Event, Status
from lockgate.mail.facts import Facts
from lockgate.mail.headers import message_of
from lockgate.mail.message import BodyRef
from lockgate.mail.recipient import RecipientId
from lockgate.mail.record import Recorder
from lockgate.mail.ruling import Deliver
from lockgate.mail.task import Assigned, NewMessage, NewTask, NewTrace, Stamp, TaskRecipient
from lockgate.policy.policy import Policy
from lockgate.seams import BodyWriter, Clock, Spool


class NotSent(Exception):
    """The letter cannot leave; the message says why."""


class Written(msgspec.Struct, frozen=True):
    """A whole message of ours for one address.

    `event` is what the trace says of it; `avoid` names lanes it must not take, because it is about them. `require_tls`
    is REQUIRETLS (RFC 8689).
    """

    id: str
    to: Address
    text: bytes
    event: Event
    utf8: bool = False
    avoid: frozenset[str] = frozenset()
    require_tls: bool = False


_NOWHERE = BodyRef("", 0, 0, 0)


class Draft(NamedTuple):
    """A letter that is ready to be kept; whoever has it finishes its body, or aborts it."""

    new: NewMessage
    body: BodyWriter

    def finished(self) -> NewMessage:
        """Ready for `Spool.accept`. Raises Unavailable."""
        return msgspec.structs.replace(self.new, body=self.body.finish())


class OwnMail(msgspec.Struct, frozen=True):
    """Queues what we write; wired once by the app. `life` is seconds a letter may wait."""

    spool: Spool
    ask: Ask
    recorder: Recorder
    clock: Clock
    new_id: Callable[[], str]
    installation: str
    life: float

    async def queue(self, policy: Policy, organisation: str, letter: Written) -> Sequence[Assigned]:
        """Make it durable; its tasks, for whoever delivers. Raises NotSent, Unavailable; then nothing is kept."""
        draft = self.draft(policy, organisation, letter)
        new = draft.finished()
        accepted = await self.spool.accept(new)
        return assigned(new, accepted, draft.body.content())

    def draft(self, policy: Policy, organisation: str, letter: Written, *, once: bool = False) -> Draft:
        """What would be made durable. Raises NotSent, Unavailable; then nothing is left of it."""
        now = self.clock.now()
        body = self.spool.begin(b"")
        body.write(letter.text)
        recipient = RecipientId(letter.to)
        envelope = Envelope(None, utf8=letter.utf8, require_tls=letter.require_tls)
        message = message_of(letter.id, body.head(), body.size, self.installation)
        facts = Facts(
            at=now,
            connection=Connection(letter.id, "", b"", 0, OWN_REPORT, helo=policy.hostname),
            envelope=envelope,
            recipients=(recipient,),
            message=message,
        )
        facts, ruling = system_ruling(policy, self.ask, facts, organisation)
        verdict = ruling.recipients[0]
        if not isinstance(verdict.disposition, Deliver):
            body.abort()
            raise NotSent(verdict.steps[-1].because if verdict.steps else "there is no way out")
        route = verdict.disposition.route
        if route.lane in letter.avoid:
            body.abort()
            raise NotSent(f"its way is {route.lane}, which the letter is about")
        stamp = Stamp(sign=signs_letter(policy, organisation, verdict))
        trace = NewTrace(
            number=0,
            organisation=organisation,
            recipient=letter.to.text,
            status=Status.PENDING,
            events=(letter.event,),
            outbound_connector=route.connector,
        )
        new = NewMessage(
            id=letter.id,
            received=now,
            expires=now + self.life,
            envelope=envelope,
            body=_NOWHERE,
            size=body.size,
            tasks=(NewTask(route.lane, route, (TaskRecipient(recipient, verdict.target, 0),), now, stamp=stamp),),
            traces=(trace,),
            stories=((organisation, self.recorder.write_story(facts, ruling)),),
            subject=message.subject,
            message_id=message.message_id,
            revision=ruling.revision,
            once=once,
        )
        return Draft(new, body)
