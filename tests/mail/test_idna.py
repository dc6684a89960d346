"""Internationalised domains by the published cases of Unicode (UTS 46): one spelling, or refused."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from fixtures_folder import fixtures_folder
from lockgate.mail.address import AddressError, parse_address, parse_domain


def cases(operation: str) -> list[dict[str, Any]]:
    found = json.loads((fixtures_folder("idna") / "uts46-dev.json").read_text("utf-8"))
    return [case for case in found if case["op"] == operation]


def domain(text: str) -> str | None:
    """A-labels, None where it is refused."""
    try:
        return parse_domain(text)
    except AddressError:
        return None


def test_names_become_a_labels_or_are_refused() -> None:
    wanted = cases("encode")
    wrong = [(case["in"], domain(case["in"])) for case in wanted if domain(case["in"]) != case.get("out")]
    assert len(wanted) > 3000
    assert wrong == [], "all of them; no exception has to be explained"


def test_two_spellings_of_one_name_are_one_name() -> None:
    """We show A-labels and decode nothing: what decodes to a name must be the name that it decodes to."""
    wanted = cases("decode")
    wrong = []
    for case in wanted:
        if case.get("error"):
            if domain(case["in"]) is not None:
                wrong.append(case["in"])
        elif domain(case["in"]) != domain(case["out"]):
            wrong.append(case["in"])
    assert len(wanted) > 3000
    assert wrong == [], [ascii(text) for text in wrong]


@given(st.text(max_size=40))
def test_whatever_is_read_is_read_again_as_the_same(text: str) -> None:
    found = domain(text)
    if found is not None:
        assert found.isascii() and found == found.lower()
        assert domain(found) == found


def test_width_case_and_composition_make_no_difference() -> None:
    same = ("bücher.test", "BÜCHER.TEST", "bu\u0308cher.test", "ｂücher.test", "xn--bcher-kva.test", "bücher。test")
    for spelling in same:
        assert parse_address(f"a@{spelling}", utf8=True).domain == "xn--bcher-kva.test", spelling
    for wrong in ("xn--bcher-kvb.test", "xn--.test", "xn--a.test", "a\u200d.test", "-bücher.test", "bücher..test"):
        assert domain(wrong) is None, wrong
