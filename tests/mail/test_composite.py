"""Composite authentication (specification 1.19.3): every code, and what trusted sealers may say."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lockgate.mail.authentication import (
    Arc,
    ArcVerdict,
    Authenticated,
    Dkim,
    DkimVerdict,
    Dmarc,
    DmarcVerdict,
    Spf,
    SpfVerdict,
)
from lockgate.mail.composite import action_of, compose
from lockgate.mail.sealed_results import says_author_passed

SPF = Spf(SpfVerdict.FAIL, "d.test")
NO_CHAIN = Arc(ArcVerdict.NONE)
SAID = "i=1; list.test; spf=pass smtp.mailfrom=d.test; dmarc=pass action=none header.from=d.test"
CHAIN = Arc(ArcVerdict.PASS, 1, "list.test", "list.test", ("list.test",), results=SAID)
LISTED = frozenset({"list.test"})


def found(verdict: str, wish: str = "none", *, arc: Arc = NO_CHAIN, dkim=(), **more: object) -> Authenticated:
    domain = more.pop("domain", "d.test")
    dmarc = Dmarc(DmarcVerdict(verdict), domain, domain, domain, wish, **more)  # type: ignore[arg-type]
    return Authenticated(SPF, dkim, dmarc, arc)


PARTIAL = (Dkim(DkimVerdict.PASS, "d.test", "s", partial=True),)
SHA1 = (Dkim(DkimVerdict.POLICY, "d.test", "s", problem="SHA-1 proves nothing"),)


@pytest.mark.parametrize(
    ("answer", "settings", "expected"),
    [
        (found("pass", aligned_by=("spf", "dkim=d.test")), {}, "pass 100"),
        (found("pass", aligned_by=("dkim=d.test",)), {}, "pass 101"),
        (found("pass", "reject", aligned_by=("spf",)), {"own": True}, "pass 102"),
        (found("bestguesspass", aligned_by=("spf",)), {}, "pass 109"),
        (found("fail", "reject", arc=CHAIN), {"sealers": LISTED}, "pass 130"),
        (found("none", arc=CHAIN), {"sealers": LISTED}, "pass 130"),
        (found("fail", "reject", arc=CHAIN), {}, "fail 000"),
        (found("fail", "reject"), {}, "fail 000"),
        (found("fail", "quarantine", dkim=PARTIAL), {}, "fail 000"),
        (found("fail", "reject", test=True), {}, "fail 000"),
        (found("fail", "quarantine", test=True), {}, "fail 001"),
        (found("fail"), {}, "fail 001"),
        (found("none"), {}, "fail 001"),
        (found("none", dkim=SHA1), {}, "fail 001"),
        (found("permerror", domain="", problem="several From fields"), {}, "fail 001"),
        (found("fail", "reject"), {"own": True}, "fail 010"),
        (found("none"), {"own": True}, "fail 601"),
        (found("none", dkim=PARTIAL), {"own": True}, "fail 601"),
        (found("none", dkim=PARTIAL), {}, "softpass 201"),
        (found("none"), {"implicit": False}, "none 300"),
        (found("temperror", problem="no answer"), {}, "none 301"),
        (found("none"), {"own": True, "vouched": True}, "none 401"),
    ],
)
def test_every_code(answer, settings, expected):
    composed = compose(answer, **settings)
    assert f"{composed.verdict} {composed.reason}" == expected
    assert composed.because


@pytest.mark.parametrize(
    "arc",
    [
        Arc(ArcVerdict.FAIL, 1, "list.test", "list.test", results=SAID),
        Arc(ArcVerdict.TEMPERROR, 1, "list.test", "list.test", results=SAID),
        Arc(ArcVerdict.PASS, 2, "evil.test", "list.test", results=SAID),
        Arc(ArcVerdict.PASS, 2, "list.test", "evil.test", results=SAID),
        Arc(ArcVerdict.PASS, 2, "sub.list.test", "sub.list.test", results=SAID),
        Arc(ArcVerdict.PASS, 1, "list.test", "list.test", results=SAID.replace("dmarc=pass", "dmarc=fail")),
        Arc(ArcVerdict.PASS, 1, "list.test", "list.test", results=SAID.replace("from=d.test", "from=e.test")),
        Arc(ArcVerdict.PASS, 1, "list.test", "list.test"),
    ],
)
def test_a_chain_counts_only_whole_and_trusted_and_about_this_author(arc):
    assert str(compose(found("fail", "reject", arc=arc), sealers=LISTED)).startswith("fail (reason 000)")


@pytest.mark.parametrize(
    ("verdict", "wish", "proven", "held", "expected"),
    [
        ("fail", "reject", False, True, "oreject"),
        ("fail", "reject", True, False, "oreject"),
        ("fail", "quarantine", False, True, "quarantine"),
        ("fail", "quarantine", True, False, "none"),
        ("fail", "none", False, False, "none"),
        ("pass", "reject", True, False, "none"),
    ],
)
def test_what_was_done(verdict, wish, proven, held, expected):
    assert action_of(found(verdict, wish).dmarc, proven=proven, held=held) == expected


@pytest.mark.parametrize(
    "results",
    [
        SAID,
        "i=2; x.test; dmarc = pass header.from = D.TEST",
        'i=1; x.test; DMARC=Pass (p=reject) action=none header.from="d.test"',
        "i=1; x.test; spf=fail (dmarc=fail; header.from=d.test) smtp.mailfrom=e.test; dmarc/1=pass header.from=d.test",
    ],
)
def test_sealed_words_that_count(results):
    assert says_author_passed(results, "d.test")


@pytest.mark.parametrize(
    "results",
    [
        "",
        "i=1; x.test; none",
        "i=1; x.test; spf=pass smtp.mailfrom=e.test (; dmarc=pass header.from=d.test)",
        'i=1; x.test; spf=pass smtp.mailfrom="e; dmarc=pass header.from=d.test"',
        'i=1; x.test; spf=pass smtp.mailfrom="e\\"; dmarc=pass header.from=d.test',
        "i=1; x.test; dmarc=pass header.from=d.test; dmarc=fail header.from=d.test",
        "i=1; x.test; dmarc=pass header.from=d.test header.from=e.test",
        "i=1; x.test; dmarc=pass (header.from=d.test)",
        "i=1; x.test; dmarc=pass header.from=e.test",
        "i=1; x.test; dmarc=pass header.from=d.test.evil.test",
        "i=1; x.test; xdmarc=pass header.from=d.test",
        "i=1; x.test; dmarc=passed header.from=d.test",
        "i=1; x.test; dkim=pass header.d=d.test (; dmarc=pass header.from=d.test",
        "dmarc=fail header.from=d.test (dmarc=pass header.from=d.test",
    ],
)
def test_sealed_words_that_say_nothing(results):
    assert not says_author_passed(results, "d.test")


def test_nobody_is_nobody_s_author():
    assert not says_author_passed("i=1; x.test; dmarc=pass header.from=", "")


@given(st.text(alphabet='();"\\ =dmarcpsfh.otei1', max_size=120))
def test_no_text_in_a_comment_or_a_string_speaks(text):
    inside = text.replace("(", "").replace(")", "").replace("\\", "")
    assert not says_author_passed(f"i=1; x.test; spf=fail ({inside})", "d.test")
    inside = text.replace('"', "").replace("\\", "")
    assert not says_author_passed(f'i=1; x.test; spf=fail smtp.mailfrom="{inside}"', "d.test")


def test_it_is_linear():
    began = time.process_time()
    for text in ("(" * 100_000, " " * 100_000 + "=", ";" * 100_000, '"' * 100_001, "\\" * 100_000):
        says_author_passed(text, "d.test")
    assert time.process_time() - began < 1.0
