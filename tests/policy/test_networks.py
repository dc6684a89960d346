"""Entries of IP lists: what is read, and what is refused in words."""

import contextlib
import ipaddress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.policy.networks import Network, NetworkError, has_host_bits, parse_address, parse_networks


@pytest.mark.parametrize(
    ("entry", "texts"),
    [
        ("192.0.2.25", ["192.0.2.25"]),
        ("192.0.2.0/24", ["192.0.2.0/24"]),
        ("192.168.0.1/25", ["192.168.0.0/25"]),  # host bits, as in the vendor's own example
        ("0.0.0.0/0", ["0.0.0.0/0"]),
        ("2001:db8::/32", ["2001:db8::/32"]),
        ("2001:DB8::1", ["2001:db8::1"]),
        ("::ffff:192.0.2.25", ["192.0.2.25"]),
        ("::ffff:192.0.2.0/120", ["192.0.2.0/24"]),
        ("::ffff:c000:219", ["192.0.2.25"]),
        ("192.0.2.1-192.0.2.3", ["192.0.2.1", "192.0.2.2/31"]),
        ("192.0.2.0 - 192.0.2.255", ["192.0.2.0/24"]),
        ("0.0.0.0-255.255.255.255", ["0.0.0.0/0"]),
        ("::1-::4", ["::1", "::2/127", "::4"]),
    ],
)
def test_what_an_entry_means(entry, texts):
    assert [network.text for network in parse_networks(entry)] == texts


@pytest.mark.parametrize(
    "entry",
    [
        "", "192.0.2", "192.0.2.256", "192.0.02.1", "010.0.0.1", "1.2.3.4.5", "192.0.2.0/33", "192.0.2.0/024",
        "192.0.2.0/-1", "192.0.2.0/", "/24", "2001:db8::/129", "fe80::1%eth0", "::ffff:0:0/90", "192.0.2.9-192.0.2.1",
        "192.0.2.1-2001:db8::1", "192.0.2.1-", "-", "a-b", "١.٢.٣.٤", "192.0.2.1/٨", "1.2.3.4\n", ":" * 500,
        "mail.test",
    ],
)  # fmt: skip
def test_what_is_refused(entry):
    with pytest.raises(NetworkError) as refusal:
        parse_networks(entry)
    assert len(str(refusal.value)) > 20
    assert "\n" not in str(refusal.value) or entry.endswith("\n")


def test_host_bits_are_seen():
    assert has_host_bits("192.168.0.1/25")
    assert not has_host_bits("192.168.0.0/25")
    assert not has_host_bits("192.168.0.1")


@given(st.integers(0, 2**32 - 1), st.integers(0, 2**32 - 1))
def test_a_range_is_covered_exactly_once(a, b):
    low, high = sorted((a, b))
    found = parse_networks(f"{ipaddress.IPv4Address(low)}-{ipaddress.IPv4Address(high)}")
    expected = ipaddress.summarize_address_range(ipaddress.IPv4Address(low), ipaddress.IPv4Address(high))
    assert list(found) == [Network(net.network_address.packed, net.prefixlen) for net in expected]


@given(st.one_of(st.ip_addresses(v=4), st.ip_addresses(v=6)), st.integers(0, 128))
def test_networks_agree_with_the_standard_library(address, length):
    length = min(length, address.max_prefixlen)
    if address.version == 6 and address.packed[:12] == bytes(10) + b"\xff\xff":
        return
    expected = ipaddress.ip_network(f"{address}/{length}", strict=False)
    assert parse_networks(f"{address}/{length}") == (Network(expected.network_address.packed, length),)
    assert parse_address(str(address)) == address.packed


@given(st.text(max_size=60))
def test_any_text_is_read_or_refused(text):
    with contextlib.suppress(NetworkError):
        assert parse_networks(text)
