"""Every finding of the linter about connectors, hit and missed; each says what, where, why, and how to mend it."""

import re
import tomllib
from pathlib import Path

import pytest

from fixtures_folder import fixtures_folder
from lockgate.policy.compile import compile_policy
from policies import CONTOSO, policy

ROOT = Path(__file__).resolve().parents[2]

OWN = '[[inbound_connector]]\nname = "{}"\nconnector_type = "on_premises"\n'
PARTNER = '[[inbound_connector]]\nname = "{}"\nsender_domains = ["{}"]\n'
CERT = 'restrict_domains_to_certificate = true\ntls_sender_certificate_name = "mail.bank.test"\n'
IPS = 'restrict_domains_to_ip_addresses = true\nsender_ip_addresses = ["203.0.113.0/24"]\n'
OUT = '[[outbound_connector]]\nname = "{}"\nrecipient_domains = ["{}"]\n'
TO_HQ = 'use_mx_record = false\nsmart_hosts = ["mail.contoso.com"]\n'
CHECKED = 'use_mx_record = false\ntls_settings = "domain_validation"\n'


def own(name, text):
    return OWN.format(name) + text + "\n"


def addresses(*these):
    return f"sender_ip_addresses = [{', '.join(repr(one) for one in these)}]\n"


def partner(name, domain, text=""):
    return PARTNER.format(name, domain) + text


def out(name, domain, text=""):
    return OUT.format(name, domain) + text


FOUND = {
    "own servers at a shared host": (own("Own", addresses("40.107.1.0/24")), "all that proves these own servers"),
    "own servers at a shared host, IPv6": (own("Own", addresses("2a01:111:f400:7e00::/56")), "Exchange Online"),
    "more addresses than anybody's": (own("Own", addresses("203.0.0.0/12")), "more addresses than one organisation"),
    "everybody at all": (own("Own", addresses("0.0.0.0/0")), "more addresses than one organisation"),
    "the same certificate twice": (
        own("A", 'tls_sender_certificate_name = "*.contoso.com"')
        + own("B", 'tls_sender_certificate_name = "*.contoso.com"'),
        "'B' never counts: 'A' has the same certificate",
    ),
    "the same addresses twice": (
        own("A", addresses("192.0.2.0/28", "192.0.2.99")) + own("B", addresses("192.0.2.99")),
        "'B' never counts: 'A' has the same addresses",
    ),
    "a partner at a shared host": (
        partner("Bank", "bank.test", "restrict_domains_to_ip_addresses = true\n" + addresses("209.85.128.0/17")),
        "all that proves this partner",
    ),
    "a wider partner that restricts": (
        partner("Bank", "bank.test") + partner("Gate", "*", IPS),
        "'Bank' never counts: 'Gate' covers the same senders and restricts senders",
    ),
    "the same domain, decided by name": (
        partner("A", "bank.test") + partner("B", "bank.test", "require_tls = false\n"),
        "'B' never counts: 'A' covers the same senders and comes first by name",
    ),
    "one of two domains": (
        '[[inbound_connector]]\nname = "Bank"\nsender_domains = ["bank.test", "other.test"]\n'
        + partner("Gate", "*.bank.test", CERT),
        "'Bank' never counts for bank.test: 'Gate'",
    ),
    "two that ask different things": (
        partner("A", "bank.test", CERT) + partner("B", "bank.test", IPS),
        "'B' and 'A' ask different things of bank.test",
    ),
    "nobody names the site": (
        out("NOLA", "contoso.com", TO_HQ + "is_transport_rule_scoped = true\n"),
        "no mail flow rule names 'NOLA'",
    ),
    "two for one domain": (out("A", "x.test") + out("B", "x.test"), "'B' is never taken: 'A' is for x.test too"),
    "two for one domain, by cost": (
        out("A", "x.test", "cost = 5\n") + out("B", "x.test"),
        "'A' is never taken: 'B' is for x.test too and costs less",
    ),
    "one of two recipient domains": (
        out("A", "x.test") + '[[outbound_connector]]\nname = "B"\nrecipient_domains = ["x.test", "y.test"]\n',
        "'B' is never taken for x.test",
    ),
    "the smaller one second": (
        out("A", "x.test", "size_limit = 2000\n") + out("B", "x.test", "size_limit = 1000\n"),
        "'B' is never taken",
    ),
    "the Internet to those who send to it": (
        own("Own", addresses("192.0.2.1")) + out("HQ", "*", 'connector_type = "on_premises"\n' + TO_HQ),
        "'HQ' takes all mail to the Internet to your own servers",
    ),
    "a name that the host cannot show": (
        out("Bank", "bank.test", CHECKED + 'smart_hosts = ["bank-test.mail.protection.outlook.com"]\n'
            'tls_domain = "*.bank.test"\n'),
        "cannot show a certificate for *.bank.test",
    ),
}  # fmt: skip

MISSED = {
    "own servers at a shared host, by certificate": own(
        "Own", addresses("40.107.1.0/24") + 'tls_sender_certificate_name = "*.contoso.com"'
    ),
    "own servers inside": own("Own", addresses("10.0.0.0/8", "172.16.0.0/12", "fc00::/7")),
    "an own network": own("Own", addresses("198.51.0.0/16", "2001:db8::/32")),
    "the same certificate at other places": own(
        "A", 'tls_sender_certificate_name = "*.contoso.com"\n' + addresses("192.0.2.1")
    )
    + own("B", 'tls_sender_certificate_name = "*.contoso.com"\n' + addresses("192.0.2.2")),
    "some other addresses": own("A", addresses("192.0.2.1")) + own("B", addresses("192.0.2.1", "192.0.2.2")),
    "own servers and the lock-down beside them": own("Own", addresses("203.0.113.0/24")) + partner("Gate", "*", IPS),
    "a partner at a shared host, by certificate": partner(
        "Bank", "bank.test", CERT + "restrict_domains_to_ip_addresses = true\n" + addresses("209.85.128.0/17")
    ),
    "a wider partner that only asks for TLS": partner("Bank", "bank.test", CERT) + partner("All", "*"),
    "a narrower one": partner("Bank", "*.bank.test") + partner("Site", "site.bank.test"),
    "a lock-down for other recipients": partner("Bank", "bank.test")
    + partner("Gate", "*", IPS + 'associated_accepted_domains = ["contoso.com"]\n'),
    "a disabled one": partner("Bank", "bank.test") + partner("Gate", "*", IPS + "enabled = false\n"),
    "only from its addresses": partner("A", "bank.test", addresses("203.0.113.1")) + partner("B", "bank.test"),
    "two certificates of one partner": partner("A", "bank.test", CERT)
    + partner("B", "bank.test", CERT.replace("mail.", "mx.")),
    "a rule names the site": out("NOLA", "contoso.com", TO_HQ + "is_transport_rule_scoped = true\n")
    + '[[mail_flow_rule]]\nname = "R"\nroute_message_outbound_connector = "NOLA"\n',
    "two sizes": out("A", "x.test", "size_limit = 1000\n") + out("B", "x.test"),
    "two domains": out("A", "x.test") + out("B", "*.x.test"),
    "a disabled second": out("A", "x.test") + out("B", "x.test", "enabled = false\n"),
    "a relay of somebody else's": own("Own", addresses("192.0.2.1")) + out("Relay", "*", TO_HQ),
    "centralised": own("Own", addresses("192.0.2.1"))
    + '[[outbound_connector]]\nname = "HQ"\nconnector_type = "on_premises"\nroute_all_messages_via_on_premises = true\n'
    + TO_HQ,
    "the service's own name": out(
        "Bank", "bank.test", CHECKED + 'smart_hosts = ["bank-test.mail.protection.outlook.com"]\n'
        'tls_domain = "mail.protection.outlook.com"\n'
    ),
    "a pinned key": out(
        "Bank", "bank.test", CHECKED + 'smart_hosts = ["bank-test.mail.protection.outlook.com"]\n'
        f'tls_domain = "*.bank.test"\npinned_keys = ["{"ab" * 32}"]\n'
    ),
}  # fmt: skip


def findings(text):
    return policy(text).warnings


@pytest.mark.parametrize(("text", "told"), FOUND.values(), ids=FOUND)
def test_found_and_told_whole(text, told):
    hits = [one for one in findings(text) if told in one.message]
    assert len(hits) == 1, findings(text)
    (hit,) = hits
    assert hit.file == "policy.toml"
    assert hit.why
    assert hit.mend
    line = (CONTOSO + text).splitlines()[hit.line - 1]
    key = re.sub(r"\[\d+\]$", "", hit.path).rpartition(".")[2]
    assert line.startswith(key), (line, hit.path)


@pytest.mark.parametrize("text", MISSED.values(), ids=MISSED)
def test_not_found(text):
    assert not [one for one in findings(text) if one.why and "must both hold" not in one.message]


def test_one_mistake_is_told_once_however_many_connectors_share_a_domain():
    text = "".join(out(f"C{number:04}", "x.test") for number in range(2000))
    assert len([one for one in findings(text) if "never taken" in one.message]) == 1999


def _samples():
    """Every policy in the manual, the stories and the demonstration."""
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        for number, sample in enumerate(re.findall(r"```toml\n(.*?)```", path.read_text("utf-8"), re.S)):
            if re.search(r"^\[\[(in|out)bound_connector\]\]", sample, re.M):
                yield pytest.param(sample, id=f"{path.name}-{number}")
    for path in sorted((ROOT / "tests" / "stories" / "policy").glob("*.toml")):
        yield pytest.param(path.read_text("utf-8"), id=path.name)


@pytest.mark.parametrize("text", list(_samples()))
def test_the_manual_and_the_stories_give_no_cause(text):
    told = tomllib.loads(text)
    above = "" if "organisation" in told else '[[organisation]]\nname = "contoso"\n'
    wanted = {name for table in ("inbound_connector", "outbound_connector") for one in told.get(table, ())
              for name in one.get("associated_accepted_domains", ())}  # fmt: skip
    named = {one["domain_name"] for one in told.get("accepted_domain", ())}
    for domain in sorted({"contoso.com", *wanted} - named):
        above += f'[[accepted_domain]]\norganisation = "contoso"\ndomain_name = "{domain}"\n'
        above += "vouched_by_operator = true\n"
    found = compile_policy({"a.toml": above + text}, hostname="mx.lockgate.test", revision=1).warnings
    assert not [one for one in found if one.why]


def test_published_connector_cases_give_no_cause():
    from decision.test_connector_cases import CASES, toml_of

    fixtures_folder("connectors")
    for case in CASES:
        found = compile_policy({"a.toml": toml_of(case)}, hostname="mx.lockgate.test", revision=1).warnings
        assert not [one for one in found if one.why], case["id"]
