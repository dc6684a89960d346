"""Which kind of message it is by its header, as mail programs read it."""

from __future__ import annotations

import pytest

from lockgate.mail.ruling import Hit
from policies import policy
from policy.test_clues import ANA, case

PKCS7 = "Content-Type: application/pkcs7-mime"


def types_of(header, among=("encrypted", "signed")):
    whole = "".join(
        f'[[mail_flow_rule]]\nname = "{one}"\nmessage_type_matches = "{one}"\nstop_rule_processing = true\n'
        for one in among
    )
    rules = policy(whole).of("contoso").rules.all
    return {rule.name for rule in rules if rule.when[0](case(header), ANA).hit is Hit.YES}


@pytest.mark.parametrize(
    ("header", "types"),
    [
        (f"{PKCS7}; smime-type=signed-data; name=smime.p7m", {"signed"}),
        (f'{PKCS7}; smime-type="Signed-Data"', {"signed"}),
        (f"{PKCS7}; smime-type=enveloped-data; name=smime.p7m", {"encrypted"}),
        (f'{PKCS7}; smime-type=enveloped-data; name="signed-data.p7m"', {"encrypted"}),
        (f"{PKCS7}; name=signed-data.p7m", {"encrypted"}),
        (f"{PKCS7}; smime-type=authEnveloped-data", {"encrypted"}),
        (f"{PKCS7}; smime-type=enveloped-data; smime-type=signed-data", {"encrypted", "signed"}),
        ("Content-Type: application/x-pkcs7-mime (signed-data); name=smime.p7m", {"encrypted"}),
        ("Content-Type: multipart/encrypted; boundary=b", {"encrypted"}),
        ('Content-Type: multipart/signed; protocol="application/pkcs7-signature"; boundary=b', {"signed"}),
        ("Content-Type: text/plain; smime-type=signed-data", set()),
    ],
)
def test_what_is_signed_and_what_is_encrypted(header, types):
    assert types_of(header) == types
