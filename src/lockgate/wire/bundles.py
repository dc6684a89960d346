"""What is in PEM files besides our own certificate: CA certificates and revocation lists; and where a chain ends."""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence

import msgspec
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import NameOID

from lockgate.wire.certificates import CaStore, certificate_facts

_DER = Encoding.DER
_BLOCK = re.compile(rb"-----BEGIN (X509 CRL|(?:X509 )?CERTIFICATE)-----.*?-----END \1-----", re.DOTALL)
_LONGEST_NAME = 200

ISSUER_MISSING = "no certificate of the issuer"
"""How it begins when clients will be missing an intermediate certificate."""


class Listed(msgspec.Struct, frozen=True):
    """A CA certificate, or a revocation list whose `end` is when the next is due (RFC 5280 5.1.2.5; 0: not said)."""

    name: str
    issuer: str
    serial: str
    begin: float
    end: float
    spki: str = ""
    revocations: bool = False


def read_bundle(pem: bytes) -> tuple[Listed, ...]:
    """What PEM text holds, in order; what cannot be read is left out. Raises ValueError if that is everything."""
    found: list[Listed] = []
    why: ValueError | None = None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        for block in _BLOCK.finditer(pem):
            try:
                found.append(_list(block[0]) if b"CRL" in block[1] else _authority(block[0]))
            except ValueError as trouble:
                why = trouble
    if why is not None and not found:
        raise ValueError(f"it cannot be read: {why}")
    return tuple(found)


def _authority(pem: bytes) -> Listed:
    certificate = x509.load_pem_x509_certificate(pem)
    facts = certificate_facts(certificate.public_bytes(_DER))
    return Listed(
        facts.common_name or facts.subject, facts.issuer, facts.serial, facts.not_before, facts.not_after,
        facts.spki_sha256,
    )  # fmt: skip


def _list(pem: bytes) -> Listed:
    revoked = x509.load_pem_x509_crl(pem)
    name = _name(revoked.issuer)
    end = revoked.next_update_utc
    return Listed(
        name, revoked.issuer.rfc4514_string()[:_LONGEST_NAME], "", revoked.last_update_utc.timestamp(),
        end.timestamp() if end is not None else 0.0, revocations=True,
    )  # fmt: skip


def chain_end(pem: bytes, roots: Sequence[CaStore]) -> str:
    """Why a chain (PEM, leaf first) leads nowhere, in words; "" if it ends at itself or at one of the roots."""
    chain = x509.load_pem_x509_certificates(pem)
    by_subject = {one.subject.public_bytes(): one for one in chain}
    last = chain[0]
    for _ in chain:
        above = last.issuer.public_bytes()
        if last.issuer == last.subject or any(above in store.subjects for store in roots):
            return ""
        if above not in by_subject:
            break
        last = by_subject[above]
    issuer = _name(last.issuer)
    if last == chain[0]:
        return f"{ISSUER_MISSING} '{issuer}' is in the file, nor is that an authority known here"
    return f"it ends at '{_name(last.subject)}', whose issuer '{issuer}' is no public authority known here"


def _name(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    text = str(found[-1].value) if found else name.rfc4514_string()
    return "".join(c if c.isprintable() else "?" for c in text[:_LONGEST_NAME])
