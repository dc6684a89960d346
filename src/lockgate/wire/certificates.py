"""Certificates as facts: what a leaf says, and whether a chain leads to a store of CA certificates."""

from __future__ import annotations

import base64
import datetime as dt
import hashlib
import itertools
import re
import warnings
from collections.abc import Sequence

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import dsa, ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from lockgate.mail.connection import Certificate

_PURPOSES = {ExtendedKeyUsageOID.SERVER_AUTH: "serverAuth", ExtendedKeyUsageOID.CLIENT_AUTH: "clientAuth"}
_BEGIN = re.compile(rb"-----BEGIN (?:X509 )?CERTIFICATE-----")
_CERTIFICATE = re.compile(_BEGIN.pattern + rb".*?-----END (?:X509 )?CERTIFICATE-----", re.DOTALL)
_REVOCATIONS = re.compile(rb"-----BEGIN X509 CRL-----.*?-----END X509 CRL-----", re.DOTALL)
_SEQUENCE, _INTEGER, _VERSION = 0x30, 0x02, 0xA0
_ANY = ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
_LIMIT = 1000
_LONGEST_CHAIN = 30
_SMALLEST_RSA = 2048

SELF_SIGNED = "the certificate is self-signed"
REVOKED = "the certificate is revoked by its issuer's list"
NO_PATH = "the chain leads to no CA certificate that is trusted here"
ALONE = "the peer sent no intermediate certificate with it, so one may be missing"


class CaStore:
    """The CA certificates of one file, read once, with revocation lists; `subjects` are the CAs' names as DER."""

    __slots__ = ("lists", "roots", "subjects", "trusted")

    def __init__(
        self, roots: Sequence[x509.Certificate], lists: Sequence[x509.CertificateRevocationList] = ()
    ) -> None:
        self.roots = tuple(roots)
        self.lists = tuple(lists)
        self.trusted = verification.Store(list(self.roots)) if self.roots else None
        self.subjects = frozenset(root.subject.public_bytes() for root in roots)


def read_lists(pem: bytes) -> tuple[x509.CertificateRevocationList, ...]:
    """The revocation lists of a PEM file. Raises ValueError if one of them is damaged."""
    return tuple(x509.load_pem_x509_crl(block) for block in _REVOCATIONS.findall(pem))


def read_store(pem: bytes, lists: Sequence[x509.CertificateRevocationList] = ()) -> CaStore:
    """The CA certificates of a PEM file, with the revocation lists in it and `lists`.

    Raises ValueError if there is no certificate in it, or something that is damaged.

    A few roots in public bundles have a serial number that is not positive (RFC 5280 4.1.2.2 forbids it). cryptography
    warns of them and will refuse them: then they are left out, and cost nobody the rest of the bundle.
    """
    roots: list[x509.Certificate] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        for block in _CERTIFICATE.findall(pem):
            try:
                roots.append(x509.load_pem_x509_certificate(block))
            except ValueError:
                if _serial_is_positive(block):
                    raise
    if not roots or len(_CERTIFICATE.findall(pem)) < len(_BEGIN.findall(pem)):
        raise ValueError("there is no certificate in it, or one that does not end")
    return CaStore(roots, [*read_lists(pem), *lists])


def _serial_is_positive(pem: bytes) -> bool:
    """Whether the serial number of a certificate is what it should be; True if it cannot be found.

    Certificate ::= SEQUENCE { SEQUENCE { [0] version OPTIONAL, serialNumber INTEGER, ... } ... } (RFC 5280 4.1).
    """
    try:
        der = base64.b64decode(b"".join(pem.splitlines()[1:-1]))
        whole, _ = _element(der, 0, _SEQUENCE)
        at, _ = _element(der, whole, _SEQUENCE)
        if der[at] == _VERSION:
            _, at = _element(der, at, _VERSION)
        begin, end = _element(der, at, _INTEGER)
        return int.from_bytes(der[begin:end], "big", signed=True) > 0
    except (ValueError, IndexError):
        return True


def _element(der: bytes, at: int, tag: int) -> tuple[int, int]:
    """Where the content of the DER element at `at` begins and ends. Raises ValueError if it is another one."""
    if der[at] != tag:
        raise ValueError("another element")
    length, begin = der[at + 1], at + 2
    if length & 0x80:
        size = length & 0x7F
        length, begin = int.from_bytes(der[begin : begin + size], "big"), begin + size
    return begin, begin + length


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


def key_facts(pem: bytes) -> tuple[tuple[str, ...], str]:
    """Names and SHA-256 of the public key (SPKI, hexadecimal) of a PEM certificate, public key or private key.

    A key alone has no names. Raises ValueError.
    """
    if _BEGIN.search(pem):
        facts = leaf_facts(pem)
        return facts.names, facts.spki_sha256
    if b"PRIVATE KEY-----" in pem:
        try:
            public = load_pem_private_key(pem, None).public_key()
        except TypeError:
            raise ValueError("the key has a password; it is not needed here, give the public key") from None
    else:
        public = load_pem_public_key(pem)
    return (), hashlib.sha256(public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()

def key_kind(pem: bytes) -> str:
    """The kind of key of the first certificate in PEM text, "rsa", "ecdsa" or another. Raises ValueError."""
    match x509.load_pem_x509_certificates(pem)[0].public_key():
        case rsa.RSAPublicKey():
            return "rsa"
        case ec.EllipticCurvePublicKey():
            return "ecdsa"
        case other:
            return type(other).__name__.removesuffix("PublicKey").lower()


def joined_chain(pem: bytes, more: bytes) -> bytes:
    """The certificates of PEM text, then those of another that it does not hold. Raises ValueError."""
    found = dict.fromkeys([*x509.load_pem_x509_certificates(pem), *x509.load_pem_x509_certificates(more)])
    return b"".join(one.public_bytes(Encoding.PEM) for one in found)


def read_chain(pem: str) -> tuple[bytes, ...]:
    """The certificates of PEM text as DER, in order. Raises ValueError if there is none."""
    return tuple(one.public_bytes(Encoding.DER) for one in x509.load_pem_x509_certificates(pem.encode()))


def leaf_facts(pem: bytes) -> Certificate:
    """The facts of the first certificate of a PEM chain. Raises ValueError if there is none."""
    return certificate_facts(x509.load_pem_x509_certificates(pem)[0].public_bytes(Encoding.DER))


def chain_may_lead_to(chain: Sequence[bytes], store: CaStore) -> bool:
    """Whether a certificate of the chain (DER) names one of the store as its issuer: quick, and no proof."""
    try:
        return any(x509.load_der_x509_certificate(der).issuer.public_bytes() in store.subjects for der in chain)
    except ValueError:
        return True


def verify_chain(chain: Sequence[bytes], store: CaStore, at: float) -> str:
    """Does the chain (DER, leaf first) lead to `store` at time `at` (seconds since the epoch)? "" = yes, else why not.

    RFC 5280 as pyca/cryptography checks it, with the purposes serverAuth or clientAuth (DESIGN 5: public CAs issue
    nothing else any more). Names are no part of it. A certificate that is itself in the store is trusted directly.
    """
    if not chain:
        return "no certificate was presented"
    if len(chain) > _LONGEST_CHAIN:
        return f"the chain has more than {_LONGEST_CHAIN} certificates"
    moment = dt.datetime.fromtimestamp(at, dt.UTC)
    try:
        leaf, *others = [x509.load_der_x509_certificate(der) for der in chain]
        trouble = _leaf_trouble(leaf, moment)
        if trouble or leaf in store.roots:
            return trouble
        if store.trusted is None or not chain_may_lead_to(chain, store):
            return SELF_SIGNED if _self_signed(leaf) else NO_PATH if others else f"{NO_PATH}; {ALONE}"
        policy = verification.PolicyBuilder().store(store.trusted).time(moment)
        policy = policy.extension_policies(ca_policy=_CA_POLICY, ee_policy=_LEAF_POLICY)
        verified = policy.build_client_verifier().verify(leaf, others).chain
        return REVOKED if _revoked(verified, store.lists) else ""
    except verification.VerificationError as failure:
        why = _why(str(failure))
        return why if why != NO_PATH or len(chain) > 1 else f"{NO_PATH}; {ALONE}"
    except Exception:
        # Not one of a few documented exceptions: the parser meets a stranger's octets here.
        return "a certificate of the chain cannot be read"


def _revoked(chain: Sequence[x509.Certificate], lists: Sequence[x509.CertificateRevocationList]) -> bool:
    """Whether an authentic list of an issuer names a certificate of the chain (leaf first).

    A list that is out of date still tells the truth about whom it names; that it is, is told to a person.
    """
    for revocations in lists:
        for certificate, issuer in itertools.pairwise(chain):
            if (
                revocations.issuer == certificate.issuer
                and revocations.get_revoked_certificate_by_serial_number(certificate.serial_number) is not None
                and revocations.is_signature_valid(issuer.public_key())  # type: ignore[arg-type]
            ):
                return True
    return False


def _leaf_trouble(leaf: x509.Certificate, moment: dt.datetime) -> str:
    if moment > leaf.not_valid_after_utc:
        return f"the certificate expired on {leaf.not_valid_after_utc:%Y-%m-%d}"
    if moment < leaf.not_valid_before_utc:
        return f"the certificate is not valid before {leaf.not_valid_before_utc:%Y-%m-%d}"
    purposes = _purposes(leaf)
    if purposes and "serverAuth" not in purposes and "clientAuth" not in purposes:
        return "the certificate is for another purpose than TLS"
    match leaf.public_key():
        case dsa.DSAPublicKey():
            return "the certificate has a DSA key"
        case rsa.RSAPublicKey() as key if key.key_size < _SMALLEST_RSA:
            return f"the certificate's RSA key is smaller than {_SMALLEST_RSA} bits"
        case _:
            return ""


def _why(trouble: str) -> str:
    """The verifier's words for people."""
    text = _DETAILS.sub("", trouble).removeprefix("validation failed: ").removeprefix("candidates exhausted: ").strip()
    if "no interior errors" in text:
        return NO_PATH
    if "not valid at validation time" in text:
        return "a CA certificate of the chain has expired or is not valid yet"
    return _printable(text) or "the chain does not verify"


def _signs_certificates(
    policy: verification.Policy, certificate: x509.Certificate, usage: x509.KeyUsage | None
) -> None:
    """Private CAs often leave the key usage out, which permits everything (RFC 5280 4.2.1.3)."""
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("a CA certificate of the chain may not sign certificates")


_ANY_CRITICALITY = verification.Criticality.AGNOSTIC
_PLAIN = verification.Criticality.NON_CRITICAL
# The key identifiers help to find the issuer and prove nothing (RFC 5280 4.2.1.1, 4.2.1.2); openssl before 3.2 leaves
# them out of what it signs, and so do many private CAs.
_CA_POLICY = (
    verification.ExtensionPolicy.webpki_defaults_ca()
    .may_be_present(x509.KeyUsage, _ANY_CRITICALITY, _signs_certificates)
    .may_be_present(x509.SubjectKeyIdentifier, _PLAIN, None)
)
_LEAF_POLICY = (
    verification.ExtensionPolicy.webpki_defaults_ee()
    .may_be_present(x509.AuthorityKeyIdentifier, _PLAIN, None)
    .may_be_present(x509.ExtendedKeyUsage, _ANY_CRITICALITY, None)
    .may_be_present(x509.SubjectAlternativeName, _ANY_CRITICALITY, None)
)
_DETAILS = re.compile(r"\(encountered processing <Certificate\(.*", re.DOTALL)


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
