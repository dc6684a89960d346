"""How far the envelope sender is known to be who it says: reports go to it, so this decides who is told (DESIGN 2).

The author that a reader sees is another matter (decision/authenticate.py). It proves the envelope sender only where
both are of one organisation. Specification 2.1 P7: nobody is told of mail that he may not have sent.
"""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING, NamedTuple

from lockgate.mail.authentication import Authenticated, DkimVerdict, DmarcVerdict, SpfVerdict
from lockgate.mail.facts import Facts
from lockgate.mail.findings import Question, Unknown
from lockgate.mail.ruling import Direction, Refuse, Ruling, Verdict

if TYPE_CHECKING:
    from lockgate.policy.policy import Policy

_AUTHOR_PROVEN = frozenset((DmarcVerdict.PASS, DmarcVerdict.BEST_GUESS_PASS))


class Proof(enum.StrEnum):
    """PROVEN may be told everything, UNPROVEN what its message came to after it was accepted, FORGED nothing."""

    PROVEN = "proven"
    UNPROVEN = "unproven"
    FORGED = "forged"


class Sender(NamedTuple):
    """How far the sender is known, and why, as the rest of a sentence."""

    proof: Proof
    because: str


def sender_of(facts: Facts, verdict: Verdict) -> Sender:
    """What is known of the envelope sender, as the organisation of this recipient had it found out.

    Trouble with DNS and questions that nobody asked leave it unproven. A proof wins over a failure: mail that is
    forwarded fails SPF and is still its sender's if it bears a signature of the sender's domain.
    """
    standing = verdict.standing
    if standing.direction is Direction.ORIGINATING and not standing.source:
        return Sender(Proof.PROVEN, "the message came from the organisation's own servers or people")
    envelope = facts.envelope
    if envelope is None or envelope.sender is None:
        return Sender(Proof.UNPROVEN, "the message came from the null sender")
    match facts.findings.get(standing.who_sent):
        case Authenticated() as found:
            return _known(found, envelope.sender.domain)
        case Unknown(why):
            return Sender(Proof.UNPROVEN, f"it could not be found out who sent it: {why}")
        case _:
            return Sender(Proof.UNPROVEN, "nothing proves the sender, and nobody was asked")


def to_ask(policy: Policy, facts: Facts, ruling: Ruling) -> tuple[Question, ...]:
    """What has to be found out once a message is accepted, before anybody is told: an organisation that wants senders
    proven refused a recipient before it came to ask, and the peer will not hear of it.
    """
    wanted: dict[Question, None] = {}
    for verdict in ruling.recipients:
        mine = policy.organisations.get(verdict.standing.organisation)
        if (
            isinstance(verdict.disposition, Refuse)
            and (verdict.standing.direction is not Direction.ORIGINATING or verdict.standing.source)
            and mine is not None
            and mine.anti_phishing is not None
        ):
            wanted[verdict.standing.who_sent] = None
    return tuple(question for question in wanted if question not in facts.findings)


def _known(found: Authenticated, domain: str) -> Sender:
    spf, dmarc = found.spf, found.dmarc
    if spf.verdict is SpfVerdict.PASS and spf.domain.lower() == domain:
        return Sender(Proof.PROVEN, f"SPF passed for {domain}")
    for signature in found.dkim:
        # Only who has a say in the sender's domain can sign for it; what is signed below it proves nothing.
        if signature.verdict is DkimVerdict.PASS and not signature.partial and _within(domain, signature.domain):
            return Sender(Proof.PROVEN, f"a signature of {signature.domain} passed")
    if dmarc.verdict in _AUTHOR_PROVEN and _within(domain, dmarc.organisational):
        return Sender(Proof.PROVEN, f"the author is proven, and {domain} is of the same organisation")
    unsaid = next((s for s in found.dkim if s.verdict is DkimVerdict.TEMPERROR and _within(domain, s.domain)), None)
    if unsaid is not None:
        return Sender(Proof.UNPROVEN, f"the key of {unsaid.domain} could not be asked for: {unsaid.problem}")
    if spf.verdict is SpfVerdict.FAIL and spf.domain.lower() == domain:
        return Sender(Proof.FORGED, f"SPF failed for {domain}")
    if dmarc.verdict is DmarcVerdict.FAIL:
        return Sender(Proof.FORGED, f"DMARC failed for its author {dmarc.domain}")
    return Sender(Proof.UNPROVEN, f"neither SPF nor a signature proves {domain or 'a sender without domain'}")


def _within(name: str, domain: str) -> bool:
    return bool(domain) and (name == domain or name.endswith(f".{domain}"))
