"""One SMTP connection, start to reply: grows the facts, asks the judge, makes accepted mail durable."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

import msgspec

from lockgate.decision.answer import answer
from lockgate.decision.dispose import flaw_of
from lockgate.decision.proof import to_ask
from lockgate.flow.commit import Commit, assigned
from lockgate.flow.devices import DeviceWatch
from lockgate.flow.excerpt import about
from lockgate.flow.letter import LARGE, Authentication
from lockgate.flow.observing import Observer
from lockgate.flow.own_mail import Draft
from lockgate.flow.rule_letters import RuleLetters, keep_with_letters
from lockgate.flow.rule_watch import RuleWatch
from lockgate.flow.settle import Ask, Inquire, Judge, advance, settle, settle_asking
from lockgate.mail import replies
from lockgate.mail.connection import Connection, Tls
from lockgate.mail.envelope import Envelope
from lockgate.mail.facts import Facts, Point
from lockgate.mail.findings import Answer, Question, Unknown
from lockgate.mail.headers import message_of
from lockgate.mail.message import Message
from lockgate.mail.octets import SeenOctets
from lockgate.mail.recipient import RecipientId
from lockgate.mail.record import Recorder
from lockgate.mail.reply import Reply
from lockgate.mail.ruling import Deliver, Hold, Refuse, Resolved, Ruling, Verdict, Wants
from lockgate.mail.task import Assigned, NewMessage, Refusal
from lockgate.mail.trace_header import received_prefix
from lockgate.policy.policy import Policy
from lockgate.seams import Accepted, BodyWriter, Clock, Journal, Spool, Unavailable

_UNASKED = Unknown("nobody is asked here")

_MOST_REFUSALS = 200
"""So many recipients of one refused message are noted; a group may have very many members."""


class Visit(Protocol):
    """One connection as the edge drives it. Every 4xx/5xx it returns comes from the judge or from our own failure.

    None of the methods raises; what is unforeseen becomes 451 4.3.0 with the id.
    """

    def connected(self) -> Reply | None:
        """Judge the connection; None = welcome, else the reply instead of the greeting (then close)."""

    def secured(self, tls: Tls) -> None:
        """The handshake is over: what is known of envelope and HELO is forgotten (RFC 3207 4.2)."""

    def greeted(self, helo: str, *, extended: bool) -> None:
        """HELO or EHLO was said; an open transaction is forgotten."""

    def mail(self, envelope: Envelope) -> Reply:
        """MAIL FROM; policy is pinned here."""

    def rcpt(self, recipient: RecipientId) -> Reply | Awaitable[Reply]:
        """RCPT TO; a recipient named twice is taken once. What is awaited asks others first (and does not raise)."""

    def begin(self) -> BodyWriter | Reply:
        """DATA or the first BDAT: where the octets go, or a reply if they cannot be kept now."""

    def normalises(self) -> bool:
        """Whether bare line ends of this transaction become CRLF (bare_newlines of the connector it came by)."""

    def mended(self) -> None:
        """They had to; said before `done`."""

    def done(self, body: BodyWriter, seen: SeenOctets | None = None) -> Awaitable[Reply]:
        """The end of data: judge, make durable, and only then 250. The transaction is closed when this returns.

        `seen` is what is known of the octets written, if they were looked at.
        """

    def spoiled(self, reply: Reply) -> Reply:
        """The octets ended and are no message, which `reply` tells; nothing of it is kept but the refusal."""

    def reset(self) -> None:
        """RSET, or the peer is gone: forget the transaction (the body included)."""


class Reception(msgspec.Struct, frozen=True):
    """What every visit of one worker shares; wired once by the app.

    `policy` gives the policy in force now; `new_id` makes network message ids; `take` hands owned tasks to
    delivery; `installation` marks our own hops. `inquire` asks others what this machine does not know; `unlisted` is
    told of each recipient whom edge blocking would refuse, were it enforced. `authentication` finds out who sent it.
    `observer` is told of messages whose fate is known, for reports; `devices` of those and of refusals; `rules` of
    messages that mail flow rules were applied to. `letters` writes what those rules ask for.
    """

    policy: Callable[[], Policy]
    judge: Judge
    ask: Ask
    spool: Spool
    commit: Commit
    recorder: Recorder
    clock: Clock
    journal: Journal
    new_id: Callable[[], str]
    take: Callable[[Sequence[Assigned]], None]
    installation: str
    inquire: Inquire | None = None
    unlisted: Callable[[Policy, Facts, Verdict], None] | None = None
    authentication: Authentication | None = None
    observer: Observer | None = None
    devices: DeviceWatch | None = None
    letters: RuleLetters | None = None
    rules: RuleWatch | None = None

    def visit(self, connection: Connection) -> Visit:
        """The visit of one new connection."""
        return Guest(self, connection)


class Guest:
    """A visit that judges and keeps; one per connection."""

    __slots__ = (
        "_body", "_connection", "_facts", "_hall", "_id", "_mended", "_plain", "_policy", "_prefix", "_ruling", "_seen",
    )  # fmt: skip

    def __init__(self, hall: Reception, connection: Connection) -> None:
        self._hall = hall
        self._connection = connection
        self._policy: Policy | None = None
        self._facts: Facts | None = None
        self._ruling: Ruling | None = None
        self._seen: set[str] = set()
        self._body: BodyWriter | None = None
        self._prefix = 0
        self._plain = True  # whether our own fields in front of the message are ASCII
        self._id = ""
        self._mended = False

    def connected(self) -> Reply | None:
        hall = self._hall
        try:
            policy = hall.policy()
            facts = Facts(hall.clock.now(), self._connection)
            facts, ruling = settle(hall.judge, hall.ask, policy, facts, Point.CONNECT)
            if ruling.refusal is None:
                return None
            return self._refuse(policy, facts, ruling, ruling.refusal, Point.CONNECT)
        except Exception as trouble:
            return self._unforeseen(trouble, Point.CONNECT)

    def secured(self, tls: Tls) -> None:
        self.reset()
        self._connection = msgspec.structs.replace(self._connection, tls=tls, helo="", extended=False)

    def greeted(self, helo: str, *, extended: bool) -> None:
        self.reset()
        self._connection = msgspec.structs.replace(self._connection, helo=helo, extended=extended)

    def mail(self, envelope: Envelope) -> Reply:
        self.reset()
        hall = self._hall
        try:
            policy = hall.policy()
            facts = Facts(hall.clock.now(), self._connection, envelope)
            facts, ruling = settle(hall.judge, hall.ask, policy, facts, Point.MAIL)
            if ruling.refusal is not None:
                return self._refuse(policy, facts, ruling, ruling.refusal, Point.MAIL)
        except Exception as trouble:
            return self._unforeseen(trouble, Point.MAIL)
        self._policy, self._facts, self._ruling = policy, facts, ruling
        return replies.SENDER_OK

    def rcpt(self, recipient: RecipientId) -> Reply | Awaitable[Reply]:
        hall, policy, facts, ruling = self._hall, self._policy, self._facts, self._ruling
        try:
            if policy is None or facts is None or ruling is None:
                raise RuntimeError("RCPT without an open transaction")
            key = recipient.original.key
            if key in self._seen:
                return replies.RECIPIENT_OK
            more = Facts(
                facts.at, facts.connection, facts.envelope, (*facts.recipients, recipient), None, facts.findings
            )
            more, outcome = advance(hall.judge, hall.ask, policy, more, Point.RCPT, ruling)
            if isinstance(outcome, Wants):
                return self._rcpt_asking(policy, facts, more, outcome, key)
            return self._rcpt_judged(policy, more, outcome, key)
        except Exception as trouble:
            return self._unforeseen(trouble, Point.RCPT)

    async def _rcpt_asking(self, policy: Policy, before: Facts, facts: Facts, wants: Wants, key: str) -> Reply:
        """Others have to be asked; meanwhile the peer waits for its answer, or is gone."""
        hall = self._hall
        try:
            answers: dict[Question, Answer] = dict.fromkeys(wants.questions, _UNASKED)
            if hall.inquire is not None:
                answers = await hall.inquire(policy, facts, wants.questions)
            facts, ruling = await settle_asking(
                hall.judge, hall.ask, hall.inquire, policy, facts.learn(answers), Point.RCPT, wants.so_far
            )
            if self._facts is not before:
                return replies.UNFORESEEN  # nobody hears it: the transaction was forgotten meanwhile
            return self._rcpt_judged(policy, facts, ruling, key)
        except Exception as trouble:
            return self._unforeseen(trouble, Point.RCPT)

    def _rcpt_judged(self, policy: Policy, facts: Facts, ruling: Ruling, key: str) -> Reply:
        if ruling.refusal is not None:
            return self._refuse(policy, facts, ruling, ruling.refusal, Point.RCPT)
        verdict = ruling.recipients[-1]
        reply = refusal_of(verdict)
        if reply is not None:
            return self._refuse(policy, facts, ruling, reply, Point.RCPT, verdict)
        self._seen.add(key)
        self._facts, self._ruling = facts, ruling
        if verdict.standing.unlisted and self._hall.unlisted is not None:
            self._hall.unlisted(policy, facts, verdict)
        return replies.RECIPIENT_OK

    def begin(self) -> BodyWriter | Reply:
        hall, facts = self._hall, self._facts
        try:
            if facts is None or facts.envelope is None:
                raise RuntimeError("DATA without an open transaction")
            self._id = hall.new_id()
            prefix = received_prefix(
                facts.connection,
                facts.envelope,
                facts.recipients,
                hostname=self._policy.hostname if self._policy else "",
                installation=hall.installation,
                network_id=self._id,
                at=hall.clock.now(),
            )
            self._body = hall.spool.begin(prefix)
        except Unavailable as trouble:
            return self._unavailable(trouble)
        except Exception as trouble:
            return self._unforeseen(trouble, Point.DATA)
        self._prefix, self._plain = len(prefix), prefix.isascii()
        return self._body

    def normalises(self) -> bool:
        policy, ruling = self._policy, self._ruling
        if policy is None or ruling is None or not ruling.candidates:
            return False
        return any(
            policy.organisations[one.organisation].inbound[one.connector].bare_newlines == "normalise"
            for one in ruling.candidates
        )

    def mended(self) -> None:
        self._mended = True

    def done(self, body: BodyWriter, seen: SeenOctets | None = None) -> Awaitable[Reply]:
        # The transaction is taken from the visit at once, whatever becomes of the peer.
        policy, facts, ruling, network_id = self._policy, self._facts, self._ruling, self._id
        prefix, mended, self._body = self._prefix, self._mended, None
        seen = seen if self._plain else None
        self.reset()
        return self._done(policy, facts, ruling, network_id, body, prefix, seen, mended=mended)

    async def _done(
        self,
        policy: Policy | None,
        facts: Facts | None,
        ruling: Ruling | None,
        network_id: str,
        body: BodyWriter,
        prefix: int,
        seen: SeenOctets | None,
        *,
        mended: bool,
    ) -> Reply:
        try:
            if policy is None or facts is None or ruling is None:
                raise RuntimeError("the end of data without an open transaction")
            return await self._keep(policy, facts, ruling, network_id, body, prefix, seen, mended=mended)
        except Unavailable as trouble:
            body.abort()
            return self._unavailable(trouble)
        except Exception as trouble:
            body.abort()
            return self._unforeseen(trouble, Point.DATA)

    def spoiled(self, reply: Reply) -> Reply:
        policy, facts, ruling, body = self._policy, self._facts, self._ruling, self._body
        # Without a body it is refused before the first of its octets.
        network_id, size, flaw = ("", 0, flaw_of(reply)) if body is None else (
            self._id, max(0, body.size - self._prefix), flaw_of(reply)
        )  # fmt: skip
        self.reset()
        try:
            if policy is None or facts is None or ruling is None or flaw is None:
                raise RuntimeError("a spoiled message without an open transaction")
            message = Message(network_id, size, (), flaw=flaw)
            facts = Facts(facts.at, facts.connection, facts.envelope, facts.recipients, message, facts.findings)
            facts, ruling = settle(self._hall.judge, self._hall.ask, policy, facts, Point.DATA, ruling)
            return self._refuse(policy, facts, ruling, ruling.refusal or reply, Point.DATA)
        except Exception as trouble:
            self._unforeseen(trouble, Point.DATA)
            return reply.with_id(self._connection.id)  # whatever else is wrong, this is no message

    async def _keep(
        self, policy: Policy, facts: Facts, ruling: Ruling, network_id: str, body: BodyWriter, prefix: int,
        seen: SeenOctets | None, *, mended: bool,
    ) -> Reply:  # fmt: skip
        hall = self._hall
        head = body.head()
        message = message_of(network_id, head[prefix:], body.size - prefix, hall.installation)
        if mended:
            message = msgspec.structs.replace(message, mended=True)
        facts = Facts(facts.at, facts.connection, facts.envelope, facts.recipients, message, facts.findings)
        # Whoever is derived only now may have to be asked for at the next hop, as at RCPT.
        ask = hall.inquire
        if hall.authentication is not None:
            ask = hall.authentication.arriving(body, prefix, hall.inquire)
        facts, ruling = await settle_asking(hall.judge, hall.ask, ask, policy, facts, Point.DATA, ruling)
        watch = hall.observer
        reply = answer(ruling)
        if reply is not None:
            if reply.permanent and hall.letters is not None:
                # Who is to be told of it is told before the peer hears the answer.
                await hall.letters.keep(await self._letters(policy, facts, ruling, body, prefix))
            body.abort()
            if watch is not None and reply.permanent:
                watch.done(policy, facts, ruling)
            if hall.rules is not None:
                hall.rules.judged(policy, facts, ruling, over=reply.permanent)
            return self._turned_away(policy, facts, ruling, reply)
        if ask is not None and hall.authentication is not None and (unasked := to_ask(policy, facts, ruling)):
            facts = facts.learn(await ask(policy, facts, unasked))
        copy = await watch.copied(policy, ruling, body, prefix) if watch is not None else None
        drafts = await self._letters(policy, facts, ruling, body, prefix)
        new, accepted = await keep_with_letters(
            hall.spool,
            lambda: hall.commit.message(policy, facts, ruling, body.finish(), body.size, hall.clock.now()),
            drafts,
        )
        self._hand_on(new, accepted, body, seen)
        if watch is not None:
            watch.done(policy, facts, ruling, copy)
        if hall.devices is not None:
            hall.devices.took(policy, facts, ruling)
        if hall.rules is not None:
            hall.rules.judged(policy, facts, ruling)
        return replies.queued(network_id)

    async def _letters(
        self, policy: Policy, facts: Facts, ruling: Ruling, body: BodyWriter, prefix: int
    ) -> list[Draft]:
        """What mail flow rules have us write about the message."""
        if self._hall.letters is None:
            return []

        async def octets() -> bytes:
            whole = body.octets() if body.size <= LARGE else await asyncio.to_thread(body.octets)
            return whole[prefix:]

        return await self._hall.letters.drafts(policy, facts, ruling.recipients, octets)

    def _turned_away(self, policy: Policy, facts: Facts, ruling: Ruling, reply: Reply) -> Reply:
        """Nobody takes the message: a row for each who refused it, up to a bound, and the one answer."""
        if ruling.refusal is not None:
            return self._refuse(policy, facts, ruling, reply, Point.DATA)
        told = [verdict for verdict in ruling.recipients if refusal_of(verdict) is not None]
        for verdict in told[:_MOST_REFUSALS]:
            self._note_refusal(policy, facts, ruling, refusal_of(verdict) or reply, Point.DATA, verdict)
        return reply.with_id(self._connection.id)

    def _hand_on(self, new: NewMessage, accepted: Accepted, body: BodyWriter, seen: SeenOctets | None) -> None:
        """The message is durable: whatever happens from here on, the peer hears 250 and must not send it again."""
        hall = self._hall
        try:
            hall.take(assigned(new, accepted, body.content(), seen))
        except Exception as trouble:
            hall.journal.alarm("unforeseen", id=new.id, at="handing over to delivery", trouble=trouble)
        hall.journal.note(
            "accepted",
            id=new.id,
            organisation=",".join(dict.fromkeys([trace.organisation for trace in new.traces])),
            connection=self._connection.id,
            peer=self._connection.peer,
            sender=new.envelope.sender_text,
            recipients=len(new.traces),
            size=new.size,
        )

    def reset(self) -> None:
        if self._body is not None:
            self._body.abort()
            self._body = None
        if self._facts is not None:
            self._policy = self._facts = self._ruling = None
            self._seen = set()
            self._mended = False

    def _refuse(
        self, policy: Policy, facts: Facts, ruling: Ruling, reply: Reply, point: Point, verdict: Verdict | None = None
    ) -> Reply:
        self._note_refusal(policy, facts, ruling, reply, point, verdict)
        return reply.with_id(self._connection.id)

    def _note_refusal(
        self, policy: Policy, facts: Facts, ruling: Ruling, reply: Reply, point: Point, verdict: Verdict | None = None
    ) -> None:
        connection, standing = self._connection, verdict.standing if verdict else None
        recipient = verdict.recipient.original.text if verdict else ""
        steps = verdict.steps if verdict and verdict.steps else ruling.steps
        why = f"{steps[-1].subject}: {steps[-1].because}" if steps else reply.text
        self._hall.spool.refused(
            Refusal(
                at=self._hall.clock.now(),
                id=connection.id,
                organisation=standing.organisation if standing else "",
                point=point.name,
                peer=connection.peer,
                helo=connection.helo,
                sender=facts.envelope.sender_text if facts.envelope else "",
                recipient=recipient,
                reply=str(reply),
                reason=why,
                connector=(standing.inbound_connector or standing.partner_connector) if standing else "",
                tls=f"{connection.tls.version} {connection.tls.cipher}" if connection.tls else "",
                revision=ruling.revision,
            ),
            lambda: self._hall.recorder.write_story(*_about(facts, ruling, verdict)),
        )
        self._hall.journal.note(
            "refused",
            id=connection.id,
            organisation=standing.organisation if standing else "",
            point=point.name,
            peer=connection.peer,
            sender=facts.envelope.sender_text if facts.envelope else "",
            recipient=recipient,
            reply=str(reply),
            because=why,
        )
        if self._hall.devices is not None:
            self._hall.devices.refused(policy, facts, ruling, reply, why)

    def _unavailable(self, trouble: Exception) -> Reply:
        self._hall.journal.alarm("cannot keep mail", id=self._connection.id, because=str(trouble))
        return replies.STORAGE_UNAVAILABLE.with_id(self._connection.id)

    def _unforeseen(self, trouble: Exception, point: Point) -> Reply:
        self._hall.journal.alarm("unforeseen", id=self._connection.id, point=point.name, trouble=trouble)
        return replies.UNFORESEEN.with_id(self._connection.id)


def _about(facts: Facts, ruling: Ruling, verdict: Verdict | None) -> tuple[Facts, Ruling]:
    """What is recorded of a refusal: this recipient alone, or everything where all are refused."""
    if verdict is None:
        return facts, ruling
    newest = len(facts.recipients) - 1  # the one refused at RCPT; whoever is refused later was within the limit
    return about(facts, ruling, verdict, before=newest if facts.message is None and newest > 0 else 0)


def refusal_of(verdict: Verdict) -> Reply | None:
    """The reply that says no to this recipient now, or None if it is taken so far."""
    match verdict.disposition:
        case None | Deliver() | Hold() | Resolved():
            return None
        case Refuse(reply):
            return reply
        case other:
            return getattr(other, "reply", None)
