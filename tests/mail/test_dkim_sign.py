"""Our signatures in each canonical form, with each algorithm: verified by us and by two programs that are not ours."""

from __future__ import annotations

import itertools

import pytest
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from hypothesis import given, settings
from hypothesis import strategies as st

from lockgate.mail.dkim.canonical import Bodies
from lockgate.mail.dkim.key import read_key
from lockgate.mail.dkim.published import STRING, strings, what_is_wrong, zone_line
from lockgate.mail.dkim.sign import SigningKey, load_key, public_record, sign
from lockgate.mail.dkim.signature import read_signature, why_not
from lockgate.mail.headers import read_headers
from peers.verifiers import dkimpy, needs_opendkim, opendkim

RSA = SigningKey("contoso.com", "r", rsa.generate_private_key(65537, 2048))
SMALL = SigningKey("contoso.com", "small", rsa.generate_private_key(65537, 1024))
ED = SigningKey("contoso.com", "e", ed25519.Ed25519PrivateKey.generate())
KEYS = (RSA, SMALL, ED)
RECORDS = {f"{key.selector}._domainkey.{key.domain}": public_record(key) for key in KEYS}
FORMS = list(itertools.product((True, False), repeat=2))
LETTER = (
    b"Received: from a by b;\r\n\tTue, 24 Nov 2026 10:00:00 +0000\r\nFrom:  Ann\t<ann@contoso.com> \r\n"
    b"To: far@away.test,\r\n  Ben <ben@away.test>\r\nSUBJECT : x\r\nSubject: two  blanks\r\nX-Empty:\r\n"
    b"\r\n \t two  lines \r\n.\r\n\r\n\r\n"
).replace(b"SUBJECT : x\r\n", b"")


def signed(octets: bytes, key: SigningKey, header: bool = True, body: bool = True) -> bytes:
    headers = read_headers(octets)
    return sign(
        headers.fields, Bodies(octets[headers.end :]), key, at=1_760_000_000, relaxed_header=header, relaxed_body=body
    ) + octets


def ours(octets: bytes) -> str:
    """Why our own verifier does not take the first signature, "" if it does."""
    headers = read_headers(octets)
    found = read_signature(headers.fields[0])
    record = read_key(RECORDS[found.key_name])
    return why_not(found, headers.fields, Bodies(octets[headers.end :]), record)


@pytest.mark.parametrize(("header", "body"), FORMS)
@pytest.mark.parametrize("key", KEYS, ids=lambda key: key.selector)
def test_every_form_verifies(key: SigningKey, header: bool, body: bool) -> None:
    octets = signed(LETTER, key, header, body)
    words = {True: "relaxed", False: "simple"}
    assert f"c={words[header]}/{words[body]};".encode() in octets
    assert ours(octets) == ""
    assert dkimpy(RECORDS, octets) == [True]
    changed = octets.replace(b"two  lines", b"two lines")
    assert (ours(changed) == "") is body
    unfolded = octets.replace(b",\r\n  Ben", b", Ben")
    assert (ours(unfolded) == "") is header


@needs_opendkim
def test_opendkim_takes_every_form(tmp_path) -> None:
    # It gets headers as a milter does: with one blank behind the colon, whatever was there.
    plain = LETTER.replace(b"From:  Ann", b"From: Ann").replace(b"X-Empty:", b"X-Empty: ")
    messages = [(key, signed(plain, key, *forms)) for key in KEYS for forms in FORMS]
    found = opendkim(tmp_path / "opendkim", RECORDS, [octets for _, octets in messages])
    assert found == [{key.selector} for key, _ in messages]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from([b" ", b"\t", b"\r\n", b".", b"x", b"\xc3\xbc", b"From ", b"\r\n\r\n"]), max_size=40),
    st.sampled_from(FORMS),
)
def test_any_body_verifies(pieces: list[bytes], forms: tuple[bool, bool]) -> None:
    octets = signed(b"From: ann@contoso.com\r\n\r\n" + b"".join(pieces) + b"\r\n", ED, *forms)
    assert ours(octets) == ""
    assert dkimpy(RECORDS, octets) == [True]


def test_what_is_important_is_signed_once_more_than_it_is_there() -> None:
    (field,) = [f for f in read_headers(signed(LETTER, ED)).fields if f[0] == b"DKIM-Signature"]
    names = [name.decode() for name in read_signature(field).names]
    assert names.count("from") == names.count("to") == names.count("subject") == 2
    assert names.count("reply-to") == names.count("date") == 1 and "received" not in names and "x-empty" not in names
    added = signed(LETTER, ED).replace(b"\r\nFrom:", b"\r\nReply-To: evil@evil.test\r\nFrom:", 1)
    assert ours(added) != "" and dkimpy(RECORDS, added) == [False]


def test_no_line_of_a_signature_is_long() -> None:
    field = signed(LETTER, RSA)[: -len(LETTER)]
    assert max(len(line) for line in field.split(b"\r\n")) <= 90 and field.endswith(b"\r\n") and field.isascii()


def pem(key: SigningKey) -> bytes:
    return key.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def test_keys_are_read_or_refused_in_words() -> None:
    assert public_record(load_key("contoso.com", "r", pem(RSA))) == public_record(RSA)
    tiny = SigningKey("c.test", "t", rsa.generate_private_key(65537, 1024))
    assert load_key("c.test", "t", pem(tiny)).algorithm == "rsa-sha256"
    for bad in (b"", b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", pem(RSA)[:200]):
        with pytest.raises(ValueError, match=r"the private key of t\._domainkey\.c\.test"):
            load_key("c.test", "t", bad)


# --- what is published


def test_a_record_is_cut_into_strings() -> None:
    record = public_record(RSA)
    found = strings(record)
    assert "".join(found) == record and len(found) == 2 and max(map(len, found)) == STRING
    assert zone_line("r._domainkey.contoso.com", record) == (
        f'r._domainkey.contoso.com. 3600 IN TXT "{found[0]}" "{found[1]}"'
    )
    assert strings(public_record(ED)) == (public_record(ED),)


OTHER = public_record(SigningKey("contoso.com", "o", rsa.generate_private_key(65537, 2048)))
MINE = public_record(RSA)


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ((MINE,), ""),
        ((MINE.replace("v=DKIM1; k=rsa; ", ""),), ""),
        ((MINE.replace("; ", ";"),), ""),
        ((f"{MINE}; t=s",), ""),
        ((), "there is no TXT record at r._domainkey.contoso.com"),
        ((MINE, OTHER), "there are 2 TXT records"),
        ((OTHER,), "publishes another key"),
        ((MINE[:-30],), "publishes no key"),
        (("v=DKIM1; k=rsa; p=",), "the key is revoked"),
        ((public_record(ED),), "is for a key of kind ed25519, ours is rsa"),
        (("v=spf1 -all",), "publishes no key"),
        ((f"{MINE}; t=y",), "t=y"),
        (("\x1b[2J\u202e",), "publishes no key"),
        (("v=DKIM1; p=\xff\xff",), "publishes no key"),
    ],
)
def test_what_dns_says_is_compared_in_words(found: tuple[str, ...], said: str) -> None:
    told = what_is_wrong("r._domainkey.contoso.com", MINE, found)
    assert said in told if said else told == ""
    assert told.isprintable()
