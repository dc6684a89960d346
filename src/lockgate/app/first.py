"""A new installation on disk: documents written, a certificate made, revision 1 published; or nothing at all."""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from lockgate.app.clock import SystemClock
from lockgate.app.config import parse_config
from lockgate.app.policies import Policies
from lockgate.policy.compile import compile_policy
from lockgate.storage.audits import AuditBook, AuditRow

CERTIFICATE_DAYS = 397
"""Life of a certificate made here: renewed by a person once a year, or replaced by a public one."""


class AlreadyThere(FileExistsError):
    """There is an installation in the folder already; the message names what was found."""


def begin(folder: Path, files: Mapping[str, str], hostname: str) -> int:
    """Make the installation; the number of its first revision.

    Every document is checked before anything is written, and nothing that exists is overwritten. Raises Invalid,
    AlreadyThere, OSError.
    """
    tls = {f"tls/{hostname}.pem", f"tls/{hostname}.key"}
    if there := sorted(name for name in {*files, *tls} if (folder / name).exists()):
        raise AlreadyThere(f"{folder} holds an installation already ({', '.join(there)}); nothing was changed")
    config_path = folder / "lockgate.toml"
    config = parse_config(files["lockgate.toml"], config_path)
    documents = {
        name.removeprefix("policy/"): text for name, text in files.items() if name.startswith("policy/")
    }
    compile_policy(documents, hostname=hostname, revision=1, keeps_mailboxes=config.mailboxes.kept)
    certificate, key = self_signed(hostname, SystemClock().now())
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        _write(folder / name, text.encode())
    _write(folder / "tls" / f"{hostname}.pem", certificate)
    _write(folder / "tls" / f"{hostname}.key", key, mode=0o600)
    config.state_directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    if config.mailboxes.directory is not None:
        config.mailboxes.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
    folder = config.state_directory / "policy"
    policies = Policies(folder, hostname, config.policy_directory, keeps_mailboxes=config.mailboxes.kept)
    now = SystemClock().now()
    revision, policy = policies.publish(config.policy_directory, by="init", at=now, reason="a new installation")
    told = {"revision": revision.number, "digest": policy.digest}
    row = AuditRow(now, f"{os.getuid()} init", "init", after=revision.number, details=told)
    AuditBook(config.state_directory).add(row)
    return revision.number


def _write(path: Path, data: bytes, mode: int = 0o644) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    with os.fdopen(handle, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def self_signed(hostname: str, now: float) -> tuple[bytes, bytes]:
    """A certificate for the name that nobody but ourselves vouches for, and its key, both PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, hostname[:64])])
    begins = dt.datetime.fromtimestamp(now, dt.UTC) - dt.timedelta(hours=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(begins)
        .not_valid_after(begins + dt.timedelta(days=CERTIFICATE_DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(hostname)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    secret = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return certificate.public_bytes(Encoding.PEM), secret
