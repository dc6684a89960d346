"""The look-up tables against naive interpreters of the same lists."""

import ipaddress
import time

from hypothesis import given
from hypothesis import strategies as st

from lockgate.mail.certificate_names import name_covered
from lockgate.policy.networks import parse_networks
from lockgate.policy.tries import CertificateNames, DomainMap, NetworkMap

labels = st.sampled_from(["a", "b", "c"])
names = st.lists(labels, min_size=1, max_size=5).map(".".join)
patterns = st.one_of(names, names.map("*.{}".format), st.just("*"))
entries = st.dictionaries(patterns, st.integers(), max_size=12)


def covers(pattern, name, apex):
    if pattern == "*":
        return True
    if pattern.startswith("*."):
        return name.endswith(pattern[1:]) or (apex and name == pattern[2:])
    return pattern == name


def rank(pattern):
    return (not pattern.startswith("*"), pattern.count("."))


@given(entries, names, st.booleans())
def test_domains_by_specificity(known, name, apex):
    found = DomainMap(known.items(), apex=apex)
    covering = sorted((p for p in known if covers(p, name, apex)), key=rank, reverse=True)
    assert found.every(name) == tuple(known[p] for p in covering)
    assert found.find(name) == (known[covering[0]] if covering else None)
    assert len(found) == len(known)


def test_a_longer_exact_name_hides_no_wildcard():
    found = DomainMap([("*.example.com", "wild"), ("a.woot.example.com", "exact")])
    assert found.find("woot.example.com") == "wild"
    assert found.find("b.woot.example.com") == "wild"
    assert found.find("a.woot.example.com") == "exact"
    assert found.find("evilexample.com") is None
    assert found.find("") is None


def test_falsy_values_are_found():
    assert DomainMap([("a.b", 0), ("*.b", 1)]).find("a.b") == 0


@given(st.lists(st.one_of(names, names.map("*.{}".format)), max_size=8), st.one_of(names, names.map("*.{}".format)))
def test_certificate_names_agree_with_the_one_rule(configured, borne):
    found = CertificateNames((name, (number, name)) for number, name in enumerate(configured))
    expected = {(number, name) for number, name in enumerate(configured) if name_covered(name, [borne])}
    assert set(found.find(borne)) == expected
    assert len(found.find(borne)) == len(expected)


def test_strange_certificate_names_find_nothing():
    found = CertificateNames([("*.test", 1), ("a.test", 2)])
    for name in ("", "*", "*.", "*.*.test", "a.*.test", "**", "."):
        assert found.find(name) == ()


small = st.builds(
    lambda number, length: f"{ipaddress.IPv4Address(number << 24)}/{length}", st.integers(0, 255), st.integers(0, 10)
)
small6 = st.builds(
    lambda number, length: f"{ipaddress.IPv6Address(number << 120)}/{length}", st.integers(0, 255), st.integers(0, 10)
)


@given(st.lists(st.one_of(small, small6), max_size=15), st.integers(0, 2**32 - 1), st.booleans())
def test_networks_by_longest_prefix(texts, number, six):
    peer = ipaddress.IPv6Address(number << 96) if six else ipaddress.IPv4Address(number)
    known = {network: text for text in texts for network in parse_networks(text)}
    found = NetworkMap(known.items())
    covering = sorted(
        (n for n in known if len(n.packed) == len(peer.packed) and peer in ipaddress.ip_network((n.packed, n.length))),
        key=lambda n: -n.length,
    )
    assert found.every(peer.packed) == tuple(known[n] for n in covering)
    assert found.find(peer.packed) == (known[covering[0]] if covering else None)
    merged = NetworkMap(((n, (t,)) for n, t in known.items()), merge=lambda inner, outer: inner + outer)
    assert (merged.find(peer.packed) or ()) == tuple(known[n] for n in covering)


def test_edges_of_the_address_space():
    found = NetworkMap((n, t) for t in ("255.255.255.255", "0.0.0.0/1", "::/0") for n in parse_networks(t))
    assert found.find(b"\xff\xff\xff\xff") == "255.255.255.255"
    assert found.find(b"\xff\xff\xff\xfe") is None
    assert found.find(bytes(4)) == "0.0.0.0/1"
    assert found.find(b"\x80\0\0\0") is None
    assert found.find(b"\xff" * 16) == "::/0"
    assert found.find(b"") is None
    assert NetworkMap().find(bytes(4)) is None


def _best(call, arguments):
    spent = []
    for _ in range(15):
        start = time.process_time()
        for argument in arguments:
            call(argument)
        spent.append(time.process_time() - start)
    return min(spent) / len(arguments) * 1e6


def test_cost_does_not_grow_with_the_list():
    few, many = (
        NetworkMap(
            (n, "x") for i in range(size) for n in parse_networks(f"{i % 200 + 1}.{i >> 16}.{i >> 8 & 255}.{i & 255}")
        )
        for size in (100, 100_000)
    )
    peers = [bytes([i % 200 + 1, 0, i >> 8 & 255, i & 255]) for i in range(20_000)]
    assert _best(many.find, peers) < 4 * _best(few.find, peers) + 1
