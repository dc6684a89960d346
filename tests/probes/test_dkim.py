"""DKIM: what we sign others verify, what others sign we verify, and what must not count does not."""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given
from hypothesis import strategies as st

from lockgate.mail.authentication import DkimVerdict
from lockgate.mail.dkim.canonical import Bodies, relaxed_body, simple_body, without_empty_lines
from lockgate.mail.dkim.sign import SigningKey, load_key, public_record, sign
from lockgate.mail.headers import read_headers
from lockgate.probes.trust.dkim import check_signatures
from lockgate.testing.dns import ZoneResolver

FIXTURES = Path(os.environ.get("LOCKGATE_FIXTURES", Path(__file__).resolve().parents[3] / "shared" / "fixtures"))
NOW = 1_760_000_000

RSA = SigningKey("d.test", "r", rsa.generate_private_key(65537, 2048))
SHORT = SigningKey("d.test", "short", rsa.generate_private_key(65537, 1024))
ED = SigningKey("d.test", "e", ed25519.Ed25519PrivateKey.generate())
KEYS = {f"{key.selector}._domainkey.d.test": [public_record(key)] for key in (RSA, SHORT, ED)}

LETTER = (
    b"Received: from a by b; today\r\nFrom: Ann <ann@d.test>\r\nTo: bob@x.test\r\nSubject: hello\r\n"
    b"Date: Wed, 25 Nov 2026 10:00:00 +0000\r\nMessage-ID: <1@d.test>\r\n\r\nA body\r\nof two lines\r\n"
)


def parted(message: bytes):
    headers = read_headers(message)
    return headers, Bodies(message[headers.end :])


async def checked(message: bytes, records=None, now: float = NOW):
    headers, bodies = parted(message)
    return await check_signatures(ZoneResolver(texts=KEYS if records is None else records), headers, bodies, now)


def signed(message: bytes, key: SigningKey = RSA, **options) -> bytes:
    headers, bodies = parted(message)
    return sign(headers.fields, bodies, key, at=NOW, **options) + message


def letters(count: int):
    """8-bit text, long lines, folded fields, blanks in odd places, with and without a body."""
    chance = random.Random(7)
    for number in range(count):
        subject = " ".join(chance.choice(["grüße", "a", "x" * 70, "\t", "=?utf-8?q?=C3=BC?="]) for _ in range(12))
        folded = subject.replace(" ", "\r\n  ", 3)
        lines = [
            "".join(chance.choice("aä \t=.x") for _ in range(chance.choice([0, 1, 40, 900]))) for _ in range(number % 9)
        ]
        head = f"From: Ann <ann@d.test>\r\nTo:\t bob@x.test ,\r\n\tcarl@x.test\r\nSubject: {folded}\r\nX-Odd :  1\r\n"
        body = "".join(f"{line}\r\n" for line in lines) + "\r\n" * (number % 4)
        yield head.replace("X-Odd :", "X-Odd:").encode() + b"\r\n" + body.encode()


@pytest.mark.parametrize("key", [RSA, ED], ids=["rsa", "ed25519"])
async def test_what_we_sign_verifies_here_and_with_another_implementation(key):
    for message in letters(50):
        whole = signed(message, key)
        (found,) = await checked(whole)
        assert found.verdict is DkimVerdict.PASS, found
        assert found.from_signed == 2
        verifier = dkim.DKIM(whole)
        assert verifier.verify(dnsfunc=lambda name, timeout=5: KEYS[name.decode().rstrip(".")][0].encode()), whole


@pytest.mark.parametrize("form", [b"simple/simple", b"relaxed/simple", b"simple/relaxed", b"relaxed/relaxed"])
async def test_what_another_implementation_signs_verifies_here(form):
    pem = RSA.key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    for message in letters(20):
        header, body = form.split(b"/")
        field = dkim.sign(message, b"r", b"d.test", pem, canonicalize=(header, body), include_headers=[b"from", b"to"])
        (found,) = await checked(field + message)
        assert found.verdict is DkimVerdict.PASS, found


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda m: m.replace(b"two lines", b"2 lines"), "body"),
        (lambda m: m.replace(b"Subject: hello", b"Subject: hallo"), "header"),
        (lambda m: m.replace(b"To: bob", b"To: eve"), "header"),
        (lambda m: m.replace(b"\r\nTo:", b"\r\nSubject: two\r\nTo:", 1), "header"),
        (lambda m: m.replace(b"\r\nTo:", b"\r\nReply-To: e@x.test\r\nTo:", 1), "header"),
        (lambda m: m + b"more\r\n", "body"),
    ],
)
async def test_a_change_is_noticed(change, why):
    (found,) = await checked(change(signed(LETTER)))
    assert found.verdict is DkimVerdict.FAIL and why in found.problem


async def test_changes_that_travel_makes_are_none():
    whole = signed(LETTER).replace(b"Subject: hello", b"Subject:\thello ").replace(b"body\r\n", b"body  \r\n")
    (found,) = await checked(b"Received: one more\r\n" + whole + b"\r\n\r\n")
    assert found.verdict is DkimVerdict.PASS


async def test_a_second_from_is_never_proven():
    (found,) = await checked(signed(LETTER).replace(b"From:", b"From: x@evil.test\r\nFrom:", 1))
    assert found.verdict is DkimVerdict.PERMERROR
    (found,) = await checked(signed(LETTER).replace(b"From:", b"From : x@evil.test\r\nFrom:", 1))
    assert found.verdict is DkimVerdict.PERMERROR


async def test_part_of_the_body_is_told():
    pem = RSA.key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())
    field = dkim.sign(LETTER, b"r", b"d.test", pem, include_headers=[b"from"], length=True)
    (found,) = await checked(field + LETTER + b"and an advertisement\r\n")
    assert found.verdict is DkimVerdict.PASS and found.partial


@pytest.mark.parametrize(
    ("records", "verdict", "why"),
    [
        ({}, "permerror", "no key"),
        ({"r._domainkey.d.test": ["v=DKIM1; p="]}, "permerror", "revoked"),
        ({"r._domainkey.d.test": [public_record(ED)]}, "permerror", "ed25519"),
        ({"r._domainkey.d.test": ["v=DKIM1; k=rsa; p=AAAA"]}, "permerror", "cannot be read"),
        ({"r._domainkey.d.test": ["v=DKIM1; h=sha1; " + public_record(RSA)[9:]]}, "permerror", "SHA-256"),
        ({"r._domainkey.d.test": ["v=DKIM1; s=web; " + public_record(RSA)[9:]]}, "permerror", "mail"),
        ({"r._domainkey.d.test": [public_record(SHORT)]}, "fail", "key"),
    ],
)
async def test_keys_that_do_not_count(records, verdict, why):
    (found,) = await checked(signed(LETTER), records)
    assert found.verdict in (verdict, "fail") and why in found.problem, found


async def test_silence_is_no_verdict():
    headers, bodies = parted(signed(LETTER))
    resolver = ZoneResolver(silent=["r._domainkey.d.test"])
    (found,) = await check_signatures(resolver, headers, bodies, NOW)
    assert found.verdict is DkimVerdict.TEMPERROR


async def test_expiry_has_some_minutes_of_grace():
    whole = signed(LETTER, expires=NOW + 60)
    assert [found.verdict for found in await checked(whole, now=NOW + 200)] == ["pass"]
    assert [found.verdict for found in await checked(whole, now=NOW + 3600)] == ["fail"]


async def test_no_more_signatures_than_are_worth_it_are_verified():
    found = await checked(b"".join(signed(LETTER)[: -len(LETTER)] for _ in range(100)) + LETTER)
    assert len(found) == 11 and found[-1].verdict is DkimVerdict.PERMERROR


GOOD = "v=1; a=rsa-sha256; b=AA; bh=AA; d=d.test; s=r; h=from"


@pytest.mark.parametrize(
    "field",
    [
        "", "v=1", "\xff" * 40, "a" * 100_000, GOOD.replace("v=1", "v=2"), GOOD.replace("h=from", "h=to"),
        f"v=1; {GOOD}",
        GOOD.replace("b=AA; bh", "b=A!; bh"), f"{GOOD}; i=x@other.test", GOOD.replace("d=d.test", "d=d test"),
        GOOD.replace("d=d.test", "d=d.test\x00.evil.test"), GOOD.replace("rsa-sha256", "dsa"), f"{GOOD}; l=-1",
        f"{GOOD}; t=9; x=8", f"{GOOD}; q=http", GOOD.replace("s=r", "s=r.."), GOOD.replace("bh=AA; ", ""),
    ],
)  # fmt: skip
async def test_fields_that_are_no_signature(field):
    found = await checked(b"DKIM-Signature: " + field.encode("latin-1") + b"\r\n" + LETTER)
    assert [one.verdict for one in found] == ["permerror"], found


def test_what_is_no_private_key_is_told():
    pem = RSA.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    assert load_key("d.test", "s", pem).algorithm == "rsa-sha256"
    with pytest.raises(ValueError, match="cannot be read"):
        load_key("d.test", "s", b"-----BEGIN NOTHING-----")


@given(st.text(alphabet=" \t\r\nab", max_size=60))
def test_canonical_bodies_have_one_form(text):
    body = text.replace("\r", "").replace("\n", "\r\n").encode()
    once = relaxed_body(body)
    assert relaxed_body(once) == once
    assert b"  " not in once and b" \r\n" not in once and not once.endswith(b"\r\n\r\n")
    assert once != b"\r\n"
    assert simple_body(simple_body(body)) == simple_body(body)


def test_empty_lines_at_the_end_of_odd_bodies():
    assert without_empty_lines(b"a\r\n\r\n\r\n") == b"a\r\n"
    assert without_empty_lines(b"a\n\r\n\r\n") == b"a\n\r\n"
    assert without_empty_lines(b"\r\n\r\n") == b""
    assert without_empty_lines(b"a") == b"a\r\n"


@pytest.mark.parametrize("body", [b" " * 4_000_000, b"\r\n" * 2_000_000, b" \r\n" * 1_300_000, b"\n" * 4_000_000])
def test_a_hostile_body_costs_what_it_weighs(body):
    """CPU of this process, measured against a copy of the body with a few passes over it."""
    begin = time.process_time()
    Bodies(body).digest(relaxed=True)
    Bodies(body).digest(relaxed=False)
    assert time.process_time() - begin < 3.0, "quadratic: seconds instead of milliseconds"


# --- published messages ----------------------------------------------------------------------------------------------

CORPUS = FIXTURES / "dkim" / "mail-dkim"
there = pytest.mark.skipif(not CORPUS.exists(), reason="the published messages are not here (LOCKGATE_FIXTURES)")


def published() -> dict[str, list[str]]:
    records = {}
    for line in (CORPUS / "FAKE_DNS.dat").read_text("latin-1").splitlines():
        name, _, text = line.strip().partition(" ")
        if name and not name.startswith("#") and text.strip() not in ("NXDOMAIN", "~~Query~~failed~~"):
            records.setdefault(name.lower(), []).append(text.strip())
    return records


@there
@pytest.mark.parametrize("name", sorted(json.loads((CORPUS / "expected.json").read_text())) if CORPUS.exists() else [])
async def test_published_messages(name):
    expected = json.loads((CORPUS / "expected.json").read_text())[name]
    message = (CORPUS / "corpus" / name).read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    found = await checked(message, published(), now=1_200_000_000)
    passed = any(one.verdict is DkimVerdict.PASS for one in found)
    assert passed == (expected["upstream_result"] == "pass" and not expected["caveats"]), found


@pytest.mark.skipif(not (FIXTURES / "dkim" / "rfc8463-mailauth").exists(), reason="the published message is not here")
async def test_rfc8463_both_signatures():
    folder = FIXTURES / "dkim" / "rfc8463-mailauth"
    zone = json.loads((folder / "dns.json").read_text())
    records = {name: ["".join(parts) for parts in kinds["TXT"]] for name, kinds in zone.items()}
    message = (folder / "signed.eml").read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    found = await checked(message, records)
    assert [one.verdict for one in found] == ["pass", "pass"], found
    assert {one.algorithm for one in found} == {"rsa-sha256", "ed25519-sha256"}
