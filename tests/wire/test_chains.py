"""Published certificate chains: who may be trusted and who may not, names included."""

from __future__ import annotations

import datetime as dt
import json
import re

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from edge.authority import DAY, make
from fixtures_folder import fixtures_folder
from lockgate.mail.certificate_names import name_covered
from lockgate.wire.certificates import REVOKED, CaStore, certificate_facts, read_store, verify_chain
from peers.certificates import Authority

EXPLAINED = {
    "rfc5280::nc::permitted-dns-match-noncritical": "a name constraint that is not marked critical, and is obeyed here",
}


def der(pem: str) -> bytes:
    return x509.load_pem_x509_certificate(pem.encode()).public_bytes(Encoding.DER)


def trusted(case: dict, now: float) -> bool:
    at = dt.datetime.fromisoformat(case["validation_time"]).timestamp() if case["validation_time"] else now
    leaf = der(case["peer_certificate"])
    lists = [x509.load_pem_x509_crl(pem.encode()) for pem in case["crls"] or ()]
    store = CaStore([x509.load_pem_x509_certificate(pem.encode()) for pem in case["trusted_certs"]], lists)
    if verify_chain([leaf, *map(der, case["untrusted_intermediates"])], store, at):
        return False
    name = case["expected_peer_name"] or {}
    return name.get("kind") != "DNS" or name_covered(name["value"], certificate_facts(leaf).names) is not None


def test_published_chains():
    cases = json.loads((fixtures_folder("x509") / "limbo-dev.json").read_text())["testcases"]
    now = dt.datetime.now(dt.UTC).timestamp()
    total, missed = 0, []
    for case in cases:
        # A depth chosen by the caller is no part of verify_chain.
        if case["_mail_profile"] == "must match" and "max-chain-depth" not in case["features"]:
            total += 1
            if trusted(case, now) != (case["expected_result"] == "SUCCESS"):
                missed.append(case["id"])
    assert total >= 50 and set(missed) <= set(EXPLAINED)
    assert (total - len(missed)) / total >= 0.97
    # Nothing is accepted in spite of its name, expiry, issuer or CA flag: what is explained is none of these.
    assert not [one for one in missed if re.search(r"name|san|cn|valid|expired|issuer|untrusted|ca-|constraints", one)]


EXIM = {
    "server1.example.com": "", "server1_ec.example.com": "", "server2.example.com": "",
    "expired1.example.com": "expired", "expired2.example.com": "expired",
    "revoked1.example.com": REVOKED, "revoked2.example.com": REVOKED,
}  # fmt: skip


@pytest.mark.parametrize("name", EXIM)
def test_the_certificates_of_exims_tests(name):
    """A private authority with an intermediate, expired and revoked certificates, and lists of revocations."""
    folder = fixtures_folder("x509") / "exim-ca" / "example.com"
    leaf = x509.load_pem_x509_certificate((folder / name / f"{name}.pem").read_bytes())
    signer = (folder / "CA" / "Signer.pem").read_bytes()
    root = (folder / "CA" / "CA.pem").read_bytes()
    chain = [one.public_bytes(Encoding.DER) for one in (leaf, *x509.load_pem_x509_certificates(signer))]
    # Within the life of the lists and the good ones; the expired ones have ended before.
    good = x509.load_pem_x509_certificate((folder / "server1.example.com" / "server1.example.com.pem").read_bytes())
    at = good.not_valid_before_utc.timestamp() + 86400
    for lists in ("", "crl.v2.pem", "crl.chain.pem"):
        store = read_store(root + ((folder / "CA" / lists).read_bytes() if lists else b""))
        late = leaf.not_valid_after_utc.timestamp() + 86400
        why = verify_chain(chain, store, max(at, late) if EXIM[name] == "expired" else at)
        expected = "" if EXIM[name] == REVOKED and not lists else EXIM[name]
        assert (expected in why) if expected else why == "", (lists, why)
    assert verify_chain(chain[:1], read_store(root), at) != ""  # without the intermediate it leads nowhere


def test_a_certificate_that_is_itself_in_the_store_is_trusted_while_it_is_valid():
    pinned, other = make("a.test", ["a.test"]), make("a.test", ["a.test"])
    now = dt.datetime.now(dt.UTC).timestamp()
    store = CaStore([pinned.certificate])
    assert verify_chain(pinned.der_chain, store, now) == ""
    assert "expired" in verify_chain(pinned.der_chain, store, now + 3 * DAY.total_seconds())
    assert verify_chain(other.der_chain, store, now) != ""
    assert verify_chain([], store, now) == "no certificate was presented"
    assert verify_chain(pinned.der_chain, CaStore([]), now) == "the certificate is self-signed"
    assert "more than" in verify_chain(pinned.der_chain * 40, store, now)


def test_certificates_of_private_authorities_without_key_identifiers(tmp_path):
    ours, other = Authority(tmp_path), Authority(tmp_path, "Other CA")
    leaf = ours.issue("mail.contoso.com").certificate
    assert not [extension for extension in leaf.extensions if "KeyIdentifier" in type(extension.value).__name__]
    now, chain = dt.datetime.now(dt.UTC).timestamp(), [leaf.public_bytes(Encoding.DER)]
    assert verify_chain(chain, CaStore([ours.certificate]), now) == ""
    assert verify_chain(chain, CaStore([other.certificate]), now) != ""


@given(st.binary(max_size=200))
def test_unreadable_certificates_are_facts_too(octets):
    facts = certificate_facts(octets)
    assert facts.names == () and facts.subject.startswith("unreadable certificate")
    assert verify_chain([octets], CaStore([]), 0.0) != ""
