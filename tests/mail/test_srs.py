"""Forwarded senders: the way there and back, and that nobody else can make a way."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.mail.address import parse_address
from lockgate.mail.srs import DAYS, NoWayBack, is_rewritten, rewrite, way_back

NOW = 1_760_000_000.0
SECRET, OLD = b"s" * 32, b"o" * 32
DAY = 86400


def at(text: str):
    return parse_address(text, utf8=True)


@pytest.mark.parametrize(
    "text", ["ann@d.test", "a+b=c@d.test", '"odd one"@d.test', "j\u00fc@b\u00fc.test", "SRS@d.test"]
)
def test_there_and_back(text):
    there = rewrite(at(text), "us.test", SECRET, NOW)
    assert (there.domain == "us.test" and is_rewritten(there.local)) or text.startswith('"')
    if there != at(text):
        assert way_back(there, [SECRET], NOW + DAYS * DAY) == at(text)


def test_a_second_forwarding_keeps_its_length_and_leads_to_the_first_forwarder():
    first = rewrite(at("ann@d.test"), "one.test", b"1" * 32, NOW)
    second = rewrite(first, "two.test", b"2" * 32, NOW)
    third = rewrite(second, "three.test", b"3" * 32, NOW)
    assert second.local.startswith("SRS1=") and len(third.local) == len(second.local)
    assert way_back(third, [b"3" * 32], NOW) == first
    assert way_back(first, [b"1" * 32], NOW) == at("ann@d.test")


def test_own_senders_and_those_that_would_not_fit_stay():
    assert rewrite(at("ann@us.test"), "us.test", SECRET, NOW) == at("ann@us.test")
    long = at("a" * 60 + "@d.test")
    assert rewrite(long, "us.test", SECRET, NOW) == long


def test_case_may_be_lost_on_the_way():
    there = rewrite(at("Ann@d.test"), "us.test", SECRET, NOW)
    assert way_back(at(there.text.lower()), [SECRET], NOW) == at("ann@d.test")


def test_old_secrets_open_what_they_closed():
    there = rewrite(at("ann@d.test"), "us.test", OLD, NOW)
    assert way_back(there, [SECRET, OLD], NOW) == at("ann@d.test")
    with pytest.raises(NoWayBack, match="hash"):
        way_back(there, [SECRET], NOW)


@pytest.mark.parametrize("days", [DAYS + 1, 100, 500, 1000])
def test_after_some_weeks_it_leads_nowhere(days):
    there = rewrite(at("ann@d.test"), "us.test", SECRET, NOW)
    with pytest.raises(NoWayBack, match="older"):
        way_back(there, [SECRET], NOW + days * DAY)


@pytest.mark.parametrize(
    "text", ["ann@us.test", "SRS0=AAAAAAAA=AA=d.test=a@us.test", "SRS1=AAAAAAAA=d.test==x@us.test"]
)
def test_forgeries_lead_nowhere(text):
    with pytest.raises(NoWayBack):
        way_back(at(text), [SECRET], NOW)


@given(st.text(alphabet="srSR01=+-abAB2.", min_size=1, max_size=50), st.sampled_from(["d.test", "us.test"]))
def test_whatever_is_rewritten_comes_back_or_stays(local, domain):
    try:
        sender = at(f"{local}@{domain}")
    except ValueError:
        return
    there = rewrite(sender, "us.test", SECRET, NOW)
    if there != sender and there.local.startswith("SRS0"):
        assert way_back(there, [SECRET], NOW).key == sender.key
