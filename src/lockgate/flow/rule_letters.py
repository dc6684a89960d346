"""Writes what mail flow rules ask for about a message: incident reports and notes (specification 1.15.9).

They are kept together with the message, or before it is refused, so that neither is lost and none goes out twice: the
id of a letter follows from the message, the rule and the recipient. They are our own mail, judged by nobody; and what
comes back to us of them causes no others.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence

import msgspec

from lockgate.flow.commit import assigned
from lockgate.flow.own_mail import Draft, NotSent, OwnMail, Written
from lockgate.mail.address import Address, AddressError, parse_address
from lockgate.mail.events import Event, Happening
from lockgate.mail.facts import Facts
from lockgate.mail.identity import network_id
from lockgate.mail.message import Message
from lockgate.mail.rule_letters import (
    MARK,
    Applied,
    Frame,
    Incident,
    attachable,
    incident_report,
    notification,
)
from lockgate.mail.ruling import Defer, Hit, Hold, ReportWanted, RuleHit, Verdict
from lockgate.mail.task import Assigned, NewMessage
from lockgate.policy.policy import Policy
from lockgate.seams import Accepted, Journal, Spool

MOST_NOTES = 1000
"""Recipients of one message who get a note; a group may have very many members."""

_MARKED_FOR = 3 * 86400.0
"""Seconds for which a letter that comes back is known as ours: as long as letters travel, and no longer."""

Octets = Callable[[], Awaitable[bytes]]
"""Gives the message as it came, without the trace fields that we put before it. Raises OSError, ValueError."""


class RuleLetters(msgspec.Struct, frozen=True):
    """Wired once by each worker. `secret` makes marks that nobody else can make; `take` delivers."""

    mail: OwnMail
    journal: Journal
    secret: bytes
    take: Callable[[Sequence[Assigned]], None]

    async def keep(self, drafts: Sequence[Draft]) -> None:
        """Make letters durable, all or nothing. Raises Unavailable: then none of them goes out."""
        if not drafts:
            return
        try:
            letters = [draft.finished() for draft in drafts]
            accepted = await self.mail.spool.accept(letters[0], letters[1:])
        except BaseException:
            abort(drafts)
            raise
        try:
            self.take(assigned(letters[0], accepted, drafts[0].body.content()))
        except Exception as trouble:  # they are durable, and carried by somebody at the latest when this worker ends
            self.journal.alarm("unforeseen", id=letters[0].id, at="handing over to delivery", trouble=trouble)

    async def drafts(
        self, policy: Policy, facts: Facts, verdicts: Sequence[Verdict], octets: Octets, *, once: bool = False
    ) -> list[Draft]:
        """The letters about a message that are due now that these verdicts on it are final; others wait for theirs.

        `once`: some of them may have been kept before. Raises Unavailable: then there are none.
        """
        settled = [one for one in verdicts if is_settled(one)]
        message = facts.message
        if message is None or not any(one.effects.reports or one.effects.notes for one in settled):
            return []
        if self._came_back(facts, message):
            self.journal.note("no letter about a letter", id=message.id)
            return []
        original = b""
        if any("attach_original_mail" in report.content for one in settled for report in one.effects.reports):
            original = await self._original(message, octets)
        found: list[Draft] = []
        try:
            for organisation in dict.fromkeys(one.standing.organisation for one in settled):
                mine = [one for one in settled if one.standing.organisation == organisation]
                for letter in self._letters(policy, facts, message, organisation, mine, original):
                    self._draft(policy, organisation, letter, found, once=once)
        except BaseException:
            abort(found)
            raise
        return found

    async def _original(self, message: Message, octets: Octets) -> bytes:
        """What is attached; nothing if it cannot be read any more, because a report without it is better than none."""
        try:
            return await octets()
        except (OSError, ValueError) as trouble:
            self.journal.alarm("a message cannot be attached to a report", id=message.id, because=str(trouble))
            return b""

    def _draft(self, policy: Policy, organisation: str, letter: Written, found: list[Draft], *, once: bool) -> None:
        about, to = letter.event.detail, letter.to.text
        try:
            found.append(self.mail.draft(policy, organisation, letter, once=once))
        except NotSent as trouble:
            self.journal.alarm("a letter of a mail flow rule cannot be sent", about=about, to=to, because=str(trouble))
            return
        self.journal.note("rule letter", id=letter.id, organisation=organisation, about=about, to=to)

    def _letters(
        self, policy: Policy, facts: Facts, message: Message, organisation: str, verdicts: Sequence[Verdict],
        original: bytes,
    ) -> Iterator[Written]:  # fmt: skip
        """The letters of one organisation's rules: they know its recipients alone."""
        applied = _applied(verdicts)
        for wanted in dict.fromkeys(report for one in verdicts for report in one.effects.reports):
            to = self._address(wanted.to, wanted.rule)
            if to is not None:
                yield self._report(policy, facts, message, organisation, wanted, to, applied, verdicts, original)
        mine = policy.organisations.get(organisation)
        texts = mine.rules.notes if mine is not None else {}
        noted = [(one, rule) for one in verdicts for rule in one.effects.notes if rule in texts]
        for one, rule in noted[:MOST_NOTES]:
            yield self._note(policy, facts, message, organisation, one, rule, texts[rule])
        if len(noted) > MOST_NOTES:
            self.journal.alarm("notes left out", id=message.id, left_out=len(noted) - MOST_NOTES)

    def _report(
        self, policy: Policy, facts: Facts, message: Message, organisation: str, wanted: ReportWanted, to: Address,
        applied: tuple[Applied, ...], verdicts: Sequence[Verdict], original: bytes,
    ) -> Written:  # fmt: skip
        name = _name(facts, message, organisation, "report", wanted.rule)
        incident = Incident(
            wanted.rule,
            wanted.content,
            message,
            facts.envelope.sender_text if facts.envelope is not None else "",
            tuple([one.recipient.original.text for one in verdicts if one.recipient.derived_from is None]),
            applied,
            attachable(original) if "attach_original_mail" in wanted.content else b"",
        )
        frame = self._frame(policy, organisation, name, to.text)
        about = f"incident report of rule {wanted.rule} about {message.id}"
        return _written(facts, frame, to, incident_report(frame, incident), about)

    def _note(
        self, policy: Policy, facts: Facts, message: Message, organisation: str, verdict: Verdict, rule: str, text: str
    ) -> Written:
        to = verdict.recipient.original
        name = _name(facts, message, organisation, "note", rule, verdict.recipient.text)
        frame = self._frame(policy, organisation, name, to.text)
        about = f"notification of rule {rule} about {message.id}"
        return _written(facts, frame, to, notification(frame, text, message), about)

    def _frame(self, policy: Policy, organisation: str, name: str, to: str) -> Frame:
        now = self.mail.clock.now()
        return Frame(name, policy.postmaster(organisation), to, policy.hostname, now, self._mark(now, name))

    def _address(self, text: str, rule: str) -> Address | None:
        try:
            return parse_address(text, utf8=True)
        except AddressError as trouble:  # it was checked when the rule was saved
            self.journal.alarm("an incident report cannot be sent", rule=rule, to=text, because=str(trouble))
            return None

    # -- what comes back -----------------------------------------------------------------------------------------------

    def _mark(self, now: float, name: str) -> str:
        plain = f"{name} {int(now)}"
        return f"{plain} {hmac.new(self.secret, f'rule letter {plain}'.encode(), 'sha256').hexdigest()}"

    def _came_back(self, facts: Facts, message: Message) -> bool:
        """Whether this is one of our letters: from nobody, with a mark that only we can have made, not long ago."""
        if facts.envelope is None or facts.envelope.sender is not None:
            return False
        for field, value in message.fields:
            words = value.split()
            if field.lower() == MARK.lower() and len(words) == 3 and words[1].isascii() and words[1].isdigit():
                then = float(words[1][:12])
                if abs(facts.at - then) <= _MARKED_FOR and hmac.compare_digest(
                    self._mark(then, words[0]).encode(), " ".join(words).encode()
                ):
                    return True
        return False


async def keep_with_letters(
    spool: Spool, new: Callable[[], NewMessage], drafts: Sequence[Draft]
) -> tuple[NewMessage, Accepted]:
    """Make a message durable together with the letters about it, all or nothing. Raises Unavailable."""
    try:
        message = new()
        return message, await spool.accept(message, [draft.finished() for draft in drafts])
    except BaseException:
        abort(drafts)
        raise


def abort(drafts: Iterable[Draft]) -> None:
    """Forget letters that are not kept."""
    for draft in drafts:
        draft.body.abort()


def is_settled(verdict: Verdict) -> bool:
    """Whether the recipient is not judged by the rules once more, because it was put off."""
    match verdict.disposition:
        case None | Defer() | Hold(_, pending=True):
            return False
    return True


def _applied(verdicts: Sequence[Verdict]) -> tuple[Applied, ...]:
    """The rules that applied, in order, and to whom."""
    found: dict[RuleHit, list[str]] = {}
    for verdict in verdicts:
        for step in verdict.steps:
            if step.rule is not None and step.hit is Hit.YES:
                found.setdefault(step.rule, []).append(verdict.recipient.original.text)
    return tuple([Applied(hit, tuple(dict.fromkeys(whom))) for hit, whom in found.items()])


def _name(facts: Facts, message: Message, *about: str) -> str:
    """The id of a letter: the same whenever it is written."""
    return network_id(hashlib.sha256("\n".join((message.id, *about)).encode()).digest()[:10], facts.at)


def _written(facts: Facts, frame: Frame, to: Address, text: bytes, about: str) -> Written:
    event = Event(frame.now, Happening.RULE, about)
    # RFC 8689 5: what is said of a message that had to stay secret is as secret.
    secret = facts.envelope is not None and facts.envelope.require_tls
    return Written(frame.id, to, text, event, utf8=not to.text.isascii(), require_tls=secret)
