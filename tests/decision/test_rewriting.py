"""Under which domain the sender of mail that is sent on is rewritten (specification 1.2, SenderRewritingEnabled)."""

from __future__ import annotations

import msgspec
import pytest

from decision.judging import ruled
from lockgate.decision.rewriting import rewrite_domain
from lockgate.mail.facts import Point
from lockgate.mail.recipient import RecipientId
from lockgate.mail.ruling import Deliver, Standing, Verdict
from lockgate.testing.builders import address, connection_of, facts_of, people, policy_of, who_of

BASE = """
[[organisation]]
name = "contoso"
reject_direct_send = false
[[organisation]]
name = "fabrikam"
reject_direct_send = false
[[accepted_domain]]
domain_name = "contoso.com"
organisation = "contoso"
default = true
vouched_by_operator = true
[[accepted_domain]]
domain_name = "sales.contoso.com"
organisation = "contoso"
vouched_by_operator = true
[[accepted_domain]]
domain_name = "fabrikam.com"
organisation = "fabrikam"
vouched_by_operator = true
[[outbound_connector]]
name = "bank"
organisation = "contoso"
recipient_domains = ["bank.test"]
[[outbound_connector]]
name = "hq"
organisation = "contoso"
connector_type = "on_premises"
recipient_domains = ["old.test"]
use_mx_record = false
smart_hosts = ["hq.test"]
[[outbound_connector]]
name = "back"
organisation = "contoso"
connector_type = "on_premises"
recipient_domains = ["back.test"]
use_mx_record = false
smart_hosts = ["hq.test"]
sender_rewriting_enabled = true
[[inbound_connector]]
name = "servers"
organisation = "contoso"
connector_type = "on_premises"
sender_ip_addresses = ["192.0.2.25"]
"""
POLICY = policy_of(BASE)
SENDS_ONLY = 'outbound_only = true\ndomain_type = "internal_relay"\ndefault = true'
ELSEWHERE = policy_of(BASE.replace("default = true", SENDS_ONLY))


def derived(target: str, of: str = "team@sales.contoso.com") -> Verdict:
    root = RecipientId(address(of))
    standing = Standing("contoso", accepted_domain=root.original.domain)
    return Verdict(RecipientId(address(target), root), address(target), standing)


def under(target: str, connector: str = "", sender: str = "x@sender.test", policy=POLICY, **standing: object) -> str:  # type: ignore[no-untyped-def]
    verdict = derived(target)
    if standing:
        changed = msgspec.structs.replace(verdict.standing, **standing)
        verdict = Verdict(RecipientId(address(target)), address(target), changed)
    named = policy.of("contoso").outbound.named.get(connector)
    return rewrite_domain(policy, facts_of(sender, "team@sales.contoso.com"), verdict, named)


@pytest.mark.parametrize(
    ("target", "connector", "sender", "wanted"),
    [
        ("amy@gmail.test", "", "x@sender.test", "contoso.com"),
        ("amy@bank.test", "bank", "x@sender.test", "contoso.com"),
        ("amy@fabrikam.com", "", "x@sender.test", "contoso.com"),
        ("amy@gmail.test", "", "x@fabrikam.com", "contoso.com"),
        ("amy@gmail.test", "", "", ""),
        ("amy@gmail.test", "", "ben@sales.contoso.com", ""),
        ("amy@contoso.com", "", "x@sender.test", ""),
        ("amy@old.test", "hq", "x@sender.test", ""),
        ("amy@back.test", "back", "x@sender.test", "contoso.com"),
        ("amy@contoso.com", "back", "x@sender.test", "contoso.com"),
        ("amy@back.test", "back", "ben@contoso.com", ""),
    ],
)
def test_what_leaves_for_somebody_is_rewritten(target: str, connector: str, sender: str, wanted: str) -> None:
    assert under(target, connector, sender) == wanted


def test_reports_must_find_back_so_a_domain_that_receives_elsewhere_does_not_do() -> None:
    assert under("amy@gmail.test", policy=ELSEWHERE) == "sales.contoso.com"


def test_what_was_written_to_an_outside_address_by_an_own_server_is_its_own_affair() -> None:
    relayed = {"accepted_domain": "", "relay": True, "inbound_connector": "servers"}
    assert under("amy@gmail.test", **relayed) == ""
    assert under("amy@old.test", "hq", **relayed) == ""
    assert under("amy@back.test", "back", policy=POLICY, **relayed) == "contoso.com"


def test_a_mail_user_who_lives_outside_is_sent_on_and_the_explanation_says_so() -> None:
    ask = people(
        who_of("contoso", "out@contoso.com", external="out@gmail.test"),
        who_of("contoso", "in@contoso.com"),
    )
    ruling = ruled(POLICY, facts_of("x@sender.test", "out@contoso.com", "in@contoso.com"), ask)
    out, stays = ruling.recipients
    assert isinstance(out.disposition, Deliver)
    assert out.disposition.rewrite == "contoso.com"
    assert out.steps[-1].effect == "rewritten under contoso.com"
    assert isinstance(stays.disposition, Deliver)
    assert stays.disposition.rewrite == ""


def test_strangers_who_relay_by_an_own_server_are_not_rewritten_towards_the_internet() -> None:
    facts = facts_of("ben@contoso.com", "amy@gmail.test", connection=connection_of("192.0.2.25"))
    (verdict,) = ruled(POLICY, facts, until=Point.DATA).recipients
    assert isinstance(verdict.disposition, Deliver)
    assert verdict.disposition.rewrite == ""
