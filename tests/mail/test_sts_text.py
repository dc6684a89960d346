"""MTA-STS as it is written: records and policies, good, odd and hostile (RFC 8461 3.1, 3.2)."""

from __future__ import annotations

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from lockgate.mail.sts import StsMode, StsPolicy
from lockgate.mail.sts_text import (
    LARGEST,
    LONGEST_KEPT,
    LONGEST_LIFE,
    MOST_HOSTS,
    NotAnnounced,
    PolicyBroken,
    announced,
    read_policy,
    record_for,
    written_policy,
)

GOOD = b"version: STSv1\r\nmode: enforce\r\nmx: mail.example.com\r\nmx: *.example.net\r\nmax_age: 604800\r\n"


@pytest.mark.parametrize(
    ("records", "wanted"),
    [
        (["v=STSv1; id=20160831085700Z;"], "20160831085700Z"),
        (["v=STSv1;id=1"], "1"),
        (["v=STSv1 ; id = abc ;"], "abc"),
        (["v=spf1 -all", "v=STSv1; id=7;", "something else"], "7"),
        (["v=STSv1; other=x y; id=7; id=8"], "7"),
        (["v=STSv1; id=" + "a" * 32], "a" * 32),
    ],
)
def test_the_id_of_a_record(records: list[str], wanted: str) -> None:
    assert announced(records) == wanted


@pytest.mark.parametrize(
    ("records", "why", "silent"),
    [
        ([], "there is no TXT record", True),
        (["v=STSv2; id=1;", "V=STSv1; id=1", " v=STSv1; id=1", "v=STSv1"], "there is no TXT record", True),
        (["v=STSv1; id=1;", "v=STSv1; id=1;"], "2 TXT records", False),
        (["v=STSv1;"], "has no id", False),
        (["v=STSv1; id="], "1 to 32 letters and digits", False),
        (["v=STSv1; id=" + "a" * 33], "1 to 32 letters and digits", False),
        (["v=STSv1; id=2016-08"], "1 to 32 letters and digits", False),
        (["v=STSv1; id=\u0661"], "1 to 32 letters and digits", False),
        (["v=STSv1; nonsense; id=1"], "is not a list", False),
        (["v=STSv1; b\x1bad=1; id=1"], "is not a list", False),
    ],
)
def test_records_that_announce_nothing(records: list[str], why: str, silent: bool) -> None:
    with pytest.raises(NotAnnounced, match=why) as found:
        announced(records)
    assert found.value.silent is silent


@pytest.mark.parametrize("ending", [b"\r\n", b"\n"])
@pytest.mark.parametrize("last", [True, False])
def test_a_policy_with_either_line_end(ending: bytes, last: bool) -> None:
    octets = GOOD.replace(b"\r\n", ending)
    found = read_policy(octets if last else octets.removesuffix(ending))
    assert (found.mode, found.mx, found.max_age) == (
        StsMode.ENFORCE, ("mail.example.com", "*.example.net"), 604800
    )  # fmt: skip
    assert found.lines[1] == "mode: enforce"


def test_unknown_keys_are_passed_over_and_of_duplicates_the_first_counts() -> None:
    text = b"version: STSv1\nmode: testing\nfoo.bar-1_: what; ever \xc3\xa9\nmode: enforce\nmx:A.test\n"
    text += b"max_age: 1\nmax_age: 2\n"
    found = read_policy(text)
    assert (found.mode, found.mx, found.max_age) == (StsMode.TESTING, ("a.test",), 1)


def test_a_policy_of_mode_none_needs_no_hosts() -> None:
    assert read_policy(b"version: STSv1\nmode: none\nmax_age: 86400\n").mx == ()


def test_hosts_are_compared_as_a_labels() -> None:
    text = "version: STSv1\nmode: enforce\nmx: *.BÜCHER.example\nmx: mx.bücher.example\nmax_age: 5\n"
    found = read_policy(text.encode())
    assert found.mx == ("*.xn--bcher-kva.example", "mx.xn--bcher-kva.example")


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ((b"STSv1", b"STSv2"), "version"),
        ((b"version: STSv1\r\n", b""), "version"),
        ((b"enforce", b"Enforce"), "mode"),
        ((b"enforce", b""), "mode"),
        ((b"604800", str(LONGEST_LIFE + 1).encode()), "max_age"),
        ((b"604800", b"-1"), "max_age"),
        ((b"604800", b"1e3"), "max_age"),
        ((b"604800", b"99999999999"), "max_age"),
        ((b"604800", "\u0661".encode()), "max_age"),
        ((b"max_age: 604800\r\n", b""), "max_age"),
        ((b"mx: mail.example.com\r\nmx: *.example.net\r\n", b""), "names no mx"),
        ((b"*.example.net", b"*"), "neither a host name"),
        ((b"*.example.net", b"a.*.net"), "neither a host name"),
        ((b"*.example.net", b"*.*.net"), "neither a host name"),
        ((b"*.example.net", b"192.0.2.1"), "neither a host name"),
        ((b"*.example.net", b"[192.0.2.1]"), "neither a host name"),
        ((b"*.example.net", b"mx .net"), "neither a host name"),
        ((b"*.example.net", b""), "neither a host name"),
        ((b"mode:", b"mode"), "not key: value"),
        ((b"mode: enforce", b"mode: enforce\rmx: evil.test"), "control characters"),
        ((b"mode: enforce", b"mode: enf\x00orce"), "control characters"),
        ((b"mode: enforce", b"mode: \xff"), "not UTF-8"),
        ((b"\r\n", b"\r\n" + b"x: y\r\n" * 20000), "octets"),
        ((b"mx: mail.example.com\r\n", b"mx: a.test\r\n" * (MOST_HOSTS + 1)), "more than 500 mx"),
    ],
)
def test_what_is_no_policy(change: tuple[bytes, bytes], why: str) -> None:
    with pytest.raises(PolicyBroken, match=why):
        read_policy(GOOD.replace(*change, 1))


def test_the_longest_life_is_a_life() -> None:
    assert read_policy(GOOD.replace(b"604800", str(LONGEST_LIFE).encode())).max_age == LONGEST_LIFE
    assert read_policy(GOOD.replace(b"604800", b"0")).max_age == 0


def test_a_hostile_host_is_shown_without_control_characters() -> None:
    with pytest.raises(PolicyBroken) as found:
        read_policy(GOOD.replace(b"*.example.net", "\u202eevil\u2028".encode()))
    assert str(found.value).isprintable()


def test_of_a_long_policy_whole_lines_are_kept() -> None:
    found = read_policy(GOOD + b"".join(b"note%d: %s\r\n" % (n, b"x" * 90) for n in range(100)))
    assert sum(len(line) for line in found.lines) < LONGEST_KEPT
    assert all(line.startswith(("version", "mode", "mx", "max_age")) or line.endswith("x" * 90) for line in found.lines)


@given(st.binary(max_size=400) | st.text(max_size=400).map(str.encode))
@example(GOOD)
@settings(max_examples=300, deadline=None)
def test_any_octets_are_a_policy_or_not(octets: bytes) -> None:
    try:
        found = read_policy(octets)
    except PolicyBroken as trouble:
        assert str(trouble).isprintable()
        return
    assert 0 <= found.max_age <= LONGEST_LIFE
    assert all(host == host.lower() and " " not in host for host in found.mx)


LINES = st.sampled_from([
    b"version: STSv1", b"version:STSv1", b"version: STSv9", b"mode: enforce", b"mode: none", b"mode: x", b"mx: a.test",
    b"mx: *.b.test", b"mx: *", b"max_age: 5", b"max_age: 99999999999", b"x: y", b"junk", b"", b"\xff", b"\r",
])  # fmt: skip


@given(st.lists(LINES, max_size=12), st.sampled_from([b"\n", b"\r\n"]))
@settings(max_examples=300, deadline=None)
def test_lines_in_any_order(lines: list[bytes], ending: bytes) -> None:
    try:
        found = read_policy(ending.join(lines))
    except PolicyBroken:
        return
    assert set(found.mx) <= {"a.test", "*.b.test"}
    assert found.max_age == 5
    assert found.mx or found.mode is StsMode.NONE


@given(st.lists(st.text(max_size=60), max_size=4))
@settings(max_examples=300, deadline=None)
def test_any_records_announce_an_id_or_nothing(records: list[str]) -> None:
    try:
        found = announced([f"v=STSv1;{record}" for record in records])
    except NotAnnounced as trouble:
        assert str(trouble).isprintable()
        return
    assert found.isalnum() and len(found) <= 32


HOSTS = st.sampled_from(["mx1.contoso.com", "*.contoso.com", "a.b.c.test", "xn--bcher-kva.example"])


@given(st.sampled_from(StsMode), st.lists(HOSTS, min_size=1, unique=True), st.integers(0, LONGEST_LIFE))
def test_what_we_write_is_what_we_read(mode: StsMode, hosts: list[str], age: int) -> None:
    text = written_policy(mode, hosts, age)
    found = read_policy(text.encode())
    assert (found.mode, found.mx, found.max_age) == (mode, tuple(hosts), age)
    assert announced([record_for(text)]) == announced([record_for(text)])
    assert record_for(text) != record_for(written_policy(mode, hosts, (age + 1) % LONGEST_LIFE))


def test_which_hosts_a_policy_covers() -> None:
    policy = StsPolicy("x.test", StsMode.ENFORCE, ("mail.example.com", "*.example.net"), "1", 0.0)
    assert policy.covers("mail.example.com") and policy.covers("a.example.net")
    for host in ("example.net", "a.b.example.net", "mail.example.com.evil.test", "xmail.example.com", ""):
        assert not policy.covers(host)


def test_the_bound_is_that_of_the_rfc() -> None:
    assert LARGEST == 65536
