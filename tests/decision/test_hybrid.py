"""The seven flows of the four MX and transport cases (specification 2.6), and how they may not go round (2.5)."""

from __future__ import annotations

import pytest

from decision.judging import fates, ruled, said, why
from lockgate.mail.connection import Connection
from lockgate.mail.ruling import Ruling
from lockgate.policy.compile import compile_policy
from lockgate.policy.policy import Policy
from lockgate.testing.builders import certificate_of, connection_of, facts_of, people, tls_of, who_of

BASE = """
[[organisation]]
name = "contoso"
reject_direct_send = false
[[accepted_domain]]
domain_name = "contoso.com"
domain_type = "{domain_type}"
vouched_by_operator = true
[[accepted_domain]]
domain_name = "contoso.mail.example"
coexistence = true
vouched_by_operator = true
[[inbound_connector]]
name = "From on-premises"
connector_type = "on_premises"
tls_sender_certificate_name = "*.contoso.com"
cloud_services_mail_enabled = true
[[inbound_connector]]
name = "Application"
connector_type = "on_premises"
sender_ip_addresses = ["192.0.2.80"]
[[outbound_connector]]
name = "HQ"
connector_type = "on_premises"
recipient_domains = ["contoso.com"]
use_mx_record = false
smart_hosts = ["mail.contoso.com"]
tls_settings = "domain_validation"
tls_domain = "mail.contoso.com"
cloud_services_mail_enabled = true
route_all_messages_via_on_premises = {central}
"""
INTERNET = connection_of("198.51.100.9")
HERE = connection_of("192.0.2.80")
"""Where mailboxes of this side send from: the server that people log in to."""
THERE = connection_of("192.0.2.25", tls=tls_of(certificate_of("mail.contoso.com"), trusted_by=("public",)))

PEOPLE = people(
    who_of("contoso", "david@contoso.com", kind="mailbox"),
    who_of("contoso", "julie@contoso.com", kind="mail_user"),
    who_of("contoso", "frank@contoso.com", kind="mailbox", forwarding="frank@home.test", keeps_copy=True),
    who_of("contoso", "fanny@contoso.com", kind="mailbox", forwarding="fanny@home.test"),
    who_of("contoso", "synced@contoso.com", external="synced@contoso.mail.example"),
    who_of("contoso", "old.david@contoso.com", external="david@contoso.mail.example"),
    who_of("contoso", "nobody@contoso.com", external="gone@contoso.mail.example"),
    who_of("contoso", "julie2@contoso.com", external="julie@contoso.mail.example"),
    who_of("contoso", "all@contoso.com", kind="distribution_group"),
    who_of("contoso", "synchronised@contoso.com", kind="distribution_group"),
    members={
        "all@contoso.com": ["david@contoso.com", "julie@contoso.com", "guest@home.test"],
        "synchronised@contoso.com": ["synced@contoso.com", "old.david@contoso.com", "julie@contoso.com"],
    },
)

MAILBOX, HQ, MX = "contoso/mailboxes", "contoso/HQ#domain_validation", "contoso/mx:home.test"


def policy(*, central: bool, domain_type: str = "authoritative", more: str = "") -> Policy:
    text = BASE.format(domain_type=domain_type, central=str(central).lower()) + more
    return compile_policy({"a": text}, hostname="mx.test", revision=1, keeps_mailboxes=True)


def judged(rules: Policy, sender: str, *recipients: str, by: Connection, **facts: object) -> Ruling:
    return ruled(rules, facts_of(sender, *recipients, connection=by, **facts), PEOPLE)  # type: ignore[arg-type]


def sent(sender: str, *recipients: str, by: Connection, central: bool = False, **wishes: str) -> list[str]:
    return fates(judged(policy(central=central, **wishes), sender, *recipients, by=by))


DAVID, JULIE = "david@contoso.com", "julie@contoso.com"
OUT, COEXISTENCE = "x@home.test", "david@contoso.mail.example"


@pytest.mark.parametrize("domain_type", ["authoritative", "internal_relay"])
@pytest.mark.parametrize(
    ("flow", "by", "sender", "recipient", "direct", "central"),
    [
        # With the MX here: what comes from the Internet; with the MX there: what comes in spite of it.
        ("Internet to a mailbox here", INTERNET, OUT, DAVID, f"{MAILBOX} {DAVID}", f"{HQ} {DAVID}"),
        ("Internet to a mailbox there", INTERNET, OUT, JULIE, f"{HQ} {JULIE}", f"{HQ} {JULIE}"),
        ("here to the Internet", HERE, DAVID, OUT, f"{MX} {OUT}", f"{HQ} {OUT}"),
        ("there to the Internet, by us", THERE, JULIE, OUT, f"{MX} {OUT}", f"{MX} {OUT}"),
        ("here to there", HERE, DAVID, JULIE, f"{HQ} {JULIE}", f"{HQ} {JULIE}"),
        ("there to here", THERE, JULIE, COEXISTENCE, f"{MAILBOX} {DAVID}", f"{MAILBOX} {DAVID}"),
        # With the MX there, and with centralised transport the way back: Internet to a mailbox here, by on-premises.
        ("there to here, for the Internet", THERE, OUT, COEXISTENCE, f"{MAILBOX} {DAVID}", f"{MAILBOX} {DAVID}"),
        # And what needs no second way at all.
        ("here to here", HERE, "frank@contoso.com", DAVID, f"{MAILBOX} {DAVID}", f"{MAILBOX} {DAVID}"),
        ("there to here by her own address", THERE, OUT, DAVID, f"{MAILBOX} {DAVID}", f"{MAILBOX} {DAVID}"),
        ("Internet to a coexistence address", INTERNET, OUT, COEXISTENCE, f"{MAILBOX} {DAVID}", f"{HQ} {DAVID}"),
    ],
)  # fmt: skip
def test_every_flow_with_and_without_centralised_transport(
    flow: str, by: Connection, sender: str, recipient: str, direct: str, central: str, domain_type: str
) -> None:
    assert sent(sender, recipient, by=by, domain_type=domain_type) == [f"-> {direct}"], flow
    assert sent(sender, recipient, by=by, central=True, domain_type=domain_type) == [f"-> {central}"], flow


def test_one_message_to_both_sides_is_split_or_goes_round_as_one() -> None:
    assert sent(OUT, DAVID, JULIE, by=INTERNET) == [f"-> {MAILBOX} {DAVID}", f"-> {HQ} {JULIE}"]
    assert sent(OUT, DAVID, JULIE, by=INTERNET, central=True) == [f"-> {HQ} {DAVID}", f"-> {HQ} {JULIE}"]


def test_whom_only_the_other_side_knows() -> None:
    new = "new@contoso.com"
    assert sent(OUT, new, by=INTERNET, domain_type="internal_relay") == [f"-> {HQ} {new}"]
    assert sent(OUT, new, by=INTERNET) == ["550 5.4.1"]
    assert sent(OUT, "new@contoso.mail.example", by=THERE, domain_type="internal_relay") == ["550 5.4.1"]


# --- forwarding under centralised transport ----------------------------------------------------------------------


def test_forwarding_goes_by_on_premises_and_happens_once() -> None:
    frank, home = "frank@contoso.com", "frank@home.test"
    assert sent(OUT, frank, by=INTERNET) == [f"-> {MAILBOX} {frank}", "-> contoso/mx:home.test frank@home.test"]
    assert sent(OUT, frank, by=INTERNET, central=True) == [f"-> {HQ} {frank}"]
    back = sent(OUT, "frank@contoso.mail.example", by=THERE, central=True)
    assert back == [f"-> {MAILBOX} {frank}", f"-> {HQ} {home}"]
    assert sent(DAVID, frank, by=HERE, central=True) == [f"-> {MAILBOX} {frank}", f"-> {HQ} {home}"]


def test_forwarding_without_a_copy_is_the_same() -> None:
    assert sent(OUT, "fanny@contoso.com", by=INTERNET, central=True) == [f"-> {HQ} fanny@contoso.com"]
    back = sent(OUT, "fanny@contoso.mail.example", by=THERE, central=True)
    assert back == ["resolved: forwarded to fanny@home.test", f"-> {HQ} fanny@home.test"]


def test_the_step_says_when_it_is_forwarded() -> None:
    (verdict,) = judged(policy(central=True), OUT, "frank@contoso.com", by=INTERNET).recipients
    step = next(step for step in verdict.steps if step.subject == "forwarding of frank@contoso.com")
    assert step.because == "its mail goes by on-premises first (specification 2.6)"
    assert step.effect == "forwarded when it comes back"


def test_members_of_a_group_each_by_their_way() -> None:
    found = sent(OUT, "all@contoso.com", by=THERE, central=True)
    assert found == ["expanded: 3 members of all@contoso.com", f"-> {MAILBOX} {DAVID}", f"-> {HQ} {JULIE}",
                     f"-> {HQ} guest@home.test"]  # fmt: skip


def test_members_who_live_here_by_their_coexistence_address() -> None:
    found = sent(OUT, "synchronised@contoso.com", by=INTERNET)
    assert found[1:] == [f"-> {MAILBOX} synced@contoso.com", f"-> {MAILBOX} {DAVID}", f"-> {HQ} {JULIE}"]


# --- who the other side is ---------------------------------------------------------------------------------------


def test_without_the_hybrid_switch_every_own_server_may_be_the_other_side() -> None:
    text = BASE.format(domain_type="authoritative", central="true")
    rules = compile_policy(
        {"a": text.replace("cloud_services_mail_enabled = true", "")}, hostname="mx.test", revision=1,
        keeps_mailboxes=True,
    )  # fmt: skip
    assert fates(judged(rules, DAVID, OUT, by=HERE)) == [f"-> {MX} {OUT}"]
    assert fates(judged(rules, OUT, DAVID, by=HERE)) == [f"-> {MAILBOX} {DAVID}"]
    assert fates(judged(rules, OUT, DAVID, by=INTERNET)) == [f"-> {HQ} {DAVID}"]


def test_a_gateway_without_the_switch_is_not_the_other_side() -> None:
    assert sent(OUT, DAVID, by=HERE, central=True) == [f"-> {HQ} {DAVID}"]


def test_an_application_is_of_this_side_as_its_mail_goes_by_on_premises() -> None:
    assert sent(DAVID, OUT, by=HERE, central=True) == [f"-> {HQ} {OUT}"]


# --- the coexistence domain --------------------------------------------------------------------------------------


@pytest.mark.parametrize("address", ["David@contoso.mail.example", "david+list@contoso.mail.example"])
def test_a_coexistence_address_leads_to_the_mailbox(address: str) -> None:
    assert sent(OUT, address, by=THERE) == [f"-> {MAILBOX} {DAVID}"]


def test_a_mail_user_whose_external_address_is_there_has_her_mailbox_here() -> None:
    assert sent(OUT, "old.david@contoso.com", by=INTERNET) == [f"-> {MAILBOX} {DAVID}"]
    assert sent(OUT, "synced@contoso.com", by=INTERNET) == [f"-> {MAILBOX} synced@contoso.com"]
    assert sent(OUT, "synced@contoso.mail.example", by=THERE) == [f"-> {MAILBOX} synced@contoso.com"]
    assert sent(OUT, "julie2@contoso.com", by=INTERNET) == [f"-> {HQ} {JULIE}"]


def test_an_external_address_there_that_is_nobodys_is_told_at_once() -> None:
    (verdict,) = judged(policy(central=False), OUT, "nobody@contoso.com", by=INTERNET).recipients
    assert said(verdict.disposition) == "554 5.4.6"
    assert why(verdict).endswith("lead in a circle, or to nobody here")


def test_two_directories_that_send_each_other_the_mail_are_stopped_at_once() -> None:
    (verdict,) = judged(policy(central=False), OUT, "julie@contoso.mail.example", by=THERE).recipients
    assert said(verdict.disposition) == "451 4.4.6"
    assert why(verdict) == (
        "coexistence: julie@contoso.mail.example says that the mailbox is here, and the directory has "
        "julie@contoso.com on the other side"
    )
    assert sent(OUT, "julie@contoso.mail.example", by=INTERNET) == [f"-> {HQ} {JULIE}"]


def test_reports_do_not_come_from_the_coexistence_domain() -> None:
    text = BASE.replace("contoso.mail.example", "a.mail.example").format(domain_type="authoritative", central="false")
    rules = compile_policy({"a": text}, hostname="mx.test", revision=1)
    assert rules.postmaster("contoso") == "postmaster@contoso.com"
