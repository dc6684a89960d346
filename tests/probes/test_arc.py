"""ARC: the published chains, and chains that we seal ourselves (RFC 8617)."""

from __future__ import annotations

import os
from pathlib import Path

import dkim
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from lockgate.mail.arc import BrokenChain, seal
from lockgate.mail.authentication import ArcVerdict
from lockgate.mail.dkim.canonical import Bodies
from lockgate.mail.dkim.sign import SigningKey, load_key, public_record
from lockgate.mail.headers import read_headers
from lockgate.probes.trust.arc import check_chain
from lockgate.testing.dns import ZoneResolver

FIXTURES = Path(os.environ.get("LOCKGATE_FIXTURES", Path(__file__).resolve().parents[3] / "shared" / "fixtures"))
NOW = 1_760_000_000
KEY = SigningKey("list.test", "s", rsa.generate_private_key(65537, 2048))
RECORDS = {"s._domainkey.list.test": [public_record(KEY)]}
NAMES = (b"from", b"to", b"subject")
LETTER = b"From: ann@d.test\r\nTo: bob@x.test\r\nSubject: hello\r\n\r\nbody\r\n"


def crlf(text: str) -> bytes:
    return text.replace("\r\n", "\n").replace("\n", "\r\n").encode()


async def state(message: bytes, records=None):
    headers = read_headers(message)
    bodies = Bodies(message[headers.end :])
    return await check_chain(ZoneResolver(texts=RECORDS if records is None else records), headers, bodies)


def sealed(message: bytes, found: ArcVerdict, number: int = 0) -> bytes:
    headers = read_headers(message)
    bodies = Bodies(message[headers.end :])
    results = b"list.test; spf=pass smtp.mailfrom=d.test"
    return seal(headers.fields, bodies, KEY, state=found, results=results, names=NAMES, at=NOW + number) + message


async def chain(length: int) -> bytes:
    message = LETTER
    for number in range(length):
        message = sealed(message, (await state(message)).verdict, number)
    return message


def record_of(name: bytes, timeout: int = 5) -> bytes:
    return RECORDS[name.decode().rstrip(".")][0].encode()


@pytest.mark.parametrize("length", [1, 2, 5])
async def test_what_we_seal_holds_here_and_with_another_implementation(length):
    message = await chain(length)
    found = await state(message)
    assert (found.verdict, found.sets, found.sealer, found.oldest) == (ArcVerdict.PASS, length, "list.test", 0), found
    assert found.results.startswith(f"i={length}; list.test; spf=pass")
    cv, _, why = dkim.ARC(message).verify(dnsfunc=record_of)
    assert cv == b"pass", why


async def test_a_change_breaks_the_chain_and_the_next_seal_says_so():
    message = (await chain(2)).replace(b"body\r\n", b"other\r\n")
    found = await state(message)
    assert found.verdict is ArcVerdict.FAIL and "body" in found.problem
    again = await state(sealed(message, found.verdict))
    assert again.verdict is ArcVerdict.FAIL and "last sealer" in again.problem


async def test_the_oldest_signature_that_still_holds_is_told():
    first = (await chain(1)).replace(b"Subject: hello", b"Subject: [list] hello")
    found = await state(first)
    assert found.verdict is ArcVerdict.FAIL
    headers = read_headers(first)
    bodies = Bodies(first[headers.end :])
    second = seal(headers.fields, bodies, KEY, state=ArcVerdict.PASS, results=b"l", names=NAMES, at=NOW) + first
    found = await state(second)
    assert (found.verdict, found.oldest) == (ArcVerdict.PASS, 2)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"cv=none", b"cv=pass"), (b"i=1;", b"i=2;"), (b"ARC-Seal:", b"X-Seal:"), (b"spf=pass", b"spf=fail"),
        (b"ARC-Authentication-Results: i=1;", b"ARC-Authentication-Results: j=1;"), (b"d=list.test", b"d=evil.test"),
        (b"From: ann", b"From: eve"), (b"h=from", b"h=arc-seal:from"),
    ],
)  # fmt: skip
async def test_forged_chains_fail(old, new):
    message = await chain(1)
    assert old in message
    found = await state(message.replace(old, new))
    assert found.verdict is ArcVerdict.FAIL and found.problem


async def test_silence_is_no_verdict_and_more_sets_than_there_may_be_fail():
    headers = read_headers(await chain(1))
    resolver = ZoneResolver(silent=["s._domainkey.list.test"])
    assert (await check_chain(resolver, headers, Bodies(b"body\r\n"))).verdict is ArcVerdict.TEMPERROR
    flood = b"".join(b"ARC-Seal: i=%d; a=rsa-sha256\r\n" % n for n in range(1, 99))
    assert (await state(flood + LETTER)).verdict is ArcVerdict.FAIL
    assert (await state(b"ARC-Seal: i=1\r\n" * 400 + LETTER)).verdict is ArcVerdict.FAIL
    with pytest.raises(BrokenChain):
        sealed(await chain(50), ArcVerdict.PASS)


# --- published chains ------------------------------------------------------------------------------------------------

FOLDER = FIXTURES / "arc"
there = pytest.mark.skipif(not FOLDER.exists(), reason="the published chains are not here (LOCKGATE_FIXTURES)")


def cases(name: str):
    if not FOLDER.exists():
        return []
    yaml = pytest.importorskip("yaml")
    documents = yaml.safe_load_all((FOLDER / name).read_text("utf-8"))
    return [pytest.param(d, test, id=key) for d in documents for key, test in d["tests"].items()]


def published(document) -> dict[str, list[str]]:
    return {name: [text] for name, text in document["txt-records"].items()}


@there
@pytest.mark.parametrize(("document", "case"), cases("arc-validation-dev.yml"))
async def test_published_chains(document, case):
    found = await state(crlf(case["message"]), published(document))
    # The suite has an empty answer for a chain whose last sealer gave it up; RFC 8617 5.2 step 1 says "fail".
    wanted = (case["cv"] or "fail").lower()
    assert found.verdict.value == wanted, found


@there
@pytest.mark.parametrize(("document", "case"), cases("arc-sign-dev.yml"))
async def test_published_seals(document, case):
    """Our seal over the suite's message is the suite's own, octet for octet in what is signed."""
    message = crlf(case["message"])
    headers = read_headers(message)
    bodies = Bodies(message[headers.end :])
    results = "".join(case["AAR"].split(";", 1)[1])
    made = seal(
        headers.fields, bodies, load_key(document["domain"], document["sel"], document["privatekey"].encode()),
        state=(await state(message, published(document))).verdict, results=" ".join(results.split()).encode(),
        names=[name.encode() for name in case["sig-headers"].split(":")], at=case["t"],
    )  # fmt: skip
    fields = {name.lower(): value for name, value in read_headers(made + b"\r\n").fields}

    def plain(text: str) -> dict[str, str]:
        tags = (part.partition("=") for part in text.split(";") if part.strip())
        return {name.strip(): "".join(value.split()) for name, _, value in tags}

    assert plain(fields[b"arc-message-signature"].decode()) == plain(case["AMS"])
    assert plain(fields[b"arc-seal"].decode()) == plain(case["AS"])
    assert (await state(made + message, published(document))).verdict is ArcVerdict.PASS
