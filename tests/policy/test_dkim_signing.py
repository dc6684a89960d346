"""Which domains can be said to sign, and what the linter says of weak wishes."""

from __future__ import annotations

import pytest

from policies import policy, problems, warned

ORG = """\
[[organisation]]
name = "contoso"
[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true
[[accepted_domain]]
domain_name = "relay.test"
vouched_by_operator = true
domain_type = "internal_relay"
match_sub_domains = true
[[accepted_domain]]
domain_name = "unproven.test"
[[outbound_connector]]
name = "HQ"
connector_type = "on_premises"
use_mx_record = false
smart_hosts = ["192.0.2.1"]
all_accepted_domains = true
"""
CONFIG = '[[dkim_signing_config]]\ndomain_name = "{}"\n'


def test_own_domains_sign() -> None:
    found = policy(CONFIG.format("Contoso.COM") + CONFIG.format("deep.relay.test"), above=ORG).of("contoso")
    assert set(found.signing) == {"contoso.com", "deep.relay.test"}
    config = found.signing["contoso.com"]
    assert (config.key_size, config.algorithms, config.enabled) == (2048, ("rsa",), True)
    assert (config.header_canonicalization, config.body_canonicalization) == ("relaxed", "relaxed")
    assert found.signing_domain == ""


@pytest.mark.parametrize(
    ("text", "path", "message"),
    [
        (CONFIG.format("stranger.test"), "domain_name", "no accepted domain of the organisation"),
        (CONFIG.format("deep.contoso.com"), "domain_name", "no accepted domain of the organisation"),
        (CONFIG.format("contoso.com") * 2, "domain_name", "is there already"),
        (CONFIG.format("contoso.com") + "key_size = 512\n", "key_size", "must be 1024"),
        (CONFIG.format("contoso.com") + "algorithms = []\n", "algorithms", "name at least one"),
        (CONFIG.format("contoso.com") + 'algorithms = ["dsa"]\n', "algorithms[0]", "must be 'rsa' or 'ed25519'"),
        (CONFIG.format("contoso.com") + 'header_canonicalization = "nofws"\n', "header_canonicalization", "relaxed"),
        (CONFIG.format("contoso.com") + "private_key = 1\n", "private_key", "there is no 'private_key' here"),
    ],
)
def test_mistakes_are_told_at_their_place(text: str, path: str, message: str) -> None:
    (found,) = problems(text, above=ORG)
    assert found.path.endswith(path) and message in found.message


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("key_size = 1024\n", "key_size"),
        ('algorithms = ["ed25519"]\n', "algorithms"),
    ],
)
def test_weak_wishes_are_advised_against(text: str, path: str) -> None:
    before = warned(above=ORG)
    after = warned(CONFIG.format("contoso.com") + text, above=ORG)
    assert [one for one in after if one not in before] == [f"dkim_signing_config[0].{path}"]


def test_a_domain_that_is_not_proven_signs_nothing_yet() -> None:
    assert "dkim_signing_config[0].domain_name" in warned(CONFIG.format("unproven.test"), above=ORG)


def test_the_initial_domain_signs_for_others_else_the_default_one() -> None:
    ranked = ORG.replace('"contoso.com"\n', '"contoso.com"\ndefault = true\n', 1)
    assert policy(CONFIG.format("contoso.com"), above=ranked).of("contoso").signing_domain == "contoso.com"
    initial = ranked.replace('"relay.test"\n', '"relay.test"\ninitial_domain = true\n', 1)
    assert policy(CONFIG.format("contoso.com"), above=initial).of("contoso").signing_domain == "contoso.com"
    both = CONFIG.format("contoso.com") + CONFIG.format("relay.test")
    assert policy(both, above=initial).of("contoso").signing_domain == "relay.test"
    disabled = CONFIG.format("contoso.com") + CONFIG.format("relay.test") + "enabled = false\n"
    assert policy(disabled, above=initial).of("contoso").signing_domain == "contoso.com"
