"""Mailbox stores: where the mailboxes of an organisation lie (specification 1.6 "Mailbox", 2.1 S11)."""

from __future__ import annotations

import enum

from pydantic import BaseModel, Field

from lockgate.mail.ruling import TlsLevel
from lockgate.policy.spelling import CertificateName, Comment, FilePath, ObjectName, Pin, StoreAddress


class StoreKind(enum.StrEnum):
    """How a store takes mail: by LMTP (RFC 2033), or as a Maildir below the operator's directory."""

    LMTP = "lmtp"
    MAILDIR = "maildir"


class MailboxStore(BaseModel, frozen=True, extra="forbid"):
    """Where mail for the organisation's mailboxes goes. Without one it goes where the operator's file says."""

    name: ObjectName = Field(description="Name, unique among the organisation's stores", examples=["Dovecot"])
    organisation: ObjectName = Field(
        description="Whose store it is; may be left out when there is one organisation", examples=["contoso"]
    )
    kind: StoreKind = Field(description="lmtp, or maildir (below the operator's directory)", examples=["lmtp"])
    servers: tuple[StoreAddress, ...] = Field(
        (),
        description="Servers that take LMTP: name:port, address:port, or unix:/path if the operator's file lists it",
        examples=[["store1.contoso.com:24", "192.0.2.7:24", "[2001:db8::7]:24", "unix:/run/dovecot/lmtp"]],
    )
    tls_settings: TlsLevel = Field(
        TlsLevel.OPPORTUNISTIC, description="What TLS must be like before mail leaves", examples=["domain_validation"]
    )
    tls_domain: CertificateName | None = Field(
        None, description="Name checked with domain_validation; *.x covers x and any depth", examples=["*.contoso.com"]
    )
    ca_file: FilePath | None = Field(
        None, description="Certificates are checked against this file, not the public CAs", examples=["/etc/ca.pem"]
    )
    pinned_keys: tuple[Pin, ...] = Field(
        (), description="SHA-256 of public keys (SPKI) that are good without a CA", examples=[["ab" * 32]]
    )
    concurrency: int = Field(20, ge=1, le=1000, description="Most deliveries at once of one worker", examples=[5])
    enabled: bool = Field(
        default=True, description="Whether it takes mail; while it does not, mail waits", examples=[False]
    )
    comment: Comment = Field("", description="Note for people", examples=["the new machine"])
