"""Received fields as servers write them, and as senders would like them to be read."""

from __future__ import annotations

import ipaddress

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.mail.received import LONGEST, Unbelievable, handed_over

SEEN = "203.0.113.66"
WRITTEN = {
    "Postfix": f"from helo.test (rdns.test [{SEEN}])\tby gw.example (Postfix) with ESMTP id 4B;\tMon, 1 Jun 2026",
    "Postfix, TLS": f"from helo.test (unknown [{SEEN}]) (using TLSv1.3 with cipher X (256/256 bits)) (No client"
    " certificate requested) by gw.example (Postfix) with ESMTPS id 4B for <ben@contoso.com>; today",
    "Sendmail": f"from helo.test (rdns.test [{SEEN}] (may be forged)) by gw.example (8.17.1/8.17.1) with ESMTP; today",
    "Exim": f"from rdns.test ([{SEEN}] helo=helo.test) by gw.example with esmtps (Exim 4.97) (envelope-from <a@b.test>)"
    " id 1r; today",
    "Exim, no name": f"from [{SEEN}] (helo=helo.test) by gw.example with esmtp (Exim 4.97) id 1r; today",
    "Exim, port": f"from rdns.test ([{SEEN}]:40112 helo=helo.test) by gw.example with esmtp; today",
    "Exchange": f"from helo.test ({SEEN}) by GW.example (10.0.0.5) with Microsoft SMTP Server id 15.1; today",
    "qmail": f"from unknown (HELO helo.test) ({SEEN}) by gw.example with SMTP; today",
    "Yahoo": f"from {SEEN}  (EHLO helo.test) ({SEEN}) by gw.example with SMTP; today",
    "Lockgate": f"from helo.test ([{SEEN}]) (using TLSv1.3 with cipher TLS_AES_256_GCM_SHA384) by gw (Lockgate) with"
    " ESMTPS id 0190; today",
    "mapped": f"from helo.test (rdns.test [::ffff:{SEEN}]) by gw.example with SMTP; today",
    "two places": f"from helo.test ([{SEEN}]) ({SEEN}) by gw.example; today",
    "a quoted recipient": f'from helo.test ([{SEEN}]) by gw.example for <"x by y (z"@contoso.com>; today',
}


@pytest.mark.parametrize("value", WRITTEN.values(), ids=WRITTEN)
def test_the_forms_that_servers_write(value: str) -> None:
    found = handed_over(value)
    assert (found.address, found.packed) == (SEEN, ipaddress.ip_address(SEEN).packed)
    assert found.helo == "helo.test"


@pytest.mark.parametrize(
    ("value", "address", "helo"),
    [
        ("from h.test (h.test [IPv6:2001:db8::66]) by gw; x", "2001:db8::66", "h.test"),
        ("from EX1 ([fe80::1%12]) by EX1 ([fe80::1%12]) with mapi id 15; x", "fe80::1", "ex1"),
        (f"from [10.0.0.1] (unknown [{SEEN}]) by gw; x", SEEN, "[10.0.0.1]"),
        (f"from h?;rm ([{SEEN}]) by gw", "", ""),
        (f"from -bad- ([{SEEN}]) by gw; x", SEEN, ""),
        (f"from x (\\[192.0.2.10\\] [{SEEN}]) by gw; x", SEEN, "x"),
    ],
)
def test_address_and_name(value: str, address: str, helo: str) -> None:
    if not address:
        with pytest.raises(Unbelievable):
            handed_over(value)
        return
    found = handed_over(value)
    assert (found.address, found.helo) == (address, helo)


LIE = "192.0.2.10"
HOSTILE = {
    "only a name": "from helo.test by gw.example; x",
    "the name is an address": f"from [{LIE}] by gw.example; x",
    "no host": "by gw.example with HTTP; x",
    "submitted on the host": "by gw.example (Postfix, from userid 33) id 4B; x",
    "nothing": "",
    "rubbish": "\ufffd\ufffd (((",
    "a second comment from the sender": f"from a ([{LIE}]) (b [{SEEN}]) by gw.example; x",
    "a second receiver from the sender": f"from a ([{LIE}]) by mx (b (unknown [{SEEN}]) by gw.example; x",
    "the same, closed": f"from a ([{LIE}]) by mx (b) (unknown [{SEEN}]) by gw.example; x",
    "a bracket that closes nothing": f"from a) (unknown [{SEEN}]) by gw.example; x",
    "a bracket that is never closed": f"from a( (unknown [{SEEN}]) by gw.example; x",
    "a name with brackets": f"from x ([{LIE}] [{SEEN}]) by gw.example; x",
    "quotes": f'from "a" ([{SEEN}]) by gw.example; x',
    "a quote that is never closed": f'from a ([{SEEN}]) by gw.example for "x; x',
    "blanks in the name": f"from a b ([{SEEN}]) by gw.example; x",
    "the end in the name": f"from a; ([{SEEN}]) by gw.example; x",
    "the rest behind an end of its own": f"from a ([{LIE}]) by mx; (b (unknown [{SEEN}]) by gw.example; x)",
    "the same as words": f"from a ([{LIE}]) by mx; b by gw; x",
    "hidden in what is said of TLS": f"from a([{LIE}]) (using x [{SEEN}]) by gw.example; x",
    "leading zeros": "from a ([010.0.0.1]) by gw.example; x",
    "too many parts": "from a ([203.0.113.66.5]) by gw.example; x",
    "a number": "from a ([3405803842]) by gw.example; x",
    "no address": "from a (a [unknown]) by gw.example; x",
    "an empty one": "from a (a []) by gw.example; x",
    "endless": "from " + "a" * LONGEST + f" ([{SEEN}]) by gw.example; x",
    "nested without end": "from a " + "(" * 900 + f"[{SEEN}]" + ")" * 899 + " by gw.example; x",
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE)
def test_what_can_be_read_in_two_ways_is_not_believed(value: str) -> None:
    with pytest.raises(Unbelievable) as trouble:
        handed_over(value)
    assert str(trouble.value).isprintable()


PIECES = [
    "a.test", " ", LIE, f"[{LIE}]", f"([{LIE}])", "(", ")", "[", "]", " by ", "by", ";", '"', "\\", "helo=", "HELO ",
    ":25", "using ", "envelope-from <", "\t", ") by mx; (", f"x ([{LIE}]) by mx; today (", f") ([{LIE}]) (",
]  # fmt: skip
HELO = st.lists(st.sampled_from(PIECES), max_size=7).map("".join) | st.text(max_size=40)


@settings(max_examples=1500)
@given(HELO, HELO)
def test_whatever_a_sender_calls_itself_only_what_was_seen_is_believed(helo: str, name: str) -> None:
    """A gateway that writes HELO and reverse name as they are: the field is believed as it was seen, or not at all."""
    for value in (
        f"from {helo} ({name} [{SEEN}]) by gw.example (Postfix) with ESMTP id 1; today",
        f"from {name} ([{SEEN}] helo={helo}) by gw.example with esmtp id 1; today",
        f"from unknown (HELO {helo}) ({SEEN}) by gw.example; today",
    ):
        try:
            found = handed_over(value)
        except Unbelievable:
            continue
        assert found.address == SEEN


@given(st.text(max_size=300))
def test_nothing_but_unbelievable_is_ever_raised(value: str) -> None:
    try:
        found = handed_over(value)
    except Unbelievable:
        return
    assert ipaddress.ip_address(found.address)
