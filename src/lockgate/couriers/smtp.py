"""Carries messages over kept, pipelined SMTP or LMTP connections; one outcome per recipient, always.

What is different in LMTP stands in lmtp.py.
"""

from __future__ import annotations

import functools
import random
from collections.abc import Sequence

import msgspec

from lockgate.couriers.convert import Prepared, prepare
from lockgate.couriers.dial import Dialler
from lockgate.couriers.final import without_return_path
from lockgate.couriers.finals import Finals
from lockgate.couriers.hosts import Target
from lockgate.couriers.lane import Lane
from lockgate.couriers.link import Link
from lockgate.couriers.lmtp import heard
from lockgate.couriers.settings import CourierSettings
from lockgate.mail import replies
from lockgate.mail.hop import Cargo, HopKind, NextHop
from lockgate.mail.outcome import Fate, Outcome
from lockgate.mail.reply import Reply
from lockgate.seams import Clock, Journal, Resolver, StsPolicies, Taken, TlsResults, Unreachable
from lockgate.wire.smtp.answers import Answer
from lockgate.wire.smtp.client import TOO_MANY, Capabilities, Phase, Transaction, mail_command, rcpt_command


def _nobody_waits(outcomes: Sequence[Outcome]) -> None:
    """For whoever is content with what `carry` returns."""


class _Errand:
    """One `carry` under way: what has been decided, who is still to be asked for, which servers failed it.

    `store` tells that the server keeps the mailboxes itself, so that what it takes is delivered for good.
    """

    __slots__ = ("_taken", "_told", "avoid", "cargo", "last", "outcomes", "pending", "store")

    def __init__(self, cargo: Cargo, taken: Taken, *, store: bool) -> None:
        self.cargo = cargo
        self.store = store
        self._taken = taken
        self._told: set[int] = set()
        self.outcomes: dict[int, Outcome] = {}
        self.pending = list(range(len(cargo.recipients)))
        self.avoid: set[Target] = set()
        self.last: Outcome | None = None

    def decide(
        self, numbers: Sequence[int], fate: Fate, reply: Reply, link: Link | None = None, *, spoken: bool = False
    ) -> None:
        """The same for several recipients; `spoken` tells that the server said it."""
        host, tls, dsn = (link.host, link.tls, link.opening.offered.dsn) if link is not None else ("", "", False)
        final = self.store and not dsn
        for number in numbers:
            self.outcomes[number] = Outcome(number, fate, reply, host, tls, dsn, final, spoken)

    def tell(self, numbers: Sequence[int]) -> None:
        """Have it put on record that these, as far as they are delivered, are delivered; once for each."""
        found = [self.outcomes[number] for number in numbers if number in self.outcomes and number not in self._told]
        delivered = [outcome for outcome in found if outcome.fate is Fate.DELIVERED]
        if delivered:
            self._told.update([outcome.recipient for outcome in delivered])
            self._taken(delivered)


class SmtpCourier:
    """Implements seams.Courier. `chance` orders equal servers; a test gives its own.

    `sts` knows what domains demand by MTA-STS (None: nobody is asked), `results` is told how TLS sessions went.
    `look` is to be called between pieces of other work (couriers/finals.py): it is quick.
    """

    def __init__(
        self,
        resolver: Resolver,
        settings: CourierSettings,
        clock: Clock,
        journal: Journal,
        *,
        chance: random.Random | None = None,
        sts: StsPolicies | None = None,
        results: TlsResults | None = None,
    ) -> None:
        self._settings = settings
        self._journal = journal
        self._finals = Finals()
        self.look = self._finals.look
        self._dialler = Dialler(
            resolver, settings, clock, chance or random.SystemRandom(), self._finals, sts=sts, results=results
        )
        self._lanes: dict[str, Lane] = {}
        self._closing = False

    async def carry(self, hop: NextHop, cargo: Cargo, taken: Taken = _nobody_waits) -> tuple[Outcome, ...]:
        """One outcome per recipient, always (seams.Courier). Raises Unreachable when no transaction could begin."""
        if cargo.envelope.require_tls and not hop.require_tls and hop.kind is not HopKind.LMTP:
            hop = _stricter(hop)
        self.look()
        lane = self._lane(hop)
        store = hop.kind is HopKind.LMTP
        if store:
            cargo = msgspec.structs.replace(cargo, content=without_return_path(cargo.content), seen=None)
        errand = _Errand(cargo, taken, store=store)
        while errand.pending:
            if hop.rate:
                await lane.pace()
            try:
                link = await self._link(lane, errand.avoid)
            except Unreachable as trouble:
                if errand.last is None and not errand.outcomes:
                    raise
                left = errand.last or Outcome(0, Fate.DEFERRED, trouble.reply, trouble.host, trouble.tls)
                for number in errand.pending:
                    errand.outcomes[number] = msgspec.structs.replace(left, recipient=number)
                break
            await self._attempt(lane, link, errand)
        return tuple([errand.outcomes[number] for number in range(len(cargo.recipients))])

    async def close(self) -> None:
        """Say QUIT on all idle connections; the others end after their transaction."""
        self._closing = True
        for lane in self._lanes.values():
            lane.retire()

    # --- connections -----------------------------------------------------------------------------------------------

    def _lane(self, hop: NextHop) -> Lane:
        lane = self._lanes.get(hop.lane)
        if lane is not None and (lane.hop is hop or lane.hop == hop):
            return lane
        if lane is not None:
            lane.retire()
        fresh = self._lanes[hop.lane] = Lane(hop)
        return fresh

    async def _link(self, lane: Lane, avoid: set[Target]) -> Link:
        while True:
            link = lane.spare()
            if link is not None:
                return link
            if lane.may_dial():
                return await self._dial(lane, avoid)
            await lane.turn()

    async def _dial(self, lane: Lane, avoid: set[Target]) -> Link:
        if self._closing:
            raise Unreachable(replies.SHUTTING_DOWN)
        lane.dialling += 1
        try:
            link = await self._dialler.dial(lane.hop, functools.partial(self._gone, lane), avoid)
        except BaseException:
            lane.dialling -= 1
            lane.wake()
            self._tidy(lane)
            raise
        lane.dialling -= 1
        lane.links.add(link)
        self._journal.note("connected", lane=lane.hop.lane, relay=link.host, tls=link.tls)
        return link

    def _gone(self, lane: Lane, link: Link) -> None:
        lane.gone(link)
        self._tidy(lane)

    def _tidy(self, lane: Lane) -> None:
        """A lane without connections is forgotten: domains come and go by the million. Its pace is kept."""
        if lane.unused and not lane.hop.rate and self._lanes.get(lane.hop.lane) is lane:
            del self._lanes[lane.hop.lane]

    # --- one transaction -------------------------------------------------------------------------------------------

    async def _attempt(self, lane: Lane, link: Link, errand: _Errand) -> None:
        """Ask this server for as many pending recipients as one transaction takes, and note what came of it."""
        transaction, numbers = self._transaction(lane.hop, link, errand)
        if transaction is None:
            lane.release(link, keep=True)
            return
        fresh = link.carried == 0
        try:
            link.begin(transaction, functools.partial(_over, link, transaction, errand, numbers))
            await link.wait()
        except BaseException:
            link.abort("the attempt was given up")
            raise
        if transaction.phase is not Phase.DONE or (transaction.closing and not transaction.exposed):
            self._interrupted(link, transaction, errand, numbers, fresh=fresh)
        lane.release(link, keep=link.carried < self._settings.messages and not self._closing)

    def _transaction(self, hop: NextHop, link: Link, errand: _Errand) -> tuple[Transaction | None, list[int]]:
        """The transaction for the next group of recipients; what cannot be sent to this server is decided here."""
        cargo, offered = errand.cargo, link.opening.offered
        prepared = _fit(hop, cargo, offered)
        if isinstance(prepared, Reply):
            errand.decide(errand.pending, Fate.FAILED, prepared, link)
            errand.pending = []
            return None, []
        group = errand.pending[: self._settings.recipients]
        del errand.pending[: self._settings.recipients]
        numbers: list[int] = []
        commands: list[bytes] = []
        utf8 = prepared.utf8
        for number in group:
            recipient = cargo.recipients[number]
            if not recipient.address.isascii():
                if not offered.utf8:
                    errand.decide([number], Fate.FAILED, replies.NEEDS_UTF8, link)
                    continue
                utf8 = True
            try:
                commands.append(rcpt_command(recipient, offered))
            except ValueError as trouble:
                errand.decide([number], Fate.FAILED, replies.bad_recipient(str(trouble)), link)
                continue
            numbers.append(number)
        if not numbers:
            return None, []
        try:
            mail = mail_command(
                cargo.envelope, offered, len(prepared.content), eight_bit=prepared.eight_bit, utf8=utf8
            )
        except ValueError as trouble:
            errand.decide(numbers, Fate.FAILED, replies.bad_sender(str(trouble)), link)
            return None, []
        each = functools.partial(heard, link, errand, numbers) if errand.store else None
        made = Transaction(
            mail, commands, prepared.content, offered, reset=link.unclean, each=each, dotted=prepared.dotted
        )
        return made, numbers

    def _interrupted(
        self, link: Link, transaction: Transaction, errand: _Errand, numbers: list[int], *, fresh: bool
    ) -> None:
        """The connection ended within the transaction.

        Before content was handed out nothing can have been taken: the same is asked again elsewhere, on another
        server if this connection was new. Afterwards nobody knows, and the recipients wait (RFC 1047).
        """
        if transaction.exposed:
            for number, answer in zip(numbers, transaction.verdicts(), strict=True):
                if answer is None or not answer.good:  # a good one is an LMTP store's, noted when it was read
                    _settle(errand, number, answer, link)
            return
        again: list[int] = []
        for number, answer in zip(numbers, transaction.verdicts(), strict=True):
            if answer is None or answer.good or answer is transaction.mail or not _final(answer, transaction):
                again.append(number)
            else:
                _settle(errand, number, answer, link)
        reply = replies.CONNECTION_LOST
        if transaction.closing:
            said = transaction.given[-1] if transaction.given else transaction.mail
            reply = said.reply() if said is not None and not said.good else reply
        spoken = reply is not replies.CONNECTION_LOST
        errand.last = Outcome(0, Fate.DEFERRED, reply, link.host, link.tls, spoken=spoken)
        if fresh:
            errand.avoid.add(link.target)
        errand.pending = again + errand.pending


def _final(answer: Answer, transaction: Transaction) -> bool:
    """Whether an answer speaks of the recipient and not of the connection's end."""
    return answer.code != replies.SHUTTING_DOWN.code and answer is not transaction.data


def _fit(hop: NextHop, cargo: Cargo, offered: Capabilities) -> Prepared | Reply:
    """The octets for this server, or why it cannot have them."""
    if hop.require_tls and not offered.require_tls:
        return replies.NEEDS_REQUIRETLS
    prepared = prepare(cargo.content, cargo.envelope, offered, cargo.seen)
    if isinstance(prepared, Prepared):
        size = len(prepared.content)
        if (offered.size and size > offered.size) or (hop.size_limit and size > hop.size_limit):
            return replies.TOO_LARGE_FOR_NEXT_HOP
    return prepared


def _over(link: Link, transaction: Transaction, errand: _Errand, numbers: list[int]) -> None:
    """Called while the last answer is being read: nothing else may happen before what was taken is on record."""
    if transaction.closing and not transaction.exposed:
        return
    _note(link, transaction, errand, numbers)
    errand.tell(numbers)


def _note(link: Link, transaction: Transaction, errand: _Errand, numbers: list[int]) -> None:
    """Outcomes of a transaction that was spoken to its end."""
    verdicts = transaction.verdicts()
    more: list[int] = []
    last: tuple[Answer, Reply] | None = None
    for place, (number, answer) in enumerate(zip(numbers, verdicts, strict=True)):
        if answer is not None and answer.good:
            if last is None or last[0] is not answer:
                last = (answer, answer.reply())
            errand.decide([number], Fate.DELIVERED, last[1], link, spoken=True)
        elif answer is not None and answer.code == TOO_MANY and _was_enough(transaction, verdicts, place):
            # RFC 5321 4.5.3.1.10: so many were enough for one transaction; the others follow in the next.
            more.append(number)
        else:
            _settle(errand, number, answer, link)
    errand.pending = more + errand.pending


def _was_enough(transaction: Transaction, verdicts: Sequence[Answer | None], place: int) -> bool:
    """Whether the server refused this recipient because it has taken enough others."""
    taken = any(answer is not None and answer.good for answer in verdicts)
    return taken and transaction.given[place] is verdicts[place]


def _settle(errand: _Errand, number: int, answer: Answer | None, link: Link) -> None:
    """The outcome of an answer that did not deliver."""
    reply = replies.CONNECTION_LOST if answer is None else answer.reply()
    if answer is not None and reply.accepts:
        # Neither yes nor no (3xx out of place): what cannot be understood is temporary.
        reply = Answer(0, answer.lines).reply()
    spoken = answer is not None and answer.code == reply.code  # what is not understood is told in our words
    errand.decide([number], Fate.FAILED if reply.permanent else Fate.DEFERRED, reply, link, spoken=spoken)


def _stricter(hop: NextHop) -> NextHop:
    """RFC 8689 4.2.1, for a message that was routed before the route said so. A mailbox store is the end of the way."""
    return msgspec.structs.replace(hop, lane=f"{hop.lane}+requiretls", require_tls=True)
