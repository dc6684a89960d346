"""The operator's file on our certificates: those that lie in files, and those that are ordered by ACME (RFC 8555)."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from lockgate.app.config_kinds import Hostname, IpAddress, Mailbox, Port, Reference, Section
from lockgate.app.units import Duration

EXTRA = "pip install 'lockgate[acme]'"
"""What installs the client of ACME."""


def _directory(text: str) -> str:
    try:
        parts = urlsplit(text)
        good = parts.scheme == "https" and parts.hostname and not parts.username and parts.port != 0
    except ValueError:
        good = False
    if not good:
        raise ValueError("write the https:// address of the authority's ACME directory, without a login in it")
    return text


DirectoryUrl = Annotated[str, AfterValidator(_directory)]


class CertificateFiles(Section):
    """A certificate we show, chosen by the name the peer asks for; the first one is shown to all others."""

    chain: Path = Field(strict=False, description="PEM file: our certificate, then the intermediate ones")
    key: Path = Field(strict=False, description="PEM file: its private key, not encrypted; may be the same file")
    intermediates: Path | None = Field(
        None, strict=False, description="PEM file: intermediate certificates that `chain` does not hold"
    )

    @property
    def files(self) -> tuple[Path, ...]:
        """All files that are read."""
        return (self.chain, self.key) if self.intermediates is None else (self.chain, self.key, self.intermediates)


class ChallengeListener(Section):
    """Where the authority looks for its token by HTTP; open only while a certificate is being ordered."""

    address: IpAddress = Field("0.0.0.0", description="Address to listen on")
    port: Port = Field(80, gt=0, description="Port; the authority always comes to port 80 of the name")


class ExternalAccount(Section):
    """What some authorities hand out to bind an account to a customer (RFC 8555 7.3.4)."""

    key_id: str = Field(min_length=1, description="Identifier of the key")
    secret: Reference = Field(min_length=1, description="Reference of the key, base64url as the authority gave it")


class Acme(Section):
    """Certificates ordered from an authority and renewed in time. Without `directory` nothing is ordered."""

    directory: DirectoryUrl | None = Field(None, description="Address of the authority's ACME directory")
    contact: tuple[Mailbox, ...] = Field((), strict=False, description="Addresses the authority may write to")
    terms_agreed: bool = Field(default=False, description="You agree to the terms of service of the authority")
    names: tuple[Hostname, ...] = Field(
        (), strict=False, description="Further names in our certificate; the hostname is always in it"
    )
    mta_sts: bool = Field(
        default=False, description="Also a certificate for mta-sts.DOMAIN of every accepted domain, one for each"
    )
    key_types: tuple[Literal["ecdsa", "rsa"], ...] = Field(
        ("ecdsa", "rsa"), strict=False, min_length=1, description="A certificate for each of these kinds of key"
    )
    reuse_key: bool = Field(
        default=False, description="Keep the private key at renewal, so that TLSA records of it stay right"
    )
    ca_file: Path | None = Field(None, strict=False, description="Authorities for `directory`; unset: public ones")
    external_account: ExternalAccount | None = None
    listener: tuple[ChallengeListener, ...] = Field((ChallengeListener(),), strict=False, min_length=1)
    timeout: Duration = Field(120.0, gt=0, le=600, description="How long one order may take; at most 10m")

    @model_validator(mode="after")
    def _can_order(self) -> Self:
        if self.directory is None:
            return self
        if not self.terms_agreed:
            raise ValueError(
                "read the terms of service of the authority, then write terms_agreed = true: without that it gives "
                "no certificate"
            )
        if importlib.util.find_spec("acme") is None:
            raise ValueError(f"the client of ACME is not installed: {EXTRA}")
        return self
