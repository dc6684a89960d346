"""Every rule between properties, hit and missed: specification 1.1.1, 1.2.1, 1.4, 2.3 rule 8 and threats 3.3."""

import pytest

from policies import CONTOSO, policy, problems, warned

PARTNER = '[[inbound_connector]]\nname = "Bank"\nsender_domains = ["contosobank.com"]\n'
OWN = '[[inbound_connector]]\nname = "Own"\nconnector_type = "on_premises"\nsender_ip_addresses = ["192.0.2.1"]\n'
OUT = '[[outbound_connector]]\nname = "HQ"\nrecipient_domains = ["contoso.com"]\n'
OUT_OWN = OUT + 'connector_type = "on_premises"\n'
SMART = OUT + "use_mx_record = false\n"
DOMAIN = '[[accepted_domain]]\ndomain_name = "relay.test"\nvouched_by_operator = true\n'
RELAY = DOMAIN + 'domain_type = "internal_relay"\n'
IPS = 'sender_ip_addresses = ["203.0.113.0/24"]\n'
CERT = 'tls_sender_certificate_name = "mail.contosobank.com"\n'
FILTER = '[[connection_filter]]\nip_allow_list = ["192.0.2.9"]\n'
REMOTE = '[[remote_domain]]\ndomain_name = "far.test"\n'
PIN = f'pinned_keys = ["{"ab" * 32}"]\n'
CA = 'ca_file = "/etc/ca.pem"\n'
OWN_CERT = 'tls_sender_certificate_name = "*.contoso.com"\n'

WRONG = [
    # a restriction switch without its list (1.1.1 rule 2)
    (PARTNER + "restrict_domains_to_ip_addresses = true\n", "restrict_domains_to_ip_addresses", IPS),
    (PARTNER + "restrict_domains_to_certificate = true\n", "restrict_domains_to_certificate", CERT),
    (PARTNER + "restrict_domains_to_certificate = true\n", "restrict_domains_to_certificate", PIN),
    ('[[inbound_connector]]\nname = "B"\n', "sender_domains", 'sender_domains = ["*"]\n'),
    ('[[inbound_connector]]\nname = "B"\nconnector_type = "on_premises"\n', "connector_type", IPS),
    # how a certificate must be, and no certificate that is asked for (amendments: both must hold)
    (OWN + PIN, "pinned_keys", OWN_CERT),
    (OWN + CA, "ca_file", OWN_CERT),
    (PARTNER + CA, "ca_file", "restrict_domains_to_certificate = true\n" + CERT),
    (PARTNER + CA, "ca_file", "restrict_domains_to_certificate = true\n" + PIN),
    (OUT + "use_mx_record = false\n", "use_mx_record", 'smart_hosts = ["mail.contoso.com"]\n'),
    (OUT + 'tls_settings = "domain_validation"\n', "tls_settings", 'tls_domain = "mail.contoso.com"\n'),
    (
        SMART + 'smart_hosts = ["192.0.2.1"]\ntls_settings = "domain_validation"\n',
        "tls_settings",
        'tls_domain = "mail.contoso.com"\n',
    ),
    (OUT + 'login_user = "relay"\n', "login_user", 'login_secret = "env:SECRET"\n'),
    (OUT + 'login_secret = "env:SECRET"\n', "login_secret", 'login_user = "relay"\n'),
    (OUT + 'certificate_file = "/a"\n', "certificate_file", 'key_file = "/b"\n'),
    (OUT + 'key_file = "/a"\n', "key_file", 'certificate_file = "/b"\n'),
    (OUT + "all_accepted_domains = true\n", "all_accepted_domains", 'connector_type = "on_premises"\n'),
    (
        OUT + "route_all_messages_via_on_premises = true\n",
        "route_all_messages_via_on_premises",
        'connector_type = "on_premises"\n',
    ),
    (OUT + "sender_rewriting_enabled = true\n", "sender_rewriting_enabled", 'connector_type = "on_premises"\n'),
    (DOMAIN + "match_sub_domains = true\n", "match_sub_domains", 'domain_type = "internal_relay"\n'),
    (DOMAIN + "outbound_only = true\n", "outbound_only", 'domain_type = "internal_relay"\n'),
]


@pytest.mark.parametrize(("text", "key", "cure"), WRONG)
def test_refused_until_cured(text, key, cure):
    (problem,) = problems(text)
    assert problem.path.rpartition(".")[2] == key
    assert (CONTOSO + text).splitlines()[problem.line - 1].startswith((key, "[[" if key == "sender_domains" else key))
    assert not problems(text + cure)


def test_a_client_certificate_needs_its_key() -> None:
    for key, other in (("certificate_file", "key_file"), ("key_file", "certificate_file")):
        half = CONTOSO.replace('name = "contoso"\n', f'name = "contoso"\n{key} = "/etc/a.pem"\n')
        (problem,) = problems(above=half)
        assert problem.path.endswith(key) and other in problem.message
        assert not problems(above=half.replace("[[acc", f'{other} = "/etc/b.pem"\n[[acc'))


def test_mandatory_dane_needs_a_server_with_a_name() -> None:
    def host(*names: str) -> str:
        listed = ", ".join(f'"{name}"' for name in names)
        return (
            '[[outbound_connector]]\nname = "x"\nrecipient_domains = ["*"]\nuse_mx_record = false\n'
            f'smart_hosts = [{listed}]\nsmtp_dane_mode = "mandatory"\n'
        )

    (problem,) = problems(host("192.0.2.1:25", "[2001:db8::1]:25"))
    assert problem.path.endswith("smtp_dane_mode")
    assert not problems(host("192.0.2.1", "mail.partner.test"))


ONLY_OWN = [
    (OWN, "treat_messages_as_internal = true\n", "cloud_services_mail_enabled = true\n"),
    (PARTNER + CERT, "restrict_domains_to_certificate = true\n", "require_tls = false\n"),
]


@pytest.mark.parametrize(("text", "fine", "spoilt"), ONLY_OWN)
def test_fine_until_spoilt(text, fine, spoilt):
    assert not problems(text + fine)
    (problem,) = problems(text + fine + spoilt)
    assert problem.path.endswith(fine.partition(" ")[0])


def test_only_own_servers_may_be_internal():
    (problem,) = problems(PARTNER + "treat_messages_as_internal = true\n")
    assert problem.path.endswith("treat_messages_as_internal")


DOUBTFUL = [
    (OWN, "restrict_domains_to_ip_addresses = true\n", "restrict_domains_to_ip_addresses"),
    (OWN, "restrict_domains_to_certificate = true\n", "restrict_domains_to_certificate"),
    (PARTNER, CERT, "tls_sender_certificate_name"),
    (PARTNER, PIN, "pinned_keys"),
    (FILTER, 'gateway_ip_addresses = ["192.168.0.1/25"]\n', "gateway_ip_addresses[0]"),
    (FILTER + 'ip_block_list = ["192.0.2.1"]\n', 'gateway_ip_addresses = ["192.0.2.1"]\n', "gateway_ip_addresses[0]"),
    (REMOTE, 'content_type = "mime_text"\n', "content_type"),
    (REMOTE, "tnef_enabled = false\n", "tnef_enabled"),
    (REMOTE, "line_wrap_size = 76\n", "line_wrap_size"),
    (REMOTE, "meeting_forward_notification_enabled = false\n", "meeting_forward_notification_enabled"),
    (REMOTE, 'allowed_oof_type = "external_legacy"\n', "allowed_oof_type"),
    ('[[remote_domain]]\ndomain_name = "*"\n', "trusted_mail_inbound_enabled = true\n", "trusted_mail_inbound_enabled"),
    (PARTNER, "cloud_services_mail_enabled = true\n", "cloud_services_mail_enabled"),
    (PARTNER + IPS, CERT, "sender_ip_addresses"),
    (OWN + 'ef_skip_ips = ["192.0.2.9"]\n', "ef_skip_last_ip = true\n", "ef_skip_ips"),
    (PARTNER, "allow_common_name = true\n", "allow_common_name"),
    (PARTNER, 'sender_ip_addresses = ["192.168.0.1/25"]\n', "sender_ip_addresses[0]"),
    (OUT_OWN.replace('["contoso.com"]', '["*"]'), "all_accepted_domains = true\n", "recipient_domains"),
    (OUT, 'smart_hosts = ["mail.contoso.com"]\n', "smart_hosts"),
    (OUT, 'tls_domain = "mail.contoso.com"\n', "tls_domain"),
    (OUT, PIN, "pinned_keys"),
    (OUT + 'source_address_v6 = "2001:db8::1"\n', 'address_family = "ipv4"\n', "source_address_v6"),
    (OUT + 'login_secret = "env:A"\n', 'login_user = "b"\n', "tls_settings"),
    ('[[connection_filter]]\nip_allow_list = ["192.0.2.1"]\n', 'ip_block_list = ["192.0.2.1"]\n', "ip_block_list[0]"),
    (
        '[[outbound_connector]]\nname = "N"\nis_transport_rule_scoped = true\n[[mail_flow_rule]]\nname = "R"\n'
        'route_message_outbound_connector = "N"\n[[outbound_connector]]\nname = "O"\nenabled = true\n',
        "",
        "outbound_connector[1].recipient_domains",
    ),
]


@pytest.mark.parametrize(("text", "doubt", "path"), DOUBTFUL)
def test_warned_not_refused(text, doubt, path):
    assert any(found.endswith(path) for found in warned(text + doubt))
    if doubt and "login" not in doubt:
        assert not any(found.endswith(path) for found in warned(text))


def test_no_lists_means_no_warning_on_a_plain_policy():
    assert warned() == []


def test_a_smart_host_that_is_this_server():
    text = SMART + 'smart_hosts = ["mail.contoso.com", "MX.lockgate.test"]\n'
    (problem,) = problems(text)
    assert problem.path.endswith("smart_hosts[1]")
    assert not problems(text.replace("lockgate.test", "lockgate.test:2525"))


def test_default_domain_at_most_one():
    second = '[[accepted_domain]]\ndomain_name = "{}"\nvouched_by_operator = true\ndefault = true\n'
    assert not problems(second.format("a.test"))
    (problem,) = problems(second.format("a.test") + second.format("b.test"))
    assert problem.path == "accepted_domain[2].default"


def test_an_unproven_domain_receives_nothing():
    text = '[[accepted_domain]]\ndomain_name = "new.test"\nproof = "token"\n'
    found = policy(text)
    assert found.accepted("new.test") is None
    assert "TXT record 'token'" in found.warnings[0].message
    proven = policy(text + "proven_at = 2026-03-01T10:00:00Z\n")
    assert proven.accepted("new.test").domain_name == "new.test"
    assert proven.warnings == ()


def test_internal_relay_without_connector_is_advised_against():
    assert "accepted_domain[1].domain_type" in warned(RELAY)
    out = '[[outbound_connector]]\nname = "R"\nrecipient_domains = ["relay.test"]\n'
    assert not warned(RELAY + out)
    assert warned(RELAY + out + "enabled = false\n")


# --- names that must tie back ----------------------------------------------------------------------------------


def own_by_certificate(name):
    return (
        f'[[inbound_connector]]\nname = "Own"\nconnector_type = "on_premises"\ntls_sender_certificate_name = "{name}"\n'
    )


@pytest.mark.parametrize("name", ["*.contoso.com", "contoso.com", "CONTOSO.com."])
def test_a_certificate_that_ties_back_proves_alone(name):
    found = policy(own_by_certificate(name))
    (connector,) = found.own_servers_named("contoso.com")
    assert found.proves_alone(connector)
    assert found.warnings == ()


@pytest.mark.parametrize(
    "name", ["mail.fabrikam.com", "*.fabrikam.com", "*.com", "com", "notcontoso.com", "*.mail.contoso.com"]
)
def test_a_certificate_that_does_not_tie_back_is_refused(name):
    (problem,) = problems(own_by_certificate(name))
    assert problem.path.endswith("tls_sender_certificate_name")


def test_a_name_below_an_accepted_domain_is_advised_against_and_proves_nothing_alone():
    found = policy(own_by_certificate("mail.contoso.com"))
    assert [problem.path for problem in found.warnings] == ["inbound_connector[0].tls_sender_certificate_name"]
    (connector,) = found.own_servers_named("mail.contoso.com")
    assert not found.proves_alone(connector)
    itself = '[[accepted_domain]]\ndomain_name = "mail.contoso.com"\n'
    unproven = policy(itself + own_by_certificate("mail.contoso.com"))
    assert not unproven.proves_alone(*unproven.own_servers_named("mail.contoso.com"))
    proven = policy(itself + "vouched_by_operator = true\n" + own_by_certificate("mail.contoso.com"))
    assert proven.proves_alone(*proven.own_servers_named("mail.contoso.com"))


def test_a_partner_certificate_need_not_tie_back():
    assert not problems(PARTNER + CERT)


def test_accepted_domains_of_the_scope_exist():
    (problem,) = problems(PARTNER + 'associated_accepted_domains = ["contoso.com", "fabrikam.com"]\n')
    assert problem.path.endswith("associated_accepted_domains[1]")


# --- what organisations may not share --------------------------------------------------------------------------

TWO = """\
[[organisation]]
name = "a"
[[organisation]]
name = "b"
[[accepted_domain]]
domain_name = "a.test"
organisation = "a"
vouched_by_operator = true
[[accepted_domain]]
domain_name = "b.test"
organisation = "b"
vouched_by_operator = true
"""


def own(organisation, addresses, more=""):
    return (
        f'[[inbound_connector]]\nname = "Own {organisation}"\norganisation = "{organisation}"\n'
        f'connector_type = "on_premises"\nsender_ip_addresses = {addresses}\n{more}'
    )


@pytest.mark.parametrize(
    ("first", "second", "line"),
    [
        ('["192.0.2.1"]', '["192.0.2.1"]', 17),
        ('["192.0.2.0/24"]', '["198.51.100.1", "192.0.2.1"]', 22),
        ('["192.0.2.5"]', '["192.0.2.0-192.0.2.9"]', 17),
        ('["::ffff:192.0.2.1"]', '["192.0.2.1"]', 17),
        ('["2001:db8::/32"]', '["2001:db8::1"]', 22),
    ],
)
def test_an_address_of_two_organisations_is_refused(first, second, line):
    text = own("a", first) + own("b", second)
    found = problems(text, above=TWO)
    assert line in [problem.line for problem in found], found
    assert not problems(own("a", first) + own("a", second).replace("Own a", "Own 2"), above=TWO)
    assert not problems(own("a", first) + own("b", second, "enabled = false\n"), above=TWO)


def test_a_certificate_of_two_organisations_is_refused():
    both = TWO + '[[accepted_domain]]\ndomain_name = "mail.a.test"\norganisation = "b"\n'
    text = (
        '[[inbound_connector]]\nname = "Own"\norganisation = "a"\nconnector_type = "on_premises"\n'
        'tls_sender_certificate_name = "*.a.test"\n'
        '[[inbound_connector]]\nname = "Own"\norganisation = "b"\nconnector_type = "on_premises"\n'
        'tls_sender_certificate_name = "mail.a.test"\n'
    )
    paths = [problem.path for problem in problems(text, above=both)]
    assert "inbound_connector[1].tls_sender_certificate_name" in paths


@pytest.mark.parametrize("name", ["a.test", "below.a.test", "far.below.a.test", "A.test"])
def test_no_other_organisation_adds_a_proven_domain_or_a_name_below(name):
    text = f'[[accepted_domain]]\ndomain_name = "{name}"\norganisation = "b"\n'
    for more in ("", "vouched_by_operator = true\n"):
        found = problems(text + more, above=TWO)
        assert any("another organisation has proven" in problem.message for problem in found)
    if name.lower() != "a.test":
        assert not problems(text.replace('"b"', '"a"'), above=TWO)


def test_the_earlier_proof_holds():
    text = '[[accepted_domain]]\ndomain_name = "c.test"\norganisation = "{}"\nproven_at = {}T10:00:00Z\n'
    found = problems(text.format("a", "2026-03-02") + text.format("b", "2026-03-01"), above=TWO)
    assert [problem.path for problem in found] == ["accepted_domain[2].domain_name"]


TRUSTED = '[[inbound_connector]]\nname = "T"\norganisation = "a"\ntrusted_organizations = ["{}"]\n'


def test_trusted_organisations_exist_and_are_others():
    assert not problems(TRUSTED.format("b"), above=TWO)
    assert problems(TRUSTED.format("c"), above=TWO)[0].path.endswith("trusted_organizations")
    (problem,) = problems(TRUSTED.format("a"), above=TWO)
    assert problem.path.endswith("trusted_organizations[0]") and "need not trust itself" in problem.message
    own = TRUSTED.format("b") + 'connector_type = "on_premises"\nsender_ip_addresses = ["192.0.2.1"]\n'
    (problem,) = problems(own, above=TWO)
    assert problem.path.endswith("trusted_organizations") and 'connector_type = "partner"' in problem.message


@pytest.mark.parametrize("more", ['sender_domains = ["*"]\n', IPS, CERT, PIN])
def test_beside_trusted_organisations_nothing_finds_the_connector(more):
    assert warned(TRUSTED.format("b"), above=TWO) == []
    assert "inbound_connector[0].trusted_organizations" in warned(TRUSTED.format("b") + more, above=TWO)


# --- every mistake with an inbound connector, as it is told: the key it stands at, and the words a person reads -------

NONSENSE = [
    ('[[inbound_connector]]\nname = "B"\n', "sender_domains", "a partner connector needs the sender domains"),
    (PARTNER + "restrict_domains_to_ip_addresses = true\n", "restrict_domains_to_ip_addresses",
     "the restriction needs sender_ip_addresses"),
    (PARTNER + "restrict_domains_to_certificate = true\n", "restrict_domains_to_certificate",
     "the restriction needs tls_sender_certificate_name (or pinned_keys)"),
    (PARTNER + CERT + "restrict_domains_to_certificate = true\nrequire_tls = false\n",
     "restrict_domains_to_certificate", "the restriction needs require_tls = true"),
    (PARTNER + "treat_messages_as_internal = true\n", "treat_messages_as_internal", "only own servers may be internal"),
    ('[[inbound_connector]]\nname = "B"\nconnector_type = "on_premises"\n', "connector_type",
     "nothing identifies the own servers"),
    (OWN + PIN, "pinned_keys", "add tls_sender_certificate_name, or leave pinned_keys away"),
    (OWN + CA, "ca_file", "whoever comes from the addresses would get in without one"),
    (PARTNER + CA, "ca_file", "add restrict_domains_to_certificate and tls_sender_certificate_name"),
    (OWN + "treat_messages_as_internal = true\ncloud_services_mail_enabled = true\n", "treat_messages_as_internal",
     "cannot be used together with cloud_services_mail_enabled"),
    (OWN + 'tls_sender_certificate_name = "mail.fabrikam.com"\n', "tls_sender_certificate_name",
     "does not tie back to the organisation; mail.fabrikam.com must be an accepted domain"),
    (OWN + 'tls_sender_certificate_name = "*.fabrikam.com"\n', "tls_sender_certificate_name",
     "fabrikam.com must be an accepted domain"),
    (OWN + 'tls_sender_certificate_name = "*"\n', "tls_sender_certificate_name", ""),
    (OWN + 'tls_sender_certificate_name = "mail.*.contoso.com"\n', "tls_sender_certificate_name", ""),
    (OWN + 'tls_sender_certificate_name = "*contoso.com"\n', "tls_sender_certificate_name", ""),
    (OWN + 'tls_sender_certificate_name = "*.*.contoso.com"\n', "tls_sender_certificate_name", ""),
    (OWN + 'tls_sender_certificate_name = "192.0.2.1"\n', "tls_sender_certificate_name", ""),
    (OWN + 'tls_sender_certificate_name = ""\n', "tls_sender_certificate_name", ""),
    (PARTNER.replace("contosobank.com", "bank.*.test"), "sender_domains[0]", ""),
    (PARTNER.replace("contosobank.com", "*bank.test"), "sender_domains[0]", ""),
    (PARTNER.replace("contosobank.com", "*.*.test"), "sender_domains[0]", ""),
    (PARTNER.replace("contosobank.com", "**"), "sender_domains[0]", ""),
    (PARTNER.replace("contosobank.com", "clerk@bank.test"), "sender_domains[0]", ""),
    (PARTNER.replace('["contosobank.com"]', '"contosobank.com"'), "sender_domains", "must be a list"),
    (PARTNER + 'sender_ip_addresses = ["mail.bank.test"]\n', "sender_ip_addresses[0]", "is not an IP address"),
    (PARTNER + 'sender_ip_addresses = ["192.0.2.1", "192.0.2.300"]\n', "sender_ip_addresses[1]", "above 255"),
    (PARTNER + 'sender_ip_addresses = ["192.0.2.0/33"]\n', "sender_ip_addresses[0]", "prefix longer than 32 bits"),
    (PARTNER + 'sender_ip_addresses = ["192.0.2.9-192.0.2.1"]\n', "sender_ip_addresses[0]", "ends before it begins"),
    (PARTNER + 'pinned_keys = ["abc"]\n', "pinned_keys[0]", "64"),
    (PARTNER + 'associated_accepted_domains = ["fabrikam.com"]\n', "associated_accepted_domains[0]",
     "fabrikam.com is no accepted domain"),
    (PARTNER + 'associated_accepted_domains = ["*"]\n', "associated_accepted_domains[0]", ""),
    (PARTNER + 'trusted_organizations = ["nobody"]\n', "trusted_organizations", "there is no organisation 'nobody'"),
    (PARTNER + 'require_tsl = true\n', "require_tsl", "did you mean 'require_tls'?"),
    (PARTNER + PARTNER, "name", "'Bank' is there already"),
    (PARTNER + PARTNER.replace("Bank", "BANK"), "name", "names must differ"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "path", "words"), NONSENSE)
def test_nonsense_is_refused_with_place_and_reason(text, path, words):
    found = problems(text)
    assert found, "it was taken"
    problem = found[0]
    assert problem.path.partition(".")[2] == path and words in problem.message, found
    assert problem.file == "policy.toml" and problem.line > CONTOSO.count("\n")
    assert len(problem.message) > 15 and "Value error" not in problem.message and "pydantic" not in problem.message


# --- rules -----------------------------------------------------------------------------------------------------


def test_rules_name_connectors_of_their_own_organisation():
    out = '[[outbound_connector]]\nname = "NOLA"\norganisation = "{}"\nis_transport_rule_scoped = true\n'
    rule = '[[mail_flow_rule]]\nname = "City"\norganisation = "a"\nroute_message_outbound_connector = "NOLA"\n'
    assert not problems(out.format("a") + rule, above=TWO)
    (problem,) = problems(out.format("b") + rule, above=TWO)
    assert problem.path == "mail_flow_rule[0].route_message_outbound_connector"


def test_a_rule_with_a_disabled_connector_is_told():
    out = '[[outbound_connector]]\nname = "NOLA"\nis_transport_rule_scoped = true\nenabled = {}\n'
    rule = '[[mail_flow_rule]]\nname = "City"\nroute_message_outbound_connector = "NOLA"\n'
    assert warned(out.format("true") + rule) == []
    assert warned(out.format("false") + rule) == ["mail_flow_rule[0].route_message_outbound_connector"]


def test_two_rules_of_one_priority():
    rule = '[[mail_flow_rule]]\nname = "{}"\npriority = {}\nstop_rule_processing = true\n'
    assert not problems(rule.format("A", 0) + rule.format("B", 1))
    assert problems(rule.format("A", 0) + rule.format("B", 0))[0].path == "mail_flow_rule[1].priority"


# --- Exchange's limits -----------------------------------------------------------------------------------------

EXCHANGE = CONTOSO.replace('name = "contoso"', 'name = "contoso"\ncompatibility = "exchange"', 1)
STRICT = [
    (PARTNER + 'sender_ip_addresses = ["203.0.112.0/23"]\n', "wider than /24"),
    (PARTNER + 'sender_ip_addresses = ["2001:db8::1"]\n', "IPv6"),
    (PARTNER + 'sender_ip_addresses = ["203.0.113.1-203.0.113.9"]\n', "range"),
    ('[[connection_filter]]\nip_allow_list = ["192.0.2.0-192.0.3.0"]\n', "more than 256"),
    ('[[connection_filter]]\nip_block_list = ["192.0.0.0/16"]\n', "wider than /24"),
    ('[[connection_filter]]\nip_block_list = ["2001:db8::/32"]\n', "IPv6"),
    (
        "[[connection_filter]]\nip_allow_list = ["
        + ", ".join(f'"10.0.{i >> 8}.{i & 255}"' for i in range(1274))
        + "]\n",
        "at most 1273",
    ),
    ("".join(f'[[mail_flow_rule]]\nname = "R{i}"\nstop_rule_processing = true\n' for i in range(301)), "at most 300"),
    ("".join(f'[[accepted_domain]]\ndomain_name = "d{i}.test"\n' for i in range(900)), "at most 900"),
]


@pytest.mark.parametrize(("text", "words"), STRICT)
def test_exchange_refuses_where_it_is_asked_for(text, words):
    assert [words for problem in problems(text, above=EXCHANGE) if words in problem.message] == [words]
    assert not problems(text)


def test_what_exchange_takes():
    text = (
        PARTNER + 'sender_ip_addresses = ["203.0.113.0/24", "192.0.2.1"]\n'
        '[[connection_filter]]\nip_allow_list = ["192.0.2.0-192.0.2.255", "198.51.100.0/24"]\n'
    )
    assert not problems(text, above=EXCHANGE)


WORDY = "[[mail_flow_rule]]\nname = \"{}\"\n{} = [{}]\ndelete_message = true\n"


def fillers(count, length, start=0):
    return ", ".join(f'"{n:0{length}d}"' for n in range(start, start + count))


def sized(characters):
    """A rule of exactly so many characters as they are counted."""
    empty = '{"name":"Big","subject_contains_words":[],"delete_message":true}'
    words, rest = divmod(characters - len(empty) + 1, 103)
    return WORDY.format("Big", "subject_contains_words", fillers(words - 1, 100) + ', "' + "x" * (100 + rest) + '"')


LIMITS = [
    ("".join(f'[[mail_flow_rule]]\nname = "R{i}"\nstop_rule_processing = true\n' for i in range(301)), "at most 300"),
    (sized(8193), "8193 characters"),
    ("".join(WORDY.format(f"R{i}", "subject_matches_patterns", fillers(21, 200, i * 21)) for i in range(5)), "20 KB"),
    (
        WORDY.format("A", "header_contains_words.words", fillers(39, 180)) + 'header_contains_words.header = "X"\n'
        + WORDY.format("B", "recipient_ad_attribute_contains_words.city", fillers(39, 180))
        + WORDY.format("C", "except_if_subject_or_body_contains_words", fillers(39, 180)),
        "have 21060 octets",
    ),
]  # fmt: skip


@pytest.mark.parametrize(("text", "words"), LIMITS)
def test_limits_of_rules_are_refused_in_compatibility_and_reported_otherwise(text, words):
    (problem,) = problems(text, above=EXCHANGE)
    assert words in problem.message and problem.message.startswith("in compatibility ")
    assert not problems(text)
    warnings = policy(text).warnings
    assert [words for warning in warnings if words in warning.message and warning.why and warning.mend] == [words]


def test_a_rule_of_8192_characters_is_taken():
    assert not problems(sized(8192), above=EXCHANGE)


def test_message_life_in_compatibility():
    short = EXCHANGE.replace("\ncompat", '\nmessage_expiration = "2h"\ncompat')
    assert problems(above=short)[0].path.endswith("message_expiration")
    assert not problems(above=short.replace("2h", "12h"))
    assert not problems(above=short.replace('"exchange"', '""'))
