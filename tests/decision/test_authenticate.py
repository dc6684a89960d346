"""Forged authors (specification 1.13.1): the decision table, who is exempt, and what is unknown."""

from __future__ import annotations

import msgspec
import pytest

from decision.judging import said, settled
from lockgate.decision.judge import judge
from lockgate.decision.stage import Depth
from lockgate.mail.authentication import Arc, ArcVerdict
from lockgate.mail.facts import Point
from lockgate.mail.findings import Unknown, WhoSent
from lockgate.mail.record import Recorder
from lockgate.mail.ruling import Wants
from lockgate.policy.problems import Invalid
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


SPOOF_ON, SPOOF_OFF = "enable_spoof_intelligence = true\n", "enable_spoof_intelligence = false\n"
HONOUR, IGNORE = "honor_dmarc_policy = true\n", "honor_dmarc_policy = false\n"
HELD = 'authentication_fail_action = "quarantine"'
IMPLICIT = "held: composite authentication: fail (reason 001)"
OF_QUARANTINE, OF_REJECT = (f"asks for {wish} (reason 000)" for wish in ("quarantine", "reject"))


@pytest.mark.parametrize(
    ("settings", "implicit", "quarantine", "reject", "nothing"),
    [
        (SPOOF_ON + HONOUR + HELD, IMPLICIT, OF_QUARANTINE, "550 5.7.509", TO_HQ),
        (SPOOF_ON + IGNORE + HELD, IMPLICIT, OF_QUARANTINE, OF_REJECT, IMPLICIT),
        (SPOOF_OFF + HONOUR + HELD, TO_HQ, OF_QUARANTINE, "550 5.7.509", TO_HQ),
        (SPOOF_OFF + IGNORE + HELD, TO_HQ, OF_QUARANTINE, OF_REJECT, TO_HQ),
        (SPOOF_ON + HONOUR + HELD.replace("quarantine", "none"), TO_HQ, OF_QUARANTINE, "550 5.7.509", TO_HQ),
        (SPOOF_ON + IGNORE + HELD.replace("quarantine", "none"), TO_HQ, TO_HQ, TO_HQ, TO_HQ),
        (SPOOF_OFF + IGNORE + HELD.replace("quarantine", "none"), TO_HQ, OF_QUARANTINE, OF_REJECT, TO_HQ),
        (SPOOF_ON + HONOUR, TO_HQ, OF_QUARANTINE, "550 5.7.509", TO_HQ),
        (SPOOF_ON + IGNORE, TO_HQ, OF_QUARANTINE, OF_REJECT, TO_HQ),
    ],
    ids=[
        "on, on", "on, off", "off, on", "off, off", "on, on, nothing to be done", "on, off, nothing to be done",
        "off, off, nothing to be done", "as it comes", "as it comes, but DMARC not honoured",
    ],
)  # fmt: skip
def test_the_decision_table_of_1_13_1_row_by_row(settings, implicit, quarantine, reject, nothing):
    assert implicit in said(fate(authenticated("none"), settings).disposition)
    for wish, expected in (("quarantine", quarantine), ("reject", reject), ("none", nothing)):
        assert expected in said(fate(authenticated("fail", wish), settings).disposition), wish


def test_letting_failures_pass_does_not_free_an_own_domain():
    found = authenticated("fail", "reject", domain="contoso.com")
    lenient = IGNORE + HELD.replace("quarantine", "none")
    assert "From names contoso.com" in said(fate(found, lenient).disposition)
    assert said(fate(found, lenient + '\nown_domain_spoof_action = "none"').disposition) == TO_HQ


def sealed(verdict: str, wish: str, results: str, sealer: str = "list.test", state: str = "pass") -> object:
    arc = Arc(ArcVerdict(state), 1, sealer, sealer, (sealer,), results=results)
    return msgspec.structs.replace(authenticated(verdict, wish), arc=arc)


TRUSTED = """
[[arc_config]]
organisation = "contoso"
trusted_arc_sealers = ["List.test"]
"""
SAID = "i=1; list.test; spf=pass smtp.mailfrom=sender.test; dmarc=pass (p=reject) header.from=sender.test"


def test_the_word_of_a_trusted_sealer_replaces_a_failure():
    verdict = fate(sealed("fail", "reject", SAID), TRUSTED)
    assert said(verdict.disposition) == TO_HQ
    (step,) = [step for step in verdict.steps if step.stage == "authenticate"]
    assert (step.subject, step.effect) == ("ARC", "taken for proven")
    assert "reason 130" in step.because
    assert "list.test" in step.because
    assert said(fate(sealed("none", "none", SAID), HELD + TRUSTED).disposition) == TO_HQ


@pytest.mark.parametrize(
    ("answer", "settings"),
    [
        (sealed("fail", "reject", SAID), ""),
        (sealed("fail", "reject", SAID, "evil.test"), TRUSTED),
        (sealed("fail", "reject", SAID, state="fail"), TRUSTED),
        (sealed("fail", "reject", SAID.replace("from=sender", "from=other")), TRUSTED),
        (sealed("fail", "reject", SAID.replace("dmarc=pass", "dmarc=fail")), TRUSTED),
    ],
    ids=["nobody is trusted", "somebody else", "broken", "about another author", "it failed there too"],
)
def test_no_other_word_does(answer, settings):
    assert said(fate(answer, settings).disposition) == "550 5.7.509"


def test_what_could_not_be_found_out_is_not_left_to_sealers():
    assert said(fate(sealed("temperror", "none", SAID), TRUSTED).disposition) == "451 4.3.0"


@pytest.mark.parametrize(
    ("wish", "expected"),
    [
        ("none", TO_HQ),
        ("quarantine", TO_HQ),
        ("reject", REJECT.replace(" (reason", ", on trial (t=y), so that quarantine holds (reason")),
    ],
)
def test_of_a_record_on_trial_one_step_less_is_done(wish, expected):
    assert said(fate(authenticated("fail", wish, test=True)).disposition) == expected


def test_a_record_on_trial_does_not_free_an_own_domain():
    found = authenticated("fail", "quarantine", domain="contoso.com", test=True)
    assert said(fate(found, 'own_domain_spoof_action = "reject"').disposition) == "550 5.7.68"


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
    subjects = [step.subject for step in told.steps if step.stage == "authenticate"]
    assert subjects == ["composite authentication", "DMARC"]


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
