"""Documents: objects, or all mistakes at once with file, line and path."""

import re

import pytest

from lockgate.policy.compile import compile_policy
from lockgate.policy.problems import Invalid, Problem
from policies import CONTOSO, policy, problems


def places(found):
    return [(problem.line, problem.path) for problem in found]


def test_all_mistakes_at_once_with_their_lines():
    found = problems(
        """\
[[inbound_connector]]
name = "Bank"
sender_domain = ["contosobank.com"]
sender_domains = [
  "contosobank.com",
  "*bank.com",
]
require_tls = "perhaps"
[[outbound_connector]]
nam = "HQ"
use_mx_record = false
[[outbound_conector]]
name = "X"
[[mail_flow_rule]]
name = "City"
recipient_domain_is = []
route_message_outbound_connector = "NOLA"
[operator.limits]
connections = 0
"""
    )
    assert places(found) == [
        (8, "inbound_connector[0].sender_domain"),
        (11, "inbound_connector[0].sender_domains[1]"),
        (13, "inbound_connector[0].require_tls"),
        (14, "outbound_connector[0].name"),
        (15, "outbound_connector[0].nam"),
        (17, "outbound_conector"),
        (21, "mail_flow_rule[0].recipient_domain_is"),
        (22, "mail_flow_rule[0].route_message_outbound_connector"),
        (24, "operator.limits.connections"),
    ]
    messages = {problem.path: problem.message for problem in found}
    assert "did you mean 'sender_domains'?" in messages["inbound_connector[0].sender_domain"]
    assert "did you mean 'name'?" in messages["outbound_connector[0].nam"]
    assert "did you mean 'outbound_connector'?" in messages["outbound_conector"]
    assert messages["inbound_connector[0].require_tls"] == "must be true or false"
    assert str(found[0]).startswith("policy.toml:8: inbound_connector[0].sender_domain: there is no")


def test_a_mistake_in_a_list_does_not_make_a_second_one():
    found = problems(
        """\
[[inbound_connector]]
name = "Bank"
sender_domains = ["contosobank.com"]
restrict_domains_to_ip_addresses = true
sender_ip_addresses = ["192.0.02.1"]
"""
    )
    assert places(found) == [(10, "inbound_connector[0].sender_ip_addresses[0]")]


def test_mistakes_of_an_object_and_of_its_ties_come_together():
    found = problems(
        """\
[[outbound_connector]]
name = "NOLA"
enabeld = true
use_mx_record = false
[[mail_flow_rule]]
name = "R"
route_message_outbound_connector = "NOLLA"
"""
    )
    assert places(found) == [
        (8, "outbound_connector[0].enabeld"),
        (9, "outbound_connector[0].use_mx_record"),
        (12, "mail_flow_rule[0].route_message_outbound_connector"),
    ]
    assert "did you mean 'NOLA'?" in found[2].message


@pytest.mark.parametrize(
    ("text", "line"),
    [("a = ", 1), ("\n\n[[organisation]]\nname = 'x\n", 4), ("x = 1\nx = 2\n", 2), ("[a]\n[a]\n", 2)],
)
def test_broken_toml_has_file_and_line(text, line):
    with pytest.raises(Invalid) as trouble:
        compile_policy({"b.toml": text, "a.toml": CONTOSO}, hostname="mx.test", revision=1)
    assert [(p.file, p.line) for p in trouble.value.problems if "TOML" in p.message] == [("b.toml", line)]


def test_deep_nesting_and_huge_numbers_are_problems():
    for text in ("a = " + "[" * 100_000, "a = " + "9" * 5000, "a = " + "{a=" * 50_000):
        with pytest.raises(Invalid):
            compile_policy({"a.toml": text}, hostname="mx.test", revision=1)


def test_windows_line_ends():
    found = problems(
        '[[organisation]]\nname = "contoso"\n[[accepted_domain]]\ndomain_nam = "x.com"\n'.replace("\n", "\r\n"),
        above="",
    )
    assert places(found) == [(3, "accepted_domain[0].domain_name"), (4, "accepted_domain[0].domain_nam")]


def test_no_documents_make_a_policy_that_accepts_nothing():
    empty = compile_policy({}, hostname="mx.test", revision=7)
    assert empty.accepted("contoso.com") is None
    assert empty.revision == 7
    assert empty.postmaster("nobody") == "postmaster@mx.test"


def test_the_organisation_may_be_left_out_only_when_there_is_one():
    assert policy().accepted("contoso.com").organisation == "contoso"
    two = '[[organisation]]\nname = "a"\n[[organisation]]\nname = "b"\n[[accepted_domain]]\ndomain_name = "x.com"\n'
    assert [(p.line, p.path, p.message) for p in problems(two, above="")] == [
        (5, "accepted_domain[0].organisation", "must be given, because there are several")
    ]
    none = '[[accepted_domain]]\ndomain_name = "x.com"\n'
    assert "write one [[organisation]]" in problems(none, above="")[0].message


def test_unknown_organisation():
    found = problems('[[outbound_connector]]\nname = "A"\norganisation = "contoos"\nrecipient_domains = ["*"]\n')
    assert places(found) == [(8, "outbound_connector[0].organisation")]
    assert "did you mean 'contoso'?" in found[0].message


def test_two_objects_of_one_name():
    twice = '[[outbound_connector]]\nname = "{}"\nrecipient_domains = ["*"]\n'
    found = problems(twice.format("HQ") + twice.format("hq"))
    assert places(found) == [(10, "outbound_connector[1].name")]
    assert "policy.toml line 6" in found[0].message
    assert not problems(twice.format("HQ") + twice.format("HQ2"))


def test_one_name_in_two_files_names_the_other_file():
    with pytest.raises(Invalid) as trouble:
        compile_policy(
            {"a.toml": CONTOSO, "b.toml": '\n[[organisation]]\nname = "contoso"\n'}, hostname="m.test", revision=1
        )
    (problem,) = trouble.value.problems
    assert (problem.file, problem.line) == ("b.toml", 3)
    assert "a.toml line 1" in problem.message


def test_one_operator_table():
    with pytest.raises(Invalid) as trouble:
        compile_policy({"a.toml": "[operator]\n", "b.toml": "[operator]\n"}, hostname="m.test", revision=1)
    assert trouble.value.problems == (
        Problem("b.toml", 1, "operator", "[operator] may be written once, and a.toml has it already"),
    )


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("organisation = 1\n", "organisation"),
        ('[organisation]\nname = "a"\n', "organisation"),
        ("organisation = [1]\n", "organisation[0]"),
        ("[[operator]]\n", "operator"),
        ('""= 1\n', ""),
    ],
)
def test_tables_of_the_wrong_shape(text, path):
    assert path in [problem.path for problem in problems(text, above="")]


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("name", '"a/b"', "must not hold /"),
        ("name", '"' + "x" * 65 + '"', "at most 64"),
        ("name", '" x"', "begin or end with a space"),
        ("name", "5", "must be text"),
        ("name", '"hold"', "'hold'"),
        ("recipient_domains", '"contoso.com"', "must be a list"),
        ("recipient_domains", '["a.*.com"]', "wildcard"),
        ("recipient_domains", '["smtp:contoso.com;1"]', "write the domain alone, 'contoso.com'"),
        ("recipient_domains", '["ana@contoso.com"]', "is an address"),
        ("recipient_domains", '["192.0.2.1"]', "is an IP address"),
        ("tls_settings", '"tls"', "'opportunistic'"),
        ("pinned_keys", '["abc"]', "64 hexadecimal digits"),
        ("pinned_keys", '["' + "g" * 64 + '"]', "64 hexadecimal digits"),
        ("login_secret", '"hunter2"', "never written here"),
        ("smart_hosts", '["10.0.0.0/24"]', "is a network"),
        ("smart_hosts", '["mail.contoso.com:99999"]', "port"),
        ("smart_hosts", '["mail.contoso.com:"]', "no port"),
        ("smart_hosts", '["[2001:db8::1"]', "must be written like"),
        ("smart_hosts", '["192.0.2.256"]', "from 0 to 255"),
        ("smart_hosts", '["192.0.2.01"]', "from 0 to 255"),
        ("smart_hosts", '["a b"]', "is not a domain"),
        ("size_limit", '"big"', "write a size"),
        ("source_address_v4", '"2001:db8::1"', "not an IPv4"),
        ("cost", "0", "greater than or equal to 1"),
    ],
)
def test_values_are_refused_in_words(key, value, words):
    name = "" if key == "name" else 'name = "HQ"\n'
    found = problems(f"[[outbound_connector]]\n{name}{key} = {value}\n")
    assert any(words in problem.message for problem in found), found
    assert all(problem.line == (7 if key == "name" else 8) for problem in found if words in problem.message)


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("mail.contoso.com", "mail.contoso.com"),
        ("MAIL.contoso.com.", "mail.contoso.com"),
        ("mail.contoso.com:2525", "mail.contoso.com:2525"),
        ("192.0.2.25", "192.0.2.25"),
        ("192.0.2.25:2525", "192.0.2.25:2525"),
        ("2001:db8::25", "[2001:db8::25]"),
        ("[2001:DB8::25]:25", "[2001:db8::25]:25"),
        ("münchen.example", "xn--mnchen-3ya.example"),
    ],
)
def test_smart_hosts_are_kept_in_one_form(written, kept):
    found = policy(f'[[outbound_connector]]\nname = "HQ"\nuse_mx_record = false\nsmart_hosts = ["{written}"]\n')
    assert found.of("contoso").outbound.named["HQ"].smart_hosts == (kept,)


def test_times_and_sizes_in_words():
    text = '[[organisation]]\nname = "a"\nmessage_expiration = "{}"\nmax_receive_size = "{}"\n'
    organisation = policy(text.format("36h", "25MB"), above="").of("a").organisation
    assert (organisation.message_expiration, organisation.max_receive_size) == (36 * 3600, 25 * 1024**2)
    assert len(problems(text.format("soon", "25 MiB"), above="")) == 2
    assert problems(text.format("8d", "1"), above="")


RULE = '[[mail_flow_rule]]\nname = "r"\ndelete_message = true\n'


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[[connection_filter]]\nname = "x"\n', "connection_filter[0].name: must be 'Default'"),
        (RULE + "recipient_domain_is = []\n", "recipient_domain_is: must not be empty: give at least 1 item"),
        (RULE + 'recipient_domain_is = ["a b"]\n', "recipient_domain_is[0]: 'a b' is not a domain"),
        (RULE + "recipient_domain_is = [1]\n", "recipient_domain_is[0]: must be text"),
        (RULE + "either = [{sent_to = [1]}]\n", "either[0].sent_to[0]: must be text"),
        (RULE + "recipient_ad_attribute_contains_words = {}\n", "words: must not be empty: give at least 1 item"),
        (RULE + f"attachment_extension_matches_words = {['a'] * 1001}\n", "words: must have at most 1000 items"),
        (RULE + f'comments = "{"x" * 5000}"\n', "comments: must have at most 1024 characters"),
        (RULE + 'expiry_date = "soon"\n', "expiry_date: must be a time like 2026-03-01T10:00:00Z"),
        (RULE + 'reject_message = {reason_text = ""}\n', "reason_text: must not be empty"),
        ('[[inbound_connector]]\nname = "B"\nsender_domains = ["b.test"]\nca_file = "a\\u0001"\n',
         "ca_file: must be the path of a file"),
    ],
)  # fmt: skip
def test_one_mistake_is_told_once_and_in_our_words(text, told):
    (problem,) = problems(text)
    assert told in str(problem)
    assert not re.search("Tuple|List|Dictionary|String|Value|Input|validation|pattern", problem.message)
