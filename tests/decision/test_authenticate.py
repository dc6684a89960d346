"""Forged authors (specification 1.13.1): the decision table, who is exempt, and what is unknown."""

from __future__ import annotations

import pytest

from decision.judging import said, settled
from lockgate.decision.judge import judge
from lockgate.decision.stage import Depth
from lockgate.mail.facts import Point
from lockgate.mail.findings import Unknown, WhoSent
from lockgate.mail.record import Recorder
from lockgate.mail.ruling import Wants
from lockgate.policy.documents import Invalid
from lockgate.testing.builders import connection_of, facts_of, people, policy_of, who_of
from lockgate.testing.sender import authenticated

TWO = """
[[organisation]]
name = "contoso"
reject_direct_send = false
[[accepted_domain]]
organisation = "contoso"
domain_name = "contoso.com"
vouched_by_operator = true
[[inbound_connector]]
organisation = "contoso"
name = "onprem"
connector_type = "on_premises"
sender_ip_addresses = ["192.0.2.25"]
[[outbound_connector]]
organisation = "contoso"
name = "hq"
connector_type = "on_premises"
use_mx_record = false
smart_hosts = ["hq.test"]
all_accepted_domains = true
[[organisation]]
name = "fabrikam"
[[accepted_domain]]
organisation = "fabrikam"
domain_name = "fabrikam.com"
vouched_by_operator = true
"""
POLICY = """
[[anti_phishing_policy]]
organisation = "contoso"
name = "Default"
"""
QUESTION = WhoSent("contoso")
PEOPLE = people(who_of("contoso", "u@contoso.com"), who_of("fabrikam", "u@fabrikam.com"))
REJECT = "held: DMARC: nothing that passed is aligned with sender.test, and sender.test asks for reject (reason 000)"
QUARANTINE = REJECT.replace("for reject", "for quarantine")
TO_HQ = "-> contoso/hq u@contoso.com"


def fate(answer: object, settings: str = "", sender: str = "x@sender.test", depth: Depth = Depth.LIVE, **connection):
    facts = facts_of(
        sender, "u@contoso.com", connection=connection_of(**connection), findings={QUESTION: answer}
    )
    return settled(policy_of(TWO + POLICY + settings), facts, PEOPLE, depth=depth)[1].recipients[0]


@pytest.mark.parametrize(
    ("verdict", "wish", "settings", "expected"),
    [
        ("pass", "reject", "", TO_HQ),
        ("none", "none", "", TO_HQ),
        ("bestguesspass", "none", "", TO_HQ),
        ("fail", "none", "", TO_HQ),
        ("fail", "quarantine", "", QUARANTINE),
        ("fail", "reject", "", "550 5.7.509"),
        ("fail", "reject", 'dmarc_reject_action = "quarantine"', REJECT),
        ("fail", "quarantine", "honor_dmarc_policy = false", QUARANTINE),
        ("fail", "reject", "honor_dmarc_policy = false", REJECT),
        ("fail", "none", "honor_dmarc_policy = false", TO_HQ),
        ("fail", "reject", "enabled = false", TO_HQ),
        ("temperror", "none", "", "451 4.3.0"),
        ("temperror", "reject", "", "451 4.3.0"),
        ("temperror", "none", "enabled = false", TO_HQ),
    ],
)
def test_t_af_1_and_the_decision_table(verdict, wish, settings, expected):
    assert said(fate(authenticated(verdict, wish, problem="no answer"), settings).disposition) == expected


def test_a_record_on_trial_asks_for_nothing():
    assert said(fate(authenticated("fail", "reject", test=True)).disposition) == TO_HQ


@pytest.mark.parametrize("depth", list(Depth))
def test_a_rule_that_applies_does_not_undo_the_doubt(depth):
    rule = """
    [[mail_flow_rule]]
    organisation = "contoso"
    name = "to the site"
    recipient_domain_is = ["contoso.com"]
    route_message_outbound_connector = "hq"
    """
    assert said(fate(Unknown("no answer"), rule, depth=depth).disposition) == "451 4.3.0"


def test_unknown_is_neither_a_pass_nor_a_failure():
    verdict = fate(Unknown("no answer within the time there is"))
    assert said(verdict.disposition) == "451 4.3.0"
    assert "no answer within the time there is" in verdict.steps[-1].because


@pytest.mark.parametrize(
    ("verdict", "action", "expected"),
    [
        ("none", "reject", "550 5.7.68"),
        ("fail", "reject", "550 5.7.68"),
        ("none", "none", TO_HQ),
        ("pass", "reject", TO_HQ),
        ("bestguesspass", "reject", TO_HQ),
        ("temperror", "reject", "451 4.3.0"),
    ],
)
def test_an_own_domain_as_author_needs_proof(verdict, action, expected):
    found = authenticated(verdict, domain="contoso.com", problem="no answer")
    assert said(fate(found, f'own_domain_spoof_action = "{action}"').disposition) == expected


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ("", "held: the author: several From fields"),
        ('unclear_author_action = "reject"', "550 5.7.512"),
        ('unclear_author_action = "none"', TO_HQ),
    ],
)
def test_an_author_whom_nobody_can_name_is_no_way_round(settings, expected):
    found = authenticated("permerror", domain="", problem="several From fields")
    assert said(fate(found, settings).disposition) == expected


def test_a_partner_at_its_address_may_write_in_the_organisation_s_name():
    partner = """own_domain_spoof_action = "reject"
[[inbound_connector]]
organisation = "contoso"
name = "newsletters"
sender_domains = ["*"]
require_tls = false
sender_ip_addresses = ["198.51.100.7"]
restrict_domains_to_ip_addresses = true
"""
    found = authenticated("none", domain="contoso.com")
    assert said(fate(found, partner).disposition) == TO_HQ
    assert said(fate(found, partner.replace("198.51.100.7", "198.51.100.8")).disposition) == "550 5.7.51"


def test_without_a_word_an_unproven_own_domain_is_held():
    assert "From names contoso.com" in said(fate(authenticated("none", domain="contoso.com")).disposition)
    assert said(fate(authenticated("none", domain="fabrikam.com")).disposition) == TO_HQ, "another organisation's"


@pytest.mark.parametrize(
    "known", [{"peer": "192.0.2.25"}, {"login": "ann@contoso.com"}], ids=["own server", "login"]
)
def test_own_servers_and_logins_are_not_asked_about(known):
    facts = facts_of("ann@contoso.com", "u@contoso.com", connection=connection_of(**known))
    found, ruling = settled(policy_of(TWO + POLICY), facts, PEOPLE)
    assert said(ruling.recipients[0].disposition) == TO_HQ
    assert QUESTION not in found.findings


def test_an_own_server_hides_the_true_source_of_what_strangers_sent():
    facts = facts_of("x@sender.test", "u@contoso.com", connection=connection_of("192.0.2.25"))
    assert QUESTION not in settled(policy_of(TWO + POLICY), facts, PEOPLE)[0].findings


def test_it_is_asked_at_the_end_of_data_and_only_where_it_is_wanted():
    facts = facts_of("x@sender.test", "u@contoso.com", "u@fabrikam.com")
    found, _ = settled(policy_of(TWO), facts, PEOPLE)
    assert not [question for question, _ in found.findings.items() if isinstance(question, WhoSent)]
    at_rcpt, _ = settled(policy_of(TWO + POLICY), facts, PEOPLE, until=Point.RCPT)
    assert QUESTION not in at_rcpt.findings
    wants = judge(policy_of(TWO + POLICY), at_rcpt)
    assert isinstance(wants, Wants)
    assert wants.questions == (QUESTION,)


def test_one_organisation_s_wish_is_not_another_s():
    facts = facts_of(
        "x@sender.test", "u@contoso.com", "u@fabrikam.com", findings={QUESTION: authenticated("fail", "reject")}
    )
    _, ruling = settled(policy_of(TWO + POLICY), facts, PEOPLE)
    first, second = (said(verdict.disposition) for verdict in ruling.recipients)
    assert first == "550 5.7.509"
    assert second.startswith("-> fabrikam/")


@pytest.mark.parametrize("verdict", ["pass", "none", "fail", "bestguesspass"])
def test_an_explanation_always_says_what_dmarc_said(verdict):
    told = fate(authenticated(verdict, problem="two authors"), depth=Depth.FULL)
    assert said(told.disposition) == TO_HQ
    assert [step.subject for step in told.steps if step.stage == "authenticate"] == ["DMARC"]


def test_facts_and_answers_come_back_from_the_record():
    facts = facts_of("x@sender.test", "u@contoso.com", findings={QUESTION: authenticated("fail", "reject")})
    facts, ruling = settled(policy_of(TWO + POLICY), facts, PEOPLE)
    recorder = Recorder()
    story = recorder.read_story(recorder.write_story(facts, ruling))
    assert story.facts == facts
    assert story.facts.findings == facts.findings
    assert settled(policy_of(TWO + POLICY), story.facts, PEOPLE)[1] == ruling


def test_two_policies_in_use_are_a_mistake():
    with pytest.raises(Invalid, match="policy 'Default' is in use already"):
        policy_of(TWO + POLICY + POLICY.replace("Default", "Other"))
