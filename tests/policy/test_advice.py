"""Specification 3.0 and 3.2 to 3.9: answers become documents that are sound, and what exists is compared with them."""

from __future__ import annotations

import pytest

from lockgate.policy.advice import Mailboxes
from lockgate.policy.advice_answers import Answers, Unclear, checked, partner_of, site_of
from lockgate.policy.advice_documents import Need, connectors_text, documents, pieces
from lockgate.policy.advice_findings import Kind, adopted, compared
from lockgate.policy.advice_steps import other_side, proofs
from lockgate.policy.compile import compile_policy
from lockgate.policy.policy import Policy

PIN = "ab" * 32
HOSTED = Answers(Mailboxes.HOSTED, domains=("contoso.com",))
OWN = Answers(
    Mailboxes.OWN_SERVERS, domains=("contoso.com",), certificate="contoso.com", next_hops=("mail.contoso.com",)
)
BOTH = OWN._replace(mailboxes=Mailboxes.BOTH)
CASES = {
    "3.1 hosted": HOSTED,
    "3.2 standalone by certificate": OWN,
    "3.2 standalone by address": OWN._replace(certificate="", addresses=("192.0.2.10", "2001:db8::/64")),
    "3.2 next hop by address": OWN._replace(certificate="", addresses=("192.0.2.10",), next_hops=("192.0.2.10:2525",)),
    "3.3 hybrid": BOTH,
    "3.3 hybrid, centralised": BOTH._replace(centralised=True, addresses=("192.0.2.10",)),
    "3.4 any TLS": HOSTED._replace(partners=(partner_of("contosobank.com"),)),
    "3.4 a CA": HOSTED._replace(partners=(partner_of("contosobank.com,tls=ca,ca_file=/etc/bank.pem"),)),
    "3.4 named": HOSTED._replace(partners=(partner_of("contosobank.com,certificate=*.contosobank.com"),)),
    "3.4 pinned": HOSTED._replace(partners=(partner_of(f"contosobank.com,pin={PIN},host=mx.contosobank.com"),)),
    "3.5 by address": HOSTED._replace(partners=(partner_of("contosobank.com,tls=none,address=203.0.113.0/24"),)),
    "3.4 one way": HOSTED._replace(partners=(partner_of("a.test,direction=in"), partner_of("b.test,direction=out"))),
    "3.7 site by attribute": OWN._replace(sites=(site_of("NOLA,host=gw.nola.contoso.com,city=New Orleans"),)),
    "3.7 site by domain": HOSTED._replace(sites=(site_of("NOLA,host=gw.nola.test:2525,domain=nola.contoso.com"),)),
    "3.8 devices": HOSTED._replace(devices=("203.0.113.40", "203.0.113.64/28")),
    "3.9 gateway by address": HOSTED._replace(gateway_addresses=("198.51.100.0/24",)),
    "3.9 gateway by certificate": OWN._replace(gateway_certificate="*.gateway.example", enhanced_filtering=False),
    "relay": HOSTED._replace(relay="smarthost.isp.example:587"),
    "two domains": OWN._replace(domains=("contoso.com", "contoso.net")),
}
EVERYTHING = BOTH._replace(
    centralised=True,
    devices=("203.0.113.40",),
    partners=(partner_of("contosobank.com,certificate=*.contosobank.com"), partner_of(f"fabrikam.test,pin={PIN}")),
    gateway_addresses=("198.51.100.0/24",),
    sites=(site_of("NOLA,host=gw.nola.contoso.com,city=New Orleans"),),
)
CASES["everything"] = EVERYTHING


def compiled(answers: Answers) -> Policy:
    answers = checked(answers)
    return compile_policy(documents(answers, pieces(answers)), hostname="mx.lockgate.test", revision=1)


@pytest.mark.parametrize("case", CASES)
def test_documents_are_sound_and_lack_nothing(case: str) -> None:
    answers = checked(CASES[case])
    policy = compiled(answers)
    mine = policy.of("contoso")
    again = compared(checked(adopted(answers, mine)), mine)
    assert again.findings == () and again.lacking == (), "what was advised is what is wanted"
    together = "\n".join(documents(answers, pieces(answers)).values())
    assert compile_policy({"one.toml": together}, hostname="mx.lockgate.test", revision=1).digest
    harmless = ("itself is no accepted domain", "must both hold")
    assert [w for w in policy.warnings if not any(word in w.message for word in harmless)] == []
    assert all(line.startswith("lockgate ") for line in proofs(pieces(answers), answers))


def test_what_the_documents_say() -> None:
    policy = compiled(EVERYTHING)
    mine = policy.of("contoso")
    own, to = mine.inbound["Our servers"], mine.outbound.named["To our servers"]
    assert own.on_premises and own.tls_sender_certificate_name == "contoso.com" and own.cloud_services_mail_enabled
    assert to.on_premises and to.smart_hosts == ("mail.contoso.com",) and to.route_all_messages_via_on_premises
    assert (to.tls_settings.value, to.tls_domain) == ("domain_validation", "contoso.com")
    assert to.cloud_services_mail_enabled
    bank = mine.inbound["From contosobank.com"]
    assert bank.require_tls and bank.restrict_domains_to_certificate and not bank.on_premises
    assert mine.inbound["From fabrikam.test"].pinned_keys == (PIN,)
    assert mine.outbound.named["To fabrikam.test"].pinned_keys == (PIN,)
    gateway = mine.inbound["Gateway"]
    assert gateway.sender_domains == ("*",) and gateway.restrict_domains_to_ip_addresses
    assert not gateway.ef_skip_last_ip, "it does not go together with centralised transport"
    behind = compiled(EVERYTHING._replace(centralised=False)).of("contoso").inbound["Gateway"]
    assert behind.ef_skip_last_ip
    assert gateway.associated_accepted_domains == ("contoso.com",)
    assert mine.outbound.named["NOLA"].is_transport_rule_scoped and mine.rules.all[0].name == "Site NOLA"
    assert mine.inbound["Devices"].sender_ip_addresses == ("203.0.113.40",)
    said = " ".join(other_side(checked(EVERYTHING), "mx.lockgate.test"))
    for words in ("mx.lockgate.test", "certificate for contoso.com", "*.contosobank.com", "Devices", "NOLA", "MX"):
        assert words in said
    lines = proofs(pieces(EVERYTHING), EVERYTHING)
    assert "lockgate connector validate 'To our servers' --to someone@contoso.com" in lines
    assert "lockgate connector validate NOLA --to someone@elsewhere.example" in lines


def test_the_need_of_each_is_that_of_the_specification() -> None:
    """The table of specification 3.0."""
    needs = {name: [(one.table, one.need) for one in pieces(checked(answers))] for name, answers in CASES.items()}
    both = [("inbound_connector", Need.NEEDED), ("outbound_connector", Need.NEEDED)]
    assert needs["3.1 hosted"] == []
    assert needs["3.2 standalone by certificate"] == both and needs["3.3 hybrid"] == both
    assert needs["3.8 devices"] == [("inbound_connector", Need.OPTIONAL)]
    assert needs["3.4 named"] == [("inbound_connector", Need.OPTIONAL), ("outbound_connector", Need.OPTIONAL)]
    assert [table for table, _ in needs["3.4 one way"]] == ["inbound_connector", "outbound_connector"]
    assert [table for table, _ in needs["3.5 by address"]] == ["inbound_connector"]


@pytest.mark.parametrize(
    ("answers", "option"),
    [
        (HOSTED._replace(domains=()), "domain"),
        (HOSTED._replace(domains=("not a domain",)), "domain"),
        (OWN._replace(next_hops=()), "next-hop"),
        (OWN._replace(certificate=""), "own-certificate"),
        (OWN._replace(certificate="mail.other.example"), "own-certificate"),
        (OWN._replace(certificate="*.com"), "own-certificate"),
        (OWN._replace(centralised=True), "centralised"),
        (OWN._replace(tls="loud"), "own-tls"),
        (HOSTED._replace(devices=("a printer",)), "device"),
        (HOSTED._replace(partners=(partner_of("bank.test")._replace(domain="no domain"),)), "partner"),
        (HOSTED._replace(sites=(site_of("NOLA,city=X"),)), "site"),
        (HOSTED._replace(sites=(site_of("NOLA,host=x.test"),)), "site"),
    ],
)
def test_answers_that_cannot_be_used_are_told_by_their_option(answers: Answers, option: str) -> None:
    with pytest.raises(Unclear) as told:
        checked(answers)
    assert told.value.answer == option and str(told.value)


@pytest.mark.parametrize(
    "text", ["", "tls=any", "bank.test,tls=loud", "bank.test,colour=red", "bank.test,direction=up", "bank.test,tls"]
)
def test_partners_that_are_not_understood(text: str) -> None:
    with pytest.raises(Unclear):
        partner_of(text)


@pytest.mark.parametrize("text", ["bank.test,tls=pin", "bank.test,pin=abc", "bank.test,tls=name"])
def test_partners_that_say_too_little(text: str) -> None:
    with pytest.raises(Unclear):
        checked(HOSTED._replace(partners=(partner_of(text),)))


# --- beside what is there --------------------------------------------------------------------------------------------


def beside(answers: Answers, text: str):
    policy = compile_policy({"p.toml": text}, hostname="mx.lockgate.test", revision=1)
    mine = policy.of("contoso")
    found = compared(checked(adopted(answers, mine), whole=False), mine)
    added = connectors_text(found.lacking)
    both = {"p.toml": text, "added.toml": added} if added else {"p.toml": text}
    later = compile_policy(both, hostname="mx.lockgate.test", revision=2).of("contoso")
    again = compared(checked(adopted(answers, later), whole=False), later)
    assert not again.lacking, "with what was advised nothing more is"
    return found


BARE = """
[[organisation]]
name = "contoso"
[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true
"""
THERE = """
[[inbound_connector]]
name = "Mine"
connector_type = "on_premises"
sender_ip_addresses = ["192.0.2.0/28"]
[[outbound_connector]]
name = "Home"
connector_type = "on_premises"
all_accepted_domains = true
use_mx_record = false
smart_hosts = ["mail.contoso.com:25"]
tls_settings = "domain_validation"
tls_domain = "mail.contoso.com"
"""


def kinds(found) -> list[tuple[str, str, str]]:
    return [(one.kind.value, one.table, one.name) for one in found.findings]


def test_what_is_missing_is_named_with_the_document_that_mends_it() -> None:
    found = beside(OWN, BARE)
    assert kinds(found) == [
        ("missing", "inbound_connector", "Our servers"), ("missing", "outbound_connector", "To our servers"),
    ]  # fmt: skip
    found = beside(Answers(Mailboxes.OWN_SERVERS), BARE)
    assert [one.kind for one in found.findings] == [Kind.MISSING] * 2 and found.lacking == ()
    assert all("say --" in one.mend for one in found.findings), "what was not said cannot be written down"


def test_what_is_there_under_another_name_and_in_another_way_is_there() -> None:
    assert kinds(beside(Answers(Mailboxes.OWN_SERVERS), BARE + THERE)) == []
    assert kinds(beside(OWN._replace(certificate="", addresses=("192.0.2.3",)), BARE + THERE)) == []
    other = OWN._replace(certificate="", addresses=("192.0.2.99",))
    assert kinds(beside(other, BARE + THERE)) == [("missing", "inbound_connector", "Our servers")]
    elsewhere = OWN._replace(certificate="", addresses=("192.0.2.3",), next_hops=("new.contoso.com",))
    assert kinds(beside(elsewhere, BARE + THERE)) == [("missing", "outbound_connector", "To our servers")]
    exact = THERE.replace("all_accepted_domains = true", 'recipient_domains = ["contoso.com"]')
    found = beside(elsewhere, BARE + exact)
    assert kinds(found) == [("missing", "outbound_connector", "Home")] and found.lacking == ()
    assert "smart_hosts=new.contoso.com" in found.findings[0].mend


def test_a_weaker_demand_is_not_what_was_wished() -> None:
    weak = (
        '[[outbound_connector]]\nname = "To contosobank.com"\nrecipient_domains = ["contosobank.com"]\n'
        '[[inbound_connector]]\nname = "Bank"\nsender_domains = ["*.contosobank.com"]\n'
    )
    bank = HOSTED._replace(partners=(partner_of("contosobank.com,certificate=*.contosobank.com"),))
    found = beside(bank, BARE + weak)
    assert [(one.kind, one.table, one.name) for one in found.findings][:2] == [
        (Kind.WANTING, "inbound_connector", "From contosobank.com"),
        (Kind.WANTING, "outbound_connector", "To contosobank.com"),
    ]  # fmt: skip
    assert [piece.name for piece in found.lacking] == ["From contosobank.com"], "a second one would never be used"
    assert found.findings[1].mend == (
        "lockgate connector set 'To contosobank.com' --outbound tls_settings=domain_validation "
        "'tls_domain=*.contosobank.com'"
    )
    encrypted = HOSTED._replace(partners=(partner_of("contosobank.com,direction=in"),))
    assert kinds(beside(encrypted, BARE + weak))[0][0] != "wanting", "TLS is demanded of it already"


def test_what_nobody_needs_is_named() -> None:
    extra = """
[[inbound_connector]]
name = "Asks nothing"
sender_domains = ["x.test"]
require_tls = false
[[inbound_connector]]
name = "Off"
sender_domains = ["y.test"]
enabled = false
[[outbound_connector]]
name = "For rules"
is_transport_rule_scoped = true
[[outbound_connector]]
name = "As without"
recipient_domains = ["z.test"]
"""
    found = beside(HOSTED, BARE + THERE + extra)
    assert {name for kind, _, name in kinds(found) if kind == "needless"} == {
        "Mine", "Home", "Asks nothing", "Off", "For rules", "As without",
    }  # fmt: skip
    assert all(one.what and one.mend for one in found.findings)
    assert kinds(beside(HOSTED._replace(devices=("192.0.2.5",)), BARE + THERE))[0][2] == "Home", "devices need Mine"
