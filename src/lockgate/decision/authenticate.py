"""Is the author who it says, and if not, what does the recipient's organisation want done?

Specification 1.13.1 (the decision table), 1.13.3 (trusted sealers), 1.19.3 (composite authentication) and DESIGN 2:
trouble with DNS is neither a pass nor a failure. Own servers and logins are exempt: they are known by other means, and
behind an own server the true source is hidden, unless its connector says how it is found (decision/entitle.py).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockgate.decision.partners import choose
from lockgate.decision.stage import Depth, Either, Questions, RecipientStage, decided, refuse, told
from lockgate.mail import replies
from lockgate.mail.authentication import Authenticated, DmarcVerdict
from lockgate.mail.composite import Composite, CompositeVerdict, Reason, compose, explicit, wish_now
from lockgate.mail.dmarc import Wish
from lockgate.mail.facts import Facts, Point
from lockgate.mail.findings import Unknown
from lockgate.mail.reply import Reply
from lockgate.mail.ruling import Direction, Hit, Hold, Ruling, Standing, Step, Verdict

if TYPE_CHECKING:
    from lockgate.policy.objects.anti_phishing import AntiPhishingPolicy
    from lockgate.policy.policy import Policy

_NAME = "authenticate"
_DMARC = "DMARC"
_OWN = "own domain as author"
_UNCLEAR = "the author"
_COMPOSITE = "composite authentication"


def authenticate(
    policy: Policy, facts: Facts, ruling: Ruling, verdict: Verdict, depth: Depth
) -> Verdict | Either | Questions:
    """Refuse or hold what a forged author sent; asked only where the organisation has an anti-phishing policy."""
    standing = verdict.standing
    mine = policy.organisations.get(standing.organisation)
    wanted = mine.anti_phishing if mine is not None else None
    if wanted is None or not standing.accepted_domain or facts.message is None:
        return verdict
    if is_exempt(ruling, standing):
        if depth is Depth.LIVE:
            return verdict
        because = f"own servers and logged-in sessions are exempt (reason {Reason.EXEMPT})"
        return told(verdict, _step(verdict, _DMARC, Hit.NO, because))
    question = standing.who_sent
    match facts.findings.get(question):
        case None:
            return Questions((question,))
        case Unknown(why):
            return _in_doubt(verdict, f"it could not be found out who sent it: {why}")
        case Authenticated(dmarc=dmarc) if dmarc.verdict is DmarcVerdict.TEMPERROR:
            return _in_doubt(verdict, f"DMARC for {dmarc.domain or 'its author'}: {dmarc.problem}")
        case Authenticated() as found:
            composed = composed_of(policy, facts, standing, found)
            return _judged(wanted, found, composed, verdict, depth)
    raise ValueError("who sent it was answered by something else")


def is_exempt(ruling: Ruling, standing: Standing) -> bool:
    """Whether nobody asks who the author is, because own servers or people handed it over.

    What an own server passes on for others has a true source where its connector says how it is found.
    """
    if standing.internal or standing.source:
        return standing.internal
    return standing.direction is Direction.ORIGINATING or any(
        candidate.organisation == standing.organisation for candidate in ruling.candidates
    )


def composed_of(policy: Policy, facts: Facts, standing: Standing, found: Authenticated) -> Composite:
    """Composite authentication as the organisation of a recipient sees it."""
    mine = policy.of(standing.organisation)
    wanted, domain = mine.anti_phishing, found.dmarc.domain
    own = _is_own(policy, domain, standing.organisation)
    return compose(
        found,
        own=own,
        vouched=own and _vouched(policy, facts, standing),
        sealers=mine.trusted_sealers,
        implicit=wanted is None or wanted.enable_spoof_intelligence,
    )


def _in_doubt(verdict: Verdict, why: str) -> Either:
    """It may be in order, and it may be refused; where both come to the same, the doubt makes no difference."""
    return Either((verdict, refuse(_NAME, verdict, replies.AUTHOR_UNPROVEN, _DMARC, why, Hit.UNKNOWN)), why)


def _judged(
    wanted: AntiPhishingPolicy, found: Authenticated, composed: Composite, verdict: Verdict, depth: Depth
) -> Verdict:
    dmarc = found.dmarc
    if depth is Depth.FULL:
        hit = Hit.NO if composed.verdict is CompositeVerdict.FAIL else Hit.YES
        verdict = told(verdict, _step(verdict, _COMPOSITE, hit, str(composed)))
    if composed.reason is Reason.TRUSTED_SEALER:
        step = _step(verdict, "ARC", Hit.YES, f"{composed.because} (reason {composed.reason})", "taken for proven")
        return told(verdict, step)
    if explicit(dmarc) and not _lets_pass(wanted):
        return _failed(wanted, found, composed, verdict)
    if not dmarc.domain:  # else a line of rubbish in the header would be the way round every domain's wish
        because = dmarc.problem or "nobody can say who it is"
        return _acted(wanted.unclear_author_action, replies.AUTHOR_UNCLEAR, _UNCLEAR, because, verdict, depth)
    if composed.reason in (Reason.OWN_DOMAIN_FAILED, Reason.OWN_DOMAIN_UNPROVEN):
        because = f"From names {dmarc.domain}, a domain of this organisation, and nothing proves it"
        because += f" (reason {composed.reason})"
        return _acted(wanted.own_domain_spoof_action, replies.DIRECT_SEND_REFUSED, _OWN, because, verdict, depth)
    if explicit(dmarc):
        because = f"{composed}; DMARC is not honoured, and the policy lets it pass"
        return told(verdict, _step(verdict, _DMARC, Hit.YES, because))
    # With DMARC honoured, a record that asks for nothing is an answer; without one the failure is implicit.
    judged = dmarc.verdict is not DmarcVerdict.FAIL or not wanted.honor_dmarc_policy
    if composed.verdict is CompositeVerdict.FAIL and judged and wanted.authentication_fail_action == "quarantine":
        return _held(verdict, _COMPOSITE, str(composed))
    if depth is Depth.LIVE:
        return verdict
    return told(verdict, _step(verdict, _DMARC, Hit.NO, _harmless(found)))


def _acted(action: str, reply: Reply, subject: str, because: str, verdict: Verdict, depth: Depth) -> Verdict:
    """What the policy wants done."""
    if action == "reject":
        return refuse(_NAME, verdict, reply, subject, because)
    if action == "quarantine":
        return _held(verdict, subject, because)
    if depth is Depth.LIVE:
        return verdict
    return told(verdict, _step(verdict, subject, Hit.YES, f"{because}; the policy lets it pass"))


def _vouched(policy: Policy, facts: Facts, standing: Standing) -> bool:
    """Whether a partner connector lets this session send in the organisation's name, as for the envelope (1.3)."""
    sender_domain = facts.envelope.sender_domain if facts.envelope is not None else ""
    choice = choose(policy.of(standing.organisation), facts, standing, sender_domain)
    return choice is not None and (choice.certified or choice.at_address)


def _lets_pass(wanted: AntiPhishingPolicy) -> bool:
    """Whether what domains ask for by DMARC counts for nothing, and nothing else takes its place (1.13.1, row 2)."""
    lenient = wanted.enable_spoof_intelligence and wanted.authentication_fail_action == "none"
    return lenient and not wanted.honor_dmarc_policy


def _failed(wanted: AntiPhishingPolicy, found: Authenticated, composed: Composite, verdict: Verdict) -> Verdict:
    """DMARC failed, and the domain wants something done about it (the decision table of specification 1.13.1)."""
    dmarc = found.dmarc
    because = f"nothing that passed is aligned with {dmarc.domain}, and {dmarc.found_at} asks for {dmarc.wish}"
    if dmarc.test:
        because += f", on trial (t=y), so that {wish_now(dmarc)} holds"
    because += f" (reason {composed.reason})"
    if wish_now(dmarc) is Wish.REJECT and wanted.honor_dmarc_policy and wanted.dmarc_reject_action == "reject":
        return refuse(_NAME, verdict, replies.AUTHOR_UNPROVEN, _DMARC, because)
    return _held(verdict, _DMARC, because)


def _held(verdict: Verdict, subject: str, because: str) -> Verdict:
    return decided(verdict, Hold(f"{subject}: {because}"), _step(verdict, subject, Hit.YES, because, "held"))


def _is_own(policy: Policy, domain: str, organisation: str) -> bool:
    accepted = policy.accepted(domain) if domain else None
    return accepted is not None and accepted.organisation == organisation


def _harmless(found: Authenticated) -> str:
    """Why DMARC has nothing done."""
    dmarc = found.dmarc
    match dmarc.verdict:
        case DmarcVerdict.PASS:
            return f"{dmarc.domain} is proven by {', '.join(dmarc.aligned_by)}"
        case DmarcVerdict.BEST_GUESS_PASS:
            return f"{dmarc.domain} has no record; it would be proven by {', '.join(dmarc.aligned_by)}"
        case DmarcVerdict.NONE:
            return f"{dmarc.domain} has no record and asks for nothing"
        case DmarcVerdict.FAIL:
            trial = "asks for nothing"
            if dmarc.test and dmarc.wish != Wish.NONE:
                trial = f"asks for {dmarc.wish} on trial (t=y), which comes to nothing"
            return f"nothing that passed is aligned with {dmarc.domain}, and the record of {dmarc.found_at} {trial}"
    return dmarc.problem or "it cannot be said whose record would count"


def _step(verdict: Verdict, subject: str, hit: Hit, because: str, effect: str = "") -> Step:
    return Step(_NAME, subject, hit, because, effect, verdict.recipient.original.text)


STAGE = RecipientStage(_NAME, Point.DATA, authenticate)
