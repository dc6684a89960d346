"""The linter says when addresses of reports can have no effect."""

from __future__ import annotations

import pytest

from lockgate.policy.problems import Invalid
from lockgate.testing.builders import policy_of

POLICY = """
[[organisation]]
name = "contoso"
report_addresses = {addresses}
[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true
[[anti_phishing_policy]]
name = "Default"
report_contact = "{contact}"
"""


def warnings(addresses: str, contact: str) -> list[tuple[str, str]]:
    found = policy_of(POLICY.format(addresses=addresses, contact=contact)).warnings
    return [(one.path, one.message) for one in found]


def test_addresses_of_the_organisation_are_in_order() -> None:
    assert warnings('["dmarc@contoso.com", "tls@Contoso.COM"]', "reports@contoso.com") == []


def test_addresses_elsewhere_are_doubtful() -> None:
    (read, sent) = warnings('["dmarc@contoso.com", "x@far.test"]', "reports@far.test")
    assert read[0] == "organisation[0].report_addresses[1]" and "no mail to x@far.test is read" in read[1]
    assert sent[0] == "anti_phishing_policy[0].report_contact" and "may fail DMARC" in sent[1]


@pytest.mark.parametrize("bad", ['["nobody"]', '"dmarc@contoso.com"'])
def test_what_is_no_list_of_addresses_is_a_mistake(bad: str) -> None:
    with pytest.raises(Invalid):
        policy_of(POLICY.format(addresses=bad, contact="a@contoso.com"))
