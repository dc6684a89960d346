"""Where a copy for a mailbox goes: the organisation's store, the operator's, or by 2.4 like all others."""

from __future__ import annotations

import pytest

from decision.judging import fates, ruled, why
from decision.test_route import connector
from lockgate.mail.ruling import Route, TlsLevel, Via
from lockgate.policy.compile import compile_policy
from lockgate.policy.policy import Policy
from lockgate.testing.builders import connection_of, facts_of, people, who_of

BASE = """
[[organisation]]
name = "contoso"
reject_direct_send = false
[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true
[[inbound_connector]]
name = "onprem"
connector_type = "on_premises"
sender_ip_addresses = ["192.0.2.25"]
"""
STORE = '[[mailbox_store]]\nname = "Dovecot"\nkind = "lmtp"\nservers = ["store.contoso.com:24"]\n'
HQ = connector("HQ", 'recipient_domains = ["contoso.com"]')
ASK = people(
    who_of("contoso", "ana@contoso.com", kind="mailbox"),
    who_of("contoso", "julie@contoso.com", kind="mail_user"),
    who_of("contoso", "moved@contoso.com", kind="mail_user", external="ana.smith@contoso.com"),
    who_of("contoso", "all@contoso.com", kind="distribution_group"),
    aliases={"ana.smith@contoso.com": "ana@contoso.com"},
)


def policy(text: str = "", *, keeps: bool = True) -> Policy:
    return compile_policy({"a": BASE + text}, hostname="mx.test", revision=1, keeps_mailboxes=keeps)


def sent(text: str, *recipients: str, keeps: bool = True, peer: str = "198.51.100.9", **facts: object) -> list[str]:
    found = facts_of("x@sender.test", *recipients, connection=connection_of(peer), **facts)  # type: ignore[arg-type]
    return fates(ruled(policy(text, keeps=keeps), found, ASK))


def test_a_mailbox_goes_where_mailboxes_are_kept() -> None:
    assert sent(HQ, "ana@contoso.com") == ["-> contoso/mailboxes ana@contoso.com"]
    assert sent(HQ + STORE, "ana@contoso.com") == ["-> contoso/mailbox:Dovecot ana@contoso.com"]
    assert sent(HQ + STORE, "ana@contoso.com", keeps=False) == ["-> contoso/mailbox:Dovecot ana@contoso.com"]


def test_where_nobody_keeps_any_it_is_routed_like_everybody() -> None:
    assert sent(HQ, "ana@contoso.com", keeps=False) == ["-> contoso/HQ ana@contoso.com"]
    assert sent("", "ana@contoso.com", keeps=False) == ["-> contoso/mx:contoso.com ana@contoso.com"]


@pytest.mark.parametrize("address", ["Ana.Smith@contoso.com", "moved@contoso.com"])
def test_an_alias_and_a_mail_user_that_leads_to_a_mailbox_here(address: str) -> None:
    assert sent(HQ, address) == ["-> contoso/mailboxes ana@contoso.com"]


def test_hybrid_every_recipient_for_itself() -> None:
    found = sent(HQ, "ana@contoso.com", "julie@contoso.com", "all@contoso.com")
    assert found == ["-> contoso/mailboxes ana@contoso.com", "-> contoso/HQ julie@contoso.com",
                     "-> contoso/HQ all@contoso.com"]  # fmt: skip


def test_the_step_says_why() -> None:
    (verdict,) = ruled(policy(HQ + STORE), facts_of("x@sender.test", "ana@contoso.com"), ASK).recipients
    assert why(verdict) == "mailbox store Dovecot: ana@contoso.com is a mailbox"
    (verdict,) = ruled(policy(HQ), facts_of("x@sender.test", "ana@contoso.com"), ASK).recipients
    assert verdict.steps[-1].effect == "delivered where the operator keeps mailboxes"


def test_centralised_transport_takes_inbound_mail_first_and_gives_it_back() -> None:
    central = connector("central", "route_all_messages_via_on_premises = true")
    assert sent(central, "ana@contoso.com") == ["-> contoso/central ana@contoso.com"]
    assert sent(central, "ana@contoso.com", peer="192.0.2.25") == ["-> contoso/mailboxes ana@contoso.com"]


def test_a_rule_that_names_a_connector_goes_before_the_mailbox() -> None:
    rule = (
        connector("Filter", "is_transport_rule_scoped = true")
        + '[[mail_flow_rule]]\nname = "Round"\nrecipient_domain_is = ["contoso.com"]\n'
        'route_message_outbound_connector = "Filter"\n'
    )
    assert sent(HQ + rule, "ana@contoso.com") == ["-> contoso/Filter ana@contoso.com"]


def test_tls_demands_and_connector_sizes_do_not_concern_a_mailbox() -> None:
    small = connector("HQ", 'recipient_domains = ["contoso.com"]', "size_limit = 10")
    assert sent(small, "ana@contoso.com", require_tls=True) == ["-> contoso/mailboxes ana@contoso.com"]


def test_lanes_are_one_for_each_store() -> None:
    assert Route(Via.MAILBOX, "contoso", store="Dovecot").lane == "contoso/mailbox:Dovecot"
    assert Route(Via.MAILBOX, "contoso").lane == "contoso/mailboxes"
    assert Route(Via.CONNECTOR, "contoso", "hq", "", TlsLevel.ENCRYPTION_ONLY).lane == "contoso/hq#encryption_only"
