"""At full depth every stage tells all that it looked at, and why what lost did; and decides as it does live."""

from __future__ import annotations

from hypothesis import given

from decision.judging import settled
from decision.test_properties import DIRECTORY, FACTS, POLICIES, RICH
from lockgate.decision.stage import Depth
from lockgate.mail.facts import Facts, Point
from lockgate.mail.ruling import Deliver, Verdict
from lockgate.policy.policy import Policy
from lockgate.testing.builders import certificate_of, connection_of, facts_of, people, policy_of, tls_of, who_of

CONTOSO = """
[[organisation]]
name = "contoso"
[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true
[[accepted_domain]]
domain_name = "later.test"
"""
BEN = people(who_of("contoso", "ben@contoso.com"))


def in_full(policy: Policy, facts: Facts, ask=BEN) -> Verdict:
    _, ruling = settled(policy, facts, ask, Point.DATA, None, Depth.FULL)
    return ruling.recipients[0]


def told(verdict: Verdict, stage: str) -> dict[str, str]:
    return {step.subject: f"{step.because} -> {step.effect}" for step in verdict.steps if step.stage == stage}


OUTBOUND = """
[[outbound_connector]]
name = "exact"
recipient_domains = ["a.b.test"]
cost = 2
[[outbound_connector]]
name = "also exact"
recipient_domains = ["a.b.test"]
cost = 3
[[outbound_connector]]
name = "exact, later"
recipient_domains = ["a.b.test"]
cost = 2
[[outbound_connector]]
name = "small"
recipient_domains = ["a.b.test"]
size_limit = 100
[[outbound_connector]]
name = "wild"
recipient_domains = ["*.b.test"]
[[outbound_connector]]
name = "all"
recipient_domains = ["*"]
[[outbound_connector]]
name = "other"
recipient_domains = ["c.test", "*.a.b.test"]
[[outbound_connector]]
name = "off"
recipient_domains = ["a.b.test"]
enabled = false
[[outbound_connector]]
name = "scoped"
is_transport_rule_scoped = true
[[outbound_connector]]
name = "ours"
connector_type = "on_premises"
all_accepted_domains = true
use_mx_record = false
smart_hosts = ["hq.test"]
[[inbound_connector]]
name = "own"
connector_type = "on_premises"
sender_ip_addresses = ["192.0.2.25"]
"""


def test_each_outbound_connector_says_why_it_lost() -> None:
    facts = facts_of("ben@contoso.com", "x@a.b.test", connection=connection_of("192.0.2.25"))
    seen = told(in_full(policy_of(CONTOSO + OUTBOUND), facts), "route")
    assert seen == {
        "connector small": "it is for a.b.test, but it takes 100 octets at most -> ",
        "connector exact, later": "it is for a.b.test, but exact comes first by name -> ",
        "connector also exact": "it is for a.b.test, but exact costs less (2, not 3) -> ",
        "connector wild": "its wildcard covers a.b.test, but exact comes before it: it is for a.b.test -> ",
        "connector all": "it is for all domains, but exact comes before it: it is for a.b.test -> ",
        "connector off": "it is disabled -> ",
        "connector scoped": "it is only used when a mail flow rule names it -> ",
        "connector ours": "it is for all accepted domains, and a.b.test is none -> ",
        "connector other": "it is for c.test, *.a.b.test, not for a.b.test -> ",
        "connector exact": "it is for a.b.test -> leaves by it, TLS opportunistic",
    }


PARTNERS = """
[[inbound_connector]]
name = "bank"
sender_domains = ["*.bank.test"]
restrict_domains_to_certificate = true
tls_sender_certificate_name = "*.bank.test"
[[inbound_connector]]
name = "plain"
sender_domains = ["mail.bank.test"]
[[inbound_connector]]
name = "vague"
sender_domains = ["*"]
restrict_domains_to_ip_addresses = true
sender_ip_addresses = ["198.51.100.0/24"]
[[inbound_connector]]
name = "off"
enabled = false
sender_domains = ["mail.bank.test"]
[[inbound_connector]]
name = "addressed"
sender_domains = ["*.bank.test"]
sender_ip_addresses = ["203.0.113.1"]
[[inbound_connector]]
name = "elsewhere"
sender_domains = ["other.test"]
"""


def test_each_partner_connector_says_why_it_lost_and_the_winner_what_it_demands() -> None:
    connection = connection_of(tls=tls_of(certificate_of("mail.bank.test"), trusted_by=("public",)))
    facts = facts_of("a@mail.bank.test", "ben@contoso.com", connection=connection)
    seen = told(in_full(policy_of(CONTOSO + PARTNERS), facts), "secure")
    assert seen == {
        "partner connector plain": "it covers the sender, but bank restricts senders, which comes before connectors"
        " that only name a domain -> ",
        "partner connector vague": "it covers the sender, but bank names the sender's domain more exactly -> ",
        "partner connector off": "it covers the sender, but it is disabled -> ",
        "partner connector addressed": "it covers the sender, but only from its addresses, and 198.51.100.7 is none of"
        " them -> ",
        "partner connector elsewhere": "its sender domains (other.test) do not cover mail.bank.test -> ",
        "demand of bank: TLS": "the session has TLSv1.3 -> met",
        "demand of bank: a certificate for *.bank.test": "the certificate is for mail.bank.test -> met",
        "partner connector bank": "the certificate is for mail.bank.test -> its demands are met",
    }


OWN = """
[[inbound_connector]]
name = "by address"
connector_type = "on_premises"
sender_ip_addresses = ["192.0.2.25"]
[[inbound_connector]]
name = "by certificate"
connector_type = "on_premises"
tls_sender_certificate_name = "*.contoso.com"
[[inbound_connector]]
name = "off"
enabled = false
connector_type = "on_premises"
sender_ip_addresses = ["192.0.2.26"]
"""


def test_each_own_server_connector_says_why_it_lost() -> None:
    policy = policy_of(CONTOSO + OWN)
    stranger = facts_of("x@sender.test", "x@later.test", connection=connection_of("192.0.2.25"))
    seen = told(in_full(policy, stranger), "attribute")
    assert seen["connector by address"].startswith("it matches the session, but it goes by address, and sender.test is")
    assert "no certificate was presented (it wants *.contoso.com)" in seen["connector by certificate"]
    assert seen["connector off"] == "it is disabled -> "
    assert seen["recipient's domain"].startswith("contoso lists later.test, but it is not proven")
    tls = tls_of(certificate_of("mail.contoso.com"), trusted_by=("public",))
    proven = facts_of("x@sender.test", "ben@contoso.com", connection=connection_of("192.0.2.25", tls=tls))
    seen = told(in_full(policy, proven), "attribute")
    assert seen["connector by address"].startswith("it matches the session as well, but by certificate was found by")
    assert seen["organisation"].endswith("originating mail of contoso")


RULES = """
[[outbound_connector]]
name = "site"
use_mx_record = false
smart_hosts = ["site.test"]
is_transport_rule_scoped = true
[[mail_flow_rule]]
name = "elsewhere"
recipient_domain_is = ["other.test"]
route_message_outbound_connector = "site"
[[mail_flow_rule]]
name = "off"
enabled = false
recipient_domain_is = ["contoso.com"]
route_message_outbound_connector = "site"
[[mail_flow_rule]]
name = "excepted"
recipient_domain_is = ["contoso.com"]
except_if_recipient_domain_is = ["contoso.com"]
route_message_outbound_connector = "site"
[[mail_flow_rule]]
name = "hits"
recipient_domain_is = ["contoso.com"]
route_message_outbound_connector = "site"
stop_rule_processing = true
[[mail_flow_rule]]
name = "after"
recipient_domain_is = ["contoso.com"]
route_message_outbound_connector = "site"
"""


def test_each_rule_says_on_which_condition_it_missed() -> None:
    verdict = in_full(policy_of(CONTOSO + RULES), facts_of("x@sender.test", "ben@contoso.com"))
    assert told(verdict, "regulate") == {
        "rule elsewhere": "contoso.com is none of other.test -> ",
        "rule off": "it is disabled -> ",
        "rule excepted": "exception: the recipient's domain is contoso.com -> ",
        "rule hits": "the recipient's domain is contoso.com -> goes by connector site, no further rules",
        "rule after": "it is not looked at any more, because an earlier rule ended the rules -> ",
    }


def test_thousands_of_rules_and_connectors_are_counted_after_the_first_hundreds() -> None:
    many = "".join(
        f'[[mail_flow_rule]]\nname = "r{n}"\nrecipient_domain_is = ["d{n}.test"]\n'
        f'route_message_outbound_connector = "site"\n'
        f'[[outbound_connector]]\nname = "c{n}"\nrecipient_domains = ["d{n}.test"]\n'
        for n in range(600)
    )
    verdict = in_full(policy_of(CONTOSO + RULES + many), facts_of("x@sender.test", "ben@contoso.com"))
    rules, routes = told(verdict, "regulate"), told(verdict, "route")
    assert rules["other rules"].startswith("302 more are disabled or for other domains")
    assert "rule hits" in rules and len(rules) < 310
    assert routes["connector (and 550 more)"].startswith("they are not for contoso.com")
    assert isinstance(verdict.disposition, Deliver) and verdict.disposition.route.connector == "site"


@given(POLICIES, FACTS)
def test_every_rule_and_connector_of_the_organisation_is_told(policy: Policy, facts: Facts) -> None:
    _, ruling = settled(policy, facts, DIRECTORY, Point.DATA, None, Depth.FULL)
    for verdict in ruling.recipients:
        mine = policy.organisations.get(verdict.standing.organisation)
        if mine is None or not isinstance(verdict.disposition, Deliver):
            continue
        route, regulate = told(verdict, "route"), told(verdict, "regulate")
        assert {f"connector {name}" for name in mine.outbound.named} <= set(route)
        assert {f"rule {rule.name}" for rule in mine.rules.all} <= set(regulate)
        assert verdict.steps[-1].effect, "the last step is the one that decided"


def test_the_operators_lists_and_limits_are_told() -> None:
    policy = policy_of(RICH.replace('ip_block_list = ["203.0.113.0/24"]', 'ip_block_list = ["203.0.113.0/24"]\n'
                                    'ip_allow_list = ["203.0.113.9"]', 1))  # fmt: skip
    for peer, says in (("203.0.113.9", "wins over the block list"), ("198.51.100.7", "it does not name")):
        _, ruling = settled(policy, facts_of("x@sender.test", "u@contoso.com", connection=connection_of(peer)),
                            DIRECTORY, Point.CONNECT, None, Depth.FULL)  # fmt: skip
        subjects = {step.subject: step.because for step in ruling.steps}
        assert says in subjects["the operator's allow list"]
        assert subjects["connection limit"].startswith("0 of at most 10000 connections were open")
