"""Alias domains, catch-alls, the steps of edge blocking and the next hop's word (specification 1.4, 1.7)."""

from __future__ import annotations

import pytest

from decision.judging import fates, ruled, settled
from lockgate.decision.stage import Depth
from lockgate.mail.findings import CallForward, Said, Unknown
from lockgate.policy.problems import Invalid
from lockgate.testing.builders import facts_of, people, policy_of, who_of

POLICY = """
[[organisation]]
name = "contoso"
[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true
{domain}
[[accepted_domain]]
domain_name = "contoso.net"
vouched_by_operator = true
{alias}
[[outbound_connector]]
name = "hq"
connector_type = "on_premises"
use_mx_record = false
smart_hosts = ["hq.test"]
all_accepted_domains = true
"""
EVERYBODY = people(
    who_of("contoso", "ben@contoso.com", city="Bonn"), who_of("contoso", "info@contoso.com"),
    who_of("contoso", "own@contoso.net"),
)  # fmt: skip
ALIAS = 'alias_of = "contoso.com"'


def policy(domain: str = "", alias: str = ""):
    return policy_of(POLICY.format(domain=domain, alias=alias))


def asking(*answers: Said | Unknown, calls: list | None = None):
    """The directory above, and a next hop with these answers in turn."""
    left = list(answers)

    def ask(questions):
        known = EVERYBODY(tuple(q for q in questions if not isinstance(q, CallForward)))
        for question in questions:
            if isinstance(question, CallForward):
                if calls is not None:
                    calls.append((question.organisation, question.address))
                known[question] = left.pop(0)
        return known

    return ask


def one(text, recipient, ask=EVERYBODY):
    ruling = ruled(text, facts_of("x@sender.test", recipient), ask)
    (verdict,) = ruling.recipients
    steps = "; ".join(f"{step.because}, {step.effect}" for step in verdict.steps)
    return fates(ruling)[0], steps, verdict


def test_an_alias_domain_has_the_recipients_of_another():
    fate, because, verdict = one(policy(alias=ALIAS), "BEN@contoso.net")
    assert fate == "-> contoso/hq ben@contoso.com" and "contoso.net is an alias of contoso.com" in because
    assert verdict.identity.text == "ben@contoso.com" and verdict.standing.who_attributes == {"city": "Bonn"}
    assert one(policy(alias=ALIAS), "own@contoso.net")[0] == "-> contoso/hq own@contoso.net", "the very address wins"
    assert one(policy(alias=ALIAS), "nobody@contoso.net")[0] == "550 5.4.1"
    assert one(policy(), "ben@contoso.net")[0] == "550 5.4.1"
    assert one(policy(alias=ALIAS), "ben@contoso.net", people(failing="on fire"))[0] == "451 4.3.0"


@pytest.mark.parametrize("given", ["info", "INFO@contoso.com"])
def test_a_catch_all_gets_what_nobody_gets(given):
    text = policy(domain=f'catch_all_recipient_id = "{given}"')
    fate, because, verdict = one(text, "whoever@contoso.com")
    assert fate == "-> contoso/hq info@contoso.com" and "it is the catch-all of contoso.com" in because
    assert verdict.identity.text == "info@contoso.com"
    assert one(text, "ben@contoso.com")[0] == "-> contoso/hq ben@contoso.com"
    assert one(policy(domain='catch_all_recipient_id = "gone"'), "whoever@contoso.com")[0] == "550 5.4.1"


def test_edge_blocking_in_three_steps():
    for step in ("observe", "estimate"):
        fate, because, verdict = one(policy(domain=f'edge_blocking = "{step}"'), "nobody@contoso.com")
        assert fate == "-> contoso/hq nobody@contoso.com" and verdict.standing.unlisted
        assert "does not know nobody@contoso.com" in because and "enforced it would be refused" in because
        assert not one(policy(domain=f'edge_blocking = "{step}"'), "ben@contoso.com")[2].standing.unlisted
    for text in (policy(), policy(domain='edge_blocking = "enforce"')):
        assert one(text, "nobody@contoso.com")[0] == "550 5.4.1"
    relay = 'domain_type = "internal_relay"'
    assert not one(policy(domain=relay), "nobody@contoso.com")[2].standing.unlisted
    counted = one(policy(domain=f'{relay}\nedge_blocking = "observe"'), "nobody@contoso.com")
    assert counted[0] == "-> contoso/hq nobody@contoso.com" and counted[2].standing.unlisted
    assert one(policy(domain='edge_blocking = "observe"'), "nobody@contoso.com", people(failing="x"))[0] == "451 4.3.0"


CALL = 'recipient_validation = "call_forward"'
YES = Said(accepts=True, reply="250 2.1.5 ok", host="hq.test")
NO = Said(accepts=False, reply="550 5.1.1 no such user", host="hq.test")


@pytest.mark.parametrize("kind", ["", 'domain_type = "internal_relay"'])
def test_only_the_next_hops_own_no_refuses(kind):
    text = policy(domain=f"{CALL}\n{kind}")
    calls: list = []
    assert one(text, "Carl@contoso.com", asking(YES, calls=calls))[0] == "-> contoso/hq Carl@contoso.com"
    assert calls == [("contoso", "carl@contoso.com")]
    fate, because, _ = one(text, "carl@contoso.com", asking(NO))
    assert fate == "550 5.4.1" and "hq.test says of carl@contoso.com: 550 5.1.1 no such user" in because
    fate, because, _ = one(text, "carl@contoso.com", asking(Unknown("no connection")))
    assert fate == "451 4.4.1" and "cannot be asked about carl@contoso.com: no connection" in because
    # Whom the directory knows, nobody is asked about; nor postmaster.
    assert one(text, "ben@contoso.com", asking())[0] == "-> contoso/hq ben@contoso.com"
    assert one(text, "postmaster@contoso.com", asking())[0] == "-> contoso/hq postmaster@contoso.com"
    observed = one(policy(domain=f'{CALL}\nedge_blocking = "observe"\n{kind}'), "carl@contoso.com", asking(NO))
    assert observed[0] == "-> contoso/hq carl@contoso.com" and observed[2].standing.unlisted
    takes_all = Said(accepts=True, reply="250 ok", host="hq.test", takes_all=True)
    assert "takes every address" in one(text, "carl@contoso.com", asking(takes_all))[1]


def test_the_explanation_says_what_was_decided():
    for text, recipient, ask in (
        (policy(alias=ALIAS), "ben@contoso.net", EVERYBODY), (policy(domain=CALL), "c@contoso.com", asking(NO)),
        (policy(domain='edge_blocking = "observe"'), "c@contoso.com", EVERYBODY),
    ):  # fmt: skip
        facts, live = settled(text, facts_of("x@sender.test", recipient), ask)
        _, full = settled(text, facts, asking(), depth=Depth.FULL)
        assert fates(full) == fates(live)
        told = {step.because for step in full.recipients[0].steps}
        assert {step.because for step in live.recipients[0].steps} <= told


@pytest.mark.parametrize(
    ("domain", "alias", "said"),
    [
        ("", 'alias_of = "contoso.org"', "no accepted domain of the organisation"),
        ("", 'alias_of = "contoso.net"', "is an alias itself"),
        ('alias_of = "contoso.net"', ALIAS, "is an alias itself"),
        (f'{CALL}\ncatch_all_recipient_id = "info"', "", "would never be asked"),
        ('edge_blocking = "perhaps"', "", "enforce"),
    ],
)
def test_documents_that_make_no_sense(domain, alias, said):
    with pytest.raises(Invalid) as caught:
        policy(domain, alias)
    assert said in str([problem.message for problem in caught.value.problems])
