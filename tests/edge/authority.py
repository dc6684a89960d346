"""Certificates made for one test run: good ones and every odd kind that honest senders present."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

DAY = dt.timedelta(days=1)
SERVER, CLIENT, EMAIL = (
    ExtendedKeyUsageOID.SERVER_AUTH,
    ExtendedKeyUsageOID.CLIENT_AUTH,
    ExtendedKeyUsageOID.EMAIL_PROTECTION,
)


@dataclass
class Identity:
    """A certificate with its key and the certificates sent with it."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    others: list[x509.Certificate] = field(default_factory=list)

    @property
    def chain_pem(self) -> bytes:
        return b"".join(c.public_bytes(Encoding.PEM) for c in (self.certificate, *self.others))

    @property
    def key_pem(self) -> bytes:
        return self.key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())

    @property
    def der_chain(self) -> list[bytes]:
        return [c.public_bytes(Encoding.DER) for c in (self.certificate, *self.others)]

    def write(self, folder: Path, name: str) -> tuple[str, str]:
        chain, key = folder / f"{name}.pem", folder / f"{name}.key"
        chain.write_bytes(self.chain_pem)
        key.write_bytes(self.key_pem)
        return str(chain), str(key)


def make(
    common_name: str,
    names: list[str] | None = None,
    *,
    issuer: Identity | None = None,
    ca: bool = False,
    purposes: list[x509.ObjectIdentifier] | None = None,
    start: dt.timedelta = -DAY,
    end: dt.timedelta = DAY,
    small: bool = False,
    rsa_key: bool = False,
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey | None = None,
) -> Identity:
    if key is None and (small or rsa_key):
        key = rsa.generate_private_key(65537, 1024 if small else 2048)
    key = key or ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    now = dt.datetime.now(dt.UTC)
    signer = issuer.key if issuer else key
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer.certificate.subject if issuer else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + start)
        .not_valid_after(now + end)
        .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(signer.public_key()), critical=False)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(n) for n in names]), critical=False)
    if purposes:
        builder = builder.add_extension(x509.ExtendedKeyUsage(purposes), critical=False)
    certificate = builder.sign(signer, hashes.SHA256())
    others = [] if issuer is None or issuer.certificate.issuer == issuer.certificate.subject else [issuer.certificate]
    others += issuer.others if issuer else []
    return Identity(certificate, key, others)


def long_chain(root: Identity, length: int, name: str) -> Identity:
    issuer = root
    for number in range(length):
        issuer = make(f"Intermediate {number}", issuer=issuer, ca=True)
    return make(name, [name], issuer=issuer)
