"""What can be asked about TLS with other mail servers: what they demand, and what we publish."""

from __future__ import annotations

from lockgate.flow.asking.ask import Ask


class TlsPolicy(Ask, frozen=True, tag="tls_policy"):
    """What a domain demands of those who send to it; with `fetch` its MTA-STS policy is fetched now in any case."""

    domain: str
    fetch: bool = False


class DomainDns(Ask, frozen=True, tag="domain_dns"):
    """The DNS lines of an accepted domain that tell others how to send to it, and whether they are published."""

    domain: str
    organisation: str = ""
