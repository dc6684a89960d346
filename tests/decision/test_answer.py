"""The answer to DATA and who may be told afterwards, as the truth tables of DESIGN 2."""

from __future__ import annotations

import itertools

import pytest

from lockgate.decision.answer import answer
from lockgate.decision.proof import Proof, sender_of, to_ask
from lockgate.mail import replies
from lockgate.mail.authentication import (
    Arc,
    ArcVerdict,
    Authenticated,
    Dkim,
    DkimVerdict,
    Dmarc,
    DmarcVerdict,
    Spf,
    SpfVerdict,
)
from lockgate.mail.facts import Facts, Point
from lockgate.mail.findings import Unknown, WhoSent
from lockgate.mail.recipient import RecipientId
from lockgate.mail.ruling import (
    Defer,
    Deliver,
    Direction,
    Disposition,
    Drop,
    Hold,
    Refuse,
    Route,
    Ruling,
    Standing,
    Verdict,
    Via,
)
from lockgate.testing.builders import address, facts_of, policy_of

ASKED = WhoSent("contoso")
WENT = (
    Deliver(Route(Via.MX, "contoso", domain="x.test"), address("u@x.test")), Hold("a person decides"),
    Hold("nobody answers", pending=True), Drop("the owner said so"),
)  # fmt: skip
NO, LATER = Refuse(replies.SENDING_CLOSED), Defer(replies.NOT_FOUND_OUT)


def verdict(disposition: Disposition | None = None, *, own: bool = False, organisation: str = "contoso") -> Verdict:
    who = address("u@x.test")
    direction = Direction.ORIGINATING if own else Direction.INCOMING
    return Verdict(RecipientId(who), who, Standing(organisation, direction), disposition=disposition)


def ruling(*dispositions: Disposition) -> Ruling:
    return Ruling(Point.DATA, recipients=tuple(verdict(one) for one in dispositions))


@pytest.mark.parametrize("went", WENT)
@pytest.mark.parametrize("others", list(itertools.product((NO, LATER), repeat=2)))
def test_one_that_is_accepted_makes_it_250(went: Disposition, others: tuple[Disposition, ...]) -> None:
    for place in range(3):
        assert answer(ruling(*others[:place], went, *others[place:])) is None


def test_none_accepted_is_5xx_only_if_all_are_refused() -> None:
    assert answer(ruling(NO, Refuse(replies.MESSAGE_TOO_LARGE))) == replies.SENDING_CLOSED
    for several in ((LATER,), (LATER, NO), (NO, LATER), (NO, NO, LATER)):
        assert answer(ruling(*several)) == replies.NOT_FOUND_OUT
    assert answer(ruling()) == replies.NO_RECIPIENTS
    everybody = Ruling(Point.DATA, refusal=replies.HOP_COUNT_EXCEEDED, recipients=ruling(WENT[0]).recipients)
    assert answer(everybody) == replies.HOP_COUNT_EXCEEDED


# --- who is the sender? -----------------------------------------------------------------------------------------------


def found(
    spf: str = "none", signed: str = "", dmarc: str = "none", *, domain: str = "sender.test", author: str = "",
    partial: bool = False, signature: str = "pass",
) -> Authenticated:  # fmt: skip
    """`domain` is what SPF checked, `signed` the d= of a signature, `author` the organisation of From."""
    signatures = (Dkim(DkimVerdict(signature), signed, "s", partial=partial, problem="silence"),) if signed else ()
    author = author or domain
    return Authenticated(
        Spf(SpfVerdict(spf), domain), signatures, Dmarc(DmarcVerdict(dmarc), author, author), Arc(ArcVerdict.NONE)
    )


def facts(answer_: object, sender: str = "x@sender.test") -> Facts:
    return facts_of(sender, "u@x.test", findings={} if answer_ is None else {ASKED: answer_})


TABLE = [
    (None, "unproven"),
    (Unknown("no answer"), "unproven"),
    (found(), "unproven"),
    (found("pass"), "proven"),
    (found("neutral"), "unproven"),
    (found("softfail"), "unproven"),
    (found("permerror"), "unproven"),
    (found("temperror"), "unproven"),
    (found("temperror", dmarc="temperror"), "unproven"),
    (found("fail"), "forged"),
    (found("fail", dmarc="fail"), "forged"),
    (found("none", dmarc="fail"), "forged"),
    # a signature of the sender's domain, or of one above it, is a proof even where forwarding broke SPF
    (found("fail", "sender.test"), "proven"),
    (found("fail", "test"), "proven"),
    (found("fail", "mail.sender.test"), "forged"),
    (found("none", "mail.sender.test"), "unproven"),
    (found("none", "xsender.test"), "unproven"),
    (found("none", "sender.test", partial=True), "unproven"),
    (found("none", "sender.test", signature="fail"), "unproven"),
    (found("none", "sender.test", signature="policy"), "unproven"),
    (found("fail", "sender.test", signature="temperror"), "unproven"),
    (found("fail", "other.test", signature="temperror"), "forged"),
    # what proves another domain proves nothing of this one
    (found("pass", domain="other.test"), "unproven"),
    (found("fail", domain="other.test"), "unproven"),
    # the author counts where both are of one organisation
    (found("none", dmarc="pass"), "proven"),
    (found("none", dmarc="pass", author="other.test"), "unproven"),
    (found("none", dmarc="bestguesspass"), "proven"),
    (found("fail", dmarc="pass", author="other.test"), "forged"),
    (found("pass", dmarc="fail", author="other.test"), "proven"),
    (found("none", dmarc="fail", author="other.test"), "forged"),
    (found("none", dmarc="permerror", author=""), "unproven"),
]


@pytest.mark.parametrize(("answer_", "proof"), TABLE)
def test_what_proves_the_envelope_sender(answer_: object, proof: str) -> None:
    known = sender_of(facts(answer_), verdict())
    assert known.proof == proof
    assert known.because and "\n" not in known.because
    own = sender_of(facts(answer_), verdict(own=True))
    assert own.proof is Proof.PROVEN, "own servers and people are known by other means"
    null = sender_of(facts(answer_, ""), verdict())
    assert null == (Proof.UNPROVEN, "the message came from the null sender")


def test_a_sender_below_a_proven_author_is_proven() -> None:
    author = found("none", dmarc="pass", domain="bounce.sender.test", author="sender.test")
    assert sender_of(facts(author, "x@bounce.sender.test"), verdict()).proof is Proof.PROVEN


def test_one_organisation_s_answer_is_no_other_s() -> None:
    assert sender_of(facts(found("pass")), verdict(organisation="fabrikam")).proof is Proof.UNPROVEN


POLICY = """
[[organisation]]
name = "contoso"
[[anti_phishing_policy]]
organisation = "contoso"
name = "Default"
[[organisation]]
name = "fabrikam"
"""


@pytest.mark.parametrize("went", (*WENT, LATER))
def test_it_is_asked_only_before_somebody_would_be_told(went: Disposition) -> None:
    policy, unasked = policy_of(POLICY), facts(None)
    assert to_ask(policy, unasked, ruling(went, NO)) == (ASKED,)
    assert to_ask(policy, unasked, ruling(NO, went, NO)) == (ASKED,)
    assert to_ask(policy, unasked, ruling(went, went)) == ()
    assert to_ask(policy, unasked, ruling(NO)) == (ASKED,), "the others may have gone before"
    assert to_ask(policy, facts(found()), ruling(went, NO)) == (), "it is known"
    own = Ruling(Point.DATA, recipients=(verdict(went), verdict(NO, own=True)))
    assert to_ask(policy, unasked, own) == ()
    other = Ruling(Point.DATA, recipients=(verdict(went), verdict(NO, organisation="fabrikam")))
    assert to_ask(policy, unasked, other) == (), "fabrikam does not want to know"
