"""Relay rights, edge blocking, connection filter and domain switches (specification 1.4, 1.7, 1.8, 2.2 C)."""

from __future__ import annotations

import pytest

from decision.judging import fates, ruled, why
from lockgate.mail.facts import Point
from lockgate.mail.ruling import Direction
from lockgate.testing.builders import (
    certificate_of,
    connection_of,
    facts_of,
    people,
    policy_of,
    tls_of,
    who_of,
)

CONTOSO = """
[[organisation]]
name = "contoso"
{organisation}
[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true
{domain}
"""
BY_ADDRESS = """
[[inbound_connector]]
name = "onprem"
connector_type = "on_premises"
sender_ip_addresses = ["192.0.2.25"]
"""
BY_CERTIFICATE = """
[[inbound_connector]]
name = "onprem"
connector_type = "on_premises"
tls_sender_certificate_name = "*.contoso.com"
"""
OUR_CERTIFICATE = tls_of(certificate_of("mail.contoso.com"), trusted_by=("public",))
BEN = people(who_of("contoso", "ben@contoso.com"))


def contoso(more: str = "", *, organisation: str = "", domain: str = "") -> str:
    return CONTOSO.format(organisation=organisation, domain=domain) + more


def at_rcpt(text: str, sender: str, recipient: str, ask=BEN, **connection: object):
    facts = facts_of(sender, recipient, connection=connection_of(**connection))  # type: ignore[arg-type]
    return ruled(policy_of(text), facts, ask, until=Point.RCPT)


def test_T_EOP_3_relay_rows() -> None:
    ours = {"peer": "192.0.2.25"}
    may = at_rcpt(contoso(BY_ADDRESS), "ben@contoso.com", "x@example.net", **ours)
    assert fates(may) == ["undecided"]
    assert may.recipients[0].standing.relay
    assert may.recipients[0].standing.direction is Direction.ORIGINATING
    assert fates(at_rcpt(contoso(BY_ADDRESS), "ben@other.example", "x@example.net", **ours)) == ["550 5.7.64"]
    # a stranger, even with our domain as sender, has no right either
    assert fates(at_rcpt(contoso(BY_ADDRESS), "ben@contoso.com", "x@example.net")) == ["550 5.7.64"]
    assert fates(at_rcpt(contoso(BY_ADDRESS), "ben@other.example", "x@example.net")) == ["550 5.4.1"]


def test_a_certificate_of_an_accepted_domain_relays_for_any_sender() -> None:
    ours = {"tls": OUR_CERTIFICATE}
    text = contoso(BY_CERTIFICATE)
    assert fates(at_rcpt(text, "ben@other.example", "x@example.net", **ours)) == ["undecided"]
    untrusted = tls_of(certificate_of("mail.contoso.com"))
    assert fates(at_rcpt(text, "ben@contoso.com", "x@example.net", tls=untrusted)) == ["550 5.7.64"]
    foreign = tls_of(certificate_of("mail.other.test"), trusted_by=("public",))
    assert fates(at_rcpt(text, "ben@contoso.com", "x@example.net", tls=foreign)) == ["550 5.7.64"]


def test_a_certificate_name_below_an_accepted_domain_needs_an_own_sender() -> None:
    """Specification 2.3 rule 8: an exact name must itself be accepted to attribute alone."""
    text = contoso(BY_CERTIFICATE.replace("*.contoso.com", "mail.contoso.com"))
    assert fates(at_rcpt(text, "ben@contoso.com", "x@example.net", tls=OUR_CERTIFICATE)) == ["undecided"]
    assert fates(at_rcpt(text, "ben@other.example", "x@example.net", tls=OUR_CERTIFICATE)) == ["550 5.7.64"]


@pytest.mark.parametrize(
    ("connector", "settings", "right", "fate"),
    [
        (BY_ADDRESS, 'compatibility = "exchange"', "true", "550 5.7.64"),
        (BY_CERTIFICATE, 'compatibility = "exchange"', "true", "undecided"),
        (BY_ADDRESS, "", "true", "undecided"),
        (BY_ADDRESS, "", "false", "550 5.7.64"),
        (BY_CERTIFICATE, "", "false", "550 5.7.64"),
    ],
)
def test_T_EOP_5_null_sender(connector: str, settings: str, right: str, fate: str) -> None:
    text = contoso(f"{connector}relay_null_sender = {right}", organisation=settings)
    ruling = at_rcpt(text, "", "x@example.net", peer="192.0.2.25", tls=OUR_CERTIFICATE)
    assert fates(ruling) == [fate]


def test_T_DBEB_1() -> None:
    known = people(*(who_of("contoso", f"user{n}@contoso.com") for n in range(100)))
    relay = contoso(
        '[[outbound_connector]]\nname = "hq"\nconnector_type = "on_premises"\nuse_mx_record = false\n'
        'smart_hosts = ["mail.contoso.com"]\nrecipient_domains = ["contoso.com"]',
        domain='domain_type = "internal_relay"',
    )
    facts = facts_of("x@sender.test", "user100@contoso.com")
    assert fates(ruled(policy_of(relay), facts, known)) == ["-> contoso/hq user100@contoso.com"]
    strict = relay.replace("internal_relay", "authoritative")
    assert fates(ruled(policy_of(strict), facts, known, Point.RCPT)) == ["550 5.4.1"]
    assert "does not know user100@contoso.com" in why(ruled(policy_of(strict), facts, known, Point.RCPT).recipients[0])


def test_each_recipient_is_judged_alone() -> None:
    policy = policy_of(contoso())
    facts = facts_of("x@sender.test", "ben@contoso.com", "nobody@contoso.com", "x@example.net", "BEN@Contoso.COM")
    assert fates(ruled(policy, facts, BEN, Point.RCPT)) == ["undecided", "550 5.4.1", "550 5.4.1", "undecided"]


def test_postmaster_is_always_accepted() -> None:
    nobody = people()
    for recipient in ("postmaster@contoso.com", "PostMaster@contoso.com", "postmaster", "Postmaster"):
        ruling = at_rcpt(contoso(), "x@sender.test", recipient, nobody)
        assert fates(ruling) == ["undecided"]
        assert ruling.recipients[0].target.domain == "contoso.com"
    assert fates(at_rcpt(contoso(), "x@sender.test", "postmaster@example.net", nobody)) == ["550 5.4.1"]


def test_a_directory_that_does_not_answer_puts_off_and_never_accepts() -> None:
    silent = people(failing="the table is being built")
    assert fates(at_rcpt(contoso(), "x@sender.test", "ben@contoso.com", silent)) == ["451 4.3.0"]
    assert fates(at_rcpt(contoso(), "x@sender.test", "x@example.net", silent)) == ["550 5.4.1"]
    closed = contoso(domain="sending_to_domain_disabled = true")
    assert fates(at_rcpt(closed, "x@sender.test", "ben@contoso.com", silent)) == ["550 5.7.1"]


def test_T_IPA_3() -> None:
    two = contoso(
        '[[organisation]]\nname = "fabrikam"\n[[accepted_domain]]\norganisation = "fabrikam"\n'
        'domain_name = "fabrikam.com"\nvouched_by_operator = true\n'
        '[[connection_filter]]\norganisation = "contoso"\nip_block_list = ["192.0.2.25"]'
    ).replace("[[accepted_domain]]\ndomain_name", '[[accepted_domain]]\norganisation = "contoso"\ndomain_name')
    ask = people(who_of("contoso", "ben@contoso.com"), who_of("fabrikam", "amy@fabrikam.com"))
    facts = facts_of("x@sender.test", "ben@contoso.com", "amy@fabrikam.com", connection=connection_of("192.0.2.25"))
    assert fates(ruled(policy_of(two), facts, ask, Point.RCPT)) == ["550 5.7.513", "undecided"]
    operator = two + '\n[operator]\nip_block_list = ["192.0.2.25"]'
    assert fates(ruled(policy_of(operator), facts, ask, Point.CONNECT)) == ["all 550 5.7.513"]


def test_an_allowed_address_is_marked_and_gets_no_other_right() -> None:
    lists = '[[connection_filter]]\nip_allow_list = ["192.0.2.25"]\nip_block_list = ["192.0.2.0/24"]'
    may = at_rcpt(contoso(lists), "x@sender.test", "ben@contoso.com", peer="192.0.2.25")
    assert fates(may) == ["undecided"]
    assert may.recipients[0].standing.allowed_by_ip
    assert fates(at_rcpt(contoso(lists), "x@sender.test", "no@contoso.com", peer="192.0.2.25")) == ["550 5.4.1"]
    assert fates(at_rcpt(contoso(lists), "x@sender.test", "x@example.net", peer="192.0.2.25")) == ["550 5.4.1"]
    assert fates(at_rcpt(contoso(lists), "x@sender.test", "ben@contoso.com", peer="192.0.2.26")) == ["550 5.7.513"]


def test_domains_that_are_switched_off() -> None:
    closed = contoso(BY_ADDRESS, domain="sending_from_domain_disabled = true")
    assert fates(at_rcpt(closed, "ben@contoso.com", "x@example.net", peer="192.0.2.25")) == ["550 5.7.1"]
    outward = contoso(BY_ADDRESS, domain='outbound_only = true\ndomain_type = "internal_relay"')
    assert fates(at_rcpt(outward, "x@sender.test", "ben@contoso.com")) == ["550 5.4.1"]
    assert fates(at_rcpt(outward, "ben@contoso.com", "ben@contoso.com", peer="192.0.2.25")) == ["undecided"]


def test_a_domain_receives_nothing_until_it_is_proven() -> None:
    unproven = contoso().replace("vouched_by_operator = true", "")
    assert fates(at_rcpt(unproven, "x@sender.test", "ben@contoso.com")) == ["550 5.4.1"]


def test_recipients_over_the_limit_are_put_off() -> None:
    policy = policy_of(contoso() + "\n[operator]\nlimits = { recipients_per_message = 100 }")
    facts = facts_of("x@sender.test", *(f"postmaster+{n}@contoso.com" for n in range(99)), "ben@contoso.com")
    over = facts_of("x@sender.test", *(f"u{n}@contoso.com" for n in range(100)), "ben@contoso.com")
    assert fates(ruled(policy, facts, BEN, Point.RCPT))[-1] == "undecided"
    assert fates(ruled(policy, over, BEN, Point.RCPT))[-1] == "452 4.5.3"


def test_a_login_gives_the_right_for_own_senders_only() -> None:
    may = at_rcpt(contoso(), "ben@contoso.com", "x@example.net", login="ben@contoso.com")
    assert fates(may) == ["undecided"]
    assert fates(at_rcpt(contoso(), "x@sender.test", "x@example.net", login="ben@contoso.com")) == ["550 5.7.64"]


def test_an_organisation_may_want_fewer_recipients_of_one_message_than_the_operator() -> None:
    text = contoso(organisation="max_recipient_envelope_limit = 2")
    ask = people(*(who_of("contoso", f"u{n}@contoso.com") for n in range(4)))
    facts = facts_of("x@sender.test", *(f"u{n}@contoso.com" for n in range(4)))
    said = fates(ruled(policy_of(text), facts, ask, until=Point.RCPT))
    assert said == ["undecided", "undecided", "452 4.5.3", "452 4.5.3"]
    group = people(
        who_of("contoso", "all@contoso.com", kind="distribution_group"),
        *(who_of("contoso", f"u{n}@contoso.com", kind="mailbox") for n in range(4)),
        members={"all@contoso.com": [f"u{n}@contoso.com" for n in range(4)]},
    )
    expanded = ruled(policy_of(text), facts_of("x@sender.test", "all@contoso.com"), group)
    assert len(expanded.recipients) == 5, "a group counts as one"
