"""The compiled policy: indexes, digest, rules."""

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.mail.address import Address
from lockgate.mail.ruling import Effects, Hit
from lockgate.policy.compile import compile_policy
from lockgate.policy.networks import parse_address
from lockgate.policy.rules import Seen
from policies import CONTOSO, policy


def out(name, domains=(), more=""):
    listed = ", ".join(f'"{domain}"' for domain in domains)
    head = f'[[outbound_connector]]\nname = "{name}"\nconnector_type = "on_premises"\n'
    return f"{head}recipient_domains = [{listed}]\n{more}"


def named(connectors):
    return [connector.name for connector in connectors or ()]


def test_outbound_index_by_rank():
    found = (
        policy(
            out("Exact", ["contoso.com"])
            + out("Wild", ["*.contoso.com"])
            + out("All", [], "all_accepted_domains = true\n")
            + out("Everything", ["*"])
            + out("Central", [], "route_all_messages_via_on_premises = true\n")
            + out("Scoped", ["contoso.com", "*"], "is_transport_rule_scoped = true\n")
            + out("Off", ["contoso.com", "*", "*.contoso.com"], "enabled = false\n")
        )
        .of("contoso")
        .outbound
    )
    assert named(found.exact["contoso.com"]) == ["Exact"]
    assert named(found.wildcard.find("a.b.contoso.com")) == ["Wild"]
    assert found.wildcard.find("contoso.com") is None  # covers names below x only
    assert named(found.all_accepted) == ["All"]
    assert named(found.everything) == ["Everything"]
    assert named(found.central) == ["Central"]
    assert set(found.named) == {"Exact", "Wild", "All", "Everything", "Central", "Scoped", "Off"}


def test_ties_go_to_the_lowest_cost_then_name():
    found = policy(
        out("b", ["*"]) + out("A", ["*"]) + out("dear", ["*"], "cost = 9\n") + out("c", ["*"]) + out("cheap", ["*"])
    )
    assert named(found.of("contoso").outbound.everything) == ["A", "b", "c", "cheap", "dear"]


def partner(name, more):
    return f'[[inbound_connector]]\nname = "{name}"\n{more}\n'


def test_partner_index():
    found = (
        policy(
            partner("Exact", 'sender_domains = ["bank.test", "other.test"]')
            + partner("Wild", 'sender_domains = ["*.bank.test"]\nsender_ip_addresses = ["10.0.0.0/8"]')
            + partner("Star", 'sender_domains = ["*"]\nsender_ip_addresses = ["10.1.0.0/16"]')
            + partner("Off", 'sender_domains = ["*", "bank.test"]\nenabled = false')
            + partner("Cert", 'sender_domains = ["c.test"]\ntls_sender_certificate_name = "*.c.test"')
        )
        .of("contoso")
        .partners
    )
    assert [named(group) for group in found.by_sender.every("bank.test")] == [["Exact"], ["Wild"]]
    assert [named(group) for group in found.by_sender.every("a.bank.test")] == [["Wild"]]
    assert found.by_sender.every("evilbank.test") == ()
    assert found.by_sender.every("") == ()  # named domains never cover the null sender
    assert named(found.any_sender) == ["Star"]
    assert [named(group) for group in found.by_address.every(parse_address("10.1.2.3"))] == [["Star"], ["Wild"]]
    assert named(found.by_certificate.find("mail.c.test")) == ["Cert"]


def test_own_servers():
    own = '[[inbound_connector]]\nname = "{}"\nconnector_type = "on_premises"\n{}\n'
    found = policy(
        own.format("Wide", 'sender_ip_addresses = ["10.0.0.0/8", "10.1.0.0/16"]')
        + own.format("Narrow", 'sender_ip_addresses = ["10.1.2.0/24"]')
        + own.format("Off", 'enabled = false\nsender_ip_addresses = ["10.1.2.3"]')
        + own.format("Cert", 'tls_sender_certificate_name = "*.contoso.com"')
    )
    inside = parse_address("10.1.2.3")
    assert named(found.own_by_address.find(inside)) == ["Narrow", "Wide"]
    assert named(found.own_by_address.find(parse_address("10.9.9.9"))) == ["Wide"]
    wide = found.of("contoso").inbound["Wide"]
    assert found.is_own_address(wide, inside)
    assert not found.is_own_address(wide, parse_address("192.0.2.1"))
    assert not found.is_own_address(wide, b"")
    assert named(found.own_servers_named("*.contoso.com")) == ["Cert"]
    assert named(found.own_servers_named("mail.contoso.com")) == ["Cert"]


def test_lists_keep_the_entry_as_written():
    found = policy(
        '[[connection_filter]]\nip_block_list = ["192.0.2.1-192.0.2.9", "192.168.0.1/25"]\n'
        '[operator]\nip_allow_list = ["192.0.2.5"]\nip_block_list = ["192.0.2.0/24"]\n'
    )
    mine = found.of("contoso").peers
    assert mine.block.find(parse_address("192.0.2.7")) == "192.0.2.1-192.0.2.9"
    assert mine.block.find(parse_address("192.168.0.77")) == "192.168.0.1/25"
    assert mine.block.find(parse_address("192.0.2.10")) is None
    assert found.operator_peers.block.find(parse_address("192.0.2.5")) == "192.0.2.0/24"
    assert found.operator_peers.allow.find(parse_address("192.0.2.5")) == "192.0.2.5"


def test_accepted_domains_cover_sub_domains_only_when_told():
    text = (
        '[[accepted_domain]]\ndomain_name = "relay.test"\nvouched_by_operator = true\n'
        'domain_type = "internal_relay"\nmatch_sub_domains = true\n'
        '[[accepted_domain]]\ndomain_name = "deep.site.relay.test"\nvouched_by_operator = true\n'
    )
    found = policy(text)
    assert found.accepted("site.relay.test").domain_name == "relay.test"
    assert found.accepted("deep.site.relay.test").domain_name == "deep.site.relay.test"
    assert found.accepted("relay.test").domain_name == "relay.test"
    assert found.accepted("a.contoso.com") is None


@pytest.mark.parametrize(
    ("organisation", "domains", "expected"),
    [
        ("", "", "postmaster@contoso.com"),
        ('external_postmaster_address = "help@contoso.com"', "", "help@contoso.com"),
        (
            "",
            '[[accepted_domain]]\ndomain_name = "z.test"\nvouched_by_operator = true\ndefault = true\n',
            "postmaster@z.test",
        ),
        ("", '[[accepted_domain]]\ndomain_name = "a.test"\n', "postmaster@contoso.com"),
    ],
)
def test_postmaster(organisation, domains, expected):
    above = CONTOSO.replace('name = "contoso"\n', f'name = "contoso"\n{organisation}\n', 1)
    assert policy(domains, above=above).postmaster("contoso") == expected


def test_postmaster_without_domains_is_ours():
    assert policy(above='[[organisation]]\nname = "x"\n').postmaster("x") == "postmaster@mx.lockgate.test"


# --- digest ----------------------------------------------------------------------------------------------------

A = out("A", ["a.test"])
B = out("B", ["b.test"])
RULES = (
    '[[mail_flow_rule]]\nname = "One"\n{}stop_rule_processing = true\n'
    '[[mail_flow_rule]]\nname = "Two"\n{}stop_rule_processing = true\n'
)


def digest(**files):
    return compile_policy(files, hostname="mx.test", revision=1).digest


def test_the_digest_is_of_the_meaning():
    plain = digest(a=CONTOSO + A + B)
    assert digest(z=B, a=A, m="# moved\n" + CONTOSO) == plain
    assert digest(a="# note\n" + CONTOSO.replace(" = ", "=") + B + A) == plain
    assert digest(a=CONTOSO + A + B.replace("b.test", "c.test")) != plain
    assert digest(a=CONTOSO + A) != plain
    assert digest(a=CONTOSO + A + B + '[operator]\nip_block_list = ["192.0.2.1"]\n') != plain


def test_the_sequence_of_rules_is_part_of_the_digest():
    forth = digest(a=CONTOSO + RULES.format("", ""))
    assert digest(a=CONTOSO + RULES.format("priority = 3\n", "priority = 7\n")) == forth
    assert digest(a=CONTOSO + RULES.format("priority = 7\n", "priority = 3\n")) != forth


# --- rules -----------------------------------------------------------------------------------------------------

CONNECTORS = out("NOLA", [], "is_transport_rule_scoped = true\n") + out("SEA", [], "is_transport_rule_scoped = true\n")


def rule(name, more):
    return f'[[mail_flow_rule]]\nname = "{name}"\n{more}\n'


def test_a_rule_runs_and_explains():
    (found,) = (
        policy(
            CONNECTORS
            + rule(
                "City",
                'recipient_domain_is = ["contoso.com", "test.com"]\n'
                'except_if_recipient_domain_is = ["hq.contoso.com"]\n'
                'route_message_outbound_connector = "NOLA"\nrule_error_action = "defer"',
            )
        )
        .of("contoso")
        .rules.all
    )
    (when,), (unless,), (then,) = found.when, found.unless, found.then
    case = None
    assert when(case, Address("a", "contoso.com")) == Seen(Hit.YES, "the recipient's domain is contoso.com")
    assert when(case, Address("a", "x.contoso.com")) == Seen(Hit.YES, "x.contoso.com is below contoso.com")
    assert when(case, Address("a", "notcontoso.com")) == Seen(Hit.NO, "notcontoso.com is none of contoso.com, test.com")
    assert unless(case, Address("a", "hq.contoso.com")).hit is Hit.YES
    assert then(Effects(rule="City")) == Effects(connector="NOLA", rule="City")
    assert found.defer_on_unknown


def test_rules_come_in_the_order_of_their_priority():
    found = policy(
        rule("Last", "stop_rule_processing = true")
        + rule("Second", "priority = 5\nstop_rule_processing = true")
        + rule("First", "priority = 0\nstop_rule_processing = true")
        + rule("Very last", "stop_rule_processing = true")
    )
    assert [(r.name, r.priority) for r in found.of("contoso").rules.all] == [
        ("First", 0),
        ("Second", 5),
        ("Last", 6),
        ("Very last", 7),
    ]


def test_rules_are_found_by_domain():
    found = (
        policy(
            CONNECTORS
            + rule("Below", 'recipient_domain_is = ["contoso.com"]\nroute_message_outbound_connector = "NOLA"')
            + rule("Everywhere", "stop_rule_processing = true")
            + rule("Off", "enabled = false\nstop_rule_processing = true")
            + rule(
                "Deep", 'recipient_domain_is = ["a.contoso.com", "x.test"]\nroute_message_outbound_connector = "SEA"'
            )
        )
        .of("contoso")
        .rules
    )
    assert [r.name for r in found.could_match(None, Address("x", "contoso.com"))] == ["Below", "Everywhere"]
    assert [r.name for r in found.could_match(None, Address("x", "b.a.contoso.com"))] == ["Below", "Everywhere", "Deep"]
    assert [r.name for r in found.could_match(None, Address("x", "x.test"))] == ["Everywhere", "Deep"]
    assert [r.name for r in found.could_match(None, Address("x", "y.test"))] == ["Everywhere"]


domains = st.sampled_from(["a.test", "b.a.test", "b.test", "c.b.a.test", "test"])


@given(st.lists(st.tuples(st.sets(domains, max_size=2), st.booleans()), max_size=6), domains)
def test_the_index_never_hides_a_rule_that_matches(wanted, domain):
    text = "".join(
        rule(
            f"R{number}",
            (f"recipient_domain_is = {sorted(listed)}\n" if listed else "")
            + f"enabled = {str(enabled).lower()}\nstop_rule_processing = true",
        )
        for number, (listed, enabled) in enumerate(wanted)
    )
    rules = policy(text).of("contoso").rules
    recipient = Address("x", domain)
    naive = [r for r in rules.all if r.enabled and all(test(None, recipient).hit is Hit.YES for test in r.when)]
    possible = rules.could_match(None, recipient)
    found = [r for r in possible if all(test(None, recipient).hit is Hit.YES for test in r.when)]
    assert found == naive


def test_ten_thousand_connectors_compile_and_are_found_quickly():
    text = "".join(
        f'[[outbound_connector]]\nname = "O{i}"\nrecipient_domains = ["d{i}.test", "*.d{i}.test"]\n'
        f'[[inbound_connector]]\nname = "I{i}"\nsender_domains = ["*.p{i}.test"]\n'
        f'sender_ip_addresses = ["10.{i >> 8}.{i & 255}.0/24"]\n'
        for i in range(5000)
    )
    start = time.process_time()
    found = policy(text).of("contoso")
    assert time.process_time() - start < 8  # about half a second where nothing else runs
    assert named(found.outbound.exact["d4999.test"]) == ["O4999"]
    assert [named(group) for group in found.partners.by_sender.every("a.p7.test")] == [["I7"]]


def test_many_connectors_of_one_certificate_and_address_are_no_quadratic_matter():
    text = "".join(
        f'[[inbound_connector]]\nname = "I{i}"\nconnector_type = "on_premises"\nsender_ip_addresses = ["10.0.0.1"]\n'
        'tls_sender_certificate_name = "*.contoso.com"\n'
        for i in range(4000)
    )
    start = time.process_time()
    policy(text)
    assert time.process_time() - start < 5
