"""What a watched attempt to open a session tells, step by step, and which step it was that failed."""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence

from lockgate.couriers.hosts import Target
from lockgate.couriers.papers import certificate_steps
from lockgate.couriers.proofs import dane_step, sts_step
from lockgate.couriers.settings import CourierSettings
from lockgate.couriers.tls import Assurance
from lockgate.couriers.witness import Attempt, Witness
from lockgate.mail import replies
from lockgate.mail.hop import NextHop
from lockgate.mail.reply import Reply
from lockgate.mail.ruling import TlsLevel
from lockgate.mail.validation import StepName, StepOutcome, ValidationStep, failed, passed, skipped
from lockgate.seams import Clock, Unreachable
from lockgate.wire.smtp.client import Phase, TlsUse

_ORDER = (StepName.DIAL, StepName.EHLO, StepName.STARTTLS, StepName.CHAIN, StepName.NAME, StepName.DANE,
          StepName.MTA_STS, StepName.CLIENT_CERTIFICATE, StepName.LOGIN, StepName.RECIPIENT)  # fmt: skip

_NO_WAY = (errno.ENETUNREACH, errno.EHOSTUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""This machine has no way to such an address at all: it has no IPv6, as a rule."""

_FIXES = {
    StepName.DIAL: "See that the server runs and that firewalls on both sides let this machine reach its port.",
    StepName.EHLO: "The other side's administrator sees in the server's log why it refuses us; our address or name "
    "may have to be allowed there.",
    StepName.STARTTLS: "Have the other side offer STARTTLS with a certificate and TLS 1.2 or newer; or, if plain text "
    'is acceptable to both, set tls_settings = "opportunistic".',
    StepName.CLIENT_CERTIFICATE: "Set certificate_file and key_file of the connector to a certificate that the other "
    "side accepts.",
    StepName.LOGIN: "Check login_user and login_secret of the connector with the other side.",
    StepName.PLAN: "Mend the file named; the service's account must be able to read it.",
}


def opened(
    hop: NextHop, target: Target, witness: Witness, assurance: Assurance, settings: CourierSettings, clock: Clock
) -> list[ValidationStep]:
    """The steps of a session in which a transaction may begin."""
    attempt = witness.attempts[-1]
    steps = [_dialled(attempt, target), _greeted(attempt, target), _secured(attempt, target, witness)]
    steps += certificate_steps(hop, attempt, assurance, settings, clock)
    steps += [dane_step(hop, witness, assurance, target), sts_step(hop, witness, assurance, target)]
    steps.append(_client_certificate(hop, attempt, target, settings))
    steps.append(_logged_in(hop, target))
    return steps


def unopened(
    hop: NextHop, target: Target, witness: Witness, trouble: Unreachable, assurance: Assurance,
    settings: CourierSettings, clock: Clock, recipients: Sequence[str],
) -> list[ValidationStep]:  # fmt: skip
    """The steps of a session that did not come about: those before, the one that failed, those not reached."""
    server, reply = str(target), trouble.reply
    if witness.terms.refused is not None:
        return _refused_by_terms(hop, target, witness, assurance, recipients)
    if not witness.attempts:
        # Nothing was dialled: a file or a secret of ours is out of order, or the name led elsewhere meanwhile.
        where = StepName.LOGIN if reply.text.startswith(replies.SECRET_MISSING.text) else StepName.PLAN
        first = failed(where, reply.text, _FIXES[where], server=server)
        return [first, *_not_reached(StepName.PLAN, server, recipients)]
    attempt = witness.attempts[-1]
    where = _where(attempt, reply)
    steps: list[ValidationStep] = []
    if where is StepName.DIAL:
        heard = attempt.answer(Phase.GREETING)
        details = {"greeting": _text(heard.reply())} if heard is not None else {}
        seen = reply.text
        if attempt.errno and (word := os.strerror(attempt.errno)) not in seen:
            seen = f"{seen} ({word})"
        away = attempt.errno in _NO_WAY
        steps.append(failed(where, seen, _FIXES[where], server=server, no_way=away, **details))
        return steps + _not_reached(where, server, recipients)
    steps.append(_dialled(attempt, target))
    if where is StepName.EHLO and not attempt.tls:
        steps.append(failed(where, reply.text, _FIXES[where], server=server))
        return steps + _not_reached(where, server, recipients)
    steps.append(_greeted(attempt, target))
    if where is StepName.STARTTLS:
        steps.append(failed(where, reply.text, _starttls_fix(hop), server=server, level=hop.tls.level.value))
        return steps + _not_reached(where, server, recipients)
    if where is StepName.CLIENT_CERTIFICATE and not attempt.tls:
        steps.append(skipped(StepName.STARTTLS, "the handshake did not come to its end", server=server))
        steps.append(failed(where, _unshown(hop, settings, reply), _FIXES[where], server=server, asked=True))
        return steps + _not_reached(where, server, recipients)
    steps.append(_secured(attempt, target, witness))
    papers = certificate_steps(hop, attempt, assurance, settings, clock)
    beyond = [dane_step(hop, witness, assurance, target), sts_step(hop, witness, assurance, target)]
    steps += [*papers, *beyond] if not _on_papers(where) else _blamed([*papers, *beyond], reply, server)
    if _on_papers(where):
        return steps + _not_reached(StepName.MTA_STS, server, recipients)
    if where is StepName.CLIENT_CERTIFICATE:
        steps.append(failed(where, _unshown(hop, settings, reply), _FIXES[where], server=server, asked=True))
        return steps + _not_reached(where, server, recipients)
    steps.append(_client_certificate(hop, attempt, target, settings))
    steps.append(failed(where, reply.text, _FIXES[where], server=server))
    return steps + _not_reached(StepName.LOGIN, server, recipients)


def _refused_by_terms(
    hop: NextHop, target: Target, witness: Witness, assurance: Assurance, recipients: Sequence[str]
) -> list[ValidationStep]:
    """DNS or the domain forbids to dial this server at all."""
    server = str(target)
    steps = [
        skipped(StepName.DIAL, "not dialled, because of what follows", server=server),
        dane_step(hop, witness, assurance, target),
        sts_step(hop, witness, assurance, target),
    ]
    return steps + _not_reached(StepName.MTA_STS, server, recipients)


def _blamed(steps: list[ValidationStep], reply: Reply, server: str) -> list[ValidationStep]:
    """The same, with the refusal told in delivery's words where none of the steps explains it.

    So nothing that delivery refuses ever looks well here.
    """
    if any(step.outcome is StepOutcome.FAILED for step in steps):
        return steps
    fix = "Compare what is demanded with what the server shows, in the steps around this one."
    first = failed(StepName.CHAIN, reply.text, fix, server=server, **steps[0].details)
    return [first, *steps[1:]]


def _on_papers(where: StepName) -> bool:
    return where in (StepName.CHAIN, StepName.NAME, StepName.PIN)


_ABOUT_TLS = (replies.tls_missing("", "").enhanced, replies.tls_failed("", "").enhanced)
"""Of refusals in clear; STARTTLS may have had no answer at all."""


def _where(attempt: Attempt, reply: Reply) -> StepName:
    """At which step the attempt ended, by how far the conversation had come."""
    if attempt.seconds is None or not attempt.heard:
        return StepName.DIAL
    phase = attempt.heard[-1][0]
    under_tls = any(secure for _, secure, _ in attempt.heard)
    if not attempt.tls:
        if phase is Phase.STARTTLS and attempt.asked:
            return StepName.CLIENT_CERTIFICATE
        if phase is Phase.STARTTLS or reply.enhanced in _ABOUT_TLS:
            return StepName.STARTTLS
        if reply.text == replies.LOGIN_IMPOSSIBLE.text:
            return StepName.LOGIN
        return StepName.DIAL if phase is Phase.GREETING else StepName.EHLO
    if not under_tls:
        # Only the demand on the certificate ends a session here with a word about security (RFC 3463 X.7).
        if reply.enhanced.startswith("4.7."):
            return StepName.CHAIN
        return StepName.CLIENT_CERTIFICATE if attempt.asked else StepName.STARTTLS
    if phase is Phase.LOGIN or reply.text == replies.LOGIN_IMPOSSIBLE.text:
        return StepName.LOGIN
    return StepName.EHLO


def _dialled(attempt: Attempt, target: Target) -> ValidationStep:
    milliseconds = round((attempt.seconds or 0.0) * 1000)
    greeting = attempt.answer(Phase.GREETING)
    said = _text(greeting.reply()) if greeting is not None else ""
    seen = f"connected in {milliseconds} ms; it says: {said}"
    return passed(StepName.DIAL, seen, server=str(target), milliseconds=milliseconds, greeting=said)


def _greeted(attempt: Attempt, target: Target) -> ValidationStep:
    """What the server offers, in clear and under TLS."""
    offers: dict[bool, list[str]] = {}
    for phase, secure, answer in attempt.heard:
        if phase is Phase.HELLO and answer.good:
            offers[secure] = [replies.clean(line.decode("utf-8", "replace")) for line in answer.lines[1:]]
    shown = offers.get(True, offers.get(False, []))
    under = "under TLS" if True in offers else "in clear"
    seen = f"it offers {under}: {', '.join(shown) or 'nothing'}"
    return passed(
        StepName.EHLO, seen, server=str(target), offered_in_clear=offers.get(False, []), offered=offers.get(True, [])
    )


def _secured(attempt: Attempt, target: Target, witness: Witness) -> ValidationStep:
    server = str(target)
    if attempt.tls:
        return passed(StepName.STARTTLS, attempt.tls, server=server, tls=attempt.tls)
    if attempt.use is TlsUse.NEVER and len(witness.attempts) > 1:
        why = witness.attempts[-2].why or "the handshake failed"
        fix = "Have the other side mend its TLS: mail to it can be read on the way."
        return skipped(StepName.STARTTLS, f"{why}; mail goes in plain text", fix=fix, server=server, tls="")
    fix = "Have the other side offer STARTTLS: mail to it can be read on the way."
    refused = attempt.answer(Phase.STARTTLS)
    said = f"STARTTLS was refused ({refused.reply()})" if refused is not None else "STARTTLS is not offered"
    return skipped(StepName.STARTTLS, f"{said}; mail goes in plain text", fix=fix, server=server, tls="")


def _starttls_fix(hop: NextHop) -> str:
    if hop.tls.level is TlsLevel.OPPORTUNISTIC:
        return "Somebody between us and the server changes what is said; look at the firewalls on the way."
    return _FIXES[StepName.STARTTLS]


def _client_certificate(
    hop: NextHop, attempt: Attempt, target: Target, settings: CourierSettings
) -> ValidationStep:
    step, server = StepName.CLIENT_CERTIFICATE, str(target)
    if not attempt.asked:
        return skipped(step, "the server does not ask for our certificate", server=server, asked=False)
    if file := hop.tls.certificate or settings.certificate:
        return passed(step, f"the server asked, and was shown {file}", server=server, asked=True, file=file)
    return passed(step, "the server asked; we have none, and it went on", server=server, asked=True, file="")


def _unshown(hop: NextHop, settings: CourierSettings, reply: Reply) -> str:
    file = hop.tls.certificate or settings.certificate
    what = f"was shown {file}" if file else "we have none"
    return f"the server asked for our certificate, {what}, and ended the session: {reply.text}"


def _logged_in(hop: NextHop, target: Target) -> ValidationStep:
    if hop.login is None:
        return skipped(StepName.LOGIN, "the connector has no login", server=str(target))
    return passed(StepName.LOGIN, f"logged in as {hop.login.user}", server=str(target), user=hop.login.user)


def _not_reached(after: StepName, server: str, recipients: Sequence[str]) -> list[ValidationStep]:
    """The steps behind the one that failed."""
    begin = _ORDER.index(after) + 1 if after in _ORDER else 0
    rest = [step for step in _ORDER[begin:] if step is not StepName.RECIPIENT]
    told = [skipped(step, "not reached", server=server) for step in rest]
    return told + [skipped(StepName.RECIPIENT, "not reached", server=server, recipient=one) for one in recipients]


def _text(reply: Reply) -> str:
    return f"{reply.code} {reply.text}".strip()
