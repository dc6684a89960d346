"""Looks every server of a next hop over: resolved, dialled and secured by delivery's own code, watched while it works.

Nothing is judged here a second time: whether a session may begin is what `dial.Dialler` says, and what is told of a
certificate comes from `tls.Assurance`. A server that passes here is one that delivery would use at this moment.
"""

from __future__ import annotations

import asyncio
import functools
import random
from collections.abc import Callable, Sequence

from lockgate.couriers.dial import Dialler
from lockgate.couriers.hosts import Target
from lockgate.couriers.link import Link
from lockgate.couriers.opened import opened, unopened
from lockgate.couriers.resolved import resolved
from lockgate.couriers.settings import CourierSettings
from lockgate.couriers.tls import Assurance
from lockgate.couriers.witness import Witness
from lockgate.mail.envelope import Body, Envelope
from lockgate.mail.hop import CargoRecipient, NextHop
from lockgate.mail.validation import StepName, StepOutcome, ValidationStep, failed, passed, skipped
from lockgate.seams import Clock, Resolver, StsPolicies, Unreachable
from lockgate.wire.smtp.client import mail_command, rcpt_command
from lockgate.wire.smtp.inquiry import Inquiry

MOST_SERVERS = 40
"""Addresses that are looked at; what is beyond is told."""

AT_ONCE = 10
"""Servers that are looked at at the same time."""


class SmtpExaminer:
    """Implements seams.Examiner. `resolver` gives one for each examination, which remembers nothing of earlier ones.

    `sts` knows what domains demand by MTA-STS (None: nobody is asked), as delivery has it.
    """

    def __init__(
        self,
        resolver: Callable[[], Resolver],
        settings: CourierSettings,
        clock: Clock,
        *,
        chance: random.Random | None = None,
        sts: StsPolicies | None = None,
    ) -> None:
        self._resolver = resolver
        self._settings = settings
        self._clock = clock
        self._chance = chance or random.SystemRandom()
        self._sts = sts

    async def examine(
        self, hop: NextHop, envelope: Envelope, recipients: Sequence[str], size: int
    ) -> tuple[ValidationStep, ...]:
        """See Examiner."""
        resolver = self._resolver()
        steps, found = await resolved(hop, resolver, self._settings, self._chance)
        looked_at = found[:MOST_SERVERS]
        places = asyncio.Semaphore(AT_ONCE)

        async def one(target: Target) -> list[ValidationStep]:
            async with places:
                others = {other for other in found if other != target}
                return await self._server(hop, target, others, resolver, envelope, recipients, size)

        told = await asyncio.gather(*[one(target) for target in looked_at])
        found_steps = [*steps, *_reachable(told)]
        if rest := len(found) - len(looked_at):
            found_steps.append(skipped(StepName.DIAL, f"{rest} more addresses were not tried; {MOST_SERVERS} were"))
        return tuple(found_steps)

    async def _server(
        self, hop: NextHop, target: Target, others: set[Target], resolver: Resolver,
        envelope: Envelope, recipients: Sequence[str], size: int,
    ) -> list[ValidationStep]:  # fmt: skip
        """All steps with one server, by a dialler of its own: no kept connection, no resumed session."""
        witness, settings = Witness(), self._settings
        dialler = Dialler(resolver, settings, self._clock, self._chance, sts=self._sts, witness=witness)
        assurance = Assurance(
            settings.ca_bundle, settings.crl_file, settings.certificate, settings.key, self._clock
        )
        try:
            link = await dialler.dial(hop, functools.partial(_parted), others)
        except Unreachable as trouble:
            return unopened(hop, target, witness, trouble, assurance, settings, self._clock, recipients)
        steps = opened(hop, target, witness, assurance, settings, self._clock)
        try:
            steps += [await _asked(link, target, envelope, recipient, size) for recipient in recipients]
        finally:
            link.quit()
        return steps


def _parted(link: Link) -> None:
    """Nobody waits for the end of these connections."""


async def _asked(link: Link, target: Target, envelope: Envelope, recipient: str, size: int) -> ValidationStep:
    """Would the server take this recipient of this sender? The commands are those of delivery."""
    server, offered = str(target), link.opening.offered
    utf8 = envelope.utf8 or not recipient.isascii()
    if utf8 and not offered.utf8:
        seen = "the server takes no internationalised addresses (SMTPUTF8)"
        return failed(StepName.RECIPIENT, seen, "Take an address in ASCII.", server=server, recipient=recipient)
    try:
        inquiry = Inquiry(
            rcpt_command(CargoRecipient(recipient), offered),
            reset=link.unclean,
            mail=mail_command(envelope, offered, size, eight_bit=envelope.body is not Body.SEVEN_BIT, utf8=utf8),
        )
    except ValueError as trouble:
        return failed(StepName.RECIPIENT, str(trouble), "Correct the address.", server=server, recipient=recipient)
    lost = "" if link.usable else link.lost or "it is shutting down"
    if not lost:
        link.unclean = False
        link.begin(inquiry, lambda: None)
        await link.wait()
        lost = link.lost
        link.unclean = inquiry.unclean
    if inquiry.mail is None:
        seen = f"the server hung up before it answered MAIL: {lost or 'it is shutting down'}"
        return failed(StepName.RECIPIENT, seen, _HUNG_UP, server=server, recipient=recipient)
    if not inquiry.mail.good:
        reply = inquiry.mail.reply()
        seen = f"MAIL FROM:<{envelope.sender_text}> was answered {reply}"
        fix = "The other side refuses this sender: have it allowed there, or say another one (--from)."
        return failed(StepName.RECIPIENT, seen, fix, server=server, recipient=recipient, mail=str(reply))
    if inquiry.rcpt is None:
        seen = f"the server hung up before it answered RCPT: {lost or 'it is shutting down'}"
        return failed(StepName.RECIPIENT, seen, _HUNG_UP, server=server, recipient=recipient)
    reply = inquiry.rcpt.reply()
    seen = f"RCPT TO:<{recipient}> was answered {reply}"
    details = {"mail": str(inquiry.mail.reply()), "rcpt": str(reply)}
    if inquiry.rcpt.good:
        return passed(StepName.RECIPIENT, seen, server=server, recipient=recipient, **details)
    fix = _LATER if reply.temporary else _REFUSED
    return failed(StepName.RECIPIENT, seen, fix, server=server, recipient=recipient, **details)


_HUNG_UP = "Look into the other server's log for our connection; it ends sessions without a reason."
_LATER = "Try again in a few minutes: many servers put unknown senders off at first (greylisting)."
_REFUSED = "Have the other side accept the address, or relay for us; or say another recipient (--to)."


def _reachable(servers: Sequence[list[ValidationStep]]) -> list[ValidationStep]:
    """All steps; an address that this machine has no way to (IPv6) is no failure if the same server has another."""
    well = {
        step.server.partition("[")[0]
        for steps in servers for step in steps
        if step.step is StepName.DIAL and step.outcome is StepOutcome.OK
    }  # fmt: skip
    told: list[ValidationStep] = []
    for steps in servers:
        first = steps[0]
        if first.details.get("no_way") and first.server.partition("[")[0] in well:
            fix = 'Mail takes its other addresses; address_family = "ipv4" on the connector spares the attempt.'
            told.append(skipped(StepName.DIAL, f"{first.seen} (this machine has no way there)", fix=fix,
                                server=first.server))  # fmt: skip
        else:
            told += steps
    return told
