"""A certificate of which only a few words are said: names, trouble, CA files, key."""

from __future__ import annotations

import pytest

from lockgate.flow.asking.explain import WhatIf
from lockgate.flow.suppose import Unsupposable
from lockgate.flow.supposed_certificate import TROUBLES
from lockgate.flow.supposing import Scene, supposed_facts
from lockgate.mail.connection import Tls
from lockgate.testing.builders import NOW, policy_of

POLICY = policy_of(
    """
[[organisation]]
name = "contoso"
[[accepted_domain]]
domain_name = "contoso.com"
vouched_by_operator = true
[[inbound_connector]]
name = "Ministry"
sender_domains = ["ministry.test"]
restrict_domains_to_certificate = true
tls_sender_certificate_name = "mail.ministry.test"
ca_file = "/etc/ministry.pem"
"""
)
KEY = "ab" * 32


def _read(pem: str, policy: object, at: float) -> object:
    raise ValueError("not asked in this test")


def shown(certificate: str = "mail.bank.test", **said: object) -> Tls:
    request = WhatIf(ip="198.51.100.9", certificate=certificate, **said)  # type: ignore[arg-type]
    tls = supposed_facts(request, None, Scene(POLICY, NOW, "test", _read)).connection.tls  # type: ignore[arg-type]
    assert tls is not None and (tls.certificate is not None) == bool(certificate)
    return tls


def test_unless_something_is_said_everybody_vouches_for_it() -> None:
    tls = shown("Mail.Bank.test., *.bank.test", tls="1.2", certificate_key=KEY.upper())
    assert (tls.version, tls.trusted_by, tls.trouble) == ("TLSv1.2", ("/etc/ministry.pem", "public"), "")
    assert tls.certificate is not None
    assert tls.certificate.names == ("mail.bank.test", "*.bank.test") and tls.certificate.spki_sha256 == KEY
    assert tls.certificate.not_before < NOW < tls.certificate.not_after


@pytest.mark.parametrize("word", TROUBLES)
def test_whatever_is_wrong_with_it_nobody_vouches(word: str) -> None:
    tls = shown(certificate_trouble=word)
    assert tls.trusted_by == () and tls.trouble
    leaf = tls.certificate
    assert leaf is not None
    assert (leaf.not_after < NOW) == (word == "expired") and (leaf.not_before > NOW) == (word == "not-yet-valid")
    assert leaf.self_signed == (word == "self-signed") and bool(leaf.purposes) == (word == "wrong-purpose")


def test_one_ca_file_alone_vouches_for_it() -> None:
    assert shown(certificate_trusted_by=("public",)).trusted_by == ("public",)
    tls = shown(certificate_trusted_by=("/etc/ministry.pem",))
    assert tls.trusted_by == ("/etc/ministry.pem",) and "trusted here" in tls.trouble


def test_self_signed_by_the_older_word() -> None:
    assert shown(untrusted=True) == shown(certificate_trouble="self-signed")


@pytest.mark.parametrize(
    ("said", "words"),
    [
        ({"certificate_trouble": "expird"}, "did you mean 'expired'?"),
        ({"certificate_trusted_by": ("/etc/other.pem",)}, "there are /etc/ministry.pem, public"),
        ({"certificate_key": "ab"}, "64 hex digits"),
        ({"certificate": "", "certificate_trouble": "expired"}, "of which certificate?"),
        ({"certificate": " , "}, "name the certificate"),
        ({"certificate": "not a name"}, "is neither a host name nor a file"),
        ({"tls": "none"}, "only shown in TLS"),
        ({"tls": "2.0"}, "no version of TLS"),
    ],
)
def test_nonsense_is_told(said: dict[str, object], words: str) -> None:
    with pytest.raises(Unsupposable, match=words.replace("?", r"\?")):
        shown(**said)  # type: ignore[arg-type]
