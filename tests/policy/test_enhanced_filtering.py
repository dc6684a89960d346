"""T-GW-3: what enhanced filtering may say, and what it is advised against (specification 1.13.2)."""

from __future__ import annotations

import ipaddress

import pytest

from lockgate.policy.enhanced_filtering import is_nobody, private_range
from lockgate.policy.problems import Invalid
from lockgate.testing.builders import policy_of

BASE = """
[[organisation]]
name = "contoso"
[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true
[[inbound_connector]]
name = "Gateway"
sender_domains = ["*"]
{lines}
"""
LOCKED = 'sender_ip_addresses = ["198.51.100.0/24"]\nrestrict_domains_to_ip_addresses = true\n'


def warnings(lines: str, more: str = "") -> str:
    return "\n".join(str(one) for one in policy_of(BASE.format(lines=lines) + more).warnings)


@pytest.mark.parametrize(
    "entry",
    ["10.0.0.0/8", "10.1.2.3", "172.20.0.0/16", "192.168.0.0/24", "127.0.0.1", "169.254.0.0/16", "fd00::/8", "fe80::1",
     "::1", "0.0.0.0/0", "172.15.0.0-172.16.0.5", "::ffff:10.0.0.1", "::/0"],
)  # fmt: skip
def test_t_gw_3_private_ranges_are_refused(entry: str) -> None:
    with pytest.raises(Invalid) as refused:
        policy_of(BASE.format(lines=LOCKED + f'ef_skip_ips = ["198.51.100.7", "{entry}"]'))
    (problem,) = refused.value.problems
    assert "skipped by themselves and may not be listed" in str(problem)
    assert str(problem).startswith("test.toml:12:"), "the entry's place"


@pytest.mark.parametrize("entry", ["100.64.0.0/10", "192.0.2.0/24", "2001:db8::/32", "172.32.0.0/16", "11.0.0.0/8"])
def test_everything_else_may_be_listed(entry: str) -> None:
    assert policy_of(BASE.format(lines=LOCKED + f'ef_skip_ips = ["{entry}"]')).of("contoso").enhanced


def test_what_does_not_go_together_is_advised_of() -> None:
    central = """
[[outbound_connector]]
name = "All"
connector_type = "on_premises"
route_all_messages_via_on_premises = true
use_mx_record = false
smart_hosts = ["hq.test"]
"""
    assert "does not go together with centralised transport" in warnings(LOCKED + "ef_skip_last_ip = true", central)
    assert "centralised" not in warnings(LOCKED + "ef_skip_last_ip = true")
    assert "these recipients have no effect" in warnings('ef_users = ["ana@contoso.com"]')
    assert "nothing shows that a session is the gateway's" in warnings("ef_skip_last_ip = true")
    assert "nothing shows" not in warnings('ef_skip_ips = ["198.51.100.7"]')
    own = 'connector_type = "on_premises"\nsender_ip_addresses = ["203.0.113.25"]\n'
    own += "treat_messages_as_internal = true\n"
    assert "wherever it really came from" in warnings(own + "ef_skip_last_ip = true")


def test_switched_off_means_off() -> None:
    for lines in ("", "ef_skip_last_ip = true\nenabled = false"):
        assert not policy_of(BASE.format(lines=LOCKED + lines)).of("contoso").enhanced


@pytest.mark.parametrize(
    ("address", "private"),
    [("10.0.0.1", True), ("172.16.0.0", True), ("172.31.255.255", True), ("172.32.0.0", False), ("192.168.1.1", True),
     ("127.9.9.9", True), ("169.254.0.1", True), ("100.64.0.1", False), ("192.0.2.1", False), ("198.18.0.1", False),
     ("::1", True), ("fe80::1", True), ("febf::1", True), ("fec0::1", False), ("fd12::1", True),
     ("2001:db8::1", False)],
)  # fmt: skip
def test_only_these_are_private(address: str, private) -> None:
    packed = ipaddress.ip_address(address).packed
    assert bool(private_range(packed)) is private
    assert not is_nobody(packed)


@pytest.mark.parametrize("address", ["0.0.0.0", "224.0.0.1", "255.255.255.255", "::", "ff02::1"])
def test_nobody_has_these(address: str) -> None:
    assert is_nobody(ipaddress.ip_address(address).packed)
