"""Is the author who it says, and if not, what does the recipient's organisation want done?

Specification 1.13.1 (honour DMARC), 1.19.3 (reasons 000 and 010 of composite authentication) and DESIGN 2: trouble with
DNS is neither a pass nor a failure. Own servers and logins are exempt: they are known by other means, and behind an own
server the true source is hidden.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from lockgate.decision.partners import choose
from lockgate.decision.stage import Depth, Either, Questions, RecipientStage, decided, refuse, told
from lockgate.mail import replies
from lockgate.mail.authentication import Authenticated, Dmarc, DmarcVerdict
from lockgate.mail.dmarc import Wish, on_trial
from lockgate.mail.facts import Facts, Point
from lockgate.mail.findings import Unknown, WhoSent
from lockgate.mail.reply import Reply
from lockgate.mail.ruling import Direction, Hit, Hold, Ruling, Step, Verdict

if TYPE_CHECKING:
    from lockgate.policy.objects.anti_phishing import AntiPhishingPolicy
    from lockgate.policy.policy import Policy

_NAME = "authenticate"
_DMARC = "DMARC"
_OWN = "own domain as author"
_UNCLEAR = "the author"
_PROVEN = frozenset({DmarcVerdict.PASS, DmarcVerdict.BEST_GUESS_PASS})


def authenticate(
    policy: Policy, facts: Facts, ruling: Ruling, verdict: Verdict, depth: Depth
) -> Verdict | Either | Questions:
    """Refuse or hold what a forged author sent; asked only where the organisation has an anti-phishing policy."""
    standing = verdict.standing
    mine = policy.organisations.get(standing.organisation)
    wanted = mine.anti_phishing if mine is not None else None
    if wanted is None or not standing.accepted_domain or facts.message is None:
        return verdict
    if standing.direction is Direction.ORIGINATING or any(
        candidate.organisation == standing.organisation for candidate in ruling.candidates
    ):
        if depth is Depth.LIVE:
            return verdict
        return told(verdict, _step(verdict, _DMARC, Hit.NO, "own servers and logged-in sessions are exempt"))
    question = WhoSent(standing.organisation)
    match facts.findings.get(question):
        case None:
            return Questions((question,))
        case Unknown(why):
            return _in_doubt(verdict, f"it could not be found out who sent it: {why}")
        case Authenticated(dmarc=dmarc) if dmarc.verdict is DmarcVerdict.TEMPERROR:
            return _in_doubt(verdict, f"DMARC for {dmarc.domain or 'its author'}: {dmarc.problem}")
        case Authenticated(dmarc=dmarc):
            return _judged(policy, facts, wanted, dmarc, verdict, depth)
    raise ValueError("who sent it was answered by something else")


def _in_doubt(verdict: Verdict, why: str) -> Either:
    """It may be in order, and it may be refused; where both come to the same, the doubt makes no difference."""
    return Either((verdict, refuse(_NAME, verdict, replies.AUTHOR_UNPROVEN, _DMARC, why, Hit.UNKNOWN)), why)


def _judged(
    policy: Policy, facts: Facts, wanted: AntiPhishingPolicy, dmarc: Dmarc, verdict: Verdict, depth: Depth
) -> Verdict:
    if dmarc.verdict is DmarcVerdict.FAIL and _wish(dmarc) != Wish.NONE:
        return _failed(wanted, dmarc, verdict)
    if not dmarc.domain:  # else a line of rubbish in the header would be the way round every domain's wish
        because = dmarc.problem or "nobody can say who it is"
        return _acted(wanted.unclear_author_action, replies.AUTHOR_UNCLEAR, _UNCLEAR, because, verdict, depth)
    if dmarc.verdict not in _PROVEN and _is_own(policy, dmarc.domain, verdict) and not _vouched(policy, facts, verdict):
        because = f"From names {dmarc.domain}, a domain of this organisation, and nothing proves it (reason 010)"
        return _acted(wanted.own_domain_spoof_action, replies.DIRECT_SEND_REFUSED, _OWN, because, verdict, depth)
    if depth is Depth.LIVE:
        return verdict
    return told(verdict, _step(verdict, _DMARC, Hit.NO, _harmless(dmarc)))


def _acted(action: str, reply: Reply, subject: str, because: str, verdict: Verdict, depth: Depth) -> Verdict:
    """What the policy wants done."""
    if action == "reject":
        return refuse(_NAME, verdict, reply, subject, because)
    if action == "quarantine":
        return _held(verdict, subject, because)
    if depth is Depth.LIVE:
        return verdict
    return told(verdict, _step(verdict, subject, Hit.YES, f"{because}; the policy lets it pass"))


def _vouched(policy: Policy, facts: Facts, verdict: Verdict) -> bool:
    """Whether a partner connector lets this session send in the organisation's name, as for the envelope (1.3)."""
    sender_domain = facts.envelope.sender_domain if facts.envelope is not None else ""
    choice = choose(policy.of(verdict.standing.organisation), facts, verdict.standing, sender_domain)
    return choice is not None and (choice.certified or choice.at_address)


def _failed(wanted: AntiPhishingPolicy, dmarc: Dmarc, verdict: Verdict) -> Verdict:
    """DMARC failed, and the domain wants something done about it (the decision table of specification 1.13.1)."""
    because = f"nothing that passed is aligned with {dmarc.domain}, and {dmarc.found_at} asks for {dmarc.wish}"
    because += f", on trial (t=y), so that {_wish(dmarc)} holds (reason 000)" if dmarc.test else " (reason 000)"
    if _wish(dmarc) == Wish.REJECT and wanted.honor_dmarc_policy and wanted.dmarc_reject_action == "reject":
        return refuse(_NAME, verdict, replies.AUTHOR_UNPROVEN, _DMARC, because)
    return _held(verdict, _DMARC, because)


def _wish(dmarc: Dmarc) -> Wish:
    """What is done for the author's domain when DMARC fails: on trial one step less than it asks for."""
    return on_trial(Wish(dmarc.wish)) if dmarc.test else Wish(dmarc.wish)


def _held(verdict: Verdict, subject: str, because: str) -> Verdict:
    return decided(verdict, Hold(f"{subject}: {because}"), _step(verdict, subject, Hit.YES, because, "held"))


def _is_own(policy: Policy, domain: str, verdict: Verdict) -> bool:
    accepted = policy.accepted(domain) if domain else None
    return accepted is not None and accepted.organisation == verdict.standing.organisation


def _harmless(dmarc: Dmarc) -> str:
    """Why nothing is done."""
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
