"""Files of CA certificates as they are found on real machines."""

from __future__ import annotations

import base64
import datetime as dt
import warnings

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from lockgate.wire.certificates import read_store


def bundle_root(serial_tampered: bool) -> bytes:
    """A root as PEM; with its serial number (one octet here) set to zero if that is wished."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a root")])
    now = dt.datetime.now(dt.UTC)
    root = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key()).serial_number(0x55)
        .not_valid_before(now).not_valid_after(now + dt.timedelta(days=9)).sign(key, hashes.SHA256())
    )  # fmt: skip
    der = root.public_bytes(Encoding.DER)
    if serial_tampered:
        der = der.replace(b"\x02\x01\x55", b"\x02\x01\x00", 1)
    return b"-----BEGIN CERTIFICATE-----\n" + base64.encodebytes(der) + b"-----END CERTIFICATE-----\n"


def test_a_root_without_a_proper_serial_number_costs_nobody_the_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    """cryptography warns of such roots today and will refuse them."""
    bundle = b"# a bundle\n" + bundle_root(False) + bundle_root(True) + bundle_root(False)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert len(read_store(bundle).roots) in (2, 3)

    load = x509.load_pem_x509_certificate

    def strict(pem: bytes) -> x509.Certificate:
        certificate = load(pem)
        if certificate.serial_number <= 0:
            raise ValueError("Parsed a serial number which wasn't positive")
        return certificate

    monkeypatch.setattr(x509, "load_pem_x509_certificate", strict)
    assert len(read_store(bundle).roots) == 2


GOOD = bundle_root(False)
DAMAGED = [b"", b"no certificate", GOOD + GOOD[:-30], GOOD + GOOD.replace(b"MII", b"MI", 1)]


@pytest.mark.parametrize("bundle", DAMAGED, ids=["empty", "text", "cut off", "octets missing"])
def test_a_damaged_bundle_is_told(bundle: bytes) -> None:
    with pytest.raises(ValueError, match=r".+"):
        read_store(bundle)
