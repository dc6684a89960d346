"""Connectors: own servers and partners, what they owe us (specification 1.1) and how mail leaves to them (1.2)."""

from __future__ import annotations

import enum
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, Field

from lockgate.mail.ruling import TlsLevel
from lockgate.policy.spelling import (
    CertificateName,
    Comment,
    DomainName,
    DomainPattern,
    FilePath,
    IPv4Text,
    IPv6Text,
    MailboxText,
    NetworkText,
    ObjectName,
    Pin,
    SecretReference,
    Size,
    SmartHost,
)


class ConnectorType(enum.StrEnum):
    """Whose servers are at the other end: somebody else's, or the organisation's own."""

    PARTNER = "partner"
    ON_PREMISES = "on_premises"


class ConnectorSource(enum.StrEnum):
    """Where the connector came from; provenance only."""

    DEFAULT = "default"
    HYBRID_WIZARD = "hybrid_wizard"
    MIGRATED = "migrated"
    ADMIN_UI = "admin_ui"


class InboundConnector(BaseModel, frozen=True, extra="forbid"):
    """Mail that arrives from somewhere the organisation identifies.

    A partner connector can only add conditions; an on-premises connector may give the rights of an own server.
    """

    name: ObjectName = Field(description="Name, unique among the organisation's inbound connectors", examples=["Bank"])
    organisation: ObjectName = Field(
        description="Whose connector it is; may be left out when there is one organisation", examples=["contoso"]
    )
    connector_type: ConnectorType = Field(
        ConnectorType.PARTNER, description="partner or on_premises (own servers)", examples=["on_premises"]
    )
    sender_domains: tuple[DomainPattern, ...] = Field(
        (),
        description="Sender domains the connector is about; *.x covers x and all below it, * covers <> too",
        examples=[["contosobank.com", "*.contosobank.com"]],
    )
    associated_accepted_domains: tuple[DomainName, ...] = Field(
        (), description="Only for mail to these accepted domains; empty means all", examples=[["contoso.com"]]
    )
    sender_ip_addresses: tuple[NetworkText, ...] = Field(
        (), description="Addresses, networks or ranges of the senders", examples=[["203.0.113.0/24"]]
    )
    tls_sender_certificate_name: CertificateName | None = Field(
        None, description="Name in the client certificate; *.x covers x and any depth", examples=["*.contoso.com"]
    )
    require_tls: bool = Field(default=True, description="Partner only: refuse its mail in plain text", examples=[False])
    restrict_domains_to_ip_addresses: bool = Field(
        default=False, description="Partner only: refuse its mail from any other address", examples=[True]
    )
    restrict_domains_to_certificate: bool = Field(
        default=False, description="Partner only: refuse its mail without its certificate", examples=[True]
    )
    cloud_services_mail_enabled: bool = Field(
        default=False, description="Trust internal headers of the other side of a hybrid", examples=[True]
    )
    treat_messages_as_internal: bool = Field(
        default=False, description="On-premises only: mail of own domains over it is internal", examples=[True]
    )
    trusted_organizations: tuple[ObjectName, ...] = Field(
        (),
        description="Organisations of this installation whose mail is taken, whatever other partner connectors demand",
        examples=[["fabrikam"]],
    )
    ef_skip_last_ip: bool = Field(default=False, description="Enhanced filtering: skip the last hop", examples=[True])
    ef_skip_ips: tuple[NetworkText, ...] = Field(
        (), description="Enhanced filtering: skip hops in this list", examples=[["198.51.100.0/24"]]
    )
    ef_users: tuple[MailboxText, ...] = Field(
        (), description="Enhanced filtering: only for these recipients; empty means all", examples=[["ana@contoso.com"]]
    )
    allow_common_name: bool = Field(
        default=False, description="Let the subject's common name count when there is no SAN", examples=[True]
    )
    ca_file: FilePath | None = Field(
        None, description="Certificates are checked against this file, not the public CAs", examples=["/etc/ca.pem"]
    )
    pinned_keys: tuple[Pin, ...] = Field(
        (), description="SHA-256 of public keys (SPKI) that are good without a CA", examples=[["ab" * 32]]
    )
    relay_null_sender: bool = Field(
        default=True, description="On-premises only: may relay mail of the null sender (reports)", examples=[False]
    )
    bare_newlines: Literal["refuse", "normalise"] = Field(
        "refuse", description="What happens to bare line feeds of old devices", examples=["normalise"]
    )
    enabled: bool = Field(default=True, description="Whether the connector acts", examples=[False])
    comment: Comment = Field("", description="Note for people", examples=["forced TLS by contract"])
    admin_display_name: str = Field("", max_length=255, description="Note for people", examples=["the bank"])
    connector_source: ConnectorSource = Field(
        ConnectorSource.DEFAULT, description="Provenance", examples=["hybrid_wizard"]
    )
    ef_test_mode: bool = Field(default=False, description="Carried through on import and export", examples=[True])
    ef_skip_mail_gateway: tuple[str, ...] = Field(
        (), description="Carried through on import and export", examples=[["gateway"]]
    )
    scan_and_drop_recipients: tuple[str, ...] = Field(
        (), description="Carried through on import and export", examples=[["test@contoso.com"]]
    )
    client_host_names: tuple[str, ...] = Field(
        (), description="Carried through on import and export", examples=[["mail.contoso.com"]]
    )

    @property
    def on_premises(self) -> bool:
        """Whether it stands for the organisation's own servers."""
        return self.connector_type is ConnectorType.ON_PREMISES

    def __hash__(self) -> int:
        # Stages put connectors into sets for every message; hashing all fields each time would be slow.
        return hash((self.organisation, self.name))


class OutboundConnector(BaseModel, frozen=True, extra="forbid"):
    """How mail leaves to somewhere the organisation identifies."""

    name: ObjectName = Field(description="Name, unique among the organisation's outbound connectors", examples=["HQ"])
    organisation: ObjectName = Field(
        description="Whose connector it is; may be left out when there is one organisation", examples=["contoso"]
    )
    connector_type: ConnectorType = Field(
        ConnectorType.PARTNER, description="partner or on_premises (own servers)", examples=["on_premises"]
    )
    recipient_domains: tuple[DomainPattern, ...] = Field(
        (),
        description="Recipient domains it is for; *.x covers names below x, * everything",
        examples=[["contoso.com", "*.contoso.com"]],
    )
    all_accepted_domains: bool = Field(
        default=False, description="On-premises only: for every accepted domain", examples=[True]
    )
    is_transport_rule_scoped: bool = Field(
        default=False, description="Only used when a mail flow rule names it", examples=[True]
    )
    use_mx_record: bool = Field(default=True, description="Next hop by MX; otherwise by smart hosts", examples=[False])
    smart_hosts: tuple[SmartHost, ...] = Field(
        (),
        description="Next hops by name or address, with a port if it is not 25",
        examples=[["mail.contoso.com", "192.0.2.25:2525", "[2001:db8::25]:25"]],
    )
    tls_settings: TlsLevel = Field(
        TlsLevel.OPPORTUNISTIC, description="What TLS must be like before mail leaves", examples=["domain_validation"]
    )
    tls_domain: CertificateName | None = Field(
        None, description="Name checked with domain_validation; *.x covers x and any depth", examples=["*.contoso.com"]
    )
    route_all_messages_via_on_premises: bool = Field(
        default=False, description="On-premises only: all mail leaves by this connector", examples=[True]
    )
    cloud_services_mail_enabled: bool = Field(
        default=False, description="Preserve internal headers for the other side of a hybrid", examples=[True]
    )
    sender_rewriting_enabled: bool = Field(
        default=False, description="On-premises only: rewrite senders of forwarded mail", examples=[True]
    )
    smtp_dane_mode: Literal["opportunistic", "mandatory", "none"] = Field(
        "opportunistic", description="Use of DANE", examples=["mandatory"]
    )
    mta_sts_mode: Literal["opportunistic", "none"] = Field(
        "opportunistic", description="Use of MTA-STS", examples=["none"]
    )
    test_mode: bool = Field(default=False, description="Carried through on import and export", examples=[True])
    ca_file: FilePath | None = Field(
        None, description="Certificates are checked against this file, not the public CAs", examples=["/etc/ca.pem"]
    )
    pinned_keys: tuple[Pin, ...] = Field(
        (), description="SHA-256 of public keys (SPKI) that are good without a CA", examples=[["ab" * 32]]
    )
    certificate_file: FilePath | None = Field(
        None, description="Our client certificate, presented when asked", examples=["/etc/lockgate/client.pem"]
    )
    key_file: FilePath | None = Field(
        None, description="Private key of our client certificate", examples=["/etc/lockgate/client.key"]
    )
    source_address_v4: IPv4Text | None = Field(
        None, description="Local IPv4 address to connect from", examples=["192.0.2.1"]
    )
    source_address_v6: IPv6Text | None = Field(
        None, description="Local IPv6 address to connect from", examples=["2001:db8::1"]
    )
    helo_name: DomainName | None = Field(None, description="Name we say in EHLO", examples=["out.contoso.com"])
    address_family: Literal["any", "ipv4", "ipv6"] = Field(
        "any", description="Which addresses of the next hop are dialled", examples=["ipv4"]
    )
    concurrency: int = Field(20, ge=1, le=1000, description="Most connections of one worker", examples=[5])
    rate_per_minute: int = Field(
        0, ge=0, le=1_000_000, description="Most messages a minute; 0 is no bound", examples=[60]
    )
    size_limit: Size = Field(0, ge=0, description="Largest message in octets; 0 is no bound", examples=["25MB"])
    cost: int = Field(1, ge=1, le=100, description="Of two equal connectors the cheaper one is taken", examples=[10])
    login_user: str | None = Field(
        None, min_length=1, max_length=255, description="User name for the smart host", examples=["relay"]
    )
    login_secret: SecretReference | None = Field(
        None, description="Where the password is kept", examples=["file:/etc/lockgate/relay.secret"]
    )
    enabled: bool = Field(default=True, description="Whether the connector is used", examples=[False])
    comment: Comment = Field("", description="Note for people", examples=["to the head office"])
    admin_display_name: str = Field("", max_length=255, description="Note for people", examples=["head office"])
    connector_source: ConnectorSource = Field(
        ConnectorSource.DEFAULT, description="Provenance", examples=["hybrid_wizard"]
    )
    link_for_modified_connector: str = Field(
        "", description="Carried through on import and export", examples=["00000000-0000-0000-0000-000000000000"]
    )
    is_validated: bool = Field(
        default=False,
        description="Imported: whether it was validated elsewhere; shown until `connector validate` has tried it here",
        examples=[True],
    )
    last_validation_timestamp: datetime | None = Field(
        None,
        description="Imported: when it was validated elsewhere; shown until it was tried here",
        examples=["2026-03-01T10:00:00Z"],
    )
    validation_recipients: tuple[MailboxText, ...] = Field(
        (),
        description="Whom `connector validate` sends its test message to, if nobody is named",
        examples=[["ana@contoso.com"]],
    )

    @property
    def on_premises(self) -> bool:
        """Whether it leads to the organisation's own servers."""
        return self.connector_type is ConnectorType.ON_PREMISES

    def __hash__(self) -> int:
        # Stages put connectors into sets for every message; hashing all fields each time would be slow.
        return hash((self.organisation, self.name))
