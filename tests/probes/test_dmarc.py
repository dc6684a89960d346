"""DMARC by RFC 9989: the tree walk, alignment, what is wanted; and forged authors that must never be proven."""

from __future__ import annotations

import base64
import json
import os
from pathlib import Path

import pytest

from lockgate.mail.authentication import Dkim, DkimVerdict, Spf, SpfVerdict
from lockgate.mail.dkim.canonical import Bodies
from lockgate.mail.dmarc import Wish, organisational_domain, read_record, walk
from lockgate.mail.headers import read_headers
from lockgate.probes.trust.dkim import check_signatures
from lockgate.probes.trust.dmarc import DmarcCheck
from lockgate.probes.trust.spf.check import check_host
from lockgate.testing.dns import ZoneResolver

FIXTURES = Path(os.environ.get("LOCKGATE_FIXTURES", Path(__file__).resolve().parents[3] / "shared" / "fixtures"))
NOTHING = ()


def letter(author: str) -> bytes:
    return f"From: {author}\r\nTo: bob@x.test\r\nSubject: hello\r\n\r\nbody\r\n".encode()


def spf(domain: str, verdict: SpfVerdict = SpfVerdict.PASS) -> Spf:
    return Spf(verdict, domain)


def dkim(domain: str, verdict: DkimVerdict = DkimVerdict.PASS, **more) -> Dkim:
    return Dkim(verdict, domain, "s", **more)


async def dmarc(author: str, spf=None, dkim=NOTHING, hosts=None, silent=(), **records):
    texts = {f"_dmarc.{name.replace('_', '.')}": [text] for name, text in records.items()}
    resolver = ZoneResolver(hosts=hosts or {}, texts=texts, silent=silent)
    return await DmarcCheck(resolver).check(read_headers(letter(author)), spf, dkim)


REJECT = "v=DMARC1; p=reject"


@pytest.mark.parametrize(
    ("found", "verdict", "aligned"),
    [
        ({"spf": spf("d.test")}, "pass", ("spf",)),
        ({"spf": spf("mail.d.test")}, "pass", ("spf",)),
        ({"spf": spf("d.test", SpfVerdict.SOFTFAIL)}, "fail", ()),
        ({"spf": spf("evil.test")}, "fail", ()),
        ({"spf": spf("notd.test")}, "fail", ()),
        ({"dkim": (dkim("evil.test"), dkim("d.test"))}, "pass", ("dkim=d.test",)),
        ({"dkim": (dkim("d.test", DkimVerdict.POLICY),)}, "fail", ()),
        ({"dkim": (dkim("d.test", partial=True),)}, "fail", ()),
        ({"dkim": (dkim("test"),)}, "fail", ()),
        ({"spf": spf("d.test", SpfVerdict.TEMPERROR)}, "temperror", ()),
        ({"spf": spf("forger.test", SpfVerdict.TEMPERROR)}, "fail", ()),
        ({"dkim": (dkim("forger.test", DkimVerdict.TEMPERROR),)}, "fail", ()),
        ({"dkim": (dkim("d.test", DkimVerdict.TEMPERROR),)}, "temperror", ()),
        ({"spf": spf("d.test", SpfVerdict.TEMPERROR), "dkim": (dkim("d.test"),)}, "pass", ("dkim=d.test",)),
        ({}, "fail", ()),
    ],
)
async def test_what_proves_the_author(found, verdict, aligned):
    result = await dmarc("Ann <ann@d.test>", **found, d_test=REJECT)
    assert (result.verdict.value, result.aligned_by, result.wish) == (verdict, aligned, "reject"), result


async def test_strict_alignment_needs_the_very_name():
    strict = "v=DMARC1; p=reject; aspf=s; adkim=s"
    assert (await dmarc("ann@d.test", spf("mail.d.test"), (dkim("mail.d.test"),), d_test=strict)).verdict == "fail"
    assert (await dmarc("ann@d.test", spf("d.test"), d_test=strict)).verdict == "pass"


async def test_the_policy_of_the_organisation_counts_below_it():
    record = "v=DMARC1; p=none; sp=quarantine; np=reject"
    there = await dmarc("a@sub.d.test", hosts={"sub.d.test": ["192.0.2.1"]}, d_test=record)
    assert (there.found_at, there.organisational, there.wish) == ("d.test", "d.test", "quarantine")
    absent = await dmarc("a@nowhere.d.test", d_test=record)
    assert absent.wish == "reject"
    assert (await dmarc("a@d.test", d_test=record)).wish == "none"
    own = await dmarc("a@sub.d.test", spf("d.test"), d_test=record, sub_d_test="v=DMARC1; p=reject")
    assert (own.found_at, own.organisational, own.wish, own.verdict) == ("sub.d.test", "d.test", "reject", "pass")


async def test_a_public_suffix_with_a_record_is_nobodys_organisation():
    suffix = "v=DMARC1; p=reject; psd=y"
    result = await dmarc("a@x.co.test", spf("y.co.test"), co_test=suffix)
    assert (result.organisational, result.found_at, result.wish, result.verdict) == (
        "x.co.test", "co.test", "reject", "fail",
    )  # fmt: skip
    result = await dmarc("a@m.x.co.test", spf("n.x.co.test"), co_test=suffix)
    assert (result.organisational, result.verdict) == ("x.co.test", "pass")
    result = await dmarc("a@m.x.test", spf("x.test"), m_x_test="v=DMARC1; p=reject; psd=n", x_test=REJECT)
    assert (result.organisational, result.verdict) == ("m.x.test", "fail")


def test_the_walk_asks_no_more_than_eight_names():
    assert walk("a.mail.d.test") == ("a.mail.d.test", "mail.d.test", "d.test", "test")
    long = walk("a.b.c.d.e.f.g.h.i.j.mail.d.test")
    assert long[0] == "a.b.c.d.e.f.g.h.i.j.mail.d.test" and long[1] == "g.h.i.j.mail.d.test" and len(long) == 8
    assert organisational_domain("a.b.d.test", {}) == "a.b.d.test"


@pytest.mark.parametrize(
    ("text", "policy"),
    [
        ("v=DMARC1;p=reject", Wish.REJECT), ("v = DMARC1 ; P = Quarantine;", Wish.QUARANTINE), ("v=DMARC1", Wish.NONE),
        ("v=DMARC1; p=nonsense", Wish.NONE), ("v=DMARC1; rua=mailto:a@b.test", Wish.NONE),
        ("v=DMARC1; ;p=reject;x", Wish.REJECT),
    ],
)  # fmt: skip
def test_records_are_read_with_patience(text, policy):
    record = read_record(text)
    assert record is not None and record.policy is policy


@pytest.mark.parametrize("text", ["", "v=dmarc1; p=reject", "p=reject; v=DMARC1", "v=DMARC2; p=reject", "v=spf1 -all"])
def test_what_is_no_record(text):
    assert read_record(text) is None


async def test_two_records_are_none_and_silence_is_no_verdict():
    resolver = ZoneResolver(texts={"_dmarc.d.test": [REJECT, REJECT]})
    assert (await DmarcCheck(resolver).check(read_headers(letter("a@d.test")), None, ())).verdict == "none"
    assert (await dmarc("a@d.test", silent=["_dmarc.d.test"])).verdict == "temperror"
    test = await dmarc("a@d.test", d_test="v=DMARC1; p=reject; t=y")
    assert test.test and test.wish == "reject"


async def test_without_a_record_there_is_only_a_guess():
    assert (await dmarc("a@mail.d.co.uk", spf("d.co.uk"))).verdict == "bestguesspass"
    assert (await dmarc("a@d.co.uk", spf("evil.co.uk"))).verdict == "none"


@pytest.mark.parametrize(
    "head",
    [
        "From: a@d.test\r\nFrom: b@e.test", "Subject: x", "From : a@d.test", "From: a@d.test, b@e.test",
        "From: a@d.test b@e.test", "From: <a@d.test", "From:", "From: a@localhost", "From: a@[192.0.2.1]",
        "From\r\n : a@d.test", "From: a@d.test\r\nfrom: a@d.test",
    ],
)  # fmt: skip
async def test_an_author_that_nobody_can_name_is_not_proven(head):
    headers = read_headers(f"{head}\r\nTo: x@y.test\r\n\r\n".encode())
    resolver = ZoneResolver(texts={"_dmarc.d.test": [REJECT]})
    found = await DmarcCheck(resolver).check(headers, spf("d.test"), (dkim("d.test"),))
    assert (found.verdict, found.domain) == ("permerror", "") and found.problem


# --- published attacks -----------------------------------------------------------------------------------------------

ATTACKS = FIXTURES / "auth-spoof" / "espoofer-dev.json"


@pytest.mark.skipif(not ATTACKS.exists(), reason="the published attacks are not here (LOCKGATE_FIXTURES)")
@pytest.mark.parametrize("name", sorted(json.loads(ATTACKS.read_text())) if ATTACKS.exists() else [])
async def test_no_published_attack_proves_the_name_it_forges(name):
    """The attacker's own domain publishes records that pass; the forged one wants rejection."""
    case = json.loads(ATTACKS.read_text())[name]
    helo = base64.b64decode(case["helo_b64"]).decode("latin-1")
    sender = base64.b64decode(case["mail_from_b64"]).decode("latin-1").strip("<>")
    message = base64.b64decode(case["message_b64"])
    headers = read_headers(message)
    pass_all = "v=spf1 +all"
    texts = {
        "attack.com": [pass_all], "helo.attack.com": [pass_all], "example.com": [pass_all],
        "legitimate.com": ["v=spf1 -all"], "_dmarc.legitimate.com": [REJECT], "_dmarc.example.com": [REJECT],
        "_dmarc.attack.com": ["v=DMARC1; p=none"],
    }  # fmt: skip
    resolver = ZoneResolver(texts=texts)
    checked = await check_host(resolver, "192.0.2.1", sender.rpartition("@")[2] or helo, sender, helo)
    signatures = await check_signatures(resolver, headers, Bodies(message[headers.end :]), 1_760_000_000)
    found = await DmarcCheck(resolver).check(headers, checked, signatures)
    forged = "example.com" if name.startswith("client") else "legitimate.com"
    assert not (found.verdict == "pass" and found.domain.endswith(forged)), found
