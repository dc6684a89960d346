"""Certificates of the demonstration: an authority that lives as long as its folder, and what it vouches for."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

_FROM, _UNTIL = dt.datetime(2020, 1, 1, tzinfo=dt.UTC), dt.datetime(2099, 12, 31, tzinfo=dt.UTC)
"""Fixed, so that a machine whose clock is wrong can show the demonstration too."""


class Authority:
    """Signs certificates into one folder; its own certificate is `authority.pem` there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = _named("Authority of the demonstration")
        self.file = folder / "authority.pem"
        self.file.write_bytes(_pem(self._begin(self._name, self._key, ca=True).sign(self._key, hashes.SHA256())))

    def issue(self, name: str) -> Path:
        """A certificate for this host name: the path of NAME.pem; its key is beside it in NAME.key."""
        key = ec.generate_private_key(ec.SECP256R1())
        builder = self._begin(_named(name), key, ca=False)
        builder = builder.add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        chain = self._folder / f"{name}.pem"
        chain.write_bytes(_pem(builder.sign(self._key, hashes.SHA256())))
        secret = chain.with_suffix(".key")
        secret.touch(0o600)
        secret.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
        return chain

    def _begin(self, name: x509.Name, key: ec.EllipticCurvePrivateKey, *, ca: bool) -> x509.CertificateBuilder:
        builder = x509.CertificateBuilder().subject_name(name).issuer_name(self._name).public_key(key.public_key())
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(_FROM).not_valid_after(_UNTIL)
        return builder.add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)


def _named(name: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(Encoding.PEM)
