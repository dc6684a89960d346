"""Organisations that trust each other (specification 1.1, TrustedOrganizations), and perimeter gateways (1.3)."""

from __future__ import annotations

from decision.judging import fates, settled
from lockgate.decision.stage import Depth
from lockgate.mail.facts import Point
from lockgate.testing.builders import (
    certificate_of,
    connection_of,
    facts_of,
    people,
    policy_of,
    tls_of,
    who_of,
)

POLICY = """
[[organisation]]
name = "a"
[[organisation]]
name = "b"
[[organisation]]
name = "c"
[[accepted_domain]]
organisation = "a"
domain_name = "a.test"
vouched_by_operator = true
[[accepted_domain]]
organisation = "a"
domain_name = "a2.test"
vouched_by_operator = true
[[accepted_domain]]
organisation = "b"
domain_name = "b.test"
vouched_by_operator = true
[[accepted_domain]]
organisation = "b"
domain_name = "b2.test"
vouched_by_operator = true
[[inbound_connector]]
organisation = "a"
name = "Lock"
sender_domains = ["*"]
restrict_domains_to_ip_addresses = true
sender_ip_addresses = ["203.0.113.99"]
[[inbound_connector]]
organisation = "a"
name = "Sister"
trusted_organizations = ["b"]
{scope}
[[inbound_connector]]
organisation = "b"
name = "B's by certificate"
connector_type = "on_premises"
tls_sender_certificate_name = "b.test"
[[inbound_connector]]
organisation = "b"
name = "B's by address"
connector_type = "on_premises"
sender_ip_addresses = ["192.0.2.25"]
relay_null_sender = false
"""
ASK = people(*(who_of(name, f"u@{name}{n}.test") for name, n in (("a", ""), ("a", "2"), ("b", ""))))
CERTIFIED = tls_of(certificate_of("b.test"), trusted_by=("public",))


def at_rcpt(sender: str, scope: str = "", *recipients: str, **connection: object) -> list[str]:
    facts = facts_of(sender, *(recipients or ("u@a.test",)), connection=connection_of(**connection))  # type: ignore[arg-type]
    return fates(settled(policy_of(POLICY.format(scope=scope)), facts, ASK, Point.RCPT, depth=Depth.FULL)[1])


def test_its_own_servers_and_logins_are_trusted() -> None:
    assert at_rcpt("u@b.test", tls=CERTIFIED) == ["undecided"]
    assert at_rcpt("any@far.test", tls=CERTIFIED) == ["undecided"], "its certificate vouches for whatever it sends"
    assert at_rcpt("", tls=CERTIFIED) == ["undecided"]
    assert at_rcpt("u@b.test", peer="192.0.2.25") == ["undecided"]
    assert at_rcpt("u@b2.test", login="u@b.test", tls=tls_of()) == ["undecided"]


def test_nobody_else_is() -> None:
    assert at_rcpt("u@b.test") == ["550 5.7.1"], "the envelope sender alone proves nothing"
    assert at_rcpt("u@b.test", tls=tls_of()) == ["550 5.7.51"]
    assert at_rcpt("u@b.test", tls=tls_of(certificate_of("b.test"))) == ["550 5.7.51"], "self-signed"
    assert at_rcpt("any@far.test", peer="192.0.2.25", tls=tls_of()) == ["550 5.7.51"], "by address: own senders only"
    assert at_rcpt("", peer="192.0.2.25", tls=tls_of()) == ["550 5.7.51"]
    assert at_rcpt("any@far.test", login="u@b.test", tls=tls_of()) == ["550 5.7.51"]


def test_trust_goes_one_way_and_keeps_to_its_scope() -> None:
    scope = 'associated_accepted_domains = ["a2.test"]'
    assert at_rcpt("u@b.test", scope, "u@a.test", "u@a2.test", tls=CERTIFIED) == ["550 5.7.51", "undecided"]


def test_it_gives_no_right_to_relay_and_no_direction() -> None:
    facts = facts_of("u@b.test", "u@a.test", connection=connection_of(tls=CERTIFIED))
    (verdict,) = settled(policy_of(POLICY.format(scope="")), facts, ASK, Point.RCPT)[1].recipients
    standing = verdict.standing
    assert (standing.organisation, standing.direction, standing.inbound_connector, standing.partner_connector) == (
        "a", "incoming", "", "Sister",
    )  # fmt: skip
    assert not standing.relay


def test_own_servers_may_be_for_some_accepted_domains_only() -> None:
    """1.1 AssociatedAcceptedDomains: beside them the session is a stranger's, who relays nothing."""
    scope = '"B\'s by certificate"\nassociated_accepted_domains = ["b2.test"]'
    text = POLICY.format(scope="").replace('"B\'s by certificate"', scope)
    everybody = ("u@b.test", "u@b2.test", "x@far.test")
    facts = facts_of("any@far.test", *everybody, connection=connection_of(tls=CERTIFIED))
    ask = people(who_of("b", "u@b.test"), who_of("b", "u@b2.test"))
    ruling = settled(policy_of(text), facts, ask, Point.RCPT, depth=Depth.FULL)[1]
    assert fates(ruling) == ["undecided", "undecided", "550 5.7.64"]
    assert [verdict.standing.inbound_connector for verdict in ruling.recipients] == ["", "B's by certificate", ""]
    steps = [f"{step.subject}: {step.because}" for step in ruling.recipients[0].steps]
    assert "connector B's by certificate: it matches the session, but is only for mail to b2.test" in steps
    assert "is only for mail to b2.test" in ruling.recipients[2].steps[-1].because


def test_perimeter_gateways_count_as_allowed_for_their_organisation() -> None:
    text = POLICY.format(scope="") + (
        '[[connection_filter]]\norganisation = "b"\ngateway_ip_addresses = ["198.51.100.0/24"]\n'
        'ip_block_list = ["198.51.100.7", "203.0.113.7"]\n'
    )
    for peer, allowed, fate in (("198.51.100.7", True, "undecided"), ("203.0.113.7", False, "550 5.7.513")):
        facts = facts_of("x@far.test", "u@b.test", connection=connection_of(peer))
        ruling = settled(policy_of(text), facts, ASK, Point.RCPT)[1]
        assert fates(ruling) == [fate]
        assert ruling.recipients[0].standing.allowed_by_ip is allowed
    facts = facts_of("x@far.test", "nobody@b.test", connection=connection_of("198.51.100.7"))
    assert fates(settled(policy_of(text), facts, ASK, Point.RCPT)[1]) == ["550 5.4.1"], "edge blocking stays"
