"""Certificates as facts: what a leaf says, and whether a chain leads to a store of CA certificates."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from OpenSSL import crypto

from lockgate.mail.connection import Certificate

_PURPOSES = {ExtendedKeyUsageOID.SERVER_AUTH: "serverAuth", ExtendedKeyUsageOID.CLIENT_AUTH: "clientAuth"}
_ANY = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
_LIMIT = 1000


class CaStore:
    """The CA certificates of one file, read once; `subjects` are their names as DER."""

    __slots__ = ("roots", "subjects")

    def __init__(self, roots: Sequence[x509.Certificate]) -> None:
        self.roots = tuple(roots)
        self.subjects = frozenset(root.subject.public_bytes() for root in roots)


def read_store(pem: bytes) -> CaStore:
    """The CA certificates of a PEM file. Raises ValueError if there is none in it."""
    return CaStore(x509.load_pem_x509_certificates(pem))


def certificate_facts(der: bytes) -> Certificate:
    """What judging needs of a leaf (mail/connection.py). Never raises: what cannot be read has no names."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        subject, issuer = certificate.subject, certificate.issuer
        return Certificate(
            names=_names(certificate),
            common_name=_common_name(subject),
            subject=_printable(subject.rfc4514_string()),
            issuer=_printable(issuer.rfc4514_string()),
            serial=f"{certificate.serial_number:x}",
            not_before=certificate.not_valid_before_utc.timestamp(),
            not_after=certificate.not_valid_after_utc.timestamp(),
            spki_sha256=_spki(certificate),
            purposes=_purposes(certificate),
            self_signed=_self_signed(certificate),
        )
    except Exception as trouble:
        # A stranger's certificate is hostile input, and cryptography raises what its parser raises.
        return Certificate((), "", f"unreadable certificate ({_printable(str(trouble))})", "", "", 0.0, 0.0, "")


def leaf_names(pem: bytes) -> tuple[str, ...]:
    """The names of the first certificate in PEM text. Raises ValueError if there is none."""
    return certificate_facts(x509.load_pem_x509_certificates(pem)[0].public_bytes(Encoding.DER)).names


def chain_may_lead_to(chain: Sequence[bytes], store: CaStore) -> bool:
    """Whether a certificate of the chain (DER) names one of the store as its issuer: quick, and no proof."""
    try:
        return any(x509.load_der_x509_certificate(der).issuer.public_bytes() in store.subjects for der in chain)
    except ValueError:
        return True


def verify_chain(chain: Sequence[bytes], store: CaStore, at: float | None = None) -> str:
    """Does the chain (DER, leaf first) lead to `store` at time `at` (seconds; None: now)? "" = yes, else why not."""
    if not chain:
        return "no certificate was presented"
    context = crypto.X509Store()
    for root in store.roots:
        context.add_cert(crypto.X509.from_cryptography(root))
    try:
        leaf, *others = [crypto.load_certificate(crypto.FILETYPE_ASN1, der) for der in chain]
        crypto.X509StoreContext(context, leaf, others).verify_certificate()
    except crypto.X509StoreContextError as trouble:
        return str(trouble)
    except crypto.Error:
        return "the certificate cannot be read"
    return ""


def _names(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        san = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except x509.ExtensionNotFound:
        return ()
    found = (name.lower().removesuffix(".") for name in san.get_values_for_type(x509.DNSName)[:_LIMIT])
    return tuple(name for name in found if name and name.isascii() and name.isprintable() and " " not in name)


def _common_name(name: x509.Name) -> str:
    found = name.get_attributes_for_oid(NameOID.COMMON_NAME)
    value = str(found[-1].value) if found else ""
    return value if value.isprintable() else ""


def _purposes(certificate: x509.Certificate) -> tuple[str, ...]:
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return ()
    return () if _ANY in usage else tuple(_PURPOSES.get(purpose, purpose.dotted_string) for purpose in usage)


def _spki(certificate: x509.Certificate) -> str:
    key = certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return hashlib.sha256(key).hexdigest()


def _self_signed(certificate: x509.Certificate) -> bool:
    if certificate.subject != certificate.issuer:
        return False
    try:
        certificate.verify_directly_issued_by(certificate)
    except Exception:
        return False
    return True


def _printable(text: str) -> str:
    return "".join(c if c.isprintable() else "?" for c in text[:_LIMIT])
