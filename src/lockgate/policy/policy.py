"""The compiled whole: immutable, with a digest. What the stages may ask of the owner's wishes.

This file fixes the questions; `compile.py` fills the tables. Every look-up is O(1) or one walk over labels or
prefix lengths (docs/performance.md has the growth laws).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from lockgate.policy.objects.connectors import InboundConnector, OutboundConnector
from lockgate.policy.objects.domains import AcceptedDomain
from lockgate.policy.objects.organisation import Organisation
from lockgate.policy.objects.peers import Limits
from lockgate.policy.rules import CompiledRules
from lockgate.policy.tries import DomainMap, NetworkMap


@dataclass(frozen=True, slots=True)
class PartnerIndex:
    """The enabled Partner inbound connectors of one organisation, by what finds them (specification 2.3).

    `by_sender` has a wildcard's own domain too (`*.x` covers x); `any_sender` are those about `*`.
    """

    by_address: NetworkMap[tuple[InboundConnector, ...]]
    by_sender: DomainMap[tuple[InboundConnector, ...]]
    any_sender: tuple[InboundConnector, ...] = ()


@dataclass(frozen=True, slots=True)
class OwnServers:
    """The enabled OnPremises inbound connectors of all organisations by the names their certificates may bear.

    `exact` by the configured name, `below` by the x of a configured `*.x`, `parents` by what stands behind the first
    label of an exact name (for wildcard certificates).
    """

    exact: Mapping[str, tuple[InboundConnector, ...]]
    below: Mapping[str, tuple[InboundConnector, ...]]
    parents: Mapping[str, tuple[InboundConnector, ...]]

    def named(self, name: str) -> tuple[InboundConnector, ...]:
        """The connectors that a certificate with this name might satisfy (mail/certificate_names.py decides)."""
        base = name.removeprefix("*.")
        found = self.parents.get(base, ()) if base != name else self.exact.get(name, ())
        start = 0
        while True:
            found += self.below.get(base[start:], ())
            start = base.find(".", start) + 1
            if not start:
                return found


@dataclass(frozen=True, slots=True)
class OutboundIndex:
    """The enabled, not rule-scoped outbound connectors of one organisation by rank (specification 2.4).

    `exact` by recipient domain, `wildcard` by the x of `*.x` (covers names below x only), then `all_accepted`, then
    `everything` (`*`), `central` for route_all_messages_via_on_premises. Ties are sorted already: best first.
    `named` holds every connector of the organisation, disabled and rule-scoped ones too, by name.
    """

    exact: Mapping[str, tuple[OutboundConnector, ...]]
    wildcard: DomainMap[tuple[OutboundConnector, ...]]
    all_accepted: tuple[OutboundConnector, ...]
    everything: tuple[OutboundConnector, ...]
    central: tuple[OutboundConnector, ...]
    named: Mapping[str, OutboundConnector]


@dataclass(frozen=True, slots=True)
class PeerLists:
    """IP allow and block list; values are the entry as the administrator wrote it (for the explanation)."""

    allow: NetworkMap[str]
    block: NetworkMap[str]


@dataclass(frozen=True, slots=True)
class OrganisationPolicy:
    """All that one organisation wants, compiled."""

    organisation: Organisation
    inbound_ca_files: tuple[str, ...]
    partners: PartnerIndex
    outbound: OutboundIndex
    peers: PeerLists
    rules: CompiledRules


@dataclass(frozen=True, slots=True)
class Policy:
    """The compiled policy of the whole installation.

    `domains` finds the most specific accepted domain that covers a recipient domain (exact, or by
    match_sub_domains); only proven or vouched domains are in it. `own_servers` finds enabled OnPremises inbound
    connectors by a certificate name (specification 2.3 rule 8 is applied when compiling: only names that tie back to an
    accepted domain), `own_by_address` by peer address. `hostname` is our own name. `warnings` are sentences for the
    administrator about what is allowed but probably not meant. `postmasters` are the senders of reports.
    """

    digest: str
    revision: int
    hostname: str
    limits: Limits
    operator_peers: PeerLists
    domains: DomainMap[AcceptedDomain]
    own_servers: OwnServers
    own_by_address: NetworkMap[tuple[InboundConnector, ...]]
    organisations: Mapping[str, OrganisationPolicy] = field(default_factory=dict)
    postmasters: Mapping[str, str] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    def accepted(self, domain: str) -> AcceptedDomain | None:
        """The accepted domain that covers this recipient domain (A-label), or None."""
        return self.domains.find(domain)

    def of(self, organisation: str) -> OrganisationPolicy:
        """One organisation's policy. KeyError if there is none of that name."""
        return self.organisations[organisation]

    def own_servers_named(self, name: str) -> tuple[InboundConnector, ...]:
        """Own-server connectors that a certificate with this name might satisfy."""
        return self.own_servers.named(name)

    def is_own_address(self, connector: InboundConnector, packed: bytes) -> bool:
        """Whether the address is one of the connector's."""
        return any(connector in group for group in self.own_by_address.every(packed))

    def postmaster(self, organisation: str) -> str:
        """The address that delivery reports of this organisation come from (specification 1.20)."""
        return self.postmasters.get(organisation) or f"postmaster@{self.hostname}"
