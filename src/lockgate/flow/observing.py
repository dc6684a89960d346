"""Watches incoming mail for reports: counts how authors fared (RFC 9990, RFC 9991), and keeps what arrives as a report.

Told of a message once its fate is known. Nothing here changes that fate or what the peer hears; organisations that
neither send reports nor read any cost two look-ups a message.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Sequence

import msgspec

from lockgate.flow.letter import LARGE
from lockgate.mail.address import AddressError, parse_address
from lockgate.mail.authentication import Authenticated, Dkim, DkimVerdict, Dmarc, DmarcVerdict, Spf, SpfVerdict
from lockgate.mail.dmarc import Wish, read_published
from lockgate.mail.facts import Facts
from lockgate.mail.findings import NOT_CERTAIN, WhoSent
from lockgate.mail.message import Message
from lockgate.mail.redaction import Discretion, Masking, Redactor
from lockgate.mail.reports.aggregate import Checked, Row
from lockgate.mail.reports.carried import LARGEST_MESSAGE
from lockgate.mail.reports.counted import DAY, Arrived, Failed, Seen
from lockgate.mail.reports.failure import FailureReport
from lockgate.mail.ruling import Hit, Hold, Refuse, Ruling, Verdict
from lockgate.mail.trace_header import mail_date
from lockgate.policy.policy import Policy
from lockgate.seams import BodyWriter, Clock, Journal

AGENT = "Lockgate"

_STAGE, _SUBJECT, _SEAL = "authenticate", "DMARC", "ARC"
_TOLD = frozenset((DmarcVerdict.PASS, DmarcVerdict.FAIL, DmarcVerdict.TEMPERROR))
_SHOWN = frozenset(
    ("from", "sender", "reply-to", "date", "message-id", "dkim-signature", "list-id", "mime-version", "content-type")
)
"""Header fields of a message that a failure report shows, addresses hidden. Never recipients, subject or path."""


class Observer(msgspec.Struct, frozen=True):
    """Wired once by each worker.

    `seen` and `failed` count; `keep` puts a letter where reports are read, and says whether there was room.
    `discretion` and `key` hide addresses.
    """

    seen: Callable[[Seen], None]
    failed: Callable[[Failed, int], None]
    keep: Callable[[Arrived], bool]
    clock: Clock
    journal: Journal
    discretion: Discretion
    key: bytes

    async def copied(self, policy: Policy, ruling: Ruling, body: BodyWriter, prefix: int) -> bytes | None:
        """The message as it came, if somebody reads it as a report; before the body is finished. Never raises."""
        try:
            if not any(_reads(policy, verdict) for verdict in ruling.recipients):
                return None
            if body.size - prefix > LARGEST_MESSAGE:
                self.journal.note("report not read", because=f"a message of {body.size - prefix} octets is no report")
                return None
            whole = body.octets() if body.size <= LARGE else await asyncio.to_thread(body.octets)
            return whole[prefix:]
        except Exception as trouble:
            self.journal.alarm("unforeseen", at="keeping a report", trouble=trouble)
            return None

    def done(self, policy: Policy, facts: Facts, ruling: Ruling, copy: bytes | None = None) -> None:
        """The message was accepted, or refused for good. Never raises."""
        try:
            for organisation in dict.fromkeys([verdict.standing.organisation for verdict in ruling.recipients]):
                mine = policy.organisations.get(organisation)
                wanted = mine.anti_phishing if mine is not None else None
                if wanted is not None and (wanted.send_aggregate_reports or wanted.send_failure_reports):
                    for verdicts in _by_source(ruling, organisation):
                        self._count(policy, facts, verdicts)
            if copy is not None:
                self._pass_on(policy, facts, ruling, copy)
        except Exception as trouble:
            self.journal.alarm("unforeseen", at="counting for reports", trouble=trouble)

    def _count(self, policy: Policy, facts: Facts, verdicts: Sequence[Verdict]) -> None:
        """Count for recipients of one organisation for whom the message has the same source."""
        organisation, question = verdicts[0].standing.organisation, verdicts[0].standing.who_sent
        found = facts.findings.get(question)
        if not isinstance(found, Authenticated) or all(_reads(policy, verdict) for verdict in verdicts):
            return  # reports about reports would never end
        dmarc, wanted = found.dmarc, policy.organisations[organisation].anti_phishing
        if wanted is None or not dmarc.found_at or dmarc.verdict not in _TOLD:
            return
        disposition, reasons = fate(dmarc, verdicts)
        if wanted.send_aggregate_reports and dmarc.reports:
            row = row_of(facts, found, disposition, reasons, source_of(facts, question))
            self.seen(Seen(organisation, int(facts.at) // DAY, dmarc.found_at, dmarc.published, row))
        if wanted.send_failure_reports and dmarc.verdict is DmarcVerdict.FAIL and may_be_shown(facts, found):
            redactor = hiding(self.discretion(organisation), self.key)
            source = source_of(facts, question)
            report = failure_of(facts, found, disposition, redactor, policy.hostname, source)
            failed = Failed(organisation, facts.at, dmarc.found_at, report)
            self.failed(failed, wanted.failure_reports_per_hour)

    def _pass_on(self, policy: Policy, facts: Facts, ruling: Ruling, copy: bytes) -> None:
        message = facts.message.id if facts.message is not None else ""
        for organisation in dict.fromkeys([v.standing.organisation for v in ruling.recipients if _reads(policy, v)]):
            question = next(v.standing.who_sent for v in ruling.recipients if v.standing.organisation == organisation)
            found = facts.findings.get(question)
            proof = f", {found.dmarc.domain}: DMARC {found.dmarc.verdict}" if isinstance(found, Authenticated) else ""
            origin = f"message {message} from {facts.connection.peer}{proof}"
            if not self.keep(Arrived(organisation, self.clock.now(), origin, copy)):
                self.journal.note("report not read", id=message, because="too many wait, or the disk is full")


def _reads(policy: Policy, verdict: Verdict) -> bool:
    """Whether this recipient's mail is read as reports."""
    mine = policy.organisations.get(verdict.standing.organisation)
    named = mine.organisation.report_addresses if mine is not None else ()
    if not named or isinstance(verdict.disposition, Refuse):
        return False
    keys = _keys(named)
    return verdict.recipient.original.key in keys or verdict.target.key in keys


@functools.lru_cache(maxsize=1024)
def _keys(named: tuple[str, ...]) -> frozenset[str]:
    keys = set[str]()
    for text in named:
        try:
            keys.add(parse_address(text, utf8=True).key)
        except AddressError:  # the policy was checked; an address of another version is nobody's
            continue
    return frozenset(keys)


# --- what is told -------------------------------------------------------------------------------------------------


def fate(dmarc: Dmarc, verdicts: Sequence[Verdict]) -> tuple[str, tuple[tuple[str, str], ...]]:
    """What was done because of DMARC (RFC 9990: none, pass, quarantine, reject), and why something else was wanted.

    The strictest of what became of the recipients: a reader of the report wants to know whether mail was lost.
    """
    if dmarc.verdict is DmarcVerdict.PASS:
        return ("none" if dmarc.wish == Wish.NONE else "pass"), ()
    done = "none"
    for verdict in verdicts:
        if not _led_to(verdict, _SUBJECT):
            continue
        if isinstance(verdict.disposition, Refuse):
            done = "reject"
        elif isinstance(verdict.disposition, Hold) and done == "none":
            done = "quarantine"
    if dmarc.verdict is DmarcVerdict.TEMPERROR:
        return done, (("other", "DNS did not answer, so it is not known whether the author is proven"),)
    if done == dmarc.wish:
        return done, ()
    if dmarc.test:
        return done, (("policy_test_mode", ""),)
    if done == "none" and any(_led_to(verdict, _SEAL) for verdict in verdicts):
        return done, (("trusted_forwarder", "the seal of a trusted forwarder says that the author was proven"),)
    words = {"none": "delivered", "quarantine": "held for review", "reject": "refused"}
    return done, (("local_policy", f"{words[done]} by local policy"),)


def _led_to(verdict: Verdict, subject: str) -> bool:
    return any(step.stage == _STAGE and step.subject == subject and step.hit is Hit.YES for step in verdict.steps)


def source_of(facts: Facts, question: WhoSent) -> str:
    """The address that is told as the source: the true one behind a gateway, if that is certain, else the peer's."""
    return facts.connection.peer if question.source in ("", NOT_CERTAIN) else question.source


def _by_source(ruling: Ruling, organisation: str) -> list[list[Verdict]]:
    """The recipients of the organisation, apart where the message has another source for them."""
    parts: dict[WhoSent, list[Verdict]] = {}
    for verdict in ruling.recipients:
        if verdict.standing.organisation == organisation:
            parts.setdefault(verdict.standing.who_sent, []).append(verdict)
    return list(parts.values())


def row_of(
    facts: Facts, found: Authenticated, disposition: str, reasons: tuple[tuple[str, str], ...], source: str
) -> Row:
    """The row of one message. The recipient is not part of it: whom somebody writes to is nobody's business."""
    dmarc, spf = found.dmarc, found.spf
    sender = facts.envelope.sender_domain if facts.envelope is not None else ""
    signatures = tuple(
        [Checked(one.domain[:255], one.verdict.value, one.selector[:255]) for one in found.dkim if _nameable(one)][:10]
    )
    # A check of the HELO name (null sender) has no word in RFC 9990, so no scope is claimed for it.
    senders = (Checked(spf.domain[:255], spf.verdict.value, scope="mfrom" if sender else ""),) if spf.domain else ()
    return Row(
        source=source,
        count=1,
        disposition=disposition,
        dkim=_aligned(dmarc, "dkim="),
        spf=_aligned(dmarc, "spf"),
        header_from=dmarc.domain,
        envelope_from=sender,
        reasons=reasons,
        signatures=signatures,
        senders=senders,
    )


def _nameable(one: Dkim) -> bool:
    return bool(one.domain and one.selector)


def _aligned(dmarc: Dmarc, how: str) -> str:
    return "pass" if any(name.startswith(how) for name in dmarc.aligned_by) else "fail"


# --- failures -----------------------------------------------------------------------------------------------------


def may_be_shown(facts: Facts, found: Authenticated) -> bool:
    """Whether the domain asked to be told of this failure (fo=), and telling it cannot go round in circles."""
    message, envelope = facts.message, facts.envelope
    if message is None or envelope is None or envelope.sender is None or _automatic(message):
        return False
    options = set(read_published(found.dmarc.published).options.split(":")) or {"0"}
    if options & {"0", "1"}:
        return True  # nothing is aligned, which is what both ask about
    signed = any(one.verdict in (DkimVerdict.FAIL, DkimVerdict.PERMERROR, DkimVerdict.POLICY) for one in found.dkim)
    return ("d" in options and signed) or ("s" in options and _spf_failed(found.spf))


def _spf_failed(spf: Spf) -> bool:
    return spf.verdict in (SpfVerdict.FAIL, SpfVerdict.SOFTFAIL, SpfVerdict.PERMERROR)


def _automatic(message: Message) -> bool:
    """Reports and automatic answers (RFC 3834 5) are never reported on."""
    for name, value in message.fields:
        lower, text = name.lower(), value.strip().lower()
        if lower == "auto-submitted" and not text.startswith("no"):
            return True
        if lower == "content-type" and text.startswith(("multipart/report", "message/feedback-report")):
            return True
    return False


def hiding(redactor: Redactor | None, key: bytes) -> Redactor:
    """What hides at least local parts and subjects: a failure report leaves the house."""
    level = redactor.masking if redactor is not None and redactor.masking is Masking.ALL else Masking.LOCAL_PARTS
    return Redactor(level, subjects=False, facts=False, key=key)


def failure_of(
    facts: Facts, found: Authenticated, disposition: str, redactor: Redactor, hostname: str, source: str
) -> FailureReport:
    """What is told of one message that failed (RFC 9991 4), every address in it hidden; `hostname` is our name."""
    envelope, message = facts.envelope, facts.message
    dmarc, signed = found.dmarc, next((one for one in found.dkim if one.domain), None)
    results = [hostname, f"dmarc={dmarc.verdict.value} header.from={dmarc.domain}", f"spf={found.spf.verdict.value}"]
    results += [f"dkim={one.verdict.value} header.d={one.domain[:100]}" for one in found.dkim[:3]]
    delivery = {"reject": "reject", "quarantine": "policy"}.get(disposition, "delivered")
    shown = [
        (name, redactor.text(value)[:500])
        for name, value in (message.fields if message is not None else ())
        if name.lower() in _SHOWN
    ]
    return FailureReport(
        reporter="",
        report_id="",
        kind="auth-failure",
        domain=dmarc.domain,
        source=source,
        failure="dmarc",
        delivery=delivery,
        mail_from=redactor.address(envelope.sender_text) if envelope is not None else "",
        arrival=mail_date(facts.at),
        alignment="none",
        dkim_domain=signed.domain[:255] if signed is not None else "",
        dkim_selector=signed.selector[:255] if signed is not None else "",
        results="; ".join(results),
        agent=AGENT,
        headers=tuple(shown[:40]),
    )
