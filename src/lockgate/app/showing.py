"""Which certificate files the listeners show, and in which order."""

from __future__ import annotations

from collections.abc import Sequence

from lockgate.app.config import OperatorFile
from lockgate.edge.certificates import Certificates
from lockgate.edge.shown import CertificateFiles
from lockgate.flow.renewal import Wanted, wanted
from lockgate.policy.policy import Policy
from lockgate.seams import Journal
from lockgate.storage.acme_files import AcmeFiles

_STS = "mta-sts."


def wanted_of(config: OperatorFile, policy: Policy, *, rehearsal: bool = False) -> tuple[Wanted, ...]:
    """The certificates to be ordered; none without an authority, unless it is a rehearsal."""
    acme = config.acme
    if acme.directory is None and not rehearsal:
        return ()
    sts: list[str] = []
    if acme.mta_sts:
        domains = [one for mine in policy.organisations.values() for one in mine.accepted if one.receives]
        sts = [f"{_STS}{one.domain_name}" for one in domains if "*" not in one.domain_name]
    return wanted(config.hostname, acme.names, acme.key_types, sts)


def certificate_files(config: OperatorFile) -> tuple[CertificateFiles, ...]:
    """All there are now: ours that was ordered, those of the operator's file, then those ordered for other names.

    So a self-signed one of the first day gives way to what the authority has given, and is there until it has.
    """
    own = [
        CertificateFiles(str(one.chain), str(one.key), str(one.intermediates or "")) for one in config.certificate
    ]
    if config.acme.directory is None:
        return tuple(own)
    files = AcmeFiles(config.acme_directory)
    ours = [str(files.certificate_file(f"{config.hostname}.{kind}")) for kind in config.acme.key_types]
    there = [str(path) for path in files.certificates()]
    first = [_ordered(name) for name in ours if name in there]
    return (*first, *own, *[_ordered(name) for name in there if name not in ours])


def _ordered(file: str) -> CertificateFiles:
    return CertificateFiles(file, file, awaited=True)


def certificates_of(config: OperatorFile, journal: Journal) -> Certificates:
    """The certificates that one worker shows."""

    def listed() -> Sequence[CertificateFiles]:
        return certificate_files(config)

    return Certificates(listed(), journal, listed if config.acme.directory else None)
