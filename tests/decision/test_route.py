"""Resolving, rules, limits and the way out (specification 1.6, 1.15.1, 1.22, 2.4, 2.5)."""

from __future__ import annotations

import msgspec
import pytest

from decision.judging import fates, ruled, why
from lockgate.mail.facts import Point
from lockgate.testing.builders import connection_of, facts_of, message_of, people, policy_of, who_of

BASE = """
[operator]
limits = { message_size = "10MB", own_hops = 20, received_hops = 30 }
[[organisation]]
name = "contoso"
max_receive_size = "5MB"
reject_direct_send = false
[[accepted_domain]]
domain_name = "contoso.com"
domain_type = "internal_relay"
match_sub_domains = true
vouched_by_operator = true
"""


OWN_SERVER = (
    '[[inbound_connector]]\nname = "onprem"\nconnector_type = "on_premises"\nsender_ip_addresses = ["192.0.2.25"]\n'
)


def connector(name: str, *lines: str, host: str = "hq.test") -> str:
    head = ["[[outbound_connector]]", f'name = "{name}"', 'connector_type = "on_premises"']
    return "\n".join([*head, "use_mx_record = false", f'smart_hosts = ["{host}"]', *lines, ""])


def sent(text: str, recipient: str = "ben@contoso.com", ask=None, **facts: object) -> list[str]:
    return fates(ruled(policy_of(BASE + text), facts_of("x@sender.test", recipient, **facts), ask))  # type: ignore[arg-type]


EXACT = connector("exact", 'recipient_domains = ["eu.contoso.com"]')
LONG = connector("long", 'recipient_domains = ["*.eu.contoso.com"]')
SHORT = connector("short", 'recipient_domains = ["*.contoso.com"]')
OWN = connector("own", "all_accepted_domains = true")
ALL = connector("all", 'recipient_domains = ["*"]')


@pytest.mark.parametrize(
    ("connectors", "recipient", "lane"),
    [
        (EXACT + LONG + SHORT + OWN + ALL, "a@eu.contoso.com", "contoso/exact"),
        (EXACT + LONG + SHORT + OWN + ALL, "a@x.eu.contoso.com", "contoso/long"),
        (EXACT + LONG + SHORT + OWN + ALL, "a@us.contoso.com", "contoso/short"),
        (EXACT + LONG + SHORT + OWN + ALL, "a@contoso.com", "contoso/own"),
        (EXACT + LONG + SHORT + ALL, "a@contoso.com", "contoso/all"),
        (EXACT + LONG + SHORT, "a@contoso.com", "contoso/mx:contoso.com"),
        (LONG + SHORT, "a@eu.contoso.com", "contoso/short"),
    ],
)
def test_ranks_of_2_4_with_ruling_C_1(connectors: str, recipient: str, lane: str) -> None:
    assert sent(connectors, recipient) == [f"-> {lane} {recipient}"]


def test_ties_go_to_the_cheaper_then_to_the_first_name() -> None:
    same = 'recipient_domains = ["contoso.com"]'
    assert sent(connector("b", same) + connector("a", same)) == ["-> contoso/a ben@contoso.com"]
    assert sent(connector("b", same) + connector("a", same, "cost = 5")) == ["-> contoso/b ben@contoso.com"]


def test_connectors_too_small_are_passed_over_and_if_all_are_it_is_refused() -> None:
    small = connector("small", 'recipient_domains = ["contoso.com"]', "size_limit = 1000000")
    large = message_of(2_000_000)
    assert sent(small) == ["-> contoso/small ben@contoso.com"]
    assert sent(small + ALL, message=large) == ["-> contoso/all ben@contoso.com"]
    assert sent(small, message=large) == ["552 5.3.4"]


def test_central_transport_goes_first_but_not_back() -> None:
    central = connector("central", "route_all_messages_via_on_premises = true")
    own_server = (
        '[[inbound_connector]]\nname = "onprem"\nconnector_type = "on_premises"\nsender_ip_addresses = ["192.0.2.25"]\n'
    )
    assert sent(central + EXACT, "a@eu.contoso.com") == ["-> contoso/central a@eu.contoso.com"]
    policy = policy_of(BASE + central + own_server)
    facts = facts_of("ben@contoso.com", "x@example.net", connection=connection_of("192.0.2.25"))
    assert fates(ruled(policy, facts)) == ["-> contoso/mx:example.net x@example.net"]


def test_tls_levels_and_requiretls_reach_the_route() -> None:
    forced = connector("own", "all_accepted_domains = true", 'tls_settings = "encryption_only"')
    assert sent(forced) == ["-> contoso/own#encryption_only ben@contoso.com"]
    assert sent(forced, require_tls=True) == ["-> contoso/own#encryption_only#requiretls ben@contoso.com"]
    lane = "contoso/mx:contoso.com#encryption_only#requiretls"
    assert sent("", require_tls=True) == [f"-> {lane} ben@contoso.com"]
    level = ('tls_settings = "domain_validation"', 'tls_domain = "a.test"')
    strict = connector("own", "all_accepted_domains = true", *level)
    assert sent(strict, require_tls=True) == ["-> contoso/own#domain_validation#requiretls ben@contoso.com"]


def test_tls_required_no_lets_off_what_dns_and_the_domain_ask_for() -> None:
    def ways(text: str, *fields: tuple[str, str]) -> list[str]:
        message = msgspec.structs.replace(message_of(), fields=fields)
        sender = connection_of("192.0.2.25")
        facts = facts_of("ben@contoso.com", "x@elsewhere.test", connection=sender, message=message)
        return fates(ruled(policy_of(BASE + OWN_SERVER + text), facts))

    by_mx = '[[outbound_connector]]\nname = "bank"\nrecipient_domains = ["*"]\ntls_settings = "encryption_only"\n'
    by_host = connector("HQ", 'recipient_domains = ["*"]')
    no = ("tls-REQUIRED", " no ")
    assert ways("", no) == ["-> contoso/mx:elsewhere.test#tls-not-required x@elsewhere.test"]
    assert ways(by_mx, no) == ["-> contoso/bank/elsewhere.test#encryption_only#tls-not-required x@elsewhere.test"]
    assert ways(by_host, no) == ["-> contoso/HQ x@elsewhere.test"], "a smart host owes nothing that it could be let off"
    for fields in ((no, no), (("TLS-Required", "maybe"),), ()):
        assert ways("", *fields) == ["-> contoso/mx:elsewhere.test x@elsewhere.test"], fields



def test_a_connector_by_mx_asks_for_the_targets_domain() -> None:
    by_mx = '[[outbound_connector]]\nname = "bank"\nrecipient_domains = ["*"]\ntls_settings = "encryption_only"\n'
    assert sent(by_mx, "a@us.contoso.com") == ["-> contoso/bank/us.contoso.com#encryption_only a@us.contoso.com"]


NOLA = connector(
    "NOLA", "is_transport_rule_scoped = true", 'recipient_domains = ["nola.contoso.com"]', host="nola.test"
)
HQ = connector("HQ", 'recipient_domains = ["*"]')
RULE = (
    '[[mail_flow_rule]]\nname = "City"\nrecipient_domain_is = ["nola.contoso.com"]\n'
    'route_message_outbound_connector = "NOLA"\n'
)


def test_T_CMR_1_by_recipient_domain() -> None:
    policy = policy_of(BASE + NOLA + HQ + RULE)
    ruling = ruled(policy, facts_of("x@sender.test", "rosa@nola.contoso.com", "sam@contoso.com"))
    assert fates(ruling) == ["-> contoso/NOLA rosa@nola.contoso.com", "-> contoso/HQ sam@contoso.com"]
    assert why(ruling.recipients[0]) == "connector NOLA: rule City names it"
    assert any(step.subject == "rule City" for step in ruling.recipients[0].steps)


def test_T_CMR_2() -> None:
    off = RULE + "enabled = false\n"
    assert sent(NOLA + HQ + off, "rosa@nola.contoso.com") == ["-> contoso/HQ rosa@nola.contoso.com"]
    assert sent(NOLA + off, "rosa@nola.contoso.com") == ["-> contoso/mx:nola.contoso.com rosa@nola.contoso.com"]


def test_a_disabled_connector_named_by_a_rule_makes_its_mail_wait() -> None:
    disabled = NOLA.replace('name = "NOLA"', 'name = "NOLA"\nenabled = false')
    (fate,) = sent(disabled + HQ + RULE, "rosa@nola.contoso.com")
    assert fate.startswith("-> contoso/NOLA rosa@nola.contoso.com waits: The connector NOLA, which the rule City")


def test_a_later_rule_wins_and_stop_ends_the_rules() -> None:
    second = RULE.replace("City", "Other").replace('connector = "NOLA"', 'connector = "HQ"')
    assert sent(NOLA + HQ + RULE + second, "rosa@nola.contoso.com") == ["-> contoso/HQ rosa@nola.contoso.com"]
    stopped = RULE + "stop_rule_processing = true\n"
    assert sent(NOLA + HQ + stopped + second, "rosa@nola.contoso.com") == ["-> contoso/NOLA rosa@nola.contoso.com"]


def test_an_exception_keeps_the_rule_from_acting() -> None:
    but = RULE + 'except_if_recipient_domain_is = ["vip.nola.contoso.com"]\n'
    assert sent(NOLA + HQ + but, "rosa@vip.nola.contoso.com") == ["-> contoso/HQ rosa@vip.nola.contoso.com"]
    assert sent(NOLA + HQ + but, "rosa@nola.contoso.com") == ["-> contoso/NOLA rosa@nola.contoso.com"]


def test_aliases_become_primary_addresses_and_targets_are_followed() -> None:
    ask = people(
        who_of("contoso", "ben@contoso.com", external="ben@inside.contoso.net"),
        who_of("contoso", "info@contoso.com", kind="mail_contact", external="ben@contoso.com"),
        who_of("contoso", "amy@contoso.com", external="amy@contoso.com"),
        who_of("contoso", "joe@contoso.com"),
        who_of("contoso", "a@contoso.com", external="b@contoso.com"),
        who_of("contoso", "b@contoso.com", external="a@contoso.com"),
        aliases={"benjamin@contoso.com": "ben@contoso.com"},
    )
    assert sent("", "Benjamin@contoso.com", ask) == ["-> contoso/mx:inside.contoso.net ben@inside.contoso.net"]
    assert sent("", "info@contoso.com", ask) == ["-> contoso/mx:inside.contoso.net ben@inside.contoso.net"]
    assert sent("", "amy@contoso.com", ask) == ["-> contoso/mx:contoso.com amy@contoso.com"]
    assert sent("", "joe@contoso.com", ask) == ["-> contoso/mx:contoso.com joe@contoso.com"]
    assert sent("", "a@contoso.com", ask) == ["554 5.4.6"]
    ruling = ruled(policy_of(BASE), facts_of("x@y.test", "benjamin@contoso.com"), ask, Point.RCPT)
    assert str(ruling.recipients[0].identity) == "ben@contoso.com"


def test_rules_see_the_primary_address_not_the_target() -> None:
    ask = people(who_of("contoso", "rosa@nola.contoso.com", external="rosa@elsewhere.test"))
    assert sent(NOLA + HQ + RULE, "rosa@nola.contoso.com", ask) == ["-> contoso/NOLA rosa@elsewhere.test"]


@pytest.mark.parametrize(
    ("message", "fate"),
    [
        (message_of(10 * 1024**2 + 1), "all 552 5.3.4"),
        (message_of(5 * 1024**2 + 1), "552 5.3.4"),
        (message_of(cut=True), "all 552 5.3.4"),
        (message_of(own_hops=20), "all 554 5.4.14"),
        (message_of(hops=30), "all 554 5.4.14"),
        (message_of(own_hops=19, hops=29), "-> contoso/HQ ben@contoso.com"),
    ],
)
def test_limits_and_loops(message: object, fate: str) -> None:
    assert sent(HQ, message=message) == [fate]
