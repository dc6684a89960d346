"""Composite authentication: one verdict on the author out of SPF, DKIM, DMARC and ARC (specification 1.19.3).

It decides nothing by itself: policies say what follows, and readers of Authentication-Results see `compauth`.
"""

from __future__ import annotations

import enum
from collections.abc import Set as AbstractSet

import msgspec

from lockgate.mail.authentication import Arc, ArcVerdict, Authenticated, Dkim, DkimVerdict, Dmarc, DmarcVerdict
from lockgate.mail.dmarc import Wish, on_trial
from lockgate.mail.sealed_results import says_author_passed


class CompositeVerdict(enum.StrEnum):
    """The values of compauth."""

    PASS = "pass"
    FAIL = "fail"
    SOFT_PASS = "softpass"
    NONE = "none"


class Reason(enum.StrEnum):
    """The codes behind a verdict; the first digit is the specification's, the others tell ours apart.

    1 proven, 2 proven by means that prove little, 3 not checked, 4 exempt, 6 an own domain failed where nothing is
    demanded; 000, 001 and 010 as the specification names them, 130 is the word of a trusted sealer.
    """

    DMARC_FAILED = "000"
    NOTHING_PUBLISHED = "001"
    OWN_DOMAIN_FAILED = "010"
    BOTH_ALIGNED = "100"
    SIGNATURE_ALIGNED = "101"
    SPF_ALIGNED = "102"
    ALIGNED_WITHOUT_RECORD = "109"
    TRUSTED_SEALER = "130"
    WEAK_SIGNATURE = "201"
    NOT_JUDGED = "300"
    NOT_FOUND_OUT = "301"
    EXEMPT = "400"
    VOUCHED = "401"
    OWN_DOMAIN_UNPROVEN = "601"


class Composite(msgspec.Struct, frozen=True):
    """The verdict, its code, and the same as the rest of a sentence for people."""

    verdict: CompositeVerdict
    reason: Reason
    because: str

    def __str__(self) -> str:
        return f"{self.verdict} (reason {self.reason}): {self.because}"

    @property
    def proven(self) -> bool:
        """Whether the author is who it says, as far as anybody can know."""
        return self.verdict is CompositeVerdict.PASS


def compose(
    found: Authenticated,
    *,
    own: bool = False,
    vouched: bool = False,
    sealers: AbstractSet[str] = frozenset(),
    implicit: bool = True,
) -> Composite:
    """What these results come to.

    `own`: the author's domain is one of the organisation; `vouched`: a connector lets this session write in its name;
    `sealers`: the domains (A-labels) whose seals the organisation trusts; `implicit`: whether an author whose domain
    demands nothing is judged too (spoof intelligence).
    """
    dmarc = found.dmarc
    if dmarc.verdict is DmarcVerdict.PASS:
        return _proven(dmarc)
    if dmarc.verdict is DmarcVerdict.BEST_GUESS_PASS:
        because = f"{dmarc.domain} has no record; {_by(dmarc)} is aligned with it"
        return Composite(CompositeVerdict.PASS, Reason.ALIGNED_WITHOUT_RECORD, because)
    if dmarc.verdict is DmarcVerdict.TEMPERROR:
        because = f"it could not be found out ({dmarc.problem})"
        return Composite(CompositeVerdict.NONE, Reason.NOT_FOUND_OUT, because)
    if trusts(found.arc, sealers) and says_author_passed(found.arc.results, dmarc.domain):
        because = f"{found.arc.sealer}, whose seals are trusted, found {dmarc.domain} proven"
        return Composite(CompositeVerdict.PASS, Reason.TRUSTED_SEALER, because)
    if vouched and not explicit(dmarc):
        because = f"a connector lets this peer write in the name of {dmarc.domain}"
        return Composite(CompositeVerdict.NONE, Reason.VOUCHED, because)
    return _failed(found, own=own, implicit=implicit)


def trusts(arc: Arc, sealers: AbstractSet[str]) -> bool:
    """Whether the chain holds, and its last seal and message signature are those of trusted domains (1.13.3)."""
    return arc.verdict is ArcVerdict.PASS and arc.sealer in sealers and arc.signer in sealers


def explicit(dmarc: Dmarc) -> bool:
    """Whether DMARC failed and the author's domain wants something done about it."""
    return dmarc.verdict is DmarcVerdict.FAIL and wish_now(dmarc) is not Wish.NONE


def wish_now(dmarc: Dmarc) -> Wish:
    """What the author's domain wants to be done now: one step less where its record is on trial."""
    wish = Wish(dmarc.wish)
    return on_trial(wish) if dmarc.test else wish


def action_of(dmarc: Dmarc, *, proven: bool, held: bool) -> str:
    """The value of action= for a message that is not refused (specification 1.19.3).

    `oreject`: the domain asks for rejection, and another word stood above it; `quarantine`: it asks for quarantine and
    gets it.
    """
    if not explicit(dmarc):
        return "none"
    if wish_now(dmarc) is Wish.REJECT:
        return "oreject"
    return "quarantine" if held and not proven else "none"


def _proven(dmarc: Dmarc) -> Composite:
    spf = "spf" in dmarc.aligned_by
    signed = any(one != "spf" for one in dmarc.aligned_by)
    reason = Reason.SIGNATURE_ALIGNED if signed else Reason.SPF_ALIGNED
    if spf and signed:
        reason = Reason.BOTH_ALIGNED
    return Composite(CompositeVerdict.PASS, reason, f"{dmarc.domain} is proven by {_by(dmarc)}")


def _failed(found: Authenticated, *, own: bool, implicit: bool) -> Composite:
    dmarc = found.dmarc
    if not dmarc.domain:
        because = dmarc.problem or "nobody can say who the author is"
        return Composite(CompositeVerdict.FAIL, Reason.NOTHING_PUBLISHED, because)
    unaligned = f"nothing that passed is aligned with {dmarc.domain}"
    if own:
        reason = Reason.OWN_DOMAIN_FAILED if dmarc.verdict is DmarcVerdict.FAIL else Reason.OWN_DOMAIN_UNPROVEN
        return Composite(CompositeVerdict.FAIL, reason, f"{unaligned}, a domain of this organisation")
    if explicit(dmarc):
        because = f"{unaligned}, and {dmarc.found_at} asks for {dmarc.wish}"
        return Composite(CompositeVerdict.FAIL, Reason.DMARC_FAILED, because)
    if not implicit:
        because = f"{unaligned}; it demands nothing, and the policy does not judge that"
        return Composite(CompositeVerdict.NONE, Reason.NOT_JUDGED, because)
    if (weak := _weak(found.dkim, dmarc)) is not None:
        why = "part of the body is not signed" if weak.partial else "it is not as closely aligned as the domain wants"
        because = f"the signature of {weak.domain} holds, but {why}"
        return Composite(CompositeVerdict.SOFT_PASS, Reason.WEAK_SIGNATURE, because)
    return Composite(CompositeVerdict.FAIL, Reason.NOTHING_PUBLISHED, f"{unaligned}; it demands nothing")


def _by(dmarc: Dmarc) -> str:
    return ", ".join(dmarc.aligned_by)


def _weak(signatures: tuple[Dkim, ...], dmarc: Dmarc) -> Dkim | None:
    """A verified signature of the author's organisation that DMARC does not count."""
    homes = {dmarc.domain, dmarc.organisational}
    return next((one for one in signatures if one.verdict is DkimVerdict.PASS and one.domain in homes), None)
