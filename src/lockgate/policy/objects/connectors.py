"""Connectors: partners and own servers, and the TLS they owe (specification 1.1 and 1.2)."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from lockgate.mail.ruling import TlsLevel
from lockgate.policy.spelling import (
    DOCUMENT,
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

ConnectorType = Literal["partner", "on_premises"]
ConnectorSource = Literal["default", "hybrid_wizard", "migrated", "admin_ui"]
Patterns = tuple[DomainPattern, ...]
Pins = tuple[Pin, ...]


class InboundConnector(BaseModel):
    """Mail that arrives from somewhere the organisation identifies.

    `on_premises` are its own servers and give rights; `partner` is somebody else and only adds restrictions.
    """

    model_config = DOCUMENT

    name: ObjectName = Field(description="What the connector is called", examples=["From HQ"])
    organisation: ObjectName = Field("", description="Whose it is; may be left out where there is one organisation")
    connector_type: ConnectorType = Field("partner", description="Own servers or somebody else's")
    sender_domains: Patterns = Field(("*",), min_length=1, description="Sender domains it is about; `*.x` covers x too")
    associated_accepted_domains: tuple[DomainName, ...] = Field((), description="Only mail to these; empty: to all")
    sender_ip_addresses: tuple[NetworkText, ...] = Field((), description="Addresses, ranges a-b, or networks")
    tls_sender_certificate_name: CertificateName | None = Field(None, description="Name in the client certificate")
    require_tls: bool = Field(True, description="Refuse matching mail that is not encrypted; partner only")
    restrict_domains_to_ip_addresses: bool = Field(False, description="Refuse other addresses; partner only")
    restrict_domains_to_certificate: bool = Field(False, description="Refuse other certificates; partner only")
    cloud_services_mail_enabled: bool = Field(False, description="Promote the other side's internal headers")
    treat_messages_as_internal: bool = Field(False, description="Mail of accepted domains is internal")
    trusted_organizations: tuple[ObjectName, ...] = Field((), description="Other organisations trusted as own")
    ef_skip_last_ip: bool = Field(False, description="Look one hop behind the peer for the true source")
    ef_skip_ips: tuple[NetworkText, ...] = Field((), description="Hops to look behind for the true source")
    ef_users: tuple[MailboxText, ...] = Field((), description="Recipients for whom that is done; empty: all")
    ef_test_mode: bool = Field(False, description="Carried through")
    ef_skip_mail_gateway: tuple[str, ...] = Field((), description="Carried through")
    scan_and_drop_recipients: tuple[str, ...] = Field((), description="Carried through")
    client_host_names: tuple[str, ...] = Field((), description="Carried through")
    allow_common_name: bool = Field(False, description="Look at the certificate's common name too; against advice")
    ca_file: FilePath | None = Field(None, description="PEM file of the only authorities believed")
    pinned_keys: Pins = Field((), description="SHA-256 of the public keys believed, for self-signed certificates")
    relay_null_sender: bool = Field(True, description="Own servers may relay mail with the null sender")
    bare_newlines: Literal["refuse", "normalise"] = Field("refuse", description="For old devices: repair line ends")
    connector_source: ConnectorSource = Field("default", description="Provenance only")
    enabled: bool = Field(True, description="Whether it counts")
    admin_display_name: str = Field("", max_length=255, description="For people")
    comment: Comment = Field("", description="For people")


class OutboundConnector(BaseModel):
    """Mail that leaves by a way the organisation has chosen."""

    model_config = DOCUMENT

    name: ObjectName = Field(description="What the connector is called", examples=["To HQ"])
    organisation: ObjectName = Field("", description="Whose it is; may be left out where there is one organisation")
    connector_type: ConnectorType = Field("partner", description="Own servers or somebody else's")
    recipient_domains: Patterns = Field((), description="Recipient domains; `*.x` covers names below x")
    all_accepted_domains: bool = Field(False, description="All accepted domains; on_premises only")
    is_transport_rule_scoped: bool = Field(False, description="Used only by a mail flow rule that names it")
    use_mx_record: bool = Field(True, description="Next hop by MX; otherwise smart_hosts")
    smart_hosts: tuple[SmartHost, ...] = Field((), description="Names or addresses, with :port if it is not 25")
    tls_settings: TlsLevel = Field(TlsLevel.OPPORTUNISTIC, description="The least TLS that will do")
    tls_domain: CertificateName | None = Field(None, description="Name to find in the certificate")
    route_all_messages_via_on_premises: bool = Field(False, description="All mail leaves by it; on_premises only")
    cloud_services_mail_enabled: bool = Field(False, description="Keep internal headers for the other side")
    sender_rewriting_enabled: bool = Field(False, description="Rewrite forwarded senders (SRS); on_premises only")
    smtp_dane_mode: Literal["opportunistic", "mandatory", "none"] = Field("opportunistic", description="DANE")
    mta_sts_mode: Literal["opportunistic", "none"] = Field("opportunistic", description="MTA-STS")
    test_mode: bool = Field(False, description="Carried through")
    enabled: bool = Field(True, description="Whether it is chosen")
    connector_source: ConnectorSource = Field("default", description="Provenance only")
    link_for_modified_connector: str = Field("", max_length=64, description="Carried through")
    is_validated: bool = Field(False, description="Written by validation")
    last_validation_timestamp: dt.datetime | None = Field(None, description="Written by validation")
    validation_recipients: tuple[MailboxText, ...] = Field((), description="Recipients of the test mail")
    ca_file: FilePath | None = Field(None, description="PEM file of the only authorities believed")
    pinned_keys: Pins = Field((), description="SHA-256 of the public keys believed")
    certificate_file: FilePath | None = Field(None, description="PEM file we present when asked")
    key_file: FilePath | None = Field(None, description="Its key")
    source_address_v4: IPv4Text | None = Field(None, description="Address we dial from")
    source_address_v6: IPv6Text | None = Field(None, description="Address we dial from")
    helo_name: DomainName | None = Field(None, description="Name we give in EHLO")
    address_family: Literal["any", "ipv4", "ipv6"] = Field("any", description="Which addresses are dialled")
    concurrency: Annotated[int, Field(ge=1, le=1000)] = Field(20, description="Connections of each worker")
    rate_per_minute: Annotated[int, Field(ge=0)] = Field(0, description="Messages a minute of each worker; 0: no bound")
    size_limit: Size = Field(0, ge=0, description="Larger messages take another connector; 0: no bound")
    cost: Annotated[int, Field(ge=0, le=1000)] = Field(1, description="Of equal connectors the cheapest is taken")
    login_user: str = Field("", max_length=255, description="User for the login at the smart host")
    login_secret: SecretReference | None = Field(None, description="Where its secret is: file:... or env:...")
    admin_display_name: str = Field("", max_length=255, description="For people")
    comment: Comment = Field("", description="For people")
