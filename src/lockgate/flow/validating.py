"""Tries an outbound connector: is the recipient in its scope, does every server take mail, does a test message arrive?

Which connector is for whom, and by which next hop it leads, is asked of the judge's own code; the servers are looked at
by the couriers' own, and the test message is dressed and carried as every other one (specification 1.2.2).
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Awaitable, Callable, Sequence
from typing import NamedTuple

import msgspec

from lockgate.flow.aiming import Aim, aimed
from lockgate.flow.departure import Parcel
from lockgate.flow.proof_letter import ProofLetter
from lockgate.flow.settle import Ask
from lockgate.mail.address import Address
from lockgate.mail.envelope import Envelope
from lockgate.mail.hop import Cargo, CargoRecipient, NextHop
from lockgate.mail.message import BodyRef
from lockgate.mail.outcome import Fate, Outcome
from lockgate.mail.recipient import RecipientId
from lockgate.mail.ruling import Route
from lockgate.mail.task import Assigned, Stamp, TaskRecipient
from lockgate.mail.validation import StepName, StepOutcome, ValidationStep, failed, passed, skipped
from lockgate.policy.objects.connectors import OutboundConnector
from lockgate.policy.policy import Policy
from lockgate.seams import Clock, Courier, Examiner, Unreachable

Dress = Callable[[Policy, Assigned, bytes], Awaitable[tuple[Parcel, ...]]]
"""departure.Departure.dress, for this policy."""

_QUEUED = re.compile(r"queued (?:mail for delivery|as)?\W*([A-Za-z0-9._@-]*)|\bid=([A-Za-z0-9._-]+)", re.IGNORECASE)


class Trial(NamedTuple):
    """What is to be tried. `sender` None is the null sender; with `what_if` nothing is dialled."""

    policy: Policy
    connector: OutboundConnector
    recipients: tuple[Address, ...]
    sender: Address | None
    mail: bool
    what_if: bool = False


class Validating(msgspec.Struct, frozen=True):
    """Wired once by the app. `courier` gives a new one, which knows no connections and no sessions of before.

    `plan` is delivery's, `ask` answers what this machine knows of recipients.
    """

    examiner: Examiner
    courier: Callable[[], Courier]
    plan: Callable[[Policy, Route], NextHop | str]
    dress: Dress
    ask: Ask
    clock: Clock
    new_id: Callable[[], str]

    async def validate(self, trial: Trial) -> tuple[ValidationStep, ...]:
        """All steps, in the order in which they were taken."""
        connector = trial.connector
        if not connector.enabled:
            fix = f"Switch it on: lockgate connector enable {shlex.quote(connector.name)} --outbound"
            return (failed(StepName.SCOPE, f"the connector {connector.name} is switched off", fix),)
        steps: list[ValidationStep] = []
        aims: list[Aim] = []
        for recipient in trial.recipients:
            step, aim = aimed(trial.policy, self.ask, connector, recipient, trial.sender, self.clock.now())
            steps.append(step)
            if aim is not None:
                aims.append(aim)
        for route in dict.fromkeys(aim.route for aim in aims):
            steps += await self._by(trial, route, [aim for aim in aims if aim.route == route])
        return tuple(steps)

    async def _by(self, trial: Trial, route: Route, aims: Sequence[Aim]) -> list[ValidationStep]:
        """The steps of one next hop: a connector that uses MX has one for each domain."""
        hop = self.plan(trial.policy, route)
        if isinstance(hop, str):
            return [failed(StepName.PLAN, hop, "Mend what the sentence names; until then all mail for it waits.")]
        if trial.what_if:
            return [_would(trial, hop, aims)]
        letter = self._letter(trial, aims)
        content = letter.octets()
        envelope = Envelope(trial.sender, utf8=not content.isascii())
        targets = list(dict.fromkeys(aim.target.text for aim in aims))
        steps = list(await self.examiner.examine(hop, envelope, targets, len(content)))
        if not trial.mail:
            return steps + [_no_mail(target, "no test mail was wanted") for target in targets]
        willing = {s.recipient for s in steps if s.step is StepName.RECIPIENT and s.outcome is StepOutcome.OK}
        sent = [aim for aim in aims if aim.target.text in willing]
        steps += [_no_mail(target, "no server takes it, see above") for target in targets if target not in willing]
        if sent:
            steps += await self._send(trial, hop, route, sent, letter, content, envelope)
        return steps

    def _letter(self, trial: Trial, aims: Sequence[Aim]) -> ProofLetter:
        name = trial.connector.organisation
        author = trial.sender.text if trial.sender is not None else trial.policy.postmaster(name)
        return ProofLetter(
            self.new_id(), name, trial.connector.name, trial.sender.text if trial.sender else "", author,
            tuple([aim.target.text for aim in aims]), trial.policy.hostname, self.clock.now(),
        )  # fmt: skip

    async def _send(
        self, trial: Trial, hop: NextHop, route: Route, aims: Sequence[Aim], letter: ProofLetter, content: bytes,
        envelope: Envelope,
    ) -> list[ValidationStep]:  # fmt: skip
        """The test message, dressed and carried as what delivery carries."""
        recipients = tuple([TaskRecipient(RecipientId(a.recipient), a.target, 0, rewrite=a.rewrite) for a in aims])
        task = Assigned(
            0, letter.id, hop.lane, route, envelope, BodyRef("", 0, len(content), 0), len(content), recipients,
            letter.now, letter.now, stamp=Stamp(sign=any(aim.sign for aim in aims)),
        )  # fmt: skip
        try:
            parcels = await self.dress(trial.policy, task, content)
        except OSError as trouble:
            fix = "Mend the signing key: lockgate dkim check. Until then the organisation's mail waits."
            return [failed(StepName.TEST_MAIL, f"it cannot be signed: {trouble}", fix, recipient=a.target.text)
                    for a in aims]  # fmt: skip
        courier = self.courier()
        steps: list[ValidationStep] = []
        try:
            for parcel in parcels:
                steps += await _carried(courier, hop, letter, parcel, [aims[number] for number in parcel.recipients])
        finally:
            await courier.close()
        return steps


async def _carried(
    courier: Courier, hop: NextHop, letter: ProofLetter, parcel: Parcel, aims: Sequence[Aim]
) -> list[ValidationStep]:
    wanted = tuple([CargoRecipient(aim.target.text, notify=("NEVER",)) for aim in aims])
    cargo = Cargo(letter.id, parcel.envelope, wanted, parcel.content)
    try:
        outcomes = await courier.carry(hop, cargo, lambda delivered: None)
    except Unreachable as trouble:
        outcomes = tuple(
            [Outcome(n, Fate.DEFERRED, trouble.reply, trouble.host, trouble.tls) for n in range(len(wanted))]
        )
    return [_outcome(outcome, wanted[outcome.recipient].address, letter.id) for outcome in outcomes]


def _outcome(outcome: Outcome, recipient: str, number: str) -> ValidationStep:
    reply, queue_id = str(outcome.reply), _queue_id(outcome.reply.text)
    details = {
        "reply": reply, "queue_id": queue_id, "host": outcome.host, "tls": outcome.tls, "id": number,
        "fate": outcome.fate.value,
    }  # fmt: skip
    how = f"over {outcome.tls}" if outcome.tls else "in plain text"
    if outcome.fate is Fate.DELIVERED:
        seen = f"taken by {outcome.host} {how}: {reply}"
        return passed(StepName.TEST_MAIL, seen, recipient=recipient, **details)
    fix = (
        "Mail like this waits and is tried again; see the other side's log for the reason it gives."
        if outcome.fate is Fate.DEFERRED
        else "Mail like this is returned to its sender; have the other side accept it."
    )
    at = f" by {outcome.host}" if outcome.host else ""
    return failed(StepName.TEST_MAIL, f"not taken{at}: {reply}", fix, recipient=recipient, **details)


def _queue_id(text: str) -> str:
    """The number under which the other side keeps the message, if it says one."""
    found = _QUEUED.search(text)
    return (found[1] or found[2] or "") if found is not None else ""


def _would(trial: Trial, hop: NextHop, aims: Sequence[Aim]) -> ValidationStep:
    where = ", ".join(hop.smart_hosts) or f"the MX of {hop.mx_domain}"
    sender = trial.sender.text if trial.sender is not None else "<>"
    mail = f" and a test mail sent from {sender} to {', '.join(aim.target.text for aim in aims)}" if trial.mail else ""
    seen = f"{where} would be dialled with TLS {hop.tls.level}{mail}"
    return skipped(StepName.PLAN, seen, hosts=list(hop.smart_hosts), mx_domain=hop.mx_domain, tls=hop.tls.level.value)


def _no_mail(recipient: str, why: str) -> ValidationStep:
    return skipped(StepName.TEST_MAIL, why, recipient=recipient)
