"""What partners owe (specification 2.3), whom restrictions bind, and senders of other organisations."""

from __future__ import annotations

import pytest

from decision.judging import fates, ruled
from lockgate.mail.facts import Point
from lockgate.testing.builders import (
    certificate_of,
    connection_of,
    facts_of,
    people,
    policy_of,
    spki_of,
    tls_of,
    who_of,
)

ORGANISATIONS = """
[[organisation]]
name = "contoso"
[[accepted_domain]]
organisation = "contoso"
domain_name = "contoso.com"
vouched_by_operator = true
[[accepted_domain]]
organisation = "contoso"
domain_name = "initial.test"
vouched_by_operator = true
[[organisation]]
name = "fabrikam"
[[accepted_domain]]
organisation = "fabrikam"
domain_name = "fabrikam.com"
vouched_by_operator = true
"""
ASK = people(
    who_of("contoso", "u@contoso.com"), who_of("contoso", "u@initial.test"), who_of("fabrikam", "u@fabrikam.com")
)
NAMED = "mail.bank.test"
RIGHT = tls_of(certificate_of(NAMED), trusted_by=("public",))
WRONG = tls_of(certificate_of("mail.other.test"), trusted_by=("public",))
SELF_SIGNED = tls_of(certificate_of(NAMED))


def partner(name: str = "bank", **values: object) -> str:
    settings = {"sender_domains": ["bank.test"], "require_tls": False, **values}
    lines = [f"{key} = {_toml(value)}" for key, value in settings.items()]
    return "\n".join(["[[inbound_connector]]", 'organisation = "contoso"', f'name = "{name}"', *lines, ""])


def _toml(value: object) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value).replace("'", '"') if isinstance(value, list) else f'"{value}"'


def at_rcpt(connectors: str, sender: str = "a@bank.test", *recipients: str, **connection: object):
    facts = facts_of(sender, *(recipients or ("u@contoso.com",)), connection=connection_of(**connection))  # type: ignore[arg-type]
    return ruled(policy_of(ORGANISATIONS + connectors), facts, ASK, until=Point.RCPT)


IPS = {"sender_ip_addresses": ["192.0.2.0/25"], "restrict_domains_to_ip_addresses": True}
CERT = {"tls_sender_certificate_name": NAMED, "restrict_domains_to_certificate": True}


@pytest.mark.parametrize(
    ("settings", "peer", "tls", "fate"),
    [  # the enforcement table of specification 2.3 rule 4, row by row
        ({}, "198.51.100.7", None, "undecided"),
        ({"require_tls": True}, "198.51.100.7", None, "550 5.7.1"),
        ({"require_tls": True}, "198.51.100.7", WRONG, "undecided"),
        ({"require_tls": True}, "198.51.100.7", tls_of(), "undecided"),
        ({"require_tls": True, **CERT}, "198.51.100.7", None, "550 5.7.1"),
        ({"require_tls": True, **CERT}, "198.51.100.7", WRONG, "550 5.7.51"),
        ({"require_tls": True, **CERT}, "198.51.100.7", tls_of(), "550 5.7.51"),
        ({"require_tls": True, **CERT}, "198.51.100.7", SELF_SIGNED, "550 5.7.51"),
        ({"require_tls": True, **CERT}, "198.51.100.7", RIGHT, "undecided"),
        (IPS, "192.0.2.7", None, "undecided"),
        (IPS, "192.0.2.200", RIGHT, "550 5.7.51"),
        ({"require_tls": True, **IPS}, "192.0.2.7", None, "550 5.7.1"),
        ({"require_tls": True, **IPS}, "192.0.2.7", WRONG, "undecided"),
        ({"require_tls": True, **IPS}, "192.0.2.200", WRONG, "550 5.7.51"),
        ({"require_tls": True, **IPS, **CERT}, "192.0.2.7", RIGHT, "undecided"),
        ({"require_tls": True, **IPS, **CERT}, "192.0.2.200", RIGHT, "550 5.7.51"),
        ({"require_tls": True, **IPS, **CERT}, "192.0.2.7", WRONG, "550 5.7.51"),
    ],
)
def test_the_enforcement_table(settings: dict[str, object], peer: str, tls: object, fate: str) -> None:
    assert fates(at_rcpt(partner(**settings), peer=peer, tls=tls)) == [fate]


def test_T_TLS_1_binds_only_the_organisation_that_asks_for_it() -> None:
    ruling = at_rcpt(partner(require_tls=True), "a@bank.test", "u@contoso.com", "u@fabrikam.com")
    assert fates(ruling) == ["550 5.7.1", "undecided"]


def test_addresses_without_the_restriction_identify_and_tls_binds_only_them() -> None:
    """2.3 rule 6 and T-TLS-8."""
    identifies = partner(sender_domains=["*"], sender_ip_addresses=["192.0.2.25"], require_tls=True)
    assert fates(at_rcpt(identifies, peer="192.0.2.25")) == ["550 5.7.1"]
    assert fates(at_rcpt(identifies, peer="192.0.2.25", tls=tls_of())) == ["undecided"]
    assert fates(at_rcpt(identifies, peer="192.0.2.26")) == ["undecided"]


def test_the_most_specific_sender_domain_counts_and_wildcards_go_by_label() -> None:
    both = partner("wide", sender_domains=["*.bank.test"], require_tls=True) + partner("exact")
    assert fates(at_rcpt(both, "a@bank.test")) == ["undecided"]
    assert fates(at_rcpt(both, "a@branch.bank.test")) == ["550 5.7.1"]
    assert fates(at_rcpt(both, "a@evilbank.test")) == ["undecided"]
    apex = partner("wide", sender_domains=["*.bank.test"], require_tls=True)
    assert fates(at_rcpt(apex, "a@bank.test")) == ["550 5.7.1"]


def test_T_IPR_2_lock_down() -> None:
    gateway = partner("gateway", sender_domains=["*"], **IPS)
    assert fates(at_rcpt(gateway, "x@any.test", "u@contoso.com", "u@initial.test")) == ["550 5.7.51", "550 5.7.51"]
    assert fates(at_rcpt(gateway, "", "u@contoso.com")) == ["550 5.7.51"]
    assert fates(at_rcpt(gateway, "x@any.test", "u@contoso.com", peer="192.0.2.9")) == ["undecided"]
    assert fates(at_rcpt(gateway, "x@any.test", "u@fabrikam.com")) == ["undecided"]
    narrowed = partner("gateway", sender_domains=["*"], associated_accepted_domains=["contoso.com"], **IPS)
    assert fates(at_rcpt(narrowed, "x@any.test", "u@contoso.com", "u@initial.test")) == ["550 5.7.51", "undecided"]
    # a connector that only names a domain opens no hole in the lock-down (rule 3)
    assert fates(at_rcpt(gateway + partner("bank"), "a@bank.test")) == ["550 5.7.51"]


def test_own_servers_and_logins_are_exempt_from_the_lock_down() -> None:
    text = partner("gateway", sender_domains=["*"], **IPS) + partner(
        "onprem", connector_type="on_premises", sender_domains=["*"], tls_sender_certificate_name="*.contoso.com"
    )
    ours = tls_of(certificate_of("mail.contoso.com"), trusted_by=("public",))
    assert fates(at_rcpt(text, "x@any.test", "u@contoso.com", tls=ours)) == ["undecided"]
    assert fates(at_rcpt(text, "u@contoso.com", "u@contoso.com", login="u@contoso.com")) == ["undecided"]


def test_two_restricting_connectors_for_one_domain_are_alternatives() -> None:
    both = partner("a", **IPS) + partner("b", require_tls=True, **CERT)
    assert fates(at_rcpt(both, peer="192.0.2.7")) == ["undecided"]
    assert fates(at_rcpt(both, tls=RIGHT)) == ["undecided"]
    assert fates(at_rcpt(both, tls=WRONG)) == ["550 5.7.51"]


def test_pins_ca_files_purposes_and_common_names() -> None:
    pinned = partner(require_tls=True, pinned_keys=[spki_of("k1"), spki_of("k2")], restrict_domains_to_certificate=True)
    assert fates(at_rcpt(pinned, tls=SELF_SIGNED)) == ["undecided"]
    other_key = tls_of(certificate_of(NAMED, spki="k9"), trusted_by=("public",))
    assert fates(at_rcpt(pinned, tls=other_key)) == ["550 5.7.51"]
    own_ca = partner(require_tls=True, ca_file="/etc/ca.pem", **CERT)
    assert fates(at_rcpt(own_ca, tls=RIGHT)) == ["550 5.7.51"]
    assert fates(at_rcpt(own_ca, tls=tls_of(certificate_of(NAMED), trusted_by=("/etc/ca.pem",)))) == ["undecided"]
    named = partner(require_tls=True, **CERT)
    for purposes, fate in ((("serverAuth",), "undecided"), (("codeSigning",), "550 5.7.51")):
        shown = tls_of(certificate_of(NAMED, purposes=purposes), trusted_by=("public",))
        assert fates(at_rcpt(named, tls=shown)) == [fate]
    only_cn = tls_of(certificate_of(common_name="MAIL.bank.test."), trusted_by=("public",))
    assert fates(at_rcpt(named, tls=only_cn)) == ["550 5.7.51"]
    assert fates(at_rcpt(partner(require_tls=True, allow_common_name=True, **CERT), tls=only_cn)) == ["undecided"]
    nul = tls_of(certificate_of(common_name="evil.test\0.bank.test"), trusted_by=("public",))
    wild = partner(
        require_tls=True, allow_common_name=True, tls_sender_certificate_name="*.bank.test",
        restrict_domains_to_certificate=True,
    )  # fmt: skip
    assert fates(at_rcpt(wild, tls=nul)) == ["550 5.7.51"]


def test_an_organisations_server_never_sends_for_another_organisation() -> None:
    ours = partner("onprem", connector_type="on_premises", sender_domains=["*"], sender_ip_addresses=["192.0.2.25"])
    for recipient in ("u@contoso.com", "u@fabrikam.com", "x@example.net"):
        assert fates(at_rcpt(ours, "u@fabrikam.com", recipient, peer="192.0.2.25")) == ["550 5.7.64"]
    assert fates(at_rcpt(ours, "u@contoso.com", "u@fabrikam.com", peer="192.0.2.25")) == ["undecided"]


def test_direct_send_is_refused_by_default_and_may_be_allowed() -> None:
    assert fates(at_rcpt("", "u@contoso.com", "u@contoso.com")) == ["550 5.7.68"]
    assert fates(at_rcpt("", "u@contoso.com", "u@fabrikam.com")) == ["undecided"]
    allowed = ORGANISATIONS.replace('name = "contoso"\n[[', 'name = "contoso"\nreject_direct_send = false\n[[', 1)
    facts = facts_of("u@contoso.com", "u@contoso.com")
    assert fates(ruled(policy_of(allowed), facts, ASK, Point.RCPT)) == ["undecided"]
    listed = partner("bulk", sender_domains=["contoso.com"], **IPS)
    assert fates(at_rcpt(listed, "u@contoso.com", "u@contoso.com", peer="192.0.2.9")) == ["undecided"]
    named = partner("bulk", sender_domains=["contoso.com"])
    assert fates(at_rcpt(named, "u@contoso.com", "u@contoso.com", peer="192.0.2.9")) == ["550 5.7.68"]
