"""A certificate authority of this test run: certificates good and bad, made on the spot, never stored in the source."""

from __future__ import annotations

import datetime as dt
import ssl
import uuid
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

PURPOSES = {
    "server": ExtendedKeyUsageOID.SERVER_AUTH,
    "client": ExtendedKeyUsageOID.CLIENT_AUTH,
    "mail": ExtendedKeyUsageOID.EMAIL_PROTECTION,
}


@dataclass(frozen=True)
class Papers:
    """A certificate and its key as files (`chain` holds the certificate first), and the pin of the key."""

    chain: Path
    key: Path
    pin: str
    certificate: x509.Certificate

    def server_context(self, minimum: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2) -> ssl.SSLContext:
        """For a server of the tests."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = minimum
        context.load_cert_chain(self.chain, self.key)
        return context


class Authority:
    """One CA in one folder: a root, or one that another signs (`under`), which then stands in the chains it issues."""

    def __init__(self, folder: Path, name: str = "Test CA", *, under: Authority | None = None) -> None:
        self._folder = folder
        self._files = uuid.uuid4().hex[:12]  # several authorities may share the folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        above = (self._name, self._key) if under is None else (under._name, under._key)
        self.certificate = self._sign(self._name, self._key, above[0], (), ("server",), ca=True, by=above[1])
        self._above = [] if under is None else [self, *under._above]
        self.file = folder / f"{name.replace(' ', '-').lower()}.pem"
        self.file.write_bytes(self.certificate.public_bytes(Encoding.PEM))
        self._count = 0

    def issue(
        self,
        *names: str,
        expired: bool = False,
        early: bool = False,
        self_signed: bool = False,
        purposes: tuple[str, ...] = ("server", "client"),
        common_name: str = "",
        alone: bool = False,
        root: bool = False,
    ) -> Papers:
        """A certificate for these DNS names, as wrong as asked for; `alone`: the chain lacks the intermediates.

        With `root` the chain goes on to this CA's own certificate, as a trust anchor of DANE needs it.
        """
        self._count += 1
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name or (names[0] if names else "nobody"))])
        issuer_key, issuer = (key, subject) if self_signed else (self._key, self._name)
        certificate = self._sign(subject, key, issuer, names, purposes, by=issuer_key, expired=expired, early=early)
        chain = self._folder / f"{self._files}-{self._count}.pem"
        above = [] if alone else self._above or ([self] if root else [])
        whole = [certificate, *[one.certificate for one in above]]
        chain.write_bytes(b"".join(one.public_bytes(Encoding.PEM) for one in whole))
        key_file = chain.with_suffix(".key")
        key_file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        digest = hashes.Hash(hashes.SHA256())
        digest.update(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
        return Papers(chain, key_file, digest.finalize().hex(), certificate)

    def revoke(self, *papers: Papers, until: dt.datetime | None = None) -> Path:
        """A revocation list that names these certificates; the next one is due in a week, or then."""
        now = dt.datetime.now(dt.UTC)
        builder = x509.CertificateRevocationListBuilder().issuer_name(self._name)
        builder = builder.last_update(now - dt.timedelta(days=1)).next_update(until or now + dt.timedelta(days=7))
        for one in papers:
            serial = x509.RevokedCertificateBuilder().serial_number(one.certificate.serial_number)
            builder = builder.add_revoked_certificate(serial.revocation_date(now - dt.timedelta(hours=1)).build())
        file = self._folder / f"{self._files}-revoked.pem"
        file.write_bytes(builder.sign(self._key, hashes.SHA256()).public_bytes(Encoding.PEM))
        return file

    def _sign(
        self,
        subject: x509.Name,
        key: ec.EllipticCurvePrivateKey,
        issuer: x509.Name,
        names: tuple[str, ...],
        purposes: tuple[str, ...],
        *,
        by: ec.EllipticCurvePrivateKey | None = None,
        ca: bool = False,
        expired: bool = False,
        early: bool = False,
    ) -> x509.Certificate:
        now = dt.datetime.now(dt.UTC)
        start = now + dt.timedelta(days=1) if early else now - dt.timedelta(days=30)
        end = now - dt.timedelta(days=1) if expired else now + dt.timedelta(days=30)
        builder = x509.CertificateBuilder().subject_name(subject).issuer_name(issuer).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number()).not_valid_before(start).not_valid_after(end)
        builder = builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
        if names:
            san = x509.SubjectAlternativeName([x509.DNSName(name) for name in names])
            builder = builder.add_extension(san, critical=False)
        if purposes and not ca:
            usage = x509.ExtendedKeyUsage([PURPOSES[purpose] for purpose in purposes])
            builder = builder.add_extension(usage, critical=False)
        return builder.sign(by or self._key, hashes.SHA256())
