"""SPF by cases of our own: what must hold where the published suite is not at hand (RFC 7208)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.mail.authentication import SpfVerdict
from lockgate.probes.trust.spf.check import check_host
from lockgate.probes.trust.spf.macros import Names, expand, expand_domain
from lockgate.probes.trust.spf.record import BadRecord, parse_record
from probes.spf_zone import SuiteZone

ZONE = {
    "d.test": [
        {"TXT": "v=spf1 ip4:192.0.2.0/28 a:out.d.test mx include:inc.test -all exp=why.d.test"},
        {"MX": [10, "in.d.test"]},
    ],
    "out.d.test": [{"A": "198.51.100.9"}, {"AAAA": "2001:db8::9"}],
    "in.d.test": [{"A": "198.51.100.25"}],
    "why.d.test": [{"TXT": "%{i} is not one of %{d}'s servers%_(%{r})"}],
    "inc.test": [{"TXT": "v=spf1 ip4:203.0.113.1 -all"}],
    "two.test": [{"TXT": "v=spf1 -all"}, {"TXT": "v=spf1 +all"}],
    "soft.test": [{"TXT": ["v=spf1 ", "?ip4:192.0.2.1 ~all"]}],
    "nobody.test": [{"TXT": "v=spf1 include:absent.test -all"}],
    "silent.test": ["TIMEOUT"],
    "waits.test": [{"TXT": "v=spf1 include:silent.test +all"}],
    "moved.test": [{"TXT": "v=spf1 redirect=inc.test"}],
    "lost.test": [{"TXT": "v=spf1 redirect=absent.test"}],
    "self.test": [{"TXT": "v=spf1 include:self.test -all"}],
    "ring.test": [{"TXT": "v=spf1 redirect=ring.test"}],
    "eleven.test": [{"TXT": "v=spf1 " + " ".join(f"a:out{n}.test" for n in range(11)) + " +all"}],
    **{f"out{n}.test": [{"A": "198.51.100.1"}] for n in range(11)},
    "void.test": [{"TXT": "v=spf1 a:n1.test a:n2.test a:n3.test +all"}],
    "six.test": [{"TXT": "v=spf1 ip6:2001:db8::/32 -all"}],
    "per.user.test": [{"TXT": "v=spf1 exists:%{l1r-}.%{d}.who.test -all"}],
    "ann.per.user.test.who.test": [{"A": "127.0.0.2"}],
    "name.test": [{"TXT": "v=spf1 ptr:isp.test -all"}],
    "7.2.0.192.in-addr.arpa": [{"PTR": "host7.isp.test"}, {"PTR": "liar.isp.test"}],
    "host7.isp.test": [{"A": "192.0.2.7"}],
    "many.test": [{"TXT": "v=spf1 mx +all"}, *[{"MX": [n, f"mx{n}.many.test"]} for n in range(11)]],
}  # fmt: skip


async def spf(address: str, domain: str, sender: str = ""):
    sender = sender or f"ann-list@{domain}"
    return await check_host(SuiteZone(ZONE), address, domain, sender, "helo.test", receiver="mx.us.test")


@pytest.mark.parametrize(
    ("address", "domain", "verdict", "matched"),
    [
        ("192.0.2.15", "d.test", "pass", "ip4:192.0.2.0/28"),
        ("192.0.2.16", "d.test", "fail", "-all"),
        ("198.51.100.9", "d.test", "pass", "a:out.d.test"),
        ("2001:db8::9", "d.test", "pass", "a:out.d.test"),
        ("::ffff:192.0.2.15", "d.test", "pass", "ip4:192.0.2.0/28"),
        ("198.51.100.25", "D.Test.", "pass", "mx"),
        ("203.0.113.1", "d.test", "pass", "include:inc.test"),
        ("192.0.2.1", "two.test", "permerror", ""),
        ("192.0.2.1", "soft.test", "neutral", "?ip4:192.0.2.1"),
        ("192.0.2.2", "soft.test", "softfail", "~all"),
        ("192.0.2.1", "nobody.test", "permerror", ""),
        ("192.0.2.1", "silent.test", "temperror", ""),
        ("192.0.2.1", "waits.test", "temperror", ""),
        ("203.0.113.1", "moved.test", "pass", "ip4:203.0.113.1"),
        ("192.0.2.1", "lost.test", "permerror", ""),
        ("192.0.2.1", "self.test", "permerror", ""),
        ("192.0.2.1", "ring.test", "permerror", ""),
        ("192.0.2.1", "eleven.test", "permerror", ""),
        ("192.0.2.1", "void.test", "permerror", ""),
        ("2001:db8:1::1", "six.test", "pass", "ip6:2001:db8::/32"),
        ("192.0.2.1", "six.test", "fail", "-all"),
        ("192.0.2.1", "per.user.test", "pass", "exists:%{l1r-}.%{d}.who.test"),
        ("192.0.2.7", "name.test", "pass", "ptr:isp.test"),
        ("192.0.2.1", "many.test", "permerror", ""),
        ("192.0.2.1", "absent.test", "none", ""),
        ("192.0.2.1", "localhost", "none", ""),
        ("192.0.2.1", "[192.0.2.1]", "none", ""),
    ],
)
async def test_verdicts(address, domain, verdict, matched):
    found = await spf(address, domain)
    assert (found.verdict.value, found.matched) == (verdict, matched), found
    assert bool(found.problem) == (verdict in ("permerror", "temperror"))


async def test_an_explanation_is_one_harmless_line():
    found = await spf("192.0.2.99", "d.test")
    assert found.explanation == "192.0.2.99 is not one of d.test's servers (mx.us.test)"
    evil = {"d.test": [{"TXT": "v=spf1 -all exp=e.test"}], "e.test": [{"TXT": "a\r\nSubject: b\x1b[2J" + "c" * 900}]}
    told = (await check_host(SuiteZone(evil), "192.0.2.1", "d.test", "a@d.test", "h.test")).explanation
    assert told.isprintable() and len(told) <= 400


async def test_the_sender_without_local_part_is_postmaster():
    there = [{"A": "127.0.0.2"}]
    zone = {"d.test": [{"TXT": "v=spf1 exists:%{l}.%{o}.x.test -all"}], "postmaster.d.test.x.test": there}
    found = await check_host(SuiteZone(zone), "192.0.2.1", "d.test", "@d.test", "h.test")
    assert found.verdict is SpfVerdict.PASS


@pytest.mark.parametrize(
    ("text", "expanded"),
    [
        ("%{s}", "strong-bad@email.example.com"), ("%{o}", "email.example.com"), ("%{d4}", "email.example.com"),
        ("%{d2}", "example.com"), ("%{d1}", "com"), ("%{dr}", "com.example.email"), ("%{d2r}", "example.email"),
        ("%{l}", "strong-bad"), ("%{l-}", "strong.bad"), ("%{lr}", "strong-bad"), ("%{lr-}", "bad.strong"),
        ("%{l1r-}", "strong"), ("%{ir}.%{v}._spf.%{d2}", "3.2.0.192.in-addr._spf.example.com"),
        ("%%%_%-", "% %20"), ("%{S}", "strong-bad%40email.example.com"), ("%{c}", "unknown"),
    ],
)  # fmt: skip
def test_macros_as_the_standard_shows_them(text, expanded):
    """RFC 7208 7.4."""
    import ipaddress

    names = Names(
        "strong-bad@email.example.com", "strong-bad", "email.example.com", ipaddress.ip_address("192.0.2.3"), "h", "r"
    )
    assert expand(text, names, "email.example.com") == expanded


def test_a_name_too_long_for_dns_loses_labels_on_the_left():
    import ipaddress

    names = Names("a@b", "a" * 200, "b", ipaddress.ip_address("192.0.2.3"), "h", "r")
    assert expand_domain("%{l}.%{l}.x.d.test", names, "d") == f"{'a' * 200}.x.d.test"


@pytest.mark.parametrize(
    "term",
    [
        "ip4:1.2.3", "ip4:1.2.3.4/33", "ip4:1.2.3.04", "ip6:::1/129", "a:", "a:d", "a/33", "a//129", "include:",
        "include", "exists", "all:x", "all/8", "-redirect=x.test", "redirect=x.test redirect=y.test", "foo", "foo:bar",
        "a:%", "a:%{x}.test", "a:%{d}%", "ptr/24", "mx:d.test/024", "ip4", "exp=", "m=%z",
        "a:exa mple", "1a", "a:d.test/24/64",
    ],
)  # fmt: skip
def test_terms_that_are_none(term):
    with pytest.raises(BadRecord):
        parse_record(f"v=spf1 {term} -all")


@given(st.text(max_size=200))
def test_any_text_is_a_record_or_a_mistake(text):
    try:
        record = parse_record(f"v=spf1 {text}")
    except BadRecord:
        return
    assert all(mechanism.text in text for mechanism in record.mechanisms)
