"""Reports about mail that was sent on find the way back; nothing else takes it (mail/srs.py)."""

from __future__ import annotations

import pytest

from decision.judging import fates, said, settled, why
from lockgate.decision.judge import judge
from lockgate.decision.stage import Depth
from lockgate.flow.leading_back import WaysBack
from lockgate.mail.facts import Point
from lockgate.mail.findings import LeadsBack, Unknown, WhoIs
from lockgate.mail.ruling import Deliver, Wants
from lockgate.testing.builders import NOW, address, facts_of, people, policy_of, who_of

BASE = """
[[organisation]]
name = "contoso"
[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true
[[outbound_connector]]
name = "bank"
recipient_domains = ["bank.test"]
"""
POLICY = policy_of(BASE)
OURS = WaysBack((b"n" * 32, b"o" * 32), lambda: NOW)
SENDER = address("Ann@bank.test")
BACK = OURS.rewrite(SENDER, "contoso.com", NOW).text
OLD = WaysBack((b"o" * 32,), lambda: NOW).rewrite(SENDER, "contoso.com", NOW).text
LATE = OURS.rewrite(SENDER, "contoso.com", NOW - 40 * 86400).text
FORGED = WaysBack((b"x" * 32,), lambda: NOW).rewrite(SENDER, "contoso.com", NOW).text
DIRECTORY = people(who_of("contoso", "ben@contoso.com"), who_of("contoso", "SRS0=aaaaaaaa=bb=c.test=d@contoso.com"))
ASK = OURS.over(DIRECTORY)
PEOPLE_CALLED_SO = "srs0=AAAAAAAA=BB=c.test=d@contoso.com"


def fate(recipient: str, sender: str = "", policy=POLICY, ask=ASK):  # type: ignore[no-untyped-def]
    return fates(settled(policy, facts_of(sender, recipient), ask)[1])[0]


@pytest.mark.parametrize("recipient", [BACK, BACK.lower(), OLD], ids=["ours", "case lost", "an earlier secret"])
def test_a_report_goes_to_the_first_sender_by_the_organisation_s_ways(recipient: str) -> None:
    assert fate(recipient).casefold() == "-> contoso/bank/bank.test ann@bank.test"


def test_the_steps_say_so_and_the_copy_is_not_rewritten_again() -> None:
    facts, ruling = settled(POLICY, facts_of("", BACK), ASK)
    (verdict,) = ruling.recipients
    (step,) = [step for step in verdict.steps if step.subject == "way back"]
    assert step.effect == "goes to Ann@bank.test"
    assert isinstance(verdict.disposition, Deliver)
    assert verdict.disposition.rewrite == ""
    again = judge(POLICY, facts, depth=Depth.FULL)
    assert not isinstance(again, Wants)
    assert said(again.recipients[0].disposition) == said(verdict.disposition)


@pytest.mark.parametrize(
    ("recipient", "because"), [(FORGED, "its hash is not ours"), (LATE, "older than")], ids=["forged", "too old"]
)
def test_forged_and_old_ones_are_refused_at_rcpt(recipient: str, because: str) -> None:
    _, ruling = settled(POLICY, facts_of("", recipient), ASK, until=Point.RCPT)
    assert fates(ruling) == ["550 5.1.1"]
    assert because in why(ruling.recipients[0])


def test_only_reports_take_the_way() -> None:
    assert fate(BACK, "x@sender.test") == "550 5.1.1"


def test_the_directory_comes_first() -> None:
    assert fate(PEOPLE_CALLED_SO).startswith("-> contoso/mx:contoso.com")
    facts, _ = settled(POLICY, facts_of("", PEOPLE_CALLED_SO), ASK)
    assert not [question for question, _ in facts.findings.items() if isinstance(question, LeadsBack)]


def test_own_servers_may_make_such_addresses_themselves() -> None:
    relayed = policy_of(BASE.replace("vouched", 'domain_type = "internal_relay"\nvouched'))
    assert fate(FORGED, policy=relayed) == f"-> contoso/mx:contoso.com {FORGED}"
    assert fate(BACK, policy=relayed) == "-> contoso/bank/bank.test Ann@bank.test"
    caught = policy_of(BASE.replace("vouched", 'catch_all_recipient_id = "ben"\nvouched'))
    assert fate(FORGED, policy=caught) == "-> contoso/mx:contoso.com ben@contoso.com"
    assert fate(BACK, policy=caught) == "-> contoso/bank/bank.test Ann@bank.test"


def test_what_cannot_be_found_out_is_put_off() -> None:
    findings = {WhoIs("contoso", address(BACK).key): DIRECTORY((WhoIs("contoso", "x"),)).popitem()[1]}
    facts = facts_of("", BACK, findings={**findings, LeadsBack("contoso", BACK): Unknown("no secrets")})
    assert fates(settled(POLICY, facts, ASK)[1]) == ["451 4.3.0"]
    silent = people(failing="it is being moved")
    assert fates(settled(POLICY, facts_of("", BACK), silent)[1]) == ["451 4.3.0"]


def test_nobody_else_is_asked_about() -> None:
    facts, _ = settled(POLICY, facts_of("", "ben@contoso.com", "srs@contoso.com"), ASK)
    assert not [question for question, _ in facts.findings.items() if isinstance(question, LeadsBack)]
